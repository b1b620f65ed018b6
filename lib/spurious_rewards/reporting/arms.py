"""Name the arms of a profile and lay out its evaluation records by seed and problem, for every table to build on.

An *arm* is all runs that differ in the seed alone; an *evaluation cell* is a benchmark, prompt and temperature (and
whatever else of `FURTHER` varies in the profile). Values by seed and problem are arrays of shape (S, P).

Usage: `changes(trained, base, "correct")`
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.records import check_no_duplicates
from spurious_rewards.reporting.collect import Records

CELL = ["benchmark", "prompt_style", "temperature"]
FURTHER = ("model", "engine", "dtype", "max_new_tokens")
"""What else tells two evaluations apart; a column of the tables only where a profile has several."""
BASE = "base model"


def arm_name(row: pd.Series, columns: list[str]) -> str:
    """Name an arm readably: reward, clip mode, and whatever else differs in the profile."""
    reward = row["reward"]
    parts = [f"{reward} γ={row['gamma']:g}" if "random" in reward.split("_and_") else reward, row["clip_mode"]]
    parts += [
        f"{name}={row[name]:g}" if isinstance(row[name], float) else f"{name}={row[name]}"
        for name in columns
        if name not in ("reward", "clip_mode", "gamma")
    ]
    return ", ".join(parts)


def cell_columns(records: Records) -> list[str]:
    """List the columns of the samples that make an evaluation cell: `CELL`, and of `FURTHER` what varies.

    What varies only from benchmark to benchmark, as the limit of tokens may, tells no cells apart; a model is named.
    """
    samples = records.samples
    varying = [name for name in FURTHER if samples[name].nunique() > 1]
    return [
        *CELL,
        *(name for name in varying if name == "model" or samples.groupby("benchmark")[name].nunique().max() > 1),
    ]


def with_arms(records: Records) -> pd.DataFrame:
    """Return the samples with a column `arm`: the arm's name, or `base model`."""
    names = {BASE: BASE}
    columns = records.arm_columns()
    for _, row in records.runs.iterrows():
        names[row["run_id"]] = arm_name(row, columns)
    trained = records.samples["trained_run"].replace("", BASE)
    return records.samples.assign(arm=trained.map(names))


def at_the_end(records: Records) -> pd.DataFrame:
    """Select the samples of base and finished models, in the cells in which trained models were evaluated (else all).

    Raises:
        InputError: two evaluations of one cell would be pooled as if they were independent.
    """
    samples = with_arms(records)
    samples = samples[samples["checkpoint"] == 0]
    check_no_duplicates(samples, cell_columns(records))
    if (samples["arm"] == BASE).all():
        return samples
    shared = samples.loc[samples["arm"] != BASE, cell_columns(records)].drop_duplicates()
    return samples.merge(shared, on=cell_columns(records), how="inner")


def by_problem(samples: pd.DataFrame, column: str) -> pd.DataFrame:
    """Average `column` per seed (rows) and problem (columns, sorted)."""
    return samples.pivot_table(
        index="trained_run", columns="problem_id", values=column, aggfunc="mean", sort=True
    ).astype(float)


def matrix(samples: pd.DataFrame, column: str) -> np.ndarray:
    """Return `by_problem` as an array of shape (S, P)."""
    return by_problem(samples, column).to_numpy()


def changes(trained: pd.DataFrame, base: pd.DataFrame, column: str) -> np.ndarray:
    """Subtract the base model's values of `column` from each seed's, by problem; shape (S, P).

    Raises:
        InputError: base and trained models were not evaluated on the same problems.
    """
    after_S_P, before_1_P = by_problem(trained, column), by_problem(base, column)
    if set(after_S_P.columns) != set(before_1_P.columns) or after_S_P.isna().any(axis=None):
        raise InputError(
            f"{trained['model'].iloc[0]} was evaluated on {after_S_P.shape[1]} problems after training "
            f"and on {before_1_P.shape[1]} before, which are not the same: give 03_evaluate the same "
            "n_problems and problem_order for both."
        )
    return after_S_P.to_numpy() - before_1_P.to_numpy()


def parsable(samples: pd.DataFrame) -> pd.Series:
    """Tell which answers could be read; compact records say so in a column of their own."""
    return samples["parsable"] if "parsable" in samples else samples["extracted"].notna()
