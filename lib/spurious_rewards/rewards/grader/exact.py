r"""Evaluate closed-form LaTeX constants without a computer algebra system.

`value(text)` evaluates numbers, fractions, mixed numbers, sums, products, powers, factorials, binomials and roots of
squares exactly, as `Fraction`; roots, π, e, i, logarithms and trigonometric functions in floating point, which
*refutes* an equality. `same_constant` confirms one by evaluating both sides to 150 digits. With `variables`, letters
take the given values. Anything else, and anything that would grow beyond `MAX_BITS`, is None: nothing here can hang.

>>> value(r"\frac{1}{2}+\frac{1}{6}"), value(r"1\frac{4}{5}"), value(r"6.72\times10^{-5}")
(Fraction(2, 3), Fraction(9, 5), Fraction(21, 312500))
>>> value(r"9^{9^{9^{9}}}"), value("x+1")
(None, None)
>>> same_constant(r"\sqrt{5+2\sqrt{6}}", r"\sqrt{2}+\sqrt{3}"), same_constant(r"\pi", r"\pi+10^{-90}")
(True, False)

Usage: `from spurious_rewards.rewards.grader.exact import value`
"""

from __future__ import annotations

import cmath
import math
import operator
import re
from collections.abc import Callable, Mapping
from fractions import Fraction

MAX_BITS = 40_000  # of a numerator or denominator; 2006! has about 19 000
MAX_TOKENS = 400
MAX_DEPTH = 30

Number = Fraction | float | complex
DIGITS = 150  # of the evaluation that proves an equality
_TOKEN = re.compile(r"\d+\.\d+|\.\d+|\d+\.?|\\[A-Za-z]+|[A-Za-z]|\S")
_FUNCTIONS = {
    "\\sin": "sin",
    "\\cos": "cos",
    "\\tan": "tan",
    "\\ln": "log",
    "\\log": "log",
    "\\exp": "exp",
    "\\arcsin": "asin",
    "\\arccos": "acos",
    "\\arctan": "atan",
}
_RECIPROCALS = {"\\cot": "tan", "\\sec": "cos", "\\csc": "sin"}
_OPENERS = {"(": ")", "{": "}", "[": "]"}


_REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar|dot)\{(\d{1,20})\}")


class _Unsupported(Exception):
    """The text is not a closed form this module evaluates."""


def value(text: str, variables: Mapping[str, Number] | None = None) -> Number | None:
    """Return the value of a normalised LaTeX expression, or None if it is not one that can be evaluated cheaply."""
    return _evaluate(text, variables or {}, _Doubles())


def same_constant(a: str, b: str, variables: Mapping[str, Number] | None = None) -> bool | None:
    """Return whether two constants agree to `DIGITS - 20` digits; None if one of them cannot be evaluated."""
    arithmetic = _ManyDigits()
    x, y = (_evaluate(text, variables or {}, arithmetic) for text in (a, b))
    if x is None or y is None:
        return None
    x, y = arithmetic.convert(x), arithmetic.convert(y)
    size = max(abs(x), abs(y))
    return bool(abs(x - y) <= size * arithmetic.tolerance)


def _evaluate(text: str, variables: Mapping[str, Number], arithmetic: _Doubles | _ManyDigits) -> Number | None:
    if len(text) > 4 * MAX_TOKENS:
        return None
    if "." in text and "\\" in text:
        text = _REPEATING.sub(_repeating, text)
    tokens = _TOKEN.findall(text)
    if not tokens or len(tokens) > MAX_TOKENS:
        return None
    try:
        parser = _Parser(tokens, variables, arithmetic)
        result = parser.sum(0)
        if parser.position != len(tokens):
            return None
        return result if isinstance(result, Fraction) or arithmetic.is_finite(result) else None
    except (_Unsupported, ArithmeticError, ValueError, NotImplementedError):
        return None


def _repeating(match: re.Match[str]) -> str:
    r"""Return a repeating decimal as a fraction: `0.1\overline{6}` is 15/90."""
    whole, fixed, period = match.groups()
    scale = 10 ** len(fixed)
    denominator = scale * (10 ** len(period) - 1)
    numerator = int(whole + fixed + period or "0") - int(whole + fixed or "0")
    return rf"\frac{{{numerator}}}{{{denominator}}}"


def distance(a: Number, b: Number) -> float:
    """Return the absolute difference as a float; infinite if a value is too large for one."""
    try:
        return abs(complex(a - b if isinstance(a, Fraction) and isinstance(b, Fraction) else complex(a) - complex(b)))
    except OverflowError:
        return math.inf


def magnitude(a: Number) -> float:
    """Return the absolute value as a float; infinite if it is too large for one."""
    return distance(a, Fraction(0))


