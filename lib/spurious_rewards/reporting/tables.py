"""Every table of the report, computed from the records alone; a test recomputes the committed ones and compares.

Proportions are in [0, 1]. `_low` and `_high` are 95 % limits: over problems and seeds for arms (hierarchical bootstrap;
Wilson's for an untrained model with one answer per problem, and where all answers agree), Student's t over seeds for
paired differences between clip modes (two seeds give wide limits, and should).
A bootstrap over two seeds understates what another seed could bring, so changes carry `_seeds_low` and `_seeds_high`
too: Student's t over seeds alone.

Tables of arms hold the models at the end of training, in the evaluation cells in which trained models were evaluated;
the base model under further prompts and the models of earlier checkpoints have tables of their own
(`reporting.reasoning_tables`).

Usage: `for name, table in all_tables(records).items(): ...`
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.records import check_no_duplicates
from spurious_rewards.evaluation.statistics import Interval, hierarchical_bootstrap, t_interval, wilson
from spurious_rewards.reporting.collect import Records

CELL = ["benchmark", "prompt_style", "temperature"]
FURTHER = ("model", "engine", "dtype", "max_new_tokens")
"""What else tells two evaluations apart; a column of the tables only where a profile has several."""
BASE = "base model"


def all_tables(records: Records) -> dict[str, pd.DataFrame]:
    """Name → table; tables without rows are left out."""
    from spurious_rewards.reporting import reasoning_tables  # builds on this module

    tables = {
        "arms": arms(records),
        "clip_effect": clip_effect(records),
        "clip_activity": clip_activity(records),
        "first_updates": first_updates(records),
        "runs": runs(records),
        **reasoning_tables.tables(records),
    }
    return {name: table for name, table in tables.items() if len(table)}


def arm_name(row: pd.Series, columns: list[str]) -> str:
    """Readable name of an arm: reward, clip mode, and whatever else differs in the profile."""
    reward = row["reward"]
    parts = [f"{reward} γ={row['gamma']:g}" if "random" in reward.split("_and_") else reward, row["clip_mode"]]
    parts += [
        f"{name}={row[name]:g}" if isinstance(row[name], float) else f"{name}={row[name]}"
        for name in columns
        if name not in ("reward", "clip_mode", "gamma")
    ]
    return ", ".join(parts)


def cell_columns(records: Records) -> list[str]:
    """The columns of the samples that make an evaluation cell: `CELL`, and of `FURTHER` what varies."""
    return [*CELL, *(name for name in FURTHER if records.samples[name].nunique() > 1)]


def with_arms(records: Records) -> pd.DataFrame:
    """The samples with the columns `arm` (base model or name) and `train_seed`."""
    names = {BASE: BASE}
    columns = records.arm_columns()
    for _, row in records.runs.iterrows():
        names[row["run_id"]] = arm_name(row, columns)
    trained = records.samples["trained_run"].replace("", BASE)
    return records.samples.assign(arm=trained.map(names))


def at_the_end(records: Records) -> pd.DataFrame:
    """The samples of base and finished models, with `arm`, in the cells that trained models share (or all, if none).

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
    """Mean of `column` per seed (rows) and problem (columns, sorted)."""
    return samples.pivot_table(
        index="trained_run", columns="problem_id", values=column, aggfunc="mean", sort=True
    ).astype(float)


def matrix(samples: pd.DataFrame, column: str) -> np.ndarray:
    """`by_problem` as an array of shape (S, P)."""
    return by_problem(samples, column).to_numpy()


def changes(trained: pd.DataFrame, base: pd.DataFrame, column: str) -> np.ndarray:
    """Change of `column` from the base model per seed and problem, shape (S, P).

    Raises:
        InputError: they were not evaluated on the same problems.
    """
    after_S_P, before_1_P = by_problem(trained, column), by_problem(base, column)
    if set(after_S_P.columns) != set(before_1_P.columns) or after_S_P.isna().any(axis=None):
        raise InputError(
            f"{trained['model'].iloc[0]} was evaluated on {after_S_P.shape[1]} problems after training "
            f"and on {before_1_P.shape[1]} before, which are not the same: give 03_evaluate the same "
            "n_problems and problem_order for both."
        )
    return after_S_P.to_numpy() - before_1_P.to_numpy()


