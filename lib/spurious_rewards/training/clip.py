"""The clip term of GRPO, as one pure function and as settings of TRL's trainer; a test ties the two together.

Write R = π_θ(y_t) / π_old(y_t) for the ratio of one token and A for its advantage. The surrogate objective that GRPO
maximises per token (paper §4, PPO's clip) is

    two_sided       min(R·A, clip(R, 1−ε_low, 1+ε_high)·A)  DAPO's "clip-higher" is ε 0.2 / 0.28

and the ablation asks what is left without the clip, or with a part of it:

    none            R·A                                     π_old kept, nothing clipped: the clean ablation
    high_only       min(R·A, min(R, 1+ε_high)·A)            acts on tokens that became likelier, A > 0
    low_only        min(R·A, max(R, 1−ε_low)·A)             acts on tokens that became less likely, A < 0
    log_symmetric   two_sided with exits at ±log(1+ε_high)  removes the asymmetry of the band in log space
    cispo           stop(min(R, 1+ε_high))·A·log π_θ        clips the weight and keeps every gradient (MiniMax-M1)
    none_released   π_θ·A                                   the released code's "no clip": drops 1/π_old as well, so it
                                                            changes more than the clip; here for comparison only

The clip bites only where π_θ has left π_old, so it is inert in the first of the updates made on one rollout batch.
With an advantage that carries no information about the token, E_A[two_sided] = −E[A⁺]·[(R−1−ε)₊ + (1−ε−R)₊]: a
restoring force towards π_old, zero inside the band, and zero without the clip.

>>> import torch
>>> ratio = torch.tensor([0.7, 1.0, 1.3])
>>> [round(x, 2) for x in surrogate(ratio.log(), torch.tensor(1.0), "two_sided", 0.2, 0.2).tolist()]
[0.7, 1.0, 1.2]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spurious_rewards.errors import InputError, unknown_name

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

NEVER_HIGH = 1e9
"""An upper ε no ratio reaches. TRL writes its configuration as JSON, where infinity would be non-standard."""
NEVER_LOW = 1.0
"""A lower ε no ratio reaches: R ≥ 0 = 1 − 1."""

MODES = ("two_sided", "none", "high_only", "low_only", "log_symmetric", "cispo", "none_released")
"""All clip modes."""


@dataclass(frozen=True)
class ClipBand:
    """The interval of ratios that keep their gradient: [1 − low, 1 + high]."""

    low: float
    high: float

    @property
    def never_left(self) -> bool:
        """Whether no ratio leaves it, so that nothing is ever clipped."""
        return self.low >= NEVER_LOW and self.high >= NEVER_HIGH


IGNORED = {
    "high_only": "epsilon_low",
    "log_symmetric": "epsilon_low",
    "cispo": "epsilon_low",
    "low_only": "epsilon_high",
}
"""The ε that a mode does not read. `none` and `none_released` read neither, and take any as the other half of a pair.
"""


def check_mode(mode: str) -> None:
    """Raise `InputError` unless `mode` is one of `MODES`."""
    if mode not in MODES:
        raise unknown_name("clip_mode", mode, MODES)


def band(mode: str, epsilon_low: float, epsilon_high: float) -> ClipBand:
    """The band outside of which `mode` removes a gradient (for `cispo`: clips the weight).

    Args:
        mode: one of `MODES`.
        epsilon_low: distance of the lower exit from 1, in (0, 1].
        epsilon_high: distance of the upper exit from 1, above 0.

    Raises:
        InputError: unknown mode, or an ε out of range.
    """
    check_mode(mode)
    if not 0 < epsilon_low <= 1:
        raise InputError(f"epsilon_low must lie in (0, 1], but it is {epsilon_low}: the ratio cannot fall below 0.")
    if not epsilon_high > 0:
        raise InputError(f"epsilon_high must be above 0, but it is {epsilon_high}; the paper uses 0.2.")
    return {
        "two_sided": ClipBand(epsilon_low, epsilon_high),
        "none": ClipBand(NEVER_LOW, NEVER_HIGH),
        "none_released": ClipBand(NEVER_LOW, NEVER_HIGH),
        "high_only": ClipBand(NEVER_LOW, epsilon_high),
        "low_only": ClipBand(epsilon_low, NEVER_HIGH),
        "log_symmetric": ClipBand(1 - 1 / (1 + epsilon_high), epsilon_high),
        "cispo": ClipBand(NEVER_LOW, epsilon_high),
    }[mode]


def surrogate(
    log_ratio: Float[Tensor, "*batch"],
    advantage: Float[Tensor, "*#batch"],
    mode: str = "two_sided",
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    logp: Float[Tensor, "*batch"] | None = None,
) -> Float[Tensor, "*batch"]:
    """Per-token surrogate objective (to be maximised; the loss is its negative), differentiable in `log_ratio`.

    Args:
        log_ratio: log π_θ(y_t) − log π_old(y_t), any shape.
        advantage: broadcastable to it; a constant of the optimisation.
        mode: one of `MODES`.
        epsilon_low: see `band`.
        epsilon_high: see `band`.
        logp: log π_θ(y_t). Needed by `none_released`. `cispo` takes `log_ratio` in its place when it is not given: the
            two differ by a constant, so the gradient is the same and the value is shifted.

    Raises:
        InputError: as `band`, or `logp` missing for `none_released`.
    """
    limits = band(mode, epsilon_low, epsilon_high)
    if mode == "none_released":
        if logp is None:
            raise InputError("clip_mode none_released is −π_θ·A and needs logp, the log-probability itself.")
        return logp.exp() * advantage
    ratio = log_ratio.exp()
    if mode == "cispo":
        return ratio.clamp(max=1 + limits.high).detach() * advantage * (log_ratio if logp is None else logp)
    clipped = ratio.clamp(1 - limits.low, 1 + limits.high)
    return (ratio * advantage).minimum(clipped * advantage)


def trl_settings(mode: str, epsilon_low: float, epsilon_high: float) -> dict[str, Any]:
    """The `GRPOConfig` fields that make TRL's loss equal to `surrogate` in this mode.

    `cispo` is TRL's own loss type, whose `epsilon_high` is the bound on the weight itself and which averages over the
    tokens of the accumulated batch. `none_released` has no TRL setting: the trainer feeds π_old = 1 into the unclipped
    loss (exp(log π_θ − 0)·A = π_θ·A), see `trainer.ClipGRPOTrainer`.
    """
    limits = band(mode, epsilon_low, epsilon_high)
    if mode == "cispo":
        return {"loss_type": "cispo", "epsilon": epsilon_low, "epsilon_high": 1 + limits.high}
    return {"epsilon": limits.low, "epsilon_high": limits.high}
