"""Memory and time of updates at real sizes: 4 sequences of 4,096 tokens, with and without recomputed activations."""

import time

import pytest
import random_models
import torch
from peft import get_peft_model
from trl.trainer.utils import add_fused_lm_head

from spurious_rewards.models.shape import shape_from
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.fast_trl import CompletionHead
from spurious_rewards.training.footprint import CARDS, memory_gb
from spurious_rewards.training.run import lora

ROWS, TOKENS, PROMPT = 4, 4096, 1024


def updates(model, trained, n=2):
    """Forward, backward, AdamW under bf16 autocast; seconds of the last update."""
    optimizer = torch.optim.AdamW(trained, lr=1e-6, fused=True)
    generator = torch.Generator("cuda").manual_seed(0)
    for _ in range(n):
        ids = torch.randint(4, 4000, (ROWS, TOKENS), device="cuda", generator=generator)
        labels = ids.clone()
        labels[:, :PROMPT] = -100
        torch.cuda.synchronize()
        began = time.perf_counter()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            output = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels, fused_lm_head=True)
        (-output.log_probs.float().sum() / (ROWS * (TOKENS - PROMPT))).backward()
        optimizer.step()
        optimizer.zero_grad()
        torch.cuda.synchronize()
    return time.perf_counter() - began


@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("size", ["1.5B full", "7B LoRA"])
def test_update(size, checkpointing, record):
    total = torch.cuda.get_device_properties(0).total_memory
    if size == "7B LoRA" and not checkpointing:
        pytest.skip("28 layers × 16,384 tokens × 262,264 bytes are 120 GB of activations beside 15 GB of weights")
    if size == "1.5B full" and not checkpointing and total < 100e9:
        pytest.skip(f"the activations need about 55 GB beside 25 GB, the card has {total / 1e9:.0f} GB")
    full = size == "1.5B full"
    needed, free = (25e9 if full else 15e9) + (25e9 if checkpointing else 55e9), torch.cuda.mem_get_info()[0]
    if free < needed:
        pytest.skip(f"needs {needed / 1e9:.0f} GB, other programs leave {free / 1e9:.0f} GB of the card free")
    model, _ = random_models.qwen(
        size.split()[0], random_models.QWEN_VOCABULARY, torch.float32 if full else torch.bfloat16
    )
    add_fused_lm_head(model, temperature=1.0, outputs=("log_probs", "entropy"))
    CompletionHead(model, 1.0, top1=True)
    if not full:
        model = get_peft_model(model, lora(16))
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    n = sum(p.numel() for p in model.parameters())
    torch.cuda.reset_peak_memory_stats()
    seconds = updates(model, [p for p in model.parameters() if p.requires_grad])
    peak, state = torch.cuda.max_memory_allocated(), n * (16 if full else 2)
    name = f"{size}, {'with' if checkpointing else 'without'} checkpointing"
    record(f"{name}: parameters", n)
    record(f"{name}: weights, gradients, optimizer, computed", state / 1e9, "GB")
    record(f"{name}: peak memory", peak / 1e9, "GB")
    record(f"{name}: tokens per second of an update", ROWS * TOKENS / seconds)
    assert 0.9 * state < peak < state + (25e9 if checkpointing else 75e9)
    # What `make plan` computes for this update; CUDA's context is not among what torch allocates.
    config = RunConfig(micro_batch=ROWS, gradient_checkpointing=checkpointing, lora_rank=0 if full else 16)
    shape, card = shape_from(model.config.to_dict()), CARDS["h200" if total > 100e9 else "h100"]
    parts = memory_gb(config, 1, card, shape=shape)
    computed = sum(parts.values()) - parts["process"]
    record(f"{name}: peak memory, computed", computed, "GB")
    passes = 3 + checkpointing - (not full)  # frozen weights have no gradient of their own
    operations = passes * shape.flops_per_token * ROWS * TOKENS / seconds
    record(f"{name}: share of the card's operations per second", operations / card.flops)
    assert 0.75 < computed / (peak / 1e9) < 1.25