def proportion(values_S_P: np.ndarray) -> Interval:
    """Mean of values in [0, 1], shape (S, P), with limits: Wilson's over the problems where a bootstrap has none.

    That is for one verdict per problem of a single model, and where all values are 0 or all 1.
    """
    mean, n_problems = float(values_S_P.mean()), values_S_P.shape[1]
    if mean in (0.0, 1.0) or (len(values_S_P) == 1 and np.isin(values_S_P, (0.0, 1.0)).all()):
        return wilson(round(mean * n_problems), n_problems)
    return hierarchical_bootstrap(values_S_P)


def arms(records: Records) -> pd.DataFrame:
    """One row per arm and evaluation cell: accuracy and code frequency, with their change from the base model."""
    rows, columns = [], cell_columns(records)
    for cell, samples in at_the_end(records).groupby(columns, sort=False):
        base = samples[samples["arm"] == BASE]
        for arm, group in samples.groupby("arm", sort=False):
            row = {
                "arm": arm,
                **dict(zip(columns, cell, strict=True)),
                "n_seeds": group.loc[group["trained_run"] != "", "trained_run"].nunique(),
                "n_problems": group["problem_id"].nunique(),
                "k": int(group.groupby(["trained_run", "problem_id"]).size().iloc[0]),
            }
            for name, column in (("accuracy", "correct"), ("code", "uses_code")):
                row |= limits(name, proportion(matrix(group, column)))
                if len(base) and arm != BASE:
                    change = changes(group, base, column)
                    row |= limits(f"{name}_change", hierarchical_bootstrap(change))
                    over_seeds = t_interval(change.mean(axis=1))
                    row |= {f"{name}_change_seeds_low": over_seeds.low, f"{name}_change_seeds_high": over_seeds.high}
            rows.append(row | over_answers(group))
    return pd.DataFrame(rows)


def over_answers(group: pd.DataFrame) -> dict[str, float]:
    """Point figures over all answers of all seeds of an arm."""
    code = group["uses_code"].astype(bool)
    return {
        "accuracy_code": group.loc[code, "correct"].mean(),
        "accuracy_language": group.loc[~code, "correct"].mean(),
        "accuracy_paper": group["correct_paper"].mean(),
        "boxed": group["boxed"].mean(),
        "parsable": group["extracted"].notna().mean(),
        "mean_tokens": group["n_tokens"].mean(),
        "cut_off": (group["finish_reason"] == "length").mean(),
    }


def limits(name: str, interval: Interval) -> dict[str, float]:
    """The three columns of an interval."""
    return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}


def clip_effect(records: Records) -> pd.DataFrame:
    """Per reward and cell: each clip mode minus `none`, paired by seed (same problems, same draws, same rollouts at
    the start); t interval over seeds, per-seed differences listed."""
    if records.runs.empty or records.runs["clip_mode"].nunique() < 2:
        return pd.DataFrame()
    others = [name for name in records.arm_columns() if name != "clip_mode"]
    # A field of both configurations (prompt_style, engine) is the evaluation's under `_cell`; the model is the same.
    cell = [
        f"{name}_cell" if name in others else name
        for name in cell_columns(records)
        if name != "model" or name not in others
    ]
    samples = records.samples[records.samples["checkpoint"] == 0].merge(
        records.runs[["run_id", *others, "clip_mode", "seed"]].rename(columns={"run_id": "trained_run"}),
        on="trained_run",
        how="inner",
        suffixes=("_cell", ""),
    )
    rows = []
    for key, group in samples.groupby([*others, *cell], sort=False, dropna=False):
        means = group.groupby(["clip_mode", "seed"])[["correct", "uses_code"]].mean()
        if "none" not in means.index.get_level_values(0):
            continue
        for mode in [m for m in means.index.get_level_values(0).unique() if m != "none"]:
            paired = (means.loc[mode] - means.loc["none"]).dropna()
            if paired.empty:
                continue
            row = {
                **dict(zip([*others, *cell], key, strict=True)),
                "clip_mode": mode,
                "n_seeds": len(paired),
                "seeds": " ".join(map(str, paired.index)),
            }
            for name, column in (("accuracy_difference", "correct"), ("code_difference", "uses_code")):
                row |= limits(name, t_interval(paired[column]))
                row[f"{name}_per_seed"] = " ".join(f"{value:+.4f}" for value in paired[column])
            rows.append(row)
    return pd.DataFrame(rows)


