"""The group's standard deviation is the float64 one, rounded."""

import math

import torch
from trl.trainer import grpo_trainer

from spurious_rewards.training.exact import with_exact_std


def test_the_standard_deviation_is_rounded_from_float64():
    # rewards 1 0 0 0: mean 1/4, squares 9/16 + 3/16 = 3/4, divided by 3: 1/4, root 1/2
    rewards = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
    seen = with_exact_std(lambda: grpo_trainer.nanstd(rewards, dim=1))()
    assert seen.dtype == torch.float32 and seen[0] == 0.5
    assert torch.equal(seen, rewards.double().std(dim=1).float())
    many = torch.rand(4096, 16)
    seen = with_exact_std(lambda: grpo_trainer.nanstd(many, dim=1))()
    correction = torch.tensor(16) / torch.tensor(15)  # TRL's, in float32
    squares = (many.double() - many.double().mean(dim=1, keepdim=True)).square().mean(dim=1) * correction
    roots = [math.sqrt(value) for value in squares.tolist()]  # the exact root of IEEE 754
    assert torch.equal(seen, torch.tensor(roots, dtype=torch.float64).float())


def test_trl_has_its_own_function_again_afterwards():
    before = grpo_trainer.nanstd
    with_exact_std(lambda: None)()
    assert grpo_trainer.nanstd is before
