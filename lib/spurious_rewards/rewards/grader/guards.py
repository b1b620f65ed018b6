r"""Refuse what the symbolic engine is never asked: sentences, and inputs whose cost is not bounded by their size.

A guard looks at the canonical string only and costs microseconds. It returns the reason code of a refusal, or None.

>>> refuse(r"9^{9^{9^{9}}}"), refuse("10000000!"), refuse("(" * 60 + ")" * 60), refuse("x" * 3000)
('guard_power', 'guard_factorial', 'guard_nesting', 'guard_length')
>>> refuse(r"\frac{\sqrt{2}}{3}+x^{10}") is None
True

Usage: `from spurious_rewards.rewards.grader.guards import refuse`
"""

from __future__ import annotations

import re

MAX_LENGTH = 1500  # characters; the longest gold of DeepScaleR has 1 222
MAX_NESTING = 24  # brackets inside brackets
MAX_EXPONENT = 9999  # a literal integer exponent
MAX_FACTORIAL = 2100  # the argument of a factorial
MAX_DIGITS = 400  # of one number literal
MAX_OPERATORS = 400

_EXPONENT = re.compile(r"(?:\^|\*\*)\s*[{(]*\s*-?\s*(\d+)")
_BOUND = re.compile(r"\\(?:sum|prod|bigcup|bigcap|int)[_^]")
_BINOMIAL = re.compile(r"\\binom\{(\d+)\}")
_OPERATOR = re.compile(r"[-+*/^=<>]|\\[A-Za-z]+")


_WORDS = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]*[a-z]{5}|\\text\{[^{}]*[A-Za-z]{3}[^{}A-Za-z]+[A-Za-z]{2}")


def refuse(text: str) -> str | None:
    """Return the reason code of the first guard that fires, or None if the engine may see this text."""
    if len(text) > MAX_LENGTH:
        return "guard_length"
    if _nesting(text) > MAX_NESTING or len(_OPERATOR.findall(text)) > MAX_OPERATORS:
        return "guard_nesting"
    if _WORDS.search(text):
        return "guard_words"
    if any(len(digits) > MAX_DIGITS for digits in re.findall(r"\d+", text)):
        return "guard_length"
    if any(len(n) > 5 or int(n) > MAX_EXPONENT for n in _EXPONENT.findall(text)) or _is_tower(text):
        return "guard_power"
    if any(_is_large_factorial(text[: match.end() - 1].rstrip()) for match in re.finditer("!", text)):
        return "guard_factorial"
    if any(len(n) > 5 or int(n) > MAX_FACTORIAL for n in _BINOMIAL.findall(text)):
        return "guard_factorial"
    if _BOUND.search(text) and re.search(r"\d{4}", text):
        return "guard_sum"
    return None


def _is_large_factorial(before: str) -> bool:
    """Tell whether before a `!` stands another factorial, a large number, or a bracket with one of these or a power."""
    if before.endswith("!"):
        return True
    digits = re.search(r"\d+$", before)
    if digits:
        return len(digits.group()) > 5 or int(digits.group()) > MAX_FACTORIAL
    depth = 0
    for position in range(len(before) - 1, -1, -1):
        depth += (before[position] in ")}]") - (before[position] in "({[")
        if depth == 0:
            return bool(re.search(r"!|\d{4}|\d\s*\^|\^\{?\s*\d{2}", before[position:]))
    return False


def _nesting(text: str) -> int:
    depth = deepest = 0
    for character in text:
        if character in "({[":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")}]":
            depth -= 1
    return deepest


def _is_tower(text: str) -> bool:
    """Tell whether an exponent contains a power or factorial of numbers: `2^{9^{9}}`, `x^{y^{z^{w}}}`, `9^9^9`."""
    for match in re.finditer(r"\^\{", text):
        depth, end = 0, len(text)
        for position in range(match.end() - 1, len(text)):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                end = position
                break
        exponent = text[match.end() : end]
        if exponent.count("^") > 1 or re.search(r"\d\s*\^|!|\)\s*\^", exponent):
            return True
    if re.search(r"\^\{[^{}]*\}\s*\^", text):  # a double superscript: a tower without braces
        return True
    plain = r"[^-+*/=,{}()\s]*"
    return bool(re.search(rf"\^{plain}\^{plain}\^|\(\s*\d[\d^*()]*\^\{{?\d{{2,}}\}}?\)\s*\^", text))
