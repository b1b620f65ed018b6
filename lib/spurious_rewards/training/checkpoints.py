"""Checkpoints that are whole or do not count, and only at rollout-batch boundaries.

The trainer writes `checkpoint-<update>/` in place; afterwards `metrics.parquet` and `rollouts.parquet` up to that
update are put beside the weights, and `complete.json` last. A folder without it is what a killed process left: it is
removed before the run resumes. Inside a rollout batch TRL's buffer of rollouts is lost, so no checkpoint is made there.

Each process has random generators of its own, whose states lie in the checkpoint. A run therefore goes on with as many
processes as wrote its checkpoint (`check_processes`): Trainer itself would go on without those states and say nothing.

Usage: `latest(folder)` before training, `seal(checkpoint, metrics, rollouts)` after each save, `prune(folder, 2)`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from spurious_rewards.errors import InputError
from spurious_rewards.storage.files import read_json, write_json, write_parquet

MARKER = "complete.json"


def all_checkpoints(folder: str | Path) -> list[Path]:
    """Checkpoint folders, oldest first, whole or not."""
    found = [path for path in Path(folder).glob("checkpoint-*") if path.name.rsplit("-", 1)[-1].isdigit()]
    return sorted(found, key=lambda path: int(path.name.rsplit("-", 1)[-1]))


def latest(folder: str | Path) -> Path | None:
    """The newest whole checkpoint, after removing every one that is not whole; None if there is none."""
    whole = []
    for checkpoint in all_checkpoints(folder):
        if (checkpoint / MARKER).is_file():
            whole.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return whole[-1] if whole else None


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
    write_json(checkpoint / MARKER, {"update": int(checkpoint.name.rsplit("-", 1)[-1]), "processes": processes})


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
    """The (metrics, rollouts) tables that were sealed with a checkpoint."""
    return pd.read_parquet(checkpoint / "metrics.parquet"), pd.read_parquet(checkpoint / "rollouts.parquet")


def prune(folder: str | Path, keep: int) -> None:
    """Remove all but the newest `keep` whole checkpoints; 0 keeps all.

    The mark of a checkpoint goes first: a process that dies while removing leaves nothing that counts.
    """
    if keep:
        for checkpoint in [path for path in all_checkpoints(folder) if (path / MARKER).is_file()][:-keep]:
            (checkpoint / MARKER).unlink()
            shutil.rmtree(checkpoint)
