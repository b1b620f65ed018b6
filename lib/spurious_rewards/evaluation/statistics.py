"""Compute the intervals behind the report's numbers: proportions, ratios, and effects of training.

Functions take arrays and touch no files. `values_P` holds one value per problem; `values_S_P` one row per training
seed and one column per problem. Proportions are in [0, 1]; tables and texts turn them into per cent.

Problems, not samples, are the unit: the K samples of one problem are not independent. Effects of training, over seeds
and problems, are in `evaluation.crossed`.

>>> wilson(8, 10)
Interval(estimate=0.8, low=0.490162..., high=0.943317..., n=10)
>>> wilson(8, 10).text("%")
'80.0 [49.0, 94.3] %'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self

import numpy as np
from scipy import stats

from spurious_rewards.errors import InputError

RESAMPLES = 10_000
CONFIDENCE = 0.95
_CHUNK = 250_000  # entries of one block of resampling weights: 2 MB, so that it stays in the cache


@dataclass(frozen=True)
class Interval:
    """Hold an estimate, its confidence limits, and the number of independent units behind them.

    Infinite limits mean that the data allow no interval, for example because there is a single seed.
    """

    estimate: float
    low: float
    high: float
    n: int

    @classmethod
    def from_row(cls, row: Mapping[str, Any], name: str, n: int | float = 0) -> Interval:
        """Read the interval of column `name` from a row of a table (inverse of `columns`)."""
        return cls(float(row[name]), float(row[f"{name}_low"]), float(row[f"{name}_high"]), int(n))

    def columns(self, name: str) -> dict[str, float]:
        """Return the three table columns `name`, `name_low`, `name_high`."""
        return {name: self.estimate, f"{name}_low": self.low, f"{name}_high": self.high}

    def text(self, unit: str = "", digits: int | None = None) -> str:
        """Write the interval: `points` and `%` multiply by 100, any other unit is appended as it stands.

        >>> Interval(0.1, -0.02, 0.22, 5).text("points"), Interval(0.1, -0.02, 0.22, 5).text()
        ('+10.0 [-2.0, +22.0] points', '+0.100 [-0.020, +0.220]')
        >>> Interval(0.1, -float("inf"), float("inf"), 1).text("points")
        '+10.0 points (no interval)'
        """
        scale = 100 if unit in ("points", "%") else 1
        digits = (1 if scale == 100 else 3) if digits is None else digits
        form = f"{'' if unit == '%' else '+'}.{digits}f"
        end = f" {unit}" if unit else ""
        if not np.isfinite([self.low, self.high]).all():
            return f"{scale * self.estimate:{form}}{end} (no interval)"
        low, high = (f"{scale * limit:{form}}" for limit in (self.low, self.high))
        return f"{scale * self.estimate:{form}} [{low}, {high}]{end}"

    def sign(self) -> int:
        """Return +1 if the whole interval lies above 0, −1 if below, else 0."""
        return int(self.low > 0) - int(self.high < 0)

    def inside(self, bound: float) -> bool:
        """Tell whether the whole interval lies strictly between −bound and +bound."""
        return -bound < self.low and self.high < bound

    def shifted(self, by: float) -> Self:
        """Return the interval moved by a constant."""
        return replace(self, estimate=self.estimate + by, low=self.low + by, high=self.high + by)

    def root(self) -> Interval:
        """Return the square root of a mean square and of its limits, negative ones taken as 0."""
        return Interval(*(max(value, 0.0) ** 0.5 for value in (self.estimate, self.low, self.high)), n=self.n)

    def cut(self, least: float, most: float) -> Interval:
        """Return the interval with its limits cut to the values that are possible; infinite limits stay."""
        low, high = (limit if np.isinf(limit) else min(max(limit, least), most) for limit in (self.low, self.high))
        return Interval(self.estimate, low, high, self.n)


@dataclass(frozen=True)
class Effect(Interval):
    """Hold an interval of Student's t form: estimate ± t(df) · se, which other confidence levels can be read from."""

    se: float
    df: float

    @classmethod
    def of(cls, estimate: float, se: float, df: float, n: int, confidence: float = CONFIDENCE) -> Effect:
        """Build the interval from a standard error and its degrees of freedom; no degrees give infinite limits."""
        half = float(stats.t.ppf(0.5 + confidence / 2, df) * se) if df > 0 else float("inf")
        return cls(float(estimate), float(estimate) - half, float(estimate) + half, int(n), float(se), float(df))

    def at(self, confidence: float) -> Effect:
        """Return the interval of the same effect at another confidence level."""
        return Effect.of(self.estimate, self.se, self.df, self.n, confidence)

    def p_value(self) -> float:
        """Return the two-sided p-value of the hypothesis that the effect is 0 (nan without an interval)."""
        if not self.df > 0:
            return float("nan")
        if self.se == 0:
            return float(self.estimate == 0)
        return float(2 * stats.t.sf(abs(self.estimate) / self.se, self.df))


