"""Verdicts from intervals whose limits are worked out by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from spurious_rewards.evaluation.statistics import Effect, Interval
from spurious_rewards.evaluation.verdicts import every, judge, level_at, what_happens


def effect(estimate, se, df=20):
    return Effect.of(estimate, se, df, df + 1)


# t(.975, 20) = 2.086, t(.95, 20) = 1.725
@pytest.mark.parametrize(
    "estimate, se, expect, verdict",
    [
        (0.05, 0.02, "gain", "supported"),  # .05 − .0417 > 0
        (0.04, 0.02, "gain", "undecided"),  # .04 − .0417 < 0, .04 + .0345 > .03
        (-0.05, 0.02, "gain", "contradicted"),
        (-0.05, 0.02, "loss", "supported"),
        (0.05, 0.02, "nothing", "contradicted"),
        (0.0, 0.017, "gain", "equivalent to nothing"),  # .0293 < .03
        (0.0, 0.018, "gain", "undecided"),  # .0310 > .03
        (0.0, 0.017, "nothing", "supported"),
        (0.01, 0.002, "gain", "equivalent to nothing"),  # told from 0, and too small to matter
    ],
)
def test_one_effect(estimate, se, expect, verdict):
    assert judge(effect(estimate, se), 0.03, expect) == verdict


def test_adjusted_p_values_and_stricter_levels_count():
    found = effect(0.05, 0.02)  # p = 2·P(t₂₀ > 2.5) = .0212
    assert found.p_value() == pytest.approx(2 * stats.t.sf(2.5, 20)) == pytest.approx(0.0212, abs=1e-4)
    assert judge(found, 0.03, p_value=0.0212 * 3) == "undecided"
    assert judge(found, 0.03, level=0.01) == "undecided"
    # equivalence among 3 pairs is tested at .05/3: t(1 − .0167, 20) = 2.29, .017 · 2.29 = .0389 > .03
    assert judge(effect(0.0, 0.017), 0.03, n_pairs=3) == "undecided"


def test_intervals_of_other_kinds_are_judged_by_their_limits():
    assert judge(Interval(0.2, 0.1, 0.3, 9)) == "supported"
    assert judge(Interval(-0.2, -0.3, -0.1, 9)) == "contradicted"
    assert judge(Interval(0.0, -0.1, 0.1, 9)) == "undecided"
    assert judge(Interval(0.0, -0.01, 0.01, 9), 0.03) == "equivalent to nothing"
    nothing = Effect.of(0.3, math.nan, 0, 1)
    assert judge(nothing, 0.03) == "undecided", "one seed decides nothing"


def test_joint_verdicts():
    assert every([]) == "not run"
    assert every(["supported", "undecided", "equivalent to nothing"]) == "undecided"
    assert every(["equivalent to nothing"] * 2) == "equivalent to nothing"


@pytest.mark.parametrize(
    "estimate, word",
    [(0.0, "nothing"), (0.1, "gain"), (-0.1, "loss"), (-0.24, "destruction"), (-0.21, "loss"), (-0.025, "undecided")],
)
def test_what_happens_without_the_clip(estimate, word):
    # half width of the 95 % interval 2.086 · .0165 = .0344: −.24 + .0344 < −.20 < −.21 + .0344; 90 %: .0285 < .03
    assert what_happens(effect(estimate, 0.0165), 0.03, 0.20) == word


def test_levels_of_all_looks_add_up_to_the_whole():
    looks = [8, 16, 32]
    levels = [level_at(n, looks) for n in looks]
    assert sum(levels) == pytest.approx(0.05) and levels == sorted(levels)
    # a quarter of the data: 2(1 − Φ(1.96/√.25)) = 2(1 − Φ(3.92)) = .0000885
    assert levels[0] == pytest.approx(2 * stats.norm.sf(3.919928), rel=1e-4)
    # simulated: looking three times at growing data of no effect rejects in 5 % at most
    rng = np.random.default_rng(0)
    sums = rng.normal(size=(20_000, 32)).cumsum(axis=1)
    rejected = [np.abs(sums[:, n - 1]) / math.sqrt(n) > stats.norm.isf(level_at(n, looks) / 2) for n in looks]
    assert 0.03 < np.any(rejected, axis=0).mean() <= 0.052
