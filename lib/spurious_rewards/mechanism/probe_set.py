"""A fixed set of answers of the checkpoint, on which an updated policy is read off without sampling noise.

The answers are sampled once from the checkpoint, graded and labelled with their strategy once, and then only
teacher-forced: one forward pass gives, for every answer token, the whole distribution of the updated policy. Let π be
that policy and π₀ the checkpoint. Per probe problem, over the tokens of its answers:

    entropy   mean entropy of π, nats
    top1      mean of max_v π(v)
    kl        mean over tokens of KL(π₀ ‖ π) over the vocabulary, exact, nats
    code      probability that an answer of π is code reasoning. With h_t = π(the next token makes the text code | the
              answer so far), w_t the product of π/π₀ over the tokens before t, and sums up to the token that decides,
              P(code) = E_π₀[Σ_t w_t h_t], estimated by the mean over the K answers: unbiased, and nearly free of the
              noise of later tokens, since models that write code begin with it (w₁ = 1)
    accuracy  self-normalised importance sampling from the K answers y: Σ w(y)·correct(y) / Σ w(y), w(y) = π(y)/π₀(y)
    ess       (Σ w)² / Σ w² / K of those weights: the share of the answers that the accuracy still rests on
    ess_code  the same of the w_t at the deciding tokens of the code answers (nan without any; 1 if there is one only)

A policy's value is the mean over problems. `move_bin{i}` is the mean of log π − log π₀ over the sampled tokens whose
π₀ lies in bin i of `training.diagnostics.PI_OLD_BINS`, all problems together.

The accuracy's bias is of order 1/K per problem, and few effective answers make it worthless: tables mark cells by the
median `ess`. All tokens count at the temperature of the rollouts. The whole vocabulary is held for every answer token,
which suits the small vocabularies of the organisms.

Usage: `probe = ProbeSet.sample(config, model, tokenizer); probe.measure(model).scalars()`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spurious_rewards.data.problem_sets import load_problems
from spurious_rewards.generation.engine import Sampling
from spurious_rewards.generation.transformers_engine import TransformersEngine
from spurious_rewards.mechanism.counterfactual_config import CounterfactualConfig
from spurious_rewards.models.prompts import answer_format, answer_prefix, render
from spurious_rewards.rewards.grading import grade
from spurious_rewards.rewards.strategy import uses_code
from spurious_rewards.training.diagnostics import PI_OLD_BINS

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

ROWS_PER_PASS = 64
TAIL = 16
"""Characters of a text that, with the next token, decide whether it becomes code; the detector's word has six."""
MOVES = tuple(f"move_bin{i}" for i in range(len(PI_OLD_BINS) - 1))


@dataclass(frozen=True)
class Reading:
    """What one policy shows on the probe set: arrays over problems, and the movement by π₀ bin (nan: empty bin)."""

    per_problem: dict[str, np.ndarray]
    moves: np.ndarray

    def scalars(self) -> dict[str, float]:
        """Means over problems (of ess medians), and the movement by bin."""
        found = {name: float(np.nanmedian(values) if name.startswith("ess") else values.mean())
                 for name, values in self.per_problem.items()}
        return {**found, **dict(zip(MOVES, self.moves.tolist(), strict=True))}


