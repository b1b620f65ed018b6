"""One GRPO rollout batch of SmolLM2 in our trainer against stock TRL: time, memory, tokens per second of generation."""

import time
from dataclasses import replace

import contest
import random_models
import tiny
import torch

from spurious_rewards.models.registry import load
from spurious_rewards.models.smollm2 import NAME, is_prepared
from spurious_rewards.storage.paths import project_root
from spurious_rewards.training.prompts import training_rows, within_limit
from spurious_rewards.training.run import make_trainer

PREPARED = project_root() / "runs" / "models" / NAME


def smollm2(*args, **kwargs):
    """The prepared model, else a random one of its shape: both cost the same."""
    if is_prepared(PREPARED):
        return load(PREPARED)
    return random_models.smollm2_shape()


def timed(trainer):
    """Seconds of the second rollout batch, peak memory in GB, generated tokens per second."""
    seconds, tokens = [], []
    torch.cuda.reset_peak_memory_stats()
    generate = trainer._generate_single_turn

    def measured(*args, **kwargs):
        torch.cuda.synchronize()
        began = time.perf_counter()
        result = generate(*args, **kwargs)
        torch.cuda.synchronize()
        tokens.append((sum(map(len, result[0])), time.perf_counter() - began))
        return result

    trainer._generate_single_turn = measured
    step = trainer.training_step

    def stepped(*args, **kwargs):
        torch.cuda.synchronize()
        seconds.append(time.perf_counter())
        return step(*args, **kwargs)

    trainer.training_step = stepped
    trainer.train()
    torch.cuda.synchronize()
    seconds.append(time.perf_counter())
    n, spent = tokens[-1]
    return seconds[-1] - seconds[len(seconds) // 2], torch.cuda.max_memory_allocated() / 1e9, n / spent


def test_ours_against_trl(tmp_path, monkeypatch, record):
    for module in ("spurious_rewards.models.registry", "contest"):
        monkeypatch.setattr(f"{module}.load", smollm2)
    config = tiny.config(
        prompts_per_batch=4,
        group_size=8,
        updates_per_batch=2,
        micro_batch=16,
        rollout_batches=2,
        max_completion_tokens=32,
        precision="bf16",
        learning_rate=1e-6,
        save_every_batches=10,
    )
    prefix = replace(config, engine="shared_prefix")
    rows = training_rows(within_limit(tiny.problems(), config, smollm2()[1]), config)
    found = {
        "ours": timed(make_trainer(config, tiny.problems(), tmp_path / "ours")),
        "ours, shared_prefix": timed(make_trainer(prefix, tiny.problems(), tmp_path / "prefix")),
        "TRL": timed(contest.stock_trainer(config, rows, str(tmp_path / "stock"))),
    }
    what = "SmolLM2" if is_prepared(PREPARED) else "random, SmolLM2's shape"
    for name, (seconds, memory, rate) in found.items():
        record(f"{what}, {name}: seconds per rollout batch of 32 × 32", seconds)
        record(f"{what}, {name}: peak memory", memory, "GB")
        record(f"{what}, {name}: generated tokens per second", rate)
        record(f"{what}, {name}: time by TRL's", seconds / found["TRL"][0])
    assert found["ours"][0] <= found["TRL"][0]
