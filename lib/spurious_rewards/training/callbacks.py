"""What happens between updates: rows of metrics, sealed checkpoints, a progress bar, the live figure.

A rollout batch is over with its last update: its time is taken before its checkpoint is sealed (so that the sealed
tables have it), and the time of sealing belongs to no rollout batch.

Usage: `trainer.add_callback(RunCallback(config, trainer, checkpoint, on_batch, progress))`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm
from transformers import TrainerCallback

from spurious_rewards.training import checkpoints
from spurious_rewards.training.arguments import world_size
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.divergence import check_update, check_weights

# TRL's own columns that are kept, under this project's names
TRL_COLUMNS = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "entropy": "entropy",
    "clip_ratio/high_mean": "clip_fraction_high",
    "clip_ratio/low_mean": "clip_fraction_low",
    "clip_ratio/region_mean": "clip_fraction",
    "kl": "kl_reference",
    "step_time": "seconds_step",
}


class RunCallback(TrainerCallback):
    """Collects one row per update and acts at rollout-batch boundaries."""

    def __init__(
        self,
        config: RunConfig,
        trainer: Any,
        checkpoint: Path | None,
        on_batch: Callable[[pd.DataFrame], None] | None,
        progress: bool,
    ):
        self.config, self.trainer, self.on_batch = config, trainer, on_batch
        metrics, rollouts = checkpoints.load_tables(checkpoint) if checkpoint else (pd.DataFrame(), pd.DataFrame())
        self.rows: list[dict[str, Any]] = metrics.to_dict("records")
        self.rollouts: list[dict[str, Any]] = rollouts.to_dict("records")
        self.bar = tqdm(
            total=config.rollout_batches,
            initial=len(self.rows) // config.updates_per_batch,
            desc=config.arm(),
            unit="batch",
            mininterval=2,
            disable=not progress,
        )
        self._at_boundary = self._measured = False
        self._batch_began = time.perf_counter()

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """(metrics, rollouts) so far."""
        self.rollouts += self.trainer.take_rollouts()
        return pd.DataFrame(self.rows), pd.DataFrame(self.rollouts)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Turn the log entry of an update into a row.

        Raises:
            FloatingPointError: loss or gradient are not finite; the row is kept.
        """
        if not logs or "loss" not in logs:  # the closing entry of a run has only totals
            return
        row: dict[str, Any] = {
            "update": state.global_step,
            "rollout_batch": (state.global_step - 1) // self.config.updates_per_batch,
            "update_in_batch": (state.global_step - 1) % self.config.updates_per_batch + 1,
        }
        for name, value in logs.items():
            if name in TRL_COLUMNS:
                row[TRL_COLUMNS[name]] = value
            elif name in self.trainer.own_columns:
                row[name] = value
        self.rows.append(row)
        check_update(state.global_step, logs)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note when a rollout batch is done (its row is logged right after)."""
        self._at_boundary, self._measured = state.global_step % self.config.updates_per_batch == 0, False

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the previous rollout batch, if one has just ended."""
        self._close_batch()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the last rollout batch."""
        self._close_batch()
        self.bar.close()

    def _measure_batch(self) -> None:
        """Put the time of the rollout batch that has just ended into its first row, once."""
        if self._measured or not self._at_boundary:
            return
        self._measured, now = True, time.perf_counter()
        first = self.rows[-self.config.updates_per_batch]
        seconds, self._batch_began = now - self._batch_began, now
        n_rollouts = self.config.prompts_per_batch * self.config.group_size
        first["seconds_rollout_batch"] = seconds
        first["seconds_tokens_rate"] = first["completion_tokens"] * n_rollouts / seconds

    def _close_batch(self) -> None:
        if not self._at_boundary:
            return
        self._measure_batch()
        self._at_boundary = False
        first = self.rows[-self.config.updates_per_batch]
        self.bar.set_postfix(reward=f"{first['reward_mean']:.2f}", code=f"{first['code_frequency']:.2f}", refresh=False)
        self.bar.update(1)
        if self.on_batch is not None and self.trainer.is_world_process_zero():
            self.on_batch(pd.DataFrame(self.rows))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Seal the checkpoint that the trainer has just written, then drop old ones.

        Raises:
            FloatingPointError: its weights are not finite; then it stays unsealed and does not count.
        """
        self._measure_batch()
        check_weights(self.trainer)
        self.trainer.accelerator.wait_for_everyone()  # every process writes the state of its own generators there
        if state.is_world_process_zero:
            folder = Path(args.output_dir)
            metrics, rollouts = self.tables()
            checkpoints.seal(folder / f"checkpoint-{state.global_step}", metrics, rollouts, world_size())
            checkpoints.prune(folder, self.config.keep_checkpoints, self.config.precision == "bf16")
        self._batch_began = time.perf_counter()
