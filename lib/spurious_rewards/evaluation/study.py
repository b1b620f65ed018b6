"""Train and evaluate the jobs of a profile in one process: the same run folders as its notebooks, in less time.

A profile of hundreds of short runs spends much of its time on starting notebooks. Here every job of `02_train_grpo` is
trained and its jobs of `03_evaluate` follow at once, from the very configurations that the notebooks would build. Run
folders are found again either way. Several processes may share the work: each takes the next run that nobody holds.
`--seeds` and `--stages` choose what comes first; whatever is finished stays.

Usage: python -m spurious_rewards.evaluation.study decide --stages first --seeds 0-3 [--minutes 50]
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from spurious_rewards.command_line import command
from spurious_rewards.errors import InputError, LockedError
from spurious_rewards.evaluation.config import EvalConfig
from spurious_rewards.evaluation.evaluate import evaluate
from spurious_rewards.evaluation.trained import labels_run
from spurious_rewards.storage.paths import project_root, runs_dir
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.training import checkpoints
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.run import train
from spurious_rewards.workflow.parameters import notebook_parameters
from spurious_rewards.workflow.profiles import Profile, load_profile, notebook_path
from spurious_rewards.workflow.stages import Job

TRAINING, EVALUATION = "02_train_grpo", "03_evaluate"


def training_config(job: Job) -> RunConfig:
    """Build the configuration that notebook 02 would build from the parameters of a job.

    Raises:
        InputError: the parameters do not fit, or the job of labels that it names is not done.
    """
    values = notebook_parameters(notebook_path(job.notebook)) | job.parameters
    values["labels"] = labels_run(values["labels"])
    return RunConfig.from_namespace(values, values["options"])


def evaluation_configs(job: Job, trained: RunConfig | None) -> list[EvalConfig]:
    """Build the evaluations that notebook 03 would make from the parameters of a job.

    Args:
        job: a job of notebook 03 that asks for one prompt style.
        trained: the run that it evaluates; None for the model itself.
    """
    values = notebook_parameters(notebook_path(job.notebook)) | job.parameters
    if "," in str(values["prompt_style"]) or values["prompt_style"] == "all":
        raise InputError(f"Job {job.name} asks for several prompt styles; run its notebook instead.")
    return cells(values | ({"model": trained.model, "trained_run": trained.run_id()} if trained else {}))


def cells(values: dict[str, Any]) -> list[EvalConfig]:
    """Build the evaluations of notebook 03 with these parameters: greedy, and sampled where `n_samples` is above 0."""
    greedy = EvalConfig.from_namespace(values | {"n_samples": 1, "temperature": 0.0})
    if not values["n_samples"]:
        return [greedy]
    return [greedy, replace(greedy, n_samples=values["n_samples"], temperature=values["temperature"])]


def units(
    profile: Profile, stages: Collection[str] = (), seeds: Collection[int] = ()
) -> Iterator[tuple[RunConfig | None, list[EvalConfig]]]:
    """List the trainings of a profile with their evaluations, and the evaluations of untrained models, in its order.

    Args:
        profile: what is run.
        stages: only jobs of these training or base stages; empty takes all.
        seeds: only trainings of these seeds; empty takes all.
    """
    evaluations: dict[str, list[Job]] = {}
    for job in profile.jobs:
        if job.notebook == EVALUATION:
            evaluations.setdefault(str(job.parameters.get("trained", "")), []).append(job)
    for job in profile.jobs:
        if stages and job.stage not in stages:
            continue
        if job.notebook == EVALUATION and "trained" not in job.parameters:
            yield None, evaluation_configs(job, None)
        elif job.notebook == TRAINING and (not seeds or job.parameters.get("seed", 0) in seeds):
            config = training_config(job)
            asked = evaluations.get(job.reference, [])
            yield config, [cell for one in asked for cell in evaluation_configs(one, config)]


def run_unit(config: RunConfig | None, evaluations: list[EvalConfig]) -> None:
    """Train one run, evaluate it, and remove the checkpoints that nothing evaluates; what is finished is skipped.

    Raises:
        InputError: another process works on it, or the policy diverged.
    """
    run = train(config, progress=sys.stderr.isatty()) if config else None
    for cell in evaluations:
        evaluate(cell, progress=sys.stderr.isatty())
    wanted = {f"checkpoint-{cell.checkpoint}" for cell in evaluations}
    for checkpoint in checkpoints.all_checkpoints(run.path("checkpoints")) if run else ():
        if checkpoint.name not in wanted:
            shutil.rmtree(checkpoint)


def finished(config: RunConfig | None, evaluations: list[EvalConfig], committed: Collection[str]) -> bool:
    """Tell whether a unit is whole on this machine, or has its manifests among the `committed` run ids."""
    wanted = [*([config.run_id()] if config else []), *(cell.eval_id() for cell in evaluations)]
    try:
        for run_id in (run_id for run_id in wanted if run_id not in committed):
            RunFolder(RunFolder.manifest_path(run_id).parent).check_files()
    except InputError:  # not complete, or damaged, which `run_unit` will say
        return False
    return True


def committed_ids(profile: str) -> set[str]:
    """Read which runs of a profile have a committed manifest in `results/manifests`."""
    return {path.stem for path in (project_root() / "results" / "manifests" / profile).glob("*.json")}


def run_study(profile: str, /, stages: str = "", seeds: str = "", minutes: float = 0.0, anew: bool = False) -> None:
    """Run the units of a profile until all are done or the time is up; print one line for each.

    Args:
        profile: its name.
        stages: names of training or base stages, by commas; empty takes all.
        seeds: first-last, as in 0-7; empty takes all.
        minutes: begin nothing new after this long; 0 never stops.
        anew: also compute what has committed results.

    Raises:
        InputError: units failed, or `seeds` is no range.
    """
    first, _, last = seeds.partition("-")
    if seeds and not (re.fullmatch(r"\d+(-\d+)?", seeds) and int(first) <= int(last or first)):
        raise InputError(f"--seeds must be a number or a range like 0-7, but it is {seeds!r}.")
    chosen = range(int(first), int(last or first) + 1) if seeds else ()
    committed = set() if anew else committed_ids(profile)
    todo = list(units(load_profile(profile), [name for name in stages.split(",") if name], chosen))
    todo = [unit for unit in todo if not finished(*unit, committed)]
    began, failed = time.monotonic(), []
    for number, (config, evaluations) in enumerate(todo, 1):
        if minutes and time.monotonic() - began > 60 * minutes:
            break
        name = config.run_id() if config else evaluations[0].eval_id()
        if finished(config, evaluations, committed):  # by another process, in the meantime
            continue
        started, cpu = time.monotonic(), time.process_time()
        try:
            run_unit(config, evaluations)
        except LockedError:
            continue
        except InputError as error:
            print(f"{number}/{len(todo)} {name}: {error}", flush=True)
            failed.append(error)
            continue
        wall, cpu = time.monotonic() - started, time.process_time() - cpu
        left = (time.monotonic() - began) / number * (len(todo) - number) / 60
        print(f"{number}/{len(todo)} {name}: {wall:.0f} s, {cpu:.0f} CPU-s; {left:.0f} min left", flush=True)
    done, took = sum(finished(*unit, committed) for unit in todo), (time.monotonic() - began) / 60
    print(f"{done} of {len(todo)} runs that were missing are done after {took:.0f} min, in {runs_dir()}.")
    if failed:
        raise InputError(f"{len(failed)} of {len(todo)} runs failed. {failed[0]}")


main = command(run_study)


if __name__ == "__main__":
    sys.exit(main())
