"""Group-relative advantages (paper §2): how much better a rollout's reward is than its group's mean.

The trainer uses TRL's own computation; this is the same arithmetic as a function, for the mechanism experiments and
for the options TRL does not have. A test holds it against the advantages of a real training run.

>>> import torch
>>> [[round(a, 3) for a in group] for group in group_advantages(torch.tensor([[1.0, 0.0], [1.0, 1.0]])).tolist()]
[[0.707, -0.707], [0.0, 0.0]]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spurious_rewards.errors import check_name

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

SCALES = ("std", "none")
"""What a group's centred rewards are divided by: their standard deviation, or nothing (Dr. GRPO)."""


def group_advantages(
    rewards_P_G: Float[Tensor, "*prompts group"], scale: str = "std", ddof: int = 1, epsilon: float = 1e-4
) -> Float[Tensor, "*prompts group"]:
    """Centre, and with `scale="std"` divide by (std + epsilon), within each group (the last axis).

    Args:
        rewards_P_G: one row per prompt, one column per rollout of the group.
        scale: one of `SCALES`.
        ddof: 1 divides the squared deviations by G − 1, as TRL and the released code do.
        epsilon: 1e-4 is TRL's; the released code has 1e-9. A group of equal rewards yields 0 either way.

    Raises:
        InputError: unknown `scale`.
    """
    check_name("advantage scale", scale, SCALES)
    centred = rewards_P_G - rewards_P_G.mean(dim=-1, keepdim=True)
    if scale == "none":
        return centred
    return centred / (rewards_P_G.std(dim=-1, keepdim=True, correction=ddof) + epsilon)


def of_sign(advantages_N: Float[Tensor, " rollouts"], sign: str) -> Float[Tensor, " rollouts"]:
    """Keep the advantages above 0 (`positive`) or below it (`negative`) and set the others to 0; `both` keeps all."""
    if sign == "both":
        return advantages_N
    return advantages_N.clamp(min=0) if sign == "positive" else advantages_N.clamp(max=0)


def whiten(
    advantages_N: Float[Tensor, " rollouts"], n_tokens_N: Float[Tensor, " rollouts"], epsilon: float = 1e-8
) -> Float[Tensor, " rollouts"]:
    """Normalise advantages over *all* rollouts of a batch, weighted by token count, as the released code does.

    The paper does not mention it. With information-free rewards the group step already gives mean 0 and variance near
    1, so the second step mostly rescales by 1/√(E[A²]) — see `mechanism.moments`.

    Args:
        advantages_N: one value per rollout of the whole rollout batch.
        n_tokens_N: completion length of each rollout, in tokens.
        epsilon: added to the variance.
    """
    weights = n_tokens_N / n_tokens_N.sum()
    mean = (weights * advantages_N).sum()
    variance = (weights * (advantages_N - mean).square()).sum()
    return (advantages_N - mean) * (variance + epsilon).rsqrt()
