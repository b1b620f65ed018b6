"""Intervals behind every number of the report: pure functions of arrays, seeded, no files (tests: `significance`).

Arrays follow one convention: `values_P` holds one value per problem, `values_S_P` S training seeds by P problems.
Problems, not samples, are the unit of resampling: the K samples of one problem are not independent. All
proportions are in [0, 1]; multiplying by 100 is left to the tables.

Bootstrap intervals are percentile intervals. Fewer than about five seeds make any interval over seeds optimistic;
`t_interval` is the alternative for the mean over few seeds.

>>> wilson(8, 10)
Interval(estimate=0.8, low=0.490162..., high=0.943317..., n=10)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from spurious_rewards.errors import InputError

RESAMPLES = 10_000
_CHUNK = 250_000  # entries of one block of resampling weights: 2 MB, so that it stays in the cache


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence limits and the number of independent units it rests on."""

    estimate: float
    low: float
    high: float
    n: int

    def percent(self, digits: int = 1) -> str:
        """The interval as text in per cent.

        >>> Interval(0.8, 0.49, 0.943, 10).percent()
        '80.0 [49.0, 94.3]'
        """
        return f"{100 * self.estimate:.{digits}f} [{100 * self.low:.{digits}f}, {100 * self.high:.{digits}f}]"


# ---------------------------------------------------------------------------------------------- single proportions


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a proportion (for greedy pass@1, code frequency, label accuracy).

    With p = successes/n and z the normal quantile: centre (p + z²/2n) / (1 + z²/n), half width
    z/(1 + z²/n) · √(p(1−p)/n + z²/4n²). For n = 0 the estimate is nan and the interval [0, 1].
    """
    if not 0 <= successes <= n:
        raise InputError(f"A proportion needs 0 <= successes <= n, but successes={successes} and n={n}.")
    if n == 0:
        return Interval(float("nan"), 0.0, 1.0, 0)
    limits = stats.binomtest(int(successes), int(n)).proportion_ci(confidence_level=confidence, method="wilson")
    return Interval(successes / n, float(limits.low), float(limits.high), int(n))


def proportion_difference(successes_1: int, n_1: int, successes_2: int, n_2: int, confidence: float = 0.95) -> Interval:
    """p₁ − p₂ of two independent samples with Newcombe's interval (the two Wilson intervals combined).

    low = d − √((p₁ − l₁)² + (u₂ − p₂)²), high = d + √((u₁ − p₁)² + (p₂ − l₂)²). The field n is n₁ + n₂.
    """
    if min(n_1, n_2) == 0:
        return Interval(float("nan"), -1.0, 1.0, n_1 + n_2)
    one, two = wilson(successes_1, n_1, confidence), wilson(successes_2, n_2, confidence)
    difference = one.estimate - two.estimate
    low = difference - np.hypot(one.estimate - one.low, two.high - two.estimate)
    high = difference + np.hypot(one.high - one.estimate, two.estimate - two.low)
    return Interval(difference, float(low), float(high), n_1 + n_2)


# ----------------------------------------------------------------------------------------- pass@k, bootstraps of means


def pass_at_k(n: int | np.ndarray, c: int | np.ndarray, k: int) -> np.ndarray:
    """Unbiased estimator of pass@k from n samples of which c are correct: 1 − C(n−c, k) / C(n, k), elementwise.

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


def bootstrap_mean(
    values_P: Sequence[float] | np.ndarray, seed: int = 0, n_resamples: int = RESAMPLES, confidence: float = 0.95
) -> Interval:
    """Mean over problems (avg@k: of their shares of correct samples) with a percentile bootstrap over problems."""
    return bootstrap_ratio(values_P, np.ones(np.shape(values_P)), seed, n_resamples, confidence)


