"""The table of a dose–response: what each clip mode did at each prior, and how that depends on the prior.

From a tidy frame with a row per (setting, clip mode, model, unit, quantity), a unit being a training seed or a pair:

    statistic     row
    prior         one model: `prior` its measured code probability; mean over units of the change since the checkpoint
                  and of the effect (mode − none in the same unit), 95 % t interval over units
    tilt          one model, code log-odds: the change under the mode where `none` makes none (see `tilt`), HC3
    slope         per unit, the least-squares slope of change and effect over the log-odds of the priors; mean and
                  95 % t interval over units
    at_even_odds  per unit, the value of that line at a prior of one half; mean and interval likewise

"The clip amplifies what is likely" says: slope of the effect on the *log-odds* of code (`code_logit`) above 0, nothing
at even odds. The slope of the effect on the probability (`code`) cannot tell: shrinkage of symmetric noise makes it
positive (see `dose_config`). `none` has a change only, and is to be read first.

Limits. Units carry the intervals because their priors share problems and reward draws; so an interval is about these
models. For slopes `models_low` and `models_high` are 95 % t limits about the line through the models' mean effects (as
many degrees of freedom as models less two): they also cover that models of one prior differ. `p_holm` is Holm's over
the slopes of one quantity, all settings and modes. `boot_low` and `boot_high` (hierarchical, pairs and problems) are
there where differences per problem were kept. Of shares, limits are cut to what is possible: a change cannot leave
[−before, 1 − before], nor an effect [−1, 1]; no coverage is lost by that.

Usage: `dose_table(from_runs(rows, n_answers=600))`, `dose_table(from_pairs(pairs, checkpoints))`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from spurious_rewards.evaluation.significance import holm
from spurious_rewards.evaluation.statistics import Interval, hierarchical_bootstrap, t_interval
from spurious_rewards.mechanism.code_tree import logit
from spurious_rewards.mechanism.counterfactual_config import REFERENCE
from spurious_rewards.mechanism.effects import LEAST_ESS, p_value
from spurious_rewards.mechanism.tilt import tilt

SETTING = ("optimizer", "learning_rate")
TIDY = ("optimizer", "learning_rate", "quantity", "clip_mode", "model", "prior", "unit", "before", "change")
LEAST_UNITS = 10
"""Units that a line per model (`tilt`) needs."""
SHARES = ("code", "accuracy", "ended")
"""Quantities in [0, 1]."""


def from_runs(rows: pd.DataFrame, n_answers: int) -> pd.DataFrame:
    """Tidy frame of training runs: columns of `dose_response.run_rows`, quantities code, code_logit, accuracy, ended.

    Log-odds of a frequency of k among `n_answers` sampled answers: log((k + ½) / (n − k + ½)), finite at 0 and n.

    >>> row = {"seed": 0, "code_before": 0.5, "code_after": 1.0}
    >>> row |= {f"{name}_{when}": 1.0 for name in ("accuracy", "ended") for when in ("before", "after")}
    >>> row |= {"optimizer": "sgd", "learning_rate": 0.3, "clip_mode": "none", "model": "m"}
    >>> tidy = from_runs(pd.DataFrame([row]), n_answers=2).set_index("quantity")
    >>> float(tidy.loc["code_logit", "change"].round(4))  # log((2 + ½) / ½) − log(1½ / 1½)
    1.6094
    """

    def log_odds(share: pd.Series) -> pd.Series:
        return np.log((share * n_answers + 0.5) / (n_answers - share * n_answers + 0.5))

    rows = rows.assign(**{f"code_logit_{when}": log_odds(rows[f"code_{when}"]) for when in ("before", "after")})
    frames = [
        rows.assign(
            quantity=name,
            before=rows[f"{name}_before"],
            unit=rows["seed"],
            prior=rows["code_before"],
            change=rows[f"{name}_after"] - rows[f"{name}_before"],
        )[list(TIDY)]
        for name in ("code", "code_logit", "accuracy", "ended")
    ]
    return pd.concat(frames, ignore_index=True)


def from_pairs(pairs: pd.DataFrame, checkpoints: pd.DataFrame, problems: pd.DataFrame | None = None) -> pd.DataFrame:
    """Tidy frame of paired counterfactuals: quantities code, code_logit, entropy, accuracy, with their effective share
    `ess`, and for those of `problems` the difference to `none` per probe problem, `by_problem`.

    `code_logit` is the log-odds, bounded as in `code_tree`, of the pair's code probability, one for all probe problems.
    """
    keys = ["model", "optimizer", "learning_rate"]
    before = checkpoints.set_index(keys)
    index = pd.MultiIndex.from_frame(pairs[keys])
    by_problem = {} if problems is None else problems.set_index([*keys, "clip_mode", "pair"])
    frames = []
    for name in ("code", "code_logit", "entropy", "accuracy"):
        source = "code" if name == "code_logit" else name
        after, start = pairs[source].to_numpy(float), before.loc[index, source].to_numpy(float)
        if name == "code_logit":
            after, start = logit(after), logit(start)
        frame = pairs.assign(
            quantity=name,
            before=start,
            change=after - start,
            unit=pairs["pair"],
            prior=before.loc[index, "code"].to_numpy(float),
            ess=pairs["ess"] if source in ("code", "accuracy") else np.nan,
        )
        if problems is not None and name in by_problem:
            wanted = pd.MultiIndex.from_frame(pairs[[*keys, "clip_mode", "pair"]])
            frame["by_problem"] = by_problem[name].reindex(wanted).to_numpy()
        frames.append(frame[[*TIDY, "ess", *(["by_problem"] if "by_problem" in frame else [])]])
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
                here = group[group["model"] == model]
                start = float(here["before"].mean()) if name["quantity"] in SHARES else None
                at = {**name, "clip_mode": mode, "model": model, "prior": prior}
                rows.append(
                    {
                        **at,
                        "statistic": "prior",
                        **_trust(here, mode),
                        **_both(change_U_D[model], effect_U_D[model], mode, start),
                        **_boot(here, mode),
                    }
                )
                if name["quantity"] == "code_logit" and mode != REFERENCE and len(reference) >= LEAST_UNITS:
                    line, slope = tilt(change_U_D[model], reference[model])
                    rows.append(
                        {
                            **at,
                            "statistic": "tilt",
                            "n": line.n,
                            **_trust(here, mode),
                            **_limits("effect", line),
                            **_limits("shrinkage", slope),
                        }
                    )
            if len(priors) > 1:
                odds = np.log(priors / (1 - priors)).to_numpy()
                lines = [lines_of(values.to_numpy(), odds) for values in (change_U_D, effect_U_D)]
                for i, statistic in enumerate(("slope", "at_even_odds")):
                    row = {
                        **name,
                        "clip_mode": mode,
                        "statistic": statistic,
                        "model": "all",
                        **_both(lines[0][i], lines[1][i], mode),
                    }
                    row |= _trust(group, mode)
                    if statistic == "slope" and mode != REFERENCE and len(priors) > 2:
                        row |= _limits("models", about_line(effect_U_D.mean().to_numpy(), odds), estimate=False)
                    rows.append(row)
    return _with_holm(pd.DataFrame(rows))


def lines_of(values_U_D: np.ndarray, odds_D: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares slope and value at log-odds 0 for each unit.

    >>> slope, even = lines_of(np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]]), np.array([-1.0, 0.0, 1.0]))
    >>> slope.round(12).tolist(), even.round(12).tolist()
    ([1.0, 0.0], [1.0, 1.0])
    """
    centred_D = odds_D - odds_D.mean()
    slope_U = values_U_D @ centred_D / (centred_D @ centred_D)
    return slope_U, values_U_D.mean(axis=1) - slope_U * odds_D.mean()