def clip_activity(records: Records) -> pd.DataFrame:
    """Per arm: does the clip act, and where; entropy and reward at both ends of training (means over seeds)."""
    if records.metrics.empty:
        return pd.DataFrame()
    columns = records.arm_columns()
    rows = []
    for _, seeds in records.runs.groupby(columns, sort=False):
        metrics = records.metrics[records.metrics["run_id"].isin(seeds["run_id"])]
        first = metrics[metrics["update_in_batch"] == 1]
        later = metrics[metrics["update_in_batch"] > 1]
        ends = first.groupby("run_id")
        rows.append(
            {
                "arm": arm_name(seeds.iloc[0], columns),
                "n_seeds": len(seeds),
                "n_updates": len(metrics),
                "clip_fraction_update_1_max": first["clip_fraction"].max(),
                "clip_fraction_later_mean": later["clip_fraction"].mean(),
                "would_clip_high_later_mean": later["would_clip_high"].mean(),
                "would_clip_low_later_mean": later["would_clip_low"].mean(),
                "clip_force_high_later_mean": later["clip_force_high"].mean(),
                "clip_force_low_later_mean": later["clip_force_low"].mean(),
                "kl_old_last_update_mean": metrics[metrics["update_in_batch"] == metrics["update_in_batch"].max()][
                    "kl_old"
                ].mean(),
                **{
                    f"{name}_{label}": ends[name].nth(position).mean()
                    for name in ("entropy", "code_frequency", "reward_mean")
                    for label, position in (("first", 0), ("last", -1))
                },
            }
        )
    return pd.DataFrame(rows)


def first_updates(records: Records) -> pd.DataFrame:
    """The ablation's own control: at the first update of training, arms that differ in the clip mode alone have the
    same rollouts, so their losses must agree to the last bit (written as hexadecimal floats)."""
    if records.metrics.empty:
        return pd.DataFrame()
    first = records.metrics[records.metrics["update"] == 1].set_index("run_id")["surrogate_loss"]
    others = [name for name in records.arm_columns() if name != "clip_mode"]
    rows = []
    for key, group in records.runs.groupby([*others, "seed"], sort=False, dropna=False):
        losses = {row["clip_mode"]: float(first[row["run_id"]]) for _, row in group.iterrows()}
        rows.append(
            {
                **dict(zip([*others, "seed"], key, strict=True)),
                "clip_modes": " ".join(losses),
                "losses": " ".join(value.hex() for value in losses.values()),
                "equal": len(set(losses.values())) == 1,
            }
        )
    return pd.DataFrame(rows)


def runs(records: Records) -> pd.DataFrame:
    """What each training run cost, and where it came from."""
    if records.runs.empty:
        return pd.DataFrame()
    rate = records.metrics.groupby("run_id")["seconds_tokens_rate"].median()
    table = records.runs.assign(
        arm=[arm_name(row, records.arm_columns()) for _, row in records.runs.iterrows()],
        minutes=(records.runs["seconds"] / 60).round(2),
        tokens_per_second=records.runs["run_id"].map(rate).round(0),
    )
    return table[
        [
            "run_id",
            "arm",
            "seed",
            "n_updates",
            "completion_tokens",
            "minutes",
            "tokens_per_second",
            "peak_memory_mb",
            "sessions",
            "commit",
            "dirty",
        ]
    ]
