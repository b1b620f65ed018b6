"""Make the rows that TRL trains on: one long, shuffled epoch of prompts, so that a resumed run goes on in place.

TRL's sampler restarts at the order of epoch 0 when a run is resumed in a later epoch; with one epoch that is exactly
as long as the run, nothing depends on it. No rollout batch holds a problem twice unless there are too few problems;
then `occurrence` counts the repetitions, so that reward draws differ.

Usage: `training_rows(within_limit(problems, config, tokenizer), config)`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spurious_rewards.data.problem import Problem
from spurious_rewards.errors import InputError
from spurious_rewards.models.prompts import render
from spurious_rewards.training.config import RunConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def batch_order(n_problems: int, prompts_per_batch: int, rollout_batches: int, seed: int) -> np.ndarray:
    """Return problem indices, (rollout_batches, prompts_per_batch): seeded permutations in whole batches.

    The tail of a permutation that does not fill a batch is left out and comes back in the next permutation.
    """
    rng = np.random.default_rng(seed)
    batches: list[np.ndarray] = []
    while len(batches) < rollout_batches:
        order = rng.permutation(n_problems)
        while len(order) < prompts_per_batch:
            order = np.concatenate([order, rng.permutation(n_problems)])
        usable = len(order) // prompts_per_batch * prompts_per_batch
        batches.extend(order[:usable].reshape(-1, prompts_per_batch))
    return np.stack(batches[:rollout_batches])


def within_limit(
    problems: Sequence[Problem], config: RunConfig, tokenizer: PreTrainedTokenizerBase
) -> list[tuple[Problem, str]]:
    """Return the problems whose rendered prompt has at most `max_prompt_tokens` tokens, each with that prompt.

    Raises:
        InputError: no problem is left.
    """
    rendered = [render(config.prompt_style, problem.problem, tokenizer) for problem in problems]
    lengths = [len(ids) for ids in tokenizer(rendered)["input_ids"]] if rendered else []
    kept = [
        (problem, text)
        for problem, text, length in zip(problems, rendered, lengths, strict=True)
        if length <= config.max_prompt_tokens
    ]
    if not kept:
        raise InputError(
            f"Every one of the {len(problems)} prompts is longer than max_prompt_tokens "
            f"{config.max_prompt_tokens}"
            + (f" (shortest: {min(lengths)})" if lengths else "")
            + "; raise the limit or choose another train_set."
        )
    return kept


def training_rows(kept: Sequence[tuple[Problem, str]], config: RunConfig) -> list[dict[str, Any]]:
    """Return a row per prompt of every rollout batch, in order: prompt, prompt_id, answer, rollout_batch, occurrence.

    Args:
        kept: problems with their prompts, as `within_limit` gives them.
        config: the run.
    """
    rows: list[dict[str, Any]] = []
    order = batch_order(len(kept), config.prompts_per_batch, config.rollout_batches, config.seed)
    for rollout_batch, indices in enumerate(order):
        seen: Counter[int] = Counter()
        for index in indices.tolist():
            problem, prompt = kept[index]
            row = {"prompt": prompt, "prompt_id": problem.id, "answer": problem.answer}
            rows.append(row | {"rollout_batch": rollout_batch, "occurrence": seen[index]})
            seen[index] += 1
    return rows
