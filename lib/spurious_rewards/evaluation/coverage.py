"""Simulate how often the interval of an effect of training misses the truth, in the designs of this project.

Every cell of the table draws many experiments with known variances between seeds, between problems and of the rest,
computes the interval as `crossed.effect` does, and counts. Three designs:

- *arm*: one arm's change, or a difference paired by seed; seed effects are normal.
- *two arms*: difference of two arms with seeds of their own on the same problems.
- *collapse*: as *arm*, but one seed in five loses much and the others gain a little, with the same sd.

Problem effects are as coarse as they can be: a problem is won in every seed, kept, or lost in every seed. Only the
sufficient statistics of an experiment are drawn, which is exact and makes 20,000 experiments a matter of milliseconds.

Usage: `python -m spurious_rewards.evaluation.coverage`, which writes results/tables/statistics/coverage.csv.
"""

from __future__ import annotations

import datetime
import math
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from tqdm import tqdm

from spurious_rewards.command_line import command
from spurious_rewards.evaluation.crossed import combined
from spurious_rewards.evaluation.statistics import wilson
from spurious_rewards.evaluation.verdicts import level_at
from spurious_rewards.storage.files import csv_text, write_json, write_text
from spurious_rewards.storage.paths import project_root
from spurious_rewards.storage.provenance import provenance
from spurious_rewards.workflow.progress import PATIENCE_SECONDS

SIMULATIONS = 20_000
SMALLEST = 0.03
"""Bound of the equivalence that is tested: the smallest change of accuracy that matters."""
RESIDUAL_SD = 0.25
"""Of one problem in one seed, after the means of both; 0.11 to 0.34 in the committed runs."""
PROBLEM_SDS = (0.0, 0.23, 0.38)
SEEDS = (3, 4, 5, 8, 16, 32, 40)
PROBLEMS = (400, 4000)
DESIGNS = {
    "arm": (0.0, 0.01, 0.024, 0.06, 0.13, 0.25, 0.37),
    "two arms": (0.0, 0.01, 0.024, 0.06),
    "collapse": (0.06, 0.2, 0.37),
}
"""Design → standard deviations between seeds, up to those of the code frequency of one-token's pairs."""
LOOKS = (8, 16, 32)
"""Seeds at which the study with a protocol looks at a claim, each at a level of its own (`verdicts.level_at`)."""
COLLAPSING = 0.2
"""Share of seeds that collapse in the design of that name."""


def coverage_table(n_simulations: int = SIMULATIONS) -> pd.DataFrame:
    """Return one row per design, variances and sample size; standard deviations and widths in percentage points.

    `false_positives`: share of 95 % intervals that exclude a true effect of 0 (with Wilson's limits of the simulation).
    `over_seeds_alone`: the same of Student's t over the seeds' means. `false_equivalence`: share of 90 % intervals
    inside ±3 points when the true effect is 3 points. `half_width`: median of the 95 % interval. `at_look`: share of
    the intervals of a look, whose level is `look_level`, that exclude a true effect of 0; where seeds are `LOOKS`.
    """
    cells = [
        (design, seed_sd, problem_sd, n_seeds, n_problems)
        for design, seed_sds in DESIGNS.items()
        for seed_sd, problem_sd, n_problems, n_seeds in product(seed_sds, PROBLEM_SDS, PROBLEMS, SEEDS)
    ]
    shown = tqdm(cells, unit="cell", delay=PATIENCE_SECONDS)
    return pd.DataFrame(simulate(*cell, n_simulations, np.random.default_rng([0, i])) for i, cell in enumerate(shown))


