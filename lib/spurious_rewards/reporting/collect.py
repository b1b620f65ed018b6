"""Collect the runs of a profile into committed records, from which every other table is computed.

    results/records/<profile>/runs.parquet      one row per training run: its configuration and cost
    results/records/<profile>/metrics.parquet   one row per optimizer update of every run
    results/records/<profile>/samples.parquet   one row per evaluated answer, with its text
    results/records/<profile>/probes.parquet    one row per probed beginning of a problem, where a profile probes
    results/manifests/<profile>/<run_id>.json   the manifest of every run that a number rests on

What is committed is replaced, unless a profile says `records: added` (its runs come from several machines): then a run
that is there already is replaced, and others stay. `records: compact` (hundreds of runs) adds, too, and keeps less, see
`reporting.compact`.

Usage: `records = collect("micro"); save(records, results_dir())`, later `load("micro", results_dir())`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.probe import load_probes
from spurious_rewards.evaluation.records import check_one_version, load_records, read_rows
from spurious_rewards.models.organisms.locate import is_built
from spurious_rewards.reporting import compact
from spurious_rewards.storage.files import RESTORE, read_json, read_parquet, write_json, write_parquet
from spurious_rewards.storage.paths import project_root
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.training.config import RunConfig
from spurious_rewards.workflow.profiles import COMPACT, WHOLE, job_results, profile_path, read_profile

NEEDED = {
    "runs": ("run_id", "model", "reward"),
    "metrics": ("run_id", "update"),
    "samples": ("run_id", "problem_id", "correct"),
}
"""Records of a profile, and columns without which a file is another table."""

ALWAYS = ("reward", "clip_mode")
T = TypeVar("T")


@dataclass(frozen=True)
class Records:
    """Hold what was measured for one profile."""

    profile: str
    runs: pd.DataFrame
    metrics: pd.DataFrame
    samples: pd.DataFrame
    manifests: dict[str, dict[str, Any]]
    probes: pd.DataFrame = field(default_factory=pd.DataFrame)
    _made: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def arm_columns(self) -> list[str]:
        """List the fields of the training configuration, other than the seed, in which the runs differ.

        `labels` is one of them only where a model was trained with one reward on several labellings: that some rewards
        need labels and others do not is no difference of its own.
        """
        return list(self._arm_columns)

    @cached_property
    def _arm_columns(self) -> list[str]:
        """`arm_columns`, found once: many tables ask."""
        if self.runs.empty:
            return list(ALWAYS)

        def differs(name: str) -> bool:
            values = self.runs[name].astype(str)
            groups = values.groupby([self.runs["model"], self.runs["reward"]]) if name == "labels" else [("", values)]
            return any(group.nunique() > 1 for _, group in groups)

        silent = ("seed", "allow_inert_clip")  # the second only permits an `updates_per_batch` of 1
        names = [name for name in RunConfig().identity() if name in self.runs and name not in silent]
        return [name for name in names if name in ALWAYS or differs(name)]


def once(make: Callable[[Records], T]) -> Callable[[Records], T]:
    """Decorate a function of records: what it makes is kept with them, since tables, figures and claims share it.

    A caller gets a table as its own copy, which it may change; anything else is shared.
    """

    @functools.wraps(make)
    def made(records: Records) -> T:
        name = f"{make.__module__}.{make.__qualname__}"
        if name not in records._made:
            records._made[name] = make(records)
        found: Any = records._made[name]
        own: Any = found.copy(deep=False) if isinstance(found, pd.DataFrame) else found
        return own

    return made


def results_dir() -> Path:
    """Return the committed results folder."""
    return project_root() / "results"


def collect(profile: str) -> Records:
    """Read every complete run of a profile on this machine, also of one whose runs were all made without notebooks.

    Raises:
        InputError: no run of the profile is complete, or none was an evaluation.
    """
    kept = _kept(profile)
    small = kept == COMPACT
    run_ids = [run_id for job in job_results(profile) for run_id in job["run_ids"]]
    run_ids += compact.study_run_ids(profile) if kept != WHOLE or not run_ids else []
    folders = [RunFolder.load(run_id) for run_id in dict.fromkeys(run_ids)]
    manifests = {folder.run_id: folder.manifest() for folder in folders}
    training = [folder for folder in folders if manifests[folder.run_id].get("kind") == "training"]
    evaluations = [folder for folder in folders if manifests[folder.run_id].get("kind") == "evaluation"]
    if kept != WHOLE:  # trainings that nothing evaluates chose a setting, and are no arms
        evaluated = {folder.config()["trained_run"] for folder in evaluations}
        training = [folder for folder in training if folder.run_id in evaluated]
        manifests = {name: one for name, one in manifests.items() if one.get("kind") != "training" or name in evaluated}
    if not evaluations:
        raise InputError(f"Profile {profile} has no evaluation yet; run `make reproduce PROFILE={profile}` first.")
    check_one_version(evaluations)
    runs = pd.DataFrame([_run_row(manifests[folder.run_id]) for folder in training])
    metrics, samples = pd.DataFrame(), [_answers(folder) for folder in evaluations]
    if training:
        updates = {folder.run_id: read_rows(folder, "metrics.parquet") for folder in training}
        updates = {run_id: compact.metrics(rows) if small else rows for run_id, rows in updates.items()}
        metrics = pd.concat([rows.assign(run_id=run_id) for run_id, rows in updates.items()], ignore_index=True)
    samples = pd.concat([compact.samples(rows) if small else rows for rows in samples], ignore_index=True)
    probes = load_probes(folder for folder in folders if manifests[folder.run_id].get("kind") == "probe")
    return Records(profile, runs, metrics, samples, manifests, probes.drop(columns=["beginning"], errors="ignore"))


def check_one_checkpoint(manifests: dict[str, dict[str, Any]]) -> None:
    """Check that trainings of one model began from the same weights.

    An organism of seed 0 that is built on another make of processor has other weights under the same name. Older
    manifests do not tell the weights: for a model that each machine builds they agree with none that are told.

    Raises:
        InputError: there are, or may be, two checkpoints of a model; the sentence names a training of each.
    """
    first: dict[str, tuple[str, str]] = {}
    for run_id, manifest in manifests.items():
        if manifest.get("kind") != "training" or "config" not in manifest:
            continue
        model = manifest["config"]["model"]
        if start := manifest.get("digests", {}).get("start", "not told" if is_built(model) else ""):
            known, other = first.setdefault(model, (start, run_id))
            if known != start:
                raise InputError(
                    f"{other} and {run_id} were trained from two checkpoints of {model} (weights {known} and {start}): "
                    "two checkpoints are two models. Keep one: copy its model folder to every machine, move the run "
                    "folders of the other away, and run them again."
                )


def _kept(profile: str) -> str:
    return read_profile(profile).records if profile_path(profile).is_file() else WHOLE


def _answers(folder: RunFolder) -> pd.DataFrame:
    """Return the answers of one evaluation, with whether each is boxed, without their long prompts."""
    samples = load_records([folder])
    return samples.assign(boxed=samples["text"].str.contains(r"\boxed{", regex=False)).drop(columns=["prompt"])


def _run_row(manifest: dict[str, Any]) -> dict[str, Any]:
    cost = ("seconds", "sessions", "peak_memory_mb", "completion_tokens", "n_updates", "commit", "dirty")
    return {"run_id": manifest["run_id"], **manifest["config"], **{name: manifest[name] for name in cost}}


def save(records: Records, results: Path) -> None:
    """Write records and manifests under `results`, in place of those of the profile or added to them.

    Raises:
        InputError: two trainings of one model began from different weights.
    """
    folder = results / "records" / records.profile
    if (folder / "samples.parquet").is_file() and _kept(records.profile) != WHOLE:
        records = compact.added(load(records.profile, results), records)
    check_one_checkpoint(records.manifests)
    runs = records.runs
    if len(runs):  # an archive of the code does not know whether it was changed, and says "unknown"
        runs = runs.assign(dirty=runs["dirty"].map({True: True, False: False}).astype("boolean"))
    for name, table in (("runs", runs), ("metrics", records.metrics), ("samples", records.samples)):
        write_parquet(folder / f"{name}.parquet", table)
    (folder / "probes.parquet").unlink(missing_ok=True)
    if len(records.probes):
        write_parquet(folder / "probes.parquet", records.probes)
    manifests = results / "manifests" / records.profile
    for old in manifests.glob("*.json"):
        if old.stem not in records.manifests:
            old.unlink()
    for run_id, manifest in records.manifests.items():
        write_json(manifests / f"{run_id}.json", manifest)


def load(profile: str, results: Path) -> Records:
    """Read what `save` wrote.

    Raises:
        InputError: nothing was saved for the profile, or a file is damaged.
    """
    folder = results / "records" / profile
    if not (folder / "samples.parquet").is_file():
        raise InputError(f"{results} holds no records of profile {profile}; run `make reproduce PROFILE={profile}`.")
    frames = {name: read_parquet(folder / f"{name}.parquet", needs) for name, needs in NEEDED.items()}
    manifests = {}
    for path in sorted((results / "manifests" / profile).glob("*.json")):
        manifests[path.stem] = manifest = read_json(path)
        if not isinstance(manifest, dict) or manifest.get("run_id") != path.stem:
            raise InputError(f"{path} is not the manifest of run {path.stem}: {RESTORE}.")
    for run_id in {*frames["samples"]["run_id"], *frames["runs"].get("run_id", ())} - set(manifests):
        raise InputError(f"{results / 'manifests' / profile / run_id}.json is missing: {RESTORE}.")
    probes = folder / "probes.parquet"
    own = read_parquet(probes) if probes.is_file() else pd.DataFrame()
    return Records(profile, manifests=manifests, probes=own, **frames)


def saved_profiles(results: Path) -> list[str]:
    """List the profiles with committed records, `micro` first."""
    names = sorted(path.parent.name for path in (results / "records").glob("*/samples.parquet"))
    return sorted(names, key=lambda name: name != "micro")


def has_runs(profile: str) -> bool:
    """Tell whether this machine holds finished evaluations of the profile."""
    return any(job["run_ids"] for job in job_results(profile) if job["notebook"] == "03_evaluate")


def available(profile: str) -> Records:
    """Return the records of this machine's runs if there are any, else the committed ones."""
    return collect(profile) if has_runs(profile) else load(profile, results_dir())
