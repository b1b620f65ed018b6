"""Every expected number is worked out by hand in a comment, or found by brute force."""

import itertools
import json
import math

import numpy as np
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation import significance as sg
from spurious_rewards.evaluation import statistics as st
from spurious_rewards.evaluation.crossed import effect

CLIP_ON = [68.7, 61.3, 69.5, 70.3, 53.2]
CLIP_OFF = [13.4, 56.1, 70.9, 72.7, 71.3, 72.7, 73.1, 13.8, 68.5, 16.6, 18.5, 48.4, 28.0]


def test_wilson_by_hand():
    # p = .8, n = 10, z = 1.959964: z² = 3.841459, 1 + z²/n = 1.3841459
    # centre = (.8 + .19207295)/1.3841459 = .7167405
    # half = 1.959964/1.3841459 · √(.016 + .0096036) = 1.4160097 · .1600114 = .2265776
    interval = st.wilson(8, 10)
    assert interval.estimate == 0.8
    assert interval.low == pytest.approx(0.7167405 - 0.2265776, abs=2e-6)
    assert interval.high == pytest.approx(0.7167405 + 0.2265776, abs=2e-6)


def test_wilson_at_the_edges():
    # 0 of 10: low = 0, high = z²/(n + z²) = 3.841459/13.841459 = .277533
    assert st.wilson(0, 10).low == pytest.approx(0.0, abs=1e-12)
    assert st.wilson(0, 10).high == pytest.approx(0.277533, abs=1e-6)
    empty = st.wilson(0, 0)
    assert math.isnan(empty.estimate) and (empty.low, empty.high, empty.n) == (0.0, 1.0, 0)
    with pytest.raises(InputError):
        st.wilson(11, 10)


def test_difference_of_proportions_by_hand():
    # 8/10 − 5/10 = .3; Wilson: [.490162, .943318] and, by symmetry about .5, [.236593, .763407]
    # low = .3 − √(.309838² + .263407²) = .3 − .406677; high = .3 + √(.143318² + .263407²) = .3 + .299871
    interval = st.proportion_difference(8, 10, 5, 10)
    assert interval.estimate == pytest.approx(0.3)
    assert interval.low == pytest.approx(-0.106677, abs=2e-5)
    assert interval.high == pytest.approx(0.599871, abs=2e-5)


def test_pass_at_k_by_hand():
    # n = 5, c = 2, k = 2: 1 − C(3,2)/C(5,2) = 1 − 3/10 = .7
    assert st.pass_at_k(5, 2, 2) == pytest.approx(0.7)
    # k = 1 is the share of correct samples; c > n − k means every draw of k holds a correct one
    np.testing.assert_allclose(st.pass_at_k(np.array([5, 5, 5]), np.array([0, 2, 4]), 1), [0, 0.4, 0.8])
    np.testing.assert_allclose(st.pass_at_k(np.array([5, 5]), np.array([0, 4]), 2), [0, 1])
    with pytest.raises(InputError, match="k=6"):
        st.pass_at_k(5, 2, 6)
    with pytest.raises(InputError):
        st.pass_at_k(5, 2, 0)


def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample():
    correct = [1, 0, 0, 1, 0, 0, 1]
    subsets = list(itertools.combinations(correct, 3))
    assert st.pass_at_k(7, 3, 3) == pytest.approx(sum(any(s) for s in subsets) / len(subsets))


def test_pass_at_k_of_many_samples_does_not_overflow():
    # C(1100, 500) is above 10³⁰⁰; 1 − (1097 choose 500)/(1100 choose 500) = 1 − 600·599·598 / (1100·1099·1098)
    assert st.pass_at_k(1100, 3, 500) == pytest.approx(1 - 600 * 599 * 598 / (1100 * 1099 * 1098))


def test_bootstrap_mean_matches_the_normal_interval_on_many_problems():
    values = np.r_[np.ones(600), np.zeros(400)]
    interval = st.bootstrap_mean(values, seed=3)
    # standard error √(.6·.4/1000) = .015492, so ± 1.96 · .015492 = ± .03036
    assert interval.estimate == pytest.approx(0.6) and interval.n == 1000
    assert interval.low == pytest.approx(0.6 - 0.03036, abs=0.002)
    assert interval.high == pytest.approx(0.6 + 0.03036, abs=0.002)
    assert interval == st.bootstrap_mean(values, seed=3)
    noise = np.random.default_rng(0).normal(size=100)
    assert st.bootstrap_mean(noise, seed=3) != st.bootstrap_mean(noise, seed=4)


def test_bootstrap_is_over_problems_not_samples():
    # 100 problems, 8 identical samples each: as wide as 100 problems with one sample, not as 800 samples
    one = np.r_[np.ones(50), np.zeros(50)]
    eight = np.repeat(one[:, None], 8, axis=1)
    interval = st.bootstrap_mean(eight.mean(axis=1))
    assert interval == st.bootstrap_mean(one) and interval.high - interval.low > 0.18  # 2 · 1.96 · √(.25/100) = .196


def test_bootstrap_ratio_by_enumeration():
    # two problems, 1/2 and 3/3: resamples {1,1}: .5, {2,2}: 1, {1,2} and {2,1}: 4/5 → quantiles .5 and 1
    interval = st.bootstrap_ratio(np.array([1, 3]), np.array([2, 3]))
    assert interval.estimate == pytest.approx(0.8)
    assert (interval.low, interval.high) == (0.5, 1.0)
    nothing = st.bootstrap_ratio(np.array([0, 0]), np.array([0, 0]))
    assert math.isnan(nothing.estimate) and (nothing.low, nothing.high) == (0.0, 1.0)


