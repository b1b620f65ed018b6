"""What a rollout batch costs: this project's trainer against stock TRL and against a plain PyTorch loop, in one run.

All contestants live in one process and take turns, one rollout batch (generation, log π_old, rewards, all updates) at a
time, in an order that rotates; each keeps its own random-number state, so that they see the same prompts and nearly the
same rollouts (their sums differ in the last bits). A pair is the same rollout batch of two contestants; the ratio is
the median over pairs. Times are CPU seconds of the thread that works, so that other load on the machine counts little.
One thread throughout.

    trl                  stock `trl.GRPOTrainer` with the same `GRPOConfig`
    bare                 the trainer of this project without diagnostics, rollouts by TRL as in `trl`
    default diagnostics  with the diagnostics that are on by default
    projection           with the signed clip projection besides, which is off by default
    prefix               as default diagnostics, with engine shared_prefix: each prompt read once per group
    plain                spurious_rewards.training.plain: what one would write first

This project's contestants carry the run's own callback (rows of metrics, progress); nobody writes checkpoints.

The projection costs a second backward pass where the clip acts and next to nothing where it does not. At the paper's
step size it never acts on an organism, so the ratio that counts is the other one: `--clipping` repeats the contest of
`default diagnostics` and `projection` at learning rate 3e-4, where it does.

The floor is what the floating-point operations alone would take: five passes' worth per token (one to generate, one for
log π_old, three for forward and backward), 2 operations per weight and token, at the rate of a large matrix product
measured here. `--whole 100` trains 100 rollout batches through `train`, from loading to manifest with a checkpoint
every 10, and measures all of it. `--table` does all three and writes results/tables/training/grpo_step.csv and .md;
`--scaling` measures time and memory against model size, completion length and group size (benchmarks/scaling.py).

    python benchmarks/grpo_step.py --quick
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["TQDM_DISABLE"] = "1"

import torch

sys.path.insert(0, str(Path(__file__).parent))
from contest import CONTESTANTS, DEFAULT, Contestant, contest, organism_config, ratio

from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.run import train

TABLES = Path(__file__).parents[1] / "results" / "tables" / "training"
PHASES = ("generation", "old_logps", "rewards", "forward", "backward", "optimizer", "diagnostics")


def matmul_rate() -> float:
    """Floating-point operations per second of a 1024³ product on one thread, CPU time."""
    a = torch.randn(1024, 1024)
    best = 0.0
    for _ in range(8):
        began = time.thread_time()
        a @ a
        best = max(best, 2 * 1024**3 / (time.thread_time() - began))
    return best


def whole_run(batches: int) -> dict[str, float]:
    """CPU and wall seconds of a run of that many rollout batches through `train`: loading, data, checkpoints, all."""
    config = organism_config(batches, engine="shared_prefix", save_every_batches=10)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SPURIOUS_RUNS_DIR"] = folder
        began, cpu = time.perf_counter(), time.process_time()
        run = train(config, progress=False)
        assert run.manifest()["n_updates"] == batches * config.updates_per_batch
        del os.environ["SPURIOUS_RUNS_DIR"]
        return {
            "batches": batches,
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "wall_seconds": round(time.perf_counter() - began, 1),
        }


def clipping_contest(batches: int) -> tuple[float, float]:
    """(time of `projection` by that of `default diagnostics`, clip fraction) at a step size where the clip acts."""
    config = organism_config(batches, learning_rate=3e-4)
    both = contest(config, (DEFAULT, "projection"))
    clipped = [row["clip_ratio/region_mean"] for row in both["projection"].callback.rows if "loss" in row]
    return ratio(both, "projection", DEFAULT), statistics.fmean(clipped)


def main() -> None:
    """Run the contest and print times, ratios, phases and the floor; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a quarter of the rollouts; under 50 s")
    parser.add_argument("--batches", type=int, default=0, help="rollout batches per contestant")
    parser.add_argument("--clipping", action="store_true", help="also the projection's cost where the clip acts")
    parser.add_argument("--whole", type=int, default=0, metavar="BATCHES", help="also a whole run of so many batches")
    parser.add_argument("--table", action="store_true", help="all of it, into results/tables/training/grpo_step.*")
    parser.add_argument("--scaling", action="store_true", help="time and memory against size, length, group")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.scaling:
        from scaling import scaling_table

        scaling_table(TABLES)
        return
    whole = options.whole or (100 if options.table else 0)
    measured = whole_run(whole) if whole else {}
    config = organism_config(
        options.batches or (5 if options.quick else 12),
        **({"prompts_per_batch": 8, "micro_batch": 16} if options.quick else {}),
    )
    contestants = contest(config, ("trl", *CONTESTANTS, "plain"))
    medians = {name: statistics.median(c.seconds[1:]) for name, c in contestants.items()}
    floor = report(config, contestants, medians)
    result = {
        "ratio_vs_trl": round(ratio(contestants, DEFAULT, "trl"), 3),
        "ratio_vs_trl_without_diagnostics": round(ratio(contestants, "bare", "trl"), 3),
        "ratio_vs_trl_with_projection": round(ratio(contestants, "projection", "trl"), 3),
        "ratio_vs_plain": round(ratio(contestants, DEFAULT, "plain"), 3),
        "ratio_vs_trl_shared_prefix": round(ratio(contestants, "prefix", "trl"), 3),
        "seconds_100_batches_extrapolated": round(100 * medians["prefix"], 1),
        "floor_seconds_100_batches": round(100 * floor, 1),
    }
    if options.clipping or options.table:
        slower, clipped = clipping_contest(6)
        result |= {
            "ratio_projection_vs_default_where_the_clip_acts": round(slower, 3),
            "clip_fraction_there": round(clipped, 5),
        }
    if measured:
        print(f"a whole run of {whole} rollout batches (engine shared_prefix): {measured}")
        result |= {f"whole_run_{name}": value for name, value in measured.items()}
    if options.table:
        write_table(medians, result, floor)
    print(json.dumps(result))


