"""The clip's restoring force: the identity, its gradient, and the asymmetry between likely and unlikely arms."""

import math

import numpy as np
import pytest
import torch

from spurious_rewards.errors import InputError
from spurious_rewards.mechanism import chain, identity
from spurious_rewards.mechanism.bandit import simulate
from spurious_rewards.mechanism.config import BanditConfig
from spurious_rewards.mechanism.moments import law, moments
from spurious_rewards.training import clip

RATIOS = np.exp(np.linspace(-2, 2, 401))


def averaged(mode, gamma, ratios=RATIOS):
    """E_A of the trainer's surrogate at each ratio, over the exact law of the advantage."""
    value, weight = (torch.from_numpy(x) for x in law(16, gamma, epsilon=1e-4))
    log_ratio = torch.from_numpy(np.log(ratios))[:, None].expand(-1, len(value))
    return (clip.surrogate(log_ratio, value, mode, 0.2, 0.2, logp=log_ratio - 3) @ weight).numpy()


@pytest.mark.parametrize("gamma", [0.5, 0.3, 0.7, 0.001, 0.0])
@pytest.mark.parametrize("mode", identity.HINGE_MODES)
def test_identity_is_exact(mode, gamma):
    value, weight = law(16, gamma, epsilon=1e-4)
    mu = float(weight @ np.maximum(value, 0))
    expected = identity.expected_surrogate(RATIOS, mu, mode, 0.2, 0.2)
    assert np.abs(averaged(mode, gamma) - expected).max() < 1e-12
    if mode != "none" and mu:
        assert expected.min() < -0.3 * mu  # it is not the identity of zero and zero


@pytest.mark.parametrize("mode", ["none", "cispo", "none_released"])
def test_no_hinge_without_a_clipped_gradient(mode):
    value, weight = (torch.from_numpy(x) for x in law(16, 0.3, epsilon=1e-4))
    log_ratio = torch.from_numpy(np.log(RATIOS)).requires_grad_()
    each = log_ratio[:, None].expand(-1, len(value))
    total = clip.surrogate(each, value, mode, 0.2, 0.2, logp=each - 3) @ weight
    (force,) = torch.autograd.grad(total.sum(), log_ratio)
    assert force.abs().max() < 1e-12


@pytest.mark.parametrize("mode", identity.HINGE_MODES)
def test_four_case_slope_is_the_gradient_of_the_surrogate(mode):
    log_ratio = torch.linspace(-1, 1, 81, dtype=torch.float64).requires_grad_()
    for advantage in (1.5, -0.7, 0.0):
        value = clip.surrogate(log_ratio, torch.tensor(advantage, dtype=torch.float64), mode, 0.2, 0.2)
        (gradient,) = torch.autograd.grad(value.sum(), log_ratio)
        mine = identity.slope(log_ratio.detach().exp().numpy(), advantage, identity.hinge_band(mode, 0.2, 0.2))
        assert np.abs(gradient.numpy() - mine).max() < 1e-12


def test_the_misprinted_case_keeps_its_gradient():
    # A < 0 and R = 0.9 > 1 − ε: R·A = −0.9·2 = −1.8; A < 0 and R = 0.7 < 1 − ε: clipped, 0
    band = clip.ClipBand(0.2, 0.2)
    assert identity.slope([0.9, 0.7], -2.0, band).tolist() == [-1.8, 0.0]


def test_an_upper_exit_pulls_back_harder_and_a_likely_token_has_none():
    # just outside the exits the force on log π is −μ·R above and +μ·R below: 1.2 / 0.8
    low, high = np.log(0.8), np.log(1.2)
    above, below = (
        np.diff(identity.expected_surrogate(np.exp([x, x + 1e-7]), 1.0)) / 1e-7 for x in (high + 1e-6, low - 1e-6)
    )
    assert float(-above[0] / below[0]) == pytest.approx(1.5, abs=1e-4)
    assert identity.two_arm_exits(0.84)["up_1"] > 1 > identity.two_arm_exits(0.83)["up_1"]  # 1 / 1.2 = 0.833