def test_mcnemar_by_hand():
    # 1 lost, 5 won: p = 2 · (C(6,0) + C(6,1)) / 2⁶ = 14/64 = .21875; difference (5 − 1)/10
    before = np.array([1, 0, 0, 0, 0, 0, 1, 1, 0, 0], bool)
    after = np.array([0, 1, 1, 1, 1, 1, 1, 1, 0, 0], bool)
    test = sg.mcnemar(before, after)
    assert test.p_value == pytest.approx(14 / 64)
    assert test.statistic == pytest.approx(0.4) and test.n == 10
    assert sg.mcnemar(before, before) == sg.Significance(0.0, 1.0, 10)
    with pytest.raises(InputError):
        sg.mcnemar(before, after[:5])


def test_paired_permutation_by_hand():
    # differences 1, 2, 3: 8 sign patterns, the observed sum 6 is reached by one: p = 2 · 1/8
    test = sg.paired_permutation(np.zeros(3), np.array([1.0, 2.0, 3.0]))
    assert test.statistic == pytest.approx(2.0) and test.p_value == pytest.approx(0.25)


def test_permutation_of_the_released_clip_ablation():
    # science: exact two-sided permutation p = .20; C(18, 5) = 8568 splits, difference of means 64.6 − 48.0
    test = sg.permutation(CLIP_ON, CLIP_OFF)
    assert test.statistic == pytest.approx(64.6 - 48.0)
    assert round(test.p_value, 2) == 0.20 and test.n == 18
    # the same by brute force: twice the share of splits with a difference at least as large
    values = np.array(CLIP_ON + CLIP_OFF)
    sums = np.array([sum(c) for c in itertools.combinations(values, 5)])
    assert test.p_value == pytest.approx(2 * np.mean(sums >= sum(CLIP_ON) - 1e-9))


def test_one_observation_says_what_it_can():
    assert sg.paired_permutation([0.25], [0.75]) == sg.Significance(0.5, 1.0, 1)
    # 9 and 8 against 1, 2, 3, 4: one of 15 splits gives as large a difference, and the two-sided p doubles it
    assert sg.permutation([9.0, 8.0], [1.0, 2.0, 3.0, 4.0]).p_value == pytest.approx(2 / 15)
    with pytest.raises(InputError, match="at least two values"):
        sg.permutation([9.0], [1.0, 2.0])


def test_shares_are_no_verdicts():
    with pytest.raises(InputError, match="0 or 1, but there are values between"):
        sg.mcnemar([0.5, 1.0], [1.0, 1.0])


def test_holm_leaves_out_tests_that_were_not_made():
    # two of three were made: .01 · 2 and .04 · 1; with m = 3 the first would be .03
    np.testing.assert_allclose(sg.holm([0.04, np.nan, 0.01]), [0.04, np.nan, 0.02])
    assert np.isnan(sg.holm([np.nan])).all()


def test_holm_by_hand():
    # sorted .01 .02 .03 .04 → ·4, ·3, ·2, ·1 = .04 .06 .06 .04 → running maximum .04 .06 .06 .06
    np.testing.assert_allclose(sg.holm([0.04, 0.01, 0.03, 0.02]), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(sg.holm([0.6, 0.5]), [1.0, 1.0])
    assert sg.holm([]).size == 0


def test_interval_says_what_it_holds():
    interval = st.Interval(0.1, -0.02, 0.22, 5)
    assert interval.columns("gain") == {"gain": 0.1, "gain_low": -0.02, "gain_high": 0.22}
    assert st.Interval.from_row(interval.columns("gain"), "gain", 5) == interval
    assert interval.text("nats", 2) == "+0.10 [-0.02, +0.22] nats" and interval.text("%") == "10.0 [-2.0, 22.0] %"
    assert [i.sign() for i in (interval, interval.shifted(0.1), interval.shifted(-0.3))] == [0, 1, -1]
    assert interval.inside(0.23) and not interval.inside(0.22) and not interval.inside(0.1)
    assert st.Interval(0.25, -0.1, 0.36, 5).root() == st.Interval(0.5, 0.0, 0.6, 5)
    moved = st.t_interval([1.0, 3.0]).shifted(-2.0)
    assert moved.p_value() == 1.0 and moved.se == 1.0, "still an effect"


def test_resamples_do_not_depend_on_how_they_are_cut_into_blocks(monkeypatch):
    values = np.random.default_rng(2).normal(size=11)
    whole = st.bootstrap_mean(values, n_resamples=300)
    monkeypatch.setattr(st, "_CHUNK", 110)  # ten rows per block
    assert st.bootstrap_mean(values, n_resamples=300) == whole


def test_t_interval_by_hand():
    # values 1, 3: mean 2, s = √2, s/√2 = 1, t(.975, 1) = 12.7062
    interval = st.t_interval([1.0, 3.0])
    assert (interval.estimate, interval.n) == (2.0, 2)
    assert interval.high == pytest.approx(2 + 12.7062, abs=1e-4)
    assert st.t_interval([1.0]).low == -math.inf


def test_intervals_are_plain_numbers():
    found = (st.wilson(3, 7), st.bootstrap_mean(np.ones(3)), effect(np.eye(3)), sg.mcnemar(np.ones(3), np.ones(3)))
    json.dumps([vars(interval) for interval in found])


def test_kept_draws_are_the_streamed_ones(monkeypatch):
    numbers_P_2 = np.random.default_rng(0).random((300, 2))
    kept = st.resampled_sums(numbers_P_2, seed=3, n_resamples=50)
    monkeypatch.setattr(st, "_KEPT_DRAWS", 0)
    assert np.array_equal(kept, st.resampled_sums(numbers_P_2, seed=3, n_resamples=50))
    assert not np.array_equal(kept, st.resampled_sums(numbers_P_2, seed=4, n_resamples=50))
