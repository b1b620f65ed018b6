"""Train one run, from configuration to run folder; interrupted, it goes on from its last whole checkpoint.

    runs/<run_id>/config.json        the configuration
                  metrics.parquet    one row per optimizer update, see training.diagnostics
                  rollouts.parquet   a sample of the rollouts with reward, advantage and strategy
                  checkpoints/       the newest ones, at rollout-batch boundaries
                  model/             the trained model, a Transformers folder
                  metrics.partial.parquet   metrics so far, after every rollout batch of an unfinished run
                  manifest.json      last: where it came from and what it holds

Usage: `run = train(RunConfig(model="qwen-like", reward="random", ...))`, or notebook 02_train_grpo.
"""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow.parquet import read_schema

from spurious_rewards.data.labelled import training_problems
from spurious_rewards.data.problem import Problem
from spurious_rewards.errors import InputError
from spurious_rewards.rewards.strategy import uses_code, uses_code_structural
from spurious_rewards.storage.files import disk_is_full, write_parquet
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.training import checkpoints
from spurious_rewards.training.arguments import grpo_arguments, world_size
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.digests import digests
from spurious_rewards.training.divergence import check_weights
from spurious_rewards.training.footprint import check_fits

PARTIAL = "metrics.partial.parquet"
REPRODUCIBLE = {
    True: "bit for bit with this number of processes: in fp32 with pinned arithmetic on any x86-64 processor with "
    "AVX2, else on processors of one kind",
    False: "not bit for bit: the seed fixes the order of problems, mini-batches, reward draws and the random numbers "
    "of sampling, but kernels of a GPU (and vLLM's batches) may round differently from run to run",
}
"""What the manifest says about running a configuration again, by whether it ran on a CPU."""
OnBatch = Callable[[pd.DataFrame], None]


def train(config: RunConfig, on_batch: OnBatch | None = None, progress: bool = True) -> RunFolder:
    """Train, or return the finished run of the same configuration.

    Args:
        config: the run.
        on_batch: called with the metrics so far after every rollout batch (the live figure of the notebook).
        progress: show a bar over rollout batches with the time left.

    Raises:
        InputError: bad configuration, model, data or reward; the policy diverged to not-a-number; or SIGTERM, SIGUSR1
            or, with `on_batch`, an interrupt came, after which the run stops at its next checkpoint.
    """
    run = RunFolder.open(config.run_id(), config)
    if run.complete:
        report_missing_columns(run, config)
        return run
    with ExitStack() as stack:
        if is_main_process():
            stack.enter_context(run.lock())
        if not run.complete:
            drawn = (config.train_set, config.n_train_problems, config.problem_seed)
            problems = training_problems(*drawn, config.reward_names(), config.labels, config.right_labels)
            try:
                _train(run, config, problems, on_batch, progress)
            except Exception as error:
                if isinstance(error, InputError) or not disk_is_full(error):
                    raise
                raise InputError(
                    f"No space left on the disk while {run.folder} was written: free some space and run again; the run "
                    "goes on from its last checkpoint."
                ) from error
    return run


def is_main_process() -> bool:
    """Tell whether this is rank 0 of the launch."""
    return int(os.environ.get("RANK", "0")) == 0


