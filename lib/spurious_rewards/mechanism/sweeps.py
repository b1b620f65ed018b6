"""Compute the bandit map: which settings make an uninformative reward favour the likelier arm, over many seeds.

A sweep is a list of experiments around one base; a cell is one experiment. Every finished cell is a file in the run
folder, so an interrupted map goes on where it stopped and a cell shared by two sweeps is computed once. Modes of one
setting share their random numbers, so the table also gives the paired difference to `none`.

    python -m spurious_rewards.mechanism map --size committed --out results

computes 1000 seeds per cell at the paper's 64 × 16 rollouts and 8 updates (about 20 minutes on one core) and writes
below `--out` tables/mechanism/bandit_map.csv and bandit_bins.csv (clip fractions by π_old, every clip mode at the base
step), each with a manifest of its name in manifests/mechanism/. With `--only-bins` it computes those cells alone (a
minute) and writes the second table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from spurious_rewards.errors import check_name
from spurious_rewards.mechanism.bandit import simulate
from spurious_rewards.mechanism.config import PRIORS, BanditConfig
from spurious_rewards.mechanism.summary import by_probability, paired_differences, summary
from spurious_rewards.storage.files import csv_text, sha256_file, write_json, write_parquet, write_text
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.training import clip
from spurious_rewards.workflow.progress import PATIENCE_SECONDS

SIZES = {
    "committed": {"groups": 64, "group_size": 16, "batches": 100, "seeds": 1000},
    "notebook": {"groups": 8, "group_size": 16, "batches": 25, "seeds": 1000},
}
"""Rollouts, horizon and seeds of a map. `notebook` has an eighth of the rollouts, hence smaller SGD steps (below)."""
STEPS = {
    "committed": {"sgd": (0.5, 1.0, 2.0, 4.0), "adamw": (0.003, 0.01, 0.03, 0.1)},
    "notebook": {"sgd": (0.35, 0.7), "adamw": (0.01, 0.03)},
}
"""Step sizes. The noise of one SGD update grows as step / √(rollouts per mini-batch)."""
BASE_STEP = {"committed": {"sgd": 2.0, "adamw": 0.03}, "notebook": {"sgd": 0.7, "adamw": 0.03}}
"""Step size of the sweeps that vary something else."""
MAIN_MODES = tuple(name for name, mode in clip.MODES.items() if mode.hinge and not mode.mirrored)
UPDATES = {"committed": (1, 2, 4, 8, 16, 32, 64), "notebook": (1, 2, 4, 8, 16)}
GAMMAS = {
    "committed": (0.0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999, 1.0),
    "notebook": (0.0, 0.001, 0.3, 0.5, 0.7, 1.0),
}
EPSILONS = {"committed": (0.05, 0.1, 0.2, 0.3, 0.4, 0.8), "notebook": (0.1, 0.2, 0.4)}


def _cells(size: str, sweep: dict[str, Iterable[Any]], **fixed: Any) -> list[BanditConfig]:
    """List all combinations of `sweep` for both optimizers at their base step, in a stable order."""
    combinations: list[dict[str, Any]] = [{}]
    for name, values in sweep.items():
        combinations = [{**known, name: value} for known in combinations for value in values]
    return [
        BanditConfig(**{**SIZES[size], "optimizer": optimizer, "step_size": step, **fixed, **combination})
        for optimizer, step in BASE_STEP[size].items()
        for combination in combinations
    ]


def step_sweep(size: str) -> list[BanditConfig]:
    """List every clip mode at every step size of both optimizers, two arms of 0.65 and 0.35."""
    return [
        BanditConfig(**SIZES[size], optimizer=optimizer, step_size=step, clip_mode=mode)
        for optimizer, steps in STEPS[size].items()
        for step in steps
        for mode in clip.MODES
    ]


def motion_sweep(size: str) -> list[BanditConfig]:
    """List M updates against one update with M times the step.

    For SGD both move the logits equally far to first order; for AdamW, whose M normalised steps do not add up like
    that, `motion_rms` says how far each moved.
    """
    many = _cells(size, {"clip_mode": ("two_sided", "none")})
    return [*many, *(BanditConfig(**{**c.to_dict(), "updates": 1, "step_size": c.step_size * c.updates}) for c in many)]


def base_sweep(size: str) -> list[BanditConfig]:
    """List every clip mode at the base step: cells of `step_sweep`, for which the clip fractions by π_old are kept."""
    return [config for config in step_sweep(size) if config.step_size == BASE_STEP[size][config.optimizer]]


BOTH = ("two_sided", "none")
SWEEPS: dict[str, Callable[[str], list[BanditConfig]]] = {
    "step": step_sweep,
    "prior": lambda size: _cells(size, {"prior": PRIORS, "clip_mode": MAIN_MODES}),
    "epsilon": lambda size: _cells(size, {"epsilon": EPSILONS[size], "clip_mode": BOTH}),
    "updates": lambda size: _cells(size, {"updates": UPDATES[size], "clip_mode": BOTH}),
    "gamma": lambda size: _cells(size, {"gamma": GAMMAS[size], "clip_mode": BOTH}),
    "whitened": lambda size: _cells(size, {"gamma": (0.001, 0.3, 0.5, 0.7), "clip_mode": BOTH}, whiten=True),
    "motion": motion_sweep,
}
"""All sweeps of the map by name; each takes a size of `SIZES`.

