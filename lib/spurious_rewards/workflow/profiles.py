"""Read profiles: which notebooks run with which parameters, from a YAML file to jobs and their results.

    description: What this profile is for.
    status: measured                  # or "not run", the default
    requires: [gpu]                   # what the machine must have: gpu, data (see `reproduce.missing_requirements`)
    disk_gb: 2                        # free space to ask for before starting
    common: {model: qwen-like}        # for every notebook that has a parameter of that name
    protocol: {...}                   # how claims are judged, see `reporting.protocol`
    records: compact                  # what is committed: whole (default), added or compact, see `reporting.collect`
    stages: {...}                     # see `stages`

Values for a job, later ones first: grid, runs and each; the stage's `parameters`; `common`; the notebook's default. A
notebook with a parameter `profile` gets the profile's name. `read_profile` reads the file alone, which is all that
looking at finished jobs takes; `check_profile` holds every name and type against the notebook's parameters cell, and
against the stage's `config` class if it names one.

Usage: python -m spurious_rewards.workflow.profiles [NAME ...]       # validates, runs nothing; all without a name
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spurious_rewards.command_line import command
from spurious_rewards.errors import InputError, check_name, unknown_name
from spurious_rewards.storage.config import Config
from spurious_rewards.storage.files import read_json, read_text
from spurious_rewards.storage.paths import code_root, project_root
from spurious_rewards.storage.yaml_text import read_mapping
from spurious_rewards.workflow.notebook import check_source
from spurious_rewards.workflow.parameters import Defaults, check_parameters, notebook_parameters
from spurious_rewards.workflow.stages import Job, checked_mapping, checked_names, expand, profile_folder

KEYS = ("description", "status", "requires", "disk_gb", "common", "protocol", "records", "stages")
STATUSES = ("measured", "not run")
REQUIREMENTS = ("data", "gpu")
RECORDS = WHOLE, ADDED, COMPACT = "whole", "added", "compact"
"""What the committed records of a profile keep, see `reporting.collect`."""


@dataclass(frozen=True)
class Profile:
    """Hold a profile with all its jobs."""

    name: str
    description: str
    status: str
    requires: tuple[str, ...]
    disk_gb: float
    common: dict[str, Any]
    jobs: tuple[Job, ...]
    records: str = WHOLE

    def job(self, name: str) -> Job:
        """Find the job of that name.

        Raises:
            InputError: there is none.
        """
        for job in self.jobs:
            if job.name == name:
                return job
        raise unknown_name(f"job of profile {self.name}", name, [job.name for job in self.jobs])


def profile_names() -> list[str]:
    """List the names of the profiles of this project."""
    return sorted(path.stem for path in (project_root() / "profiles").glob("*.yaml"))


def profile_path(name: str) -> Path:
    """Find the file of a profile: in `profiles/`, or a personal one (`make control`) below the runs folder."""
    own = project_root() / "profiles" / f"{name}.yaml"
    return own if own.is_file() else profile_folder(name) / "profile.yaml"


def read_profile(name: str) -> Profile:
    """Read `profiles/<name>.yaml` and expand its stages into jobs, whose parameters are those of the file alone.

    Raises:
        InputError: no such profile, an unknown key, or a value of another type.
    """
    path = profile_path(name)
    if not path.is_file():
        raise _no_profile(name)
    spec = checked_mapping(read_mapping(read_text(path), path.name), path.name, KEYS)
    status = spec.get("status", "not run")
    requires = checked_names(spec.get("requires", []), f"requires of {path.name}")
    check_name(f"status of profile {name}", status, STATUSES)
    for requirement in requires:
        check_name(f"requirement of profile {name}", requirement, REQUIREMENTS)
    records = spec.get("records", WHOLE)
    check_name(f"records of profile {name}", records, RECORDS)
    disk_gb = spec.get("disk_gb", 0)
    if type(disk_gb) not in (int, float) or disk_gb < 0:
        raise InputError(f"disk_gb of profile {name} must be a number of at least 0, but it is {disk_gb!r}.")
    if not isinstance(spec.get("description", ""), str):
        raise InputError(f"The description of profile {name} must be a text, but it is {spec['description']!r}.")
    return Profile(
        name=name, description=spec.get("description", ""), status=status, requires=requires, disk_gb=float(disk_gb),
        common=checked_mapping(spec.get("common", {}), f"common of {path.name}"),
        jobs=tuple(expand(name, checked_mapping(spec.get("stages"), f"stages of {path.name}"))), records=records,
    )  # fmt: skip


def _no_profile(name: str) -> InputError:
    known = profile_names()
    if known:
        return unknown_name("profile", name, known)
    hint = f" (this code was imported from {code_root()})" if code_root() else ""
    return InputError(
        f"There is no profile {name!r}, since {project_root()} has no folder profiles; change to the folder of the "
        f"checkout{hint} and run again."
    )


def check_profile(profile: Profile) -> Profile:
    """Check a profile against notebooks and configuration classes, and fill in `common` and the profile's name.

    Raises:
        InputError: a parameter that its notebook or configuration class refuses, or a notebook that is not fit to run.
    """
    cells: dict[str, Defaults] = {}
    for name in dict.fromkeys(job.notebook for job in profile.jobs):
        cells[name] = notebook_parameters(notebook_path(name))
        check_source(notebook_path(name))
    for name in profile.common:
        if not any(name in cell for cell in cells.values()):
            known = {name for cell in cells.values() for name in cell}
            raise unknown_name(f"parameter in common of profile {profile.name}", name, known)
    filled = []
    for job in profile.jobs:
        cell = cells[job.notebook]
        shared = {name: value for name, value in profile.common.items() if name in cell}
        own = {"profile": profile.name} if "profile" in cell else {}
        where = f"{job.notebook}.ipynb (job {job.name})"
        values = check_parameters({**shared, **own, **job.parameters}, cell, where)
        if job.config:
            _check_config(job.config, cell | values, where)
        filled.append(dataclasses.replace(job, parameters=values))
    return dataclasses.replace(profile, jobs=tuple(filled))


def load_profile(name: str) -> Profile:
    """Read and check a profile: all that can be checked before anything runs.

    Raises:
        InputError: as `read_profile` and `check_profile`.
    """
    return check_profile(read_profile(name))


def notebook_path(name: str) -> Path:
    """Find the source of a notebook of this project."""
    return project_root() / "notebooks" / f"{name}.ipynb"


def job_result(reference: str) -> dict[str, Any]:
    """Read the result of one finished job.

    Args:
        reference: `<profile>/<job>`, as a parameter filled by `each` holds it.

    Returns:
        The mapping with keys profile, job, stage, notebook, notebook_digest, parameters (all, defaults included),
        needs (digest of the result of each job that came first), run_ids, files (hashes of what it wrote beside them).

    Raises:
        InputError: the job is unknown or not done, or its result file is damaged.
    """
    profile, separator, name = reference.partition("/")
    if not separator:
        raise InputError(f"{reference!r} is no reference to a job; write <profile>/<job>, as in micro/train-seed0.")
    path = profile_folder(profile) / "jobs" / f"{name}.json"
    if not path.is_file():
        job = read_profile(profile).job(name)
        raise InputError(f"Job {job.reference} is not done; run it first: make reproduce PROFILE={profile}.")
    return _result(path, profile, name)


def job_results(profile: str) -> list[dict[str, Any]]:
    """Read the results of all finished jobs of a profile, in its order.

    Raises:
        InputError: there is no such profile, or a result file is damaged.
    """
    jobs = read_profile(profile).jobs
    return [_result(job.result_file, profile, job.name) for job in jobs if job.result_file.is_file()]


def _result(path: Path, profile: str, name: str) -> dict[str, Any]:
    """Read the result file of one job."""
    advice = f"delete it and run again (make reproduce PROFILE={profile})"
    result = read_json(path, advice)
    if not isinstance(result, dict) or (result.get("profile"), result.get("job")) != (profile, name):
        raise InputError(f"{path} is not the result of job {profile}/{name}: {advice}.")
    return result


def table(profile: Profile) -> str:
    """Write the jobs of a profile as text, one per line."""
    width = max((len(job.name) for job in profile.jobs), default=0)
    lines = [f"Profile {profile.name} ({profile.status}): {profile.description}".rstrip(": ")]
    for job in profile.jobs:
        values = " ".join(f"{key}={value}" for key, value in job.parameters.items())
        lines.append(f"  {job.name:<{width}}  {job.notebook}  {values}".rstrip())
    return "\n".join([*lines, f"{len(profile.jobs)} jobs"])


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


def validate(*profile: str) -> None:
    """Validate profiles: print the jobs of one, or one line for each of several; nothing runs.

    Args:
        profile: names; all profiles, if none is named.
    """
    if len(profile) == 1:
        print(table(load_profile(profile[0])))
        return
    for name in profile or profile_names():
        lines = table(load_profile(name)).splitlines()
        print(f"{lines[0]} {lines[-1]}.", flush=True)


main = command(validate)


if __name__ == "__main__":
    sys.exit(main())
