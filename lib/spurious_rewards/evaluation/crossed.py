"""Estimate effects of training over seeds and problems that are crossed: every seed is evaluated on every problem.

Both seeds and problems count as drawn at random, so an interval says what other seeds on other problems would show.
Values come as `values_S_P`, one row per training seed and one column per problem. How often such an interval misses the
truth is simulated in `evaluation.coverage`.

Usage: `effect(after_S_P - before_P).text("points")`
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.statistics import CONFIDENCE, Effect, Interval, bootstrap_mean, wilson

SEEDS_FOR_A_VERDICT = 4
"""Fewest seeds on which a verdict may rest: with 2 or 3 an effect's interval misses too often (`coverage`)."""
POWER = 0.8
MOST_SEEDS = 10_000
"""Where so many do not decide, it takes more problems."""


@dataclass(frozen=True)
class Components:
    """Hold the variances behind the mean of `values_S_P`: between seeds, between problems, and of what is left."""

    seeds: float
    problems: float
    residual: float

    @classmethod
    def of(cls, values_S_P: np.ndarray) -> Components:
        """Estimate the three variances by the method of moments; negative estimates become 0."""
        rows, columns, residual = _mean_squares(_matrix(values_S_P))
        n_seeds, n_problems = np.shape(values_S_P)
        return cls(max(0.0, rows - residual / n_problems), max(0.0, columns - residual / n_seeds), residual)

    @classmethod
    def of_difference(cls, one_S_P: np.ndarray, two_S_P: np.ndarray) -> Components:
        """Estimate them for the difference of two arms with seeds of their own, each with the same number of seeds."""
        one_S_P, two_S_P = _matrix(one_S_P), _matrix(two_S_P)
        one, two = cls.of(one_S_P), cls.of(two_S_P)
        means_P = one_S_P.mean(axis=0) - two_S_P.mean(axis=0)
        noise = one.residual / len(one_S_P) + two.residual / len(two_S_P)
        problems = max(0.0, float(np.var(means_P, ddof=1)) - noise)
        return cls(one.seeds + two.seeds, problems, one.residual + two.residual)

    def expected(self, n_seeds: int, n_problems: int) -> tuple[float, float]:
        """Return the standard error and degrees of freedom to expect of a mean over so many seeds and problems."""
        shared = self.residual / (n_seeds * n_problems)
        variance, df = combined(
            [(self.seeds / n_seeds + shared, n_seeds - 1)],
            (self.problems / n_problems + shared, n_problems - 1),
            [(shared, (n_seeds - 1) * (n_problems - 1))],
        )
        return float(np.sqrt(variance)), float(df)

    def seeds_to_decide(self, smallest: float, n_problems: int, level: float = 1 - CONFIDENCE) -> int | None:
        """Find the fewest seeds that decide about an effect of size `smallest` with power 80 %, either way.

        Enough means that an effect of this size is told from 0 (two-sided) and that no effect is shown to be smaller
        than it (two one-sided tests), each at `level`. None: not even `MOST_SEEDS` do; more problems would.
        """

        def enough(n_seeds: int) -> bool:
            se, df = self.expected(n_seeds, n_problems)
            found = stats.t.ppf(1 - level / 2, df) + stats.t.ppf(POWER, df)
            nothing = stats.t.ppf(1 - level, df) + stats.t.ppf(0.5 + POWER / 2, df)
            return bool(max(found, nothing) * se <= smallest)

        low, high = 1, 2  # `low` is too few (a single seed has no interval), `high` grows until it is enough
        while not enough(high):
            low, high = high, 2 * high
            if low >= MOST_SEEDS:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return max(high, SEEDS_FOR_A_VERDICT) if high <= MOST_SEEDS else None


def effect(values_S_P: np.ndarray) -> Effect:
    """Estimate the mean over seeds and problems, both drawn at random and crossed (all seeds meet all problems).

    For an effect pass differences: after minus before training, or clip on minus off of the same seed. With R the
    variance of the S seeds' means, C that of the P problems' means and E the residual mean square, the variance is
    R/S + C/P − E/SP (at least R/S and at least C/P) and its degrees of freedom are Satterthwaite's. The field n is the
    number of seeds. One seed, or one problem, gives infinite limits; values that do not vary at all give no width.

    >>> effect(np.array([[0.0, 1.0], [0.0, 1.0]])).df  # seeds do not differ: the problems' one degree of freedom
    1.0
    """
    return effect_mean([values_S_P])


def effect_mean(arms_S_P: Sequence[np.ndarray]) -> Effect:
    """Estimate the mean over arms of their effects, each arm with seeds of its own on the same problems.

    The field n is the smallest number of seeds.
    """
    return _contrast([(1 / len(arms_S_P), _matrix(values_S_P)) for values_S_P in arms_S_P])


