r"""Compare two canonical answers: string, structure, exact value, and only then the symbolic engine.

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
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import NamedTuple

from spurious_rewards.rewards.grader import atoms, quantities, structure, worker_client
from spurious_rewards.rewards.grader.atoms import Outcome, Verdict
from spurious_rewards.rewards.grader.exact import close, value
from spurious_rewards.rewards.grader.guards import refuse
from spurious_rewards.rewards.grader.intervals import as_interval, unknown_of
from spurious_rewards.rewards.grader.quantities import percent_of
from spurious_rewards.rewards.grader.structure import Group

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


class Rule(NamedTuple):
    """Hold a step of the comparison with an example: an answer, another one, and whether they are equal.

    `apply(a, b, depth)` takes canonical strings and returns a verdict, a pair that is to be compared instead, or None
    if the rule does not apply.
    """

    apply: Callable[[str, str, int], Outcome]
    example: tuple[str, str, bool]


def compare(prediction: str, gold: str, depth: int = 0) -> Verdict:
    """Return whether two canonical answers are equal and the reason code, by the first of `RULES` that applies."""
    if prediction == gold:
        return True, "string_equal"
    if depth > MAX_DEPTH:
        return False, "guard_nesting"
    for rule in RULES:
        if (outcome := rule.apply(prediction, gold, depth)) is not None:
            a, b = outcome
            return (a, b) if isinstance(a, bool) else compare(a, b, depth + 1)
    return _symbolic(prediction, gold)


# ---------------------------------------------------------------- simplification


def _unwrapped(a: str, b: str, _: int) -> Outcome:
    """Drop brackets around single values."""
    pair = structure.unwrap_single(a), structure.unwrap_single(b)
    return None if pair == (a, b) else pair


def _chains(a: str, b: str, _: int) -> Outcome:
    """Take the value of a chain of constants."""
    pair = _chain_value(a), _chain_value(b)
    return None if pair == (a, b) else pair


def _moduli(a: str, b: str, _: int) -> Outcome:
    """Drop a modulus that one side names; compare residues if both name the same one."""
    (residue_a, modulus_a), (residue_b, modulus_b) = _split_modulus(a), _split_modulus(b)
    if (modulus_a is None) != (modulus_b is None):
        return residue_a, residue_b
    x, y = value(residue_a), value(residue_b)
    if modulus_a is None or modulus_a != modulus_b or not isinstance(x, Fraction) or not isinstance(y, Fraction):
        return None
    same = (x - y) % modulus_a == 0
    return same, "number_equal" if same else "number_differs"


def _named_sets(a: str, b: str, _: int) -> Outcome:
    """Names of one set or result are equal."""
    keys = {re.sub(r"\s+", "", text[:40].lower()).replace("{r}", "{R}") for text in (a, b)}
    return (True, "structure_equal") if any(keys <= names for names in _NAMED_SETS) else None


def _approximations(a: str, b: str, _: int) -> Outcome:
    r"""Of `x\approx2.3` any side may be meant."""
    if "\\approx" not in a + b:
        return None
    sides = [[part for part in re.split(r"\\approx(?![A-Za-z])", text) if part] for text in (a, b)]
    values = [[part for part in side if not structure.is_name(part)] or side for side in sides]
    pairs = [(x, y) for x in values[0] for y in values[1]]
    return next((pair for pair in pairs if compare(*pair, MAX_DEPTH - 1)[0]), pairs[0] if pairs else None)


def _split_modulus(text: str) -> tuple[str, int | None]:
    r"""Residue and modulus of `x\equiv3\pmod{7}` or `3\pmod7`; modulus None if there is none."""
    match = _MODULUS.fullmatch(text) if "mod" in text else None
    if match is None or not 0 < len(match["modulus"]) < 10 or int(match["modulus"]) == 0:
        return text, None
    return structure.strip_assignment(match["residue"]), int(match["modulus"])


def _chain_value(text: str) -> str:
    r"""Return the value of a chain of constants: `\frac12=0.5` is its first part, `3+4=7` its last."""
    parts = structure.split_top(text, "=") if "=" in text else []
    if len(parts) > 1 and all(atoms.split_base(part)[1] for part in parts):
        return parts[-1]
    plain = [part for part in parts if not percent_of(part)]
    if len(plain) == 1 < len(parts) and value(plain[0]) is not None:
        return plain[0]
    parts = plain or parts
    values = [value(part) for part in parts]
    if len(parts) < 2 or None in values:
        return text
    return parts[0] if atoms.is_decimal(parts[-1]) and close(values[0], values[-1], 0.05) else parts[-1]


def _percents(a: str, b: str, depth: int) -> Outcome:
    r"""Drop a percent sign, or take it as hundredths where one side has it: `28\%` equals 28 and 0.28."""
    percent_a, percent_b = percent_of(a), percent_of(b)
    if percent_a is None and percent_b is None:
        return None
    verdict = compare(percent_a or a, percent_b or b, depth + 1)
    if verdict[0] or (percent_a and percent_b):
        return verdict
    x, y = (value(rf"\frac{{{part}}}{{100}}" if part else text) for part, text in ((percent_a, a), (percent_b, b)))
    return (True, "number_equal") if x is not None and x == y else verdict


# ---------------------------------------------------------------- relations


def _inequalities(a: str, b: str, _: int) -> Outcome:
    """Compare inequalities in one unknown as the intervals that they describe."""
    interval_a, interval_b = _solution_set(a), _solution_set(b)
    if interval_a and interval_b:
        return (interval_a, interval_b) if unknown_of(a) == unknown_of(b) else (False, "structure_differs")
    if interval_a and not structure.has_relation(b):
        return interval_a, structure.strip_assignment(b)
    if interval_b and not structure.has_relation(a):
        return structure.strip_assignment(a), interval_b
    return None


def _assignments(a: str, b: str, _: int) -> Outcome:
    """Compare what is assigned (`x=5`, `x\\in S`), if both sides name the same or one names nothing."""
    if structure.parse_group(a) or structure.parse_group(b):
        return None
    split_a, split_b = structure.split_assignment(a), structure.split_assignment(b)
    if split_a and split_b:
        return (split_a[1], split_b[1]) if _same_name(split_a[0], split_b[0]) else None
    if split_a and not structure.has_relation(b):
        return split_a[1], b
    if split_b and not structure.has_relation(a):
        return a, split_b[1]
    parts = structure.split_top(a, "=")
    if len(parts) > 1 and parts[-1] != "0" and structure.is_quantity(parts[0]) and value(b) is not None:
        return parts[-1], b
    if (
        len(parts) > 1
        and not structure.has_relation(b)
        and (atoms.unknowns(parts[0], parts[-1]) or (False,))[0] is True
    ):
        return parts[-1], b  # x^2+5x+6=(x+2)(x+3)
    if ("=" in a) != ("=" in b) and not structure.has_relation(b if "=" in a else a):
        return False, "structure_differs"
    return None


def _same_name(a: str, b: str) -> bool:
    """Tell whether two left-hand sides name the same: without case, words or a mere word; `y` is `f(x)`."""
    if a.lower() == b.lower() or ("\\text" in a + b and re.sub(r"\\text\{.*?\}", "", a + b) == ""):
        return True
    return "y" in (a, b) and all(re.fullmatch(r"y|[fgh]\(x\)", name) for name in (a, b))


def _solution_set(text: str) -> str | None:
    """Interval notation of an inequality, or of several that are joined by "or" / "and"."""
    items = structure.split_top(text, ",")
    intervals = [interval for item in items if (interval := as_interval(item)) is not None]
    if len(intervals) < len(items):
        return None
    if len(items) == 2 and unknown_of(items[0]) == unknown_of(items[1]):
        groups = [group for interval in intervals if (group := structure.parse_group(interval)) is not None]
        if len(groups) == 2 and {group.items[0] == r"-\infty" for group in groups} == {True, False}:
            upper, lower = sorted(groups, key=lambda group: group.items[0] != r"-\infty")
            low, high = value(lower.items[0]), value(upper.items[1])
            if isinstance(low, Fraction) and isinstance(high, Fraction) and low < high:  # overlapping rays: "and"
                return f"{lower.open}{lower.items[0]},{upper.items[1]}{upper.close}"
    return r"\cup".join(intervals)


# ---------------------------------------------------------------- lists, sets, tuples, intervals, matrices


def _unions(a: str, b: str, depth: int) -> Outcome:
    """Compare unions of intervals part by part, in any order."""
    parts_a, parts_b = _split_union(a), _split_union(b)
    if len(parts_a) == len(parts_b) == 1:
        return None
    if len(parts_a) == len(parts_b) and (verdict := _unordered(parts_a, parts_b, depth))[0]:
        return verdict
    single = a if len(parts_a) == 1 else b if len(parts_b) == 1 else ""
    return (False, "structure_differs") if single and _is_no_set(single) else _symbolic(a, b)


def _groups(a: str, b: str, depth: int) -> Outcome:
    """Compare lists, sets, tuples and intervals by their entries."""
    group_a, group_b = _group_of(a), _group_of(b)
    if group_a and group_b:
        return _compare_groups(group_a, group_b, depth)
    group, single = (group_a, b) if group_a else (group_b, a)
    if group is None:
        return None
    items = _distinct(group.items)
    if group.is_set and len(items) == 1:
        return (items[0], single) if group_a else (single, items[0])
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
    if not (named_a or named_b) and ((a.is_set and b.is_set) or brackets == {"", "[]"}):
        return _unordered(_distinct(items_a), _distinct(items_b), depth)
    if len(items_a) != len(items_b) or _other_kind(a, b):
        return False, "structure_differs"
    return _all(compare(x, y, depth + 1) for x, y in zip(items_a, items_b, strict=True))


def _other_kind(a: Group, b: Group) -> bool:
    """Tell whether a set stands against a tuple, or other brackets around two entries: an interval."""
    if a.is_set or b.is_set:
        return "\\{" in (a.open, b.open) and not (a.is_set and b.is_set)
    return len(a.items) == 2 and "\\langle" not in (a.open, b.open) and a.open + a.close != b.open + b.close


def _is_no_set(text: str) -> bool:
    """Tell whether the text is a constant, a matrix or words."""
    return value(text) is not None or text.startswith(("\\begin{pmatrix}", "\\text{"))


def _split_union(text: str) -> list[str]:
    return structure.split_top(re.sub(r"\\cup(?![A-Za-z])\s*", "∪", structure.strip_assignment(text)), "∪")


def _group_of(text: str) -> Group | None:
    """Read the group of a text, `x = (…)` included, with every ± in an unordered list written out."""
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
    """Tell whether entries carry different names (`a=1,b=2`, not `x_1=1,x_2=2`); also return them without names."""
    splits = [structure.split_assignment(item) for item in group.items]
    items = [split[1] if split else item for split, item in zip(splits, group.items, strict=True)]
    names = {split[0] for split in splits if split}
    return len(names) > 1 and not all(re.fullmatch(r"([a-z])_\{\d\}", name) for name in names), items


def _distinct(items: Iterable[str]) -> list[str]:
    r"""Return the entries without repetitions, `\frac12` and `0.5` being one."""
    found: dict[object, str] = {}
    for item in map(structure.unwrap_single, items):
        percent = percent_of(item)
        number = value(rf"\frac{{{percent}}}{{100}}" if percent else item)
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


def _matrices(a: str, b: str, depth: int) -> Outcome:
    """Compare matrices entry by entry, and a column with a tuple."""
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


def _of_two(step: Callable[[str, str], Outcome]) -> Callable[[str, str, int], Outcome]:
    return lambda a, b, _: step(a, b)


RULES = (
    Rule(_unwrapped, ("(5)", "{5}", True)),
    Rule(_chains, ("3+4=7", "7", True)),
    Rule(_moduli, (r"x\equiv 3\pmod{7}", r"10\pmod 7", True)),
    Rule(_named_sets, (r"\mathbb{R}", r"(-\infty,\infty)", True)),
    Rule(_approximations, (r"x\approx 2.3", "2.3", True)),
    Rule(_of_two(atoms.choices), ("(A)", r"\text{A}", True)),
    Rule(_of_two(atoms.words), (r"\text{East}", "west", False)),
    Rule(_of_two(atoms.bases), (r"101_{\text{two}}", "101_3", False)),
    Rule(_of_two(quantities.angles), (r"45^\circ", r"\frac{\pi}{4}", True)),
    Rule(_of_two(quantities.compounds), (r"2\text{ hours and }15\text{ minutes}", r"2.25\text{ hours}", True)),
    Rule(_of_two(quantities.units), (r"1\text{ m}", r"100\text{ cm}", True)),
    Rule(_percents, (r"28\%", "0.28", True)),
    Rule(_of_two(atoms.ratios), ("16:3", r"\frac{16}{3}", True)),
    Rule(_of_two(atoms.constants), ("0.5", r"\frac{1}{2}", True)),
    Rule(_of_two(atoms.unknowns), ("(a+5)(b+2)", "ab+2a+5b+10", True)),
    Rule(_inequalities, (r"3<x\le4", "(3,4]", True)),
    Rule(_assignments, ("x=5", "6", False)),
    Rule(_unions, (r"(1,2)\cup(3,4)", r"(3,4)\cup(1,2)", True)),
    Rule(_groups, ("(1,2)", "(2,1)", False)),
    Rule(_matrices, (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\3\end{pmatrix}", False)),
)
"""The comparison, first rule first; what no rule settles goes to math-verify. Each example is run as a test."""
