"""Rollouts by colocated vLLM that depend on the run's seed and go on after a resume.

TRL seeds its engines by their number alone, so that runs of seeds 0, 1, 2 would sample from one stream, and a resumed
run from its beginning again. Colocated vLLM draws from torch's generators of this process, so they are seeded here
before each rollout batch, by (seed, update, engine), and put back after it.

Usage: as `ClipGRPOTrainer`, which derives from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import set_seed
from trl import GRPOTrainer


class SeededGRPOTrainer(GRPOTrainer):
    """`GRPOTrainer` whose seed reaches colocated vLLM and the order of mini-batches."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        set_seed(self.args.seed, device_specific=True)  # starting vLLM has seeded all with the engine's number

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> tuple:
        if not (self.use_vllm and self.vllm_mode == "colocate"):
            return super()._generate_single_turn(*args, **kwargs)
        with self.vllm_stream():
            return super()._generate_single_turn(*args, **kwargs)

    @contextmanager
    def vllm_stream(self) -> Iterator[None]:
        """Seed torch's generators for one rollout batch of vLLM, and put them back afterwards.

        The processes of a tensor-parallel engine must draw the same numbers: hence the engine, not the process.
        """
        engine = self.accelerator.process_index // self.args.vllm_tensor_parallel_size
        key = f"{self.args.seed}\x1f{self.state.global_step}\x1f{engine}".encode()
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1)
            yield