def effect_difference(one_S_P: np.ndarray, two_S_P: np.ndarray) -> Effect:
    """Estimate mean(one) − mean(two) of two arms with seeds of their own on the same problems.

    As `effect`, with the seed terms of both arms added and C taken from the difference of the arms' problem means.
    The field n is the smaller number of seeds.

    Raises:
        InputError: the arms hold different numbers of problems.
    """
    one_S_P, two_S_P = _matrix(one_S_P), _matrix(two_S_P)
    if one_S_P.shape[1] != two_S_P.shape[1]:
        raise InputError(
            f"The two arms hold {one_S_P.shape[1]} and {two_S_P.shape[1]} problems; compare them on the same problems."
        )
    return _contrast([(1.0, one_S_P), (-1.0, two_S_P)])


def level(values_S_P: np.ndarray) -> Interval:
    """Estimate the mean of values in [0, 1], such as an arm's accuracy, with limits inside [0, 1].

    Several seeds: `effect`, cut to [0, 1]. A single model: over problems, Wilson's interval of one verdict per problem
    and else a bootstrap. Where all values are 0 or all 1 nothing varies, and Wilson's interval over problems is taken.
    """
    values_S_P = _matrix(values_S_P)
    mean, (n_seeds, n_problems) = float(values_S_P.mean()), values_S_P.shape
    if mean in (0.0, 1.0) or (n_seeds == 1 and np.isin(values_S_P, (0.0, 1.0)).all()):
        return wilson(round(mean * n_problems), n_problems)
    if n_seeds == 1:
        return bootstrap_mean(values_S_P[0])
    return effect(values_S_P).cut(0.0, 1.0)


def combined(
    seeds: Iterable[tuple[Any, int]], problems: tuple[Any, int], shared: Iterable[tuple[Any, int]]
) -> tuple[Any, Any]:
    """Combine the parts of a crossed mean's variance: return the variance and its degrees of freedom (Satterthwaite).

    Args:
        seeds: (R/S, S − 1) of each arm.
        problems: (C/P, P − 1).
        shared: (E/SP, (S − 1)(P − 1)) of each arm, which R/S and C/P both contain and which is taken off once.

    The first number of each pair may be an array.
    """
    seeds, shared = list(seeds), list(shared)
    over_seeds, twice = sum(part for part, _ in seeds), sum(part for part, _ in shared)
    variance = np.maximum(over_seeds + problems[0] - twice, np.maximum(over_seeds, problems[0]))
    spread = sum(part**2 / df for part, df in [*seeds, problems, *shared])
    with np.errstate(invalid="ignore", divide="ignore"):
        df = np.where(spread > 0, variance**2 / spread, problems[1])
    return variance, df


def _contrast(arms: list[tuple[float, np.ndarray]]) -> Effect:
    """Return the weighted sum of the arms' means over seeds and problems."""
    n_seeds, n_problems = min(len(values) for _, values in arms), arms[0][1].shape[1]
    estimate = sum(weight * float(values.mean()) for weight, values in arms)
    if n_seeds == 1 or n_problems == 1:
        return Effect.of(estimate, float("nan"), 0, n_seeds)
    seeds, shared = [], []
    for weight, values_S_P in arms:
        rows, _, residual = _mean_squares(values_S_P)
        size = len(values_S_P)
        seeds.append((weight**2 * rows / size, size - 1))
        shared.append((weight**2 * residual / (size * n_problems), (size - 1) * (n_problems - 1)))
    means_P = sum(weight * values.mean(axis=0) for weight, values in arms)
    variance, df = combined(seeds, (float(np.var(means_P, ddof=1)) / n_problems, n_problems - 1), shared)
    return Effect.of(estimate, float(np.sqrt(variance)), float(df), n_seeds)


def _mean_squares(values_S_P: np.ndarray) -> tuple[float, float, float]:
    """Return (R, C, E): variance of the row means, of the column means, and the residual mean square."""
    rows_S, columns_P = values_S_P.mean(axis=1), values_S_P.mean(axis=0)
    residual_S_P = values_S_P - rows_S[:, None] - columns_P[None, :] + values_S_P.mean()
    n_seeds, n_problems = values_S_P.shape
    residual = float((residual_S_P**2).sum()) / ((n_seeds - 1) * (n_problems - 1))
    # What arithmetic leaves of values that do not vary is no variance.
    tiny = 1e-24 * float(np.abs(values_S_P).max()) ** 2
    rows, columns = float(rows_S.var(ddof=1)), float(columns_P.var(ddof=1))
    rows, columns, residual = (0.0 if part <= tiny else part for part in (rows, columns, residual))
    return rows, columns, residual


def _matrix(values: np.ndarray) -> np.ndarray:
    """Return the values as a non-empty array of shape (S, P) without gaps."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or values.size == 0:
        raise InputError(f"Expected a non-empty array of shape (seeds, problems), got shape {values.shape}.")
    if np.isnan(values).any():
        raise InputError("A seed has no value for some problem; evaluate every seed on the same problems.")
    return values
