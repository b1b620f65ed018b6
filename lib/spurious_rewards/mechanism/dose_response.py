"""Run the dose–response: what the clip amplifies in organisms with code priors from 0.1 to 0.9.

`dose_config` has the design, `dose_effects` the table. Everything is kept in run folders and found again, so that an
interrupted program goes on, and processes can share the organisms:

    python -m spurious_rewards.mechanism dose --models qwen-like-p10,qwen-like-p30
    python -m spurious_rewards.mechanism dose --models qwen-like-p50,qwen-like,qwen-like-p90   (beside it)
    python -m spurious_rewards.mechanism dose --out results                        (finds both, writes)

`--part runs` or `--part pairs` does only the training runs or only the paired counterfactuals; `--tables-only` computes
the tables again from the records below `--out`, without any organism. Below `--out`:

    tables/mechanism/dose_response.csv, dose_counterfactual.csv
    records/mechanism/dose_response.parquet                  a row per training run
    records/mechanism/dose_counterfactual.parquet            a row per prior, setting, pair and clip mode
    records/mechanism/dose_counterfactual_checkpoints.parquet, _problems.parquet, _levels.parquet
    manifests/mechanism/dose_response.json, dose_counterfactual.json
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from spurious_rewards.evaluation.evaluate import evaluate
from spurious_rewards.mechanism import counterfactual
from spurious_rewards.mechanism.dose_config import DoseConfig
from spurious_rewards.mechanism.dose_effects import dose_table, from_pairs, from_runs
from spurious_rewards.storage.files import csv_text, read_json, sha256_file, write_json, write_parquet, write_text
from spurious_rewards.storage.provenance import provenance
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.training.run import train


def run_rows(config: DoseConfig, only: str = "") -> tuple[pd.DataFrame, list[RunFolder]]:
    """Train and evaluate every run, or find it: (a row per run, all run folders).

    Columns: model, optimizer, learning_rate, clip_mode, seed, run_id, eval_id, and code, accuracy and ended (shares of
    the sampled answers that are code, are correct, end by themselves) `_before` and `_after`.

    Raises:
        InputError: an organism has not been built, or a run diverged.
    """
    rows: list[dict[str, Any]] = []
    folders: list[RunFolder] = []
    before: dict[str, dict[str, float]] = {}
    for config_ in tqdm(config.run_configs(only), desc="training runs", unit="run", mininterval=2):
        if config_.model not in before:
            base = evaluate(config.eval_config(config_.model), progress=False)
            folders.append(base)
            before[config_.model] = _shares(base)
        trained = train(config_, progress=False)
        evaluated = evaluate(config.eval_config(config_.model, trained.run_id), progress=False)
        folders += [trained, evaluated]
        after = _shares(evaluated)
        names = ("model", "optimizer", "learning_rate", "clip_mode", "seed")
        row = {name: getattr(config_, name) for name in names} | {"run_id": trained.run_id, "eval_id": evaluated.run_id}
        row |= {f"{name}_before": value for name, value in before[config_.model].items()}
        rows.append(row | {f"{name}_after": value for name, value in after.items()})
    return pd.DataFrame(rows), folders


def _shares(run: RunFolder) -> dict[str, float]:
    records = pd.read_parquet(run.path("records.parquet"), columns=["uses_code", "correct", "finish_reason"])
    return {
        "code": float(records["uses_code"].mean()),
        "accuracy": float(records["correct"].mean()),
        "ended": float((records["finish_reason"] == "stop").mean()),
    }


def run_pairs(config: DoseConfig, only: str = "") -> list[RunFolder]:
    """Compute or find the paired counterfactual of every prior and setting."""
    return [counterfactual.run(config_) for config_ in config.pair_configs(only)]


def write_runs(config: DoseConfig, rows: pd.DataFrame, folders: Sequence[RunFolder], out: str | Path) -> pd.DataFrame:
    """Write table, records and manifest of the training runs below `out`; returns the table."""
    table = dose_table(from_runs(rows, config.n_problems * config.n_samples))
    runs = [_kept(folder.manifest()) for folder in folders]
    return _write("dose_response", config, table, {"dose_response": rows}, runs, out)


def write_pairs(config: DoseConfig, folders: Sequence[RunFolder], out: str | Path) -> pd.DataFrame:
    """Write table, records and manifest of the paired counterfactuals below `out`; returns the table."""
    found, name = counterfactual.PairRecords.of(folders), "dose_counterfactual"
    frames = {f"{name}_{part}": getattr(found, part) for part in ("checkpoints", "problems", "levels")}
    table = dose_table(from_pairs(found.pairs, found.checkpoints, found.problems))
    return _write(name, config, table, {name: found.pairs, **frames}, [_kept(m) for m in found.manifests], out)


def rewrite_tables(out: str | Path) -> None:
    """Compute both tables again from the records below `out`; the manifests say so and keep their runs."""
    folder, config = Path(out) / "records" / "mechanism", DoseConfig()
    frames = {path.stem: pd.read_parquet(path) for path in sorted(folder.glob("dose_*.parquet"))}
    for name in ("dose_response", "dose_counterfactual"):
        manifest = read_json(Path(out) / "manifests" / "mechanism" / f"{name}.json")
        config = DoseConfig.from_mapping(manifest["config"])
        table = dose_table(
            from_runs(frames[name], config.n_problems * config.n_samples)
            if name == "dose_response"
            else from_pairs(frames[name], frames[f"{name}_checkpoints"], frames.get(f"{name}_problems"))
        )
        own = {part: frame for part, frame in frames.items() if part.startswith(name)}
        _write(name, config, table, own, manifest["runs"], out, manifest)


def _write(
    name: str,
    config: DoseConfig,
    table: pd.DataFrame,
    frames: dict[str, pd.DataFrame],
    runs: list[dict[str, Any]],
    out: str | Path,
    earlier: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Write table, records and manifest; `earlier` is the manifest of the records, if only the table is new."""
    out = Path(out)
    files = [f"tables/mechanism/{name}.csv", *(f"records/mechanism/{frame}.parquet" for frame in frames)]
    write_text(out / files[0], csv_text(table))
    for path, frame in zip(files[1:], frames.values(), strict=True):
        if earlier is None:
            write_parquet(out / path, frame)
    made = provenance()
    facts = _some(earlier or made, "lock_hashes python versions hardware")
    manifest = {
        "kind": name, "config": config.to_dict(), **facts, "table": _some(made, "commit dirty"),
        "seconds": round(sum(run["seconds"] for run in runs), 1), "files": {p: sha256_file(out / p) for p in files},
        "runs": runs,
    }  # fmt: skip
    write_json(out / "manifests" / "mechanism" / f"{name}.json", manifest)
    return table


def _kept(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the manifest of a table keeps of a run's."""
    names = "run_id kind commit dirty seed started ended seconds n_pairs looks target_met checkpoint_sha probe_sha"
    return _some(manifest, f"{names} probe_tokens files")


def _some(manifest: Mapping[str, Any], names: str) -> dict[str, Any]:
    return {name: manifest[name] for name in names.split() if name in manifest}
