"""Define what a generation engine takes and gives, and the registry of engines by name.

An engine turns prompt texts into samples. Whatever the engine, the same things hold:

- The random numbers of a sample are a function of (seed, key of its problem, index of the sample) and of nothing
  else: not of the other prompts, their order, or how they were batched. What remains is floating-point: kernels may
  round differently in another batch, and a tie broken the other way changes the rest of that sample.
- `token_ids` ends with the end-of-sequence token if the model wrote one (finish reason "stop"); `text` has no special
  tokens.
- `logprobs` are the model's own log-probabilities (temperature 1, no nucleus) of the sampled tokens, in float32.

>>> Sampling(temperature=0.6, max_new_tokens=64, n_samples=8)
Sampling(temperature=0.6, top_p=1.0, max_new_tokens=64, n_samples=8, seed=0)
>>> create("vlm", "qwen-like")
Traceback (most recent call last):
    ...
spurious_rewards.errors.InputError: Unknown engine 'vlm' (did you mean 'vllm'?); known: transformers, vllm.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from spurious_rewards.errors import InputError, check_name

if TYPE_CHECKING:
    import numpy as np
    from tqdm import tqdm

ENGINES: dict[str, str] = {
    "transformers": "spurious_rewards.generation.transformers_engine",
    "vllm": "spurious_rewards.generation.vllm_engine",
}
"""Name of an engine → module with a function `from_model_name(model, batch_size, dtype, batch_invariant)`."""


@dataclass(frozen=True)
class Sampling:
    """Say how to decode. Temperature 0 is greedy; `max_new_tokens` counts the end-of-sequence token."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int = 512
    n_samples: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise InputError(f"temperature must be 0 (greedy) or more, but it is {self.temperature}.")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p must lie in (0, 1], but it is {self.top_p}.")
        if self.max_new_tokens < 1 or self.n_samples < 1:
            raise InputError(
                f"max_new_tokens and n_samples must be at least 1, but they are {self.max_new_tokens} "
                f"and {self.n_samples}."
            )
        if self.temperature == 0 and self.n_samples > 1:
            raise InputError(
                f"Greedy decoding gives {self.n_samples} equal samples: set n_samples to 1 or a temperature above 0."
            )


@dataclass(frozen=True)
class Sample:
    """Hold one generated answer; `logprobs[i]` belongs to `token_ids[i]`."""

    text: str
    token_ids: list[int]
    logprobs: np.ndarray  # (T,) float32
    finish_reason: Literal["stop", "length"]


class Engine(Protocol):
    """Describe the interface that evaluation, labels and probes are written against."""

    tokenizer: Any

    def generate(
        self, prompts: Sequence[str], sampling: Sampling, keys: Sequence[str], bar: tqdm | None = None
    ) -> list[list[Sample]]:
        """Generate `n_samples` samples per prompt, in the order of the prompts.

        Args:
            prompts: rendered prompt texts, P of them.
            sampling: decoding parameters.
            keys: P distinct names (problem ids) that seed the prompts' random numbers.
            bar: a progress bar to advance by one per finished sample.

        Raises:
            InputError: a prompt is empty, or prompt and `max_new_tokens` together exceed the model's context.
        """
        ...

    def prompt_lengths(self, prompts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each prompt."""
        ...

    def describe(self) -> dict[str, Any]:
        """Describe engine, version, dtype, device and batch settings: what else a number depends on."""
        ...


def create(
    name: str, model: str, batch_size: int = 32, dtype: str = "float32", batch_invariant: bool = False
) -> Engine:
    """Load `model` (a registry name or a folder) into the engine called `name`.

    Args:
        name: of the engine.
        model: registry name or folder.
        batch_size: samples it works on together.
        dtype: of weights and activations.
        batch_invariant: use kernels whose result does not depend on what else is in a batch.

    Raises:
        InputError: unknown engine, an engine that is not installed or has no such kernels here, or a model that cannot
            be loaded.
    """
    check_engine(name)
    return importlib.import_module(ENGINES[name]).from_model_name(model, batch_size, dtype, batch_invariant)


def check_engine_name(name: str, batch_invariant: bool = False) -> None:
    """Raise `InputError` for an engine that does not exist, or never has batch-invariant kernels if they are wanted.

    Whether the engine is installed does not matter: what it computed elsewhere can be read here.
    """
    check_name("engine", name, ENGINES)
    if batch_invariant and name == "transformers":
        raise InputError(
            "Engine 'transformers' has no batch-invariant kernels: set batch_invariant to false, or use "
            "engine='vllm' on a GPU."
        )


def check_engine(name: str) -> None:
    """Raise `InputError` for an engine that does not exist or is not installed; nothing is loaded."""
    check_engine_name(name)
    if name == "vllm" and importlib.util.find_spec("vllm") is None:
        raise InputError(
            "Engine 'vllm' is not part of this installation: install the vllm extra on a machine it "
            "supports, or use engine='transformers'."
        )


def encode(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Encode rendered prompts, with exactly one beginning-of-sequence token where the tokenizer uses one.

    A chat template writes the token as text, a raw prompt does not; encoding both the same way would double or lose
    it. A prompt that is too long gets no warning here, because `check_request` makes it an error.
    """
    bos = tokenizer.bos_token
    return [
        tokenizer(p, add_special_tokens=not (bos and p.startswith(bos)), verbose=False)["input_ids"] for p in prompts
    ]


def end_of_sequence(tokenizer: Any, own: int | list[int] | None) -> list[int]:
    """List the token ids that end a sample, sorted: the tokenizer's, and `own`, the model's generation config's.

    Raises:
        InputError: there is none.
    """
    eos = {tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])} - {None}
    if not eos:
        raise InputError(
            "Neither the tokenizer nor the generation config of this model names an end-of-sequence "
            "token: set tokenizer.eos_token."
        )
    return sorted(eos)


def check_request(
    prompt_ids: Sequence[Sequence[int]], keys: Sequence[str], max_new_tokens: int, context: int | None
) -> None:
    """Raise `InputError` for prompts no engine can answer faithfully; nothing is ever cut silently."""
    if len(prompt_ids) != len(keys) or len(set(keys)) != len(keys):
        raise InputError(
            f"Each of the {len(prompt_ids)} prompts needs a key of its own, but the {len(keys)} keys hold "
            f"{len(set(keys))} different ones."
        )
    for key, ids in zip(keys, prompt_ids, strict=True):
        if not ids:
            raise InputError(f"The prompt of {key} is empty: it has no tokens.")
        if context is not None and len(ids) >= context:
            raise InputError(
                f"The prompt of {key} has {len(ids)} tokens; with a single new one that exceeds the "
                f"model's context of {context}: use another, shorter prompt style, or leave such "
                "problems out (leave_out_long of notebook 03)."
            )
        if context is not None and len(ids) + max_new_tokens > context:
            raise InputError(
                f"The prompt of {key} has {len(ids)} tokens; with max_new_tokens={max_new_tokens} that "
                f"exceeds the model's context of {context}: lower max_new_tokens to at most "
                f"{context - len(ids)}, or leave such problems out (leave_out_long of notebook 03)."
            )
