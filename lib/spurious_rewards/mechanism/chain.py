"""Solve a tiny bandit exactly: enumerate every outcome with its probability, so that there is no sampling error.

With K arms, N rollouts per rollout batch and a coin for a reward there are K^N·2^N outcomes of one rollout batch. For
N = 4 and two arms that is 256, so two or three rollout batches can be followed to the end. The arithmetic here is
separate from the simulator's on purpose: NumPy, rollout by rollout, with the four-case slope of `identity.slope` in
place of automatic differentiation, and advantages from their definition. Agreement of the two is a check on both.

SGD only: its state is the logits alone, and reward orders "grouped" (mini-batches in sequence).

>>> tiny = BanditConfig(prior="0.65,0.35", groups=1, group_size=4, updates=4, batches=1, order="grouped", step_size=1.0)
>>> change = {mode: logit_change(solve(BanditConfig(**{**tiny.to_dict(), "clip_mode": mode})))
...           for mode in ("two_sided", "none")}
>>> abs(change["none"]) < 1e-12, change["two_sided"] > 0
(True, True)
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from spurious_rewards.errors import InputError
from spurious_rewards.mechanism.config import BanditConfig
from spurious_rewards.mechanism.identity import hinge_band, slope

MOST_PATHS = 2_000_000
"""Largest number of (state, outcome) pairs followed in one rollout batch; each costs some hundred bytes."""


@dataclass(frozen=True)
class Chain:
    """Hold the exact distribution of the logits after the last rollout batch: states [n, K] and probabilities [n]."""

    config: BanditConfig
    logits: np.ndarray
    probability: np.ndarray

    def policy(self) -> np.ndarray:
        """Return π of every state, [n, K]."""
        return _softmax(self.logits)

    def mean(self, values: np.ndarray) -> float:
        """Return the expectation of one value per state."""
        return float(self.probability @ values)


def outcomes(config: BanditConfig) -> tuple[np.ndarray, np.ndarray]:
    """Enumerate all arms [n, N] and rewards [n, N] of one rollout batch."""
    total, n_arms = config.rollouts, len(config.probabilities())
    arms = np.array(list(itertools.product(range(n_arms), repeat=total)))
    rewards = np.array(list(itertools.product((0, 1), repeat=total)))
    return np.repeat(arms, len(rewards), axis=0), np.tile(rewards, (len(arms), 1))


def replay(logits: np.ndarray, arms: np.ndarray, rewards: np.ndarray, config: BanditConfig) -> np.ndarray:
    """Compute the logits after one rollout batch, a row per case: [n, K], [n, N], [n, N] → [n, K]."""
    _check(config)
    limits = hinge_band(config.clip_mode, *config.epsilons)
    size = config.rollouts // config.updates
    advantage = _advantages(rewards, config)
    rows = np.arange(len(logits))
    old, now = _softmax(logits), logits.copy()
    for m in range(config.updates):
        policy = _softmax(now)
        gradient = np.zeros_like(now)
        for i in range(m * size, (m + 1) * size):
            arm = arms[:, i]
            s = slope(policy[rows, arm] / old[rows, arm], advantage[:, i], limits)
            gradient -= s[:, None] * policy
            gradient[rows, arm] += s
        now = now + config.step_size * gradient / size
    return now


def solve(config: BanditConfig) -> Chain:
    """Follow every outcome for `config.batches` rollout batches; equal states (to 1e-12) are merged in between.

    Raises:
        InputError: too many paths, or an option the chain does not have (AdamW, shuffled order, whitening, …).
    """
    _check(config)
    n_arms = len(config.probabilities())
    if config.rollouts * math.log2(2 * n_arms) > math.log2(MOST_PATHS):
        raise InputError(
            f"{config.rollouts} rollouts of {n_arms} arms have too many outcomes to enumerate; the exact "
            "chain is for about 4 to 8 rollouts per batch, the simulator for more."
        )
    arms, rewards = outcomes(config)
    coin = np.where(rewards == 1, config.gamma, 1 - config.gamma).prod(axis=1)
    logits, probability = np.log(config.probabilities())[None], np.ones(1)
    for _ in range(config.batches):
        if len(logits) * len(arms) > MOST_PATHS:
            raise InputError(
                f"{len(logits)} states times {len(arms)} outcomes are too many to follow exactly; use "
                "fewer batches or rollouts."
            )
        states = np.repeat(logits, len(arms), axis=0)
        drawn, coins = np.tile(arms, (len(logits), 1)), np.tile(rewards, (len(logits), 1))
        chance = np.take_along_axis(_softmax(states), drawn, axis=1).prod(axis=1)
        weight = np.repeat(probability, len(arms)) * chance * np.tile(coin, len(logits))
        moved = replay(states, drawn, coins, config)
        _, first, group = np.unique(moved.round(12), axis=0, return_index=True, return_inverse=True)
        logits, probability = moved[first], np.bincount(group.ravel(), weight, len(first))
    return Chain(config, logits, probability)


def logit_change(chain: Chain) -> float:
    """Return the exact mean change of the log-odds of the initially likelier arm."""
    prior = chain.config.probabilities()
    top = prior.argmax()
    p = chain.policy()[:, top]
    return chain.mean(np.log(p / (1 - p))) - math.log(prior[top] / (1 - prior[top]))


def share_up(chain: Chain) -> tuple[float, float]:
    """Return the exact probabilities that the initially likelier arm ends above and below its prior (beyond 1e-12)."""
    prior = chain.config.probabilities()
    change = chain.policy()[:, prior.argmax()] - prior.max()
    return chain.mean(change > 1e-12), chain.mean(change < -1e-12)


def _advantages(rewards: np.ndarray, config: BanditConfig) -> np.ndarray:
    """Compute (r − mean)/(std + 1e-4) of each group by definition, [n, N]."""
    groups = rewards.reshape(len(rewards), -1, config.group_size).astype(float)
    centred = groups - groups.mean(axis=2, keepdims=True)
    if config.scale == "std":
        centred = centred / (groups.std(axis=2, keepdims=True, ddof=config.ddof) + 1e-4)
    return centred.reshape(rewards.shape)


def _softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _check(config: BanditConfig) -> None:
    wanted = {"optimizer": "sgd", "order": "grouped", "whiten": False, "max_grad_norm": 0.0, "lift": 0.0}
    for name, value in wanted.items():
        if getattr(config, name) != value:
            raise InputError(f"The exact chain needs {name} = {value!r}, but it is {getattr(config, name)!r}.")
