"""Compute the table of a dose–response: what each clip mode did at each prior, and how that depends on the prior.

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
the slopes of one quantity, all settings and modes. Where differences per problem were kept, the interval of a model's
effect is over pairs and problems crossed. Of shares, limits are cut to what is possible: a change cannot leave
[−before, 1 − before], nor an effect [−1, 1]; no coverage is lost by that.

Usage: `dose_table(from_runs(rows, n_answers=600))`, `dose_table(from_pairs(pairs, checkpoints))`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from spurious_rewards.evaluation.crossed import effect
from spurious_rewards.evaluation.significance import holm
from spurious_rewards.evaluation.statistics import Effect, Interval, t_interval
from spurious_rewards.mechanism.code_tree import logit
from spurious_rewards.mechanism.counterfactual_config import REFERENCE
from spurious_rewards.mechanism.effects import LEAST_ESS, SETTING, p_of_width
from spurious_rewards.mechanism.tilt import tilt

STEPPING = ("optimizer", "learning_rate")
TIDY = ("optimizer", "learning_rate", "quantity", "clip_mode", "model", "prior", "unit", "before", "change")
LEAST_UNITS = 10
"""Units that a line per model (`tilt`) needs."""
SHARES = ("code", "accuracy", "ended")
"""Quantities in [0, 1]."""


def from_runs(rows: pd.DataFrame, n_answers: int) -> pd.DataFrame:
    """Make the tidy frame of training runs, with quantities code, code_logit, accuracy and ended.

    `rows` has the columns of `dose_response.run_rows`.
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
    shared, frames = rows.assign(unit=rows["seed"], prior=rows["code_before"]), []
    for name in ("code", "code_logit", "accuracy", "ended"):
        before, after = rows[f"{name}_before"], rows[f"{name}_after"]
        frames.append(shared.assign(quantity=name, before=before, change=after - before)[list(TIDY)])
    return pd.concat(frames, ignore_index=True)


def from_pairs(pairs: pd.DataFrame, checkpoints: pd.DataFrame, problems: pd.DataFrame | None = None) -> pd.DataFrame:
    """Make the tidy frame of paired counterfactuals, one sign each.

    Quantities are code, code_logit, entropy and accuracy, with their effective share `ess`, and for those of `problems`
    the difference to `none` per probe problem, `by_problem`.

    `code_logit` is the log-odds, bounded as in `code_tree`, of the pair's code probability, one for all probe problems.
    """
    keys = list(SETTING)
    before = checkpoints.set_index(keys)
    index = pd.MultiIndex.from_frame(pairs[keys])
    by_problem = {} if problems is None else problems.set_index([*keys, "clip_mode", "pair"])
    frames = []
    for name in ("code", "code_logit", "entropy", "accuracy"):
        source = "code" if name == "code_logit" else name
        after, start = pairs[source].to_numpy(float), before.loc[index, source].to_numpy(float)
        if name == "code_logit":
            after, start = logit(after), logit(start)
        frame = pairs.assign(quantity=name, before=start, change=after - start, unit=pairs["pair"])
        frame["prior"] = before.loc[index, "code"].to_numpy(float)
        frame["ess"] = pairs["ess"] if source in ("code", "accuracy") else np.nan
        if problems is not None and name in by_problem:
            wanted = pd.MultiIndex.from_frame(pairs[[*keys, "clip_mode", "pair"]])
            frame["by_problem"] = by_problem[name].reindex(wanted).to_numpy()
        frames.append(frame[[*TIDY, "ess", *(["by_problem"] if "by_problem" in frame else [])]])
    return pd.concat(frames, ignore_index=True)


def dose_table(tidy: pd.DataFrame) -> pd.DataFrame:
    """Compute the table of the module's docstring; models in the order of their priors."""
    rows = []
    for key, group in tidy.groupby([*STEPPING, "quantity"], sort=False):
        name = dict(zip((*STEPPING, "quantity"), key, strict=True))
        priors = group.groupby("model")["prior"].first().sort_values()
        reference = _wide(group, REFERENCE, priors.index)
        for mode in group["clip_mode"].unique():
            change_U_D = _wide(group, mode, priors.index)  # units, doses
            effect_U_D = change_U_D - reference
            for model, prior in priors.items():
                here = group[group["model"] == model]
                start = float(here["before"].mean()) if name["quantity"] in SHARES else None
                at = {**name, "clip_mode": mode, "model": model, "prior": prior}
                row = {**at, "statistic": "prior", **_trust(here, mode)}
                row |= _both(change_U_D[model], effect_U_D[model], mode, start)
                rows.append(row | _crossed(here, mode))
                if name["quantity"] == "code_logit" and mode != REFERENCE and len(reference) >= LEAST_UNITS:
                    line, slope = tilt(change_U_D[model], reference[model])
                    row = {**at, "statistic": "tilt", "n": line.n, **_trust(here, mode)}
                    rows.append(row | line.columns("effect") | slope.columns("shrinkage"))
            if len(priors) > 1:
                odds = np.log(priors / (1 - priors)).to_numpy()
                lines = [lines_of(values.to_numpy(), odds) for values in (change_U_D, effect_U_D)]
                for i, statistic in enumerate(("slope", "at_even_odds")):
                    row = {**name, "clip_mode": mode, "statistic": statistic, "model": "all"}
                    row |= _both(lines[0][i], lines[1][i], mode) | _trust(group, mode)
                    if statistic == "slope" and mode != REFERENCE and len(priors) > 2:
                        among = about_line(effect_U_D.mean().to_numpy(), odds)
                        row |= {"models_low": among.low, "models_high": among.high}
                    rows.append(row)
    return _with_holm(pd.DataFrame(rows))


