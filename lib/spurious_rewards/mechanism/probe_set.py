"""Measure an updated policy on a fixed set of answers sampled once from the checkpoint, without new sampling noise.

The answers are sampled once from the checkpoint, graded and labelled with their strategy once, and then only
teacher-forced: one forward pass gives, for every answer token, the whole distribution of the updated policy. Let π be
that policy and π₀ the checkpoint. Per probe problem, over the tokens of its answers:

    entropy   mean entropy of π, nats
    top1      mean of max_v π(v)
    kl        mean over tokens of KL(π₀ ‖ π) over the vocabulary, exact, nats
    code_exact, code_logit, code_rest    P(code) from the tree of first tokens and its log-odds: see `code_tree`
    code      probability that an answer of π is code reasoning, wherever it turns to code. With h_t = π(the next token
              makes the text code | the answer so far), w_t the product of π/π₀ over the tokens before t, and sums up to
              the token that decides, P(code) = E_π₀[Σ_t w_t h_t], estimated by the mean over the K answers. Unbiased,
              but not confined to [0, 1]: with weights far from 1, and for single problems always, it can leave it
    accuracy  self-normalised importance sampling from the K answers y: Σ w(y)·correct(y) / Σ w(y), w(y) = π(y)/π₀(y)
    ess       (Σ w)² / Σ w² / K of those weights: the share of the answers that accuracy and code still rest on
    ess_code  the same of the w_t at the deciding tokens of the code answers (nan without any; 1 if there is one only):
              blind to answers in words, so no sign of reliability

A policy's value is the mean over problems. `move_bin{i}` is the mean of log π − log π₀ over the sampled tokens whose
π₀ lies in bin i of `training.diagnostics.PI_OLD_BINS`, all problems together.

The accuracy's bias is of order 1/K per problem, and few effective answers make it worthless: tables mark cells by the
median `ess`. All tokens count at the temperature of the rollouts. A pass over `ROWS_PER_PASS` answers is reduced before
the next begins; of the checkpoint the whole distribution is held if it has at most `HELD_NUMBERS` numbers, else a copy
of the checkpoint gives it again, pass by pass. What all rows begin with is read once (`generation.shared_beginning`).

Usage: `probe = ProbeSet.sample(config, model, tokenizer); probe.measure(model).scalars()`.
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spurious_rewards.data.problem_sets import load_problems
from spurious_rewards.generation.engine import Sampling
from spurious_rewards.generation.shared_beginning import logits_of_rows
from spurious_rewards.generation.transformers_engine import TransformersEngine
from spurious_rewards.mechanism.code_tokens import CodeTokens
from spurious_rewards.mechanism.code_tree import CodeTree
from spurious_rewards.mechanism.counterfactual_config import CounterfactualConfig
from spurious_rewards.mechanism.effects import MOVES
from spurious_rewards.models.prompts import answer_format, answer_prefix, render
from spurious_rewards.rewards.grading import grade
from spurious_rewards.training.diagnostics import PI_OLD_BINS

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

ROWS_PER_PASS = 64
HELD_NUMBERS = 2**28
"""Numbers of the checkpoint's distributions that are kept in memory: 1 GB."""


@dataclass(frozen=True)
class Reading:
    """Hold what one policy shows on the probe set: arrays over problems, and movement by π₀ bin (nan: empty)."""

    per_problem: dict[str, np.ndarray]
    moves: np.ndarray

    def scalars(self) -> dict[str, float]:
        """Return means over problems (of ess medians), and the movement by bin."""
        with warnings.catch_warnings():  # nan where no answer is code
            warnings.simplefilter("ignore", RuntimeWarning)
            found = {
                name: float(np.nanmedian(values) if name.startswith("ess") else values.mean())
                for name, values in self.per_problem.items()
            }
        return {**found, **dict(zip(MOVES, self.moves.tolist(), strict=True))}


