"""Act between updates: collect rows of metrics, seal checkpoints, show progress, feed the live figure.

The time of a rollout batch ends before its checkpoint is written, so that the checkpoint's tables hold it; writing
checkpoints is not counted.

Usage: `trainer.add_callback(RunCallback(config, trainer, checkpoint, on_batch, progress))`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm
from transformers import TrainerCallback

from spurious_rewards.storage.files import write_parquet
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


STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What a cluster sends before it takes the machine away: the run is saved after the present rollout batch.

In a notebook, which watches its run by `on_batch`, an interrupt does the same.
"""


class RunCallback(TrainerCallback):
    """Collect one row per update, and act at rollout-batch boundaries."""

    def __init__(
        self, config: RunConfig, trainer: Any, checkpoint: Path | None,
        on_batch: Callable[[pd.DataFrame], None] | None, progress: bool, partial: Path | None = None,
        keep_time: Callable[[], None] = lambda: None,
    ):  # fmt: skip
        self.config, self.trainer, self.on_batch, self.partial = config, trainer, on_batch, partial
        self.keep_time = keep_time
        metrics, rollouts = checkpoints.load_tables(checkpoint) if checkpoint else (pd.DataFrame(), pd.DataFrame())
        self.rows: list[dict[Any, Any]] = metrics.to_dict("records")
        self.rollouts: list[dict[Any, Any]] = rollouts.to_dict("records")
        done = len(self.rows) // config.updates_per_batch
        steps = {"total": config.rollout_batches, "initial": done, "unit": "batch"}
        self.bar = tqdm(**steps, desc=config.arm(), mininterval=2, disable=not progress)
        self._at_boundary = self._measured = False
        self._signal: int | None = None
        self._kept: dict[int, Any] = {}
        self._batch_began = time.perf_counter()

    def watch_signals(self) -> None:
        """Save and stop at the next rollout batch after one of `STOP_SIGNALS`; only a main thread can be asked."""
        if threading.current_thread() is threading.main_thread():
            numbers = STOP_SIGNALS if self.on_batch is None else (*STOP_SIGNALS, signal.SIGINT)
            self._kept = {number: signal.signal(number, self._note) for number in numbers}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:  # asked twice: at once, as without this callback
            signal.signal(number, self._kept[number])
            os.kill(os.getpid(), number)
        self._signal = number

    def how_it_stopped(self) -> str:
        """Say which signal ended training early: `Interrupted` or `Stopped by SIGTERM`."""
        name = signal.Signals(self._signal).name if self._signal is not None else "its callback"
        return "Interrupted" if name == "SIGINT" else f"Stopped by {name}"

    def restore_signals(self) -> None:
        """Put the handlers of before back."""
        for number, handler in self._kept.items():
            signal.signal(number, handler)

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return (metrics, rollouts) so far."""
        self.rollouts += self.trainer.take_rollouts()
        return pd.DataFrame(self.rows), pd.DataFrame(self.rollouts)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Turn the log entry of an update into a row.

        Raises:
            FloatingPointError: loss or gradient are not finite; the row is kept.
        """
        if not logs or "loss" not in logs:  # the closing entry of a run has only totals
            return
        batch, place = divmod(state.global_step - 1, self.config.updates_per_batch)
        row: dict[str, Any] = {"update": state.global_step, "rollout_batch": batch, "update_in_batch": place + 1}
        for name, value in logs.items():
            if name in TRL_COLUMNS:
                row[TRL_COLUMNS[name]] = value
            elif name in self.trainer.own_columns:
                row[name] = value
        self.rows.append(row)
        check_update(state.global_step, logs)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note when a rollout batch is done (its row is logged right after); after a signal, save there and stop."""
        self._at_boundary, self._measured = state.global_step % self.config.updates_per_batch == 0, False
        if self._at_boundary and self._stop_asked():
            control.should_save = control.should_training_stop = True

    def _stop_asked(self) -> bool:
        """Tell whether any process of the launch has been asked to stop; all decide alike."""
        if not self._kept:
            return False
        accelerator = self.trainer.accelerator
        signals = torch.tensor([self._signal or 0], device=accelerator.device)
        largest = int(accelerator.gather(signals).max())
        self._signal = largest or None
        return largest > 0

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
        if self.trainer.is_world_process_zero():
            rows = pd.DataFrame(self.rows)
            if self.partial is not None:
                write_parquet(self.partial, rows)
            self.keep_time()
            if self.on_batch is not None:
                self.on_batch(rows)

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
