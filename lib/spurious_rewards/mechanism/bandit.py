"""Simulate GRPO on a softmax bandit whose reward carries no information: the clip term alone, many seeds at once.

One token, K arms, logits θ. A rollout batch is `groups` × `group_size` arms drawn from π_old = softmax(θ), rewarded by
a coin, turned into group-relative advantages and split into `updates` mini-batches; each gives one optimizer step on
the trainer's own surrogate (`training.clip.surrogate`) and advantages (`training.advantages.group_advantages`). All
seeds run at once as the rows of θ [S, K]; SGD and AdamW act on each element alone, so this is the same as S runs.

Two things make it fast, and neither is an approximation. A group's advantages depend on its rewards only through their
number, so they come from a table that `group_advantages` fills. And every clip mode is positively homogeneous in A, so
that rollouts of one mini-batch with the same arm and the same sign of A add up to one (`tally`): 2K terms, not 128.

What it leaves out: tokens in sequence, shared parameters between contexts, and anything a reward could teach.

    python -m spurious_rewards.mechanism bandit --prior 0.65,0.35 --clip-mode two_sided --optimizer sgd --step-size 2 \
        --groups 64 --group-size 16 --updates 8 --batches 200 --seeds 500 --epsilon 0.2 --gamma 0.5
"""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from functools import cache

import numpy as np
import torch

from spurious_rewards.mechanism.config import BanditConfig
from spurious_rewards.training import advantages, clip

PROBABILITY_EDGES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 1 / 1.2, 1.0)
"""Bins of π_old for the clip fractions; 1/1.2 is where the upper exit of ε = 0.2 goes out of reach."""
CHUNK = 125
"""Seeds drawn together (they share one random stream; the next chunk has its own)."""


@dataclass
class Tally:
    """Hold the sufficient statistics of a rollout batch, both [S, M, 2, K]: mini-batch, sign of A, arm.

    Sign 0 is A < 0, sign 1 is A > 0. `weights` is the sum of A, `counts` the number of rollouts with A ≠ 0.
    """

    weights: torch.Tensor
    counts: torch.Tensor


@dataclass
class BanditResult:
    """Hold what `simulate` returns; S seeds, T rollout batches, K arms."""

    config: BanditConfig
    probabilities: np.ndarray  # [S, K] after the last batch
    trace: dict[str, np.ndarray]  # [T + 1, S]: "top" (probability of the initially likelier arm) and "entropy"
    per_seed: dict[str, np.ndarray]  # [S]: changes of top and entropy, shares clipped and outside, gradients, motion
    bins: dict[str, np.ndarray]  # [S, bins of π_old]: expected rollouts, and the numbers clipped_* and outside_*
    seconds: float


def advantage_table(config: BanditConfig) -> np.ndarray:
    """Return the advantages [G + 1, 2] of an unrewarded (0) and a rewarded (1) rollout in a group with k rewards.

    >>> advantage_table(BanditConfig(group_size=2)).round(3).tolist()
    [[0.0, 0.0], [-0.707, 0.707], [0.0, 0.0]]
    """
    size = config.group_size
    rewards = torch.tril(torch.ones(size + 1, size, dtype=torch.float64), diagonal=-1)  # row k: k ones, then zeros
    values = advantages.group_advantages(rewards, scale=config.scale, ddof=config.ddof).numpy()
    return np.stack([values[:, -1], values[:, 0]], axis=1)


