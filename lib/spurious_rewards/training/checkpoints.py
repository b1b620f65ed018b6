"""Checkpoints that are whole or do not count, and only at rollout-batch boundaries.

The trainer writes `checkpoint-<update>/` in place; afterwards `metrics.parquet` and `rollouts.parquet` up to that
update are put beside the weights, and `complete.json` last. A folder without it is what a killed process left: it is
removed before the run resumes. Inside a rollout batch TRL's buffer of rollouts is lost, so no checkpoint is made there.

Each process has random generators of its own, whose states lie in the checkpoint. A run therefore goes on with as many
processes as wrote its checkpoint (`check_processes`): Trainer itself would go on without those states and say nothing.

Only the newest checkpoint is needed to go on. Older ones are kept to be evaluated: once a newer one is sealed they shed
what only a resume needs (optimizer, FSDP's second copy of the weights, random states), and a bf16 run's weights are
kept in bf16. That is 2 bytes per parameter instead of 16.

Usage: `latest(folder)` before training, `seal(checkpoint, metrics, rollouts)` after each save, `prune(folder, 2)`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from spurious_rewards.errors import InputError
from spurious_rewards.storage.files import atomic_path, fingerprint, read_json, write_json, write_parquet

MARKER = "complete.json"
STATE = (
    "optimizer.*", "pytorch_model_fsdp.bin", "scheduler.pt", "scaler.pt", "rng_state*", "training_args.bin",
    "global_step*",
)  # fmt: skip
"""Files and folders that only a resume needs; the last is DeepSpeed's."""


def all_checkpoints(folder: str | Path) -> list[Path]:
    """List the checkpoint folders, oldest first, whole or not."""
    found = [path for path in Path(folder).glob("checkpoint-*") if path.name.rsplit("-", 1)[-1].isdigit()]
    return sorted(found, key=lambda path: int(path.name.rsplit("-", 1)[-1]))


def latest(folder: str | Path) -> Path | None:
    """Return the newest whole checkpoint that can be resumed from, after removing every other that must not stay.

    Those are all that are not whole, and all from later in the run, which will write them anew. One whose files are not
    those that it was sealed with is removed with a printed sentence.
    """
    found = None
    for checkpoint in reversed(all_checkpoints(folder)):
        marker = _marker(checkpoint)
        if found is None and marker is not None and marker.get("resumable", True):
            sealed = marker.get("files", {}).items()
            damaged = [name for name, as_sealed in sealed if fingerprint(checkpoint / name) != as_sealed]
            if damaged:
                cause = f"{damaged[0]} is missing, damaged or was exchanged"
                print(f"{checkpoint} is removed: {cause}; the run begins before it.")
            else:
                found = checkpoint
        if found is None or marker is None:
            shutil.rmtree(checkpoint)
    return found


def _marker(checkpoint: Path) -> dict[str, Any] | None:
    """Read the mark of a checkpoint; None if there is none or it is damaged."""
    try:
        marker = read_json(checkpoint / MARKER)
    except (OSError, ValueError):
        return None
    return marker if isinstance(marker, dict) else None


def seal(checkpoint: Path, metrics: pd.DataFrame, rollouts: pd.DataFrame, processes: int = 1) -> None:
    """Put the run's tables up to here beside the weights, then mark the checkpoint as whole.

    Args:
        checkpoint: its folder, named after the update.
        metrics: rows of all updates up to this one.
        rollouts: rows of the rollouts kept so far.
        processes: of the launch that wrote it.
    """
    write_parquet(checkpoint / "metrics.parquet", metrics)
    write_parquet(checkpoint / "rollouts.parquet", rollouts)
    update = int(checkpoint.name.rsplit("-", 1)[-1])
    files = {
        str(path.relative_to(checkpoint)): fingerprint(path) for path in sorted(checkpoint.rglob("*")) if path.is_file()
    }
    write_json(checkpoint / MARKER, {"update": update, "processes": processes, "files": files})


def check_processes(checkpoint: Path, processes: int) -> None:
    """Raise `InputError` if the checkpoint was written by another number of processes than `processes`.

    Checkpoints from before this number was stored have one file of random states per process instead.
    """
    stored = read_json(checkpoint / MARKER).get("processes") or len(list(checkpoint.glob("rng_state*.pth"))) or 1
    if stored != processes:
        raise InputError(
            f"The run's last checkpoint was written by {stored} process(es), but this launch has {processes}: their "
            f"random states would be lost. Start it again with {stored}, or remove {checkpoint.parent} to begin anew."
        )


def load_tables(checkpoint: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Load the (metrics, rollouts) tables that were sealed with a checkpoint."""
    return pd.read_parquet(checkpoint / "metrics.parquet"), pd.read_parquet(checkpoint / "rollouts.parquet")


def prune(folder: str | Path, keep: int, bf16: bool = False) -> None:
    """Remove all but the newest `keep` whole checkpoints (0 keeps all); all but the very newest shed their state.

    The mark of a checkpoint is changed or removed first: a process that dies meanwhile leaves nothing that counts as
    more than it is, and the next call ends what it began.

    Args:
        folder: of the checkpoints.
        keep: how many stay.
        bf16: whether weights of older checkpoints are stored in bf16.
    """
    whole = [path for path in all_checkpoints(folder) if (path / MARKER).is_file()]
    for checkpoint in whole[:-keep] if keep else []:
        (checkpoint / MARKER).unlink()
        shutil.rmtree(checkpoint)
    for checkpoint in (whole[-keep:] if keep else whole)[:-1]:
        _shed(checkpoint, bf16)


def _shed(checkpoint: Path, bf16: bool) -> None:
    """Drop what only a resume needs, and store the weights in bf16 if asked; again on a second call if it was cut."""
    marker = {name: value for name, value in read_json(checkpoint / MARKER).items() if name != "files"}
    if marker.get("shed"):
        return
    write_json(checkpoint / MARKER, marker | {"resumable": False})
    for leftover in checkpoint.glob(".*"):  # of a process that was killed while it wrote
        leftover.unlink()
    for weights in checkpoint.glob("*.safetensors") if bf16 else ():
        with atomic_path(weights) as temporary:
            _in_bf16(weights, temporary)
    for path in (path for pattern in STATE for path in checkpoint.glob(pattern)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_json(checkpoint / MARKER, marker | {"resumable": False, "shed": True})


def _in_bf16(source: Path, target: Path) -> None:
    """Copy a safetensors file with all floating-point tensors in bf16."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(source, framework="pt") as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}
        metadata = stored.metadata()
    save_file(
        {name: x.to(torch.bfloat16) if x.is_floating_point() else x for name, x in tensors.items()}, target, metadata
    )