`prior`: shapes of the prior. `epsilon`: distances of both exits. `updates`: mini-batches per rollout batch at a fixed
number of rollouts; with one, the clip is inert. `gamma`: biases of the coin; 0 and 1 give no advantage at all.
`whitened`: the same with the released code's second whitening, which magnifies rare rewards.
"""
NOTEBOOK_SWEEPS = ("step", "updates", "gamma")
"""What notebook 05 runs by default, within a minute."""


def run_cell(config: BanditConfig, folder: str | Path) -> pd.DataFrame:
    """Return the per-seed results of one experiment, [S rows], computed unless `folder` has them.

    Writes `<digest>.bins.parquet` (clip fractions by π_old) and then `<digest>.parquet`, whose existence means the cell
    is finished.
    """
    target = Path(folder) / f"{config.digest()}.parquet"
    if not target.is_file():
        result = simulate(config)
        write_parquet(bins_path(config, folder), by_probability(result))
        write_parquet(target, pd.DataFrame(result.per_seed).assign(cell_seconds=result.seconds))
    return pd.read_parquet(target)


def bins_path(config: BanditConfig, folder: str | Path) -> Path:
    """Return where `run_cell` keeps a cell's clip fractions by π_old."""
    return Path(folder) / f"{config.digest()}.bins.parquet"


def run_sweep(name: str, size: str, folder: str | Path) -> pd.DataFrame:
    """Compute one sweep as a tidy table: a row per cell with its settings, estimates, intervals and paired differences.

    Args:
        name: one of `SWEEPS`.
        size: one of `SIZES`.
        folder: where finished cells are kept.

    Raises:
        InputError: unknown name or size.
    """
    cells = sweep_cells(name, size)
    rows = []
    for config in tqdm(cells, desc=f"{name} sweep", unit="cell", delay=PATIENCE_SECONDS):
        per_seed = run_cell(config, folder)
        row: dict[str, Any] = {"sweep": name, "cell": config.digest(), **config.to_dict()}
        row |= {"epsilon_high": config.epsilons[1], **summary(per_seed)}
        unclipped = BanditConfig(**{**config.to_dict(), "clip_mode": "none"})
        if unclipped in cells and config.clip_mode != "none":
            row |= paired_differences(per_seed, run_cell(unclipped, folder))
        rows.append(row | {"seconds": round(per_seed["cell_seconds"].iloc[0], 2)})
    return pd.DataFrame(rows)


def run_bins(name: str, size: str, folder: str | Path) -> pd.DataFrame:
    """Collect clip fractions by π_old of every cell of a sweep that has been run, a row per cell and bin."""
    tables = [
        pd.read_parquet(bins_path(config, folder)).assign(
            sweep=name, cell=config.digest(), optimizer=config.optimizer, step_size=config.step_size,
            clip_mode=config.clip_mode)
        for config in sweep_cells(name, size)
    ]  # fmt: skip
    table = pd.concat(tables, ignore_index=True)
    first = ["sweep", "cell", "optimizer", "step_size", "clip_mode"]
    return table[[*first, *table.columns.drop(first)]]


def sweep_cells(name: str, size: str) -> list[BanditConfig]:
    """List the experiments of one sweep."""
    known = {**SWEEPS, "base": base_sweep}
    check_name("sweep", name, known)
    check_name("size", size, SIZES)
    return known[name](size)


def run_map(
    size: str = "notebook", names: Iterable[str] = NOTEBOOK_SWEEPS
) -> tuple[pd.DataFrame, pd.DataFrame, RunFolder]:
    """Compute several sweeps of one size: (map, clip fractions by π_old, run folder).

    The run folder is named by the size and a hash of its cells.
    """
    cells = {name: [config.digest() for config in sweep_cells(name, size)] for name in names}
    key = hashlib.sha256(json.dumps(cells).encode()).hexdigest()[:10]
    run = RunFolder.open(f"bandit-map-{size}-{key}", {"size": size, "cells": cells})
    with run.lock():
        table = pd.concat([run_sweep(name, size, run.path("cells")) for name in cells], ignore_index=True)
        bins = pd.concat([run_bins(name, size, run.path("cells")) for name in cells], ignore_index=True)
        if not run.complete:
            run.finish({"n_cells": table["cell"].nunique(), "seeds_per_cell": SIZES[size]["seeds"]})
    return table, bins, run


def write_table(name: str, table: pd.DataFrame, run: RunFolder, size: str, out: str | Path) -> None:
    """Write one table and its manifest, the manifest last."""
    path = Path(out) / "tables" / "mechanism" / f"{name}.csv"
    write_text(path, csv_text(table))
    manifest = {**run.manifest(), "size": size, "sweeps": sorted(table["sweep"].unique())}
    manifest["tables"] = {path.name: sha256_file(path)}
    write_json(Path(out) / "manifests" / "mechanism" / f"{name}.json", manifest)