def draw(
    rng: np.random.Generator, probabilities_S_K: np.ndarray, config: BanditConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Draw arms from π_old and their coin rewards, both uint8 [S, P·G], in group order."""
    seeds, arms = probabilities_S_K.shape
    edges = probabilities_S_K.cumsum(axis=1)
    uniform = _uniform(rng, (seeds, config.rollouts))
    drawn = np.zeros((seeds, config.rollouts), dtype=np.uint8)
    for arm in range(arms - 1):
        drawn += (uniform >= edges[:, arm, None]).view(np.uint8)
    chance: float | np.ndarray = config.gamma
    if config.lift:
        chance = config.gamma + config.lift * (drawn == config.lifted_arm)
    return drawn, (_uniform(rng, (seeds, config.rollouts)) < chance).view(np.uint8)


def tally(arms: np.ndarray, rewards: np.ndarray, config: BanditConfig, rng: np.random.Generator | None = None) -> Tally:
    """Deal the advantages of a rollout batch to its mini-batches, summed by arm and sign.

    Args:
        arms: arm of each rollout, integers [S, P·G], in group order.
        rewards: 0 or 1, same shape.
        config: group size, number of mini-batches, order, advantage options.
        rng: deals the rollouts when `config.order` is "shuffled".
    """
    seeds, total = arms.shape
    size, n_arms = config.group_size, len(config.probabilities())
    rewarded = rewards.reshape(seeds, -1, size).sum(axis=2, dtype=np.int32)  # [S, P]
    kinds = (size + 1, 2, n_arms)  # all that matters of a rollout: rewards in its group, its own reward, its arm
    code = np.repeat(rewarded * (2 * n_arms), size, axis=1)
    code += (rewards * np.uint8(n_arms)).astype(np.int32) + arms
    if config.order == "shuffled":
        code = _shuffled(code, rng)
    row = np.arange(seeds)[:, None] * config.updates + np.arange(total) // (total // config.updates)
    found = np.bincount((row * np.prod(kinds) + code).ravel(), minlength=row[-1, -1] * np.prod(kinds) + np.prod(kinds))
    counts = torch.from_numpy(found).double().view(seeds, config.updates, *kinds)
    advantage = torch.from_numpy(advantage_table(config))
    if config.whiten:  # equal advantages are whitened together, weighted by how often they occur
        of_kind = counts.sum(dim=(1, 4)).view(seeds, -1)
        advantage = torch.vmap(advantages.whiten)(advantage.flatten().expand(seeds, -1), of_kind)
        weights = torch.einsum("smkra,skr->smra", counts, advantage.view(seeds, *kinds[:2]))
    else:
        weights = torch.einsum("smkra,kr->smra", counts, advantage)
    return Tally(weights, counts[:, :, 1:-1].sum(dim=2))  # groups of equal rewards have A = 0


def _shuffled(code: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put each row in random order: sorted by uniform numbers whose lowest bits hold the code (half `permuted`'s time).

    Positive doubles order like their bit patterns; some 40 random bits remain, so equal keys practically never occur.
    """
    low = (1 << int(code.max(initial=1)).bit_length()) - 1
    keys = _uniform(rng, code.shape).view(np.int64)
    keys &= ~low
    keys |= code
    keys.sort(axis=1)
    keys &= low
    return keys


def _uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw uniform numbers into memory that the next call uses again: fresh pages would cost more than the numbers."""
    return rng.random(out=_memory(shape))


@cache
def _memory(shape: tuple[int, ...]) -> np.ndarray:
    return np.empty(shape)


def make_optimizer(logits: torch.Tensor, config: BanditConfig) -> torch.optim.Optimizer:
    """Make SGD, or AdamW as in the paper: β (0.9, 0.95), no weight decay."""
    if config.optimizer == "sgd":
        return torch.optim.SGD([logits], lr=config.step_size)
    return torch.optim.AdamW([logits], lr=config.step_size, betas=(0.9, 0.95), weight_decay=0.0)


def update_on(
    logits: torch.Tensor, optimizer: torch.optim.Optimizer, batch: Tally, config: BanditConfig
) -> dict[str, torch.Tensor]:
    """Make the M optimizer updates on one rollout batch; changes `logits` [S, K] in place.

    Returns:
        Sums over the M updates: rollouts that the mode clipped ("clipped_high", "clipped_low", [S, K]), rollouts that
        ended outside the band of ε in the clipped direction whether or not the mode clips there ("outside_high",
        "outside_low", [S, K]), and the gradient of the objective in each logit without the clip ("unclipped") and what
        the mode adds to it ("added"), [S, K].
    """
    size = config.rollouts // config.updates
    low, high = config.epsilons
    own, reference = config.clipped_band(), clip.band("two_sided", low, high)
    old = torch.log_softmax(logits, dim=-1)
    sums: dict[str, torch.Tensor] = {}
    for m in range(config.updates):
        logp = torch.log_softmax(logits, dim=-1)
        policy = logp.exp()
        ratio = (logp - old).exp()
        slopes = {}
        for mode in {config.clip_mode, "none"}:
            leaf = logp.clone().requires_grad_()
            each = leaf.unsqueeze(1).expand(-1, 2, -1)  # [S, 2, K]
            value = clip.surrogate(each - old.unsqueeze(1), batch.weights[:, m], mode, low, high, logp=each)
            (slopes[mode],) = torch.autograd.grad(value.sum() / size, leaf)
        # d log π_a / d θ_j = [a = j] − π_j
        gradients = {mode: s - policy * s.sum(dim=-1, keepdim=True) for mode, s in slopes.items()}
        gradient = gradients[config.clip_mode]
        negative, positive = batch.counts[:, m].unbind(1)
        found = {
            "clipped_high": positive * (ratio > 1 + own.high), "clipped_low": negative * (ratio < 1 - own.low),
            "outside_high": positive * (ratio > 1 + reference.high),
            "outside_low": negative * (ratio < 1 - reference.low),
            "unclipped": gradients["none"], "added": gradient - gradients["none"],
        }  # fmt: skip
        sums = {name: sums[name] + value for name, value in found.items()} if sums else found
        if config.max_grad_norm:
            norm = gradient.norm(dim=-1, keepdim=True)
            gradient = gradient * (config.max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
        logits.grad = -gradient
        optimizer.step()
    return sums


def simulate(config: BanditConfig) -> BanditResult:
    """Run all seeds of one experiment; the result depends on `config` only.

    Equal seeds draw from equal random numbers in every clip mode, so differences between modes are paired.
    """
    clock = time.perf_counter()
    prior = config.probabilities()
    top, seeds = int(prior.argmax()), config.seeds
    logits = torch.tensor(np.log(prior)).repeat(seeds, 1)
    optimizer = make_optimizer(logits, config)
    spans = [slice(i, min(i + CHUNK, seeds)) for i in range(0, seeds, CHUNK)]
    streams = [np.random.Generator(np.random.SFC64(s)) for s in np.random.SeedSequence(config.seed).spawn(len(spans))]
    masks = ("clipped_high", "clipped_low", "outside_high", "outside_low")
    n_bins = len(PROBABILITY_EDGES) - 1
    bins = {name: np.zeros((seeds, n_bins)) for name in ("rollouts", *masks)}
    per_seed = {name: np.zeros(seeds) for name in (*masks, "unclipped", "added", "motion_squared")}
    trace: dict[str, list[np.ndarray]] = {"top": [], "entropy": []}
    policy, start_odds = _observe(logits, top, trace)
    odds = start_odds
    for _ in range(config.batches):
        parts = [tally(*draw(rng, policy[span], config), config, rng)
                 for rng, span in zip(streams, spans, strict=True)]  # fmt: skip
        batch = Tally(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Tally)))
        sums = {name: value.numpy() for name, value in update_on(logits, optimizer, batch, config).items()}
        place = np.clip(np.digitize(policy, PROBABILITY_EDGES) - 1, 0, n_bins - 1) + n_bins * np.arange(seeds)[:, None]
        place = place.ravel()  # of each seed's arms, among all seeds' bins
        bins["rollouts"] += np.bincount(place, policy.ravel() * config.rollouts, seeds * n_bins).reshape(seeds, n_bins)
        for name in masks:
            bins[name] += np.bincount(place, sums[name].ravel(), seeds * n_bins).reshape(seeds, n_bins)
            per_seed[name] += sums[name].sum(axis=1) / (config.rollouts * config.batches)
        for name in ("unclipped", "added"):
            per_seed[name] += sums[name][:, top] / (config.updates * config.batches)
        before = odds
        policy, odds = _observe(logits, top, trace)
        per_seed["motion_squared"] += (odds - before) ** 2 / config.batches
    traces = {name: np.array(rows) for name, rows in trace.items()}
    per_seed["change"] = traces["top"][-1] - traces["top"][0]
    per_seed["logit_change"] = odds - start_odds
    per_seed["entropy_change"] = traces["entropy"][-1] - traces["entropy"][0]
    return BanditResult(config, policy, traces, per_seed, bins, time.perf_counter() - clock)


def _observe(logits: torch.Tensor, top: int, trace: dict[str, list[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Record the policy in `trace`; return the policy [S, K] and the log-odds [S] of the arm `top`."""
    logp = torch.log_softmax(logits, dim=-1)
    others = torch.cat([logits[:, :top], logits[:, top + 1 :]], dim=-1)
    policy = logp.exp()
    trace["top"].append(policy[:, top].numpy())
    trace["entropy"].append(-(policy * logp).sum(dim=-1).numpy())
    return policy.numpy(), (logits[:, top] - others.logsumexp(dim=-1)).numpy()
