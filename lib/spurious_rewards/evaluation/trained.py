"""Find the runs behind what a user writes for a model, for labels, or for "beside it".

Usage: `trained_run, model = trained_model("micro/train-random-none-seed0", "qwen-like")`;
`labels = labels_run("organism/label")`; `runs = evaluations_beside("base, micro/train-random-none-seed0", cell)`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.config import EvalConfig
from spurious_rewards.evaluation.evaluate import evaluate
from spurious_rewards.evaluation.prompt_grid import REFUSED
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.workflow.profiles import job_result


def trained_model(trained: str, model: str) -> tuple[str, str]:
    """Find the training run that `trained` names and the model that it started from; ("", model) when it is empty.

    Args:
        trained: empty, a run id, or `<profile>/<job>` of a finished training job.
        model: what is evaluated when `trained` is empty.

    Raises:
        InputError: the job is not done or trained nothing, or the run does not exist or is not complete.
    """
    if not trained:
        return "", model
    run_id = trained
    if "/" in trained:
        run_ids = job_result(trained)["run_ids"]
        if len(run_ids) != 1:
            raise InputError(f"Job {trained} made {len(run_ids)} runs; `trained` must name a job of 02_train_grpo.")
        run_id = run_ids[0]
    run = RunFolder.load(run_id)
    if run.manifest().get("kind") != "training":
        raise InputError(f"Run {run_id} is no training run; `trained` must name one.")
    return run_id, run.config()["model"]


def labels_run(labels: str) -> str:
    """Resolve `labels` to what a run's configuration keeps: the run id where a job is named, else the text itself.

    Args:
        labels: a folder, a run id, `<profile>/<job>` of a finished labelling job, or empty.

    Raises:
        InputError: the job is unknown, not done, or made no labels.
    """
    if "/" not in labels or Path(labels).is_absolute() or Path(labels).is_dir():
        return labels
    run_ids = [
        run_id for run_id in job_result(labels)["run_ids"] if RunFolder.load(run_id).manifest().get("kind") == "labels"
    ]
    if len(run_ids) != 1:
        raise InputError(
            f"Job {labels} made {len(run_ids)} labellings; `labels` must name a job of 01_prepare_data "
            "with label_problems above 0."
        )
    return run_ids[0]


BASE = "base"
"""In `compare`: the model that the training started from."""


def evaluations_beside(compare: str, cell: EvalConfig, progress: bool = True) -> list[RunFolder]:
    """Find or make the evaluations to show beside a cell, in the order in which they are named.

    Args:
        compare: names separated by commas: `base` (the untrained model), a training (run id or `<profile>/<job>`), or
            an evaluation (the same). Base and trainings are evaluated as the cell is, which is skipped where it has
            been done; of an evaluation job those with the cell's decoding are taken.
        cell: the greedy cell that is compared.
        progress: show a bar for what has to be evaluated.

    Raises:
        InputError: a name that is none of these, a run that is not complete, a training of another model, or an
            evaluation on other problems.
    """
    runs = []
    for name in (part.strip() for part in compare.split(",")):
        if name == BASE:
            runs.append(evaluate(replace(cell, trained_run="", checkpoint=0), progress))
        elif name:
            run_ids = job_result(name)["run_ids"] if "/" in name else [name]
            runs += [found for run_id in run_ids if (found := _beside(RunFolder.load(run_id), cell, progress))]
    return list({run.run_id: run for run in runs}.values())


def _beside(run: RunFolder, cell: EvalConfig, progress: bool) -> RunFolder | None:
    """Find the evaluation that a named run stands for; None for another decoding, or for refused prompts."""
    manifest = run.manifest()
    if manifest.get("kind") == REFUSED:
        return None
    if manifest.get("kind") == "training":
        return evaluate(replace(cell, model=run.config()["model"], trained_run=run.run_id, checkpoint=0), progress)
    if manifest.get("kind") != "evaluation":
        raise InputError(f"Run {run.run_id} is no evaluation and no training; `compare` must name such runs.")
    config = run.config()
    if any(config[name] != getattr(cell, name) for name in ("temperature", "n_samples")):
        return None
    same = ("benchmark", "n_problems", "problem_seed", "problem_order")
    if different := [name for name in same if config[name] != getattr(cell, name)]:
        raise InputError(
            f"Evaluation {run.run_id} was made on other problems ({different[0]} is "
            f"{config[different[0]]!r} there, {getattr(cell, different[0])!r} here): evaluate on the same "
            "ones."
        )
    return run
