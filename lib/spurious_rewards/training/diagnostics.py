"""Compute what is logged for every optimizer update, from the log-probabilities of the loss.

Over the completion tokens of one mini-batch, with R = π_θ/π_old, A the advantage and ε the reference ε:

| column | meaning |
|---|---|
| would_clip_high, would_clip_low | share of tokens with R > 1+ε, A > 0 and R < 1−ε, A < 0: in every arm, clipped or not |
| would_clip_{high,low}_bin{i} | the same over the tokens whose π_old lies in bin i of `PI_OLD_BINS` |
| clip_force_high, clip_force_low | mean over tokens of −R·A on would-clip tokens: the *signed* gradient, with respect to log π_θ(y_t), that the clip takes away |
| ratio_q001 … ratio_q999, ratio_max | quantiles of the tokens' R |
| kl_old | estimate of KL(π_θ‖π_old): mean of R·log R − R + 1 (unbiased under π_old, never negative) |
| mean_prob, token_entropy | mean π_θ of the sampled tokens; mean entropy of π_θ at their positions, nats |
| top1_prob | mean over tokens of max_v π_θ(v), the probability of the likeliest token (see training.fast_trl) |
| tokens_bin{i}, n_tokens | tokens of each bin, and of the update, over all processes |
| surrogate_loss | the loss that was differentiated: −surrogate (with its averaging and any KL term), summed over the update's micro-batches and averaged over processes; `loss` is Trainer's own account of the same |
| reward_mean, reward_group_std, zero_variance_share | of the rollout batch, on its first update, as all that follow in this row and the next: mean reward; mean over groups of the group's standard deviation (ddof 0); share of groups whose rewards are all equal |
| code_frequency, box_rate, completion_tokens, ended_share | share of rollouts with code reasoning; with a closed box; mean length in tokens; share that ended by an end token within the limit |
| clip_fraction, clip_fraction_high, clip_fraction_low | TRL's own, of the arm's band: mean over micro-batches, where the would-clip columns are means over tokens; equal at one micro-batch per update and ε equal to the reference. `cispo` clips the weight whatever the sign of A: there clip_fraction and clip_fraction_high are the share of tokens with R > 1+ε_high, and clip_fraction_low is 0 |
| clip_noise_floor, clip_noise_max | once per run, on its first update: share of tokens outside the reference band, and largest abs(R − 1), if log π_old came from other batches than the update's, as it does in stock TRL (where rows share a long beginning, both computations read it once). In fp32 a few 1e-6, in bf16 of the size of real clip fractions; here π_old comes from the same batches, so that R is exactly 1 at update 1 |
| sampler_logp_gap | with vLLM, of the rollout batch, on its first update: mean distance of its log-probabilities from the trainer's, nats; above 0.1 the run stops |
| clip_projection, clip_cosine, clip_gradient_norm, motion_norm | on request, see training.clip_projection |
| seconds_forward, seconds_backward, seconds_optimizer, seconds_diagnostics | wall time of the update's phases on this process; clipping the gradient's norm counts as optimizer |
| seconds_generation, seconds_rewards, seconds_old_logps, seconds_rollouts | of the rollout batch, on its first update; rollouts holds the other three |
| seconds_step, seconds_rollout_batch, seconds_tokens_rate | whole update; whole rollout batch with its updates; completion tokens per second over it |

Usage: `diagnostics.add(TokenBatch.of(...))` per micro-batch, `diagnostics.take(accelerator)` per update.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

import torch

from spurious_rewards.rewards.extraction import last_boxed
from spurious_rewards.rewards.strategy import uses_code

if TYPE_CHECKING:
    from accelerate import Accelerator
    from jaxtyping import Float, Int
    from torch import Tensor

PI_OLD_BINS = (0.0, 0.1, 0.3, 0.5, 0.8333333, 1.0)
"""Edges of π_old. The last inner one is 1/1.2, cut after seven digits: above 1/1.2 a token has no upper exit at
ε = 0.2, since π_θ ≤ 1 makes R ≤ 1/π_old ≤ 1.2."""

QUANTILES = {"ratio_q001": 0.001, "ratio_q01": 0.01, "ratio_q50": 0.5, "ratio_q99": 0.99, "ratio_q999": 0.999}


@dataclass(frozen=True)
class TokenBatch:
    """Hold the completion tokens of one micro-batch, flattened: vectors of the same length."""

    logp: Float[Tensor, " tokens"]
    old_logp: Float[Tensor, " tokens"]
    advantage: Float[Tensor, " tokens"]
    entropy: Float[Tensor, " tokens"]
    top1_logp: Float[Tensor, " tokens"] | None = None

    @classmethod
    def of(
        cls,
        logp_B_T: Float[Tensor, "batch tokens"],
        old_logp_B_T: Float[Tensor, "batch tokens"],
        advantage_B: Float[Tensor, " batch"],
        entropy_B_T: Float[Tensor, "batch tokens"],
        mask_B_T: Int[Tensor, "batch tokens"],
        top1_logp: Float[Tensor, " real"] | None = None,
    ) -> TokenBatch:
        """Keep the tokens where the mask is set; `top1_logp` holds these tokens only, already."""
        real = mask_B_T.bool()
        advantage_B_T = advantage_B.unsqueeze(1).expand_as(logp_B_T)
        return cls(logp_B_T[real], old_logp_B_T[real], advantage_B_T[real], entropy_B_T[real], top1_logp)


class UpdateDiagnostics:
    """Collect the micro-batches of one optimizer update, and reduce them to the columns of the module's table."""

    def __init__(self, reference_epsilon: float):
        self.epsilon = reference_epsilon
        self._parts: list[TokenBatch] = []

    def add(self, tokens: TokenBatch) -> None:
        """Take in one micro-batch."""
        self._parts.append(tokens)

    def take(self, accelerator: Accelerator | None = None) -> dict[str, float]:
        """Return the columns of this update over all processes, and start the next update."""
        names = [name for name in TokenBatch.__dataclass_fields__ if getattr(self._parts[0], name) is not None]
        columns = torch.stack(
            [torch.cat([getattr(part, name).float() for part in self._parts]) for name in names]
        )  # (4 or 5, tokens)
        self._parts = []
        if accelerator is not None and accelerator.num_processes > 1:
            gather: Any = accelerator.gather  # its own annotation also allows a mapping
            lengths = gather(torch.tensor([columns.size(1)], device=columns.device)).tolist()
            padded = accelerator.pad_across_processes(columns.T.contiguous(), dim=0)
            parts = gather(padded).split(max(lengths))  # one per process, each of the longest's length
            columns = torch.cat([part[:n] for part, n in zip(parts, lengths, strict=True)]).T
        return token_statistics(**dict(zip(names, columns, strict=True)), epsilon=self.epsilon)


