"""Keep log-probabilities and gradient sums in float32 where FSDP 2 shards the weights.

Accelerate asks FSDP 2 for bf16 in three places: weights, gradient reduction, and whatever the model returns. The last
two are too coarse here. A log-probability of −3 moves by up to 0.008 in bf16, ratios then jump or stick at 1, and the
sum of gradients over processes loses small terms. Weights in bf16 are what autocast uses anyway.

Usage: `full_precision(trainer)` after the trainer is made and before it trains; without FSDP 2 it does nothing.
"""

from __future__ import annotations

from typing import Any

import torch


def full_precision(trainer: Any) -> None:
    """Let FSDP 2 reduce gradients in float32 and return outputs as they are; weights stay in the launch's precision."""
    plugin = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if plugin is None or plugin.fsdp_version != 2 or trainer.accelerator.mixed_precision != "bf16":
        return
    from torch.distributed.fsdp import MixedPrecisionPolicy

    plugin.mixed_precision_policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