def _train(
    run: RunFolder, config: RunConfig, problems: list[Problem], on_batch: OnBatch | None, progress: bool
) -> None:
    import torch
    from transformers import PrinterCallback
    from transformers.utils.logging import disable_progress_bar

    from spurious_rewards.training.callbacks import RunCallback

    disable_progress_bar()
    folder = run.path("checkpoints")
    checkpoint = checkpoints.latest(folder) if is_main_process() else None
    if world_size() > 1:
        checkpoint = _agree_on(checkpoint)
        _read_numbered_cpus()
    if checkpoint:
        checkpoints.check_processes(checkpoint, world_size())
    if torch.cuda.is_available():
        check_fits(config, world_size(), torch.cuda.mem_get_info()[1] / 1e9)
    trainer = make_trainer(config, problems, folder)
    notes = [*config.notes(), *_too_long(config, len(problems), trainer.n_problems)]
    for note in notes if is_main_process() else ():
        print(note)
    shown = progress and is_main_process()
    callback = RunCallback(config, trainer, checkpoint, on_batch, shown, run.path(PARTIAL), run.keep_time)
    trainer.remove_callback(PrinterCallback)  # one line of JSON per update drowns a notebook
    trainer.add_callback(callback)
    callback.watch_signals()
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        check_weights(trainer)
    except (RuntimeError, FloatingPointError) as error:
        if isinstance(error, FloatingPointError):
            cause = str(error)
        elif "probability tensor contains" in str(error):
            cause = f"the logits of the policy are not finite after update {trainer.state.global_step}"
        else:
            raise
        raise _diverged(run, config, callback, cause) from error
    finally:
        callback.restore_signals()
    if trainer.state.global_step < trainer.args.max_steps:
        done = trainer.state.global_step // config.updates_per_batch
        raise InputError(
            f"{callback.how_it_stopped()} after rollout batch {done} of {config.rollout_batches}, with a checkpoint; "
            "run again, and it goes on from there."
        )
    save_model(trainer, run.path("model"), config.lora_rank > 0)
    if not is_main_process():
        return
    metrics, rollouts = callback.tables()
    write_parquet(run.path("metrics.parquet"), metrics)
    write_parquet(run.path("rollouts.parquet"), with_strategy(rollouts))
    run.path(PARTIAL).unlink(missing_ok=True)
    checkpoints.prune(folder, config.keep_checkpoints, config.precision == "bf16")
    tokens = metrics["completion_tokens"].fillna(0).sum() * config.prompts_per_batch * config.group_size
    run.finish({
        "kind": "training", "arm": config.arm(), "seed": config.seed, "n_updates": len(metrics),
        "n_rollout_batches": config.rollout_batches, "n_train_problems": trainer.n_problems,
        "n_train_problems_too_long": len(problems) - trainer.n_problems, "notes": notes,
        "completion_tokens": int(tokens), "processes": world_size(),
        "reproducible": REPRODUCIBLE[trainer.accelerator.device.type == "cpu"], "config": config.to_dict(),
        "digests": digests(metrics, run.path("model"), config.model),
    })  # fmt: skip


def _diverged(run: RunFolder, config: RunConfig, callback: Any, cause: str) -> InputError:
    """Build the error of a run whose policy diverged, after keeping its metrics on the main process."""
    where = ""
    if callback.rows:
        if is_main_process():
            write_parquet(run.path(PARTIAL), callback.tables()[0])
        where = f"; what was measured until then is in {run.path(PARTIAL)}"
    return InputError(f"The policy diverged: {cause}. Lower learning_rate ({config.learning_rate:g}){where}.")


def _too_long(config: RunConfig, n_problems: int, n_kept: int) -> list[str]:
    """Return a sentence about the problems whose prompt is too long, if there are any."""
    if n_kept == n_problems:
        return []
    return [
        f"{n_problems - n_kept} of {n_problems} problems are left out: their prompts are longer than "
        f"max_prompt_tokens {config.max_prompt_tokens}."
    ]


def report_missing_columns(run: RunFolder, config: RunConfig) -> None:
    """Print one line if a finished run was trained without diagnostics that `config` asks for now.

    Such options do not change what is trained, so that the run is found again with and without them.
    """
    had = run.config()
    wanted = {"diagnostics": "would_clip_high", "top1_prob": "top1_prob", "clip_projection": "clip_projection"}
    if not config.diagnostics or had.get("top1_prob", True):  # not every model has one
        del wanted["top1_prob"]
    columns = read_schema(run.path("metrics.parquet")).names
    missing = [name for name, column in wanted.items() if getattr(config, name) and column not in columns]
    if missing and is_main_process():
        print(
            f"Run {run.run_id} is finished and was trained without {', '.join(missing)}: metrics.parquet lacks those "
            f"columns. To have them, move {run.folder} away and run again; what is trained stays the same."
        )


