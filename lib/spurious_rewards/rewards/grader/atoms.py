r"""Compare two single answers: words, choice letters, number bases, ratios, constants, expressions with unknowns.

Each step takes two canonical strings and returns a verdict (equal or not, reason code), a rewritten pair that is to be
compared instead, or None if it does not apply. `compare` runs them in order.

>>> words(r"\text{East}", "east"), words(r"\text{four}", "4"), choices("(A)", r"\text{A}")
((True, 'text_equal'), ('4', '4'), (True, 'text_equal'))
>>> constants("0.5", r"\frac{1}{2}"), constants("0.33", r"\frac{1}{3}"), bases("2516_{9}", "2516_{8}")
((True, 'number_equal'), (False, 'number_differs'), (False, 'base_differs'))
>>> unknowns("(a+5)(b+2)", "ab+2a+5b+10"), unknowns(r"\frac{1}{3}x", r"\frac{1}{3x}")
((True, 'identity_equal'), (False, 'identity_differs'))

Usage: `from spurious_rewards.rewards.grader.atoms import constants`
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from spurious_rewards.rewards.grader.exact import Number, close, distance, magnitude, same_constant, value
from spurious_rewards.rewards.grader.paper_spelling import SCALES, WORD_NUMBERS, words_to_number
from spurious_rewards.rewards.grader.structure import split_top

Verdict = tuple[bool, str]
Pair = tuple[str, str]
Outcome = Verdict | Pair | None

_BASES = {word: str(n) for n, word in enumerate("two three four five six seven eight nine ten".split(), 2)} | {
    "eleven": "11",
    "twelve": "12",
    "sixteen": "16",
    "binary": "2",
    "octal": "8",
    "decimal": "10",
    "hexadecimal": "16",
    "bin": "2",
    "hex": "16",
}
_BASE = re.compile(
    r"\(?([0-9A-Fa-f]+(?:\.[0-9A-Fa-f]+)?)\)?(?:_\{\(?(?:base)?(\d{1,2}|[a-z]+)\)?\}|\(?(?:in)?base-?(\d{1,2}|[a-z]+)\)?|in(binary|octal|hexadecimal))"
)
_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_WORD = re.compile(r"(?=[A-Za-z]{3}|[A-Za-z]+[ '])[A-Za-z]+(?:[ '-][A-Za-z]{2,})*")
_LETTER = re.compile(r"\(?([A-Ja-j])\)?\.?")
_NUMBER_NAMES = "|".join((*WORD_NUMBERS, *SCALES, "and"))
_NUMBER_WORDS = re.compile(
    rf"(?!and\b)(?P<number>(?:{_NUMBER_NAMES})(?:[\s-]+(?:{_NUMBER_NAMES}))*)"
    rf"(?P<noun>(?: +(?!(?:{_NUMBER_NAMES}|half|halves|third|quarter|\w+th)s?\b)[a-z]+){{0,2}})"
)
_PARTS = {
    "half": 2,
    "halve": 2,
    "third": 3,
    "quarter": 4,
    "fourth": 4,
    "fifth": 5,
    "sixth": 6,
    "eighth": 8,
    "tenth": 10,
}
_FRACTION_WORDS = re.compile(rf"(one|two|three|four|five|six|seven|nine)[ -]({'|'.join(_PARTS)})s?")
_MARKED_LETTER = re.compile(r"\\text\{\([A-J]\)\}")
_LETTER_WITH_CONTENT = re.compile(r"\(([A-Ja-j])\)[.:]?(.+)|([A-J])[.:)](.+)")
_TIME = re.compile(r"\d{1,2}:[0-5]\d")
_DECIMAL = re.compile(r"-?\d*\.\d+")
_FUNCTION_CALL = re.compile(r"[fghFGPQ]'*\(")  # f(x+1) is no product
_POINTS = (Fraction(7393, 10007), Fraction(13577, 10009))  # where expressions with unknowns are compared
_MAX_UNKNOWNS = 6


class _Option(NamedTuple):
    letter: str
    has_content: bool
    in_brackets: bool


def choices(a: str, b: str) -> Outcome:
    """Compare options of multiple choice: a letter, in brackets or not, followed by the option's content or not."""
    first, second = _option(a), _option(b)
    if first is None or second is None or not _comparable(first, second, a + b):
        return (False, "text_differs") if _MARKED_LETTER.fullmatch(a) or _MARKED_LETTER.fullmatch(b) else None
    same = first.letter == second.letter
    if not same and first.letter.upper() == second.letter.upper():  # a and A: options, or two unknowns
        same = first.has_content or second.has_content or "(" in a + b or "\\text" in a + b
        same = same or {first.letter.upper()} <= set("ABCDE")
    return same, "text_equal" if same else "text_differs"


