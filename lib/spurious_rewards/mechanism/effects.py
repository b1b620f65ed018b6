"""From the records of a paired counterfactual to its table: what each clip mode did, with intervals.

One row per setting, clip mode and quantity:

    checkpoint                        the quantity before any update (0 for kl and movements)
    change, change_low, change_high   mean over pairs of (after − checkpoint), 95 % t interval over pairs
    effect, effect_low, effect_high   mean over pairs of (mode − none), 95 % t interval over pairs: the clip's doing
    boot_low, boot_high               the same by a hierarchical bootstrap over pairs and probe problems, where values
                                      per problem exist: it also covers that other problems could have been probed
    share_up, share_up_low, _high     share of pairs with a positive difference, Wilson
    share_zero                        share of pairs without any difference
    standardised                      effect / standard deviation of the pairs' differences
    ess, reliable                     code and accuracy: median over pairs of the effective share of the probe's answers
                                      (`ess_code`, `ess`), the smaller of mode and none; reliable from `LEAST_ESS` on

Quantities are those of `probe_set`, and of the updates themselves: clipped (share of tokens, mean over updates),
would_clip_high, would_clip_low, ratio_max, motion. Entropy and kl are in nats per token.

Usage: `effects(pairs, problems, checkpoints)` with the frames of `counterfactual.records`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from spurious_rewards.evaluation.statistics import hierarchical_bootstrap, t_interval, wilson
from spurious_rewards.mechanism.counterfactual_config import REFERENCE
from spurious_rewards.training.diagnostics import PI_OLD_BINS

PER_PROBLEM = ("entropy", "code", "accuracy")
"""Quantities whose differences are kept per probe problem."""
PROBED = ("entropy", "top1", "kl", "code", "accuracy", *(f"move_bin{i}" for i in range(len(PI_OLD_BINS) - 1)))
UPDATED = ("clipped", "would_clip_high", "would_clip_low", "ratio_max", "motion")
ESS_OF = {"code": "ess_code", "accuracy": "ess"}
LEAST_ESS = 0.5
"""Below half of the answers the importance-weighted quantities are marked as unreliable."""
RESAMPLES = 4000
SETTING = ("model", "optimizer", "learning_rate")


def effects(pairs: pd.DataFrame, problems: pd.DataFrame, checkpoints: pd.DataFrame) -> pd.DataFrame:
    """The table of the module's docstring.

    Args:
        pairs: a row per setting, pair and clip mode.
        problems: differences to `none` per probe problem, a row per setting, pair and other mode, arrays in columns.
        checkpoints: a row per setting with what its checkpoint shows.
    """
    per_update = [name for name in UPDATED if isinstance(pairs[name].iloc[0], np.ndarray)]
    pairs = pairs.assign(**{name: [float(np.mean(values)) for values in pairs[name]] for name in per_update})
    rows = []
    for key, group in pairs.groupby(list(SETTING), sort=False):
        setting = dict(zip(SETTING, key, strict=True))
        start = _of(checkpoints, setting).iloc[0]
        by_problem = _of(problems, setting)
        for mode in group["clip_mode"].unique():
            differences = by_problem[by_problem["clip_mode"] == mode].sort_values("pair")
            for name in (*PROBED, *UPDATED):
                wide = group.pivot(index="pair", columns="clip_mode", values=name).astype(float)
                row: dict[str, Any] = {**setting, "clip_mode": mode, "quantity": name, "n_pairs": len(wide)}
                before = float(start.get(name, math.nan)) if name in PROBED else 0.0
                row |= {"checkpoint": before, **_interval("change", wide[mode].to_numpy() - before)}
                if mode != REFERENCE:
                    matrix = np.stack(differences[name].to_list()) if name in PER_PROBLEM else None
                    row |= paired(wide[mode].to_numpy(), wide[REFERENCE].to_numpy(), matrix)
                    if name in ESS_OF:
                        ess = group.pivot(index="pair", columns="clip_mode", values=ESS_OF[name]).median()
                        row["ess"] = float(min(ess[mode], ess[REFERENCE]))
                        row["reliable"] = row["ess"] >= LEAST_ESS
                rows.append(row)
    return pd.DataFrame(rows)


def paired(mode_S: np.ndarray, reference_S: np.ndarray, differences_S_P: np.ndarray | None = None) -> dict[str, Any]:
    """Effect of one mode on one quantity: columns effect to standardised of the table.

    Args:
        mode_S: the quantity in each pair under the mode.
        reference_S: in the same pairs under `none`.
        differences_S_P: the difference per pair and probe problem, if it is known.

    >>> found = paired(np.array([1.0, 2.0, 4.0]), np.array([0.0, 2.0, 2.0]))
    >>> found["effect"], found["share_up"], found["standardised"]  # differences 1, 0, 2; standard deviation 1
    (1.0, 0.666..., 1.0)
    """
    difference_S = mode_S - reference_S
    row = _interval("effect", difference_S)
    if differences_S_P is not None:
        boot = hierarchical_bootstrap(differences_S_P, n_resamples=RESAMPLES)
        row |= {"boot_low": boot.low, "boot_high": boot.high}
    up, spread = wilson(int((difference_S > 0).sum()), len(difference_S)), difference_S.std(ddof=1)
    return {**row, "share_up": up.estimate, "share_up_low": up.low, "share_up_high": up.high,
            "share_zero": float((difference_S == 0).mean()),
            "standardised": float(difference_S.mean() / spread) if spread > 0 else 0.0}


def entropy_half_width(pairs: pd.DataFrame) -> float:
    """Half width of the 95 % t interval of `two_sided` − `none` in token entropy: what the stopping rule looks at.

    Without `two_sided` among the modes, of the first other mode.
    """
    wide = pairs.pivot(index="pair", columns="clip_mode", values="entropy").astype(float)
    others = [mode for mode in pairs["clip_mode"].unique() if mode != REFERENCE]
    mode = "two_sided" if "two_sided" in others else others[0]
    interval = t_interval((wide[mode] - wide[REFERENCE]).to_numpy())
    return (interval.high - interval.low) / 2


def unpaired(pairs: pd.DataFrame) -> list[int]:
    """Pairs (by number) whose arms differ in their start, in what they consumed, or in their first update.

    The loss of `cispo` is another function with the same gradient at ratio 1: its value differs, and its weights after
    the first update may differ by rounding, 1e-4 being allowed. `none_released` has another gradient from the start.
    """
    by_pair = [*SETTING, "pair"]
    same_loss = pairs[~pairs["clip_mode"].isin(["cispo", "none_released"])]
    counts = [pairs.groupby(by_pair)["start_sha"].nunique(), pairs.groupby(by_pair)["rollouts_sha"].nunique(),
              same_loss.groupby(by_pair)["first_loss"].nunique()]
    allowed = np.select([pairs["clip_mode"] == "cispo", pairs["clip_mode"] == "none_released"], [1e-4, np.inf], 0.0)
    wrong = {key[-1] for count in counts for key in count[count != 1].index}
    return sorted(wrong | set(pairs.loc[pairs["first_gap"] > allowed, "pair"]))


def _of(frame: pd.DataFrame, setting: dict[str, Any]) -> pd.DataFrame:
    keep = np.logical_and.reduce([frame[name] == value for name, value in setting.items()])
    return frame[keep]


def _interval(name: str, values: np.ndarray) -> dict[str, float]:
    found = t_interval(values)
    return {name: found.estimate, f"{name}_low": found.low, f"{name}_high": found.high}