def token_statistics(
    logp: Float[Tensor, " tokens"],
    old_logp: Float[Tensor, " tokens"],
    advantage: Float[Tensor, " tokens"],
    entropy: Float[Tensor, " tokens"],
    top1_logp: Float[Tensor, " tokens"] | None = None,
    *,
    epsilon: float,
) -> dict[str, float]:
    """Compute the token columns of the module's table for one update; arguments as in `TokenBatch`.

    An update without tokens, as when all rollouts are cut off and masked, has the column `n_tokens` alone.
    """
    if not len(logp):
        return {"n_tokens": 0.0}
    log_ratio = logp - old_logp
    ratio = log_ratio.exp()
    high = (ratio > 1 + epsilon) & (advantage > 0)
    low = (ratio < 1 - epsilon) & (advantage < 0)
    force = -ratio * advantage
    edges = torch.tensor(PI_OLD_BINS[1:-1], device=logp.device)
    which = torch.bucketize(old_logp.exp(), edges)
    n_bins = len(PI_OLD_BINS) - 1
    weights = (torch.ones_like(ratio), high.float(), low.float())
    counts = torch.stack([torch.bincount(which, weights=w, minlength=n_bins) for w in weights])  # (3, bins)
    quantiles = torch.quantile(ratio[: 2**24], torch.tensor(list(QUANTILES.values()), device=logp.device))
    scalars = {
        "would_clip_high": high.float().mean(),
        "would_clip_low": low.float().mean(),
        "clip_force_high": (force * high).mean(),
        "clip_force_low": (force * low).mean(),
        "kl_old": (ratio * log_ratio - ratio + 1).mean(),
        "mean_prob": logp.exp().mean(),
        "token_entropy": entropy.mean(),
        "ratio_max": ratio.max(),
        **({} if top1_logp is None else {"top1_prob": top1_logp.exp().mean()}),
    }
    result: dict[str, float] = dict(zip(scalars, torch.stack(list(scalars.values())).tolist(), strict=True))
    result.update(zip(QUANTILES, quantiles.tolist(), strict=True))
    totals, highs, lows = counts.tolist()
    for i in range(n_bins):
        result[f"tokens_bin{i}"] = totals[i]
        if totals[i]:
            result[f"would_clip_high_bin{i}"] = highs[i] / totals[i]
            result[f"would_clip_low_bin{i}"] = lows[i] / totals[i]
    result["n_tokens"] = float(len(ratio))
    return result


def rollout_diagnostics(
    texts: Sequence[str], rewards: Sequence[float], n_tokens: Sequence[int], ended: Sequence[bool], group_size: int
) -> dict[str, float]:
    """Compute the figures of a whole rollout batch (all processes), logged with its first update.

    Args:
        texts: completions, group by group.
        rewards: one per text.
        n_tokens: completion lengths, in tokens.
        ended: whether the completion ended by itself within the limit.
        group_size: rollouts per prompt.
    """
    groups = [rewards[i : i + group_size] for i in range(0, len(rewards), group_size)]
    return {
        "reward_mean": fmean(rewards),
        "reward_group_std": fmean(pstdev(group) for group in groups),
        "zero_variance_share": fmean(float(min(group) == max(group)) for group in groups),
        "code_frequency": fmean(float(uses_code(text)) for text in texts),
        "box_rate": fmean(float(last_boxed(text) is not None) for text in texts),
        "completion_tokens": fmean(n_tokens),
        "ended_share": fmean(float(x) for x in ended),
    }
