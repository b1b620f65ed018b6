"""Checkpoints that are whole or do not count, and only at rollout-batch boundaries.

The trainer writes `checkpoint-<update>/` in place; afterwards `metrics.parquet` and `rollouts.parquet` up to that
update are put beside the weights, and `complete.json` last. A folder without it is what a killed process left: it is
removed before the run resumes. Inside a rollout batch TRL's buffer of rollouts is lost, so no checkpoint is made there.

Usage: `latest(folder)` before training, `seal(checkpoint, metrics, rollouts)` after each save, `prune(folder, 2)`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from spurious_rewards.workflow.files import write_json, write_parquet

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


def seal(checkpoint: Path, metrics: pd.DataFrame, rollouts: pd.DataFrame) -> None:
    """Put the run's tables up to here beside the weights, then mark the checkpoint as whole."""
    write_parquet(checkpoint / "metrics.parquet", metrics)
    write_parquet(checkpoint / "rollouts.parquet", rollouts)
    write_json(checkpoint / MARKER, {"update": int(checkpoint.name.rsplit("-", 1)[-1])})


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
