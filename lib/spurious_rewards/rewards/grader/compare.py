r"""Are two canonical answers the same? String, structure, exact value, and only then the symbolic engine.

`compare(prediction, gold)` takes canonical strings (`normalization.normalize`) and returns a verdict with its reason
code. Structure is compared by its kind: bare lists and `\{…\}` without order, tuples and intervals with order and
brackets, matrices entry by entry, `a \pm b` as its two values, an inequality in one unknown as its interval; what is
left are single values, which go through units and the steps of `atoms`, and finally to math-verify.

>>> compare(r"\{1+\sqrt{19},1-\sqrt{19}\}", r"1\pm\sqrt{19}")[0], compare("(3,4)", "(3,4]")[0]
(True, False)
>>> compare(r"15\text{cm}^{2}", "15"), compare(r"5.4\text{dollars}", r"5.4\text{cents}")
((True, 'string_equal'), (False, 'unit_differs'))

Usage: `from spurious_rewards.rewards.grader.compare import compare`
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction

from spurious_rewards.rewards.grader import atoms, structure, worker_client
from spurious_rewards.rewards.grader.atoms import Outcome, Verdict
from spurious_rewards.rewards.grader.exact import close, value
from spurious_rewards.rewards.grader.guards import refuse
from spurious_rewards.rewards.grader.intervals import as_interval, unknown_of
from spurious_rewards.rewards.grader.structure import Group
from spurious_rewards.rewards.grader.units import KNOWN, Unit, compatible, split_unit

MAX_ITEMS = 24  # of an unordered list that is matched entry by entry
MAX_DEPTH = 6

_NAMED_SETS = (
    {r"\mathbb{R}", r"(-\infty,\infty)", r"(-\infty,+\infty)", r"\text{allrealnumbers}", "allrealnumbers"},
    {
        r"\emptyset",
        r"\{\}",
        r"\text{nosolution}",
        r"\text{nosolutions}",
        r"\text{norealsolution}",
        r"\text{norealsolutions}",
    },
    {
        "dne",
        r"\text{dne}",
        r"\text{doesnotexist}",
        r"\text{doesn'texist}",
        r"\text{limitdoesnotexist}",
        r"\text{thelimitdoesnotexist}",
        r"\text{undefined}",
        "undefined",
    },
)
_MODULUS = re.compile(
    r"(?P<residue>.+?)(?:\\p?mod|\(?\\bmod|\(?(?:\\text\{\(?)?mod(?:ulo)?\}?) ?\{?(?P<modulus>\d+)\}?\)?(?:\)?\})?"
)
_UNDECIDED = (False, "structure_differs")


def compare(prediction: str, gold: str, depth: int = 0) -> Verdict:
    """Whether the canonical answers are equal, and the reason code (`grading.REASONS`)."""
    if prediction == gold:
        return True, "string_equal"
    if depth > MAX_DEPTH:
        return False, "guard_nesting"
    for step in (_simplified, atoms.choices, atoms.words, atoms.bases):
        outcome = step(prediction, gold)
        if outcome is not None:
            return _settle(outcome, depth)
    with_units = _with_units(prediction, gold, depth)
    if with_units is not None:
        return with_units
    for step in (atoms.ratios, atoms.constants, atoms.unknowns):
        outcome = step(prediction, gold)
        if outcome is not None:
            return _settle(outcome, depth)
    for compound in (_relations, _groups, _matrices):
        verdict = compound(prediction, gold, depth)
        if verdict is not None:
            return verdict
    return _symbolic(prediction, gold)


def _settle(outcome: Verdict | tuple[str, str], depth: int) -> Verdict:
    """A verdict as it is; a rewritten pair compared."""
    return outcome if isinstance(outcome[0], bool) else compare(*outcome, depth + 1)


# ---------------------------------------------------------------- simplification


def _simplified(a: str, b: str) -> Outcome:
    """Drop brackets around single values; settle named sets, approximate equalities and chains of constants."""
    for simplify in (structure.unwrap_single, _chain_value):
        pair = simplify(a), simplify(b)
        if pair != (a, b):
            return pair
    (residue_a, modulus_a), (residue_b, modulus_b) = _split_modulus(a), _split_modulus(b)
    if modulus_a and modulus_b:
        x, y = value(residue_a), value(residue_b)
        if modulus_a == modulus_b and isinstance(x, Fraction) and isinstance(y, Fraction):
            same = (x - y) % modulus_a == 0
            return same, "number_equal" if same else "number_differs"
    elif modulus_a or modulus_b:
        return residue_a, residue_b
    for names in _NAMED_SETS:
        if all(re.sub(r"\s+", "", text[:40].lower()).replace("{r}", "{R}") in names for text in (a, b)):
            return True, "structure_equal"
    if "\\approx" in a + b:
        sides = [[part for part in re.split(r"\\approx(?![A-Za-z])", text) if part] for text in (a, b)]
        values = [[part for part in side if not structure.is_name(part)] or side for side in sides]
        pairs = [(x, y) for x in values[0] for y in values[1]]
        return next((pair for pair in pairs if compare(*pair, MAX_DEPTH - 1)[0]), pairs[0] if pairs else None)
    return None


def _split_modulus(text: str) -> tuple[str, int | None]:
    r"""Residue and modulus of `x\equiv3\pmod{7}` or `3\pmod7`; modulus None if there is none."""
    match = _MODULUS.fullmatch(text) if "mod" in text else None
    if match is None or not 0 < len(match["modulus"]) < 10 or int(match["modulus"]) == 0:
        return text, None
    return structure.strip_assignment(match["residue"]), int(match["modulus"])


def _chain_value(text: str) -> str:
    r"""The value of a chain of constants: `\frac12=0.5` is its first part, `3+4=7` its last."""
    parts = structure.split_top(text, "=") if "=" in text else []
    values = [value(part) for part in parts]
    if len(parts) < 2 or None in values:
        return text
    return parts[0] if atoms.is_decimal(parts[-1]) and close(values[0], values[-1], 0.05) else parts[-1]


def _with_units(a: str, b: str, depth: int) -> Verdict | None:
    """Percent signs and units: dropped if one side has none, converted if both have one of the same dimension."""
    (core_a, unit_a), (core_b, unit_b) = split_unit(a), split_unit(b)
    percents = [_percent(core) for core in (core_a, core_b)]
    if (core_a, core_b) == (a, b) and percents == [None, None]:
        return None
    if _is_angle(unit_a, core_b, unit_b) or _is_angle(unit_b, core_a, unit_a):
        radians = [
            rf"\frac{{({core})\pi}}{{180}}" if unit == KNOWN["degree"] else core
            for core, unit in ((core_a, unit_a), (core_b, unit_b))
        ]
        return compare(*radians, depth + 1)
    if not compatible(unit_a, unit_b):
        x, y = value(core_a), value(core_b)
        if unit_a[0] == unit_b[0] and isinstance(x, Fraction) and isinstance(y, Fraction):
            same = x * unit_a[1] == y * unit_b[1]
            return same, "number_equal" if same else "unit_differs"
        return False, "unit_differs"
    if (percents[0] and unit_b) or (percents[1] and unit_a):
        return False, "unit_differs"
    plain = [core if percent is None else percent for core, percent in zip((core_a, core_b), percents, strict=True)]
    verdict = compare(*plain, depth + 1)
    if verdict[0] or percents.count(None) != 1:
        return verdict
    x, y = (
        value(text if percent is None else rf"\frac{{{text}}}{{100}}")
        for text, percent in zip(plain, percents, strict=True)
    )
    return (True, "number_equal") if x is not None and x == y else verdict


def _is_angle(unit: Unit | None, other_core: str, other_unit: Unit | None) -> bool:
    r"""Whether degrees stand against radians: a multiple of \pi, with or without its unit."""
    return unit == KNOWN["degree"] and "\\pi" in other_core and other_unit in (None, KNOWN["radian"])


def _percent(text: str) -> str | None:
    match = re.fullmatch(r"(.+?)(?:\\?%|\\text\{(?:percent|pct|percentage)\}|percent|pct)", text)
    return match.group(1) if match else None


# ---------------------------------------------------------------- relations


def _relations(a: str, b: str, depth: int) -> Verdict | None:
    """Assignments, memberships, inequalities in one unknown."""
    interval_a, interval_b = _solution_set(a), _solution_set(b)
    if interval_a and interval_b:
        if unknown_of(a) != unknown_of(b):
            return False, "structure_differs"
        return compare(interval_a, interval_b, depth + 1)
    if interval_a and not structure.has_relation(b):
        return compare(interval_a, structure.strip_assignment(b), depth + 1)
    if interval_b and not structure.has_relation(a):
        return compare(structure.strip_assignment(a), interval_b, depth + 1)
    if structure.parse_group(a) or structure.parse_group(b):
        return None
    split_a, split_b = structure.split_assignment(a), structure.split_assignment(b)
    if split_a and split_b:
        return compare(split_a[1], split_b[1], depth + 1) if _same_name(split_a[0], split_b[0]) else None
    if split_a and not structure.has_relation(b):
        return compare(split_a[1], b, depth + 1)
    if split_b and not structure.has_relation(a):
        return compare(a, split_b[1], depth + 1)
    if ("=" in a) != ("=" in b) and not structure.has_relation(b if "=" in a else a):
        return False, "structure_differs"
    return None


def _same_name(a: str, b: str) -> bool:
    """Whether two left-hand sides name the same: without case, words or a mere word; `y` is `f(x)`."""
    if a.lower() == b.lower() or ("\\text" in a + b and re.sub(r"\\text\{.*?\}", "", a + b) == ""):
        return True
    return "y" in (a, b) and all(re.fullmatch(r"y|[fgh]\(x\)", name) for name in (a, b))


def _solution_set(text: str) -> str | None:
    """Interval notation of an inequality, or of several that are joined by "or" / "and"."""
    items = structure.split_top(text, ",")
    intervals = [as_interval(item) for item in items]
    if None in intervals:
        return None
    if len(items) == 2 and unknown_of(items[0]) == unknown_of(items[1]):
        groups = [structure.parse_group(interval) for interval in intervals]
        if all(groups) and {group.items[0] == r"-\infty" for group in groups} == {True, False}:
            upper, lower = sorted(groups, key=lambda group: group.items[0] != r"-\infty")
            low, high = value(lower.items[0]), value(upper.items[1])
            if isinstance(low, Fraction) and isinstance(high, Fraction) and low < high:  # overlapping rays: "and"
                return f"{lower.open}{lower.items[0]},{upper.items[1]}{upper.close}"
    return r"\cup".join(intervals)


# ---------------------------------------------------------------- lists, sets, tuples, intervals, matrices


def _groups(a: str, b: str, depth: int) -> Verdict | None:
    """Lists, sets, tuples, intervals, unions, ±."""
    union_a, union_b = _split_union(a), _split_union(b)
    if len(union_a) > 1 and len(union_a) == len(union_b):
        verdict = _unordered(union_a, union_b, depth)
        return verdict if verdict[0] else None
    if max(len(union_a), len(union_b)) > 1:
        single = a if len(union_a) == 1 else b
        return (False, "structure_differs") if _is_no_set(single) else None
    group_a, group_b = _group_of(a), _group_of(b)
    if group_a and group_b:
        return _compare_groups(group_a, group_b, depth)
    group, single = (group_a, b) if group_a else (group_b, a)
    if group is None:
        return None
    items = _distinct(group.items)
    if group.is_set and len(items) == 1:
        return compare(*((items[0], single) if group_a else (single, items[0])), depth + 1)
    if single.startswith(("\\begin{pmatrix}", "\\emptyset")):
        return None
    return None if structure.has_relation(structure.strip_assignment(single)) else (False, "structure_differs")


def _compare_groups(a: Group, b: Group, depth: int) -> Verdict:
    if any("\\ldots" in item or ".." in item for item in a.items + b.items):
        return False, "structure_differs"
    (named_a, items_a), (named_b, items_b) = _named_items(a), _named_items(b)
    if named_a and named_b:
        return _unordered(list(a.items), list(b.items), depth)
    brackets = {a.open + a.close, b.open + b.close}
    named = named_a or named_b
    if not named and ((a.is_set and b.is_set) or brackets == {"", "[]"}):
        return _unordered(_distinct(items_a), _distinct(items_b), depth)
    if "\\{" in (a.open, b.open) and not (a.is_set and b.is_set):
        return False, "structure_differs"
    if len(items_a) != len(items_b):
        return False, "structure_differs"
    an_interval = len(items_a) == 2 and not (a.is_set or b.is_set) and "\\langle" not in (a.open, b.open)
    if an_interval and len(brackets) > 1:
        return False, "structure_differs"
    return _all(compare(x, y, depth + 1) for x, y in zip(items_a, items_b, strict=True))


def _is_no_set(text: str) -> bool:
    """Whether the text is a constant, a matrix or words."""
    return value(text) is not None or text.startswith(("\\begin{pmatrix}", "\\text{"))


def _split_union(text: str) -> list[str]:
    return structure.split_top(re.sub(r"\\cup(?![A-Za-z])\s*", "∪", structure.strip_assignment(text)), "∪")


def _group_of(text: str) -> Group | None:
    """The group of a text, `x = (…)` included, with every ± in an unordered list written out."""
    group = structure.parse_group(text)
    if group is None:
        text = structure.strip_assignment(text)
        group = structure.parse_group(text)
    if group is None:
        values = structure.expand_plus_minus(text)
        return Group("", "", tuple(values)) if len(values) > 1 else None
    if group.is_set:
        return group._replace(items=tuple(one for item in group.items for one in structure.expand_plus_minus(item)))
    return group


def _named_items(group: Group) -> tuple[bool, list[str]]:
    """Whether the entries carry different names (`a=1,b=2`, but not `x_1=1,x_2=2`), and the entries without them."""
    splits = [structure.split_assignment(item) for item in group.items]
    items = [split[1] if split else item for split, item in zip(splits, group.items, strict=True)]
    names = {split[0] for split in splits if split}
    return len(names) > 1 and not all(re.fullmatch(r"([a-z])_\{\d\}", name) for name in names), items


def _distinct(items: Iterable[str]) -> list[str]:
    r"""The entries without repetitions, `\frac12` and `0.5` being one."""
    found: dict[object, str] = {}
    for item in map(structure.unwrap_single, items):
        number = value(item)
        found.setdefault(number if isinstance(number, Fraction) else item, item)
    return list(found.values())


def _unordered(left: list[str], right: list[str], depth: int) -> Verdict:
    """Match two lists entry by entry, equal strings first."""
    if len(left) != len(right) or len(left) > MAX_ITEMS:
        same = sorted(left) == sorted(right)
        return same, "structure_equal" if same else "structure_differs"
    rest = list(right)
    unmatched = []
    for item in left:
        if item in rest:
            rest.remove(item)
        else:
            unmatched.append(item)
    for item in unmatched:
        verdict = _UNDECIDED
        for other in rest:
            verdict = compare(item, other, depth + 1)
            if verdict[0]:
                rest.remove(other)
                break
        else:
            return False, verdict[1] if len(rest) == 1 else "structure_differs"
    return True, "structure_equal"


def _all(verdicts: Iterable[Verdict]) -> Verdict:
    return next(((False, reason) for equal, reason in verdicts if not equal), (True, "structure_equal"))


def _matrices(a: str, b: str, depth: int) -> Verdict | None:
    """Matrices entry by entry; a column against a tuple."""
    rows_a, rows_b = structure.parse_matrix(a), structure.parse_matrix(b)
    if rows_a and rows_b:
        if [len(row) for row in rows_a] != [len(row) for row in rows_b]:
            return False, "structure_differs"
        pairs = [pair for rows in zip(rows_a, rows_b, strict=True) for pair in zip(*rows, strict=True)]
        return _all(compare(x, y, depth + 1) for x, y in pairs)
    rows, other = (rows_a, b) if rows_a else (rows_b, a)
    if not rows:
        return None
    group = structure.parse_group(other)
    if group is None or group.open not in ("(", "\\langle"):
        return (False, "structure_differs") if group or value(other) is not None else None
    if any(len(row) != 1 for row in rows) or len(rows) != len(group.items):
        return False, "structure_differs"
    return _all(compare(x, row[0], depth + 1) for x, row in zip(group.items, rows, strict=True))


def _symbolic(a: str, b: str) -> Verdict:
    refusal = refuse(a) or refuse(b)
    return (False, refusal) if refusal else worker_client.equal(b, a)
