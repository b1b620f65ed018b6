"""Turn the records of a paired counterfactual into its table: what each clip mode did, with intervals.

Of antithetic pairs (`counterfactual_config`) the mean over the two signs is taken first. One row per setting, clip mode
and quantity:

    checkpoint                        the quantity before any update (0 for kl, movements and what updates show)
    change, change_low, change_high   mean over pairs of (after − checkpoint), 95 % t interval over pairs: look here
                                      first, at `none` and at the mode, for an effect may be a smaller loss
    effect, effect_low, effect_high   mean over pairs of (mode − none), 95 % interval: the clip's doing. Over pairs and
                                      probe problems crossed (`evaluation.crossed`) where values per problem exist, so
                                      that it also covers other problems; else Student's t over pairs; of a tilt, see
                                      `tilt`
    p_value, p_holm                   of effect = 0; Holm within a family: one
                                      model, clip mode and question over all settings where it can be answered. The
                                      question of code is `CODE_FAMILY`, or `STAND_INS` in a setting without those
    share_up, share_up_low, _high     share of pairs with a positive difference, Wilson
    share_zero                        share of pairs without any difference
    standardised                      effect / standard deviation of the pairs' differences
    ess                               code and accuracy: median over pairs of the effective share of *all* the probe's
                                      answers, the smaller of mode and none
    unexpanded_mass, share_at_bound   code_exact, code_logit, code_tilt: mean over pairs of the probability that the
                                      tree left open, and of the share of problems at the bound; the larger of mode and
                                      none
    reliable                          ess from `LEAST_ESS` on and no pair outside [0, 1]; or unexpanded_mass up to
                                      `MOST_UNEXPANDED`
    shrinkage, tilt_cubic, _low _high rows code_tilt: slope of the line whose intercept is the effect (see `tilt`), and
                                      that intercept with a term that lets the line bend
    target_met                        whether the stopping rule ended at its precision, not at the most pairs

Quantities are those of `probe_set`; of the updates themselves: clipped (share of tokens, mean over updates),
would_clip_high, would_clip_low, ratio_max, motion, and motion_ratio (to `none` in the same pair). Pairs with one sign
also have code_tilt; antithetic pairs need none, since the noise that it separates from a tilt cancels in them. They
have curvature_code_logit and its like under `none`: the change at the checkpoint ± half the difference of the two arms,
which is what noise without a direction does. Log-odds code_mean_logit are of a pair's `code`, one probability for all
problems. Entropy and kl are in nats per token.

Usage: `effects(pairs, problems, checkpoints, levels)` with the frames of `counterfactual.PairRecords`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from spurious_rewards.evaluation.crossed import effect
from spurious_rewards.evaluation.significance import holm
from spurious_rewards.evaluation.statistics import Effect, Interval, t_interval, wilson
from spurious_rewards.mechanism.code_tree import logit
from spurious_rewards.mechanism.counterfactual_config import REFERENCE
from spurious_rewards.mechanism.tilt import bootstrap_tilt, tilt
from spurious_rewards.training.clip import MODES
from spurious_rewards.training.diagnostics import PI_OLD_BINS

PER_PROBLEM = ("entropy", "code", "accuracy")
"""Quantities whose differences are kept per probe problem."""
FROM_TREE = ("code_exact", "code_logit")
MOVES = tuple(f"move_bin{i}" for i in range(len(PI_OLD_BINS) - 1))
PROBED = ("entropy", "top1", "kl", "code", "code_mean_logit", *FROM_TREE, "accuracy", *MOVES)
UPDATED = ("clipped", "would_clip_high", "would_clip_low", "ratio_max", "motion", "motion_ratio")
CODE_FAMILY = ("code_logit", "code_tilt")
"""The two quantities that C4 is judged by; Holm's adjustment treats them as one question."""
STAND_INS = ("code_mean_logit", "code_mean_tilt")
"""The same of the pair's mean code probability."""
LEAST_ESS = 0.5
"""Below half of the answers the importance-weighted quantities are marked as unreliable."""
MOST_UNEXPANDED = 0.02
"""Probability, mean over problems and pairs, that the tree may leave open."""
CURVED = ("entropy", "code_exact", "code_logit", "accuracy")
"""Quantities whose change by noise without a direction is recorded for antithetic pairs."""
CURVATURE = tuple(f"curvature_{name}" for name in CURVED)
SETTING = ("model", "optimizer", "learning_rate")
"""What tells the settings of one table apart."""


