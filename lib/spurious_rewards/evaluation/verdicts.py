"""Turn the interval of an effect into a verdict on a claim, by rules that are fixed before the runs.

Five verdicts: `supported`, `contradicted`, `equivalent to nothing`, `undecided`, `not run`. An effect is equivalent to
nothing if two one-sided tests show it smaller than the smallest effect that matters; otherwise its p-value and its sign
decide; otherwise it is undecided.

>>> judge(Effect.of(0.10, se=0.02, df=20, n=21), smallest=0.03)
'supported'
>>> judge(Effect.of(0.00, se=0.01, df=20, n=21), smallest=0.03)
'equivalent to nothing'
>>> judge(Effect.of(0.02, se=0.02, df=20, n=21), smallest=0.03)
'undecided'
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import stats

from spurious_rewards.evaluation.statistics import CONFIDENCE, Effect, Interval

SUPPORTED, CONTRADICTED, NOTHING = "supported", "contradicted", "equivalent to nothing"
UNDECIDED, NOT_RUN = "undecided", "not run"
EXPECTED = {"gain": 1, "loss": -1, "nothing": 0}
"""What a claim expects of an effect → its sign."""
LEVEL = 1 - CONFIDENCE


def judge(
    effect: Interval, smallest: float = 0.0, expect: str = "gain", p_value: float | None = None, level: float = LEVEL,
    n_pairs: int = 1,
) -> str:  # fmt: skip
    """Judge one effect against what a claim expects of it.

    Args:
        effect: an `Effect`, or an interval of another kind (bootstrap, Wilson), which is judged by its limits alone.
        smallest: smallest effect that matters, in the effect's unit; 0: nothing is too small to matter.
        expect: a key of `EXPECTED`.
        p_value: of the effect, adjusted for its family; the effect's own if None.
        level: of the two-sided test of 0, and of each of the two one-sided tests of equivalence.
        n_pairs: pairs among which this difference was picked as the largest; equivalence is tested at level / n_pairs.
    """
    narrow = effect.at(1 - 2 * level / n_pairs) if isinstance(effect, Effect) else effect
    if smallest > 0 and narrow.inside(smallest):
        return SUPPORTED if expect == "nothing" else NOTHING
    if isinstance(effect, Effect):
        p_value = effect.p_value() if p_value is None else p_value
        sign = int(np.sign(effect.estimate)) if p_value < level else 0
    else:
        sign = effect.sign()
    if not sign:
        return UNDECIDED
    return SUPPORTED if sign == EXPECTED[expect] else CONTRADICTED


def every(verdicts: Iterable[str]) -> str:
    """Join the verdicts on a claim that speaks of several arms, each of which has to do as the claim says.

    One contradicted arm contradicts the claim, and so do arms that are all decided but not alike.

    >>> every(["supported", "supported"]), every(["supported", "undecided"]), every(["contradicted", "undecided"])
    ('supported', 'undecided', 'contradicted')
    >>> every(["supported", "equivalent to nothing"])
    'contradicted'
    """
    found = set(verdicts)
    if not found:
        return NOT_RUN
    if len(found) == 1:
        return found.pop()
    if CONTRADICTED in found or found == {SUPPORTED, NOTHING}:
        return CONTRADICTED
    return UNDECIDED


def what_happens(effect: Effect, smallest: float, destruction: float, level: float = LEVEL) -> str:
    """Say in one word what an arm does to accuracy: nothing, gain, loss, destruction, or undecided.

    Destruction is a loss whose whole interval lies below −destruction.
    """
    verdict = judge(effect, smallest, level=level)
    if verdict == NOTHING:
        return "nothing"
    if verdict == SUPPORTED:
        return "gain"
    if verdict == CONTRADICTED:
        return "destruction" if effect.at(1 - level).high < -destruction else "loss"
    return "undecided"


def level_at(n_seeds: int, looks: Sequence[int], level: float = LEVEL) -> float:
    """Return the level of a test made at one of several looks at growing data, so that all together keep `level`.

    O'Brien and Fleming's spending function (Lan and DeMets): at the share t of the last look's seeds
    2(1 − Φ(z/√t)) has been spent, with z the normal quantile of `level`. A look gets what is newly spent, which holds
    whatever the looks have in common.

    >>> [round(level_at(n, [8, 16, 32]), 4) for n in (8, 16, 32)]
    [0.0001, 0.0055, 0.0444]
    """
    z = stats.norm.isf(level / 2)
    spent = [2 * stats.norm.sf(z / np.sqrt(look / looks[-1])) for look in looks]
    at = looks.index(n_seeds)
    return float(spent[at] - (spent[at - 1] if at else 0.0))