def close(a: Number, b: Number, relative: float = 1e-9) -> bool:
    """Return whether two values agree to the relative tolerance (exact ones are compared exactly)."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return abs(a - b) <= Fraction(relative) * max(abs(a), abs(b))
    difference = distance(a, b)
    return difference < math.inf and difference <= relative * max(magnitude(a), magnitude(b), 1e-300)


class _Doubles:
    """Arithmetic in double precision."""

    constants: Mapping[str, Number] = {"\\pi": math.pi, "e": math.e, "i": 1j}

    def convert(self, number: Number) -> Number:
        return complex(number)

    def power(self, base: Number, exponent: Number) -> Number:
        return complex(base) ** complex(exponent)

    def function(self, name: str, argument: Number) -> Number:
        return getattr(cmath, name)(complex(argument))

    def is_finite(self, number: Number) -> bool:
        return cmath.isfinite(number)


class _ManyDigits:
    """Arithmetic with `DIGITS` digits, in a context of its own (mpmath's global one is shared by all threads)."""

    def __init__(self) -> None:
        from mpmath.ctx_mp import MPContext

        self.context = MPContext()
        self.context.dps = DIGITS
        self.constants = {"\\pi": +self.context.pi, "e": +self.context.e, "i": self.context.j}
        self.tolerance = self.context.mpf(10) ** (20 - DIGITS)

    def convert(self, number: Number) -> Number:
        return self.context.convert(number)

    def power(self, base: Number, exponent: Number) -> Number:
        return self.context.power(self.convert(base), self.convert(exponent))

    def function(self, name: str, argument: Number) -> Number:
        return getattr(self.context, name)(self.convert(argument))

    def is_finite(self, number: Number) -> bool:
        return bool(self.context.isfinite(number))


class _Parser:
    """Recursive descent over the tokens; every method returns the value of what it consumed."""

    def __init__(self, tokens: list[str], variables: Mapping[str, Number], arithmetic: _Doubles | _ManyDigits) -> None:
        self.tokens, self.variables, self.arithmetic, self.position = tokens, variables, arithmetic, 0

    def apply(self, operation: Callable[[Number, Number], Number], x: Number, y: Number) -> Number:
        """Apply one operation; a fraction that meets a floating-point number becomes one."""
        if isinstance(x, Fraction) and isinstance(y, Fraction):
            return _bounded(operation(x, y))
        return operation(self.arithmetic.convert(x), self.arithmetic.convert(y))

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take(self, expected: str | None = None) -> str:
        token = self.peek()
        if not token or (expected is not None and token != expected):
            raise _Unsupported
        self.position += 1
        return token

    def sum(self, depth: int) -> Number:
        if depth > MAX_DEPTH:
            raise _Unsupported
        total = self.signed_product(depth)
        while self.peek() in ("+", "-"):
            minus = self.take() == "-"
            term = self.signed_product(depth)
            total = self.apply(operator.sub if minus else operator.add, total, term)
        return total

    def signed_product(self, depth: int) -> Number:
        negative = self.is_negative()
        product = self.product(depth)
        return -product if negative else product

    def product(self, depth: int) -> Number:
        mixed = self.peek().isdigit()
        result = self.power(depth)
        while True:
            token = self.peek()
            if token in ("*", "\\cdot", "\\times"):
                self.take()
                result = self.apply(operator.mul, result, self.signed_power(depth))
            elif token in ("/", "\\div"):
                self.take()
                result = self.apply(operator.truediv, result, self.signed_power(depth))
            elif mixed and token == "\\frac" and self.is_number_fraction():
                result = self.apply(operator.add, result, self.power(depth))
            elif token in ("(", "{", "[") or token.startswith("\\") or token.isalnum():
                if token[0].isdigit() and self.tokens[self.position - 1] not in (")", "!"):
                    raise _Unsupported
                result = self.apply(operator.mul, result, self.power(depth))
            else:
                return result
            mixed = False

    def signed_power(self, depth: int) -> Number:
        negative = self.is_negative()
        result = self.power(depth)
        return -result if negative else result

    def is_negative(self) -> bool:
        """Consume signs; whether they amount to a minus."""
        negative = False
        while self.peek() in ("+", "-"):
            negative ^= self.take() == "-"
        return negative

    def is_number_fraction(self) -> bool:
        pattern = "".join(self.tokens[self.position : self.position + 7])
        return re.match(r"\\frac\{\d+\}\{\d+\}", pattern) is not None

    def power(self, depth: int) -> Number:
        if depth > MAX_DEPTH:
            raise _Unsupported
        base = self.postfix(depth)
        if self.peek() != "^":
            return base
        self.take()
        if self.peek() == "\\circ":
            self.take()
            return self.apply(operator.mul, base, self.arithmetic.convert(self.arithmetic.constants["\\pi"]) / 180)
        exponent = self.group(depth) if self.peek() == "{" else self.signed_atom(depth)
        if self.peek() == "^":
            raise _Unsupported
        return self.to_power(base, exponent)

    def signed_atom(self, depth: int) -> Number:
        negative = self.is_negative()
        result = self.postfix(depth)
        return -result if negative else result

    def postfix(self, depth: int) -> Number:
        result = self.primary(depth)
        if self.peek() == "!":
            self.take()
            if self.peek() == "!" or not _is_small_integer(result):
                raise _Unsupported
            result = _bounded(Fraction(math.factorial(int(result))))
        return result

    def group(self, depth: int) -> Number:
        closing = _OPENERS.get(self.take())
        if closing is None:
            raise _Unsupported
        result = self.sum(depth + 1)
        self.take(closing)
        return result

    def primary(self, depth: int) -> Number:
        token = self.peek()
        if token in _OPENERS:
            return self.group(depth)
        self.take()
        if token[0].isdigit() or token[0] == ".":
            if len(token) > 2000:
                raise _Unsupported
            return Fraction(token.rstrip(".") if not token.startswith(".") else "0" + token)
        if token == "|" and not self.variables:
            inside = self.sum(depth + 1)
            self.take("|")
            return abs(inside)
        if token in self.variables:
            return self.variables[token]
        if token == "\\frac":
            return self.apply(operator.truediv, self.group(depth), self.group(depth))
        if token == "\\sqrt":
            degree = self.group(depth) if self.peek() == "[" else Fraction(2)
            return self.root(self.group(depth), degree)
        if token == "\\binom":
            n, k = self.group(depth), self.group(depth)
            if not (_is_small_integer(n) and _is_small_integer(k)):
                raise _Unsupported
            return _bounded(Fraction(math.comb(int(n), int(k))))
        if token in _FUNCTIONS or token in _RECIPROCALS:
            return self.function(token, depth)
        constant = self.arithmetic.constants.get(token)
        if constant is None:
            raise _Unsupported
        return constant

    def function(self, name: str, depth: int) -> Number:
        exponent = None
        base = None
        if self.peek() == "_" and name == "\\log":
            self.take()
            base = self.group(depth) if self.peek() == "{" else self.primary(depth)
        if self.peek() == "^":
            self.take()
            exponent = self.group(depth) if self.peek() == "{" else self.primary(depth)
        argument = self.argument(depth)
        if exponent == -1 and f"a{_FUNCTIONS.get(name)}" in _FUNCTIONS.values():
            return self.arithmetic.function(f"a{_FUNCTIONS[name]}", argument)
        result = self.arithmetic.function(_FUNCTIONS.get(name) or _RECIPROCALS[name], argument)
        if name in _RECIPROCALS:
            result = 1 / result
        if base is not None:
            result = result / self.arithmetic.function("log", base)
        return result if exponent is None else self.to_power(result, exponent)

    def argument(self, depth: int) -> Number:
        """Return what a function name applies to: a bracket, else the factors that follow (`\\sin 2x`)."""
        bracketed = self.peek() == "("
        result = self.power(depth + 1)
        if bracketed:
            return result
        while self.peek() and (self.peek().isalpha() or self.peek() in ("\\pi", "\\frac", "\\sqrt")):
            result = self.apply(operator.mul, result, self.power(depth + 1))
        return result

    def to_power(self, base: Number, exponent: Number) -> Number:
        if isinstance(base, Fraction) and isinstance(exponent, Fraction):
            if exponent.denominator == 1:
                if abs(exponent) * max(base.numerator.bit_length(), base.denominator.bit_length()) > MAX_BITS:
                    raise _Unsupported
                return base ** int(exponent)
            if base > 0 and exponent.denominator <= 12:
                exact = self.root(base, Fraction(exponent.denominator))
                if isinstance(exact, Fraction):
                    return self.to_power(exact, Fraction(exponent.numerator))
        return self.arithmetic.power(base, exponent)

    def root(self, radicand: Number, degree: Number) -> Number:
        if isinstance(radicand, Fraction) and degree in range(2, 13):
            if radicand < 0 and degree in range(3, 13, 2):
                return -self.root(-radicand, degree)
            if radicand >= 0:
                top, bottom = (_integer_root(n, int(degree)) for n in (radicand.numerator, radicand.denominator))
                if top is not None and bottom is not None:
                    return Fraction(top, bottom)
        return self.arithmetic.power(radicand, 1 / degree)


def _is_small_integer(number: Number) -> bool:
    return isinstance(number, Fraction) and number.denominator == 1 and 0 <= number <= 4000


def _bounded(number: Number) -> Number:
    if isinstance(number, Fraction) and max(number.numerator.bit_length(), number.denominator.bit_length()) > MAX_BITS:
        raise _Unsupported
    return number


def _integer_root(n: int, degree: int) -> int | None:
    if n.bit_length() > 1000:
        return math.isqrt(n) if degree == 2 and math.isqrt(n) ** 2 == n else None
    guess = math.isqrt(n) if degree == 2 else round(n ** (1 / degree))
    return next((g for g in (guess - 1, guess, guess + 1) if g >= 0 and g**degree == n), None)