def report(config: RunConfig, contestants: dict[str, Contestant], medians: dict[str, float]) -> float:
    """Print what was measured; returns the floor, in seconds per rollout batch."""
    ours = contestants[DEFAULT]
    batches = len(ours.seconds)
    rollouts = config.prompts_per_batch * config.group_size
    print(
        f"{batches} rollout batches each of {config.prompts_per_batch} × {config.group_size} rollouts, "
        f"{config.updates_per_batch} updates; CPU seconds per rollout batch, median without the first:"
    )
    for name, seconds in medians.items():
        print(
            f"  {name:19} {seconds:7.3f} s   {seconds / config.updates_per_batch * 1e3:7.1f} ms per update   "
            f"100 batches, extrapolated: {seconds * 100:5.0f} s"
        )
    rows = ours.callback.rows[config.updates_per_batch : batches * config.updates_per_batch]
    tokens = statistics.fmean(row["completion_tokens"] for row in rows if "completion_tokens" in row)
    weights = sum(p.numel() for p in ours.trainer.model.parameters())
    rate = matmul_rate()
    prompt = contestants["trl"].prompt_tokens
    operations = 2 * weights * rollouts * (tokens + prompt) * 5
    floor = operations / rate
    for contestant in (DEFAULT, "projection", "prefix"):
        logged = contestants[contestant].callback.rows[config.updates_per_batch : batches * config.updates_per_batch]
        wall = {name: sum(row.get(f"seconds_{name}", 0.0) for row in logged) for name in PHASES}
        print(
            f"phases of `{contestant}`, share of wall time: "
            + ", ".join(f"{name} {100 * value / sum(wall.values()):.1f} %" for name, value in wall.items())
        )
    print(
        f"floor: {operations / 1e9:.0f} G operations per rollout batch ({weights} weights, {prompt:.1f} + "
        f"{tokens:.1f} tokens per rollout) at {rate / 1e9:.0f} G/s = {floor:.2f} s; "
        f"{DEFAULT} takes {medians[DEFAULT] / floor:.1f} times it, prefix {medians['prefix'] / floor:.1f}"
    )
    return floor


def write_table(medians: dict[str, float], result: dict[str, float], floor: float) -> None:
    """results/tables/training/grpo_step.csv and .md."""
    import pandas as pd

    from spurious_rewards.storage.files import write_text
    from spurious_rewards.storage.markdown import pipe_table

    frame = pd.DataFrame(
        [
            {
                "contestant": name,
                "cpu_seconds_per_rollout_batch": round(seconds, 3),
                "cpu_seconds_100_batches": round(100 * seconds, 1),
                "100_batches": "extrapolated",
            }
            for name, seconds in {**medians, "floor": floor}.items()
        ]
    )
    measured = result["whole_run_cpu_seconds"]
    frame.loc[len(frame)] = [
        "prefix, whole run with checkpoints",
        round(measured / result["whole_run_batches"], 3),
        measured,
        f"measured over {result['whole_run_batches']}",
    ]
    write_text(TABLES / "grpo_step.csv", frame.to_csv(index=False))
    table = pipe_table(list(frame.columns), frame.itertuples(index=False))
    load = os.getloadavg()[2]
    note = (
        f"\nCPU seconds of one thread. Median ratios of paired rollout batches, and the whole run: "
        f"{json.dumps(result)}\n\nMean number of processes that wanted a core in the 15 minutes before the end: "
        f"{load:.1f}, on {os.cpu_count()} cores.\n"
    )
    write_text(TABLES / "grpo_step.md", table + note)


if __name__ == "__main__":
    main()