def about_line(means_D: np.ndarray, odds_D: np.ndarray) -> Interval:
    """Slope through the models' means with t limits from their scatter about it, D − 2 degrees of freedom.

    >>> found = about_line(np.array([0.0, 0.0, 3.0, 3.0]), np.array([-3.0, -1.0, 1.0, 3.0]))
    >>> found.estimate, round(found.high - found.estimate, 3)  # 12/20; residuals ±0.3, ±0.9: 4.303 · √(1.8/2/20)
    (0.6, 0.913)
    """
    slope_1, even_1 = lines_of(means_D[None], odds_D)
    residual_D = means_D - even_1[0] - slope_1[0] * odds_D
    centred_D, freedom = odds_D - odds_D.mean(), len(odds_D) - 2
    error = np.sqrt(residual_D @ residual_D / freedom / (centred_D @ centred_D))
    half = float(stats.t.ppf(0.975, freedom) * error)
    return Interval(float(slope_1[0]), float(slope_1[0]) - half, float(slope_1[0]) + half, len(odds_D))


def _wide(group: pd.DataFrame, mode: str, models: pd.Index) -> pd.DataFrame:
    """Changes under one mode, a row per unit that every model has, a column per model."""
    rows = group[group["clip_mode"] == mode]
    return rows.pivot(index="unit", columns="model", values="change")[models].dropna()