def simulate(
    design: str, seed_sd: float, problem_sd: float, n_seeds: int, n_problems: int, n_simulations: int,
    rng: np.random.Generator,
) -> dict[str, Any]:  # fmt: skip
    """Return one row of `coverage_table`."""
    n_arms = 2 if design == "two arms" else 1
    size = n_seeds * n_problems
    won = rng.binomial(n_problems, problem_sd**2, n_simulations)  # problems that change, half of them to each side
    balance = (2 * rng.binomial(won, 0.5) - won) / n_problems
    problem_norm = np.sqrt(won - n_problems * balance**2)
    columns = _noisy_variance(problem_norm, np.sqrt(n_arms * RESIDUAL_SD**2 / n_seeds), n_problems, rng)
    estimate, seeds, shared = balance, [], []
    for _ in range(n_arms):
        seed_mean, seed_norm = _seed_effects(design, seed_sd, n_seeds, n_simulations, rng)
        noise_mean = rng.normal(0, RESIDUAL_SD / np.sqrt(size), n_simulations)
        estimate = estimate + seed_mean + noise_mean
        rows = _noisy_variance(seed_norm, RESIDUAL_SD / np.sqrt(n_problems), n_seeds, rng)
        df = (n_seeds - 1) * (n_problems - 1)
        seeds.append((rows / n_seeds, n_seeds - 1))
        shared.append((RESIDUAL_SD**2 * rng.chisquare(df, n_simulations) / df / size, df))
    variance, df = combined(seeds, (columns / n_problems, n_problems - 1), shared)
    half = stats.t.ppf(0.975, df) * np.sqrt(variance)
    narrow = stats.t.ppf(0.95, df) * np.sqrt(variance)
    alone_df = n_arms * (n_seeds - 1)
    alone = stats.t.ppf(0.975, alone_df) * np.sqrt(sum(part for part, _ in seeds))
    misses = wilson(int((np.abs(estimate) > half).sum()), n_simulations)
    row: dict[str, Any] = {"design": design}
    row |= {"seed_sd": 100 * seed_sd, "problem_sd": 100 * problem_sd, "residual_sd": 100 * RESIDUAL_SD}
    row |= {"n_seeds": n_seeds, "n_problems": n_problems, **misses.columns("false_positives")}
    row["over_seeds_alone"] = float((np.abs(estimate) > alone).mean())
    row["look_level"] = level_at(n_seeds, LOOKS) if n_seeds in LOOKS else math.nan
    wide = stats.t.ppf(1 - row["look_level"] / 2, df) * np.sqrt(variance)
    row["at_look"] = float((np.abs(estimate) > wide).mean()) if n_seeds in LOOKS else math.nan
    row["false_equivalence"] = float(((estimate + narrow < 0) & (estimate - narrow > -2 * SMALLEST)).mean())
    return row | {"half_width": 100 * float(np.median(half)), "n_simulations": n_simulations}


def _seed_effects(
    design: str, sd: float, n_seeds: int, n_simulations: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of the seeds' effects, and the norm of their deviations from it, in each experiment."""
    if design != "collapse":
        mean = rng.normal(0, sd / np.sqrt(n_seeds), n_simulations)
        return mean, sd * np.sqrt(rng.chisquare(n_seeds - 1, n_simulations))
    step = sd / np.sqrt(COLLAPSING * (1 - COLLAPSING))  # distance between a collapsed seed and another
    share = rng.binomial(n_seeds, COLLAPSING, n_simulations) / n_seeds
    return step * (COLLAPSING - share), step * np.sqrt(n_seeds * share * (1 - share))


def _noisy_variance(norm: np.ndarray, noise_sd: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the variance (ddof 1) of n values with these deviations after independent normal noise is added."""
    along = norm + noise_sd * rng.standard_normal(norm.shape)
    across = noise_sd**2 * 2 * rng.standard_gamma((n - 2) / 2, norm.shape)
    return (along**2 + across) / (n - 1)


def write(results: Path, n_simulations: int = SIMULATIONS) -> Path:
    """Write the table and its manifest below `results`; return the path of the table."""
    started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
    table = coverage_table(n_simulations)
    path = results / "tables" / "statistics" / "coverage.csv"
    write_text(path, csv_text(table))
    manifest = {
        "kind": "coverage",
        "config": {"n_simulations": n_simulations, "seed": 0, "smallest": SMALLEST, "residual_sd": RESIDUAL_SD},
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - clock, 1),
        **provenance(),
    }
    write_json(results / "manifests" / "statistics" / "coverage.json", manifest)
    return path


def simulate_coverage(results: Path | None = None, simulations: int = SIMULATIONS) -> None:
    """Simulate how often the interval of an effect misses the truth.

    Args:
        results: folder to write into; without one, the committed results.
        simulations: experiments per cell.
    """
    print(write(results or project_root() / "results", simulations))


main = command(simulate_coverage)


if __name__ == "__main__":
    sys.exit(main())
