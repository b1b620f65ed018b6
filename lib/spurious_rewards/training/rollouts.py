"""Sample the rollouts of groups with a Transformers model: one prefill per prompt; finished rollouts leave the batch.

`generate` reads each prompt `group_size` times and carries every rollout to the length of the longest. Here a prompt is
read once and its cache copied to the rollouts of its group, and a long beginning that all prompts share is read once
for all (`generation.shared_beginning`). Rollouts that have ended are dropped from the batch as soon as they are an
eighth of it; keys and values are written into a buffer that is allocated once, instead of being copied at every token.
What is sampled from is the same distribution: the model's own softmax at the run's temperature, whole. Tokens are drawn
by inverting the cumulative distribution at one uniform number per rollout, from torch's generator of the device, so a
run is reproducible and resumable as with `generate`, but its rollouts differ from those of `generate` at the same seed.
For tiny models on a CPU this makes a rollout batch about a sixth cheaper (`benchmarks/grpo_step.py`).

Usage: `sample(model, prompt_ids, max_new_tokens=64, temperature=1.0, eos=[3], pad=0)`; engine `shared_prefix` of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from spurious_rewards.generation.attention import use_grouped_attention
from spurious_rewards.generation.kv_cache import empty_cache
from spurious_rewards.generation.shared_beginning import after_beginning, can_share_beginning, n_alike
from spurious_rewards.generation.transformers_engine import sample_at

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DROP_SHARE = 8
"""Ended rollouts are dropped when they are at least one in so many: each drop copies the cache once."""


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    prompt_ids: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float,
    eos: Sequence[int],
    pad: int,
) -> list[list[int]]:
    """Sample one completion per entry of `prompt_ids`; equal entries share their prefill.

    Args:
        model: a causal LM with whole weights on this process.
        prompt_ids: token ids, one list per rollout.
        max_new_tokens: longest completion.
        temperature: of the softmax; above 0.
        eos: token ids that end a completion; it is part of the completion.
        pad: id of the padding token.

    Returns:
        Token ids of each completion, up to and with its first end token.

    Raises:
        FloatingPointError: the model's logits are not finite, so there is nothing to sample from.
    """
    use_grouped_attention(model)
    device = model.device
    distinct = {tuple(ids): None for ids in prompt_ids}
    position = {ids: i for i, ids in enumerate(distinct)}
    width = max(map(len, distinct))
    ids_P_T = torch.tensor([[pad] * (width - len(ids)) + list(ids) for ids in distinct], device=device)
    mask_P_T = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in distinct], device=device)
    ends = torch.tensor(list(eos), device=device)

    cache = empty_cache(model, width + max_new_tokens)
    n_shared = n_alike(ids_P_T, mask_P_T, width - 1) if can_share_beginning(model) else 0
    prompts = after_beginning(model.base_model, cache, ids_P_T, mask_P_T, n_shared)
    mask_P_T = prompts["attention_mask"]
    logits_P_V = model(**prompts, logits_to_keep=1).logits[:, -1]
    group_B = torch.tensor([position[tuple(ids)] for ids in prompt_ids], device=device)
    cache.batch_select_indices(group_B)
    mask_B_T, logits_B_V = mask_P_T[group_B], logits_P_V[group_B]
    rows_B = torch.arange(len(prompt_ids), device=device)
    ended_B = torch.zeros_like(rows_B, dtype=torch.bool)
    tokens = torch.full((len(prompt_ids), max_new_tokens), pad, device=device)

    for step in range(max_new_tokens):
        if not torch.isfinite(logits_B_V).all():
            raise FloatingPointError("the logits of the policy are not finite")
        u_B = torch.rand(len(rows_B), device=device, dtype=torch.float64)
        chosen_B_1 = sample_at((logits_B_V.float() / temperature).softmax(dim=-1), u_B)
        tokens[rows_B, step] = chosen_B_1.squeeze(1)
        ended_B = ended_B | torch.isin(chosen_B_1.squeeze(1), ends)
        n_ended = int(ended_B.sum())
        if n_ended == len(rows_B) or step == max_new_tokens - 1:
            break
        if n_ended * DROP_SHARE >= len(rows_B):
            going = (~ended_B).nonzero().squeeze(1)
            cache.batch_select_indices(going)
            rows_B, mask_B_T, chosen_B_1, ended_B = (x[going] for x in (rows_B, mask_B_T, chosen_B_1, ended_B))
        mask_B_T = torch.cat([mask_B_T, mask_B_T.new_ones((len(rows_B), 1))], dim=1)
        logits_B_V = model(
            input_ids=chosen_B_1,
            attention_mask=mask_B_T,
            past_key_values=cache,
            use_cache=True,
            position_ids=mask_B_T.sum(dim=1, keepdim=True) - 1,
        ).logits[:, -1]

    is_end = torch.isin(tokens, ends)
    first = torch.where(is_end.any(dim=1), is_end.int().argmax(dim=1) + 1, max_new_tokens).tolist()
    return [row[:n] for row, n in zip(tokens.tolist(), first, strict=True)]