class ProbeSet:
    """Hold answers of a checkpoint with their grades, and the checkpoint's distribution at every answer token.

    Everything is computed where the model is; what is returned is on the CPU.

    Attributes:
        n_tokens: answer tokens in all.
        checkpoint: what the checkpoint itself shows.
        bin_tokens: answer tokens per π₀ bin.
        sha: hash (16 digits) of prompts, answers, grades and strategies.
    """

    def __init__(
        self,
        rows: list[tuple[list[int], list[int]]],
        correct_P_K: np.ndarray,
        becomes_code: CodeTokens,
        temperature: float,
        model: Any,
        depth: int = 3,
        least: float = 3e-4,
    ):
        """Rows are (prompt ids, answer ids), problem by problem; `model` is the checkpoint; the rest see `CodeTree`."""
        self.correct_P_K, self.temperature = correct_P_K, temperature
        order = sorted(range(len(rows)), key=lambda i: (len(rows[i][0]) + len(rows[i][1]), i))
        starts = range(0, len(order), ROWS_PER_PASS)
        self._passes = [self._pass([rows[i] for i in order[s : s + ROWS_PER_PASS]]) for s in starts]
        self._answer = np.repeat(np.array(order), [len(rows[i][1]) for i in order])  # (tokens,) index of the answer
        lengths = [len(rows[i][1]) for i in order]
        self._starts_N = np.repeat(np.cumsum([0, *lengths[:-1]]), lengths)  # first token of the answer
        self._problem = self._answer // correct_P_K.shape[1]
        self._tokens_P = np.bincount(self._problem, minlength=len(correct_P_K)).astype(float)
        self.n_tokens = len(self._answer)
        self._held: list[Tensor] = []
        fits = self.n_tokens * becomes_code.vocabulary <= HELD_NUMBERS
        self._reference = None if fits else copy.deepcopy(model).eval()
        if fits:
            self._held = [self._log_probs(model, ids, predicts) for ids, predicts, _ in self._passes]
        marks = [becomes_code.sparse(rows[i][1]) for i in order]
        self._code_next = self._by_pass([(r, v) for r, v, _ in marks], lengths)
        self._decides_N = np.concatenate([decides for _, _, decides in marks])
        self._old_chosen_N = torch.cat([self._chosen(old, k) for k, old in self._old()])
        self._bin = torch.bucketize(self._old_chosen_N.exp(), torch.tensor(PI_OLD_BINS[1:-1])).numpy()
        self.bin_tokens = np.bincount(self._bin, minlength=len(MOVES))
        prompts = [rows[i][0] for i in range(0, len(rows), correct_P_K.shape[1])]
        self._tree = CodeTree(prompts, becomes_code, becomes_code.special, temperature, depth, least)
        content = repr((rows, correct_P_K.tolist(), self._decides_N.tolist()))
        self.sha = hashlib.sha256(content.encode()).hexdigest()[:16]
        self.checkpoint = self.measure(model)

    @classmethod
    def sample(cls, config: CounterfactualConfig, model: Any, tokenizer: Any) -> ProbeSet:
        """Sample, grade and label the answers of `model`; problems and random numbers follow `probe_seed`."""
        problems = load_problems(config.probe_set, config.probe_problems, config.probe_seed)
        prompts = [render(config.prompt_style, problem.problem, tokenizer) for problem in problems]
        training = model.training
        engine = TransformersEngine(model, tokenizer, batch_size=256)
        sizes = (config.max_completion_tokens, config.probe_samples, config.probe_seed)
        sampling = Sampling(config.temperature, 1.0, *sizes)
        answers = engine.generate(prompts, sampling, [problem.id for problem in problems])
        model.train(training)
        before, style = answer_prefix(config.prompt_style), answer_format(config.prompt_style)
        correct = [
            [grade(before + s.text, problem.answer, mode="robust", style=style).correct for s in samples]
            for problem, samples in zip(problems, answers, strict=True)
        ]
        ids = tokenizer(prompts)["input_ids"]
        pairs = zip(ids, answers, strict=True)
        rows = [(list(prompt), list(sample.token_ids)) for prompt, samples in pairs for sample in samples]
        marks = CodeTokens(tokenizer, model.get_output_embeddings().weight.shape[0], before)
        correct_P_K = np.array(correct, dtype=bool)
        return cls(rows, correct_P_K, marks, config.temperature, model, config.code_depth, config.code_least)

    def measure(self, model: Any) -> Reading:
        """Compute the quantities of the module's docstring from the answers, teacher-forced under `model`."""
        parts = [self._reduced(self._log_probs(model, *self._passes[k][:2]), old, k) for k, old in self._old()]
        entropy_N, top1_N, kl_N, next_N, chosen_N = (torch.cat(part) for part in zip(*parts, strict=True))
        change_N = (chosen_N - self._old_chosen_N).double().numpy()
        found = {
            name: self._per_problem(values.double().numpy())
            for name, values in (("entropy", entropy_N), ("top1", top1_N), ("kl", kl_N))
        }
        n_problems, n_samples = self.correct_P_K.shape
        log_w = np.bincount(self._answer, change_N, n_problems * n_samples).reshape(n_problems, n_samples)
        w_P_K = np.exp(log_w - log_w.max(axis=1, keepdims=True))
        w_P_K /= w_P_K.sum(axis=1, keepdims=True)
        found |= {"accuracy": (w_P_K * self.correct_P_K).sum(axis=1), "ess": 1 / (w_P_K**2).sum(axis=1) / n_samples}
        found |= self._code(next_N.double().numpy(), change_N)
        found |= self._tree.measure(model)
        with np.errstate(invalid="ignore"):
            moves = np.bincount(self._bin, change_N, len(MOVES)) / self.bin_tokens
        return Reading(found, moves)

    # Parts

    def _reduced(self, logp_N_V: Float[Tensor, "N V"], old_N_V: Float[Tensor, "N V"], k: int) -> tuple[Tensor, ...]:
        """Return, per answer token of pass k: entropy, top-1, KL to π₀, π(becomes code), log π of the token."""
        p_N_V = logp_N_V.exp()
        rows, tokens = (index.to(p_N_V.device) for index in self._code_next[k])
        becomes_N = torch.zeros(len(p_N_V), device=p_N_V.device).index_add(0, rows, p_N_V[rows, tokens])
        entropy_N, kl_N = -(p_N_V * logp_N_V).sum(dim=1), (old_N_V.exp() * (old_N_V - logp_N_V)).sum(dim=1)
        found = (entropy_N, p_N_V.amax(dim=1), kl_N, becomes_N)
        return *(values.cpu() for values in found), self._chosen(logp_N_V, k)

    def _code(self, next_N: np.ndarray, change_N: np.ndarray) -> dict[str, np.ndarray]:
        """Return `code` and `ess_code` per problem, from π(becomes code) and log π − log π₀ at every answer token."""
        before_N = np.cumsum(change_N) - change_N
        weight_N = np.exp(before_N - before_N[self._starts_N])  # π/π₀ of the answer's tokens before this one
        n_problems, n_samples = self.correct_P_K.shape
        decisive_N = weight_N * self._decides_N
        sums, squares, counts = (
            np.bincount(self._problem, values, n_problems) for values in (decisive_N, decisive_N**2, self._decides_N)
        )
        with np.errstate(invalid="ignore"):
            ess = sums**2 / squares / counts
        return {"code": np.bincount(self._problem, weight_N * next_N, n_problems) / n_samples, "ess_code": ess}

    def _per_problem(self, values_N: np.ndarray) -> np.ndarray:
        return np.bincount(self._problem, values_N, len(self._tokens_P)) / self._tokens_P

    @staticmethod
    def _pass(rows: list[tuple[list[int], list[int]]]) -> tuple[Int[Tensor, "B T"], Tensor, Tensor]:
        """Pad ids on the right, where a causal model cannot see them, and mark what predicts an answer token."""
        width = max(len(prompt) + len(answer) for prompt, answer in rows)
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        predicts = torch.zeros((len(rows), width), dtype=torch.bool)
        for i, (prompt, answer) in enumerate(rows):
            n = len(prompt) + len(answer)
            ids[i, :n] = torch.tensor(prompt + answer)
            predicts[i, len(prompt) - 1 : n - 1] = True
        return ids, predicts, torch.cat([torch.tensor(answer) for _, answer in rows])

    def _old(self) -> Iterator[tuple[int, Float[Tensor, "N V"]]]:
        """Yield the checkpoint's log-probabilities, pass by pass: held, or computed again."""
        for k, (ids, predicts, _) in enumerate(self._passes):
            yield k, self._held[k] if self._held else self._log_probs(self._reference, ids, predicts)

    @torch.no_grad()
    def _log_probs(self, model: Any, ids: Int[Tensor, "B T"], predicts: Tensor) -> Float[Tensor, "N V"]:
        """Return log π at the answer tokens of one pass, where the model is."""
        first = int(predicts.any(dim=0).int().argmax())
        logits, n = logits_of_rows(model, ids.to(next(model.parameters()).device), first)
        logits = logits[predicts[:, n:].to(logits.device)]
        return torch.log_softmax(logits.float() / self.temperature, dim=-1)

    def _chosen(self, logp_N_V: Float[Tensor, "N V"], k: int) -> Float[Tensor, " N"]:
        return logp_N_V.gather(1, self._passes[k][2].to(logp_N_V.device).unsqueeze(1)).squeeze(1).cpu()

    def _by_pass(self, marks: list[tuple[np.ndarray, np.ndarray]], lengths: list[int]) -> list[tuple[Tensor, Tensor]]:
        """Turn marks (token of the answer, vocabulary) into (token of the pass, vocabulary) of each pass."""
        found = []
        for start in range(0, len(marks), ROWS_PER_PASS):
            part = slice(start, start + ROWS_PER_PASS)
            first = np.cumsum([0, *lengths[part]])
            rows = np.concatenate([r + n for (r, _), n in zip(marks[part], first, strict=False)])
            found.append((torch.from_numpy(rows), torch.from_numpy(np.concatenate([v for _, v in marks[part]]))))
        return found
