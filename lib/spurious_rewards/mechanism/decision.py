"""Measure over how many tokens a model spreads its choice of strategy: where it decides, and among how many tokens.

Let v(y_≤t) be the probability that an answer which begins with y_≤t becomes code. v is a martingale over the tokens of
an answer, from P(code) before the first token to 0 or 1, so the variance P(code)(1 − P(code)) of the choice is the sum
of what each token contributes. Under whatever policy, without sampling, from the tree of first tokens (`code_tree`):

    code                P(code), mean over problems
    first_token         share of the choice's variance that the first token carries, ratio of sums over problems
    openings            e^entropy of the first token: over how many equally likely tokens it is spread, mean
    likeliest           probability of the likeliest first token, mean
    likeliest_code      probability of the likeliest first token after which code is likelier than not, mean

The account of the clip is about likely *tokens*: a choice made by one token of probability 0.65 meets it, the same
choice spread over fourteen openings does not.

Usage: `decision_table(["qwen-like", "one-token"])`; `python -m spurious_rewards.mechanism decision --out results`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from spurious_rewards.data.problem_sets import load_problems
from spurious_rewards.mechanism.code_tokens import CodeTokens
from spurious_rewards.mechanism.code_tree import CodeTree
from spurious_rewards.models.prompts import answer_prefix, render
from spurious_rewards.models.registry import load, resolve
from spurious_rewards.workflow.progress import PATIENCE_SECONDS

LEAST = 1e-3
"""Probability from which on a first token is followed."""
MODELS = ("qwen-like", "one-token")


def decision_table(models: Sequence[str] = MODELS, n_problems: int = 200) -> pd.DataFrame:
    """Measure every model on the same problems of `synthetic_test`, a row each.

    Args:
        models: registry names or folders.
        n_problems: problems, drawn with seed 0.

    Raises:
        InputError: unknown model, or an organism that has not been built.
    """
    rows = []
    for name in tqdm(models, unit="model", delay=PATIENCE_SECONDS):
        style = "organism" if resolve(name).kind == "organism" else "simplerl"
        model, tokenizer = load(name)
        texts = [render(style, p.problem, tokenizer) for p in load_problems("synthetic_test", n_problems, 0)]
        rows.append({"model": name, **decision_row(model, tokenizer, texts, answer_prefix(style))})
    return pd.DataFrame(rows)


def decision_row(
    model: Any, tokenizer: Any, prompts: Sequence[str], before: str = "", depth: int = 2
) -> dict[str, Any]:
    """Measure one model: the columns of the module's docstring, with `n_problems` and `unexpanded` probability.

    Args:
        model: a causal language model.
        tokenizer: of the model.
        prompts: texts, problem by problem.
        before: text that every answer begins with.
        depth: first tokens of an answer within which code is decided.
    """
    marks = CodeTokens(tokenizer, model.get_output_embeddings().weight.shape[0], before)
    ids = [list(row) for row in tokenizer(list(prompts))["input_ids"]]
    first_P_V = _first(model, ids)
    followed_P_V = first_P_V >= LEAST
    value_P_V = _values(model, marks, ids, followed_P_V, depth)
    prior_P = (first_P_V * value_P_V).sum(axis=1)
    carried_P = (first_P_V * followed_P_V * (value_P_V - prior_P[:, None]) ** 2).sum(axis=1)
    whole = (prior_P * (1 - prior_P)).sum()
    logs_P_V = np.log(np.where(first_P_V > 0, first_P_V, 1))
    return {
        "n_problems": len(ids),
        "code": float(prior_P.mean()),
        "first_token": float(carried_P.sum() / whole) if whole > 0 else float("nan"),
        "openings": float(np.exp(-(first_P_V * logs_P_V).sum(axis=1)).mean()),
        "likeliest": float(first_P_V.max(axis=1).mean()),
        "likeliest_code": float((first_P_V * (value_P_V > 0.5)).max(axis=1).mean()),
        "unexpanded": float(1 - (first_P_V * followed_P_V).sum(axis=1).mean()),
    }


@torch.no_grad()
def _first(model: Any, prompts: Sequence[Sequence[int]]) -> np.ndarray:
    """Return the distribution of the first answer token after each prompt, float64 (problems, vocabulary)."""
    device = next(model.parameters()).device
    found = [model(input_ids=torch.tensor([ids], device=device)).logits[0, -1] for ids in prompts]
    return torch.stack(found).double().softmax(-1).cpu().numpy()


def _values(
    model: Any, marks: CodeTokens, prompts: Sequence[list[int]], followed_P_V: np.ndarray, depth: int
) -> np.ndarray:
    """Return the probability of code after each prompt and first token, 0 where that is not followed, (P, V)."""
    value_P_V = np.where(followed_P_V, marks.after([])[None, :], 0.0)
    for token in np.flatnonzero(followed_P_V.any(axis=0)):
        if depth < 2 or marks.after([])[token] or token in marks.special:
            continue
        problems = np.flatnonzero(followed_P_V[:, token]).tolist()
        begun = _Begun(marks, int(token))
        tree = CodeTree([[*prompts[p], int(token)] for p in problems], begun, marks.special, 1.0, depth - 1, LEAST)
        value_P_V[problems, token] = tree.measure(model)["code_exact"]
    return value_P_V


class _Begun:
    """Mark the tokens that turn a text into code after its first token."""

    def __init__(self, marks: CodeTokens, token: int):
        self.marks, self.token, self.before = marks, token, marks.before

    def after(self, answer: list[int]) -> np.ndarray:
        """Return which next tokens make the beginning code, bool (vocabulary,)."""
        return self.marks.after([self.token, *answer])
