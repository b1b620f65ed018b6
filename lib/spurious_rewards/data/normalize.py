r"""Bring answers and problem statements into normal forms, statements at three strengths.

Everything that compares problems or answers in this layer goes through this module, so that a count in the data card
has one definition. Whether a model's answer *is right* is decided by the grader of the rewards layer, not here.

>>> clean_answer("142.0", integer=True), clean_answer("025", integer=True), clean_answer(" $\\frac{24}5$ ")
('142', '25', '\\frac{24}5')
>>> answer_key("\\dfrac{9}{2}") == answer_key("4.5")
True
>>> markup_key("Find $x^{2}$, if\n$x=3$.") == markup_key("Find \\(x^2\\) if \\(x = 3\\)")
True
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache

_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\[", r"\]"), (r"\(", r"\)"))
_SPACING = re.compile(r"\\(?:left|right|displaystyle|quad|qquad)(?![a-zA-Z])|\\[,;:!> ]")
_FRACTION_SPELLING = re.compile(r"\\[dt]frac(?![a-zA-Z])")
_DOTS_SPELLING = re.compile(r"\\(?:[lc]?dots|dots[cmb])(?![a-zA-Z])")
_FONT = re.compile(r"\\(?:text|mbox|textbf|textit|mathrm|mathbf|mathit|operatorname)(?![a-zA-Z])\*?")
_UNIT_SIGN = re.compile(r"\^?\{?\\circ\}?|\\?%|\\\$|(?<!\\)\$|°")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_BRACELESS_FRACTION = re.compile(r"\\frac(\d)(\d)(?!\d)")
_FRACTION = re.compile(r"(-?)\\frac\{(-?\d+)\}\{(-?\d+)\}")
_SLASH = re.compile(r"(-?\d+)/(\d+)")
_DECIMAL = re.compile(r"-?(?:\d+\.?\d*|\.\d+)")
_ASSIGNMENT = re.compile(r"[a-zA-Z]=")
_FIGURE = re.compile(r"\[asy\].*?\[/asy\]", re.S)
_LAYOUT = re.compile(
    r"\\(?:left|right|displaystyle|quad|qquad|text|mbox|mathrm|mathbf|overline|[lc]?dots|dots[cmb]|cdot|times|begin|end)"
    r"(?![a-z])"
)
_TOKEN = re.compile(r"[a-z]+|\d+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def clean_answer(raw: object, integer: bool = False) -> str:
    """Return the reference answer as the project uses it: no outer white space, math delimiters or box.

    Args:
        raw: a string or a number, as the source has it.
        integer: the source's answers are integers (AMC, AIME): "142.0" becomes "142", "025" becomes "25". Elsewhere a
            decimal or a leading zero may be meant, and stays.
    """
    text = str(raw).strip()
    for opening, closing in _WRAPPERS:
        inner = text[len(opening) : -len(closing)]
        wrapped = text.startswith(opening) and text.endswith(closing) and len(text) > len(opening) + len(closing)
        if wrapped and opening not in inner and closing not in inner and not inner.endswith("\\"):
            text = inner.strip()
    if text.startswith(r"\boxed{") and _closing_brace(text, len(r"\boxed")) == len(text) - 1:
        text = text[len(r"\boxed{") : -1].strip()
    if integer and re.fullmatch(r"[+-]?\d+(?:\.0+)?", text):
        text = str(int(text.split(".")[0]))
    return text


def answer_key(answer: str) -> str:
    r"""Return a key that two answers share if they are the same number or the same text but for spelling.

    Spelling means white space, `\left` and `\right`, `\dfrac`, fonts, thousands commas, a leading "x =", and the signs
    of degree, per cent and dollar. Integers, decimals and fractions of integers are compared exactly, as rationals.
    Nothing else is evaluated: √244 and 2√61 have different keys.

    >>> answer_key("2100") == answer_key("n = 2,100"), answer_key("\\sqrt{244}") == answer_key("2\\sqrt{61}")
    (True, False)
    """
    text = _FRACTION_SPELLING.sub(r"\\frac", clean_answer(answer))
    text = _UNIT_SIGN.sub("", _FONT.sub("", _SPACING.sub("", text)))
    text = re.sub(r"\s", "", text).rstrip(".").lower()
    text = _THOUSANDS.sub("", text)
    text = re.sub(r"^\{([^{}]*)\}$", r"\1", text)
    text = _BRACELESS_FRACTION.sub(r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac\{(\d+)\}(\d)(?!\d)", r"\\frac{\1}{\2}", text)
    text = _ASSIGNMENT.sub("", text, count=1) if _ASSIGNMENT.match(text) else text
    number = as_rational(text)
    return text if number is None else str(number)


def as_rational(text: str) -> Fraction | None:
    r"""Return the exact value of an integer, a decimal, `a/b` or `\frac{a}{b}`; None for anything else.

    >>> as_rational("4.5"), as_rational("-\\frac{1}{2}"), as_rational("x")
    (Fraction(9, 2), Fraction(-1, 2), None)
    """
    if len(text) > 200:  # converting a very long digit string takes quadratic time
        return None
    if match := _FRACTION.fullmatch(text):
        sign, numerator, denominator = match.groups()
    elif match := _SLASH.fullmatch(text):
        sign, (numerator, denominator) = "", match.groups()
    else:
        return Fraction(text) if _DECIMAL.fullmatch(text) else None
    if int(denominator) == 0:
        return None
    value = Fraction(int(numerator), int(denominator))
    return -value if sign else value


def space_key(problem: str) -> str:
    """Fold every run of white space of a statement to one blank: what "duplicate problem" means by default."""
    return " ".join(problem.split())


@lru_cache(maxsize=1 << 16)  # cleaning and audit ask for the same statements several times
def markup_key(problem: str) -> str:
    r"""Return the problem statement without anything that only sets type: equal keys, same statement in other markup.

    Dropped: white space, math delimiters, braces, spacing and font commands, sentence punctuation, upper case. Kept:
    every letter, digit and operator, and points and commas between digits, so "2+3", "2-3" and "2.3" stay apart.
    """
    text = unicodedata.normalize("NFKC", problem)
    text = _DOTS_SPELLING.sub("...", _FRACTION_SPELLING.sub(r"\\frac", text))
    text = _FONT.sub("", _SPACING.sub("", text))
    text = re.sub(r"\\[\[\]()]|[\s${}~\"'`!?]", "", text)
    return re.sub(r"(?<!\d)[.,;:]|[.,;:](?!\d)", "", text).lower()


def tokens(problem: str) -> list[str]:
    """List the words, variable names and digit strings of a statement, lower case, without figures and layout.

    The unit of the 13-gram audit: `(2 x-y)^{2}` and `(2x - y)^2` give the same tokens.

    >>> tokens("Let $f(2x)=15$.")
    ['let', 'f', '2', 'x', '15']
    """
    text = unicodedata.normalize("NFKC", problem).lower()
    text = _FRACTION_SPELLING.sub(r"\\frac", _FIGURE.sub(" ", text))
    return _TOKEN.findall(_LAYOUT.sub(" ", text))


def numbers(problem: str) -> tuple[str, ...]:
    """Return the numbers of a statement outside figures, sorted, with repetitions.

    >>> numbers("Roll 2 dice; is 7 or 3.5 likelier than 2?")
    ('2', '2', '3.5', '7')
    """
    return tuple(sorted(_NUMBER.findall(_FIGURE.sub(" ", problem))))


ANSWER_TYPES = ("integer", "decimal", "fraction", "tuple or interval", "set or list", "choice", "text", "expression")


def answer_type(answer: str) -> str:
    r"""Return one of `ANSWER_TYPES`, by the answer's form.

    >>> [answer_type(a) for a in ("1,000", "0.5", "\\frac{1}{2}", "(1,2]")]
    ['integer', 'decimal', 'fraction', 'tuple or interval']
    >>> [answer_type(a) for a in ("1, 2", "\\text{(C)}", "\\text{east}", "p - q")]
    ['set or list', 'choice', 'text', 'expression']
    """
    text = clean_answer(answer)
    if re.fullmatch(r"-?\d+", _THOUSANDS.sub("", text)):
        return "integer"
    if re.fullmatch(r"-?\d*\.\d+", text):
        return "decimal"
    bare = _FONT.sub("", text).replace("{", "").replace("}", "").strip()
    if re.fullmatch(r"\(?[A-H]\)?", bare):
        return "choice"
    key = answer_key(text)
    if as_rational(key) is not None:
        return "fraction" if "/" in key else "integer"
    inner = _SPACING.sub("", text)
    if re.fullmatch(r"[(\[].*,.*[)\]]", inner, re.S):
        return "tuple or interval"
    if "," in inner or r"\cup" in inner or r"\{" in inner:
        return "set or list"
    if re.fullmatch(r"[A-Za-z][A-Za-z .,']+", bare) and (r"\text" in text or " " in bare or len(bare) > 3):
        return "text"
    return "expression"


def _closing_brace(text: str, opening: int) -> int:
    """Return the index of the brace that closes the one at `opening`, or -1."""
    depth = 0
    for index in range(opening, len(text)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    return -1
