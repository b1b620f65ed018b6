"""Tell a tilt of the policy towards code from a mere shrinkage of the motion that there would be without the clip.

Compare, pair by pair, the change of the code log-odds under the mode (y) with the change under `none` (x), both the
mean over probe problems. A clip that only holds the policy back makes y = s·x with some s < 1: whatever x did, and in
particular where noise alone lowers or raises it, the line goes through 0. A tilt moves the line itself:

    y = tilt + shrinkage · x

`tilt` is the change that the mode makes where `none` makes none, in log-odds per rollout batch. Least squares over
pairs; standard errors of kind HC3, since the spread about the line grows with |x|; and a bootstrap over pairs and
problems, which also covers that other problems could have been probed.

In *probabilities* the same regression would not do: p is concave in the log-odds above one half, so that shrinkage
alone leaves an intercept above 0 there. With z the log-odds, x = p'z + p''z²/2 and y = p'sz + p''s²z²/2, hence
E[y] − s·E[x] = −s(1 − s)·p''·E[z²]/2, which is positive where p'' < 0.

A shrinkage that is stronger for large motions bends the line. A bend that is the same on both sides (y = g(x), g odd)
leaves, for noise that is symmetric about a mean m, an intercept of third order in m; `cubic=True` adds a term in x³, as
a check. A verdict wants the mean effect on the log-odds beside the tilt in any case.

Usage: `tilt(mode_S, none_S)`, `bootstrap_tilt(mode_S_P, none_S_P)`.
"""

from __future__ import annotations

import numpy as np
from statsmodels.regression.linear_model import OLS

from spurious_rewards.evaluation.statistics import CONFIDENCE, Interval, percentiles, t_interval

RESAMPLES = 4000


def tilt(mode_S: np.ndarray, none_S: np.ndarray, cubic: bool = False) -> tuple[Interval, Interval]:
    """Return (tilt, shrinkage) with HC3 limits, from the changes in each pair; with `cubic`, beside a term in x³.

    HC3 allows the spread to grow with |x|; Student's t has the residual degrees of freedom. If `none` never moved there
    is no line: the tilt is the mean of y, the shrinkage nan.

    >>> none = np.array([-2.0, -1.0, 1.0, 2.0])
    >>> [round(found.estimate, 12) for found in tilt(0.5 + 0.8 * none, none)]
    [0.5, 0.8]
    """
    mode_S, none_S = np.asarray(mode_S, dtype=float), np.asarray(none_S, dtype=float)
    n, spread = len(mode_S), none_S.std()
    missing = Interval(float("nan"), float("nan"), float("nan"), n)
    if spread == 0:
        return t_interval(mode_S - none_S), missing
    terms = [np.ones(n), none_S / spread, *([(none_S / spread) ** 3] if cubic else [])]
    design_S_T = np.column_stack(terms)
    if n <= len(terms) or np.linalg.matrix_rank(design_S_T) < len(terms):  # too few or too equal pairs for a line
        return missing, missing
    fit = OLS(mode_S, design_S_T).fit(cov_type="HC3", use_t=True)
    limits_T_2 = fit.conf_int(1 - CONFIDENCE)
    tilt, shrinkage = (
        Interval(float(b / unit), float(low / unit), float(high / unit), n)
        for b, (low, high), unit in zip(fit.params[:2], limits_T_2[:2], (1.0, spread), strict=True)
    )
    return tilt, shrinkage


def bootstrap_tilt(mode_S_P: np.ndarray, none_S_P: np.ndarray) -> tuple[Interval, Interval]:
    """Return (tilt, shrinkage) with percentile limits of a bootstrap that draws pairs and, for all of them, problems.

    Args:
        mode_S_P: change of the log-odds under the mode, per pair and problem.
        none_S_P: under `none`, in the same pairs and problems.
    """
    n_pairs, n_problems = mode_S_P.shape
    pairs, problems = np.random.default_rng([0, 1]), np.random.default_rng([0, 2])
    weights_B_S = pairs.multinomial(n_pairs, np.full(n_pairs, 1 / n_pairs), RESAMPLES) / n_pairs
    weights_B_P = problems.multinomial(n_problems, np.full(n_problems, 1 / n_problems), RESAMPLES) / n_problems
    y_B_S, x_B_S = weights_B_P @ mode_S_P.T, weights_B_P @ none_S_P.T
    x_B, y_B = ((weights_B_S * values).sum(axis=1) for values in (x_B_S, y_B_S))
    spread_B = (weights_B_S * x_B_S**2).sum(axis=1) - x_B**2
    with np.errstate(invalid="ignore", divide="ignore"):
        slope_B = ((weights_B_S * x_B_S * y_B_S).sum(axis=1) - x_B * y_B) / spread_B
    slope_B = np.where(spread_B > 0, slope_B, np.nan)
    line = tilt(mode_S_P.mean(axis=1), none_S_P.mean(axis=1))
    draws = (y_B - slope_B * x_B, slope_B)
    tilt_limits, shrinkage_limits = (
        Interval(
            found.estimate,
            *(percentiles(b[np.isfinite(b)]) if np.isfinite(b).any() else (float("nan"), float("nan"))),
            n_pairs,
        )
        for found, b in zip(line, draws, strict=True)
    )
    return tilt_limits, shrinkage_limits
