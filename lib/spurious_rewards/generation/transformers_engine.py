"""Generate with `model.generate` of Transformers: left-padded batches, our own choice of the next token.

`generate` runs its plain greedy loop; one logits processor decides each token and leaves it as the only candidate.
That gives two things `do_sample=True` cannot:

- A sample does not depend on its batch. Token t of a sample is drawn by inverting the cumulative distribution at one
  uniform number, which is a hash of (seed, problem key, sample index) mixed with t: a counter, no generator state, no
  Python work per row. (`torch.multinomial` draws from one stream for the whole batch.)
- The log-probability of the chosen token is read off the very logits it was chosen from; no step's logits are kept.

The model's own `generation_config` (repetition penalty, top-k, … that some hub models ship) is put aside while
generating, except for its end-of-sequence tokens: decoding is what `Sampling` says.

Models under five million parameters run on one intra-op thread: two threads that compete for a core are 10 to 40 times
slower at that size.

Continuous batching (`model.generate_batch`), which fills the place of a finished row at once, is not used: measured
on two CPU cores it is 50 times slower than this for tiny models and no faster for SmolLM2. Sorting by prompt length
keeps the padding small; where rows of very different length should not wait for one another there is engine `vllm`,
whose batching is continuous.

Usage: `TransformersEngine(model, tokenizer, batch_size=256).generate(prompts, Sampling(temperature=1.0), keys)`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import transformers
from tqdm import tqdm
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from spurious_rewards.errors import InputError
from spurious_rewards.generation.attention import use_grouped_attention
from spurious_rewards.generation.engine import (
    Sample,
    Sampling,
    check_engine_name,
    check_request,
    encode,
    end_of_sequence,
)
from spurious_rewards.generation.kv_cache import empty_cache
from spurious_rewards.generation.memory import check_memory
from spurious_rewards.generation.shared_beginning import beginning_first, can_share_beginning, n_alike, read_beginning

TINY_PARAMETERS = 5_000_000


def from_model_name(model: str, batch_size: int, dtype: str, batch_invariant: bool = False) -> TransformersEngine:
    """Load a registry name or a folder, on a GPU if there is one.

    Raises:
        InputError: unknown or damaged model, or batch invariance asked for.
    """
    from spurious_rewards.models.registry import load

    check_engine_name("transformers", batch_invariant)
    loaded, tokenizer = load(model, dtype=dtype)
    return TransformersEngine(loaded.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer, batch_size)


class TransformersEngine:
    """Generate in batches with a loaded Transformers causal LM; `batch_size` counts samples, not prompts."""

    def __init__(self, model: PreTrainedModel, tokenizer: Any, batch_size: int = 32) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, but it is {batch_size}.")
        self.model = model.eval()
        use_grouped_attention(self.model)
        self.shares = can_share_beginning(self.model)
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.tiny = sum(p.numel() for p in model.parameters()) < TINY_PARAMETERS
        self.eos = end_of_sequence(tokenizer, model.generation_config.eos_token_id)
        self.pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.eos[0]

    def prompt_lengths(self, prompts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each prompt."""
        return [len(ids) for ids in encode(self.tokenizer, prompts)]

    def describe(self) -> dict[str, Any]:
        """Describe engine, version, dtype, device and batch settings."""
        return {
            "engine": "transformers",
            "engine_version": transformers.__version__,
            "torch": torch.__version__,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": str(self.model.device),
            "batch_size": self.batch_size,
            "attention": self.model.config._attn_implementation,
            "threads": 1 if self.tiny else torch.get_num_threads(),
            "eos_token_ids": self.eos,
        }

    def generate(
        self, prompts: Sequence[str], sampling: Sampling, keys: Sequence[str], bar: tqdm | None = None
    ) -> list[list[Sample]]:
        """Generate `n_samples` samples per prompt, in the order of the prompts; see `Engine.generate`."""
        prompt_ids = encode(self.tokenizer, prompts)
        check_request(
            prompt_ids, keys, sampling.max_new_tokens, getattr(self.model.config, "max_position_embeddings", None)
        )
        rows = [(p, s) for p in range(len(prompts)) for s in range(sampling.n_samples)]
        rows.sort(key=lambda row: -len(prompt_ids[row[0]]))  # longest first: little padding, memory trouble at once
        done: dict[tuple[int, int], Sample] = {}
        if rows:
            together = min(self.batch_size, len(rows))
            check_memory(self.model, together, len(prompt_ids[rows[0][0]]), sampling.max_new_tokens)
        with _threads(1 if self.tiny else None), _plain_generation_config(self.model, self.eos, self.pad):
            for start in range(0, len(rows), self.batch_size):
                batch = rows[start : start + self.batch_size]
                row_keys = [row_key(sampling.seed, keys[p], s) for p, s in batch]
                samples = self._generate_batch([prompt_ids[p] for p, _ in batch], sampling, row_keys)
                done |= dict(zip(batch, samples, strict=True))
                if bar is not None:
                    bar.update(len(batch))
        return [[done[p, s] for s in range(sampling.n_samples)] for p in range(len(prompts))]

    def _generate_batch(self, ids: list[list[int]], sampling: Sampling, row_keys: list[int]) -> list[Sample]:
        width = max(map(len, ids))
        input_B_T = torch.full((len(ids), width), self.pad, dtype=torch.long)
        mask_B_T = torch.zeros_like(input_B_T)
        for i, row in enumerate(ids):
            input_B_T[i, width - len(row) :] = torch.tensor(row)
            mask_B_T[i, width - len(row) :] = 1
        chooser = TokenChooser(np.array(row_keys, dtype=np.uint64), sampling.temperature, sampling.top_p)
        device = self.model.device
        input_B_T, mask_B_T = input_B_T.to(device), mask_B_T.to(device)
        cache = empty_cache(self.model, width + sampling.max_new_tokens)
        n_shared = n_alike(input_B_T, mask_B_T, width - 1) if self.shares else 0
        try:
            if n_shared:
                input_B_T, mask_B_T = beginning_first(input_B_T, mask_B_T, n_shared)
                with torch.no_grad():
                    read_beginning(self.model.base_model, cache, input_B_T, n_shared)
            generate: Any = self.model.generate
            output_B_T = generate(
                input_B_T, attention_mask=mask_B_T, do_sample=False, past_key_values=cache,
                max_new_tokens=sampling.max_new_tokens, logits_processor=LogitsProcessorList([chooser]),
            )  # fmt: skip
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"The device ran out of memory with batch_size={self.batch_size}: use a smaller one."
            ) from error
        completion_B_T = output_B_T[:, width:].cpu().numpy()
        logprobs_B_T = torch.stack(chooser.logprobs, dim=1).cpu().numpy()
        ended_B_T = np.isin(completion_B_T, self.eos)
        lengths_B = np.where(ended_B_T.any(axis=1), ended_B_T.argmax(axis=1) + 1, completion_B_T.shape[1])
        token_ids = [row[:n].tolist() for row, n in zip(completion_B_T, lengths_B, strict=True)]
        texts = self.tokenizer.batch_decode(token_ids, skip_special_tokens=True)
        return [
            Sample(text, tokens, logprobs[: len(tokens)].copy(), "stop" if ended else "length")
            for text, tokens, logprobs, ended in zip(texts, token_ids, logprobs_B_T, ended_B_T.any(axis=1), strict=True)
        ]


