"""What a rollout batch costs: this project's trainer against stock TRL and against a plain PyTorch loop, in one run.

All contestants live in one process and take turns, one rollout batch (generation, log π_old, rewards, all updates) at a
time, in an order that rotates; each keeps its own random-number state, so that they see the same prompts and nearly the
same rollouts (their sums differ in the last bits). A pair is the same rollout batch of two contestants; the ratio is
the median over pairs. Times are CPU seconds of the thread that works, so that other load on the machine counts little.
One thread throughout.

    trl      stock `trl.GRPOTrainer` with the same `GRPOConfig`
    bare     the trainer of this project without diagnostics, rollouts by TRL as in `trl`
    full     with all diagnostics that are on by default
    prefix   as full, with engine shared_prefix: each prompt read once per group
    plain    benchmarks/plain_grpo.py: what one would write first

The floor is what the floating-point operations alone would take: five passes' worth per token (one to generate, one for
log π_old, three for forward and backward), 2 operations per weight and token, at the rate of a large matrix product
measured here. `--table` also writes results/tables/training/grpo_step.csv and .md; `--scaling` measures time and memory
against model size, completion length and group size instead (benchmarks/scaling.py).

    python benchmarks/grpo_step.py --quick
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["TQDM_DISABLE"] = "1"

import torch
from transformers import PrinterCallback, TrainerCallback

sys.path.insert(0, str(Path(__file__).parent))
from plain_grpo import PlainGRPO

from spurious_rewards.data.synthetic import generate
from spurious_rewards.models.registry import load
from spurious_rewards.rewards.registry import uniform
from spurious_rewards.training.arguments import grpo_arguments
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.prompts import training_rows
from spurious_rewards.training.run import make_trainer

TABLES = Path(__file__).parents[1] / "results" / "tables" / "training"
PHASES = ("generation", "old_logps", "rewards", "forward", "backward", "optimizer", "diagnostics")


def organism_config(rollout_batches: int, **changes: Any) -> RunConfig:
    """The run of the target: 32 prompts × 16 rollouts, 8 updates, on the qwen-like organism."""
    return RunConfig(**{
        "model": "qwen-like", "train_set": "synthetic", "prompt_style": "organism", "reward": "random",
        "prompts_per_batch": 32, "group_size": 16, "updates_per_batch": 8, "rollout_batches": rollout_batches,
        "micro_batch": 64, "max_prompt_tokens": 128, "max_completion_tokens": 64, "precision": "fp32",
        "learning_rate": 5e-7, "save_every_batches": 1000, **changes})


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

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the optimizer's clock."""
        self._began = time.perf_counter()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Log the phases, as the run's own callback does."""
        if hasattr(self.contestant.trainer, "log_update_times"):
            self.contestant.trainer.log_update_times(time.perf_counter() - self._began)

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
            rows = self.rows[start:start + n]
            keys = [(row, i) for row in rows for i in range(self.config.group_size)]
            self.loop.rollout_batch([row["prompt"] for row in rows],
                                    lambda texts, keys=keys: [draw(row, i) for row, i in keys])
            self.pause()


def draw(row: dict, sample: int) -> float:
    """The random reward, as the registry's."""
    return float(uniform(0, row["rollout_batch"], row["prompt_id"], sample) < 0.5)


def stock_trainer(config: RunConfig, rows: list[dict], folder: str) -> Any:
    """TRL's own trainer with the very same settings, rows and rewards."""
    from datasets import Dataset
    from trl import GRPOTrainer

    def reward(completions: list[str], prompt_id: list[str], rollout_batch: list[int], **_: Any) -> list[float]:
        return [draw({"rollout_batch": batch, "prompt_id": prompt}, i % config.group_size)
                for i, (prompt, batch) in enumerate(zip(prompt_id, rollout_batch, strict=True))]

    model, tokenizer = load(config.model)
    return GRPOTrainer(model=model, args=grpo_arguments(config, folder), processing_class=tokenizer,
                       train_dataset=Dataset.from_list(rows), reward_funcs=[reward])


def matmul_rate() -> float:
    """Floating-point operations per second of a 1024³ product on one thread, CPU time."""
    a = torch.randn(1024, 1024)
    best = 0.0
    for _ in range(8):
        began = time.thread_time()
        a @ a
        best = max(best, 2 * 1024**3 / (time.thread_time() - began))
    return best


def contest(config: RunConfig, names: tuple[str, ...]) -> dict[str, Contestant]:
    """Let the contestants take turns over all rollout batches of `config`."""
    problems = generate(512, seed=0, split="train")
    _, tokenizer = load(config.model)
    rows = training_rows(problems, config, tokenizer)
    for row in rows:
        row["prompt_tokens"] = len(tokenizer(row["prompt"])["input_ids"])
    contestants: dict[str, Contestant] = {}
    for name in names:
        folder = tempfile.mkdtemp()
        if name == "plain":
            model, tokenizer = load(config.model)
            torch.manual_seed(config.seed)
            loop = PlainGRPO(model, tokenizer, config.group_size, config.updates_per_batch, config.micro_batch,
                             config.max_completion_tokens, config.learning_rate)
            contestants[name] = PlainContestant(loop, rows, config)
        elif name == "trl":
            contestants[name] = TrainerContestant(name, stock_trainer(config, rows, folder), config.updates_per_batch)
        else:
            ours = RunConfig.from_mapping({**config.to_dict(), "diagnostics": name != "bare",
                                           "engine": "shared_prefix" if name == "prefix" else "transformers"})
            contestants[name] = TrainerContestant(name, make_trainer(ours, problems, folder), config.updates_per_batch)
    for trained in contestants.values():
        if isinstance(trained, TrainerContestant):
            trained.trainer.args.save_strategy = "no"
    order = list(contestants.values())
    for batch in range(config.rollout_batches):
        for contestant in order[batch % len(order):] + order[:batch % len(order)]:
            contestant.turn()
    contestants[names[0]].prompt_tokens = statistics.fmean(row["prompt_tokens"] for row in rows)
    return contestants


