"""Sample rollouts with vLLM by the run's seed, in one stream across a resume, and from the policy that is trained.

TRL seeds its engines by their number alone, so that runs of seeds 0, 1, 2 would sample from one stream, and a resumed
run from its beginning again. Colocated vLLM draws from torch's generators of this process, so they are seeded here
before each rollout batch, by (seed, update, engine), and put back after it.

After waking from its sleep, vLLM has been seen to run on with garbage for weights and say nothing. So the
log-probabilities that it returns with every rollout batch are compared with the trainer's own (`sampler_gap`).

Usage: as `ClipGRPOTrainer`, which derives from it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import set_seed
from trl import GRPOTrainer

from spurious_rewards.errors import InputError

if TYPE_CHECKING:
    from accelerate import Accelerator
    from jaxtyping import Float
    from torch import Tensor


LARGEST_GAP = 0.1
"""Mean distance of vLLM's log-probabilities from the trainer's, nats: 0.02 in bf16, far more with wrong weights."""


def sampler_gap(
    accelerator: Accelerator, pairs: Iterable[tuple[Float[Tensor, " tokens"], Float[Tensor, " tokens"]]]
) -> float:
    """Compare the log-probabilities of the same tokens in sampler and trainer.

    Args:
        accelerator: of the launch; every process calls it.
        pairs: (sampler's, trainer's), of the real tokens of each micro-batch; NaN is a token that vLLM did not score.

    Returns:
        Mean absolute difference over all processes, nats.

    Raises:
        InputError: it is above `LARGEST_GAP`, on every process.
    """
    gaps = torch.cat([(sampled - trained).abs() for sampled, trained in pairs])
    scored = ~torch.isnan(gaps)
    totals = torch.stack([gaps[scored].sum(), scored.sum()]).float()
    summed: Any = accelerator.reduce(totals, reduction="sum")
    total, n = summed.tolist()
    gap = total / n if n else math.inf
    if gap > LARGEST_GAP:
        raise InputError(
            f"vLLM does not sample from the policy: over {n:.0f} tokens its log-probabilities differ by {gap:.2g} on "
            f"average, and {LARGEST_GAP} is the limit. Its weights were damaged as it slept (set trl to "
            '"vllm_enable_sleep_mode: false"), or a server of it has other weights or another temperature.'
        )
    return gap


class SeededGRPOTrainer(GRPOTrainer):
    """Train as `GRPOTrainer` does, with a seed that reaches colocated vLLM and the order of mini-batches."""

    # TRL annotates them wider than they are: a model may be missing, what `gather` returns may be a mapping.
    model: Any
    args: Any
    accelerator: Any

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