def _option(text: str) -> _Option | None:
    text = _TEXT.sub(r"\1", text).replace(" ", "")
    letter, full = _LETTER.fullmatch(text), _LETTER_WITH_CONTENT.fullmatch(text)
    if letter:
        return _Option(letter.group(1), False, text.startswith("("))
    return _Option(full.group(1) or full.group(3), True, text.startswith("(")) if full else None


def _comparable(first: _Option, second: _Option, both: str) -> bool:
    """Tell whether the letters decide: one stands alone, or both stand in brackets before their contents."""
    if not (first.has_content and second.has_content):
        return True
    return first.in_brackets and second.in_brackets and "," not in both


def words(a: str, b: str) -> Outcome:
    """Compare answers in words, without case, punctuation and articles; number words are numbers."""
    texts = (a, b)
    found = [_as_words(text) for text in texts]
    if found[0] is None and found[1] is None:
        return None
    counted = None in found
    numbers = [_as_number(word, counted) if word else text for word, text in zip(found, texts, strict=True)]
    if all(numbers):
        return numbers[0], numbers[1]
    plain = [_TEXT.sub(r"\1", text).lower() if word is None else word for word, text in zip(found, texts, strict=True)]
    squeezed = [re.sub(r"[^a-z0-9]+", "", word) for word in plain]
    same = bool(squeezed[0]) and squeezed[0] == squeezed[1]
    if not same and None in found and not any("\\text" in text for text in texts):
        return None
    return same, "text_equal" if same else "text_differs"


def _as_number(words: str, counted: bool) -> str:
    """Return the digits of a number in words (`one hundred and two`); "" for anything else.

    A `counted` number may have a noun of one or two words behind it (`seven red apples`).
    """
    fraction = _FRACTION_WORDS.fullmatch(words)
    if fraction:
        return rf"\frac{{{words_to_number(fraction[1])}}}{{{_PARTS[fraction[2]]}}}"
    match = _NUMBER_WORDS.fullmatch(words)
    return words_to_number(match["number"]) if match and (counted or not match["noun"]) else ""


def _as_words(text: str) -> str | None:
    """Return the lower-case words of an answer that is nothing but words; None for anything else."""
    if "\\text" not in text:
        return text.lower() if _WORD.fullmatch(text) else None
    rest = _TEXT.sub("", text)
    if re.search(r"[\\\d=^_<>+*/&]", rest) or not re.search(r"[A-Za-z]{2}", " ".join(_TEXT.findall(text))):
        return None
    return re.sub(r"^(?:the|an?)\s+", "", _TEXT.sub(r" \1 ", text).strip().lower())


def bases(a: str, b: str) -> Outcome:
    """Compare digits with a base as subscript: two bases must agree, a base on one side is dropped."""
    (digits_a, base_a), (digits_b, base_b) = split_base(a), split_base(b)
    if base_a and base_b:
        same_digits = digits_a.upper() == digits_b.upper()
        if same_digits and base_a == base_b:
            return True, "number_equal"
        return False, "base_differs" if same_digits else "number_differs"
    return (digits_a, digits_b) if base_a or base_b else None


