"""Resident memory of a long training and of a long grading: it must stay flat.

training    300 rollout batches of the one-token organism with all diagnostics, few prompts, a checkpoint every 25
grading     10^6 different pairs, a tenth of them by the paper's grader too, some through the symbolic engine, whose
            processes count too

    python benchmarks/memory.py --out results/tables/memory        # both, each in a process of its own
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import pandas as pd
import psutil
from tqdm import tqdm

from spurious_rewards.storage.files import write_json, write_text
from spurious_rewards.storage.provenance import provenance

ROLLOUT_BATCHES = 300
PAIRS = 1_000_000
SYMBOLIC_EVERY = 5_000
"""One pair in so many goes to the symbolic engine, which answers a hundred a second."""
PAPER_EVERY = 10
READINGS = 100


class Memory:
    """Readings of the resident memory of this process and of those it has started."""

    def __init__(self, job: str):
        self.job, self.rows, self.process = job, [], psutil.Process()

    def read(self, done: int) -> None:
        """Note what is resident after `done` units of work, in MB (10^6 bytes)."""
        own = [self.process, *self.process.children(recursive=True)]
        resident = sum(process.memory_info().rss for process in own) / 1e6
        seconds = time.process_time()
        self.rows.append({"job": self.job, "done": done, "cpu_seconds": round(seconds, 2), "resident_mb": resident})


def training(batches: int) -> pd.DataFrame:
    """Train for `batches` rollout batches of 4 rollouts, 2 updates each; one reading after each rollout batch."""
    from spurious_rewards.training.config import RunConfig
    from spurious_rewards.training.run import train

    memory = Memory("training")
    config = RunConfig(
        model="one-token", train_set="synthetic", n_train_problems=0, reward="random", rollout_batches=batches,
        prompts_per_batch=2, group_size=2, updates_per_batch=2, micro_batch=1, max_completion_tokens=24,
        save_every_batches=25, learning_rate=3e-5, precision="fp32", clip_projection=True, rollouts_kept_per_batch=4,
    )  # fmt: skip
    train(config, on_batch=lambda metrics: memory.read(len(metrics) // config.updates_per_batch))
    return pd.DataFrame(memory.rows)


def grading(pairs: int) -> pd.DataFrame:
    """Grade `pairs` different pairs; a reading after every hundredth part."""
    from spurious_rewards.rewards.grading import grade

    memory = Memory("grading")
    rng = random.Random(0)
    for done in tqdm(range(pairs), unit="pair", mininterval=5):
        if done % (pairs // READINGS) == 0:
            memory.read(done)
        text, gold = pair(rng, done)
        grade(text, gold)
        if done % PAPER_EVERY == 0:
            grade(text, gold, mode="paper")
    memory.read(pairs)
    return pd.DataFrame(memory.rows)


def pair(rng: random.Random, number: int) -> tuple[str, str]:
    """Make an answer and a gold that no other number has: most are numbers, some are right, some hold no answer."""
    n, words = rng.randrange(10**12), "so " * rng.randrange(10)
    if number % SYMBOLIC_EVERY == 0:
        return rf"{words}\boxed{{\sin^2(x) + {n}\cos^2(x)}}", rf"{n} - {n - 1}\sin^2(x)"
    forms = (
        (rf"{words}we get $\boxed{{{n}}}$.", str(n)),
        (rf"{words}we get $\boxed{{{n}}}$.", str(n)),
        (rf"{words}we get $\boxed{{{n}}}$.", str(n + 1)),
        (rf"{words}we get $\boxed{{\frac{{{n}}}{{7}}}}$.", f"{n}/7"),
        (rf"{words}The answer is {n} apples.", str(n)),
        (rf"{words}we get $\boxed{{({n}, 2)}}$.", f"({n},2)"),
        (rf"{words}I do not know what {n} is.", str(n)),
    )
    return forms[number % len(forms)]


def growth(table: pd.DataFrame) -> dict[str, float]:
    """Tell how memory changes over the second half of a job, by a straight line.

    Args:
        table: readings in the order of work, with columns done and resident_mb.

    Returns:
        slope, low, high: MB over the second half, with the 95 % limits of least squares, whose standard error takes the
        readings in ten blocks, since neighbours are alike. late: mean of the second half, MB. peak_to_late: the largest
        reading over that.
    """
    half = table.iloc[len(table) // 2 :]
    x = (half["done"] - half["done"].iloc[0]).to_numpy(float)
    blocks = [block for block in np.array_split(np.arange(len(half)), 10) if len(block)]
    x = np.array([x[block].mean() for block in blocks]) / x[-1]
    y = np.array([half["resident_mb"].to_numpy()[block].mean() for block in blocks])
    slope, intercept = np.polyfit(x, y, 1)
    left = y - slope * x - intercept
    error = np.sqrt((left**2).sum() / (len(x) - 2) / ((x - x.mean()) ** 2).sum())
    late = float(half["resident_mb"].mean())
    t = 2.306  # of 8 degrees of freedom
    return {
        "slope": float(slope), "low": float(slope - t * error), "high": float(slope + t * error), "late": late,
        "peak_to_late": float(table["resident_mb"].max() / late),
    }  # fmt: skip


def main() -> None:
    """Measure both in processes of their own; write the curves, the summary and where they come from."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", default=["training", "grading"], choices=["training", "grading"])
    parser.add_argument("--batches", type=int, default=ROLLOUT_BATCHES)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--out", type=Path, help="folder for the curves")
    options = parser.parse_args()
    if len(options.jobs) == 1:
        with tempfile.TemporaryDirectory(prefix="memory-") as folder:
            os.environ["SPURIOUS_RUNS_DIR"] = folder
            curve = training(options.batches) if options.jobs == ["training"] else grading(options.pairs)
        told = growth(curve)
        print(f"{options.jobs[0]}: " + ", ".join(f"{name} {value:.3f}" for name, value in told.items()))
        if options.out:
            write_text(options.out / f"{options.jobs[0]}.csv", curve.round({"resident_mb": 2}).to_csv(index=False))
            origin = {**provenance(), "date": datetime.now(UTC).isoformat(timespec="seconds"), **told}
            write_json(options.out / f"{options.jobs[0]}.json", origin)
        return
    shared = ["--batches", str(options.batches), "--pairs", str(options.pairs)]
    shared += ["--out", str(options.out)] if options.out else []
    for job in options.jobs:
        subprocess.run([sys.executable, __file__, "--jobs", job, *shared], check=True)


if __name__ == "__main__":
    main()
