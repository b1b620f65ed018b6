"""The table of a dose–response: what each clip mode did at each prior, and how that depends on the prior.

From a tidy frame with a row per (setting, clip mode, model, unit, quantity), a unit being a training seed or a pair:

    statistic     row
    prior         one model: `prior` its measured code probability; mean over units of the change since the checkpoint
                  and of the effect (mode − none in the same unit), 95 % t intervals over units
    slope         per unit, the least-squares slope of change and effect over the log-odds of the priors; mean and
                  95 % t interval over units
    at_even_odds  per unit, the value of that line at a prior of one half; mean and interval likewise

Units carry the interval because their priors share problems and reward draws. "The clip amplifies what is likely" says:
slope of the effect on code above 0, nothing at even odds. `none` has a change only.

Usage: `dose_table(from_runs(rows))`, `dose_table(from_pairs(pairs, checkpoints))`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from spurious_rewards.evaluation.statistics import t_interval
from spurious_rewards.mechanism.counterfactual_config import REFERENCE
from spurious_rewards.mechanism.effects import ESS_OF, LEAST_ESS

SETTING = ("optimizer", "learning_rate")
TIDY = ("optimizer", "learning_rate", "quantity", "clip_mode", "model", "prior", "unit", "change")


def from_runs(rows: pd.DataFrame) -> pd.DataFrame:
    """Tidy frame of training runs: columns of `dose_response.run_rows`, quantities code, accuracy, ended."""
    frames = [rows.assign(quantity=name, change=rows[f"{name}_after"] - rows[f"{name}_before"], unit=rows["seed"],
                          prior=rows["code_before"])[list(TIDY)] for name in ("code", "accuracy", "ended")]
    return pd.concat(frames, ignore_index=True)


def from_pairs(pairs: pd.DataFrame, checkpoints: pd.DataFrame) -> pd.DataFrame:
    """Tidy frame of paired counterfactuals: quantities code, entropy, accuracy, with their effective share `ess`."""
    before = checkpoints.set_index(["model", "optimizer", "learning_rate"])
    index = pd.MultiIndex.from_frame(pairs[["model", "optimizer", "learning_rate"]])
    frames = []
    for name in ("code", "entropy", "accuracy"):
        change = pairs[name].to_numpy(float) - before.loc[index, name].to_numpy(float)
        frames.append(pairs.assign(quantity=name, change=change, unit=pairs["pair"],
                                   prior=before.loc[index, "code"].to_numpy(float),
                                   ess=pairs[ESS_OF[name]] if name in ESS_OF else np.nan)[[*TIDY, "ess"]])
    return pd.concat(frames, ignore_index=True)


def dose_table(tidy: pd.DataFrame) -> pd.DataFrame:
    """The table of the module's docstring; models in the order of their priors."""
    rows = []
    for key, group in tidy.groupby([*SETTING, "quantity"], sort=False):
        name = dict(zip((*SETTING, "quantity"), key, strict=True))
        priors = group.groupby("model")["prior"].first().sort_values()
        reference = _wide(group, REFERENCE, priors.index)
        for mode in group["clip_mode"].unique():
            change_U_D = _wide(group, mode, priors.index)  # units, doses
            effect_U_D = change_U_D - reference
            for model, prior in priors.items():
                row = {**name, "clip_mode": mode, "statistic": "prior", "model": model, "prior": prior,
                       **_both(change_U_D[model], effect_U_D[model], mode)}
                if "ess" in group and group["ess"].notna().any():
                    here = group[group["model"] == model].groupby("clip_mode")["ess"].median()
                    row |= {"ess": min(here[mode], here[REFERENCE]),
                            "reliable": bool(min(here[mode], here[REFERENCE]) >= LEAST_ESS)}
                rows.append(row)
            if len(priors) > 1:
                odds = np.log(priors / (1 - priors)).to_numpy()
                lines = [lines_of(values.to_numpy(), odds) for values in (change_U_D, effect_U_D)]
                for i, statistic in enumerate(("slope", "at_even_odds")):
                    rows.append({**name, "clip_mode": mode, "statistic": statistic, "model": "all",
                                 **_both(lines[0][i], lines[1][i], mode)})
    return pd.DataFrame(rows)


def lines_of(values_U_D: np.ndarray, odds_D: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares slope and value at log-odds 0 for each unit.

    >>> slope, even = lines_of(np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]]), np.array([-1.0, 0.0, 1.0]))
    >>> slope.round(12).tolist(), even.round(12).tolist()
    ([1.0, 0.0], [1.0, 1.0])
    """
    centred_D = odds_D - odds_D.mean()
    slope_U = values_U_D @ centred_D / (centred_D @ centred_D)
    return slope_U, values_U_D.mean(axis=1) - slope_U * odds_D.mean()


def _wide(group: pd.DataFrame, mode: str, models: pd.Index) -> pd.DataFrame:
    """Changes under one mode, a row per unit that every model has, a column per model."""
    rows = group[group["clip_mode"] == mode]
    return rows.pivot(index="unit", columns="model", values="change")[models].dropna()


def _both(change_U: Any, effect_U: Any, mode: str) -> dict[str, float]:
    change = t_interval(np.asarray(change_U))
    row = {"n": change.n, "change": change.estimate, "change_low": change.low, "change_high": change.high}
    if mode != REFERENCE:
        effect = t_interval(np.asarray(effect_U))
        row |= {"effect": effect.estimate, "effect_low": effect.low, "effect_high": effect.high}
    return row
