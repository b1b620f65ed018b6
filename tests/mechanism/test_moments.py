"""Closed-form moments of group-normalised advantages against exact enumeration and Monte Carlo."""

import itertools
import math

import numpy as np
import pytest
import torch

from spurious_rewards.errors import InputError
from spurious_rewards.mechanism.chain import solve
from spurious_rewards.mechanism.config import BanditConfig
from spurious_rewards.mechanism.moments import entropy_drift, entropy_threshold, law, moments
from spurious_rewards.training.advantages import group_advantages, whiten

TINY = 1e-300  # the closed forms have no ε in the denominator; this only keeps 0/0 away


def all_rewards(n, gamma):
    """Every reward vector of length n and its probability."""
    rewards = torch.tensor(list(itertools.product((0.0, 1.0), repeat=n)), dtype=torch.float64)
    ones = rewards.sum(dim=1)
    return rewards, gamma**ones * (1 - gamma) ** (n - ones)


def weighted(advantage, weight):
    """(E[A²], E[A⁺], E[A³]) of one rollout."""
    each = [(advantage**2), advantage.clamp(min=0), advantage**3]
    return [float(weight @ value.mean(dim=1)) for value in each]


@pytest.mark.parametrize("size", [2, 3, 5, 8])
@pytest.mark.parametrize("gamma", [0.5, 0.3, 0.001])
@pytest.mark.parametrize(("ddof", "scale"), [(0, "std"), (1, "std"), (1, "none")])
def test_moments_equal_enumeration(size, gamma, ddof, scale):
    rewards, weight = all_rewards(size, gamma)
    advantage = group_advantages(rewards, scale=scale, ddof=ddof, epsilon=TINY)
    found = moments(size, gamma, ddof, scale)
    assert [found.second, found.mu, found.third] == pytest.approx(weighted(advantage, weight), abs=1e-12)
    assert found.zero_variance == pytest.approx(float(weight[(rewards.std(dim=1) == 0)].sum()), abs=1e-15)


@pytest.mark.parametrize("gamma", [0.5, 0.3, 0.01])
@pytest.mark.parametrize(("size", "groups"), [(3, 2), (2, 4), (4, 3)])
def test_second_whitening_equals_enumeration(size, groups, gamma):
    rewards, weight = all_rewards(size * groups, gamma)
    advantage = group_advantages(rewards.view(-1, groups, size), epsilon=TINY).flatten(1)
    whitened = torch.stack([whiten(a, torch.ones(size * groups, dtype=torch.float64), TINY) for a in advantage])
    found = moments(size, gamma, ddof=1, whitened_groups=groups)
    assert [found.second, found.mu, found.third] == pytest.approx(weighted(whitened, weight), abs=1e-12)


def test_moments_agree_with_monte_carlo_at_sixteen():
    rewards = (torch.rand(200_000, 16, generator=torch.Generator().manual_seed(0)) < 0.3).double()
    advantage = group_advantages(rewards, epsilon=TINY)
    found = moments(16, 0.3)
    for value, exact in ((advantage**2, found.second), (advantage.clamp(min=0), found.mu),
                         (advantage**3, found.third)):  # fmt: skip
        per_group = value.mean(dim=1)
        assert abs(per_group.mean() - exact) < 4 * per_group.std() / math.sqrt(len(per_group)) + 1e-9


def test_two_rollouts_by_hand():
    # G = 2, γ = ½: rewards differ with probability ½; then p = ½, std (ddof 1) = √½, A = ±½/√½ = ±0.7071.
    # E[A²] = ½·½ = 0.25; E[A⁺] = ½·½·0.7071 = 0.1768; the signs are symmetric, so E[A³] = 0.
    found = moments(2, 0.5)
    assert found.zero_variance == 0.5
    assert (found.second, found.mu, found.third) == pytest.approx((0.25, 0.5**2.5, 0.0))


def test_sixteen_rollouts_as_quoted_for_the_paper():
    half, low, rare = moments(16, 0.5), moments(16, 0.3), moments(16, 0.001)
    assert (half.zero_variance, half.second, half.mu) == pytest.approx((3.1e-5, 0.9375, 0.4682), rel=2e-2, abs=5e-5)
    assert (low.mu, low.skewness) == pytest.approx((0.4255, 1.00), abs=6e-3)
    assert (moments(16, 0.7).mu, moments(16, 0.7).skewness) == pytest.approx((0.4255, -1.00), abs=6e-3)
    assert (rare.zero_variance, rare.mu) == pytest.approx((0.984, 0.0037), abs=2e-4)


def test_second_whitening_brings_back_the_noise_of_rare_rewards():
    once, twice = moments(16, 0.001), moments(16, 0.001, whitened_groups=64)
    # at least one of 64 groups has variance with probability 1 − 0.984119^64 = 0.641
    assert twice.second == pytest.approx(1 - once.zero_variance**64, abs=1e-12)
    assert twice.mu / once.mu > 6 and twice.second / once.second > 40


@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_no_advantage_without_reward_variance(gamma):
    for found in (moments(16, gamma), moments(16, gamma, whitened_groups=4), moments(16, gamma, scale="none")):
        assert (found.zero_variance, found.second, found.mu, found.third, found.skewness) == (1, 0, 0, 0, 0)


def test_law_sums_to_one_and_has_the_moments():
    value, weight = law(16, 0.3)
    found = moments(16, 0.3)
    assert weight.sum() == pytest.approx(1)
    assert [weight @ value, weight @ value**2, weight @ value**3] == pytest.approx([0, found.second, found.third])
    assert weight @ np.maximum(value, 0) == pytest.approx(found.mu)


@pytest.mark.parametrize("p", [0.55, 0.7, 0.9, 0.97])
def test_entropy_drift_against_every_outcome(p):
    config = BanditConfig(prior=f"{p},{1 - p}", clip_mode="none", groups=1, group_size=4, updates=1, batches=1,
                          order="grouped", step_size=0.01)  # fmt: skip
    chain = solve(config)
    policy = chain.policy()
    entropy = -(policy * np.log(policy)).sum(axis=1)
    start = -p * math.log(p) - (1 - p) * math.log(1 - p)
    value, weight = law(4, 0.5, epsilon=1e-4)
    expected = entropy_drift(p, 0.01, float(weight @ value**2), rollouts=4)
    assert chain.mean(entropy) - start == pytest.approx(float(expected), rel=2e-3)
    assert (expected > 0) == (p > entropy_threshold())


def test_entropy_drift_of_a_sigmoid_is_the_form_of_the_text():
    # ½·η²·E[A²]·(pq)²·(z(2p−1) − 1) at p = 0.8: pq = 0.16, z = 1.3863, bracket = −0.16822
    expected = 0.5 * 0.01 * 0.9375 * 0.0256 * -0.168223
    assert entropy_drift(0.8, 0.1, 0.9375, logits=1) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("wrong", [{"group_size": 1}, {"gamma": 1.2}, {"ddof": 2}, {"scale": "sdt"},
                                   {"scale": "none", "whitened_groups": 4}, {"whitened_groups": 0}])  # fmt: skip
def test_wrong_input(wrong):
    with pytest.raises(InputError):
        moments(**{"group_size": 16, "gamma": 0.5, **wrong})
