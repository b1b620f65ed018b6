"""Group advantages by hand."""

import pytest
import torch

from spurious_rewards.errors import InputError
from spurious_rewards.training.advantages import group_advantages, whiten


def test_by_hand():
    # rewards 1 0 0 0: mean 0.25, deviations 0.75 and −0.25 (three times), sum of squares 0.75, ddof 1: std 0.5
    # → 0.75/0.5001 = 1.4997, −0.25/0.5001 = −0.4999
    advantages = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    torch.testing.assert_close(advantages, torch.tensor([[1.4997, -0.4999, -0.4999, -0.4999]]), atol=1e-4, rtol=0)
    # ddof 0: std √(0.75/4) = 0.4330 → 1.732
    assert group_advantages(torch.tensor([[1.0, 0, 0, 0]]), ddof=0, epsilon=0.0)[0, 0].item() == pytest.approx(3**0.5)


def test_scale_none_and_zero_variance():
    assert group_advantages(torch.tensor([[1.0, 0.0]]), "none").tolist() == [[0.5, -0.5]]
    assert group_advantages(torch.ones(2, 8)).abs().max() == 0
    with pytest.raises(InputError, match="did you mean 'std'"):
        group_advantages(torch.ones(1, 2), "sdt")


def test_whitening_is_token_weighted():
    # two rollouts of 3 and 1 tokens, advantages 1 and −1: mean (3·1 − 1)/4 = 0.5,
    # variance (3·0.25 + 2.25)/4 = 0.75 → 0.5/√0.75 = 0.5774 and −1.5/√0.75 = −1.7321
    result = whiten(torch.tensor([1.0, -1.0]), torch.tensor([3.0, 1.0]))
    torch.testing.assert_close(result, torch.tensor([0.57735, -1.73205]), atol=1e-4, rtol=0)
