"""Effects over seeds and problems; every expected number is worked out by hand in a comment."""

import math

import numpy as np
import pytest
from scipy import stats

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation import statistics as st
from spurious_rewards.evaluation.crossed import SEEDS_FOR_A_VERDICT, Components, effect, effect_difference, level


def test_effect_by_hand():
    # rows (seeds) 1 3 5 | 2 4 9: means 3, 5 → R = 2; columns 1.5 3.5 7, mean 4 → C = (6.25 + .25 + 9)/2 = 7.75
    # residuals ∓(-.5) …: 1−3−1.5+4 = .5, 3−3−3.5+4 = .5, 5−3−7+4 = −1, and their negatives: sum of squares 3 → E = 3/2
    # variance R/2 + C/3 − E/6 = 1 + 2.583333 − .25 = 3.333333
    # df = 3.333333² / (1²/1 + 2.583333²/2 + .25²/2) = 11.11111 / (1 + 3.336806 + .03125) = 2.543720
    found = effect(np.array([[1.0, 3.0, 5.0], [2.0, 4.0, 9.0]]))
    assert found.estimate == 4.0 and found.n == 2
    assert found.se == pytest.approx(math.sqrt(10 / 3)) and found.df == pytest.approx(2.543720, abs=1e-5)
    half = stats.t.ppf(0.975, found.df) * found.se
    assert (found.low, found.high) == pytest.approx((4 - half, 4 + half))
    assert found.at(0.9).high == pytest.approx(4 + stats.t.ppf(0.95, found.df) * found.se)


def test_effect_never_claims_less_than_seeds_or_problems_alone_show():
    # rows 0 1 | 1 0: means .5 .5 → R = 0; columns .5 .5 → C = 0; E = 4·.25/1 = 1; R/2 + C/2 − E/4 < 0 → variance 0
    assert effect(np.array([[0.0, 1.0], [1.0, 0.0]])).se == 0
    # seeds 0 and 1 on every problem: R = .5, C = E = 0 → the t interval over seeds, df 1
    found, alone = effect(np.array([[0.0] * 5, [1.0] * 5])), st.t_interval([0.0, 1.0])
    assert (found.low, found.high, found.df) == pytest.approx((alone.low, alone.high, 1))
    # problems 0 and 1 in every seed: R = E = 0 → the t interval over problems, df 3
    found, alone = effect(np.array([[0.0, 0.0, 1.0, 1.0]] * 6)), st.t_interval([0.0, 0.0, 1.0, 1.0])
    assert (found.low, found.high, found.df) == pytest.approx((alone.low, alone.high, 3))


def test_effect_where_there_is_nothing_to_tell():
    still = effect(np.full((3, 7), 0.1))
    assert (still.low, still.high, still.se, still.p_value()) == pytest.approx((0.1, 0.1, 0, 0))
    assert effect(np.zeros((3, 7))).p_value() == 1
    for alone in (np.ones((1, 5)), np.ones((5, 1))):
        found = effect(alone)
        assert (found.low, found.high) == (-math.inf, math.inf) and math.isnan(found.p_value())
    with pytest.raises(InputError, match="shape"):
        effect(np.ones(3))
    with pytest.raises(InputError, match="same problems"):
        effect(np.array([[1.0, np.nan], [1.0, 1.0]]))


def test_effect_difference_cancels_what_the_problems_share():
    rng = np.random.default_rng(1)
    difficulty = rng.normal(0, 5, 50)
    one, two = difficulty + np.array([[1.0], [1.2], [0.8]]), difficulty + np.array([[0.1], [-0.1]])
    found = effect_difference(one, two)
    # only seeds vary: R₁ = .04, R₂ = .02; variance .04/3 + .02/2 = .0233333; df = 2.882
    assert found.estimate == pytest.approx(1.0) and found.n == 2
    assert found.se == pytest.approx(math.sqrt(0.04 / 3 + 0.02 / 2))
    assert found.df == pytest.approx((0.07 / 3) ** 2 / ((0.04 / 3) ** 2 / 2 + 0.01**2))
    # … which is Welch's t over the seeds' means
    welch = stats.ttest_ind(one.mean(axis=1), two.mean(axis=1), equal_var=False)
    assert found.p_value() == pytest.approx(welch.pvalue) and found.df == pytest.approx(welch.df)
    with pytest.raises(InputError, match="same problems"):
        effect_difference(one, two[:, :10])


def test_components_and_the_seeds_that_decide():
    # of test_effect_by_hand: R = 2, C = 7.75, E = 1.5 → seeds 2 − 1.5/3, problems 7.75 − 1.5/2
    found = Components.of(np.array([[1.0, 3.0, 5.0], [2.0, 4.0, 9.0]]))
    assert (found.seeds, found.problems, found.residual) == pytest.approx((1.5, 7.0, 1.5))
    se, df = found.expected(2, 3)  # the same size gives the same error again
    assert (se, df) == pytest.approx((math.sqrt(10 / 3), 2.543720), abs=1e-5)
    # seeds alone vary, sd 5.3 points, smallest effect 3: (t(.95) + t(.9))·5.3/√n ≤ 3, with z: n ≥ (2.926·5.3/3)² = 26.7
    alone = Components(0.053**2, 0.0, 0.0)
    n = alone.seeds_to_decide(0.03, 4000)
    assert 27 <= n <= 30
    quantiles = [stats.t.ppf(0.95, m - 1) + stats.t.ppf(0.9, m - 1) for m in (n, n - 1)]
    assert quantiles[0] * 0.053 / math.sqrt(n) <= 0.03 < quantiles[1] * 0.053 / math.sqrt(n - 1)
    assert Components(0.0, 0.0, 0.0).seeds_to_decide(0.03, 400) == SEEDS_FOR_A_VERDICT
    # problems of sd 38 points: 400 of them leave an error of 1.9 points, 2.9·1.9 > 3, whatever the number of seeds
    assert Components(0.02**2, 0.38**2, 0.25**2).seeds_to_decide(0.03, 400) is None
    assert Components(0.02**2, 0.38**2, 0.25**2).seeds_to_decide(0.03, 4000) < 20


def test_levels_stay_between_0_and_1():
    assert level(np.array([[1.0, 1.0, 1.0, 0.0]])) == st.wilson(3, 4)
    assert level(np.ones((3, 4))) == st.wilson(4, 4)
    assert level(np.array([[0.5, 1.0, 0.25]])) == st.bootstrap_mean([0.5, 1.0, 0.25])
    # two seeds: t(.975, 1) makes the interval wider than [0, 1]
    assert level(np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])) == st.Interval(0.5, 0.0, 1.0, 2)
