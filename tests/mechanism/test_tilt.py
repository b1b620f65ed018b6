"""Tilt against shrinkage: HC3 against statsmodels, what shrinkage alone does, the bootstrap, the adjustment."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from spurious_rewards.evaluation.statistics import Interval
from spurious_rewards.mechanism.effects import p_of_width, with_holm
from spurious_rewards.mechanism.tilt import bootstrap_tilt, tilt


@pytest.fixture
def moved():
    """Changes of the log-odds in 300 pairs: without the clip, and with one that lets 60 % through and adds 0.1."""
    rng = np.random.default_rng(0)
    none = rng.normal(-0.2, 1.0, 300)
    return none, 0.1 + 0.6 * none + rng.normal(0, 0.1, 300) * (1 + np.abs(none))


@pytest.mark.parametrize("cubic", [False, True])
def test_limits_are_those_of_hc3(moved, cubic):
    none, mode = moved
    terms = [none, none**3] if cubic else [none]
    found = tilt(mode, none, cubic=cubic)
    fit = sm.OLS(mode, sm.add_constant(np.column_stack(terms))).fit(cov_type="HC3", use_t=True)
    for i, one in enumerate(found):
        assert (one.low, one.estimate, one.high) == pytest.approx(
            (fit.conf_int()[i][0], fit.params[i], fit.conf_int()[i][1]), rel=1e-6
        )
    assert found[0].low > 0


def test_shrinkage_alone_is_no_tilt_in_log_odds_and_one_in_probability():
    """At p = 0.8 and s = 0.6 noise of variance 1 leaves −s(1 − s)·p''/2 = −0.24 · (−0.096) / 2 = 0.0115 at least."""
    rng = np.random.default_rng(1)
    none = rng.normal(0, 1, 2000)
    mode = 0.6 * none + rng.normal(0, 0.1, 2000)
    line, slope = tilt(mode, none)
    assert line.low < 0 < line.high and slope.estimate == pytest.approx(0.6, abs=0.02)
    probability = [1 / (1 + np.exp(-(np.log(4) + change))) - 0.8 for change in (mode, none)]
    assert tilt(*probability)[0].low > 0.005


def test_a_bend_that_is_equal_on_both_sides_is_no_tilt_beside_its_cube():
    none = np.random.default_rng(2).normal(-0.5, 1, 500)
    mode = 0.8 * none - 0.05 * none**3
    assert abs(tilt(mode, none)[0].estimate) > 0.01
    assert tilt(mode, none, cubic=True)[0].estimate == pytest.approx(0, abs=1e-9)


def test_without_motion_there_is_no_line():
    line, slope = tilt(np.array([0.0, 1.0, 2.0]), np.zeros(3))
    assert line.estimate == 1 and line.high == pytest.approx(1 + 4.303 / 3**0.5, rel=1e-3) and np.isnan(slope.estimate)


def test_bootstrap_draws_pairs_and_problems(moved):
    none, mode = moved
    rng = np.random.default_rng(3)
    problems = rng.normal(0, 0.5, 40)  # what the clip adds in each problem; their mean is not known exactly
    none_S_P = none[:, None] + np.zeros(40)
    mode_S_P = mode[:, None] + problems - problems.mean()
    line, slope = bootstrap_tilt(mode_S_P, none_S_P)
    alone = tilt(mode, none)[0]
    assert line.estimate == pytest.approx(alone.estimate) and slope.estimate == pytest.approx(0.6, abs=0.05)
    wider = (line.high - line.low) / (alone.high - alone.low)
    assert wider > 2  # the problems' part: 2 · 1.96 · 0.5 / √40 = 0.31, against 0.03 of the pairs
    exact, _ = bootstrap_tilt(0.5 + 0.8 * none_S_P, none_S_P)
    assert (exact.low, exact.high) == pytest.approx((0.5, 0.5))


def test_holm_counts_a_family_and_leaves_out_what_is_not_reliable():
    shared = {"model": "m", "optimizer": "sgd", "learning_rate": 0.1, "clip_mode": "two_sided", "reliable": True}
    rows = [
        {**shared, "quantity": name, "p_value": p}
        for name, p in (("code_logit", 0.05), ("code_tilt", 0.04), ("entropy", 0.01))
    ]
    # log-odds and tilt are one question: 2 · 0.04 and then max(0.08, 0.05); entropy is another
    assert with_holm(pd.DataFrame(rows))["p_holm"].tolist() == pytest.approx([0.08, 0.08, 0.01])
    # another setting without the tree: its stand-ins join the family, those of the first setting do not
    coarse = [
        {**shared, "quantity": "code_mean_logit", "p_value": 0.001, "learning_rate": step, "reliable": step < 1}
        for step in (0.1, 0.3, 1.0)
    ]
    found = with_holm(pd.DataFrame([*rows, *coarse]))["p_holm"]
    assert found[4] == pytest.approx(3 * 0.001) and np.isnan(found[5]) and found[3] == pytest.approx(0.001)
    assert found[0] == found[1] == pytest.approx(max(2 * 0.04, 0.05))


def test_p_of_an_interval_that_is_no_t_interval():
    assert p_of_width(Interval(1.0, 0.0, 2.0, 200)) == pytest.approx(0.05)
    assert np.isnan(p_of_width(Interval(0.0, 0.0, 0.0, 200))) and np.isnan(p_of_width(Interval(1.0, 0.0, 2.0, 1)))
