"""Compute moments of group-normalised advantages when the reward is a coin, in closed form (paper §4).

A group of G rollouts gets independent Bernoulli(γ) rewards; k ~ Binomial(G, γ) of them are 1 and p = k/G. Then every
rewarded rollout has the advantage A⁺ = c·√((1−p)/p) and every other one A⁻ = −c·√(p/(1−p)), with c = √((G−ddof)/G), and
all are 0 if k is 0 or G. So, with expectations over k (a finite sum) and a rollout drawn at random from its group,

    P(zero variance) = γ^G + (1−γ)^G
    E[A] = 0,    E[A²] = c²·(1 − P(zero variance))
    μ = E[max(A, 0)] = c·E[√(p(1−p))]               scale of the clip's restoring force (see `identity`)
    E[A³] = c³·E[(1−2p)/√(p(1−p))]                  zero at γ = ½; rare rewards give large positive advantages

The second whitening of the released code divides by the standard deviation over all P groups of a rollout batch. If n
of them have any variance, that multiplies their advantages by √(P/n)/c, so c drops out and with n ~ Binomial(P, 1 − P0)

    E[A²] = P(n ≥ 1),    μ = E[√(p(1−p)) | variance]·E[√(n/P)],
    E[A³] = E[(1−2p)/√(p(1−p)) | variance]·E[√(P/n); n ≥ 1]

The closed forms are for an ε of 0 in the denominator and equal completion lengths; `law` takes any ε (TRL: 1e-4).

>>> m = moments(group_size=16, gamma=0.5)
>>> f"{m.zero_variance:.1e} {m.second:.4f} {m.mu:.4f}"
'3.1e-05 0.9375 0.4682'
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from spurious_rewards.errors import InputError, check_name
from spurious_rewards.training.advantages import SCALES


@dataclass(frozen=True)
class Moments:
    """Hold the moments of the advantage of one rollout; `mu` is E[max(A, 0)], `third` is E[A³]."""

    zero_variance: float
    second: float
    mu: float
    third: float

    @property
    def skewness(self) -> float:
        """Return E[A³] / E[A²]^{3/2}; 0 when the advantage is always 0."""
        return self.third / self.second**1.5 if self.second > 0 else 0.0


def moments(
    group_size: int, gamma: float, ddof: int = 1, scale: str = "std", whitened_groups: int | None = None
) -> Moments:
    """Compute moments of the advantage under Bernoulli(γ) rewards, in closed form (denominator ε = 0).

    Args:
        group_size: G, rollouts per prompt, above `ddof`.
        gamma: probability of reward 1, in [0, 1].
        ddof: 1 as in TRL and the released code, or 0.
        scale: "std", or "none" for centred rewards that are not divided (Dr. GRPO).
        whitened_groups: number of groups P over which the released code whitens a second time; None: it does not.

    Raises:
        InputError: a value out of its range, or whitening without `scale="std"`.
    """
    _check(group_size, gamma, ddof, scale)
    k = np.arange(1, group_size)
    weight = stats.binom.pmf(k, group_size, gamma)
    p = k / group_size
    zero_variance = gamma**group_size + (1 - gamma) ** group_size
    spread = np.sqrt(p * (1 - p))
    if whitened_groups is not None:
        if scale != "std":
            raise InputError("The second whitening has a closed form only after scale='std'; drop one of the two.")
        return _whitened(zero_variance, weight, spread, (1 - 2 * p) / spread, whitened_groups)
    if scale == "none":
        second = float(weight @ spread**2)  # and E[max(A, 0)] is the same sum
        return Moments(zero_variance, second, second, float(weight @ (spread**2 * (1 - 2 * p))))
    c = math.sqrt((group_size - ddof) / group_size)
    third = c**3 * float(weight @ ((1 - 2 * p) / spread))
    return Moments(zero_variance, c**2 * (1 - zero_variance), c * float(weight @ spread), third)


def _whitened(zero_variance: float, weight: np.ndarray, spread: np.ndarray, odd: np.ndarray, groups: int) -> Moments:
    """Compute moments after the second whitening over `groups` groups; `odd` is (1−2p)/√(p(1−p)) at each k."""
    if groups < 1:
        raise InputError(f"whitened_groups must be at least 1, but it is {groups}.")
    total = weight.sum()
    if total == 0:
        return Moments(zero_variance, 0.0, 0.0, 0.0)
    n = np.arange(1, groups + 1)
    alive = stats.binom.pmf(n, groups, 1 - zero_variance)
    mu = float(weight @ spread / total * (alive @ np.sqrt(n / groups)))
    third = float(weight @ odd / total * (alive @ np.sqrt(groups / n)))
    return Moments(zero_variance, float(alive.sum()), mu, third)


def law(group_size: int, gamma: float, epsilon: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the distribution of one rollout's advantage: its values and their probabilities, both of shape [2(G+1)].

    Entry 2k is the rewarded and entry 2k+1 the unrewarded rollout of a group with k rewards. Advantages are divided by
    the standard deviation with n − 1 in its denominator, as in TRL.

    Args:
        group_size: G.
        gamma: probability of reward 1.
        epsilon: added to the standard deviation (TRL 1e-4, released code 1e-9, closed forms 0).
    """
    _check(group_size, gamma, ddof=1, scale="std")
    k = np.arange(group_size + 1)
    p = k / group_size
    std = np.sqrt(p * (1 - p) * group_size / (group_size - 1))
    divisor, mixed = np.where(std > 0, std + epsilon, 1.0), std > 0
    values = np.stack([np.where(mixed, (1 - p) / divisor, 0.0), np.where(mixed, -p / divisor, 0.0)], axis=1)
    weight = stats.binom.pmf(k, group_size, gamma)
    return values.ravel(), (weight[:, None] * np.stack([p, 1 - p], axis=1)).ravel()


