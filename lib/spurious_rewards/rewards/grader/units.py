r"""Split units off answers: what may be dropped, what must agree.

A unit on one side only is dropped (`12\text{ cm}` answers "how many centimetres" with gold `12`). Two known units must
agree: same dimension, and then the values are compared in a common unit, so `1\text{ m}` equals `100\text{ cm}` but
`5.4\text{ dollars}` differs from `5.4\text{ cents}`, and `15\text{ cm}^2` from `15\text{ cm}`. Words that are no known
unit (`8\text{ apples}`) are dropped on both sides.

>>> split_unit(r"15\text{cm}^{2}"), split_unit(r"90^\circ"), split_unit(r"\$18.90")
(('15', ('length^2', Fraction(1, 10000))), ('90', ('degree', Fraction(1, 1))), ('18.90', ('money', Fraction(1, 1))))
>>> split_unit(r"17\text{any text}"), split_unit(r"\text{east}")
(('17', None), ('\\text{east}', None))

Usage: `from spurious_rewards.rewards.grader.units import split_unit`
"""

from __future__ import annotations

import re
from fractions import Fraction

Unit = tuple[str, Fraction]  # dimension, factor to the dimension's base unit

_TABLE: dict[str, dict[str, str]] = {
    # dimension: {factor to its base unit: names}
    "length": {
        "1": "m meter metre",
        "1/100": "cm centimeter centimetre",
        "1/1000": "mm millimeter millimetre",
        "1/10": "dm decimeter decimetre",
        "1000": "km kilometer kilometre",
        "127/5000": "in inch inches",
        "381/1250": "ft foot feet",
        "1143/1250": "yd yard",
        "201168/125": "mi mile",
    },
    "time": {"1": "s sec second", "60": "min minute", "3600": "h hr hour", "86400": "day", "604800": "week"},
    "month": {"1": "month", "12": "year yr"},
    "money": {"1": "dollar usd", "1/100": "cent"},
    "mass": {"1": "g gram", "1000": "kg kilogram", "1/1000": "mg milligram"},
    "weight": {"1": "lb pound", "1/16": "oz ounce", "2000": "ton"},
    "volume": {"1": "l liter litre", "1/1000": "ml milliliter millilitre"},
    "gallon": {"1": "gallon", "1/4": "quart", "1/8": "pint", "1/16": "cup"},
    "land": {"1": "hectare", "316160658/781250000": "acre"},
    "speed": {"1": "mps m/s", "1397/3125": "mph", "5/18": "kph kmh km/h"},
    "euro": {"1": "euro eur"},
    "sterling": {"1": "sterling gbp"},
    "yuan": {"1": "yuan yen"},
    "rupee": {"1": "rupee"},
    "force": {"1": "n newton"},
    "energy": {"1": "j joule"},
    "power": {"1": "w watt"},
    "celsius": {"1": "celsius"},
    "fahrenheit": {"1": "fahrenheit"},
    "degree": {"1": "degree deg"},
    "radian": {"1": "radian rad"},
    "am": {"1": "am"},
    "pm": {"1": "pm"},
}
KNOWN: dict[str, Unit] = {
    name: (dimension, Fraction(factor))
    for dimension, factors in _TABLE.items()
    for factor, names in factors.items()
    for name in names.split()
}
_SIGNS = {"$": KNOWN["dollar"], "€": KNOWN["euro"], "£": KNOWN["sterling"], "¥": KNOWN["yen"]}
_SUFFIXES = {r"^\circ": KNOWN["degree"], r"\$": KNOWN["dollar"], **{sign: _SIGNS[sign] for sign in "€£¥"}}
_SAFE = sorted((name for name in KNOWN if len(name) > 1 and name not in ("in", "min", "mi")), key=len, reverse=True)
_PLAIN = re.compile(  # a unit without \text after a number; single letters may be unknowns
    rf"(.*(?:[\d}})!]|\\pi ?))\s*(square|sq\.?|cubic|cu\.?)?"
    rf"({'|'.join(map(re.escape, _SAFE))}|(?i:[ap]\.?m)|m(?=\^))(?:e?s)?\.?"
    r"(?:\^\{?([23])\}?)?"
)
_TEXT = re.compile(r"(.+?)\s*\\text\{([^{}]*)\}(?:\^\{?(\d)\}?)?\.?")
_ORDINAL = re.compile(r"(\d+)(?:\^\{(?:\\text\{)?)?(?:th|st|nd|rd)\}*(?:\\text\{[^{}]*\})?")
_ABBREVIATIONS = {
    "sq.": "square",
    "cu.": "cubic",
    "p.m": "pm",
    "a.m": "am",
    "miles per hour": "mph",
    "kilometers per hour": "kph",
    "meters per second": "mps",
}
_COMPOUND = re.compile(  # 2hours,15\text{minutes} and $72,50\text{cents}
    r"(?:\\?\$(?P<money>\d+)|(?P<many>\d+)(?:\\text\{[\s,]*)?(?P<large>[a-z]+)[\s,]*\}?),?"
    r"(?P<few>\d+(?:\.\d+)?)(?:\\text\{\s*)?(?P<small>[a-z]+)\}?"
)
_UNFINISHED = re.compile(r"[-=+,<>/(\[_]$|\\(?:le|ge|ne|in|cup)$")  # what no unit follows
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")  # \sin 30^\circ is a number
_NEUTRAL = ("unit", "units", "")