class TokenChooser(LogitsProcessor):
    """Choose one token per row (greedy or sampled), record its log-probability, and mask all others.

    Args:
        row_keys_B: (B,) uint64, the rows' random-number keys from `row_key`.
        temperature: 0 for the most likely token.
        top_p: keep the smallest set of most likely tokens with at least this probability.
    """

    def __init__(self, row_keys_B: np.ndarray, temperature: float, top_p: float = 1.0) -> None:
        self.row_keys_B = row_keys_B
        self.temperature = temperature
        self.top_p = top_p
        self.logprobs: list[torch.Tensor] = []  # one (B,) float32 per step

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Turn scores (B, V) into the same shape: 0 for the chosen token of each row, −∞ elsewhere."""
        if self.temperature == 0:
            chosen_B_1 = scores.argmax(dim=-1, keepdim=True)
        else:
            u_B = torch.from_numpy(uniforms(self.row_keys_B, len(self.logprobs))).to(scores.device)
            chosen_B_1 = sample_at((scores / self.temperature).softmax(dim=-1), u_B, self.top_p)
        chosen_scores_B = scores.gather(1, chosen_B_1).squeeze(1)
        self.logprobs.append(chosen_scores_B - scores.logsumexp(dim=-1))
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen_B_1, 0.0)


def sample_at(probabilities_B_V: torch.Tensor, u_B: torch.Tensor, top_p: float = 1.0) -> torch.Tensor:
    """Return the token at quantile `u_B` (in [0, 1)) of each row's distribution, shape (B, 1).

    Without a nucleus the cumulative sum runs in vocabulary order, which needs no sorting. With `top_p` < 1 it runs
    from the most likely token down and ends with the token at which it reaches `top_p`.

    >>> p = torch.tensor([[0.2, 0.5, 0.3]] * 3)
    >>> sample_at(p, torch.tensor([0.1, 0.5, 0.9])).squeeze(1).tolist()
    [0, 1, 2]
    >>> sample_at(p, torch.tensor([0.1, 0.6, 0.99]), top_p=0.6).squeeze(1).tolist()
    [1, 1, 2]
    """
    if top_p < 1:
        probabilities_B_V, order_B_V = probabilities_B_V.sort(dim=-1, descending=True, stable=True)
        below_B_V = probabilities_B_V.cumsum(dim=-1) - probabilities_B_V
        probabilities_B_V = probabilities_B_V.masked_fill(below_B_V >= top_p, 0.0)
    cdf_B_V = probabilities_B_V.cumsum(dim=-1, dtype=torch.float64)  # float32 would lose the tail of a large vocabulary
    target_B_1 = (u_B.to(torch.float64) * cdf_B_V[:, -1]).unsqueeze(1)
    index_B_1 = torch.searchsorted(cdf_B_V, target_B_1, right=True).clamp_(max=cdf_B_V.shape[1] - 1)
    return order_B_V.gather(1, index_B_1) if top_p < 1 else index_B_1


def row_key(seed: int, problem_key: str, sample: int) -> int:
    """Hash (seed, problem key, sample) to the 64-bit key of one sample's random numbers."""
    digest = hashlib.sha256(f"{seed}\x1f{problem_key}\x1f{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def uniforms(row_keys_B: np.ndarray, step: int) -> np.ndarray:
    """Return one uniform number in [0, 1) per row for token `step`: SplitMix64 of the row's key, top 48 bits.

    48 bits keep u · total below total in float64, so that no draw falls past the last likely token.
    """
    z = row_keys_B + np.uint64((step + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(16)).astype(np.float64) / 2.0**48


@contextmanager
def _threads(n: int | None) -> Iterator[None]:
    """Run with `n` intra-op threads (None: as it is), then as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _plain_generation_config(model: PreTrainedModel, eos: list[int], pad: int) -> Iterator[None]:
    """Put the model's generation defaults aside: `generate` fills every unset option from them."""
    before = model.generation_config
    model.generation_config = GenerationConfig(eos_token_id=eos, pad_token_id=pad, use_cache=True)
    try:
        yield
    finally:
        model.generation_config = before
