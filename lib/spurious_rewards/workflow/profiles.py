"""Profiles: which notebooks run with which parameters, from one YAML file to a list of jobs and their results.

    description: What this profile is for.
    status: measured                  # or "not run", the default
    requires: [gpu]                   # what the machine must have: gpu, data (see `requirements`)
    disk_gb: 2                        # free space to ask for before starting
    common: {model: qwen-like}        # for every notebook that has a parameter of that name
    stages: {...}                     # see `stages`

Values for a job, later ones first: grid, runs and each; the stage's `parameters`; `common`; the notebook's default. A
notebook with a parameter `profile` gets the profile's name. Every name and type is checked against the notebook's
parameters cell, and against the stage's `config` class if it names one.

Usage: python -m spurious_rewards.workflow.profiles check micro        # prints the table of jobs, runs nothing
       python -m spurious_rewards.workflow.profiles run micro JOB      # one job alone
"""

from __future__ import annotations

import argparse
import dataclasses
import filecmp
import functools
import importlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spurious_rewards.command_line import exit_code
from spurious_rewards.errors import InputError, unknown_name
from spurious_rewards.storage.config import Config
from spurious_rewards.storage.files import atomic_path, read_json, read_text, write_json
from spurious_rewards.storage.paths import project_root
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.storage.yaml_text import read_mapping
from spurious_rewards.workflow.notebook import check_source, execute
from spurious_rewards.workflow.parameters import Defaults, check_parameters, notebook_parameters, source_digest
from spurious_rewards.workflow.stages import Job, checked_mapping, checked_names, expand, profile_folder

KEYS = ("description", "status", "requires", "disk_gb", "common", "stages")
STATUSES = ("measured", "not run")
REQUIREMENTS = ("data", "gpu")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Profile:
    """A profile with all its jobs, checked against their notebooks."""

    name: str
    description: str
    status: str
    requires: tuple[str, ...]
    disk_gb: float
    jobs: tuple[Job, ...]

    def job(self, name: str) -> Job:
        """The job of that name.

        Raises:
            InputError: there is none.
        """
        for job in self.jobs:
            if job.name == name:
                return job
        raise unknown_name(f"job of profile {self.name}", name, [job.name for job in self.jobs])


def profile_names() -> list[str]:
    """The names of the profiles of this project."""
    return sorted(path.stem for path in (project_root() / "profiles").glob("*.yaml"))


def load_profile(name: str) -> Profile:
    """Read `profiles/<name>.yaml`, expand its stages into jobs and check everything that can be checked unrun.

    Raises:
        InputError: no such profile, an unknown key, or a parameter that its notebook or config class refuses.
    """
    path = project_root() / "profiles" / f"{name}.yaml"
    if not path.is_file():
        raise unknown_name("profile", name, profile_names())
    spec = checked_mapping(read_mapping(read_text(path), path.name), path.name, KEYS)
    status = spec.get("status", "not run")
    requires = checked_names(spec.get("requires", []), f"requires of {path.name}")
    if status not in STATUSES:
        raise unknown_name(f"status of profile {name}", status, STATUSES)
    for requirement in requires:
        if requirement not in REQUIREMENTS:
            raise unknown_name(f"requirement of profile {name}", requirement, REQUIREMENTS)
    disk_gb = spec.get("disk_gb", 0)
    if type(disk_gb) not in (int, float) or disk_gb < 0:
        raise InputError(f"disk_gb of profile {name} must be a number of at least 0, but it is {disk_gb!r}.")
    if not isinstance(spec.get("description", ""), str):
        raise InputError(f"The description of profile {name} must be a text, but it is {spec['description']!r}.")
    jobs = expand(name, checked_mapping(spec.get("stages"), f"stages of {path.name}"))
    return Profile(
        name=name, description=spec.get("description", ""), status=status, requires=requires,
        disk_gb=float(disk_gb),
        jobs=tuple(_checked_jobs(jobs, checked_mapping(spec.get("common", {}), f"common of {path.name}"), name)),
    )  # fmt: skip


def notebook_path(name: str) -> Path:
    """The source of a notebook of this project."""
    return project_root() / "notebooks" / f"{name}.ipynb"


def job_result(reference: str) -> dict[str, Any]:
    """The result of one finished job.

    Args:
        reference: `<profile>/<job>`, as a parameter filled by `each` holds it.

    Returns:
        The mapping with keys profile, job, stage, notebook, notebook_digest, parameters (all, defaults included),
        needs, run_ids.

    Raises:
        InputError: the job is unknown or not done.
    """
    profile, separator, name = reference.partition("/")
    if not separator:
        raise InputError(f"{reference!r} is no reference to a job; write <profile>/<job>, as in micro/train-seed0.")
    path = profile_folder(profile) / "jobs" / f"{name}.json"
    if not path.is_file():
        job = load_profile(profile).job(name)
        raise InputError(f"Job {job.reference} is not done; run it first: make reproduce PROFILE={profile}.")
    return read_json(path)


def job_results(profile: str, stage: str | None = None) -> list[dict[str, Any]]:
    """The results of all finished jobs of a profile (of one stage), in the profile's order.

    Raises:
        InputError: there is no such profile or stage.
    """
    jobs = load_profile(profile).jobs
    stages = {job.stage for job in jobs}
    if stage is not None and stage not in stages:
        raise unknown_name(f"stage of profile {profile}", stage, stages)
    wanted = [job for job in jobs if stage in (None, job.stage)]
    return [read_json(job.result_file) for job in wanted if job.result_file.is_file()]


