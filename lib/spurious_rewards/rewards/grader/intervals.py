r"""Write the solution set of an inequality in one unknown as an interval or a union.

>>> as_interval(r"3<x\le4"), as_interval(r"5\ge x"), as_interval("|x|<2"), as_interval(r"\{x|x>5\}")
('(3,4]', '(-\\infty,5]', '(-(2),2)', '(5,\\infty)')
>>> as_interval("x+y<3") is None, unknown_of(r"3<x\le4")
(True, 'x')

Usage: `from spurious_rewards.rewards.grader.intervals import as_interval`
"""

from __future__ import annotations

import re

from spurious_rewards.rewards.grader.structure import NAME, RELATION, is_name

_FLIP = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le", "\\ne": "\\ne"}
_UPWARD = ("<", "\\le")
_SET_BUILDER = re.compile(rf"\\\{{{NAME}(?:\\in[^:|]*)?[:|](.+)\\\}}")
_ABSOLUTE = re.compile(rf"\|({NAME})\|")


def as_interval(text: str) -> str | None:
    """Return interval notation of an inequality between one unknown and constants; None for anything else."""
    text = _SET_BUILDER.sub(r"\1", text)
    parts = [part.strip() for part in RELATION.split(text)]
    signs = RELATION.findall(text)
    if len(signs) == 1:
        return _one_sided(parts[0], signs[0], parts[1])
    if len(signs) == 2:
        return _two_sided(parts, signs)
    return None


def unknown_of(text: str) -> str | None:
    """Return the unknown of an inequality that `as_interval` understands."""
    parts = map(str.strip, RELATION.split(_SET_BUILDER.sub(r"\1", text)))
    return next((part.strip("|") for part in parts if is_name(part)), None)


def _one_sided(left: str, sign: str, right: str) -> str | None:
    if not is_name(left) or "," in left:
        left, right, sign = right, left, _FLIP[sign]
    if not is_name(left) or _mentions(right, left.strip("|")):
        return None
    if _ABSOLUTE.fullmatch(left):
        return {
            "<": rf"(-({right}),{right})",
            "\\le": rf"[-({right}),{right}]",
            ">": rf"(-\infty,-({right}))\cup({right},\infty)",
            "\\ge": rf"(-\infty,-({right})]\cup[{right},\infty)",
        }.get(sign)
    return {
        "<": rf"(-\infty,{right})",
        "\\le": rf"(-\infty,{right}]",
        ">": rf"({right},\infty)",
        "\\ge": rf"[{right},\infty)",
        "\\ne": rf"(-\infty,{right})\cup({right},\infty)",
    }[sign]


def _two_sided(parts: list[str], signs: list[str]) -> str | None:
    low, unknown, high = parts
    if not is_name(unknown) or "|" in unknown or _mentions(low, unknown) or _mentions(high, unknown):
        return None
    if signs[0] not in _UPWARD:
        low, high, signs = high, low, [_FLIP[sign] for sign in reversed(signs)]
    if not all(sign in _UPWARD for sign in signs):
        return None
    return f"{'(' if signs[0] == '<' else '['}{low},{high}{')' if signs[1] == '<' else ']'}"


def _mentions(text: str, unknown: str) -> bool:
    return not text or unknown in re.sub(r"\\[A-Za-z]+", "", text)
