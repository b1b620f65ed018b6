"""Define GRPO's clip: one table of modes, one pure function, and the settings that make TRL's loss equal to it.

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

Everything that depends on the mode (checks, TRL's settings, diagnostics, mechanism, figures) reads the fields of
`MODES`; no other module compares names. A new mode is a new row here, and a case in `surrogate` if it is no band.

>>> import torch
>>> ratio = torch.tensor([0.7, 1.0, 1.3])
>>> [round(x, 2) for x in surrogate(ratio.log(), torch.tensor(1.0), "two_sided", 0.2, 0.2).tolist()]
[0.7, 1.0, 1.2]
>>> print(MODES["none"].sentence)
Nothing is clipped; the ratio to π_old is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spurious_rewards.errors import InputError, check_name

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

NEVER_HIGH = 1e9
"""An upper ε no ratio reaches. TRL writes its configuration as JSON, where infinity would be non-standard."""
NEVER_LOW = 1.0
"""A lower ε no ratio reaches: R ≥ 0 = 1 − 1."""


@dataclass(frozen=True)
class ClipBand:
    """Hold the interval of ratios that keep their gradient: [1 − low, 1 + high]."""

    low: float
    high: float

    @property
    def never_left(self) -> bool:
        """Tell whether no ratio leaves it, so that nothing is ever clipped."""
        return self.low >= NEVER_LOW and self.high >= NEVER_HIGH


@dataclass(frozen=True)
class ClipMode:
    """Hold one row of the table of clip modes.

    Attributes:
        name: as in `RunConfig.clip_mode` and in records.
        sentence: what it does, for people.
        words: what figures call it.
        colour: of its lines; the palettes of Okabe and Ito and of Tol, which colour-blind readers tell apart.
        lower: the ε that sets the lower exit, "epsilon_low"; "epsilon_high" mirrors the upper exit in log space; empty:
            there is no lower exit.
        upper: whether there is an upper exit, at 1 + ε_high.
        weight_only: the weight of a gradient is clipped, and no gradient removed.
        keeps_old: whether the objective divides by π_old.
    """

    name: str
    sentence: str
    words: str
    colour: str
    lower: str = ""
    upper: bool = False
    weight_only: bool = False
    keeps_old: bool = True

    @property
    def clips(self) -> bool:
        """Tell whether some ratio is clipped at all."""
        return bool(self.lower) or self.upper

    @property
    def mirrored(self) -> bool:
        """Tell whether both exits are equally far from 1 in log space."""
        return self.lower == "epsilon_high"

    @property
    def hinge(self) -> bool:
        """Tell whether the surrogate is min(R·A, clip(R)·A) with some band."""
        return self.keeps_old and not self.weight_only

    @property
    def ignored(self) -> str:
        """Name the ε that the mode does not read; empty if it reads both, or neither (then they may be anything)."""
        unread = {"epsilon_low", "epsilon_high"} - {self.lower} - ({"epsilon_high"} if self.upper else set())
        return unread.pop() if len(unread) == 1 else ""

    def band(self, epsilon_low: float, epsilon_high: float) -> ClipBand:
        """Return the band that goes with the two ε; see the function `band`, which checks them."""
        low = {"": NEVER_LOW, "epsilon_low": epsilon_low, "epsilon_high": 1 - 1 / (1 + epsilon_high)}[self.lower]
        return ClipBand(low, epsilon_high if self.upper else NEVER_HIGH)

    def acts_on(
        self, ratio: Float[Tensor, "*batch"], advantage: Float[Tensor, "*#batch"], limits: ClipBand
    ) -> Bool[Tensor, "*batch"]:
        """Return the tokens that a clip of this kind at `limits` acts on, of the shape of `ratio`."""
        if self.weight_only:  # the bound is on the weight itself, whatever the sign of A
            return ratio > 1 + limits.high
        return (ratio > 1 + limits.high) & (advantage > 0) | (ratio < 1 - limits.low) & (advantage < 0)


MODES = {
    mode.name: mode
    for mode in (
        ClipMode("two_sided",
                 "PPO's clip: no gradient once a token's ratio has left the band in the direction of its advantage.",
                 "with clip", "#0072b2", lower="epsilon_low", upper=True),
        ClipMode("none", "Nothing is clipped; the ratio to π_old is kept.", "without clip", "#d55e00"),
        ClipMode("high_only", "Clips only tokens that became likelier (A > 0).",
                 "upper clip only", "#009e73", upper=True),
        ClipMode("low_only", "Clips only tokens that became less likely (A < 0).",
                 "lower clip only", "#aa4499", lower="epsilon_low"),
        ClipMode("log_symmetric", "Both exits equally far from ratio 1 on a logarithmic scale.",
                 "log-symmetric clip", "#8a7500", lower="epsilon_high", upper=True),
        ClipMode("cispo", "Bounds the weight of a gradient and keeps every gradient (MiniMax-M1).",
                 "weight clip (CISPO)", "#56b4e9", upper=True, weight_only=True),
        ClipMode("none_released",
                 "The released code's way without clip: π_θ·A, which drops the division by π_old as well.",
                 "without clip, as released", "#882255", keeps_old=False),
    )
}  # fmt: skip
"""All clip modes by name."""


def check_mode(mode: str) -> ClipMode:
    """Return the row of `MODES`, or raise `InputError` for an unknown name."""
    check_name("clip_mode", mode, MODES)
    return MODES[mode]


def band(mode: str, epsilon_low: float, epsilon_high: float) -> ClipBand:
    """Return the band outside of which `mode` removes a gradient (or, where it is `weight_only`, clips the weight).

    Args:
        mode: one of `MODES`.
        epsilon_low: distance of the lower exit from 1, in (0, 1].
        epsilon_high: distance of the upper exit from 1, above 0.

    Raises:
        InputError: unknown mode, or an ε out of range.
    """
    row = check_mode(mode)
    if not 0 < epsilon_low <= 1:
        raise InputError(f"epsilon_low must lie in (0, 1], but it is {epsilon_low}: the ratio cannot fall below 0.")
    if not epsilon_high > 0:
        raise InputError(f"epsilon_high must be above 0, but it is {epsilon_high}; the paper uses 0.2.")
    return row.band(epsilon_low, epsilon_high)


def surrogate(
    log_ratio: Float[Tensor, "*batch"], advantage: Float[Tensor, "*#batch"], mode: str = "two_sided",
    epsilon_low: float = 0.2, epsilon_high: float = 0.2, logp: Float[Tensor, "*batch"] | None = None,
) -> Float[Tensor, "*batch"]:  # fmt: skip
    """Return the surrogate objective per token (to be maximised; the loss is its negative).

    Args:
        log_ratio: log π_θ(y_t) − log π_old(y_t), any shape; the result is differentiable in it.
        advantage: broadcastable to it; a constant of the optimisation.
        mode: one of `MODES`.
        epsilon_low: see `band`.
        epsilon_high: see `band`.
        logp: log π_θ(y_t). Needed by a mode that drops π_old. One that clips the weight takes `log_ratio` in its place
            when it is not given: the two differ by a constant, so the gradient is the same and the value is shifted.

    Raises:
        InputError: as `band`, or `logp` missing where it is needed.
    """
    limits, row = band(mode, epsilon_low, epsilon_high), MODES[mode]
    if not row.keeps_old:
        if logp is None:
            raise InputError(f"clip_mode {mode} is −π_θ·A and needs logp, the log-probability itself.")
        return logp.exp() * advantage
    ratio = log_ratio.exp()
    if row.weight_only:
        return ratio.clamp(max=1 + limits.high).detach() * advantage * (log_ratio if logp is None else logp)
    clipped = ratio.clamp(1 - limits.low, 1 + limits.high)
    return (ratio * advantage).minimum(clipped * advantage)


def trl_settings(mode: str, epsilon_low: float, epsilon_high: float) -> dict[str, Any]:
    """Return the `GRPOConfig` fields that make TRL's loss equal to `surrogate` in this mode.

    A mode that clips the weight is TRL's loss type cispo, whose `epsilon_high` is the bound on the weight itself. One
    that drops π_old has no TRL setting: the trainer feeds log π_old = 0 into the unclipped loss
    (exp(log π_θ − 0)·A = π_θ·A), see `trainer.ClipGRPOTrainer`.
    """
    limits = band(mode, epsilon_low, epsilon_high)
    if MODES[mode].weight_only:
        return {"loss_type": "cispo", "epsilon": epsilon_low, "epsilon_high": 1 + limits.high}
    return {"epsilon": limits.low, "epsilon_high": limits.high}
