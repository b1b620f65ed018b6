"""The tests check the shapes in annotations, see `conftest.py`."""

import sys

import pytest
import torch
from jaxtyping import TypeCheckError

from spurious_rewards.training import clip
from spurious_rewards.training.diagnostics import token_statistics

pytest.importorskip("beartype", reason="shapes are not checked without beartype; `make setup` installs it")


def test_a_batch_of_another_shape_or_of_integers_is_rejected():
    ratios, advantages = torch.zeros(3), torch.ones(3)
    assert clip.surrogate(ratios, advantages, "two_sided", 0.2, 0.2).tolist() == [1, 1, 1]
    with pytest.raises(TypeCheckError):
        clip.surrogate(ratios, advantages[:2], "two_sided", 0.2, 0.2)
    with pytest.raises(TypeCheckError):
        clip.surrogate(ratios.long(), advantages, "two_sided", 0.2, 0.2)


def test_vectors_of_one_call_must_be_of_one_length():
    tokens = torch.full((4,), -0.5)
    assert token_statistics(tokens, tokens, tokens, tokens, epsilon=0.2)["n_tokens"] == 4
    with pytest.raises(TypeCheckError):
        token_statistics(tokens, tokens, tokens, tokens[:3], epsilon=0.2)


def test_the_checked_modules_say_so():
    for name in ("clip", "advantages", "diagnostics"):
        module = sys.modules[f"spurious_rewards.training.{name}"]
        assert type(module.__loader__).__module__.startswith("jaxtyping"), name
