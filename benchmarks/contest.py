"""The contestants of grpo_step.py and how they take turns on one thread.

both = contest(organism_config(12), ("trl", "bare"))
ratio(both, "bare", "trl")
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import PrinterCallback, TrainerCallback

from spurious_rewards.data.synthetic import generate
from spurious_rewards.models.registry import load
from spurious_rewards.rewards.registry import uniform
from spurious_rewards.training.arguments import grpo_arguments
from spurious_rewards.training.callbacks import RunCallback
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.plain import PlainGRPO
from spurious_rewards.training.prompts import training_rows, within_limit
from spurious_rewards.training.run import make_trainer

if TYPE_CHECKING:
    from spurious_rewards.data.problem import Problem

DEFAULT = "default diagnostics"
CONTESTANTS = {  # fields of RunConfig by which ours differ from the organism's run
    "bare": {"diagnostics": False},
    DEFAULT: {},
    "projection": {"clip_projection": True},
    "prefix": {"engine": "shared_prefix"},
}


def organism_config(rollout_batches: int, **changes: Any) -> RunConfig:
    """The run of the target: 32 prompts × 16 rollouts, 8 updates, on the qwen-like organism."""
    return RunConfig(
        **{
            "model": "qwen-like",
            "train_set": "synthetic",
            "prompt_style": "organism",
            "reward": "random",
            "prompts_per_batch": 32,
            "group_size": 16,
            "updates_per_batch": 8,
            "rollout_batches": rollout_batches,
            "micro_batch": 64,
            "max_prompt_tokens": 128,
            "max_completion_tokens": 64,
            "precision": "fp32",
            "learning_rate": 5e-7,
            "save_every_batches": 1000,
            **changes,
        }
    )


class Contestant:
    """Something that makes rollout batches on demand, in its own thread, with its own random-number state."""

    def __init__(self, name: str):
        self.name = name
        self.seconds: list[float] = []
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._rng = torch.get_rng_state()
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._main, daemon=True)

    def _main(self) -> None:
        self._go.acquire()
        try:
            self.work()
        except BaseException as error:  # handed to the thread that waits, which raises it
            self._error = error
        self._done.release()

    def work(self) -> None:
        """Make all rollout batches, calling `pause` after each."""
        raise NotImplementedError

    def pause(self) -> None:
        """Called by the working thread after each rollout batch: let the others have their turn."""
        self.seconds.append(time.thread_time() - self._began)
        self._rng = torch.get_rng_state()
        self._done.release()
        self._go.acquire()
        self._resume()

    def _resume(self) -> None:
        torch.set_num_threads(1)
        torch.set_rng_state(self._rng)
        self._began = time.thread_time()

    def turn(self) -> None:
        """Have one more rollout batch made."""
        if not self.thread.is_alive():
            self.thread.start()
        self._go.release()
        self._done.acquire()
        if self._error:
            raise self._error


class Turns(TrainerCallback):
    """Pauses a trainer at the end of each rollout batch."""

    def __init__(self, contestant: TrainerContestant, updates: int):
        self.contestant, self.updates, self.rows = contestant, updates, []

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Before the first update of a rollout batch."""
        if state.global_step % self.updates == 0 and state.global_step:
            self.contestant.pause()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Keep the log entries."""
        self.rows.append(dict(logs or {}))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The last rollout batch."""
        self.contestant.pause()


class TrainerContestant(Contestant):
    """A `GRPOTrainer`, stock or ours."""

    def __init__(self, name: str, trainer: Any, updates: int):
        super().__init__(name)
        self.trainer, self.callback = trainer, Turns(self, updates)
        trainer.remove_callback(PrinterCallback)
        if hasattr(trainer, "run"):  # ours: what a run carries, too
            trainer.add_callback(RunCallback(trainer.run, trainer, None, None, progress=False))
        trainer.add_callback(self.callback)

    def work(self) -> None:
        """Train to the end."""
        self._resume()
        self.trainer.train()


class PlainContestant(Contestant):
    """The plain loop."""

    def __init__(self, loop: PlainGRPO, rows: list[dict], config: RunConfig):
        super().__init__("plain")
        self.loop, self.rows, self.config = loop, rows, config

    def work(self) -> None:
        """Make all rollout batches."""
        n = self.config.prompts_per_batch
        self._resume()
        for start in range(0, len(self.rows), n):
            rows = self.rows[start : start + n]
            keys = [(row, i) for row in rows for i in range(self.config.group_size)]
            self.loop.rollout_batch(
                [row["prompt"] for row in rows], lambda texts, keys=keys: [draw(row, i) for row, i in keys]
            )
            self.pause()


def draw(row: dict, sample: int) -> float:
    """The random reward, as the registry's."""
    return float(uniform(0, row["rollout_batch"], row["prompt_id"], sample) < 0.5)


def stock_trainer(config: RunConfig, rows: list[dict], folder: str) -> Any:
    """TRL's own trainer with the very same settings, rows and rewards."""
    from datasets import Dataset
    from trl import GRPOTrainer

    def reward(completions: list[str], prompt_id: list[str], rollout_batch: list[int], **_: Any) -> list[float]:
        return [
            draw({"rollout_batch": batch, "prompt_id": prompt}, i % config.group_size)
            for i, (prompt, batch) in enumerate(zip(prompt_id, rollout_batch, strict=True))
        ]

    model, tokenizer = load(config.model)
    return GRPOTrainer(
        model=model,
        args=grpo_arguments(config, folder),
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows),
        reward_funcs=[reward],
    )


def contest(
    config: RunConfig, names: tuple[str, ...], problems: Sequence[Problem] | None = None
) -> dict[str, Contestant]:
    """Let the contestants take turns over all rollout batches of `config`; without problems, on the organisms' task."""
    problems = problems or generate(512, seed=0, split="train")
    _, tokenizer = load(config.model)
    rows = training_rows(within_limit(problems, config, tokenizer), config)
    for row in rows:
        row["prompt_tokens"] = len(tokenizer(row["prompt"])["input_ids"])
    contestants: dict[str, Contestant] = {}
    for name in names:
        folder = tempfile.mkdtemp()
        if name == "plain":
            model, tokenizer = load(config.model)
            torch.manual_seed(config.seed)
            loop = PlainGRPO(
                model,
                tokenizer,
                config.group_size,
                config.updates_per_batch,
                config.micro_batch,
                config.max_completion_tokens,
                config.learning_rate,
            )
            contestants[name] = PlainContestant(loop, rows, config)
        elif name == "trl":
            contestants[name] = TrainerContestant(name, stock_trainer(config, rows, folder), config.updates_per_batch)
        else:
            ours = RunConfig.from_mapping({**config.to_dict(), **CONTESTANTS[name]})
            contestants[name] = TrainerContestant(name, make_trainer(ours, problems, folder), config.updates_per_batch)
    for trained in contestants.values():
        if isinstance(trained, TrainerContestant):
            trained.trainer.args.save_strategy = "no"
    order = list(contestants.values())
    for batch in range(config.rollout_batches):
        for contestant in order[batch % len(order) :] + order[: batch % len(order)]:
            contestant.turn()
    contestants[names[0]].prompt_tokens = statistics.fmean(row["prompt_tokens"] for row in rows)
    return contestants


def ratio(contestants: dict[str, Contestant], one: str, other: str) -> float:
    """Median over pairs of the time of `one` by that of `other`; the first rollout batch is warm-up."""
    pairs = zip(contestants[one].seconds[1:], contestants[other].seconds[1:], strict=True)
    return statistics.median(a / b for a, b in pairs)
