"""Where the numbers of the page come from: notebook, table, records, runs, commit, and the command that makes them.

Usage: `sources(results)["organism"].command`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spurious_rewards.storage.files import read_json
from spurious_rewards.workflow.profiles import profile_names, read_profile

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
MECHANISM_COMMANDS = {
    "bandit_map": "python -m spurious_rewards.mechanism map --size committed --out results",
    "bandit_bins": "python -m spurious_rewards.mechanism map --size committed --only-bins --out results",
    "counterfactual": "python -m spurious_rewards.mechanism counterfactual --size one-sign --out results",
    "dose_counterfactual": "python -m spurious_rewards.mechanism dose --out results",
    "dose_response": "python -m spurious_rewards.mechanism dose --out results",
}


@dataclass(frozen=True)
class Source:
    """Hold one set of runs that numbers rest on.

    Attributes:
        name: of the profile, or of the table of the mechanism.
        command: that makes it again.
        minutes: computing time of all its runs together, on one core.
        hardware: what it was measured on.
        commits: short names of the commits of its runs.
        n_manifests: how many runs and evaluations.
        manifests: its folder or file below results/.
    """

    name: str
    command: str
    minutes: int
    hardware: str
    commits: str
    n_manifests: int
    manifests: str


def computing_seconds(manifest: Mapping[str, Any]) -> float:
    """Read what a run took of one core; older manifests know the time on the clock alone."""
    return float(manifest.get("cpu_seconds") or manifest.get("seconds", 0))


def sources(results: Path) -> dict[str, Source]:
    """Name → source, for every profile and every table of the mechanism with committed manifests."""
    found = {}
    for folder in sorted((results / "manifests").iterdir()):
        paths = sorted(folder.glob("*.json"))
        if folder.name == "mechanism":
            for path in paths:
                found[path.stem] = _source(path.stem, MECHANISM_COMMANDS.get(path.stem, ""), [read_json(path)],
                                           f"manifests/mechanism/{path.name}")  # fmt: skip
        elif paths:
            command = f"make reproduce PROFILE={folder.name}"
            found[folder.name] = _source(folder.name, command, [read_json(path) for path in paths],
                                         f"manifests/{folder.name}/")  # fmt: skip
    return found


def _source(name: str, command: str, manifests: list[Mapping[str, Any]], place: str) -> Source:
    runs = [run for manifest in manifests for run in manifest.get("runs", [manifest])]
    machines = {hardware_words(m["hardware"]) for m in [*manifests, *runs] if m.get("hardware")}
    seconds = sum(computing_seconds(m) for m in manifests)
    return Source(
        name, command, max(1, math.ceil(seconds / 60)), "; ".join(sorted(machines)), commits(runs), len(runs), place
    )


def hardware_words(hardware: Mapping[str, Any]) -> str:
    """Name a machine in words.

    >>> hardware_words({"cpu": "Some CPU", "cores": 2, "memory_gb": 25.3, "gpus": []})
    'Some CPU, 2 cores, 25 GB, no GPU'
    """
    gpus = (
        ", ".join(str(gpu.get("name", gpu) if isinstance(gpu, dict) else gpu) for gpu in hardware["gpus"]) or "no GPU"
    )
    return f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['memory_gb']:.0f} GB, {gpus}"


def commits(runs: list[Mapping[str, Any]]) -> str:
    """Name the commits that runs were made from."""
    found = {str(m["commit"])[:10] + (" with uncommitted changes" if m.get("dirty") is True else "")
             for m in runs if "commit" in m}  # fmt: skip
    return ", ".join(sorted(found)) or "unknown"


def not_run(results: Path) -> list[tuple[str, str, str]]:
    """Name, description and command of the profiles without committed manifests."""
    have = sources(results)
    return [
        (name, read_profile(name).description, f"make reproduce PROFILE={name}")
        for name in profile_names()
        if name not in have
    ]