def ratio(contestants: dict[str, Contestant], one: str, other: str) -> float:
    """Median over pairs of the time of `one` by that of `other`; the first rollout batch is warm-up."""
    pairs = zip(contestants[one].seconds[1:], contestants[other].seconds[1:], strict=True)
    return statistics.median(a / b for a, b in pairs)


def main() -> None:
    """Run the contest and print times, ratios, phases and the floor; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a quarter of the rollouts; under 50 s")
    parser.add_argument("--batches", type=int, default=0, help="rollout batches per contestant")
    parser.add_argument("--table", action="store_true", help="write results/tables/training/grpo_step.csv and .md")
    parser.add_argument("--scaling", action="store_true", help="time and memory against size, length, group")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.scaling:
        from scaling import scaling_table

        scaling_table(TABLES)
        return
    config = organism_config(options.batches or (5 if options.quick else 12),
                             **({"prompts_per_batch": 8, "micro_batch": 16} if options.quick else {}))
    contestants = contest(config, ("trl", "bare", "full", "prefix", "plain"))
    report(config, contestants, options.table)


def report(config: RunConfig, contestants: dict[str, Contestant], table: bool) -> None:
    """Print what was measured."""
    full = contestants["full"]
    medians = {name: statistics.median(c.seconds[1:]) for name, c in contestants.items()}
    batches = len(full.seconds)
    rollouts = config.prompts_per_batch * config.group_size
    print(f"{batches} rollout batches each of {config.prompts_per_batch} × {config.group_size} rollouts, "
          f"{config.updates_per_batch} updates; CPU seconds per rollout batch, median without the first:")
    for name, seconds in medians.items():
        print(f"  {name:6} {seconds:7.3f} s   {seconds / config.updates_per_batch * 1e3:7.1f} ms per update   "
              f"100 batches: {seconds * 100:5.0f} s")
    rows = full.callback.rows[config.updates_per_batch:batches * config.updates_per_batch]
    tokens = statistics.fmean(row["completion_tokens"] for row in rows if "completion_tokens" in row)
    weights = sum(p.numel() for p in full.trainer.model.parameters())
    rate = matmul_rate()
    prompt = contestants["trl"].prompt_tokens
    operations = 2 * weights * rollouts * (tokens + prompt) * 5
    floor = operations / rate
    for contestant in ("full", "prefix"):
        logged = contestants[contestant].callback.rows[config.updates_per_batch:batches * config.updates_per_batch]
        wall = {name: sum(row.get(f"seconds_{name}", 0.0) for row in logged) for name in PHASES}
        print(f"phases of `{contestant}`, share of wall time: "
              + ", ".join(f"{name} {100 * value / sum(wall.values()):.1f} %" for name, value in wall.items()))
    print(f"floor: {operations / 1e9:.0f} G operations per rollout batch ({weights} weights, {prompt:.1f} + "
          f"{tokens:.1f} tokens per rollout) at {rate / 1e9:.0f} G/s = {floor:.2f} s; "
          f"full takes {medians['full'] / floor:.1f} times it, prefix {medians['prefix'] / floor:.1f}")
    result = {"ratio_vs_trl": round(ratio(contestants, "full", "trl"), 3),
              "ratio_vs_trl_without_diagnostics": round(ratio(contestants, "bare", "trl"), 3),
              "ratio_vs_plain": round(ratio(contestants, "full", "plain"), 3),
              "ratio_vs_trl_shared_prefix": round(ratio(contestants, "prefix", "trl"), 3),
              "seconds_100_batches": round(100 * medians["prefix"], 1),
              "floor_seconds_100_batches": round(100 * floor, 1)}
    if table:
        write_table(medians, result, floor)
    print(json.dumps(result))


def write_table(medians: dict[str, float], result: dict[str, float], floor: float) -> None:
    """results/tables/training/grpo_step.csv and .md."""
    import pandas as pd

    from spurious_rewards.workflow.files import write_text

    frame = pd.DataFrame([{"contestant": name, "cpu_seconds_per_rollout_batch": round(seconds, 3),
                           "cpu_seconds_100_batches": round(100 * seconds, 1)}
                          for name, seconds in {**medians, "floor": floor}.items()])
    write_text(TABLES / "grpo_step.csv", frame.to_csv(index=False))
    header = "| " + " | ".join(frame.columns) + " |\n|" + "---|" * len(frame.columns) + "\n"
    lines = "".join("| " + " | ".join(str(v) for v in row) + " |\n" for row in frame.itertuples(index=False))
    note = f"\nMedian ratios of paired rollout batches: {json.dumps(result)}\n"
    write_text(TABLES / "grpo_step.md", header + lines + note)


if __name__ == "__main__":
    main()
