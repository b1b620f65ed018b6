"""Check, without loading weights, that every prompt and its longest answer fit the model's context.

Usage: `check_fit("organism", problems, load_tokenizer(model), max_new_tokens=96, context=context_length(model))`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spurious_rewards.data.problem import Problem
from spurious_rewards.errors import InputError
from spurious_rewards.generation.engine import check_request, encode
from spurious_rewards.models.prompts import render
from spurious_rewards.models.registry import load_config


def check_fit(
    style: str, problems: Sequence[Problem], tokenizer: Any, max_new_tokens: int, context: int | None
) -> None:
    """Raise `InputError` if a prompt cannot be rendered, is empty, or exceeds the context with its longest answer."""
    prompts = [render(style, problem.problem, tokenizer) for problem in problems]
    check_request(encode(tokenizer, prompts), [problem.id for problem in problems], max_new_tokens, context)


def fitting(
    style: str, problems: Sequence[Problem], tokenizer: Any, max_new_tokens: int, context: int | None
) -> list[Problem]:
    """Return the problems whose prompt and longest answer fit the context, in their order.

    Raises:
        InputError: none does, or a prompt cannot be rendered.
    """
    if context is None or not problems:
        return list(problems)
    lengths = [len(ids) for ids in encode(tokenizer, [render(style, p.problem, tokenizer) for p in problems])]
    kept = [p for p, length in zip(problems, lengths, strict=True) if length + max_new_tokens <= context]
    if not kept:
        raise InputError(
            f"None of the {len(problems)} prompts in style {style!r} leaves room for {max_new_tokens} tokens in the "
            f"model's context of {context}: lower max_new_tokens or use a shorter prompt style."
        )
    return kept


def context_length(model: str) -> int | None:
    """Find the most tokens that a model was made for (`max_position_embeddings`); None if it does not say.

    Raises:
        InputError: the configuration cannot be read.
    """
    return getattr(load_config(model), "max_position_embeddings", None)
