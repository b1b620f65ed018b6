"""Dose–response: does the clip amplify what is likely, whatever it is? Organisms with code priors from 0.1 to 0.9.

`dose_config` has the design, `dose_effects` the table. Everything is kept in run folders and found again, so that an
interrupted program goes on, and processes can share the organisms:

    python -m spurious_rewards.mechanism.dose_response --models qwen-like-p10,qwen-like-p30
    python -m spurious_rewards.mechanism.dose_response --models qwen-like-p50,qwen-like,qwen-like-p90   (beside it)
    python -m spurious_rewards.mechanism.dose_response --out results                        (finds both, writes)

`--part runs` or `--part pairs` does only the training runs or only the paired counterfactuals. Below `--out`:

    tables/mechanism/dose_response.csv, dose_counterfactual.csv
    records/mechanism/dose_response.parquet                  a row per training run
    records/mechanism/dose_counterfactual.parquet            a row per prior, setting, pair and clip mode
    records/mechanism/dose_counterfactual_checkpoints.parquet
    manifests/mechanism/dose_response.json, dose_counterfactual.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from spurious_rewards.errors import InputError, unknown_name
from spurious_rewards.evaluation.evaluate import evaluate
from spurious_rewards.mechanism import counterfactual
from spurious_rewards.mechanism.dose_config import DoseConfig
from spurious_rewards.mechanism.dose_effects import dose_table, from_pairs, from_runs
from spurious_rewards.models.registry import resolve
from spurious_rewards.training.run import train
from spurious_rewards.workflow.command_line import exit_code
from spurious_rewards.workflow.files import sha256_file, write_json, write_parquet, write_text
from spurious_rewards.workflow.runs import RunFolder

PARTS = ("runs", "pairs")


def run_rows(config: DoseConfig, only: str = "", progress: bool = True) -> tuple[pd.DataFrame, list[RunFolder]]:
    """Train and evaluate every run, or find it: (a row per run, all run folders).

    Columns: model, optimizer, learning_rate, clip_mode, seed, run_id, eval_id, and code, accuracy and ended (shares of
    the sampled answers that are code, are correct, end by themselves) `_before` and `_after`.

    Raises:
        InputError: an organism has not been built, or a run diverged.
    """
    rows: list[dict[str, Any]] = []
    folders: list[RunFolder] = []
    before: dict[str, dict[str, float]] = {}
    for config_ in tqdm(config.run_configs(only), desc="training runs", unit="run", mininterval=2,
                        disable=not progress):
        if config_.model not in before:
            base = evaluate(config.eval_config(config_.model), progress=False)
            folders.append(base)
            before[config_.model] = _shares(base)
        trained = train(config_, progress=False)
        evaluated = evaluate(config.eval_config(config_.model, trained.run_id), progress=False)
        folders += [trained, evaluated]
        after = _shares(evaluated)
        rows.append({**{name: getattr(config_, name) for name in ("model", "optimizer", "learning_rate", "clip_mode",
                                                                  "seed")},
                     "run_id": trained.run_id, "eval_id": evaluated.run_id,
                     **{f"{name}_before": value for name, value in before[config_.model].items()},
                     **{f"{name}_after": value for name, value in after.items()}})
    return pd.DataFrame(rows), folders


def _shares(run: RunFolder) -> dict[str, float]:
    records = pd.read_parquet(run.path("records.parquet"), columns=["uses_code", "correct", "finish_reason"])
    return {"code": float(records["uses_code"].mean()), "accuracy": float(records["correct"].mean()),
            "ended": float((records["finish_reason"] == "stop").mean())}


def run_pairs(config: DoseConfig, only: str = "", progress: bool = True) -> list[RunFolder]:
    """Compute or find the paired counterfactual of every prior and setting."""
    return [counterfactual.run(config_, progress) for config_ in config.pair_configs(only)]


def write_runs(config: DoseConfig, rows: pd.DataFrame, folders: Sequence[RunFolder], out: str | Path) -> pd.DataFrame:
    """Table, records and manifest of the training runs below `out`; returns the table."""
    return _write("dose_response", config, dose_table(from_runs(rows)), {"dose_response": rows}, folders, out)


def write_pairs(config: DoseConfig, folders: Sequence[RunFolder], out: str | Path) -> pd.DataFrame:
    """Table, records and manifest of the paired counterfactuals below `out`; returns the table."""
    pairs, _, checkpoints = counterfactual.records(folders)
    return _write("dose_counterfactual", config, dose_table(from_pairs(pairs, checkpoints)),
                  {"dose_counterfactual": pairs, "dose_counterfactual_checkpoints": checkpoints}, folders, out)


def _write(name: str, config: DoseConfig, table: pd.DataFrame, frames: dict[str, pd.DataFrame],
           folders: Sequence[RunFolder], out: str | Path) -> pd.DataFrame:
    out = Path(out)
    files = [f"tables/mechanism/{name}.csv", *(f"records/mechanism/{frame}.parquet" for frame in frames)]
    write_text(out / files[0], counterfactual.csv_text(table))
    for path, frame in zip(files[1:], frames.values(), strict=True):
        write_parquet(out / path, frame)
    manifests = [folder.manifest() for folder in folders]
    first = manifests[0]
    kept = ("run_id", "kind", "commit", "dirty", "seed", "ended", "seconds")
    write_json(out / "manifests" / "mechanism" / f"{name}.json", {
        "kind": name, "config": config.to_dict(),
        **{key: first[key] for key in ("lock_hashes", "python", "versions", "hardware") if key in first},
        "seconds": round(sum(m["seconds"] for m in manifests), 1), "files": {p: sha256_file(out / p) for p in files},
        "runs": [{key: m[key] for key in kept if key in m} for m in manifests]})
    return table


def main(arguments: list[str] | None = None) -> int:
    """Command line: compute or find everything, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m spurious_rewards.mechanism.dose_response", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="", help="only these organisms, joined by commas")
    parser.add_argument("--part", default="", help="runs or pairs (default: both)")
    parser.add_argument("--out", default="", help="folder that gets tables/, records/ and manifests/")
    options = parser.parse_args(arguments)
    config = DoseConfig()

    def program() -> None:
        if options.part and options.part not in PARTS:
            raise unknown_name("part", options.part, PARTS)
        if options.out and options.models:
            raise InputError("--out writes the table of all organisms; leave --models out.")
        for name in config.names(options.models):
            resolve(name).folder()  # raises if it has not been built
        if options.part != "runs":
            folders = run_pairs(config, options.models)
            if options.out:
                write_pairs(config, folders, options.out)
        if options.part != "pairs":
            rows, folders = run_rows(config, options.models)
            if options.out:
                write_runs(config, rows, folders, options.out)

    return exit_code(program)


if __name__ == "__main__":
    sys.exit(main())