def split_unit(answer: str) -> tuple[str, Unit | None]:
    """Split a canonical answer into its value and its unit (None if it has none that is known)."""
    money = re.match(r"(-?)(\\?\$|[€£¥])(?=.)", answer)
    if money:
        rest, unit = split_unit(money.group(1) + answer[money.end() :])
        return rest, unit or _SIGNS[money.group(2).removeprefix("\\")]
    for suffix, sign in _SUFFIXES.items():
        if answer.endswith(suffix) and len(answer) > len(suffix) and not _TRIGONOMETRIC.search(answer):
            return answer[: -len(suffix)], sign
    if _TRIGONOMETRIC.search(answer):
        return answer, None
    temperature = re.fullmatch(r"(.+?)\^\\circ(?:\\text)?\{?\s*([CF])\}?", answer)
    if temperature:
        return temperature.group(1), KNOWN["celsius" if temperature.group(2) == "C" else "fahrenheit"]
    match = _TEXT.fullmatch(answer)
    if match and _is_value(match.group(1)):
        core = re.sub(r"\^\{?$", "", match.group(1))
        return core, _named(match.group(2), match.group(3))
    ordinal = _ORDINAL.fullmatch(answer)
    if ordinal:
        return ordinal.group(1), None
    match = _PLAIN.fullmatch(answer)
    if match:
        name = f"{match.group(2) or ''} {match.group(3)}"
        return match.group(1), _named(name, match.group(4))
    return answer, None


def split_compound(answer: str) -> tuple[str, Fraction, list[Fraction]] | None:
    r"""Split a quantity in two units of one dimension into dimension, amount in its base unit, and the units' factors.

    >>> split_compound(r"2hours,15\text{minutes}")
    ('time', Fraction(8100, 1), [Fraction(3600, 1), Fraction(60, 1)])
    """
    match = _COMPOUND.fullmatch(answer)
    large, small = (_named(match[name] or "dollar", None) for name in ("large", "small")) if match else (None, None)
    if match is None or large is None or small is None or large[0] != small[0] or large[1] <= small[1]:
        return None
    amount = Fraction(match["many"] or match["money"]) * large[1] + Fraction(match["few"]) * small[1]
    return large[0], amount, [large[1], small[1]]


def compatible(a: Unit | None, b: Unit | None) -> bool:
    """Return whether two units may name the same thing: one is missing, both are equal, or one word has two meanings.

    A bare degree may be a temperature, a pound a currency.
    """
    if a is None or b is None or a == b:
        return True
    return {a[0], b[0]} in ({"degree", "celsius"}, {"degree", "fahrenheit"}, {"sterling", "weight"})


def _is_value(core: str) -> bool:
    """Tell whether a value stands before the words: balanced, more than words, and not waiting for an operand."""
    without_words = re.sub(r"\\text\{[^{}]*\}", "", core)
    balanced = core.count("{") == core.count("}")
    return balanced and bool(re.search(r"[\dA-Za-z]", without_words)) and not _UNFINISHED.search(core)


def _named(words: str, power: str | None) -> Unit | None:
    words = words.lower()
    for short, long in _ABBREVIATIONS.items():
        words = words.replace(short, long)
    words = re.sub(r"^([a-z. ]+?) of .*", r"\1", words.strip(" .,"))  # kg of rice
    exponent = int(power) if power else 1
    parts = words.split()
    parts = [part for part in parts if part not in ("of", "the", "in", "per")] if len(parts) > 1 else parts
    if parts and parts[0] in ("square", "sq", "cubic", "cu"):
        exponent = 2 if parts[0] in ("square", "sq") else 3
        parts = parts[1:]
    if len(parts) != 1 or parts[0] in _NEUTRAL:
        return None
    unit = KNOWN.get(parts[0]) or KNOWN.get(re.sub(r"e?s$", "", parts[0])) or KNOWN.get(parts[0].removesuffix("s"))
    if unit is None:
        return None
    dimension, factor = unit
    return (dimension, factor) if exponent == 1 else (f"{dimension}^{exponent}", factor**exponent)
