"""Give the standard deviation of a group the same bits on every processor.

TRL scales advantages by `nanstd`, which takes a float32 square root; MKL computes that from the processor's own
approximation of 1/√x, so that about one value in seven differs in its last bit between makes. Computed in float64 and
rounded to float32 it is the same everywhere.

Usage: `trainer._generate_and_score_completions = with_exact_std(trainer._generate_and_score_completions)`
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from torch import Tensor
from trl.trainer import grpo_trainer


def with_exact_std(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function of TRL so that the standard deviations it takes are computed in float64."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with patch.object(grpo_trainer, "nanstd", functools.partial(_in_float64, grpo_trainer.nanstd)):
            return function(*args, **kwargs)

    return wrapped


def _in_float64(std: Callable[..., Tensor], values: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return std(values.double(), *args, **kwargs).to(values.dtype)