def entropy_drift(
    p: float | np.ndarray, step_size: float, second: float, rollouts: int = 1, logits: int = 2
) -> np.ndarray:
    """Return E[ΔH] in nats of one unclipped SGD update of a two-arm softmax policy, to second order in the step size.

    With z = log(p/(1−p)), H″(z) = p(1−p)·(z(2p−1) − 1) and E[Δz] = 0, so E[ΔH] = ½·H″(z)·E[Δz²]: noise alone *raises*
    the entropy of a policy with max p > 0.824 and lowers it below.

    Args:
        p: probability of the first arm.
        step_size: η.
        second: E[A²].
        rollouts: rollouts averaged in the update; those of one group count like independent ones (E[∇log π] = 0).
        logits: 2 for a softmax over two logits, as in `bandit` (E[Δz²] = 4η²E[A²]p(1−p)/rollouts); 1 for a sigmoid of
            one logit (no factor 4), which is the form ½η²E[A²](p(1−p))²(z(2p−1) − 1).
    """
    if logits not in (1, 2):
        raise InputError(f"logits must be 1 (sigmoid) or 2 (softmax), but it is {logits}.")
    p = np.asarray(p, dtype=float)
    z = np.log(p / (1 - p))
    variance = logits**2 * step_size**2 * second * p * (1 - p) / rollouts
    return 0.5 * variance * p * (1 - p) * (z * (2 * p - 1) - 1)


def entropy_threshold() -> float:
    """Return the probability above which noise raises a two-arm policy's entropy: the root of z(2p−1) = 1.

    >>> round(entropy_threshold(), 4)
    0.824
    """
    return float(optimize.brentq(lambda p: math.log(p / (1 - p)) * (2 * p - 1) - 1, 0.6, 0.99, xtol=1e-14))


def _check(group_size: int, gamma: float, ddof: int, scale: str) -> None:
    check_name("advantage scale", scale, SCALES)
    if ddof not in (0, 1):
        raise InputError(f"ddof must be 0 or 1, but it is {ddof}.")
    if group_size < 2:
        raise InputError(f"group_size must be at least 2, but it is {group_size}: one rollout has no group to compare.")
    if not 0 <= gamma <= 1:
        raise InputError(f"gamma is a probability and must lie in [0, 1], but it is {gamma}.")
