r"""Compare values that carry a unit: degrees with radians, one unit, two units of one dimension, a percent sign.

Each step takes two canonical strings and returns what a step of `atoms` returns. Which units there are is in `units`.

>>> units(r"1\text{m}", r"100\text{cm}"), units(r"5\text{dollars}", r"5\text{cents}"), units(r"5\text{m}", "5")
((True, 'number_equal'), (False, 'unit_differs'), ('5', '5'))
>>> compounds(r"2hours,15\text{minutes}", "135"), compounds(r"2hours,15\text{minutes}", "2.25")
((True, 'number_equal'), (True, 'number_equal'))
>>> percent_of(r"28\%"), percent_of("28")
('28', None)

Usage: `from spurious_rewards.rewards.grader.quantities import units`
"""

from __future__ import annotations

import re
from fractions import Fraction

from spurious_rewards.rewards.grader.atoms import Outcome
from spurious_rewards.rewards.grader.exact import value
from spurious_rewards.rewards.grader.structure import split_top
from spurious_rewards.rewards.grader.units import KNOWN, Unit, compatible, split_compound, split_unit

_PERCENT = re.compile(r"(.+?)(?:\\?%|\\text\{(?:percent|pct|percentage)\}|percent|pct)")


def angles(a: str, b: str) -> Outcome:
    """Compare degrees with radians in radians."""
    (core_a, unit_a), (core_b, unit_b) = split_unit(a), split_unit(b)
    if not (_is_angle(unit_a, core_b, unit_b) or _is_angle(unit_b, core_a, unit_a)):
        return None
    return _radians(core_a, unit_a), _radians(core_b, unit_b)


def units(a: str, b: str) -> Outcome:
    """Drop a unit that one side names; convert two of one dimension; tell others apart."""
    (core_a, unit_a), (core_b, unit_b) = split_unit(a), split_unit(b)
    if (core_a, core_b) == (a, b):
        return None
    if (unit_b and percent_of(core_a)) or (unit_a and percent_of(core_b)):
        return False, "unit_differs"
    if compatible(unit_a, unit_b):
        return core_a, core_b
    x, y = value(core_a), value(core_b)
    if not unit_a or not unit_b or unit_a[0] != unit_b[0] or not isinstance(x, Fraction) or not isinstance(y, Fraction):
        return False, "unit_differs"
    same = x * unit_a[1] == y * unit_b[1]
    return same, "number_equal" if same else "unit_differs"


def compounds(a: str, b: str) -> Outcome:
    """Compare quantities in two units; a number without a unit may count either of them."""
    first, second = split_compound(a), split_compound(b)
    if first and second:
        same = first[:2] == second[:2]
        return same, "number_equal" if same else "number_differs"
    compound, single = (first, b) if first else (second, a)
    core, unit = split_unit(single)
    number = value(core) if compound else None
    if compound is None or not isinstance(number, Fraction):
        return None
    dimension, amount, factors = compound
    counted = factors if unit is None else [unit[1]] if unit[0] == dimension else []
    same = any(number * factor == amount for factor in counted)
    return same, "number_equal" if same else "number_differs"


def percent_of(text: str) -> str | None:
    """Return what stands before a percent sign at the end; None without one, or for a list."""
    match = _PERCENT.fullmatch(text)
    return match.group(1) if match and len(split_top(text, ",;")) == 1 else None


def _is_angle(unit: Unit | None, other_core: str, other_unit: Unit | None) -> bool:
    r"""Tell whether degrees stand against radians: a multiple of \pi, with or without its unit."""
    return unit == KNOWN["degree"] and "\\pi" in other_core and other_unit in (None, KNOWN["radian"])


def _radians(core: str, unit: Unit | None) -> str:
    return rf"\frac{{({core})\pi}}{{180}}" if unit == KNOWN["degree"] else core