def lines_of(values_U_D: np.ndarray, odds_D: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit a least-squares line over the log-odds to each unit: return its slope and its value at log-odds 0.

    >>> slope, even = lines_of(np.array([[0.0, 1.0, 2.0], [3.0, 1.0, -1.0]]), np.array([-1.0, 0.0, 1.0]))
    >>> slope.round(12).tolist(), even.round(12).tolist()
    ([1.0, -2.0], [1.0, 1.0])
    """
    even_U, slope_U = np.polynomial.polynomial.polyfit(odds_D, values_U_D.T, 1)
    return slope_U, even_U


def about_line(means_D: np.ndarray, odds_D: np.ndarray) -> Effect:
    """Estimate the slope through the models' means from their scatter about it, with D − 2 degrees of freedom.

    >>> found = about_line(np.array([0.0, 0.0, 3.0, 3.0]), np.array([-3.0, -1.0, 1.0, 3.0]))
    >>> round(found.estimate, 12), round(found.high - found.estimate, 3)  # 12/20; ±0.3, ±0.9: 4.303 · √(1.8/2/20)
    (0.6, 0.913)
    """
    line: Any = stats.linregress(odds_D, means_D)
    return Effect.of(line.slope, line.stderr, len(odds_D) - 2, len(odds_D))


def _wide(group: pd.DataFrame, mode: str, models: pd.Index) -> pd.DataFrame:
    """Return the changes under one mode, a row per unit that every model has, a column per model."""
    rows = group[group["clip_mode"] == mode]
    return rows.pivot(index="unit", columns="model", values="change")[models].dropna()


def _both(change_U: Any, effect_U: Any, mode: str, before: float | None = None) -> dict[str, float]:
    """Return n, change and effect; `before` of a share cuts their limits to what is possible."""
    found = {"change": t_interval(change_U)} | ({"effect": t_interval(effect_U)} if mode != REFERENCE else {})
    row: dict[str, float] = {"n": found["change"].n}
    for name, interval in found.items():
        row |= interval.columns(name)
        if before is not None:
            least, most = (-before, 1 - before) if name == "change" else (-1.0, 1.0)
            row |= {f"{name}_low": max(interval.low, least), f"{name}_high": min(interval.high, most)}
    return row


def _crossed(here: pd.DataFrame, mode: str) -> dict[str, float]:
    """Return the limits of an effect over pairs and problems crossed, where differences per problem were kept."""
    rows = here[here["clip_mode"] == mode].sort_values("unit")
    if mode == REFERENCE or "by_problem" not in rows or rows["by_problem"].isna().any():
        return {}
    found = effect(np.stack(rows["by_problem"].to_list()))
    return {"effect_low": found.low, "effect_high": found.high}


def _trust(here: pd.DataFrame, mode: str) -> dict[str, Any]:
    """Return ess (the smallest median of mode, none and models) and reliable, of what rests on importance weights."""
    if "ess" not in here or here["ess"].isna().all():
        return {}
    arms = here[here["clip_mode"].isin([mode, REFERENCE])]
    least = float(arms.groupby(["clip_mode", "model"])["ess"].median().min())
    inside = arms["quantity"].ne("code") | (arms["before"] + arms["change"]).between(0, 1)
    return {"ess": least, "reliable": least >= LEAST_ESS and bool(inside.all())}


def _with_holm(table: pd.DataFrame) -> pd.DataFrame:
    """Add p_value and p_holm of the slopes of effects."""
    slopes = table[(table["statistic"] == "slope") & table.get("effect", pd.Series(np.nan, table.index)).notna()]
    table = table.assign(p_value=np.nan, p_holm=np.nan)
    for _, family in slopes.groupby("quantity", sort=False):
        found = np.array([p_of_width(Interval.from_row(row, "effect", row["n"])) for row in family.to_dict("records")])
        table.loc[family.index, "p_value"], table.loc[family.index, "p_holm"] = found, holm(found)
    return table
