"""Read the log of a training made elsewhere under one set of names: reward, entropy, clip fractions, ratio, length.

Read are TRL's `trainer_state.json` (its `log_history`), exports of trackio and of Weights & Biases (CSV, parquet, JSON
lines; a chart's CSV has columns `<run> - <metric>`), verl's and OpenRLHF's names, and whatever else uses such names.
`actor/pg_clipfrac` of verl counts both sides of the clip; its `pg_clipfrac_lower` is the dual clip's and is left out.

>>> name_of("train/clip_ratio/high_mean"), name_of("actor/pg_clipfrac"), name_of("loss")
('clip_fraction_high', 'clip_fraction', None)
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.elsewhere.files import Row, read_rows

METRICS: dict[str, str] = {
    "reward": "reward reward_mean reward_avg rewards/mean critic/rewards/mean critic/score/mean mean_reward",
    "entropy": "entropy entropy_avg actor/entropy actor/entropy_loss entropy_loss policy_entropy policy/entropy",
    "clip_fraction": "clip_fraction clip_ratio/region_mean clip_ratio actor/pg_clipfrac ppo_clip_ratio clipfrac "
    "policy/clipfrac_avg actor/clip_ratio clip_frac",
    "clip_fraction_high": "clip_fraction_high clip_ratio/high_mean actor/pg_clipfrac_higher pg_clipfrac_higher",
    "clip_fraction_low": "clip_fraction_low clip_ratio/low_mean",
    "ratio": "ratio ratio_mean ratio_avg policy_ratio policy_ratio_mean policy_ratio_avg importance_ratio "
    "actor/ratio_mean",
    "ratio_max": "ratio_max policy_ratio_max actor/ratio_max",
    "tokens": "completions/mean_length completion_tokens completion_length response_length/mean response_length "
    "avg_response_len mean_length gen_len",
    "cut_off": "completions/clipped_ratio response_length/clip_ratio truncated truncated_ratio cut_off",
    "kl_old": "actor/ppo_kl ppo_kl approx_kl kl_old policy/approxkl_avg",
}
"""Our name → the names that tools use, in the order in which they are preferred."""
STEPS = "step _step Step global_step train/global_step training/global_step trainer/global_step steps iteration update"
RUNS = "run run_name run_id name"
PREFIXES = ("train/", "training/", "data.", "metrics.", "learning/", "policy/train/")
_NAMES = {name: ours for ours, names in METRICS.items() for name in names.split()}
_CHART = re.compile(r"(?P<run>.+) - (?P<metric>[^ ].*)")


def name_of(column: str) -> str | None:
    """Translate a tool's name of a metric, with or without a prefix such as `train/`, to ours; None if unknown."""
    stripped = column
    for prefix in PREFIXES:
        stripped = stripped.removeprefix(prefix)
    return _NAMES.get(column) or _NAMES.get(stripped)


def read_metrics(path: str | Path) -> pd.DataFrame:
    """Read a training log.

    Args:
        path: of a JSON, JSON lines, CSV or parquet file.

    Returns:
        Columns `run`, `step` and those of `METRICS` that the log has, one row per run and step, sorted; of several
        columns for one metric the preferred one counts. Steps are counted as the tool counts them.

    Raises:
        InputError: the file cannot be read, or holds no metric or no numbers.
    """
    path = Path(path).expanduser()
    rows = [_flat(row) for row in read_rows(path)]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    charted = _charted(rows, columns)
    table = charted if charted is not None else _tabled(rows, columns, path.stem)
    values = [name for name in METRICS if name in table]
    table = table.dropna(subset=values, how="all") if values else table.iloc[:0]
    if table.empty:
        shown = ", ".join(columns[:20])
        raise InputError(
            f"{path.name} holds no metric of a training that is known here; its columns are {shown}. Known are names "
            "such as reward, entropy, clip_ratio/region_mean, actor/pg_clipfrac and response_length/mean."
        )
    table = table.groupby(["run", "step"], sort=True, as_index=False)[values].first()
    return table[["run", "step", *values]]


def _flat(row: Row) -> Row:
    """Unfold objects and JSON texts inside a row, names joined by dots."""
    found: Row = {}
    for name, value in row.items():
        if isinstance(value, str) and value.startswith("{"):
            try:
                value = json.loads(value)
            except ValueError:
                pass
        if isinstance(value, dict):
            found |= {f"{name}.{inner}": item for inner, item in value.items()}
        else:
            found[name] = value
    return found


def _tabled(rows: list[Row], columns: list[str], file: str) -> pd.DataFrame:
    """Tabulate rows with a step, perhaps a run, and a column per metric."""
    chosen: dict[str, str] = {}
    for ours, names in METRICS.items():
        ranked = sorted(
            (column for column in columns if name_of(column) == ours),
            key=lambda column: min(
                (i for i, name in enumerate(names.split()) if column == name or column.endswith("/" + name)), default=99
            ),
        )
        if ranked:
            chosen[ours] = ranked[0]
    step = next((name for name in STEPS.split() if name in columns), None)
    run = next((name for name in RUNS.split() if name in columns), None)
    records = []
    for number, row in enumerate(rows):
        at = _number(row.get(step)) if step else float(number)
        if at is None:
            continue
        values = {ours: _number(row.get(column)) for ours, column in chosen.items()}
        records.append({"run": str(row.get(run) or file)[:80] if run else file, "step": at, **values})
    return pd.DataFrame(records, columns=["run", "step", *chosen])


def _charted(rows: list[Row], columns: list[str]) -> pd.DataFrame | None:
    """Tabulate the CSV of a Weights & Biases chart, a column per run; None for any other file."""
    found: dict[tuple[str, float], Row] = defaultdict(dict)
    step = next((name for name in STEPS.split() if name in columns), None)
    for column in columns:
        match = _CHART.fullmatch(column)
        ours = name_of(match["metric"]) if match and not column.endswith(("__MIN", "__MAX")) else None
        if match is None or ours is None or step is None:
            continue
        for row in rows:
            at, value = _number(row.get(step)), _number(row.get(column))
            if at is not None and value is not None:
                found[match["run"][:80], at][ours] = value
    if not found:
        return None
    return pd.DataFrame([{"run": run, "step": at, **values} for (run, at), values in found.items()])


def _number(value: Any) -> float | None:
    """Read a finite number, also one that is written as text; None for anything else."""
    if value is None or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
