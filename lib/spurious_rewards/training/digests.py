"""Hash what a run computed, so that a run made elsewhere can be compared with it bit for bit.

Usage: `digests(metrics, run.path("model"), "qwen-like")`, as the manifest of a training run keeps it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open

from spurious_rewards.models.registry import resolve

LENGTH = 16
"""Hex digits of a digest."""
LEFT_OUT = ("seconds_", "clip_noise_")
"""Beginnings of columns that say how a run was computed, not what came out: time, and the rounding of other batches."""


def digests(metrics: pd.DataFrame, model: str | Path, start: str) -> dict[str, str]:
    """Hash the metrics and the weights of a finished run, and the weights that it began from.

    The model that was trained is hashed as it is when the run ends.

    Args:
        metrics: one row per update; columns that begin as in `LEFT_OUT` are left out.
        model: folder of the saved model, in safetensors files.
        start: registry name or folder of the model that was trained.

    Returns:
        `metrics`, `weights` and `start`, each `LENGTH` hex digits; equal digits mean equal bits. `start` is hub id and
        revision for a model of the hub.
    """
    spec = resolve(start)
    folder = spec.folder()
    began = weights_digest(folder) if isinstance(folder, Path) else f"{folder}@{spec.revision}"
    return {"metrics": metrics_digest(metrics), "weights": weights_digest(model), "start": began}


def metrics_digest(metrics: pd.DataFrame) -> str:
    """Hash every column of `metrics` but those of `LEFT_OUT`, by name.

    >>> one = pd.DataFrame({"loss": [0.5], "seconds_step": [1.0]})
    >>> metrics_digest(one) == metrics_digest(one.assign(seconds_step=2.0))
    True
    >>> metrics_digest(one) == metrics_digest(one.assign(loss=0.25))
    False
    """
    total = hashlib.sha256()
    for name in sorted(name for name in map(str, metrics) if not name.startswith(LEFT_OUT)):
        values = metrics[name].to_numpy(dtype=np.float64, na_value=np.nan)
        total.update(name.encode() + np.where(np.isnan(values), np.nan, values).tobytes())
    return total.hexdigest()[:LENGTH]


def weights_digest(model: str | Path) -> str:
    """Hash the tensors of the safetensors files in a model folder, by name."""
    total = hashlib.sha256()
    for file in sorted(Path(model).glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in sorted(tensors.keys()):
                tensor = tensors.get_tensor(name).contiguous()
                total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                total.update(tensor.view(-1).view(dtype=torch.uint8).numpy().tobytes())
    return total.hexdigest()[:LENGTH]