def make_trainer(config: RunConfig, problems: list[Problem], folder: str | Path) -> Any:
    """Build the trainer of a run: model, tokenizer, rows, reward, all checked.

    Raises:
        InputError: unknown model, a tokenizer that does not fit it, prompts above the limit, an engine or logger that
            this machine lacks, batches that do not divide among the processes, LoRA or `clip_projection` in a launch
            that shards the weights.
    """
    import torch
    from datasets import Dataset

    from spurious_rewards.models.registry import load, n_parameters
    from spurious_rewards.training.exact import with_exact_std
    from spurious_rewards.training.prompts import training_rows, within_limit
    from spurious_rewards.training.run_trainer import RunTrainer
    from spurious_rewards.training.sharded import full_precision

    args = grpo_arguments(config, folder)
    torch.manual_seed(config.seed)
    frozen_base = config.lora_rank > 0 and config.precision == "bf16"  # it takes no steps that bf16 would lose
    model, tokenizer = load(config.model, "bfloat16" if frozen_base else "float32")
    if n_parameters(model) < 5_000_000:
        torch.set_num_threads(1)  # on two contended threads a tiny model's step takes 10 to 40 times longer
    kept = within_limit(problems, config, tokenizer)
    rows = training_rows(kept, config)
    adapter = lora(config.lora_rank) if config.lora_rank else None
    trainer = RunTrainer(
        run=config, model=model, args=args, processing_class=tokenizer, train_dataset=Dataset.from_list(rows),
        reward_funcs=[config.reward_function()], peft_config=adapter,
    )  # fmt: skip
    trainer.n_problems = len(kept)
    full_precision(trainer)
    trainer._generate_and_score_completions = with_exact_std(trainer._generate_and_score_completions)
    for field, asked in {
        "lora_rank": config.lora_rank > 0,
        "engine shared_prefix": config.engine == "shared_prefix",
        "clip_projection": config.clip_projection,
    }.items():
        if asked:
            refuse_sharded(trainer.accelerator, field)
    return trainer


def refuse_sharded(accelerator: Any, field: str) -> None:
    """Raise `InputError` where a process holds a part of the weights only, which `field` cannot work with."""
    if accelerator.distributed_type.value in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
        raise InputError(
            f"{field} needs whole weights on every process, but this launch shards them "
            f"({accelerator.distributed_type.value}); switch {field} off, or launch without sharding."
        )


def lora(rank: int) -> Any:
    """Return LoRA on all linear layers with α = 2·rank and no dropout, so that first ratios stay exactly 1."""
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")


def with_strategy(rollouts: pd.DataFrame) -> pd.DataFrame:
    """Add both strategy detectors' verdicts to a table with a `text` column; a table without rows stays as it is."""
    if rollouts.empty:
        return rollouts
    detectors = {"uses_code": uses_code, "uses_code_structural": uses_code_structural}
    return rollouts.assign(**{name: list(map(detect, rollouts["text"])) for name, detect in detectors.items()})


def save_model(trainer: Any, target: Path, merge: bool) -> None:
    """Write model and tokenizer under a temporary name beside `target`, then rename; `merge` folds LoRA weights in.

    Every process calls it: under FSDP and ZeRO-3 each holds a part of the weights, which are gathered on the first.
    """
    accelerator = trainer.accelerator
    state = accelerator.get_state_dict(trainer.model_wrapped) if not merge else None
    if not accelerator.is_main_process:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(".model-*"):  # by a process that was killed while it wrote
        shutil.rmtree(left)
    temporary = Path(tempfile.mkdtemp(prefix=".model-", dir=target.parent))
    try:
        model = accelerator.unwrap_model(trainer.model)
        if merge:  # in fp32: what an adapter adds to a weight may be less than bf16 can tell
            model = model.cpu().float().merge_and_unload()
        model.save_pretrained(temporary, state_dict=state)
        trainer.processing_class.save_pretrained(temporary)
        temporary.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _agree_on(checkpoint: Path | None) -> Path | None:
    """Return rank 0's checkpoint on every rank: only rank 0 cleans up and chooses."""
    import torch.distributed as dist
    from accelerate import PartialState

    PartialState()  # starts the process group
    box = [checkpoint]
    dist.broadcast_object_list(box, src=0)
    return box[0]


@functools.cache  # torch cannot order two registrations of one priority
def _read_numbered_cpus() -> None:
    """Let `torch.load` map a checkpoint to `cpu:0`, which is how Trainer calls the CPU of a distributed launch.

    Torch knows the location `cpu` only and would stop with "don't know how to restore data location" on resume.
    """
    import torch

    torch.serialization.register_package(
        100, lambda storage: None, lambda storage, location: storage if location.startswith("cpu:") else None
    )
