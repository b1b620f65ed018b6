"""What a rollout batch of SmolLM2-135M costs on one core: against stock TRL, and with each way to make it fit.

`--contest` takes turns in one process, as grpo_step.py does: stock TRL, this project's trainer with rollouts by TRL
(which calls the model's plain `generate`), and with engine shared_prefix. Ratios are medians over paired rollout
batches. `--ways` measures one change at a time, each in a process of its own, so that peak memory is its own: LoRA,
gradient checkpointing, size of micro-batches, completion length, precision, engine, prompts read whole. Times are CPU
seconds of one thread; the first rollout batch is warm-up. Task and prompt are those of profile smollm.

    python benchmarks/real_model.py --contest --ways      # both; writes results/tables/training/real_model_*
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["TQDM_DISABLE"] = "1"

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parent))
from contest import DEFAULT, TrainerContestant, contest, organism_config, ratio

from spurious_rewards.data.problem_sets import load_problems
from spurious_rewards.generation import shared_beginning
from spurious_rewards.storage.files import write_json, write_text
from spurious_rewards.storage.provenance import provenance
from spurious_rewards.training.run import make_trainer

TABLES = Path(__file__).parents[1] / "results" / "tables" / "training"
TASK = "synthetic_level1"
SMOLLM2: dict[str, Any] = {
    "model": "smollm2-135m-instruct", "train_set": TASK, "prompt_style": "worked_examples", "prompts_per_batch": 1,
    "group_size": 8, "updates_per_batch": 2, "micro_batch": 4, "max_prompt_tokens": 512, "learning_rate": 1e-5,
}  # fmt: skip
WHOLE = "every prompt read whole"
WAYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "rollouts by TRL": {"engine": "transformers"},
    WHOLE: {},
    "micro-batches of 2": {"micro_batch": 2},
    "gradient checkpointing": {"gradient_checkpointing": True},
    "LoRA of rank 16": {"lora_rank": 16, "learning_rate": 1e-4},
    "completions of 32 tokens": {"max_completion_tokens": 32},
    "completions of 128 tokens": {"max_completion_tokens": 128},
    "bf16": {"precision": "bf16"},
}


def against_trl(batches: int) -> pd.DataFrame:
    """Let TRL and this project's trainer take turns; a row each."""
    names = ("trl", DEFAULT, "prefix")
    config = organism_config(batches, **SMOLLM2)
    contestants = contest(config, names, load_problems(TASK, 64, seed=0))
    rows = []
    for name in names:
        found = contestants[name]
        row = {"contestant": name, "cpu_seconds_per_rollout_batch": statistics.median(found.seconds[1:])}
        row["ratio_to_trl"] = ratio(contestants, name, "trl")
        logged = [each for each in found.callback.rows if "seconds_generation" in each][1:]
        if logged:
            rollouts = config.prompts_per_batch * config.group_size
            rates = [rollouts * each["completion_tokens"] / each["seconds_generation"] for each in logged]
            row["generated_tokens_per_second"] = statistics.median(rates)
        rows.append(row | {"rollout_batches": len(found.seconds) - 1})
    return pd.DataFrame(rows)


def one_way(name: str) -> dict[str, Any]:
    """Train two rollout batches with one change; seconds of the second one and the process's peak memory."""
    torch.set_num_threads(1)
    if name == WHOLE:
        shared_beginning.LEAST = sys.maxsize
    config = organism_config(2, **{**SMOLLM2, "engine": "shared_prefix", **WAYS[name]})
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(config, load_problems(TASK, 64, seed=0), folder)
        trainer.args.save_strategy = "no"
        trained = TrainerContestant(name, trainer, config.updates_per_batch)
        for _ in range(config.rollout_batches):
            trained.turn()
    last = [row for row in trained.callback.rows if "seconds_generation" in row][-1]
    return {
        "way": name,
        "cpu_seconds_per_rollout_batch": trained.seconds[-1],
        "seconds_generation": last["seconds_generation"],
        "mean_completion_tokens": last["completion_tokens"],
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def write(name: str, table: pd.DataFrame) -> None:
    """Write a table and the facts of the machine that made it."""
    write_text(TABLES / f"{name}.csv", table.to_csv(index=False, float_format="%.4g"))
    write_json(TABLES / f"{name}.json", {"kind": "benchmark", "settings": SMOLLM2, **provenance()})
    print(table.to_string(index=False), flush=True)


def main() -> None:
    """Measure what is asked for and write its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contest", action="store_true", help="against stock TRL")
    parser.add_argument("--ways", action="store_true", help="each way to make it fit")
    parser.add_argument("--batches", type=int, default=4, help="rollout batches of the contest")
    parser.add_argument("--way", choices=WAYS, help="measure one way and print it as JSON")
    options = parser.parse_args()
    if options.way:
        print(json.dumps(one_way(options.way)))
    if options.ways:
        rows = []
        for name in WAYS:
            command = [sys.executable, __file__, "--way", name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(rows[-1], flush=True)
        write("real_model_ways", pd.DataFrame(rows))
    if options.contest:  # last: a process started later would count this one's memory as its own peak
        write("real_model_trl", against_trl(options.batches))


if __name__ == "__main__":
    main()
