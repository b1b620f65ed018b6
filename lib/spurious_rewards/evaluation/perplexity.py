"""Measure how surprising texts are to a model: perplexity of problems, of reference answers, of its own answers.

Training on a spurious reward is reported to make a model surer of its answers and less sure of the problems
(arXiv 2601.11061); these are the numbers for that comparison, before and after.

Usage: `perplexity(model, tokenizer, ["What is 1 + 1?"])`; with contexts, only the texts behind them are scored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from spurious_rewards.errors import InputError
from spurious_rewards.generation.engine import encode


@torch.no_grad()
def perplexity(
    model: Any, tokenizer: Any, texts: Sequence[str], contexts: Sequence[str] | None = None, batch_size: int = 32
) -> float:
    """Compute exp(mean negative log-probability per token) of `texts`, all tokens of all texts counted alike.

    Args:
        model: a causal language model.
        tokenizer: of the model.
        texts: what is scored. Without contexts the first token of each is not, because nothing stands before it.
        contexts: what stands before each text (a rendered prompt), if anything does.
        batch_size: texts scored together.

    Raises:
        InputError: the texts have no token that could be scored.
    """
    texts_ids = [tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] for text in texts]
    before = encode(tokenizer, contexts) if contexts is not None else [ids[:1] for ids in texts_ids]
    scored = texts_ids if contexts is not None else [ids[1:] for ids in texts_ids]
    rows = sorted(zip(before, scored, strict=True), key=lambda row: -len(row[0]) - len(row[1]))
    total, n = 0.0, sum(map(len, scored))
    if not n:
        raise InputError("There is no token to score: every text is empty.")
    for start in range(0, len(rows), batch_size):
        total += _log_probability(model, rows[start : start + batch_size])
    return math.exp(-total / n)


def _log_probability(model: Any, rows: Sequence[tuple[list[int], list[int]]]) -> float:
    """Sum of the log-probabilities of the second parts, each behind its first part."""
    width = max(len(first) + len(second) for first, second in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask, wanted = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    for i, (first, second) in enumerate(rows):
        end = len(first) + len(second)
        ids[i, :end], mask[i, :end], wanted[i, len(first) : end] = torch.tensor(first + second), 1, True
    ids, mask, wanted = (x.to(model.device) for x in (ids, mask, wanted))
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    logits, chosen = logits[wanted[:, 1:]].float(), ids[:, 1:][wanted[:, 1:]]
    return -float(torch.nn.functional.cross_entropy(logits, chosen, reduction="sum"))
