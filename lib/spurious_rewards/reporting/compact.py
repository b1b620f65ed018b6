"""Keep less of a profile of hundreds of runs, so that its records can be committed, and add to them run by run.

Kept are all verdicts of all answers, but texts only of the first problems of each evaluation; and of each rollout batch
the first update and the mean of the later ones. Every table of a profile comes out the same, but for columns that need
texts or single updates.

Usage: `samples(answers)`, `metrics(updates)`, `added(committed, new)`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from spurious_rewards.errors import InputError
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.workflow.profiles import load_profile

if TYPE_CHECKING:
    from spurious_rewards.reporting.collect import Records

PROBLEMS_WITH_TEXT = 20
TEXTS = ("text", "extracted", "gold", "reason", "extracted_paper")
LEFT_OUT = ("logprob", "seed", "family", "level")
KEPT_METRICS = (
    "update", "rollout_batch", "update_in_batch", "reward_mean", "zero_variance_share", "code_frequency",
    "completion_tokens", "ended_share", "entropy", "clip_fraction", "clip_fraction_low", "clip_fraction_high",
    "surrogate_loss", "would_clip_high", "would_clip_low", "clip_force_high", "clip_force_low", "kl_old", "grad_norm",
    "seconds_rollout_batch", "seconds_tokens_rate",
)  # fmt: skip
AT_THE_LAST = ("update", "update_in_batch", "kl_old")
"""Metrics whose value at the last update of a rollout batch counts, not the mean of the later updates."""


def samples(answers: pd.DataFrame) -> pd.DataFrame:
    """Shrink the answers of one evaluation: texts of the first problems only, narrow numbers.

    Whether an answer could be read (`parsable`) is kept for all.
    """
    first = answers["problem_id"].isin(answers["problem_id"].drop_duplicates()[:PROBLEMS_WITH_TEXT])
    texts = {name: answers[name].where(first, None) for name in TEXTS if name in answers}
    small = answers.assign(parsable=answers["extracted"].notna(), **texts).drop(columns=list(LEFT_OUT), errors="ignore")
    return small.astype({name: "int32" for name in ("sample", "n_tokens", "checkpoint", "max_new_tokens")})


def metrics(updates: pd.DataFrame) -> pd.DataFrame:
    """Shrink the metrics of one run to two rows per rollout batch: its first update, and the mean of the later ones."""
    table = updates[[name for name in KEPT_METRICS if name in updates]]
    first = table["update_in_batch"] == 1
    means = table[~first].groupby("rollout_batch", sort=True).mean()
    last = table[~first].groupby("rollout_batch", sort=True).last()
    means[list(AT_THE_LAST)] = last[list(AT_THE_LAST)]
    both = pd.concat([table[first], means.reset_index()], ignore_index=True)[list(table.columns)]
    whole = {name: "int32" for name in ("update", "rollout_batch", "update_in_batch")}
    exact = (*whole, "surrogate_loss")  # losses of the first update are compared to the last bit
    narrow = {name: "float32" for name in both.columns if name not in exact}
    return both.sort_values(["rollout_batch", "update_in_batch"], ignore_index=True).astype(whole | narrow)


def added(committed: Records, new: Records) -> Records:
    """Put new runs beside committed ones; a run that is in both is taken from the new."""

    def beside(name: str) -> pd.DataFrame:
        old, fresh = getattr(committed, name), getattr(new, name)
        if old.empty or fresh.empty:
            return fresh if old.empty else old
        return pd.concat([old[~old["run_id"].isin(set(fresh["run_id"]))], fresh], ignore_index=True)

    tables = {name: beside(name) for name in ("runs", "metrics", "samples", "probes")}
    return replace(new, manifests={**committed.manifests, **new.manifests}, **tables)


def study_run_ids(profile: str) -> list[str]:
    """List the finished runs of a profile that were made without notebooks (`evaluation.study`).

    Stages whose configurations cannot be built yet, because they need a job that is not done, are passed over. So are
    trainings that nothing evaluates: they chose a setting, and are no arms.
    """
    from spurious_rewards.evaluation.study import units  # the trainer behind it takes seconds to import

    whole, found = load_profile(profile), []
    for stage in dict.fromkeys(job.stage for job in whole.jobs):
        try:
            for config, cells in units(whole, [stage]):
                found += [config.run_id()] if config and cells else []
                found += [cell.eval_id() for cell in cells]
        except InputError:
            continue
    return [run_id for run_id in dict.fromkeys(found) if RunFolder.manifest_path(run_id).is_file()]
