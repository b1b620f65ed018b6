"""Decompose the drift of one rollout batch: what noise alone does, what moves without a clip, and what the clip adds.

From antithetic pairs (`counterfactual_config`), per model and step size. Let z be the log-odds of code of a probe
problem, ± the two signs of a pair, o = ½(z₊ − z₋) its odd part, which is noise, and e = ½(z₊ + z₋) − z₀ its even part,
which is drift. Rows, each a mean over pairs and problems with its interval (`evaluation.crossed`):

    quantity                   part
    code_logit (log-odds)      noise: root mean square of o. curvature: z at the checkpoint ± half the difference of the
                               two arms, minus z₀, what noise without a direction does (over pairs alone). none: e
                               without a clip. two_sided, high_only, low_only: what each clip adds to that
    code (probability)         noise: root mean square over pairs of the mean over problems of p(1 − p) o, how far one
                               rollout batch of coins throws the mean probability. noise, second order: ½ p(1 − p)
                               (1 − 2p) o², what symmetric noise in the log-odds does to a probability. none,
                               two_sided, …: p(1 − p) times the same parts of z. none, in all: `none` and the second
                               order of noise together, how far the probability itself moves without a clip

`per_100` is the part times 100: what 100 rollout batches would add up to if every one drifted like the first, to be
compared with what training did over as many.

Usage: `drift_table(records.levels, records.checkpoints, records.pairs)` with `counterfactual.PairRecords`
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from spurious_rewards.evaluation.crossed import effect
from spurious_rewards.evaluation.statistics import t_interval
from spurious_rewards.mechanism.counterfactual_config import REFERENCE
from spurious_rewards.mechanism.effects import SETTING, level_matrices, over_signs

BATCHES = 100
"""Rollout batches that a drift is extrapolated to."""


def drift_table(levels: pd.DataFrame, checkpoints: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Compute the table of the module's docstring.

    Args:
        levels: code log-odds per probe problem, mean over signs, with `code_noise`; a row per setting, pair and mode.
        checkpoints: a row per setting with the checkpoint's `code_logits`.
        pairs: a row per setting, pair, sign and mode, with `curvature_code_logit` under `none`.
    """
    rows: list[dict[str, Any]] = []
    pairs = over_signs(pairs)
    for key, group in levels.groupby(list(SETTING), sort=False):
        setting = dict(zip(SETTING, key, strict=True))
        here = (pairs[list(SETTING)] == list(key)).all(axis=1)
        curvature = pairs.loc[here & pairs["clip_mode"].eq(REFERENCE), "curvature_code_logit"].to_numpy(float)
        (start,) = checkpoints[(checkpoints[list(SETTING)] == list(key)).all(axis=1)].to_dict("records")
        start_P = np.asarray(start["code_logits"], dtype=float)
        even = {mode: matrix - start_P for mode, matrix in level_matrices(group).items()}
        none = group[group["clip_mode"] == REFERENCE].sort_values("pair")
        noise_S_P = np.stack(none["code_noise"].to_list()).astype(float)
        p_P = 1 / (1 + np.exp(-start_P))
        slope_P, bend_P = p_P * (1 - p_P), p_P * (1 - p_P) * (1 - 2 * p_P)
        added = {mode: matrix - even[REFERENCE] for mode, matrix in even.items() if mode != REFERENCE}
        parts = [
            ("code_logit", "noise", effect(noise_S_P**2).root()),
            ("code_logit", "curvature", t_interval(curvature)),
            *(("code_logit", mode, effect(values)) for mode, values in {REFERENCE: even[REFERENCE], **added}.items()),
            ("code", "noise", t_interval((slope_P * noise_S_P).mean(axis=1) ** 2).root()),
            ("code", "noise, second order", effect(bend_P * noise_S_P**2 / 2)),
            ("code", "none, in all", effect(bend_P * noise_S_P**2 / 2 + slope_P * even[REFERENCE])),
            *(("code", mode, effect(slope_P * d)) for mode, d in {REFERENCE: even[REFERENCE], **added}.items()),
        ]
        for quantity, part, found in parts:
            row = {**setting, "n_pairs": len(noise_S_P), "quantity": quantity, "part": part, **found.columns("value")}
            rows.append(row if part == "noise" else row | {"per_100": BATCHES * found.estimate})
    return pd.DataFrame(rows)
