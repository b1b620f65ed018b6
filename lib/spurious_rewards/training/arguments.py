"""Build TRL's `GRPOConfig` from a `RunConfig`: every default of TRL that would change the loss is set by hand.

Usage: `grpo_arguments(config, folder)`. On a machine without a GPU the vLLM engines are refused;
`dry_run(config, processes=8)` builds and checks the settings of another machine without touching a device.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from pathlib import Path
from typing import Any

from spurious_rewards.errors import InputError, check_name
from spurious_rewards.models.registry import resolve
from spurious_rewards.training.config import RunConfig


def world_size() -> int:
    """Return the number of processes of this launch (torchrun and accelerate set WORLD_SIZE)."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def fsdp_recomputes() -> bool:
    """Tell whether this launch recomputes activations by FSDP's own means; Trainer refuses to do it twice."""
    return all(
        os.environ.get(name, "").lower() in ("true", "1")
        for name in ("ACCELERATE_USE_FSDP", "FSDP_ACTIVATION_CHECKPOINTING")
    )


def settings(config: RunConfig, folder: str | Path, processes: int) -> dict[str, Any]:
    """Return the keyword arguments of `GRPOConfig`, as plain values (no torch needed).

    Args:
        config: the run.
        folder: TRL's output folder (checkpoints).
        processes: number of training processes.

    Raises:
        InputError: the batch does not divide among the processes.
    """
    plan = config.batch_plan(processes)
    values: dict[str, Any] = {
        "output_dir": str(folder),
        # batches
        "per_device_train_batch_size": plan.micro_batch,
        "gradient_accumulation_steps": plan.gradient_accumulation,
        "generation_batch_size": plan.rollouts,
        "num_generations": config.group_size,
        "num_iterations": 1,  # paper: each rollout is used once
        "max_steps": config.rollout_batches * config.updates_per_batch,
        "shuffle_dataset": False,  # the rows are in order already, see training.prompts
        "dataloader_num_workers": 0,
        "max_completion_length": config.max_completion_tokens,
        # sampling
        "temperature": config.temperature,
        "top_p": 1.0,
        "top_k": 0,
        # the loss: nothing is left to a default
        "loss_type": "bnpo",  # token mean over a micro-batch, as the released code
        "beta": 0.0,  # paper: no KL term
        "epsilon": config.epsilon_low,  # the trainer turns both into those of the clip mode
        "epsilon_high": config.epsilon_high,
        "importance_sampling_level": "token",
        "scale_rewards": "group",  # paper eq. 1: divided by the group's standard deviation (ddof 1)
        "multi_objective_aggregation": "sum_then_normalize",
        "mask_truncated_completions": False,
        "top_entropy_quantile": 1.0,
        "entropy_coef": 0.0,
        "delta": None,
        "off_policy_mask_threshold": None,
        "use_bias_correction_kl": False,
        # optimizer
        "optim": "adamw_torch_fused" if config.optimizer == "adamw" else "sgd",
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": "constant",
        "adam_beta1": 0.9,  # released code, as the next three
        "adam_beta2": 0.95,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        # precision: weights are loaded in fp32, bf16 is autocast over them
        "bf16": config.precision == "bf16",
        "fp16": False,
        "gradient_checkpointing": config.gradient_checkpointing and not fsdp_recomputes(),
        # seeds, logging, checkpoints
        "seed": config.seed,
        "data_seed": config.seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # TRL's default would log the average of earlier losses in place of a NaN
        "report_to": "none",
        "log_completions": False,
        "disable_tqdm": True,
        "save_strategy": "steps",
        "save_steps": config.save_every_batches * config.updates_per_batch,
        "save_total_limit": None,  # kept and removed in training.checkpoints, after a checkpoint is whole
        "remove_unused_columns": False,
    }
    if config.engine.startswith("vllm"):
        values.update(
            {
                "use_vllm": True,
                "vllm_mode": config.engine.removeprefix("vllm_"),
                "vllm_gpu_memory_utilization": config.vllm_gpu_memory,
                "vllm_tensor_parallel_size": config.vllm_tensor_parallel,
                "vllm_max_model_length": config.max_prompt_tokens + config.max_completion_tokens,
                "vllm_enable_sleep_mode": config.engine == "vllm_colocate",  # its memory is free during the updates
                # off: not in the paper, the ratio is π_θ/π_old and nothing else. TRL's default is on.
                "vllm_importance_sampling_correction": False,
            }
        )
    values.update(config.trl_fields())
    if values["beta"] > 0 and config.lora_rank == 0 and (revision := resolve(config.model).revision):
        values.setdefault("model_init_kwargs", {"revision": revision})  # TRL loads the reference model by name alone
    return values


REPORT_PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "trackio": ("trackio",), "wandb": ("wandb",)}
"""Packages that serve each value of `report_to`, any one of them."""


def check_report_to(report_to: Any) -> None:
    """Raise `InputError` if no package that `report_to` needs is installed."""
    for name in [report_to] if isinstance(report_to, str) else report_to:
        packages = REPORT_PACKAGES.get(name, ())
        if packages and not any(importlib.util.find_spec(package) for package in packages):
            raise InputError(
                f"report_to {name} needs the package {packages[0]}, which is not installed; "
                f"pip install {packages[0]}, or set report_to to none."
            )


def grpo_arguments(config: RunConfig, folder: str | Path) -> Any:
    """Build the `GRPOConfig` of a run in this launch.

    Raises:
        InputError: a vLLM engine on a machine without a GPU or without vLLM, a missing package of `report_to`, or
            batches that do not divide among the processes of this launch.
    """
    import torch

    on_gpu = torch.cuda.is_available()
    if config.engine.startswith("vllm"):
        if not on_gpu:
            raise InputError(
                f"engine {config.engine} needs a GPU: TRL's vLLM rollouts fail at weight transfer on a "
                "CPU; use engine transformers here."
            )
        if not importlib.util.find_spec("vllm"):
            raise InputError(
                f"engine {config.engine} needs the package vllm, which is not installed; install "
                "requirements/gpu.lock.txt, or use engine transformers."
            )
    values = settings(config, folder, world_size())
    check_report_to(values["report_to"])
    from trl import GRPOConfig

    return _built(GRPOConfig, values, use_cpu=not on_gpu)


def _built(kind: Any, values: dict[str, Any], **more: Any) -> Any:
    """Build `kind` (a `GRPOConfig`); a field that it lacks, or a value that it refuses, is an `InputError`."""
    known = [field.name for field in dataclasses.fields(kind)]
    for name in values:
        check_name("field of GRPOConfig in trl", name, known)
    try:
        return kind(**values, **more)
    except (TypeError, ValueError, ImportError) as error:
        raise InputError(f"TRL refuses these settings: {error}") from error


def dry_run(config: RunConfig, processes: int, folder: str | Path = "dry-run") -> Any:
    """Build the `GRPOConfig` that a launch with `processes` processes on GPUs would use, checked by TRL itself.

    Nothing is loaded and no device is touched, so the settings of eight GPUs can be validated on a laptop; only
    whether the model fits and vLLM starts remains open.

    Raises:
        InputError: the batches do not divide, or TRL refuses the settings; the message repeats its reason.
    """
    from trl import GRPOConfig

    class Elsewhere(GRPOConfig):
        """Report the size of the launch that is meant, not of this one."""

        world_size = property(lambda self: processes)

    return _built(Elsewhere, settings(config, folder, processes), use_cpu=True)
