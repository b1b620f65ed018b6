"""Write out what the clip does when the advantage carries no information: a restoring force towards π_old.

Let R = π_θ(y)/π_old(y), and let A be independent of y with E[A] = 0 and μ = E[max(A, 0)]. Averaging the clipped
surrogate over A (paper §4) gives, exactly,

    E_A[min(R·A, clip(R, 1−ε_low, 1+ε_high)·A)] = −μ·[(R − 1 − ε_high)₊ + (1 − ε_low − R)₊]

because above the band the gain of A > 0 stops at 1+ε_high while the loss of A < 0 keeps growing with R, and below it
the other way round. Without the clip the average is E[A]·R = 0. So the clip adds one hinge per exit, nothing else.

Why hinges that know nothing can prefer likely tokens (the paper's conjecture, made concrete for two arms of
probability p and q = 1−p): the exits lie at p ± εp (first arm's) and p ± εq (second arm's), symmetric *in probability*;
but gradient noise is symmetric *in logits*, where for p > ½ a step up moves p less than the same step down. So the
likelier arm meets the downward exits more often, and these push it up. Upper exits alone (`high_only`) lie at p + εp
and p − εq, the nearer one below; lower exits alone (`low_only`) at p + εq and p − εp, the nearer one above.

>>> [round(float(x), 3) for x in expected_surrogate([0.7, 0.9, 1.3], mu=0.5)]
[-0.05, -0.0, -0.05]
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from spurious_rewards.errors import InputError
from spurious_rewards.training import clip

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

HINGE_MODES = tuple(name for name, mode in clip.MODES.items() if mode.hinge)
"""Clip modes whose surrogate is min(R·A, clip(R)·A) with some band, and for which the identity holds."""


def hinge_band(mode: str, epsilon_low: float = 0.2, epsilon_high: float = 0.2) -> clip.ClipBand:
    """Return the band of a clip mode that is a hinge, or raise `InputError` for one that is not."""
    limits = clip.band(mode, epsilon_low, epsilon_high)
    if mode not in HINGE_MODES:
        raise InputError(
            f"clip_mode {mode} does not clip the surrogate, so it has no hinge; choose one of {', '.join(HINGE_MODES)}."
        )
    return limits


def expected_surrogate(
    ratio: ArrayLike, mu: float, mode: str = "two_sided", epsilon_low: float = 0.2, epsilon_high: float = 0.2
) -> np.ndarray:
    """Return the right-hand side of the identity: −μ·[(R − 1 − ε_high)₊ + (1 − ε_low − R)₊], same shape as `ratio`."""
    limits = hinge_band(mode, epsilon_low, epsilon_high)
    ratio = np.asarray(ratio, dtype=float)
    return -mu * (np.maximum(ratio - 1 - limits.high, 0) + np.maximum(1 - limits.low - ratio, 0))


def slope(ratio: ArrayLike, advantage: ArrayLike, limits: clip.ClipBand) -> np.ndarray:
    """Return the derivative of min(R·A, clip(R)·A) in log R, in four cases: R·A, but 0 where the clip binds.

    It binds for (A > 0, R > 1+ε_high) and (A < 0, R < 1−ε_low). The paper's appendix lists four cases and prints the
    last one, which keeps its gradient, wrongly: it is A < 0 and R > 1 − ε.
    """
    ratio, advantage = np.broadcast_arrays(np.asarray(ratio, dtype=float), np.asarray(advantage, dtype=float))
    binds = ((advantage > 0) & (ratio > 1 + limits.high)) | ((advantage < 0) & (ratio < 1 - limits.low))
    return np.where(binds, 0.0, ratio * advantage)


def two_arm_exits(
    p: float, mode: str = "two_sided", epsilon_low: float = 0.2, epsilon_high: float = 0.2
) -> dict[str, float]:
    """Return the probabilities of the first arm at which a hinge starts, for π_old = (p, 1−p).

    Returns:
        "down_1" and "down_2": exits below p, of the first arm (its lower) and of the second (its upper);
        "up_1" and "up_2": exits above p, of the first arm (its upper) and of the second (its lower). An exit that no
        probability reaches lies outside (0, 1); one that the mode does not have is ±inf.
    """
    limits = hinge_band(mode, epsilon_low, epsilon_high)
    q = 1 - p
    low = limits.low if limits.low < clip.NEVER_LOW else math.inf
    high = limits.high if limits.high < clip.NEVER_HIGH else math.inf
    return {"down_1": p - low * p, "down_2": p - high * q, "up_1": p + high * p, "up_2": p + low * q}


def two_arm_force(
    p_now: ArrayLike, p_old: float, mu: float, mode: str = "two_sided", epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
) -> np.ndarray:  # fmt: skip
    """Return the expected gradient of the surrogate in the first of two logits, E over arm (from π_old) and advantage.

    Each hinge that is active has slope μ in p, because π_old(y)·dR_y = dπ_θ(y); so the force is
    μ·p'(1−p')·(active exits below − active exits above), and −1 times that on the second logit.

    Args:
        p_now: probability p' of the first arm under π_θ, any shape.
        p_old: its probability under π_old.
        mu: E[max(A, 0)].
        mode: one of `HINGE_MODES`.
        epsilon_low: distance of the lower exit from 1.
        epsilon_high: distance of the upper exit from 1.
    """
    exits = two_arm_exits(p_old, mode, epsilon_low, epsilon_high)
    p_now = np.asarray(p_now, dtype=float)
    below = (p_now < exits["down_1"]).astype(float) + (p_now < exits["down_2"])
    above = (p_now > exits["up_1"]).astype(float) + (p_now > exits["up_2"])
    return mu * p_now * (1 - p_now) * (below - above)


def first_order_drift(
    p: float, mu: float, second: float, step_size: float, rollouts: int, updates: int, mode: str = "two_sided",
    epsilon_low: float = 0.2, epsilon_high: float = 0.2,
) -> float:  # fmt: skip
    """Predict roughly the change of z = logit p over one rollout batch of SGD, to first order in the force.

    Between two rollout batches z does a random walk whose step has variance s² = 4η²E[A²]pq/B; before update m (counted
    from 0) it has moved by N(0, m·s²), and the force `two_arm_force` at that place moves it by 2η·force. This treats
    the walk as Gaussian and leaves out that the force, once met, keeps the walk from going further.

    How good that is was simulated (tests). At p = 0.65, η = 0.6 and the paper's mini-batches of 128 its sign is right
    and it is too strong: the simulated drift is 0.8 (`two_sided`), 0.7 (`high_only`) and 0.5 (`low_only`) of it. In the
    small problem of notebook 05, where one rollout makes an update and the walk is anything but Gaussian, it is off by
    a factor of nine for `low_only`, and for `log_symmetric`, a difference of nearly equal terms, it has the wrong
    sign; that mode is refused. Nothing but the notebook's table of signs uses it.

    Args:
        p: probability of the first arm under π_old.
        mu: E[max(A, 0)].
        second: E[A²].
        step_size: η.
        rollouts: B, rollouts of one mini-batch.
        updates: M, updates per rollout batch; with M = 1 the drift is 0.
        mode: one of `HINGE_MODES` but `log_symmetric`.
        epsilon_low: distance of the lower exit from 1.
        epsilon_high: distance of the upper exit from 1.

    Raises:
        InputError: `log_symmetric`, or no hinge.
    """
    if clip.MODES[mode].mirrored:
        raise InputError(f"The first-order drift has the wrong sign for {mode}; use `chain.solve` or `simulate`.")
    z = math.log(p / (1 - p))
    variance = 4 * step_size**2 * second * p * (1 - p) / rollouts
    total = 0.0
    for m in range(1, updates):
        width = math.sqrt(m * variance)
        step = np.linspace(-8 * width, 8 * width, 4001)
        density = np.exp(-0.5 * (step / width) ** 2)
        force = two_arm_force(1 / (1 + np.exp(-z - step)), p, mu, mode, epsilon_low, epsilon_high)
        total += 2 * step_size * float((force * density).sum() / density.sum())
    return total