def run_job(job: Job, verbose: bool = False) -> None:
    """Execute the job's notebook and write its result file.

    Raises:
        InputError: a job that it needs is not done, or bad input in the notebook.
        NotebookError: the notebook failed.
    """
    for name in job.needs:
        job_result(f"{job.profile}/{name}")
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(job.resources["threads"])
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else each fork of a kernel prints a warning
    as_planned = identity(job)
    outputs = [project_root() / output for output in job.outputs]
    done = execute(notebook_path(job.notebook), job.output_notebook, job.parameters, outputs, verbose)
    write_json(job.result_file, as_planned | {"run_ids": done.run_ids})


def identity(job: Job) -> dict[str, Any]:
    """Everything that defines a job and can be known before it runs; a job done with another identity runs again."""
    path = notebook_path(job.notebook)
    return {
        "profile": job.profile, "job": job.name, "stage": job.stage, "notebook": job.notebook,
        "notebook_digest": source_digest(path), "parameters": notebook_parameters(path) | job.parameters,
        "needs": list(job.needs),
    }  # fmt: skip


def forget_outdated(profile: Profile) -> list[Job]:
    """Remove the result files of jobs that are not done as the profile wants them; return these jobs.

    A job is done only while its executed notebook, its declared outputs and the manifests of its runs exist, and only
    with the source cells, parameters and needs that it has now. Times of files do not matter.
    """
    outdated = []
    for job in profile.jobs:
        if not job.result_file.is_file():
            continue
        result = read_json(job.result_file)
        runs = [RunFolder.manifest_path(run_id) for run_id in result["run_ids"]]
        outputs = [project_root() / output for output in job.outputs]
        whole = all(path.is_file() for path in (job.output_notebook, *runs, *outputs))
        if not whole or result != identity(job) | {"run_ids": result["run_ids"]}:
            job.result_file.unlink()
            outdated.append(job)
    return outdated


def copy_notebooks(profile: Profile, folder: Path) -> list[Path]:
    """Copy the executed notebooks that a reader would open, the first of each kind, and return the copies.

    A copy that is there already and equal is not written again.
    """
    copied: dict[str, Path] = {}
    for job in profile.jobs:
        if job.notebook not in copied and job.output_notebook.is_file():
            copied[job.notebook] = target = folder / f"{job.notebook}.ipynb"
            if target.is_file() and filecmp.cmp(job.output_notebook, target, shallow=False):
                continue
            with atomic_path(target) as temporary:
                shutil.copyfile(job.output_notebook, temporary)
    return list(copied.values())


def table(profile: Profile) -> str:
    """The jobs of a profile as text, one per line."""
    width = max((len(job.name) for job in profile.jobs), default=0)
    lines = [f"Profile {profile.name} ({profile.status}): {profile.description}".rstrip(": ")]
    for job in profile.jobs:
        values = " ".join(f"{key}={value}" for key, value in job.parameters.items())
        lines.append(f"  {job.name:<{width}}  {job.notebook}  {values}".rstrip())
    return "\n".join([*lines, f"{len(profile.jobs)} jobs"])


def _checked_jobs(jobs: list[Job], common: dict[str, Any], profile: str) -> list[Job]:
    """The jobs with `common` and `profile` filled in, after all checks that need the notebooks."""
    cells: dict[str, Defaults] = {}
    for name in dict.fromkeys(job.notebook for job in jobs):
        cells[name] = notebook_parameters(notebook_path(name))
        check_source(notebook_path(name))
    for name in common:
        if not any(name in cell for cell in cells.values()):
            known = {name for cell in cells.values() for name in cell}
            raise unknown_name(f"parameter in common of profile {profile}", name, known)
    filled = []
    for job in jobs:
        cell = cells[job.notebook]
        shared = {name: value for name, value in common.items() if name in cell}
        own = {"profile": profile} if "profile" in cell else {}
        where = f"{job.notebook}.ipynb (job {job.name})"
        values = check_parameters({**shared, **own, **job.parameters}, cell, where)
        if job.config:
            _check_config(job.config, cell | values, where)
        filled.append(dataclasses.replace(job, parameters=values))
    return filled


def _check_config(dotted: str, values: dict[str, Any], where: str) -> None:
    """Build the configuration class from the parameters as the notebook will do."""
    try:
        _config_class(dotted).from_namespace(values, values.get("options", ""))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


@functools.cache
def _config_class(dotted: str) -> type[Config]:
    module, _, name = dotted.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"There is no configuration class {dotted}; write module.Class, as it is imported.") from error


def main(arguments: list[str] | None = None) -> int:
    """Command line: `check PROFILE` prints the jobs, `run PROFILE JOB` executes one."""
    parser = argparse.ArgumentParser(prog="python -m spurious_rewards.workflow.profiles")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="validate a profile and print its jobs; nothing runs")
    check.add_argument("profile")
    run = commands.add_parser("run", help="execute one job of a profile")
    run.add_argument("profile")
    run.add_argument("job")
    run.add_argument("-v", "--verbose", action="store_true", help="show what the notebook prints")
    options = parser.parse_args(arguments)

    def program() -> None:
        profile = load_profile(options.profile)
        if options.command == "check":
            print(table(profile))
        else:
            run_job(profile.job(options.job), options.verbose)

    return exit_code(program)


if __name__ == "__main__":
    sys.exit(main())
