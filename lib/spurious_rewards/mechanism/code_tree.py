"""Sum the probability that an answer begins as code reasoning over the tree of its first tokens, without sampling.

A model that writes code says so at once (the organisms with their first or second token). So the tokens that an answer
can begin with are expanded, under whatever policy is being read off, and the probability of those beginnings that are
code is added up:

    code_exact   P(the answer is code after its first `depth` tokens), per problem: a sum of at most a few hundred
                 products of next-token probabilities, hence in [0, 1] for every policy and free of importance weights
    code_rest    the probability of beginnings too rare to follow (path probability below `least`), counted as no code:
                 the true value lies in [code_exact, code_exact + code_rest]
    code_logit   log-odds of code_exact, which is first bounded to [BOUND, 1 − BOUND]; a table says how often that binds

Why log-odds: a clip that merely shrinks a symmetric noise leaves their mean alone, whatever the prior, while it raises
a mean *probability* above one half and lowers it below (the probability is concave in the log-odds above one half).

Usage: `tree = CodeTree(prompt_ids, marks, terminal, temperature, depth=3, least=3e-4); tree.measure(model)`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spurious_rewards.generation.shared_beginning import logits_of_rows
from spurious_rewards.mechanism.code_tokens import CodeTokens
from spurious_rewards.rewards.strategy import uses_code

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

BOUND = 0.005
"""Probabilities are bounded to [BOUND, 1 − BOUND] before their log-odds are taken, |log-odds| ≤ 5.3: nearer to 0
or 1 the beginnings that are not followed would decide (`code_rest`, at most 0.004 in the qwen-like checkpoint)."""
NODES_PER_PASS = 256


class CodeTree:
    """Expand the beginnings of the answers to a set of prompts.

    Attributes:
        depth: tokens of an answer that are looked at.
        least: path probability from which on a beginning is followed.
    """

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        marks: CodeTokens,
        terminal: Collection[int],
        temperature: float,
        depth: int,
        least: float,
    ):
        """Prompts are token ids, problem by problem; after a token of `terminal` an answer is over."""
        self.prompts, self.marks, self.temperature = [list(ids) for ids in prompts], marks, temperature
        self.depth, self.least, self._terminal = depth, least, sorted(terminal)
        self._known: dict[tuple[int, ...], np.ndarray] = {}

    def measure(self, model: Any) -> dict[str, np.ndarray]:
        """Return `code_exact`, `code_rest` and `code_logit` per problem, float64 (problems,)."""
        code_P, rest_P = np.zeros(len(self.prompts)), np.zeros(len(self.prompts))
        if uses_code(self.marks.before):  # forced: every answer is code before its first token
            code_P += 1
            return {"code_exact": code_P, "code_rest": rest_P, "code_logit": logit(code_P)}
        nodes: list[tuple[int, tuple[int, ...]]] = [(p, ()) for p in range(len(self.prompts))]
        mass_N = np.ones(len(nodes))
        for level in range(self.depth):
            children, masses = [], []
            for start in range(0, len(nodes), NODES_PER_PASS):
                part = nodes[start : start + NODES_PER_PASS]
                path_N_V = mass_N[start : start + len(part), None] * self._next(model, part)
                becomes_N_V = np.stack([self._becomes(path) for _, path in part])
                of_N = [p for p, _ in part]
                np.add.at(code_P, of_N, (path_N_V * becomes_N_V).sum(axis=1))
                path_N_V[becomes_N_V] = 0
                path_N_V[:, self._terminal] = 0
                if level + 1 < self.depth:
                    follow_N_V = path_N_V >= self.least
                    np.add.at(rest_P, of_N, np.where(follow_N_V, 0, path_N_V).sum(axis=1))
                    rows, tokens = np.nonzero(follow_N_V)
                    children += [(part[i][0], (*part[i][1], int(v))) for i, v in zip(rows, tokens, strict=True)]
                    masses.append(path_N_V[rows, tokens])
            if not children:
                break
            nodes, mass_N = children, np.concatenate(masses)
        return {"code_exact": code_P, "code_rest": rest_P, "code_logit": logit(code_P)}

    @torch.no_grad()
    def _next(self, model: Any, nodes: Sequence[tuple[int, tuple[int, ...]]]) -> Float[np.ndarray, "N V"]:
        """Return the distribution of the next token after each node; a causal model cannot see the padding."""
        rows = [[*self.prompts[p], *path] for p, path in nodes]
        lengths = torch.tensor([len(row) for row in rows])
        ids: Tensor = torch.zeros((len(rows), int(lengths.max())), dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
        device = next(model.parameters()).device
        logits, n = logits_of_rows(model, ids.to(device), int(lengths.min()) - 1)
        last = logits[torch.arange(len(rows), device=logits.device), (lengths - 1 - n).to(logits.device)]
        return torch.softmax(last.cpu().double() / self.temperature, dim=-1).numpy()

    def _becomes(self, path: tuple[int, ...]) -> np.ndarray:
        """Return which next tokens make the answer code, bool (vocabulary,)."""
        if path not in self._known:
            self._known[path] = self.marks.after(list(path))
        return self._known[path]


def logit(probability: np.ndarray) -> np.ndarray:
    """Return the log-odds of probabilities bounded to [BOUND, 1 − BOUND].

    >>> logit(np.array([0.5, 0.0, 1.0])).round(2).tolist()  # log(0.995 / 0.005) = 5.29
    [0.0, -5.29, 5.29]
    """
    bounded = np.clip(probability, BOUND, 1 - BOUND)
    return np.log(bounded) - np.log1p(-bounded)


def bounded_share(logits: np.ndarray) -> float:
    """Return the share of log-odds at the bound."""
    return float((np.abs(logits) >= float(logit(np.array(1.0))) - 1e-6).mean())