class ProbeSet:
    """Answers of a checkpoint with their grades, and the checkpoint's distribution at every answer token.

    Attributes:
        n_tokens: answer tokens in all.
        checkpoint: what the checkpoint itself shows.
        bin_tokens: answer tokens per π₀ bin.
        sha: hash (16 digits) of prompts, answers, grades and strategies.
    """

    def __init__(self, rows: list[tuple[list[int], list[int]]], correct_P_K: np.ndarray, becomes_code: CodeTokens,
                 temperature: float, model: Any):
        """Rows are (prompt ids, answer ids), problem by problem; `model` is the checkpoint."""
        self.correct_P_K, self.temperature = correct_P_K, temperature
        order = sorted(range(len(rows)), key=lambda i: (len(rows[i][0]) + len(rows[i][1]), i))
        self._passes = [self._pass([rows[i] for i in order[s:s + ROWS_PER_PASS]])
                        for s in range(0, len(order), ROWS_PER_PASS)]
        self._answer = np.repeat(np.array(order), [len(rows[i][1]) for i in order])  # (tokens,) index of the answer
        self._starts_N = np.concatenate([np.full(len(rows[i][1]), n) for i, n in zip(
            order, np.cumsum([0, *(len(rows[i][1]) for i in order[:-1])]), strict=True)])  # first token of the answer
        self._problem = self._answer // correct_P_K.shape[1]
        self._tokens_P = np.bincount(self._problem, minlength=len(correct_P_K)).astype(float)
        self.n_tokens = len(self._answer)
        self._old_logp_N_V = self._log_probs(model)
        self._old_p_N_V = self._old_logp_N_V.exp()
        self._old_chosen_N = self._chosen(self._old_logp_N_V)
        self._bin = torch.bucketize(self._old_chosen_N.exp(), torch.tensor(PI_OLD_BINS[1:-1])).numpy()
        self.bin_tokens = np.bincount(self._bin, minlength=len(MOVES))
        marks = [becomes_code(rows[i][1]) for i in order]
        self._code_next_N_V = torch.from_numpy(np.concatenate([m for m, _ in marks]))
        self._decides_N = np.concatenate([decides for _, decides in marks])
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
        sampling = Sampling(config.temperature, 1.0, config.max_completion_tokens, config.probe_samples,
                            config.probe_seed)
        answers = engine.generate(prompts, sampling, [problem.id for problem in problems])
        model.train(training)
        before, style = answer_prefix(config.prompt_style), answer_format(config.prompt_style)
        correct = [[grade(before + s.text, problem.answer, mode="robust", style=style).correct for s in samples]
                   for problem, samples in zip(problems, answers, strict=True)]
        ids = tokenizer(prompts)["input_ids"]
        rows = [(list(prompt), list(s.token_ids)) for prompt, samples in zip(ids, answers, strict=True)
                for s in samples]
        vocabulary = model.get_output_embeddings().weight.shape[0]
        return cls(rows, np.array(correct, dtype=bool), CodeTokens(tokenizer, vocabulary, before), config.temperature,
                   model)

    def measure(self, model: Any) -> Reading:
        """Teacher-force the answers under `model` and reduce to the quantities of the module's docstring."""
        logp_N_V = self._log_probs(model)
        p_N_V = logp_N_V.exp()
        change_N = (self._chosen(logp_N_V) - self._old_chosen_N).double().numpy()
        by_token = {"entropy": -(p_N_V * logp_N_V).sum(dim=1), "top1": p_N_V.amax(dim=1),
                    "kl": (self._old_p_N_V * (self._old_logp_N_V - logp_N_V)).sum(dim=1)}
        found = {name: self._per_problem(values.double().numpy()) for name, values in by_token.items()}
        n_problems, n_samples = self.correct_P_K.shape
        log_w = np.bincount(self._answer, change_N, n_problems * n_samples).reshape(n_problems, n_samples)
        w_P_K = np.exp(log_w - log_w.max(axis=1, keepdims=True))
        w_P_K /= w_P_K.sum(axis=1, keepdims=True)
        found |= {"accuracy": (w_P_K * self.correct_P_K).sum(axis=1), "ess": 1 / (w_P_K**2).sum(axis=1) / n_samples}
        found |= self._code(p_N_V, change_N)
        with np.errstate(invalid="ignore"):
            moves = np.bincount(self._bin, change_N, len(MOVES)) / self.bin_tokens
        return Reading(found, moves)

    # Parts

    def _code(self, p_N_V: Float[Tensor, "N V"], change_N: np.ndarray) -> dict[str, np.ndarray]:
        """`code` and `ess_code` per problem."""
        before_N = np.cumsum(change_N) - change_N
        weight_N = np.exp(before_N - before_N[self._starts_N])  # π/π₀ of the answer's tokens before this one
        next_N = (p_N_V * self._code_next_N_V).sum(dim=1).double().numpy()
        n_problems, n_samples = self.correct_P_K.shape
        decisive_N = weight_N * self._decides_N
        sums, squares, counts = (np.bincount(self._problem, values, n_problems)
                                 for values in (decisive_N, decisive_N**2, self._decides_N))
        with np.errstate(invalid="ignore"):
            ess = sums**2 / squares / counts
        return {"code": np.bincount(self._problem, weight_N * next_N, n_problems) / n_samples, "ess_code": ess}

    def _per_problem(self, values_N: np.ndarray) -> np.ndarray:
        return np.bincount(self._problem, values_N, len(self._tokens_P)) / self._tokens_P

    @staticmethod
    def _pass(rows: list[tuple[list[int], list[int]]]) -> tuple[Int[Tensor, "B T"], Tensor, Tensor]:
        """Ids padded on the right, where a causal model cannot see them; positions that predict an answer token."""
        width = max(len(prompt) + len(answer) for prompt, answer in rows)
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        predicts = torch.zeros((len(rows), width), dtype=torch.bool)
        for i, (prompt, answer) in enumerate(rows):
            n = len(prompt) + len(answer)
            ids[i, :n] = torch.tensor(prompt + answer)
            predicts[i, len(prompt) - 1:n - 1] = True
        return ids, predicts, torch.cat([torch.tensor(answer) for _, answer in rows])

    @torch.no_grad()
    def _log_probs(self, model: Any) -> Float[Tensor, "N V"]:
        """log π at every answer token, in the order of the passes."""
        return torch.cat([torch.log_softmax(model(input_ids=ids, use_cache=False).logits[predicts].float()
                                            / self.temperature, dim=-1) for ids, predicts, _ in self._passes])

    def _chosen(self, logp_N_V: Float[Tensor, "N V"]) -> Float[Tensor, " N"]:
        targets = torch.cat([answer for _, _, answer in self._passes])
        return logp_N_V.gather(1, targets.unsqueeze(1)).squeeze(1)


class CodeTokens:
    """Which next tokens turn an answer into code reasoning, by the detector that the project uses throughout.

    Args:
        tokenizer: of the model.
        vocabulary: width of the model's output.
        before: what every answer begins with, beside its tokens.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, before: str):
        self.tokenizer, self.before, self.vocabulary = tokenizer, before, vocabulary
        special = set(tokenizer.all_special_ids)
        self.texts = ["" if i in special or i >= len(tokenizer) else tokenizer.decode([i]) for i in range(vocabulary)]
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, answer: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """For each token of the answer: (which tokens in its place would make the text code, whether it did itself).

        Shapes (tokens, vocabulary) and (tokens,), bool; nothing after the text has become code.
        """
        marks = np.zeros((len(answer), self.vocabulary), dtype=bool)
        decides = np.zeros(len(answer), dtype=bool)
        for t in range(len(answer)):
            text = self.before + self.tokenizer.decode(answer[:t], skip_special_tokens=True)
            if uses_code(text):
                break
            marks[t] = self._completing(text[-TAIL:])
            decides[t] = uses_code(self.before + self.tokenizer.decode(answer[:t + 1], skip_special_tokens=True))
        return marks, decides

    def _completing(self, tail: str) -> np.ndarray:
        if tail not in self._known:
            self._known[tail] = np.array([uses_code(tail + text) for text in self.texts])
        return self._known[tail]
