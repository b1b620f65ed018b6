"""Summarise a bandit experiment, each number with its 95 % interval over seeds.

Shares have Wilson intervals, means Student's t (final probabilities pile up near 0 and 1, so at ≥ 500 seeds it rests on
the central limit theorem), medians the interval from order statistics, which assumes no distribution. The limits of
`name` are `name_low` and `name_high`.

    summary(simulate(BanditConfig(clip_mode="none")).per_seed)["share_up_low"]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.statistics import CONFIDENCE, Interval, resampled_sums, t_interval, wilson
from spurious_rewards.mechanism.bandit import PROBABILITY_EDGES, BanditResult

SHARES = ("clipped_high", "clipped_low", "outside_high", "outside_low")
BIN_RESAMPLES = 2000
MEANS = {
    "mean_change": "change",
    "logit_change": "logit_change",
    "entropy_change": "entropy_change",
    "clip_fraction_high": "clipped_high",
    "clip_fraction_low": "clipped_low",
    "outside_fraction_high": "outside_high",
    "outside_fraction_low": "outside_low",
    "unclipped_gradient": "unclipped",
    "added_gradient": "added",
}
"""Reported means and the value per seed that each is the mean of."""


def summary(per_seed: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Estimate over seeds from `BanditResult.per_seed`; each `name` comes with `name_low` and `name_high`.

    Returns:
        share_up: share of seeds in which the initially likelier arm ended above its prior (share_down: below).
        mean_change, median_change: change of that arm's probability; logit_change: mean change of its log-odds.
        entropy_change: mean, in nats. clip_fraction_high/low: share of rollouts whose gradient the mode clipped.
        outside_fraction_high/low: share that lay beyond ε in the clipped direction, also in modes that do not clip.
        unclipped_gradient: mean gradient of the unclipped objective in the likelier arm's logit, per update.
        added_gradient: what the clip mode adds to that on average: signed, so that noise averages out and bias stays.
        motion_rms: root mean square change of the log-odds per rollout batch.
    """
    change = np.asarray(per_seed["change"])
    found: dict[str, Any] = {"n_seeds": len(change)}
    for name, hits in (("share_up", change > 0), ("share_down", change < 0)):
        found |= wilson(int(hits.sum()), len(change)).columns(name)
    median = stats.quantile_test(change, p=0.5).confidence_interval(CONFIDENCE)
    found |= Interval(float(np.median(change)), float(median.low), float(median.high), len(change)).columns(
        "median_change"
    )
    for name, column in MEANS.items():
        found |= t_interval(per_seed[column]).columns(name)
    return found | t_interval(per_seed["motion_squared"]).root().columns("motion_rms")


def paired_differences(per_seed: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return mean differences to another mode with the same seeds, hence the same random numbers, with t intervals.

    Raises:
        InputError: the two do not have the same number of seeds.
    """
    if len(per_seed["change"]) != len(reference["change"]):
        raise InputError(
            f"Paired experiments need the same seeds, but these have {len(per_seed['change'])} and "
            f"{len(reference['change'])}."
        )
    found: dict[str, Any] = {}
    for name in ("change", "logit_change", "entropy_change"):
        found |= t_interval(per_seed[name] - reference[name]).columns(f"paired_{name}")
    return found


def traces(result: BanditResult) -> pd.DataFrame:
    """Return means and intervals over seeds of the likelier arm's probability and the entropy, per rollout batch."""
    return pd.DataFrame(
        {"batch": batch, "quantity": name, **t_interval(at_batch).columns("mean")}
        for name, values in result.trace.items()
        for batch, at_batch in enumerate(values)
    )


def by_probability(result: BanditResult) -> pd.DataFrame:
    """Return clip fractions by π_old of the arm: shares of a bin's rollouts clipped and outside the band.

    Each rollout is in one mini-batch, hence counted once: bins weighted by their rollouts give `clip_fraction_*` again.

    A share is a ratio of sums over seeds; `_low` and `_high` are a percentile bootstrap over seeds, because the
    arms of one seed share a policy. `rollouts` is the expected number, seeds and rollout batches together; `seeds` the
    number of seeds that visited the bin; empty bins are left out.
    """
    rollouts_S_B = result.bins["rollouts"]
    visited = np.flatnonzero(rollouts_S_B.sum(axis=0) > 0)
    frame = pd.DataFrame(
        {
            "p_low": np.array(PROBABILITY_EDGES[:-1])[visited],
            "p_high": np.array(PROBABILITY_EDGES[1:])[visited],
            "rollouts": rollouts_S_B.sum(axis=0)[visited],
            "seeds": (rollouts_S_B > 0).sum(axis=0)[visited],
        }
    )
    columns = [result.bins[name][:, visited] for name in ("rollouts", *SHARES)]
    resampled = resampled_sums(np.concatenate(columns, axis=1), n_resamples=BIN_RESAMPLES)
    of_name = np.split(resampled, len(columns), axis=1)  # (resamples, bins) each
    for name, sums in zip(SHARES, of_name[1:], strict=True):
        frame[name] = result.bins[name].sum(axis=0)[visited] / frame["rollouts"].to_numpy()
        with np.errstate(invalid="ignore"):  # 0/0 where no drawn seed visited the bin: left out
            limits = np.nanquantile(sums / of_name[0], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
        frame[f"{name}_low"], frame[f"{name}_high"] = limits
    return frame
