"""The clip modes as a pure function: values by hand, gradients by autograd, the exact identity."""

import math
import re
from pathlib import Path

import pytest
import torch

import spurious_rewards
from spurious_rewards.errors import InputError
from spurious_rewards.training import clip

R = torch.tensor([0.5, 0.79, 0.9, 1.0, 1.1, 1.21, 2.0], dtype=torch.float64)


def value_and_gradient(mode, advantage, low=0.2, high=0.2, ratio=R):
    """Surrogate and its derivative with respect to log π_θ, for π_old = 0.4."""
    logp = (ratio * 0.4).log().requires_grad_()
    value = clip.surrogate(logp - math.log(0.4), torch.tensor(advantage, dtype=torch.float64), mode, low, high, logp)
    (gradient,) = torch.autograd.grad(value.sum(), logp)
    return value.detach(), gradient


def test_two_sided_values_by_hand():
    # A = +1: min(R, 1.2); A = −1: min(−R, −max(R, 0.8)) = −max(R, 0.8)
    up, _ = value_and_gradient("two_sided", 1.0)
    down, _ = value_and_gradient("two_sided", -1.0)
    torch.testing.assert_close(up, torch.tensor([0.5, 0.79, 0.9, 1.0, 1.1, 1.2, 1.2], dtype=torch.float64))
    torch.testing.assert_close(down, -torch.tensor([0.8, 0.8, 0.9, 1.0, 1.1, 1.21, 2.0], dtype=torch.float64))


# Which of the seven ratios keep their gradient R·A (1) or lose it (0), for A = +1 and A = −1.
KEPT = {
    "two_sided": ([1, 1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1, 1]),
    "none": ([1] * 7, [1] * 7),
    "high_only": ([1, 1, 1, 1, 1, 0, 0], [1] * 7),
    "low_only": ([1] * 7, [0, 0, 1, 1, 1, 1, 1]),
    # log-symmetric: exits at 1.2 and 1/1.2 = 0.8333, so 0.79 is out and 0.9 is in, as in two_sided
    "log_symmetric": ([1, 1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1, 1]),
}


@pytest.mark.parametrize("mode", KEPT)
@pytest.mark.parametrize("sign", [0, 1])
def test_gradient_is_ratio_times_advantage_inside_and_zero_outside(mode, sign):
    advantage = (1.0, -1.0)[sign]
    _, gradient = value_and_gradient(mode, advantage)
    torch.testing.assert_close(gradient, R * advantage * torch.tensor(KEPT[mode][sign], dtype=torch.float64))


def test_log_symmetric_lower_exit_is_at_one_over_one_plus_epsilon():
    ratio = torch.tensor([0.832, 0.834], dtype=torch.float64)  # 1/1.2 = 0.83333
    _, gradient = value_and_gradient("log_symmetric", -1.0, ratio=ratio)
    assert gradient.tolist() == [0.0, pytest.approx(-0.834)]


def test_two_sided_with_two_epsilons_is_dapo():
    ratio = torch.tensor([1.25, 1.3, 0.79], dtype=torch.float64)
    _, up = value_and_gradient("two_sided", 1.0, 0.2, 0.28, ratio)
    _, down = value_and_gradient("two_sided", -1.0, 0.2, 0.28, ratio)
    assert up.tolist() == [pytest.approx(1.25), 0.0, pytest.approx(0.79)]
    assert down.tolist() == [pytest.approx(-1.25), pytest.approx(-1.3), 0.0]


def test_cispo_clips_the_weight_and_keeps_every_gradient():
    _, gradient = value_and_gradient("cispo", 1.0)
    # d/dlogp [stop(min(R, 1.2))·A·logp] = min(R, 1.2)
    torch.testing.assert_close(gradient, R.clamp(max=1.2))


def test_none_released_drops_pi_old_as_well():
    value, gradient = value_and_gradient("none_released", 1.0)
    torch.testing.assert_close(value, R * 0.4)  # π_θ itself, not the ratio
    torch.testing.assert_close(gradient, R * 0.4)


def test_identity_of_information_free_advantages():
    """E_A[min(RA, clip(R)A)] = −μ[(R−1−ε)₊ + (1−ε−R)₊] for A = ±1 with probability 1/2, so μ = E[A⁺] = 1/2."""
    mean = (value_and_gradient("two_sided", 1.0)[0] + value_and_gradient("two_sided", -1.0)[0]) / 2
    expected = -0.5 * ((R - 1.2).clamp(min=0) + (0.8 - R).clamp(min=0))
    torch.testing.assert_close(mean, expected, rtol=0, atol=1e-15)
    unclipped = (value_and_gradient("none", 1.0)[0] + value_and_gradient("none", -1.0)[0]) / 2
    assert unclipped.abs().max() == 0


@pytest.mark.parametrize("mode", clip.MODES)
def test_every_mode_is_the_same_at_ratio_one(mode):
    """At the first update of a rollout batch the clip cannot act: the gradient is A for every mode that keeps π_old."""
    one = torch.ones(1, dtype=torch.float64)
    _, gradient = value_and_gradient(mode, 1.5, 0.2, 0.28, one)
    assert gradient.item() == pytest.approx(1.5 * 0.4 if mode == "none_released" else 1.5)


@pytest.mark.parametrize(
    "low, high, words",
    [(0.0, 0.2, "epsilon_low"), (1.5, 0.2, "epsilon_low"), (0.2, 0.0, "epsilon_high"), (0.2, -1.0, "epsilon_high")],
)
def test_epsilon_out_of_range(low, high, words):
    with pytest.raises(InputError, match=words):
        clip.band("two_sided", low, high)


def test_unknown_mode_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'none'"):
        clip.band("nonee", 0.2, 0.2)


def test_released_needs_logp():
    with pytest.raises(InputError, match="needs logp"):
        clip.surrogate(torch.zeros(1), torch.ones(1), "none_released")


def test_no_other_module_compares_names_of_modes():
    root = Path(spurious_rewards.__file__).parent
    named = re.compile('"(cispo|high_only|low_only|log_symmetric|none_released)"')
    found = [path for path in root.rglob("*.py") if named.search(path.read_text(encoding="utf-8"))]
    assert [path.relative_to(root).as_posix() for path in found] == ["training/clip.py"]


def test_the_table_of_modes_says_everything_that_the_checks_ask_for():
    assert {name for name, mode in clip.MODES.items() if not mode.hinge} == {"cispo", "none_released"}
    assert {name for name, mode in clip.MODES.items() if not mode.clips} == {"none", "none_released"}
    assert {name: mode.ignored for name, mode in clip.MODES.items() if mode.ignored} == {
        "high_only": "epsilon_low",
        "low_only": "epsilon_high",
        "log_symmetric": "epsilon_low",
        "cispo": "epsilon_low",
    }
    for name, mode in clip.MODES.items():
        assert mode.name == name and mode.sentence.endswith(".") and len(mode.sentence.split()) <= 40


def test_where_a_clip_acts():
    ratio, advantage = torch.tensor([0.7, 0.7, 1.3, 1.3]), torch.tensor([1.0, -1.0, 1.0, -1.0])
    acts = {name: mode.acts_on(ratio, advantage, mode.band(0.2, 0.2)).tolist() for name, mode in clip.MODES.items()}
    assert acts["two_sided"] == [False, True, True, False] and acts["none"] == [False] * 4
    assert acts["high_only"] == [False, False, True, False] and acts["low_only"] == [False, True, False, False]
    assert acts["cispo"] == [False, False, True, True], "a weight is clipped whatever the sign of A"