def test_exits_are_symmetric_in_probability_and_not_in_logits():
    exits = identity.two_arm_exits(0.65)
    # 0.65 ± 0.2·0.65 = 0.52, 0.78 and 0.65 ± 0.2·0.35 = 0.58, 0.72
    assert exits == pytest.approx({"down_1": 0.52, "down_2": 0.58, "up_1": 0.78, "up_2": 0.72})
    logit = {name: math.log(p / (1 - p)) - math.log(0.65 / 0.35) for name, p in exits.items()}
    assert -logit["down_2"] < logit["up_2"] and -logit["down_1"] < logit["up_1"]


@pytest.mark.parametrize("mode", identity.HINGE_MODES)
@pytest.mark.parametrize("p_old", [0.65, 0.9])
def test_two_arm_force_is_the_gradient_of_the_expected_surrogate(mode, p_old):
    value, weight = (torch.from_numpy(x) for x in law(16, 0.5, epsilon=1e-4))
    mu = float(weight @ value.clamp(min=0))
    old = torch.tensor([p_old, 1 - p_old], dtype=torch.float64)
    for p_now in (0.3, 0.6, 0.7, 0.76, 0.93, 0.99):
        logits = torch.tensor([math.log(p_now / (1 - p_now)), 0.0], dtype=torch.float64, requires_grad=True)
        log_ratio = (torch.log_softmax(logits, dim=0) - old.log())[:, None].expand(-1, len(value))
        objective = old @ (clip.surrogate(log_ratio, value, mode, 0.2, 0.2) @ weight)
        (gradient,) = torch.autograd.grad(objective, logits)
        force = float(identity.two_arm_force(p_now, p_old, mu, mode, 0.2, 0.2))
        assert gradient.tolist() == pytest.approx([force, -force], abs=1e-12)


@pytest.mark.parametrize("mode", ["two_sided", "high_only", "low_only"])
def test_first_order_drift_has_the_sign_and_size_of_one_rollout_batch(mode):
    step, value = 0.6, moments(16, 0.5)
    settings = {"step_size": step, "batches": 1, "seeds": 10_000, "prior": "0.65,0.35"}
    moved = {m: simulate(BanditConfig(clip_mode=m, **settings)).per_seed["logit_change"] for m in (mode, "none")}
    effect = moved[mode] - moved["none"]  # paired: equal random numbers
    predicted = identity.first_order_drift(0.65, value.mu, value.second, step, 128, 8, mode)
    error = effect.std(ddof=1) / math.sqrt(len(effect))
    assert abs(effect.mean()) > 3 * error  # the clip acts
    assert 0.35 < effect.mean() / predicted < 1.3


def test_first_order_drift_fails_where_it_says_so():
    """One rollout per update, exactly: the sign holds for three modes, the size does not; log_symmetric is refused."""
    tiny = {
        "prior": "0.65,0.35",
        "groups": 1,
        "group_size": 4,
        "updates": 4,
        "batches": 1,
        "order": "grouped",
        "step_size": 0.6,
    }
    value = moments(4, 0.5)
    ratios = {}
    for mode in ("two_sided", "high_only", "low_only"):
        exact = chain.logit_change(chain.solve(BanditConfig(**tiny, clip_mode=mode)))
        ratios[mode] = exact / identity.first_order_drift(0.65, value.mu, value.second, 0.6, 1, 4, mode)
    assert 0.5 < ratios["two_sided"] < 1 < ratios["high_only"] < 1.3 and ratios["low_only"] > 5
    assert chain.logit_change(chain.solve(BanditConfig(**tiny, clip_mode="log_symmetric"))) > 0.04
    with pytest.raises(InputError, match="wrong sign"):
        identity.first_order_drift(0.65, value.mu, value.second, 0.6, 1, 4, "log_symmetric")


def test_one_update_has_no_drift():
    assert identity.first_order_drift(0.65, 0.47, 0.94, 2.0, 128, updates=1) == 0.0


def test_modes_without_a_hinge_are_refused():
    with pytest.raises(InputError, match="does not clip the surrogate"):
        identity.expected_surrogate([1.0], 0.5, "cispo")
