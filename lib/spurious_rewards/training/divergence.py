"""Stop a run whose policy is no longer finite, with an error and without a result.

Trainer hides a NaN loss by default (it adds the average of the losses before), and a step may leave infinite weights
behind although its own loss and gradient were finite. So three things are looked at: what is logged for every update
(`check_update`), the weights before a checkpoint is sealed, and the weights before the model is saved
(`check_weights`). What was measured until then is kept beside the checkpoints, see `training.run`.

Usage: `check_update(update, logs)` in `on_log`; `check_weights(trainer)` before anything that marks weights as whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

WATCHED = ("loss", "surrogate_loss", "grad_norm")
"""Columns that must be finite in every update."""


def check_update(update: int, logs: Mapping[str, Any]) -> None:
    """Check that the log entry of one update is finite.

    Args:
        update: its number, for the sentence.
        logs: names and values; a watched name that is missing is not looked at, None is what TRL makes of NaN.

    Raises:
        FloatingPointError: a watched value is not finite.
    """
    for name in WATCHED:
        if name in logs and (logs[name] is None or not math.isfinite(logs[name])):
            raise FloatingPointError(f"the {name} of update {update} is {'nan' if logs[name] is None else logs[name]}")


def check_weights(trainer: Any) -> None:
    """Check that the weights are finite; every process calls it and checks the part that it holds.

    Raises:
        FloatingPointError: a weight on some process is not finite (on every process, so that all of them stop).
    """
    accelerator = trainer.accelerator
    flags = [torch.isfinite(_held(p)).all().to(accelerator.device) for p in trainer.model.parameters()]
    bad = accelerator.reduce((~torch.stack(flags)).sum(), reduction="sum").item()
    if bad:
        raise FloatingPointError(f"its weights are not finite after update {trainer.state.global_step}")


@torch.no_grad()
def _held(parameter: Any) -> torch.Tensor:
    """Return what this process holds of a parameter: all of it, or its shard under FSDP 2 (DTensor) and ZeRO-3."""
    if hasattr(parameter, "ds_tensor"):
        return parameter.ds_tensor
    return parameter.to_local() if hasattr(parameter, "to_local") else parameter.detach()
