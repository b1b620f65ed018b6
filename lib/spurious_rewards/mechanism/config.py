"""Define one bandit experiment (see `bandit`), checked before anything runs; imports nothing heavy.

>>> BanditConfig(prior="0.65,0.35", epsilon_high=0.28).epsilons
(0.2, 0.28)
>>> BanditConfig(optimizer="adam")
Traceback (most recent call last):
    ...
spurious_rewards.errors.InputError: Unknown optimizer 'adam' (did you mean 'adamw'?); known: adamw, sgd.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spurious_rewards.errors import InputError, check_name, unknown_name
from spurious_rewards.storage.config import Config
from spurious_rewards.training import advantages, clip

PRIORS = {
    "two_arms": (0.65, 0.35),
    "certain": (0.9, 0.1),
    "dominant": (0.65, *[0.05] * 7),
    "flat": tuple(w / 8 for w in (1.07, 1.05, 1.03, 1.01, 0.99, 0.97, 0.95, 0.93)),
    "zipf": tuple(1 / rank / sum(1 / r for r in range(1, 17)) for rank in range(1, 17)),
}
"""Prior shapes: two arms, one above 1/(1+ε), one dominant of eight, none dominant of eight, 16 arms with p ∝ 1/rank."""
OPTIMIZERS = ("sgd", "adamw")
ORDERS = ("shuffled", "grouped")


@dataclass(frozen=True)
class BanditConfig(Config):
    """Define one bandit experiment.

    prior: a name of `PRIORS` or probabilities joined by commas. clip_mode: one of `clip.MODES`. epsilon, epsilon_high:
    distances of the exits from 1 (epsilon_high 0: equal to epsilon). gamma:
    probability of reward 1. optimizer, step_size: SGD, or AdamW with the paper's β (0.9, 0.95) and no decay. groups ×
    group_size rollouts per rollout batch in `updates` mini-batches, `batches` times, for `seeds` seeds. order:
    "shuffled" deals rollouts to mini-batches at random, "grouped" keeps them in sequence. scale, ddof, whiten: see
    `advantages`. max_grad_norm: 0 is off. lift: added to the reward probability of arm `lifted_arm`, which makes the
    reward informative (0: it is not).
    """

    prior: str = "two_arms"
    clip_mode: str = "two_sided"
    epsilon: float = 0.2
    epsilon_high: float = 0.0
    gamma: float = 0.5
    optimizer: str = "sgd"
    step_size: float = 2.0
    groups: int = 64
    group_size: int = 16
    updates: int = 8
    batches: int = 200
    seeds: int = 500
    seed: int = 0
    order: str = "shuffled"
    scale: str = "std"
    ddof: int = 1
    whiten: bool = False
    max_grad_norm: float = 0.0
    lift: float = 0.0
    lifted_arm: int = 0

    def validate(self) -> None:
        """Check names and ranges."""
        self.probabilities()
        self.clipped_band()
        for kind, name, known in (("optimizer", self.optimizer, OPTIMIZERS), ("order", self.order, ORDERS),
                                  ("advantage scale", self.scale, advantages.SCALES)):  # fmt: skip
            check_name(kind, name, known)
        self.check_at_least({"groups": 1, "group_size": 2, "updates": 1, "batches": 1, "seeds": 2})
        if self.rollouts % self.updates:
            raise InputError(
                f"groups·group_size = {self.rollouts} rollouts do not divide into {self.updates} equal "
                "mini-batches; choose updates among its divisors."
            )
        if not self.step_size > 0:
            raise InputError(f"step_size must be above 0, but it is {self.step_size}.")
        if self.max_grad_norm < 0:
            raise InputError(f"max_grad_norm must be 0 (off) or above, but it is {self.max_grad_norm}.")
        if not (0 <= self.gamma <= 1 and 0 <= self.gamma + self.lift <= 1):
            raise InputError(
                f"gamma and gamma + lift are probabilities in [0, 1], but they are {self.gamma} and "
                f"{self.gamma + self.lift}."
            )
        if not 0 <= self.lifted_arm < len(self.probabilities()):
            raise InputError(
                f"lifted_arm must be the index of one of {len(self.probabilities())} arms, but it is {self.lifted_arm}."
            )
        if self.ddof not in (0, 1):
            raise InputError(f"ddof must be 0 or 1, but it is {self.ddof}.")

    @property
    def rollouts(self) -> int:
        """Return the rollouts of one rollout batch."""
        return self.groups * self.group_size

    @property
    def epsilons(self) -> tuple[float, float]:
        """Return (ε_low, ε_high) with the default of `epsilon_high` filled in."""
        return self.epsilon, self.epsilon_high or self.epsilon

    def clipped_band(self) -> clip.ClipBand:
        """Return the band outside of which this mode removes a gradient."""
        return clip.band(self.clip_mode, *self.epsilons)

    def probabilities(self) -> np.ndarray:
        """Return the prior, float64 [K], summing to 1.

        Raises:
            InputError: neither a name nor at least two positive numbers that sum to 1 and have one largest.
        """
        if self.prior in PRIORS:
            return np.array(PRIORS[self.prior])
        try:
            prior = np.array([float(part) for part in self.prior.split(",")])
        except ValueError:
            raise unknown_name("prior", self.prior, [*PRIORS, "probabilities joined by commas"]) from None
        if len(prior) < 2 or not (prior > 0).all() or abs(prior.sum() - 1) > 1e-6:
            raise InputError(f"prior must be at least two positive probabilities with sum 1, but it is {self.prior}.")
        if (prior == prior.max()).sum() > 1:
            raise InputError(f"prior {self.prior} has no single likeliest arm to follow; tilt it a little.")
        return prior / prior.sum()