def bootstrap_ratio(
    numerator_P: np.ndarray,
    denominator_P: np.ndarray,
    seed: int = 0,
    n_resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Interval:
    """Σ numerator / Σ denominator with a percentile bootstrap over problems (clusters).

    Accuracy given code is such a ratio: per problem, correct code samples over code samples. Resamples whose
    denominator is 0 are left out; if the data's own is 0 the estimate is nan and the interval [0, 1].
    """
    numbers_P_2 = _columns(numerator_P, denominator_P)
    top, bottom = numbers_P_2.sum(axis=0)
    if bottom == 0:
        return Interval(float("nan"), 0.0, 1.0, len(numbers_P_2))
    sums_B_2 = resampled_sums(numbers_P_2, seed, n_resamples)
    sums_B_2 = sums_B_2[sums_B_2[:, 1] != 0]
    low, high = percentiles(sums_B_2[:, 0] / sums_B_2[:, 1], confidence)
    return Interval(float(top / bottom), low, high, len(numbers_P_2))


def bootstrap_ratio_difference(
    one: tuple[np.ndarray, np.ndarray],
    two: tuple[np.ndarray, np.ndarray],
    seed: int = 0,
    n_resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Interval:
    """Difference of two ratios (numerator_P, denominator_P) over the same problems, which are resampled together.

    For example accuracy given code minus accuracy given language: the samples of one problem fall on either side.
    Without data on one side the estimate is nan and the interval [−1, 1].
    """
    numbers_P_4 = _columns(*one, *two)
    sums = numbers_P_4.sum(axis=0)
    if sums[1] == 0 or sums[3] == 0:
        return Interval(float("nan"), -1.0, 1.0, len(numbers_P_4))
    sums_B_4 = resampled_sums(numbers_P_4, seed, n_resamples)
    sums_B_4 = sums_B_4[(sums_B_4[:, 1] != 0) & (sums_B_4[:, 3] != 0)]
    low, high = percentiles(sums_B_4[:, 0] / sums_B_4[:, 1] - sums_B_4[:, 2] / sums_B_4[:, 3], confidence)
    return Interval(float(sums[0] / sums[1] - sums[2] / sums[3]), low, high, len(numbers_P_4))


# ------------------------------------------------------------------------------------------------ seeds × problems


def hierarchical_bootstrap(
    values_S_P: np.ndarray,
    seed: int = 0,
    n_resamples: int = RESAMPLES,
    confidence: float = 0.95,
    problems: Literal["shared", "nested"] = "shared",
) -> Interval:
    """Mean over seeds and problems with a bootstrap that resamples seeds, then problems.

    "shared" (the usual case: every seed is evaluated on the same benchmark): one draw of problems serves all drawn
    seeds, so that the error from having these problems and not others is not averaged away. "nested": each drawn seed
    draws its own problems (every seed has its own problem set). For two arms that share their seeds pass the
    difference of the two arrays. The field n is the number of seeds.
    """
    values_S_P = _matrix(values_S_P, "S, P")
    n_seeds, n_problems = values_S_P.shape
    if problems == "shared":
        seeds = np.random.default_rng([seed, 1]).multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), n_resamples)
        means_B_P = (block @ values_S_P / n_seeds for block in _blocks(seeds, n_problems))
        weights = _weights(n_problems, n_resamples, seed)
        means_B = np.concatenate([(m * w).sum(axis=1) / n_problems for m, w in zip(means_B_P, weights, strict=True)])
    elif problems == "nested":
        drawn_B_S = np.random.default_rng([seed, 1]).integers(0, n_seeds, (n_resamples, n_seeds))
        means_B = np.zeros(n_resamples)
        for j in range(n_seeds):
            start = 0
            for w_B_P in _weights(n_problems, n_resamples, [seed, 2 + j]):
                rows = slice(start, start + len(w_B_P))
                means_B[rows] += (values_S_P[drawn_B_S[rows, j]] * w_B_P).sum(axis=1) / (n_problems * n_seeds)
                start = rows.stop
    else:
        raise InputError(f"Problems are 'shared' by the seeds or 'nested' in them, not {problems!r}.")
    low, high = percentiles(means_B, confidence)
    return Interval(float(values_S_P.mean()), low, high, n_seeds)


