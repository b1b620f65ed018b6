"""Compute the memory that a batch of generation takes besides the weights, before it starts.

Keys and values of the whole batch are allocated at once (`kv_cache`), and reading the prompts holds the feed-forward
layer's tensors of every prompt token. With B answers of up to T tokens behind prompts of P tokens:

    keys and values     2 · layers · key-value heads · head width · B · (P + T)
    reading prompts     3 · feed-forward width · B · P, and 4 · hidden width · B · P
    logits              3 · vocabulary · B in float32, for one position

>>> from transformers import Qwen2Config
>>> qwen7b = Qwen2Config(hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28,
...                      num_key_value_heads=4, vocab_size=151936)
>>> round(generation_bytes(qwen7b, 256, 819, 3072, torch.bfloat16) / 1e9)
87
>>> largest_batch(qwen7b, 256, 819, 3072, torch.bfloat16, free=64 * 10**9)
187
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from spurious_rewards.errors import InputError
from spurious_rewards.storage.provenance import control_group


def generation_bytes(config: Any, batch_size: int, prompt_tokens: int, new_tokens: int, dtype: torch.dtype) -> int:
    """Return the bytes that one batch takes beside the weights.

    Args:
        config: the model's Transformers configuration.
        batch_size: samples generated together.
        prompt_tokens: of the longest prompt.
        new_tokens: of the longest answer.
        dtype: of activations, keys and values.
    """
    config = config.get_text_config()
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    cache = 2 * config.num_hidden_layers * kv_heads * head_dim * (prompt_tokens + new_tokens)
    prefill = (3 * inner + 4 * config.hidden_size) * prompt_tokens
    return batch_size * ((cache + prefill) * dtype.itemsize + 3 * 4 * config.vocab_size)


def largest_batch(
    config: Any, batch_size: int, prompt_tokens: int, new_tokens: int, dtype: torch.dtype, free: int
) -> int:
    """Return the largest batch size up to `batch_size` that fits into `free` bytes; 0 if not even one sample does."""
    return min(batch_size, free // generation_bytes(config, 1, prompt_tokens, new_tokens, dtype))


def free_bytes(device: torch.device) -> int | None:
    """Return the memory that can still be taken on a device; None where that cannot be found out.

    On a GPU, what the driver calls free and what this process holds unused; on a CPU, what Linux calls available, or
    less where a control group (version 2) limits this process.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    lines = Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").is_file() else []
    available = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    groups = zip(control_group("memory.max"), control_group("memory.current"), strict=True)
    left = [max(0, int(most) - int(used)) for most, used in groups if most.isdigit()]
    return min([*available, *left], default=None)


def check_memory(model: Any, batch_size: int, prompt_tokens: int, new_tokens: int) -> None:
    """Compare what a batch takes with what the model's device has left.

    Raises:
        InputError: it does not fit; the sentence has both numbers and a batch size that does.
    """
    free = free_bytes(model.device)
    needed = generation_bytes(model.config, batch_size, prompt_tokens, new_tokens, model.dtype)
    if free is None or needed <= free:
        return
    fits = largest_batch(model.config, batch_size, prompt_tokens, new_tokens, model.dtype, free)
    advice = f"use at most batch_size={fits}" if fits else "lower max_new_tokens or use a device with more memory"
    raise InputError(
        f"Generating with batch_size={batch_size}, prompts of {prompt_tokens} tokens and max_new_tokens={new_tokens} "
        f"takes {needed / 1e9:.0f} GB beside the weights, but {model.device} has {free / 1e9:.0f} GB left; {advice}."
    )