def effects(
    pairs: pd.DataFrame, problems: pd.DataFrame, checkpoints: pd.DataFrame, levels: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Compute the table of the module's docstring.

    Args:
        pairs: a row per setting, pair and clip mode.
        problems: differences to `none` per probe problem, a row per setting, pair and other mode, arrays in columns.
        checkpoints: a row per setting with what its checkpoint shows.
        levels: code log-odds per probe problem (array column), a row per setting, pair and mode.
    """
    antithetic = "sign" in pairs and pairs["sign"].nunique() > 1
    pairs = over_signs(pairs)
    checkpoints = checkpoints.assign(code_mean_logit=logit(checkpoints["code"].to_numpy(float)))
    rows = []
    for key, group in pairs.groupby(list(SETTING), sort=False):
        setting = dict(zip(SETTING, key, strict=True))
        start, by_problem = _of(checkpoints, setting).iloc[0], _of(problems, setting)
        logits = level_matrices(_of(levels, setting)) if levels is not None and len(levels) else {}
        wide = {
            name: group.pivot(index="pair", columns="clip_mode", values=name).astype(float)
            for name in (*PROBED, *UPDATED, *CURVATURE, "ess", "code_rest", "code_bounded")
            if name in group and group[name].notna().any()
        }
        wide["motion_ratio"] = wide["motion"].div(wide["motion"][REFERENCE], axis=0)
        for mode in group["clip_mode"].unique():
            differences = by_problem[by_problem["clip_mode"] == mode].sort_values("pair")
            curvature = CURVATURE if mode == REFERENCE else ()
            for name in (quantity for quantity in (*PROBED, *UPDATED, *curvature) if quantity in wide):
                values = wide[name]
                row: dict[str, Any] = {**setting, "clip_mode": mode, "quantity": name, "n_pairs": len(values)}
                before = float(start.get(name, math.nan)) if name in PROBED else 0.0
                row |= {"checkpoint": before, **t_interval(values[mode].to_numpy() - before).columns("change")}
                if mode != REFERENCE:
                    matrix = np.stack(differences[name].to_list()) if name in PER_PROBLEM else None
                    if name == "code_logit" and logits:
                        matrix = logits[mode] - logits[REFERENCE]
                    row |= effect_of(values[mode].to_numpy(), values[REFERENCE].to_numpy(), matrix)
                    row |= _trust(name, wide, mode)
                rows.append(row | _target(start))
            if mode == REFERENCE or antithetic:
                continue
            mean_logits, arms = wide["code_mean_logit"], (mode, REFERENCE)
            tilts = {"code_mean_tilt": [mean_logits[arm].to_numpy() - start["code_mean_logit"] for arm in arms]}
            if logits:
                tilts["code_tilt"] = [logits[arm] - np.asarray(start["code_logits"], dtype=float) for arm in arms]
            for name, changes in tilts.items():
                row = {**setting, "clip_mode": mode, "quantity": name, "n_pairs": len(changes[0]), **_tilted(*changes)}
                rows.append(row | _trust(name, wide, mode) | _target(start))
    return with_holm(pd.DataFrame(rows))


def over_signs(pairs: pd.DataFrame) -> pd.DataFrame:
    """Average pairs over the signs of their advantages, and arrays over updates; adds `code_mean_logit`.

    >>> rows = pd.DataFrame({"model": "m", "optimizer": "sgd", "learning_rate": 1.0, "clip_mode": "none", "pair": 0,
    ...                      "sign": [1, -1], "code": 0.5, "kl": [1.0, 2.0], "clipped": [np.zeros(2), np.ones(2)]})
    >>> over_signs(rows)[["kl", "clipped", "code_mean_logit"]].to_dict("records")
    [{'kl': 1.5, 'clipped': 0.5, 'code_mean_logit': 0.0}]
    """
    per_update = [name for name in UPDATED if name in pairs and isinstance(pairs[name].iloc[0], np.ndarray)]
    pairs = pairs.assign(
        **{name: [float(np.mean(values)) for values in pairs[name]] for name in per_update},
        code_mean_logit=logit(pairs["code"].to_numpy(float)),
    )
    if "sign" not in pairs:
        return pairs
    return pairs.groupby([*SETTING, "clip_mode", "pair"], sort=False).mean(numeric_only=True).reset_index()


def level_matrices(levels: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return code log-odds by clip mode, float64 (pairs, problems), pairs in order."""
    return {
        str(mode): np.stack(rows.sort_values("pair")["code_logits"].to_list()).astype(float)
        for mode, rows in levels.groupby("clip_mode", sort=False)
    }


def with_holm(table: pd.DataFrame) -> pd.DataFrame:
    """Add `p_holm` to the effects that have a `p_value` and can be relied on."""
    table = table.assign(p_holm=np.nan)
    exact = table["quantity"].eq(CODE_FAMILY[0]).groupby([table[name] for name in SETTING]).transform("any")
    of_code = table["quantity"].isin(CODE_FAMILY) | (table["quantity"].isin(STAND_INS) & ~exact)
    question = table["quantity"].where(~of_code, "code family")
    known = table["p_value"].notna() & (table["reliable"].ne(False) if "reliable" in table else True)
    for _, family in table[known].groupby(["model", "clip_mode", question], sort=False):
        table.loc[family.index, "p_holm"] = holm(family["p_value"].to_numpy())
    return table


def p_of_width(interval: Interval) -> float:
    """Return the two-sided p of "the effect is 0" for an interval that is not of Student's t form.

    Its half width is taken as t(0.975, n − 1) standard errors; nan without an interval.

    >>> round(p_of_width(Interval(1.0, 0.0, 2.0, 50)), 3)
    0.05
    """
    half = (interval.high - interval.low) / 2
    if interval.n < 2 or not half > 0:
        return math.nan
    return Effect.of(interval.estimate, half / stats.t.ppf(0.975, interval.n - 1), interval.n - 1, interval.n).p_value()


def _trust(name: str, wide: Mapping[str, pd.DataFrame], mode: str) -> dict[str, Any]:
    """Return ess, unexpanded_mass, share_at_bound and reliable of a quantity that needs them."""
    arms = [mode, REFERENCE]
    if name in ("code", "code_mean_logit", "code_mean_tilt", "accuracy"):
        ess = float(wide["ess"][arms].median().min())
        codes = wide["code"][arms].to_numpy(float)
        inside = name == "accuracy" or bool(((codes >= 0) & (codes <= 1)).all())
        return {"ess": ess, "reliable": ess >= LEAST_ESS and inside}
    if name in (*FROM_TREE, "code_tilt"):
        open_, bound = (float(wide[column][arms].mean().max()) for column in ("code_rest", "code_bounded"))
        return {"unexpanded_mass": open_, "share_at_bound": bound, "reliable": open_ <= MOST_UNEXPANDED}
    return {}


def _tilted(mode: np.ndarray, none: np.ndarray) -> dict[str, float]:
    """Return effect, p and shrinkage of a tilt, from changes of log-odds per pair or per pair and problem."""
    by_problem = mode.ndim == 2
    means = [values.mean(axis=1) if by_problem else values for values in (mode, none)]
    line, slope = bootstrap_tilt(mode, none) if by_problem else tilt(*means)
    cubic, _ = tilt(*means, cubic=True)
    row = line.columns("effect") | {"p_value": p_of_width(line)}
    return row | slope.columns("shrinkage") | cubic.columns("tilt_cubic")


def _target(start: pd.Series) -> dict[str, Any]:
    return {"target_met": bool(start["target_met"])} if "target_met" in start else {}


def effect_of(mode_S: np.ndarray, reference_S: np.ndarray, differences_S_P: np.ndarray | None = None) -> dict[str, Any]:
    """Return the effect of one mode on one quantity: columns effect to standardised of the table.

    Args:
        mode_S: the quantity in each pair under the mode.
        reference_S: in the same pairs under `none`.
        differences_S_P: the difference per pair and probe problem, if it is known.

    >>> found = effect_of(np.array([1.0, 2.0, 4.0]), np.array([0.0, 2.0, 2.0]))
    >>> found["effect"], found["share_up"], found["standardised"]  # differences 1, 0, 2; standard deviation 1
    (1.0, 0.666..., 1.0)
    """
    difference_S = mode_S - reference_S
    found = t_interval(difference_S)
    if differences_S_P is not None:
        crossed = effect(differences_S_P)
        found = crossed.shifted(found.estimate - crossed.estimate)  # the differences per problem may be rounded
    row = found.columns("effect") | {"p_value": found.p_value()}
    row |= wilson(int((difference_S > 0).sum()), len(difference_S)).columns("share_up")
    spread = difference_S.std(ddof=1)
    standardised = float(difference_S.mean() / spread) if spread > 0 else 0.0
    return row | {"share_zero": float((difference_S == 0).mean()), "standardised": standardised}


def half_width(pairs: pd.DataFrame, quantity: str) -> float:
    """Return the half width of the 95 % t interval of `two_sided` − `none`: what the stopping rule looks at.

    Without `two_sided` among the modes, of the first other mode. Antithetic pairs count by their mean over signs.
    """
    wide = pairs.groupby(["pair", "clip_mode"])[quantity].mean().unstack().astype(float)
    others = [mode for mode in pairs["clip_mode"].unique() if mode != REFERENCE]
    mode = "two_sided" if "two_sided" in others else others[0]
    interval = t_interval((wide[mode] - wide[REFERENCE]).to_numpy())
    return (interval.high - interval.low) / 2


def unpaired(pairs: pd.DataFrame) -> list[int]:
    """List the pairs (by number) whose arms of one sign differ in start, rollouts or first update.

    A mode that clips the weight has another loss with the same gradient at ratio 1: its weights after the first update
    may differ by rounding, 1e-4 being allowed. One that drops π_old has another gradient from the start.
    """
    by_pair = [*SETTING, "pair", *(["sign"] if "sign" in pairs else [])]
    same_loss = pairs[pairs["clip_mode"].map(lambda mode: MODES[mode].hinge)]
    counts = [
        pairs.groupby(by_pair)["start_sha"].nunique(),
        pairs.groupby(by_pair)["rollouts_sha"].nunique(),
        same_loss.groupby(by_pair)["first_loss"].nunique(),
    ]
    gaps = {name: 0.0 if mode.hinge else 1e-4 if mode.weight_only else np.inf for name, mode in MODES.items()}
    allowed = pairs["clip_mode"].map(gaps)
    wrong = {key[len(SETTING)] for count in counts for key in count[count != 1].index}
    return sorted(wrong | set(pairs.loc[pairs["first_gap"] > allowed, "pair"]))


def _of(frame: pd.DataFrame, setting: dict[str, Any]) -> pd.DataFrame:
    keep = np.logical_and.reduce([frame[name] == value for name, value in setting.items()])
    return frame[keep]
