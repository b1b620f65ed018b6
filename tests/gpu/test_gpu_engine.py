"""The Transformers engine on CUDA: the CPU's samples in fp32, and the memory that was computed for it."""

import pytest
import random_models
import torch

from spurious_rewards.errors import InputError
from spurious_rewards.generation.engine import Sampling
from spurious_rewards.generation.kv_cache import empty_cache
from spurious_rewards.generation.memory import generation_bytes
from spurious_rewards.generation.transformers_engine import TransformersEngine, row_key, sample_at, uniforms
from spurious_rewards.models.registry import load

PROMPTS = ["What is 12 + 7?", "Compute gcd(18, 4).", "Find 55 minus 6.", "What is 34 * 5?"] * 4


@pytest.mark.parametrize("model", ["organism", "grouped"])
def test_samples_are_the_cpus(model, record):
    answers = {}
    for device in ("cpu", "cuda"):
        loaded, tokenizer = load("qwen-like") if model == "organism" else random_models.qwen("tiny", device="cpu")
        engine = TransformersEngine(loaded.to(device), tokenizer, batch_size=16)
        keys = [str(i) for i in range(len(PROMPTS))]
        samples = engine.generate(PROMPTS, Sampling(temperature=1.0, max_new_tokens=32, n_samples=4, seed=1), keys)
        answers[device] = [sample for group in samples for sample in group]
    pairs = list(zip(answers["cpu"], answers["cuda"], strict=True))
    same = sum(a.token_ids == b.token_ids for a, b in pairs) / len(pairs)
    apart = max(abs(a.logprobs - b.logprobs).max() for a, b in pairs if a.token_ids == b.token_ids)
    record(f"{model}, share of equal samples", same)
    record(f"{model}, largest difference of a log-probability", float(apart))
    assert same > 0.9 and apart < 1e-3


def test_the_token_at_a_quantile_is_the_cpus():
    import numpy as np

    keys = np.array([row_key(0, str(i), 0) for i in range(512)], dtype=np.uint64)
    u = torch.from_numpy(uniforms(keys, 3))
    p = torch.rand(512, 4099, generator=torch.Generator().manual_seed(0)).softmax(dim=-1)
    for top_p in (1.0, 0.9):
        cpu, gpu = sample_at(p, u, top_p), sample_at(p.cuda(), u.cuda(), top_p).cpu()
        assert (cpu == gpu).float().mean() > 0.99


def test_memory_of_seven_billion_parameters_is_as_computed(record):
    """128 answers of 3,072 tokens behind prompts of 819: the cache for all of them, the prompts read, four steps."""
    rows, prompt, new = 128, 819, 3072
    model, _ = random_models.qwen("7B", vocabulary=random_models.QWEN_VOCABULARY, dtype=torch.bfloat16)
    weights = torch.cuda.memory_allocated()
    needed = generation_bytes(model.config, rows, prompt, new, model.dtype)
    free = torch.cuda.mem_get_info()[0]
    if needed > free:
        pytest.skip(f"needs {needed / 1e9:.0f} GB beside the weights, {free / 1e9:.0f} GB are free")
    torch.cuda.reset_peak_memory_stats()
    with torch.no_grad():
        cache = empty_cache(model, prompt + new)
        ids = torch.randint(4, 1000, (rows, prompt), device="cuda")
        mask = torch.ones_like(ids)
        for _ in range(5):
            step = model(ids, attention_mask=mask, past_key_values=cache, use_cache=True, logits_to_keep=1)
            ids = step.logits[:, -1].argmax(dim=-1, keepdim=True)
            mask = torch.cat([mask, mask.new_ones(rows, 1)], dim=1)
    peak = torch.cuda.max_memory_allocated() - weights
    record("7 B in bf16, weights", weights / 1e9, "GB")
    record("128 × (819 + 3072) tokens, computed beside the weights", needed / 1e9, "GB")
    record("128 × (819 + 3072) tokens, measured beside the weights", peak / 1e9, "GB")
    assert peak == pytest.approx(needed, rel=0.15)


def test_a_batch_that_does_not_fit_is_refused_with_its_number():
    model, tokenizer = random_models.qwen("tiny")
    model.config.num_hidden_layers, model.config.intermediate_size = 28, 18944  # what is computed with, not what runs
    engine = TransformersEngine(model, tokenizer, batch_size=100_000)
    prompts = PROMPTS * 4000
    with pytest.raises(InputError, match=r"batch_size=64000.* GB .* use at most batch_size="):
        engine.generate(prompts, Sampling(max_new_tokens=8000), [str(i) for i in range(len(prompts))])