def hierarchical_difference(
    one_S_P: np.ndarray, two_S_P: np.ndarray, seed: int = 0, n_resamples: int = RESAMPLES, confidence: float = 0.95
) -> Interval:
    """Mean(one) − mean(two) for arms with different seeds on the same problems: seeds drawn apart, problems shared."""
    one_S_P, two_S_P = _matrix(one_S_P, "S, P"), _matrix(two_S_P, "S, P")
    if one_S_P.shape[1] != two_S_P.shape[1]:
        raise InputError(
            f"The two arms hold {one_S_P.shape[1]} and {two_S_P.shape[1]} problems; compare them on the same problems."
        )
    n_problems = one_S_P.shape[1]
    rng = np.random.default_rng([seed, 1])
    seeds = [rng.multinomial(len(x), np.full(len(x), 1 / len(x)), n_resamples) for x in (one_S_P, two_S_P)]
    differences = []
    for block_one, block_two, w_B_P in zip(
        *(_blocks(s, n_problems) for s in seeds), _weights(n_problems, n_resamples, seed), strict=True
    ):
        means_B_P = block_one @ one_S_P / len(one_S_P) - block_two @ two_S_P / len(two_S_P)
        differences.append((means_B_P * w_B_P).sum(axis=1) / n_problems)
    low, high = percentiles(np.concatenate(differences), confidence)
    return Interval(float(one_S_P.mean() - two_S_P.mean()), low, high, len(one_S_P) + len(two_S_P))


def t_interval(values_S: Sequence[float] | np.ndarray, confidence: float = 0.95) -> Interval:
    """Mean over few independent seeds: mean ± t(1 − α/2, S − 1) · s/√S; one seed gives infinite limits."""
    values_S = np.asarray(values_S, dtype=float)
    if values_S.size == 0:
        raise InputError("An interval over seeds needs at least one value.")
    mean = float(values_S.mean())
    if values_S.size == 1:
        return Interval(mean, -np.inf, np.inf, 1)
    half = stats.t.ppf(0.5 + confidence / 2, values_S.size - 1) * values_S.std(ddof=1) / np.sqrt(values_S.size)
    return Interval(mean, float(mean - half), float(mean + half), int(values_S.size))


# ----------------------------------------------------------------------------------------------------------- parts


def _columns(*values_P: np.ndarray) -> np.ndarray:
    """Equally long per-problem arrays as the columns of one matrix."""
    columns = [np.asarray(values, dtype=float) for values in values_P]
    shapes = {column.shape for column in columns}
    if len(shapes) != 1 or columns[0].ndim != 1 or columns[0].size == 0:
        raise InputError(
            f"A bootstrap over problems needs equally long, non-empty arrays; their shapes are "
            f"{', '.join(map(str, sorted(shapes)))}."
        )
    return np.stack(columns, axis=1)


def resampled_sums(numbers_P_C: np.ndarray, seed: int = 0, n_resamples: int = RESAMPLES) -> np.ndarray:
    """Column sums of each bootstrap resample of the rows, shape (n_resamples, C).

    For statistics of several sums of the same problems: one draw of problems serves all columns.
    """
    return np.concatenate([weights_B_P @ numbers_P_C for weights_B_P in _weights(len(numbers_P_C), n_resamples, seed)])


def _chunk_rows(n_units: int) -> int:
    return max(1, _CHUNK // n_units)


def _weights(n_units: int, n_resamples: int, seed: int | list[int]):
    """Blocks (B, n_units) of how often each unit is drawn in a resample; the blocks hold n_resamples rows in all."""
    rng = np.random.default_rng(seed)
    for start in range(0, n_resamples, _chunk_rows(n_units)):
        rows = min(_chunk_rows(n_units), n_resamples - start)
        drawn = rng.integers(0, n_units, (rows, n_units)) + n_units * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * n_units).reshape(rows, n_units)


def _blocks(rows_B: np.ndarray, n_units: int):
    """`rows_B` cut at the same places as the blocks of `_weights(n_units, …)`."""
    for start in range(0, len(rows_B), _chunk_rows(n_units)):
        yield rows_B[start : start + _chunk_rows(n_units)]


def percentiles(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """The limits of a percentile interval."""
    low, high = np.quantile(values, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def _matrix(values: np.ndarray, axes: str) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or values.size == 0:
        raise InputError(f"Expected a non-empty array of shape ({axes}), got shape {values.shape}.")
    return values
