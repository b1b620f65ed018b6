"""Simulate the bandit that readers play with, on a grid of priors, γ, ε, step sizes and updates per batch.

Every cell is simulated with and without the clip on the same random numbers. Beside it stands the exact mean change
after one rollout batch of four rollouts. Without the clip ε plays no part, so such a cell is simulated once.

    python -m spurious_rewards.reporting.bandit_grid --out results
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd

from spurious_rewards.command_line import command
from spurious_rewards.evaluation.statistics import wilson
from spurious_rewards.mechanism.bandit import simulate
from spurious_rewards.mechanism.chain import solve
from spurious_rewards.mechanism.config import BanditConfig
from spurious_rewards.storage.files import write_json, write_text
from spurious_rewards.storage.provenance import provenance

AXES: dict[str, tuple[float, ...]] = {
    "prior": (0.55, 0.65, 0.8, 0.95),
    "gamma": (0.1, 0.5),
    "epsilon": (0.1, 0.2, 0.4),
    "step_size": (0.5, 1.0, 2.0, 4.0),
    "updates": (1, 2, 8),
}
"""Values of the sliders, in their order."""
SEEDS, BATCHES, GROUPS = 200, 50, 16


def config(cell: dict[str, float], mode: str, **changes: Any) -> BanditConfig:
    """Return the experiment of a cell under a clip mode, small enough for hundreds of cells."""
    values = {
        "prior": f"{cell['prior']},{round(1 - cell['prior'], 6)}", "clip_mode": mode, "epsilon": cell["epsilon"],
        "gamma": cell["gamma"], "step_size": cell["step_size"], "updates": int(cell["updates"]), "groups": GROUPS,
        "batches": BATCHES, "seeds": SEEDS,
    }  # fmt: skip
    return BanditConfig(**{**values, **changes})


def exact(cell: dict[str, float], mode: str) -> float:
    """Compute the mean change of the likelier arm's probability after one batch of four rollouts, exactly."""
    sizes = {"groups": 1, "group_size": 4, "updates": min(int(cell["updates"]), 4), "batches": 1, "seeds": 2}
    chain = solve(config(cell, mode, order="grouped", **sizes))
    return chain.mean(chain.policy()[:, 0]) - cell["prior"]


def simulated(cell: dict[str, float], mode: str) -> dict[str, float]:
    """Return the share of seeds in which the first arm gained, with Wilson's limits."""
    change = simulate(config(cell, mode)).per_seed["change"]
    return wilson(int((change > 0).sum()), len(change)).columns("share")


def grid() -> pd.DataFrame:
    """Tabulate per cell and clip mode in how many seeds the likelier arm gained, and the exact first change."""
    rows = []
    kept: dict[tuple[Any, ...], dict[str, float]] = {}
    for values in itertools.product(*AXES.values()):
        cell = dict(zip(AXES, values, strict=True))
        for mode in ("two_sided", "none"):
            key = (mode, *(value for name, value in cell.items() if name != "epsilon" or mode == "two_sided"))
            if key not in kept:
                kept[key] = {**simulated(cell, mode), "exact_change": exact(cell, mode)}
            rows.append({**cell, "clip_mode": mode, "n_seeds": SEEDS, **kept[key]})
    return pd.DataFrame(rows)


def data(table: pd.DataFrame) -> dict[str, Any]:
    """Return the cells as the page reads them: key of slider positions → shares with limits, and the exact changes."""
    axes = {name: [f"{value:g}" for value in values] for name, values in AXES.items()}
    cells: dict[str, dict[str, Any]] = {}
    for row in table.to_dict("records"):
        key = ",".join(str(axes[name].index(f"{row[name]:g}")) for name in AXES)
        cell = cells.setdefault(key, {"exact": [0.0, 0.0]})
        side = "clip" if row["clip_mode"] == "two_sided" else "none"
        cell[side] = [round(row[name], 4) for name in ("share", "share_low", "share_high")]
        cell["exact"][side == "none"] = round(row["exact_change"], 6)
    return {"axes": axes, "cells": cells}


def make_grid(*, out: Path) -> None:
    """Compute the grid and write its table and manifest.

    Args:
        out: results folder.
    """
    began = time.monotonic()
    table = grid()
    write_text(out / "tables" / "mechanism" / "bandit_grid.csv", table.round(6).to_csv(index=False))
    seconds = round(time.monotonic() - began, 1)
    manifest = {**provenance(), "seconds": seconds, "n_cells": len(table)}
    write_json(out / "manifests" / "mechanism" / "bandit_grid.json", manifest)
    print(f"{len(table)} cells in {seconds:.0f} s")


main = command(make_grid)


if __name__ == "__main__":
    sys.exit(main())
