"""Expand the stages of a profile into jobs: one job is one execution of one notebook.

    train:
      notebook: 02_train_grpo
      needs: [prepare]                  # every job of these earlier stages comes first
      grid: {reward: [ground_truth, random], seed: [0, 1]}      # all combinations
      runs: [{clip_mode: none}, {clip_mode: two_sided}]         # times these
      parameters: {n_steps: 20}         # the same for every job of the stage
      resources: {threads: 1, memory_mb: 2000, minutes: 2, gpus: 0}
    evaluate:
      notebook: 03_evaluate
      each: {trained: train}            # one job per job of `train`, whose reference goes to the parameter `trained`

Parameters are opaque here: names and values that the notebook's own parameters cell must know.

>>> stages = {"train": {"notebook": "t", "grid": {"reward": ["format"], "seed": [0, 1]}},
...           "evaluate": {"notebook": "e", "each": {"trained": "train"}}}
>>> for job in expand("micro", stages):
...     print(job.name, job.parameters, job.needs)
train-format-seed0 {'reward': 'format', 'seed': 0} ()
train-format-seed1 {'reward': 'format', 'seed': 1} ()
evaluate-format-seed0 {'trained': 'micro/train-format-seed0'} ('train-format-seed0',)
evaluate-format-seed1 {'trained': 'micro/train-format-seed1'} ('train-format-seed1',)
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spurious_rewards.errors import InputError, check_name
from spurious_rewards.storage.paths import runs_dir

STAGE_KEYS = ("notebook", "parameters", "grid", "runs", "each", "needs", "resources", "outputs", "config")
RESOURCES = {"threads": 1, "memory_mb": 1000, "minutes": 0, "gpus": 0}
"""Known resources of a job and what it takes when the stage does not say; 0 minutes means unknown."""

Scalar = str | int | float | bool


@dataclass(frozen=True)
class Job:
    """Hold one execution of one notebook within a profile."""

    profile: str
    name: str  # readable and unique within the profile, as in `train-random-two_sided-seed0`
    label: str  # the name without the stage
    stage: str
    notebook: str  # file name without suffix
    parameters: dict[str, Scalar]
    needs: tuple[str, ...]  # names of the jobs that come first
    resources: dict[str, int]
    outputs: tuple[str, ...]  # files, relative to the project's root, that exist when the job is done
    config: str  # dotted name of the configuration class its parameters must satisfy, or ""
    folder: Path = field(repr=False, compare=False)

    @property
    def output_notebook(self) -> Path:
        """Say where the executed notebook goes."""
        return self.folder / "notebooks" / f"{self.name}.ipynb"

    @property
    def result_file(self) -> Path:
        """Name the job's JSON, written last: parameters and run ids; it exists if the job is done."""
        return self.folder / "jobs" / f"{self.name}.json"

    @property
    def log_file(self) -> Path:
        """Name the file of what the notebook printed while it ran."""
        return self.folder / "logs" / f"{self.name}.log"

    @property
    def state_file(self) -> Path:
        """Name the job's JSON while it runs and after it failed; it is gone when the job is done."""
        return self.folder / "states" / f"{self.name}.json"

    @property
    def reference(self) -> str:
        """Return how a parameter of a later job names this job."""
        return f"{self.profile}/{self.name}"


def profile_folder(profile: str) -> Path:
    """Find the folder of a profile's executed notebooks, job results and logs."""
    return runs_dir() / "profiles" / profile


def expand(profile: str, stages: Mapping[str, Any]) -> list[Job]:
    """List all jobs of the stages, in an order in which they could run one by one.

    Raises:
        InputError: an unknown key, a wrong type, an unknown stage in `needs` or `each`, or two jobs of one name.
    """
    jobs: dict[str, list[Job]] = {}
    if not stages:
        raise InputError(f"Profile {profile} has no stages, so there is nothing to run; give it at least one.")
    for stage, spec in stages.items():
        where = f"stage {stage} of profile {profile}"
        if not isinstance(stage, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", stage) or stage == "all":
            raise InputError(f"The name of {where} must be lower case letters, digits and underscores, and not all.")
        jobs[stage] = _expand_stage(profile, stage, checked_mapping(spec, where, STAGE_KEYS), jobs, where)
        names = [job.name for job in jobs[stage]]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"Two jobs of {where} would have the name {name}; remove the repeated value.")
    return [job for stage_jobs in jobs.values() for job in stage_jobs]


def checked_mapping(value: Any, where: str, keys: Collection[str] | None = None) -> dict[str, Any]:
    """Return `value` if it is a mapping, of known keys only when `keys` is given.

    Raises:
        InputError: it is no mapping, or has another key.
    """
    if not isinstance(value, dict):
        raise InputError(f"{_capital(where)} must be a mapping, but it is {value!r}.")
    for key in value if keys is not None else ():
        check_name(f"key in {where}", key, keys)
    return value


