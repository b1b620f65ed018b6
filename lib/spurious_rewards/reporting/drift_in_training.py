"""Compare the drift of one rollout batch with what a whole run does: does the one explain the other?

The antithetic pairs (`mechanism.drift`) say how far one rollout batch of random rewards moves the probability of code,
without a clip and by the clip alone. If every rollout batch moved it like the first, a run of B rollout batches would
move it B times as far. Training says how far it went: the share of code among the rollouts of the last ten rollout
batches minus that among the first ten, seed by seed, so that the prediction is B − 10 times the drift. A pair's rollout
batch is a quarter of a run's, and drift need not add up; the table shows both numbers and lets the reader judge.

    part                    predicted                                measured
    without clip            drift of mode `none`, in all             change in runs without clip, mean over seeds
    added by the clip       `two_sided` minus `none`, of one pair    the same difference, paired by seed
    spread, without clip    noise of one rollout batch × √steps      standard deviation of the change over seeds
    spread, with clip       the same                                 the same, of runs with clip

The last two ask whether runs wander: if each rollout batch throws the probability of code as far as the pairs' odd part
says, independently of the last, seeds end that far apart. For the difference of two means over w batches whose middles
lie d apart, a random walk has the variance of d − (w² − 1)/(3w) steps.

Usage: `drift_in_training(mechanism_tables(results)["drift"], profiles)`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from spurious_rewards.evaluation.statistics import deviation, t_interval
from spurious_rewards.reporting.collect import Records
from spurious_rewards.reporting.figures import ablation_runs

ENDS = 10
"""Rollout batches at either end of a run whose rollouts are counted."""
PARTS = {"none, in all": "without clip", "two_sided": "added by the clip"}
SPREADS = {"none": "spread, without clip", "two_sided": "spread, with clip"}
NOISE = "noise"


def drift_in_training(drift: pd.DataFrame, profiles: Sequence[Records]) -> pd.DataFrame:
    """Tabulate prediction and measurement for each profile, model and step size that both have.

    Args:
        drift: the table of `mechanism.drift`.
        profiles: records, whose runs under the random reward with and without clip are used.

    Returns:
        model, learning_rate, profile, part; predicted and measured with their 95 % limits (proportions); n_pairs and
        n_seeds.
    """
    drift = drift[drift["quantity"].eq("code") & drift["optimizer"].eq("adamw")]
    rows: list[dict[str, Any]] = []
    for records in profiles:
        changes = _changes(records)
        groups = changes.groupby(["model", "learning_rate", "batches"]) if len(changes) else ()
        for (model, rate, batches), own in groups:
            seeds = own.pivot_table(index="seed", columns="clip_mode", values="change")
            here = drift[drift["model"].eq(model) & drift["learning_rate"].eq(rate)].set_index("part")
            if here.empty or not set(SPREADS) <= set(seeds):
                continue
            measured = {
                "none, in all": seeds["none"].dropna(),
                "two_sided": (seeds["two_sided"] - seeds["none"]).dropna(),
            }
            apart = int(batches) - ENDS
            steps = apart - (ENDS**2 - 1) / (3 * ENDS)
            found = [(part, mode, apart, t_interval(measured[mode])) for mode, part in PARTS.items()]
            found += [(part, NOISE, steps**0.5, deviation(seeds[mode].dropna())) for mode, part in SPREADS.items()]
            for part, name, times, interval in found:
                row = {"model": model, "learning_rate": rate, "profile": records.profile, "part": part}
                row |= {
                    f"predicted{end}": times * float(here.loc[name, f"value{end}"]) for end in ("", "_low", "_high")
                }
                row |= interval.columns("measured")
                rows.append(row | {"n_pairs": int(here.loc[name, "n_pairs"]), "n_seeds": interval.n})
    return pd.DataFrame(rows)


def _changes(records: Records) -> pd.DataFrame:
    """Change of the share of code among rollouts, a row per run of eight updates per rollout batch and two ends."""
    runs = ablation_runs(records)
    if runs.empty or "code_frequency" not in records.metrics:
        return pd.DataFrame()
    runs = runs[runs["updates_per_batch"] == 8] if "updates_per_batch" in runs else runs
    code = records.metrics[records.metrics["update_in_batch"] == 1]
    code = code[code["run_id"].isin(set(runs["run_id"]))].sort_values("rollout_batch")
    by_run = code.groupby("run_id")["code_frequency"]
    ends = pd.DataFrame({"change": by_run.apply(_change), "batches": by_run.size()})
    return runs.merge(ends[ends["batches"] >= 2 * ENDS], left_on="run_id", right_index=True)


def _change(shares: pd.Series) -> float:
    return float(shares.iloc[-ENDS:].mean() - shares.iloc[:ENDS].mean())
