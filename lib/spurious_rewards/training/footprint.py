"""Estimate memory, disk and time of a training run by arithmetic, before it runs.

With N parameters, W processes, T = micro_batch × (prompt + completion) tokens per forward pass:

    state           16 N / W bytes: weights, gradients and two Adam moments in fp32 (LoRA: 2 N, and 16 per adapter's)
    accumulation    4 N bytes where gradients add up over micro-batches before they are shared out (W > 1)
    casts           2 N bytes where autocast keeps bf16 copies of fp32 weights (one process)
    activations     per layer and token 8 · feed-forward + 31 · hidden bytes under bf16, 16 · and 38 · in fp32; with
                    checkpointing 4 · hidden per layer and token, and one layer in full
    head            8 bytes per weight of head or embedding (bf16 copy, gradient, fp32 buffer), or, where the head is
                    frozen, a piece of the logits; on a CPU all logits in fp32, three times
    generation      12 N / W beside vLLM's share of the card, which sleeps during the updates

The factors of the activations are what autograd keeps of a layer of Qwen or Llama's kind. How they compare with what
runs took is a test (tests/training/test_footprint.py); on 8 GPUs nothing has been measured by us.
"""

from __future__ import annotations

from dataclasses import dataclass

from spurious_rewards.errors import InputError
from spurious_rewards.models.shape import Shape, shape_of
from spurious_rewards.training.config import RunConfig

LIBRARIES_GB = 0.7
"""Resident memory of a process with PyTorch and TRL loaded, before any model."""
CONTEXT_GB = 4.0
"""CUDA context, NCCL and the graphs of a sleeping vLLM, per GPU."""
LOGITS_GB = 1.0
"""Of the head's logits that exist at once on a GPU (an assumption)."""
MEAN_SHARE = 0.28
"""Mean length of an answer as a share of the longest: 850 of 3,072 tokens in the paper's runs."""
PADDING = 1.3
"""Tokens computed per token of a completion, as micro-batches are as wide as their longest row."""


@dataclass(frozen=True)
class Card:
    """Hold a GPU: memory in 10^9 bytes, bf16 operations per second without sparsity, memory bytes per second."""

    memory_gb: float
    flops: float
    bandwidth: float


CARDS = {
    "h200": Card(150, 989e12, 4.8e12),
    "h100": Card(85, 989e12, 3.35e12),
    "a100": Card(85, 312e12, 2.0e12),
    "a100-40": Card(42, 312e12, 1.55e12),
    "l40s": Card(48, 362e12, 0.86e12),
    "rtx4090": Card(25, 165e12, 1.0e12),
}
"""From the makers' data sheets."""
UTILISATION = 0.4
"""Share of the operations per second that training reaches (an assumption; 0.35 to 0.45 is common)."""
CPU_FLOPS = 75e9
"""Operations per second of one core in fp32, as the organisms and SmolLM2 reach them here."""
STEP_SECONDS = 0.005
"""Overhead of one decoding step on a GPU (an assumption)."""
BATCH_SECONDS = 8.0
"""Per rollout batch on GPUs: waking vLLM, handing it the weights, rewards (an assumption)."""


def memory_gb(
    config: RunConfig, processes: int = 1, card: Card | None = None, prompt_tokens: int = 0, shape: Shape | None = None
) -> dict[str, float]:
    """Compute the memory of one process (one GPU) in 10^9 bytes, part by part; the parts of an update add up.

    Args:
        config: the run.
        processes: among which the weights are shared out.
        card: the GPU; None for a CPU, where the process itself takes memory too.
        prompt_tokens: of the longest prompt; 0 takes `max_prompt_tokens`.
        shape: the model's; None looks it up by name.
    """
    shape, lora = shape or shape_of(config.model), config.lora_rank > 0
    n = shape.parameters
    trained = _adapter_parameters(shape, config.lora_rank) if lora else n
    state = (2 * n * lora + (16 if config.optimizer == "adamw" else 8) * trained) / processes
    accumulates = processes > 1 and config.batch_plan(processes).gradient_accumulation > 1
    tokens = config.micro_batch * ((prompt_tokens or config.max_prompt_tokens) + config.max_completion_tokens)
    checkpointed = config.gradient_checkpointing or processes > 1
    parts = {
        "state": state,
        "accumulation": 4 * trained if accumulates else 0,
        "casts": 2 * n if config.precision == "bf16" and processes == 1 and not lora else 0,
        "activations": _activation_bytes(shape, tokens, config, checkpointed),
        "head": _head_bytes(shape, tokens, lora, on_gpu=card is not None),
        "process": (CONTEXT_GB if card else LIBRARIES_GB) * 1e9,
    }
    return {name: round(size / 1e9, 2) for name, size in parts.items()}


def generation_gb(config: RunConfig, processes: int, card: Card) -> float:
    """Compute the memory of one GPU while vLLM generates beside the resting trainer, in 10^9 bytes."""
    shape = shape_of(config.model)
    resting = 2 * shape.parameters if config.lora_rank else 12 * shape.parameters / processes
    return round(resting / 1e9 + config.vllm_gpu_memory * card.memory_gb + CONTEXT_GB, 1)


