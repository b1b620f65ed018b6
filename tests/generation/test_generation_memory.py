"""Memory of generation by hand arithmetic, and the refusal of a batch that does not fit."""

import pytest
import torch
from tiny_lm import tiny_model, tiny_tokenizer

from spurious_rewards.errors import InputError
from spurious_rewards.generation import memory
from spurious_rewards.generation.engine import Sampling
from spurious_rewards.generation.transformers_engine import TransformersEngine


def test_the_terms_by_hand():
    """Two layers, one head of width 64, feed-forward 64, hidden 64, fp32, three samples of 10 + 6 tokens."""
    config = tiny_model().config
    cache = 2 * 2 * 64 * 16 * 4
    prefill = (3 * 64 + 4 * 64) * 10 * 4
    logits = 3 * 4 * config.vocab_size
    assert memory.generation_bytes(config, 3, 10, 6, torch.float32) == 3 * (cache + prefill + logits)
    half = memory.generation_bytes(config, 3, 10, 6, torch.bfloat16)
    assert half == 3 * ((cache + prefill) // 2 + logits)


def test_a_batch_that_does_not_fit_is_refused_before_anything_is_generated(monkeypatch):
    engine = TransformersEngine(tiny_model(), tiny_tokenizer(), batch_size=4)
    one = memory.generation_bytes(engine.model.config, 1, 3, 8, torch.float32)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2 * one + 1)
    monkeypatch.setattr(engine.model, "generate", lambda *a, **k: pytest.fail("it was started"))
    prompts = ["1+1"] * 5
    assert engine.prompt_lengths(prompts) == [3] * 5
    with pytest.raises(InputError, match=r"batch_size=4, prompts of 3 tokens .* GB left; use at most batch_size=2\."):
        engine.generate(prompts, Sampling(max_new_tokens=8), list("abcde"))
    monkeypatch.setattr(memory, "free_bytes", lambda device: one - 1)
    with pytest.raises(InputError, match="lower max_new_tokens"):
        engine.generate(prompts[:1], Sampling(max_new_tokens=8), ["a"])


def test_what_is_free_here_is_a_number_below_the_machines_memory():
    free = memory.free_bytes(torch.device("cpu"))
    assert free is None or 0 < free < 2**50


def test_every_control_group_above_counts(monkeypatch):
    told = {"memory.max": ["max", "3000", "2000"], "memory.current": ["5", "2500", "600"]}
    monkeypatch.setattr(memory, "control_group", lambda name: told[name])
    assert memory.free_bytes(torch.device("cpu")) == 500


def test_the_papers_profile_would_have_been_refused():
    """256 answers of 3,072 tokens behind MATH-500's longest prompt, Qwen2.5-Math-7B on 80 GB: 87 GB beside 15."""
    from transformers import Qwen2Config

    config = Qwen2Config(
        hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28,
        num_key_value_heads=4, vocab_size=151936,
    )  # fmt: skip
    left = int(80e9 - 2 * 7.62e9)
    assert memory.generation_bytes(config, 256, 819, 3072, torch.bfloat16) > left
    assert memory.largest_batch(config, 256, 819, 3072, torch.bfloat16, left) >= 128