def _both(change_U: Any, effect_U: Any, mode: str, before: float | None = None) -> dict[str, float]:
    """Columns n, change and effect; `before` of a share cuts their limits to what is possible."""
    change = t_interval(np.asarray(change_U))
    row: dict[str, float] = {"n": change.n, **_limits("change", change)}
    if before is not None:
        row |= {"change_low": max(change.low, -before), "change_high": min(change.high, 1 - before)}
    if mode != REFERENCE:
        effect = t_interval(np.asarray(effect_U))
        row |= _limits("effect", effect)
        if before is not None:
            row |= {"effect_low": max(effect.low, -1.0), "effect_high": min(effect.high, 1.0)}
    return row


def _boot(here: pd.DataFrame, mode: str) -> dict[str, float]:
    rows = here[here["clip_mode"] == mode].sort_values("unit")
    if mode == REFERENCE or "by_problem" not in rows or rows["by_problem"].isna().any():
        return {}
    found = hierarchical_bootstrap(np.stack(rows["by_problem"].to_list()))
    return {"boot_low": found.low, "boot_high": found.high}


def _trust(here: pd.DataFrame, mode: str) -> dict[str, Any]:
    """Columns ess (the smallest median of mode, none and models) and reliable, of what rests on importance weights."""
    if "ess" not in here or here["ess"].isna().all():
        return {}
    arms = here[here["clip_mode"].isin([mode, REFERENCE])]
    least = float(arms.groupby(["clip_mode", "model"])["ess"].median().min())
    inside = arms["quantity"].ne("code") | (arms["before"] + arms["change"]).between(0, 1)
    return {"ess": least, "reliable": least >= LEAST_ESS and bool(inside.all())}


def _with_holm(table: pd.DataFrame) -> pd.DataFrame:
    """Columns p_value and p_holm of the slopes of effects."""
    slopes = table[(table["statistic"] == "slope") & table.get("effect", pd.Series(np.nan, table.index)).notna()]
    table = table.assign(p_value=np.nan, p_holm=np.nan)
    for _, family in slopes.groupby("quantity", sort=False):
        found = np.array(
            [p_value(Interval(row.effect, row.effect_low, row.effect_high, int(row.n))) for row in family.itertuples()]
        )
        known = family.index[np.isfinite(found)]
        table.loc[known, "p_value"] = found[np.isfinite(found)]
        table.loc[known, "p_holm"] = holm(found[np.isfinite(found)])
    return table


def _limits(name: str, interval: Interval, estimate: bool = True) -> dict[str, float]:
    found = {f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {name: interval.estimate, **found} if estimate else found