def split_base(text: str) -> tuple[str, str | None]:
    """Split a numeral into digits and base (`101_{2}`, `101_{\text{two}}`, `101\text{ base }2`); None if none."""
    match = _BASE.fullmatch(re.sub(r"\s", "", _TEXT.sub(r"\1", text)))
    base = (match.group(2) or match.group(3) or match.group(4)) if match else None
    base = base if base is None or base.isdigit() else _BASES.get(base)
    return (match.group(1), base) if match and base else (text, None)


def ratios(a: str, b: str) -> Outcome:
    """Compare ratios `a:b` (proportional, or equal to a fraction) and times of day (the same hour and minute)."""
    if ":" not in a + b:
        return None
    parts = [split_top(text, ":") for text in (a, b)]
    values = [[value(part) for part in side] for side in parts]
    if any(number is None for side in values for number in side):
        return None
    if _TIME.fullmatch(a) and _TIME.fullmatch(b):
        same = values[0] == values[1]
    elif len(parts[0]) == len(parts[1]):
        first, second = parts[0][0], parts[1][0]
        same = all(same_constant(f"({x})({second})", f"({first})({y})") for x, y in zip(*parts, strict=True))
    else:
        long, short = sorted(range(2), key=lambda side: -len(parts[side]))
        same = (
            len(parts[long]) == 2
            and values[long][1] != 0
            and bool(same_constant(f"({parts[short][0]})({parts[long][1]})", parts[long][0]))
        )
    return same, "number_equal" if same else "number_differs"


def constants(a: str, b: str) -> Outcome:
    """Compare rational values exactly, other constants to many digits, long decimals as the rounded value."""
    x, y = value(a), value(b)
    if x is None or y is None:
        return None
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        same: bool | None = x == y or _rounded(a, b, x, y)
    else:
        same = _rounded(a, b, x, y) or (close(x, y) and same_constant(a, b))
    return None if same is None else (same, "number_equal" if same else "number_differs")


def is_decimal(text: str) -> bool:
    """Return whether the text is a decimal literal."""
    return _DECIMAL.fullmatch(text) is not None


def _rounded(a: str, b: str, x: Number, y: Number) -> bool:
    """Tell whether a decimal with at least six places and digits is the other value, rounded or cut there.

    Of two decimals the shorter one must be a rounding of the longer one; twelve places and more are a float's.
    """
    for text, own, other, exact in ((a, x, b, y), (b, y, a, x)):
        digits = text.lstrip("-").lstrip("0.").replace(".", "")
        places = len(text.rpartition(".")[2])
        if not is_decimal(text) or places < 6 or len(digits) < 6 or exact == 0:
            continue
        terminates = isinstance(exact, Fraction) and (exact * 10**places).denominator == 1
        if places < 12 and (terminates or (is_decimal(other) and len(other.rpartition(".")[2]) <= places)):
            continue  # both are exact as they stand
        if distance(own, exact) <= max(10.0 ** -min(places, 300), 1e-12 * magnitude(exact)):
            return True
    return False


def unknowns(a: str, b: str) -> Outcome:
    """Compare expressions with unknowns at two arbitrary points, exactly if they are rational, else to many digits."""
    both = f"{a} {b}"
    letters = sorted(set(re.findall(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", " ", both))) - {"e", "i"})
    if not letters or len(letters) > _MAX_UNKNOWNS or "=" in both or "\\text" in both or _FUNCTION_CALL.search(both):
        return None
    for shift in _POINTS:
        point = {letter: shift + Fraction(37 * index + index * index, 211) for index, letter in enumerate(letters)}
        x, y = value(a, point), value(b, point)
        if x is None or y is None:
            return None
        if not close(x, y, 1e-8):
            return False, "identity_differs"
        same = x == y if isinstance(x, Fraction) and isinstance(y, Fraction) else same_constant(a, b, point)
        if same is not True:
            return None if same is None else (False, "identity_differs")
    return True, "identity_equal"