# ---------------------------------------------------------------------------------------------- single proportions


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Compute Wilson's score interval of a proportion (greedy pass@1, code frequency, label accuracy).

    With p = successes/n and z the normal quantile: centre (p + z²/2n) / (1 + z²/n), half width
    z/(1 + z²/n) · √(p(1−p)/n + z²/4n²). For n = 0 the estimate is nan and the interval [0, 1].

    Raises:
        InputError: successes is not between 0 and n.
    """
    if not 0 <= successes <= n:
        raise InputError(f"A proportion needs 0 <= successes <= n, but successes={successes} and n={n}.")
    if n == 0:
        return Interval(float("nan"), 0.0, 1.0, 0)
    limits = stats.binomtest(int(successes), int(n)).proportion_ci(confidence, method="wilson")
    return Interval(successes / n, float(limits.low), float(limits.high), int(n))


def proportion_difference(successes_1: int, n_1: int, successes_2: int, n_2: int) -> Interval:
    """Compute p₁ − p₂ of two independent samples with Newcombe's interval (two Wilson intervals combined).

    low = d − √((p₁ − l₁)² + (u₂ − p₂)²), high = d + √((u₁ − p₁)² + (p₂ − l₂)²). The field n is n₁ + n₂. Without data
    on one side the estimate is nan and the interval [−1, 1].
    """
    if min(n_1, n_2) == 0:
        return Interval(float("nan"), -1.0, 1.0, n_1 + n_2)
    from statsmodels.stats.proportion import confint_proportions_2indep  # half a second, needed by few

    low, high = confint_proportions_2indep(
        successes_1, n_1, successes_2, n_2, method="newcomb", compare="diff", alpha=1 - CONFIDENCE
    )
    return Interval(successes_1 / n_1 - successes_2 / n_2, float(low), float(high), n_1 + n_2)


# ----------------------------------------------------------------------------------------- pass@k, bootstraps of means


def pass_at_k(n: int | np.ndarray, c: int | np.ndarray, k: int) -> np.ndarray:
    """Estimate pass@k without bias from n samples of which c are correct: 1 − C(n−c, k) / C(n, k), elementwise.

    The ratio is computed as Π over i < k of (n−c−i) / (n−i): the binomials themselves overflow from about n = 1030.

    >>> float(pass_at_k(4, 2, 2).round(4))  # 1 − (2/4)(1/3)
    0.8333
    """
    n, c = np.asarray(n), np.asarray(c)
    if k < 1 or np.any(n < k):
        raise InputError(f"pass@k needs 1 <= k <= n samples, but k={k} and the smallest n is {n.min()}.")
    if np.any((c < 0) | (c > n)):
        raise InputError("pass@k needs 0 <= c <= n correct samples.")
    i_k = np.arange(k)
    return 1.0 - (np.maximum((n - c)[..., None] - i_k, 0) / (n[..., None] - i_k)).prod(axis=-1)


def bootstrap_mean(values_P: Sequence[float] | np.ndarray, seed: int = 0, n_resamples: int = RESAMPLES) -> Interval:
    """Estimate a mean over problems (avg@k: of their shares of correct samples) with a bootstrap over problems."""
    return bootstrap_ratio(values_P, np.ones(np.shape(values_P)), seed, n_resamples)


def bootstrap_ratio(
    numerator_P: np.ndarray, denominator_P: np.ndarray, seed: int = 0, n_resamples: int = RESAMPLES
) -> Interval:
    """Estimate Σ numerator / Σ denominator with a percentile bootstrap over problems (clusters).

    Accuracy given code is such a ratio: per problem, correct code samples over code samples. Resamples whose
    denominator is 0 are left out; if the data's own is 0 the estimate is nan and the interval [0, 1].
    """
    numbers_P_2 = _columns(numerator_P, denominator_P)
    top, bottom = numbers_P_2.sum(axis=0)
    if bottom == 0:
        return Interval(float("nan"), 0.0, 1.0, len(numbers_P_2))
    sums_B_2 = resampled_sums(numbers_P_2, seed, n_resamples)
    sums_B_2 = sums_B_2[sums_B_2[:, 1] != 0]
    low, high = percentiles(sums_B_2[:, 0] / sums_B_2[:, 1])
    return Interval(float(top / bottom), low, high, len(numbers_P_2))


def bootstrap_ratio_difference(one: tuple[np.ndarray, np.ndarray], two: tuple[np.ndarray, np.ndarray]) -> Interval:
    """Estimate the difference of two ratios (numerator_P, denominator_P) over the same problems, resampled together.

    For example accuracy given code minus accuracy given language: the samples of one problem fall on either side.
    Without data on one side the estimate is nan and the interval [−1, 1].
    """
    numbers_P_4 = _columns(*one, *two)
    sums = numbers_P_4.sum(axis=0)
    if sums[1] == 0 or sums[3] == 0:
        return Interval(float("nan"), -1.0, 1.0, len(numbers_P_4))
    sums_B_4 = resampled_sums(numbers_P_4)
    sums_B_4 = sums_B_4[(sums_B_4[:, 1] != 0) & (sums_B_4[:, 3] != 0)]
    low, high = percentiles(sums_B_4[:, 0] / sums_B_4[:, 1] - sums_B_4[:, 2] / sums_B_4[:, 3])
    return Interval(float(sums[0] / sums[1] - sums[2] / sums[3]), low, high, len(numbers_P_4))


def t_interval(values_S: Sequence[float] | np.ndarray) -> Effect:
    """Estimate the mean of independent values: mean ± t(1 − α/2, S − 1) · s/√S; one value gives infinite limits.

    Raises:
        InputError: there is no value.
    """
    values_S = np.asarray(values_S, dtype=float)
    if values_S.size == 0:
        raise InputError("An interval over seeds needs at least one value.")
    if values_S.size == 1:
        return Effect.of(float(values_S[0]), float("nan"), 0, 1)
    n = values_S.size
    return Effect.of(values_S.mean(), values_S.std(ddof=1) / np.sqrt(n), n - 1, n)


def deviation(values_S: Sequence[float] | np.ndarray) -> Interval:
    """Estimate the standard deviation of normal values, with the limits of the χ² distribution; of one value, nan.

    >>> deviation([1.0, 2.0, 3.0]).text("", 2)
    '+1.00 [+0.52, +6.28]'
    """
    n, tails = len(values_S), ((1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2)
    if n < 2:
        return Interval(float("nan"), float("nan"), float("nan"), n)
    estimate = float(np.std(values_S, ddof=1))
    low, high = (estimate * ((n - 1) / stats.chi2.ppf(tail, n - 1)) ** 0.5 for tail in tails)
    return Interval(estimate, low, high, n)


# ----------------------------------------------------------------------------------------------------------- parts


def _columns(*values_P: np.ndarray) -> np.ndarray:
    """Stack equally long per-problem arrays as the columns of one matrix."""
    columns = [np.asarray(values, dtype=float) for values in values_P]
    shapes = {column.shape for column in columns}
    if len(shapes) != 1 or columns[0].ndim != 1 or columns[0].size == 0:
        raise InputError(
            f"A bootstrap over problems needs equally long, non-empty arrays; their shapes are "
            f"{', '.join(map(str, sorted(shapes)))}."
        )
    return np.stack(columns, axis=1)


def resampled_sums(numbers_P_C: np.ndarray, seed: int = 0, n_resamples: int = RESAMPLES) -> np.ndarray:
    """Sum the columns of each bootstrap resample of the rows; shape (n_resamples, C).

    For statistics of several sums of the same problems: one draw of problems serves all columns.
    """
    n_units = len(numbers_P_C)
    blocks = (_kept_weights if n_units * n_resamples <= _KEPT_DRAWS else _weights)(n_units, n_resamples, seed)
    columns = [np.ascontiguousarray(numbers_P_C[:, i], dtype=float) for i in range(numbers_P_C.shape[1])]
    # Column by column: a product of a wide matrix with one vector takes a tenth of that with eight.
    return np.concatenate([
        np.stack([weights_B_P @ column_P for column_P in columns], axis=1)
        for weights_B_P in (block.astype(float) for block in blocks)
    ])  # fmt: skip


_KEPT_DRAWS = 50_000_000
"""Draws of a bootstrap up to which its weights are kept: every ratio of a table uses the same ones; a byte each."""


@lru_cache(maxsize=2)
def _kept_weights(n_units: int, n_resamples: int, seed: int) -> list[np.ndarray]:
    """Keep the blocks of `_weights`, a byte per weight (a unit drawn 256 times in one resample does not happen)."""
    return [block.astype(np.uint8) for block in _weights(n_units, n_resamples, seed)]


def _weights(n_units: int, n_resamples: int, seed: int | list[int]):
    """Yield blocks (B, n_units) of how often each unit is drawn in a resample; n_resamples rows in all."""
    rng, size = np.random.default_rng(seed), max(1, _CHUNK // n_units)
    for start in range(0, n_resamples, size):
        rows = min(size, n_resamples - start)
        drawn = rng.integers(0, n_units, (rows, n_units)) + n_units * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * n_units).reshape(rows, n_units)


def percentiles(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % limits of a percentile interval."""
    low, high = np.quantile(values, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return float(low), float(high)