def disk_gb(config: RunConfig) -> float:
    """Compute what a finished run holds on disk, in 10^9 bytes; while it saves it takes one more newest checkpoint.

    The newest checkpoint holds the weights twice and the optimizer, 16 bytes per parameter; kept earlier ones hold bf16
    weights only, the trained model fp32 weights.
    """
    saved = config.rollout_batches // config.save_every_batches
    kept = saved if config.keep_checkpoints == 0 else min(config.keep_checkpoints, saved)
    return round(shape_of(config.model).parameters * (16 * (kept > 0) + 2 * max(kept - 1, 0) + 4) / 1e9, 1)


def seconds(
    config: RunConfig,
    processes: int = 1,
    card: Card | None = None,
    prompt_tokens: float = 150,
    completion_tokens: float = 0,
) -> float:
    """Estimate the time of a run: generation, log π_old and updates of all rollout batches.

    Args:
        config: the run.
        processes: GPUs, or processes of one core each.
        card: the GPU; None for a CPU.
        prompt_tokens: mean length of a prompt.
        completion_tokens: mean length of a rollout; 0 takes `MEAN_SHARE` of the longest.
    """
    shape = shape_of(config.model)
    length = completion_tokens or MEAN_SHARE * config.max_completion_tokens
    rollouts = config.prompts_per_batch * config.group_size
    tokens = rollouts * (prompt_tokens + PADDING * length)
    passes = 1 + 3  # log π_old, and forward and backward of the update
    if card is None:
        work = (passes + 1) * shape.flops_per_token * tokens  # generation reads and writes each token once
        return config.rollout_batches * work / (CPU_FLOPS * processes)
    passes += config.gradient_checkpointing or processes > 1  # the forward pass again
    update = passes * shape.flops_per_token * tokens / (UTILISATION * card.flops * processes)
    gather = 0.0
    if processes > 1:  # weights come together for each forward and backward pass, over 300 GB/s
        gather = config.batch_plan(processes).micro_steps_per_rollout_batch * 4 * 2 * shape.parameters / 300e9
    generation = generation_seconds(shape, card, rollouts / processes, length, config.max_completion_tokens, 0.3)
    return config.rollout_batches * (generation + update + gather + BATCH_SECONDS)


def generation_seconds(
    shape: Shape, card: Card, answers: float, mean_tokens: float, longest: int, share: float = 0.9
) -> float:
    """Estimate the time in which one GPU generates: decoding steps that each read all weights, keys and values.

    Args:
        shape: the model's.
        card: the GPU.
        answers: number of answers.
        mean_tokens: of an answer, its prompt left out.
        longest: tokens of the longest answer.
        share: of the card's memory that the engine has.
    """
    room = max(share * card.memory_gb * 1e9 - 2 * shape.parameters - 2e9, 1e9)
    at_once = max(1.0, min(answers, room / (shape.kv_bytes_per_token * (mean_tokens + 150)), 256))
    steps = max(float(longest), answers * mean_tokens / at_once)
    read = 2 * shape.parameters + at_once * (mean_tokens / 2 + 150) * shape.kv_bytes_per_token
    return steps * (read / card.bandwidth + STEP_SECONDS)


def check_fits(config: RunConfig, processes: int, free_gb: float) -> None:
    """Compare what an update takes with what a GPU has; a model whose size cannot be told passes.

    Raises:
        InputError: it does not fit; the sentence has both numbers and what would help.
    """
    try:
        parts = memory_gb(config, processes, Card(free_gb, 1, 1))
    except InputError:
        return
    needed = sum(parts.values())
    if needed <= free_gb:
        return
    helps = [] if config.gradient_checkpointing or processes > 1 else ["gradient_checkpointing: true"]
    helps += ["a smaller micro_batch"] if config.micro_batch > 1 else []
    helps += ["more GPUs"] if config.lora_rank else ["lora_rank 16", "more GPUs"]
    largest = max(parts, key=lambda name: parts[name])
    raise InputError(
        f"An update of {config.model} takes about {needed:.0f} GB per GPU ({largest} {parts[largest]:.0f} GB), and "
        f"{free_gb:.0f} GB are there; use {', '.join(helps[:-1])}{' or ' if helps[:-1] else ''}{helps[-1]}."
    )


def _head_bytes(shape: Shape, tokens: int, lora: bool, on_gpu: bool) -> float:
    if not on_gpu:
        return 3 * 4 * tokens * shape.vocabulary
    return LOGITS_GB * 1e9 if lora else 8 * shape.head_parameters


def _activation_bytes(shape: Shape, tokens: int, config: RunConfig, checkpointed: bool) -> float:
    inner, outer = (8, 31) if config.precision == "bf16" else (16, 38)
    layer = tokens * (inner * shape.feed_forward + outer * shape.hidden)
    residual = tokens * shape.hidden * (2 if config.lora_rank else 4)  # a frozen base is in bf16
    return shape.layers * residual + layer if checkpointed else shape.layers * layer


def _adapter_parameters(shape: Shape, rank: int) -> int:
    queries = shape.heads * (shape.head_width or shape.hidden // shape.heads)
    attention = 2 * (shape.hidden + queries) + 2 * (shape.hidden + shape.kv_width)  # queries and output; keys, values
    return rank * shape.layers * (attention + 3 * (shape.hidden + shape.feed_forward))