def checked_names(value: Any, where: str) -> tuple[str, ...]:
    """Return `value` as a tuple if it is a list of strings.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InputError(f"{_capital(where)} must be a list of names, but it is {value!r}.")
    return tuple(value)


def _expand_stage(
    profile: str, stage: str, spec: dict[str, Any], earlier: dict[str, list[Job]], where: str
) -> list[Job]:
    if not isinstance(spec.get("notebook"), str):
        raise InputError(f"{_capital(where)} must name its notebook, without the suffix .ipynb.")
    if not isinstance(spec.get("config", ""), str):
        raise InputError(f"The config of {where} must be the dotted name of a configuration class.")
    constants = _scalars(spec.get("parameters", {}), f"parameters of {where}")
    needed = tuple(
        job.name for name in checked_names(spec.get("needs", []), f"needs of {where}")
        for job in _stage(name, earlier, where)
    )  # fmt: skip
    upstream, link = _upstream(spec.get("each"), earlier, where)
    outputs = checked_names(spec.get("outputs", []), f"outputs of {where}")
    resources = _resources(spec.get("resources", {}), f"resources of {where}")
    jobs = []
    for source, varied in itertools.product(upstream, _variations(spec, constants, where)):
        label = "-".join([*([source.label] if source and source.label else []), *map(_label, varied, varied.values())])
        linked = {link: source.reference} if source else {}
        if set(linked) & {*constants, *varied}:
            raise InputError(f"{_capital(where)} gives {link} both in each and as a parameter; keep one.")
        jobs.append(Job(
            profile=profile, name="-".join(filter(None, [stage, label])), label=label, stage=stage,
            notebook=spec["notebook"], parameters={**constants, **varied, **linked},
            needs=tuple(dict.fromkeys([*needed, *([source.name] if source else [])])), resources=resources,
            outputs=outputs, config=spec.get("config", ""), folder=profile_folder(profile),
        ))  # fmt: skip
    return jobs


def _variations(spec: dict[str, Any], constants: dict[str, Scalar], where: str) -> list[dict[str, Scalar]]:
    """Return the parameters in which the jobs of a stage differ: every entry of `runs` with every point of `grid`."""
    grid = checked_mapping(spec.get("grid", {}), f"grid of {where}")
    runs = spec.get("runs", [{}])
    if not isinstance(runs, list) or not runs:
        raise InputError(f"The runs of {where} must be a list of mappings of parameters.")
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"The grid of {where} must give a list of values for {name}, but gives {values!r}.")
        if name in constants:
            raise InputError(f"{_capital(where)} gives {name} both in grid and in parameters; keep one.")
        _scalars({f"{name} (value {i + 1})": value for i, value in enumerate(values)}, f"grid of {where}")
    variations = []
    for run in runs:
        run = _scalars(run, f"an entry of runs of {where}")
        if set(run) & set(grid):
            raise InputError(f"{_capital(where)} gives {min(set(run) & set(grid))} both in grid and in runs; keep one.")
        variations += [run | dict(zip(grid, point, strict=True)) for point in itertools.product(*grid.values())]
    return variations


def _upstream(each: Any, earlier: dict[str, list[Job]], where: str) -> tuple[list[Job | None], str]:
    """Return the jobs to go through one by one, and the parameter that takes each one's reference."""
    if each is None:
        return [None], ""
    each = checked_mapping(each, f"each of {where}")
    if len(each) != 1:
        raise InputError(f"The each of {where} must be one parameter and its stage, as in `each: {{trained: train}}`.")
    ((link, names),) = each.items()
    names = checked_names([names] if isinstance(names, str) else names, f"each of {where}")
    return [job for name in names for job in _stage(name, earlier, where)], link


def _stage(name: str, earlier: dict[str, list[Job]], where: str) -> list[Job]:
    check_name(f"earlier stage, needed by {where},", name, earlier)
    return earlier[name]


def _resources(value: Any, where: str) -> dict[str, int]:
    given = checked_mapping(value, where, tuple(RESOURCES))
    for name, amount in given.items():
        if type(amount) is not int or amount < (1 if name == "threads" else 0):
            raise InputError(f"In {where}, {name} must be a whole number of at least {int(name == 'threads')}.")
    return RESOURCES | given


def _scalars(value: Any, where: str) -> dict[str, Scalar]:
    for name, one in checked_mapping(value, where).items():
        if not isinstance(name, str) or not isinstance(one, Scalar):
            raise InputError(f"In {where}, {name} must be a text, a number, true or false, but it is {one!r}.")
    return value


def _label(name: str, value: Scalar) -> str:
    """Return a parameter's part of a job name.

    >>> _label("model", "Qwen/Qwen2.5-Math-7B"), _label("seed", 0), _label("packing", False)
    ('Qwen2.5-Math-7B', 'seed0', 'no_packing')
    """
    if isinstance(value, bool):
        return name if value else f"no_{name}"
    if isinstance(value, str) and value:
        return re.sub(r"[^A-Za-z0-9._]+", "-", value.rstrip("/").rsplit("/", 1)[-1]).strip("-.") or name
    return re.sub(r"[^A-Za-z0-9._-]+", "", f"{name}{value}")


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
