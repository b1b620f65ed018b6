"""Print what this machine has and lacks, in one screen; nothing is changed and nothing heavy is imported.

Usage: python -m spurious_rewards.workflow.doctor        # or: make doctor
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from spurious_rewards.command_line import command
from spurious_rewards.storage.paths import code_root, project_root, runs_dir
from spurious_rewards.storage.provenance import git_state, hardware, versions

BROWSERS = (
    "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable",
)  # fmt: skip

DRIVER = 580
"""NVIDIA's first driver for CUDA 13; compatibility does not cross major versions of CUDA."""


def browser_path() -> str | None:
    """Find the Chrome-family browser that figures are drawn with: `$BROWSER_PATH`, else the first known on the PATH."""
    given = os.environ.get("BROWSER_PATH")
    if given and os.access(given, os.X_OK):
        return given
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def lock_differences(lock: Path) -> list[str]:
    """List packages whose installed version is not the one in a lock file, as `name: installed, lock wants x`.

    Only the packages that a manifest lists are looked at.
    """
    wanted = {}
    for line in lock.read_text(encoding="utf-8").splitlines():
        if re.match(r"[A-Za-z0-9._-]+==", line):
            requirement = Requirement(line.partition(" #")[0].rstrip(" \\"))
            if requirement.marker is None or requirement.marker.evaluate():
                wanted[requirement.name] = str(requirement.specifier).removeprefix("==")
    # A local version, as in 2.13.0+cpu, is the same release built for other hardware.
    return [
        f"{name}: {installed} is installed, {lock.name} wants {wanted[name]}"
        for name, installed in versions().items()
        if name in wanted and installed.partition("+")[0] != wanted[name].partition("+")[0]
    ]


def report() -> list[tuple[str, str]]:
    """Collect label and finding of every line."""
    machine = hardware()
    commit, dirty = git_state()
    free_gb = shutil.disk_usage(next(path for path in (runs_dir(), *runs_dir().parents) if path.exists())).free / 1e9
    data = os.environ.get("SPURIOUS_DATA_DIR")
    if not data:
        data_line = "SPURIOUS_DATA_DIR is not set: benchmarks come from the hub; the synthetic task needs nothing"
    elif not Path(data).is_dir():
        data_line = f"SPURIOUS_DATA_DIR is {data}, which is NOT a folder"
    else:
        data_line = f"SPURIOUS_DATA_DIR is {data}: {len(os.listdir(data))} entries"
    root = code_root()
    lock = (root or project_root()) / "requirements" / "cpu.lock.txt"
    differences = lock_differences(lock) if lock.is_file() else [f"there is no {lock}"]
    threads = os.environ.get("OMP_NUM_THREADS", "not set (jobs of a profile set it)")
    rows = [
        ("Python", f"{sys.version.split()[0]} at {sys.executable}"),
        ("Code", f"{root or 'no checkout'}, commit {commit}{_about_commit(root, commit, dirty)}"),
        ("Packages", ", ".join(f"{name} {version}" for name, version in versions().items())),
        ("Lock file", "; ".join(differences) or "installed versions agree with cpu.lock.txt"),
        ("Processor", f"{machine['cpu']}, {machine['cores']} usable cores, {machine['memory_gb']} GB of memory"),
        ("GPUs", _gpus(machine)),
        ("Threads", f"OMP_NUM_THREADS {threads}"),
        ("Runs", f"{runs_dir()}, {free_gb:.1f} GB free"),
        ("Data", data_line),
        ("Browser", browser_path() or "none: figures are written as HTML only; Debian: apt install "
                                      "chromium-headless-shell, elsewhere set BROWSER_PATH to a Chrome or Chromium"),
    ]  # fmt: skip
    return rows


def _gpus(machine: dict[str, Any]) -> str:
    if not machine["gpus"]:
        return "none (nvidia-smi lists no GPU): use the profiles that run on a CPU"
    driver = machine["gpu_driver"]
    major = driver.partition(".")[0]
    note = ""
    if major.isdigit() and int(major) < DRIVER:
        note = f", TOO OLD: PyTorch of the lock is built for CUDA 13, which needs driver {DRIVER} or newer"
    return f"{', '.join(machine['gpus'])}; {machine['gpu_memory_gb']:g} GB each, driver {driver}{note}"


def _about_commit(root: Path | None, commit: str, dirty: bool | str) -> str:
    if commit != "unknown" or root is None:
        return ", changed since" if dirty is True else ""
    if not (root / ".git").exists():
        return " (no .git in this folder: an archive; manifests will not name the commit)"
    return " (git is missing or refuses this folder)"


def print_report() -> None:
    """Print what this machine has and lacks."""
    for label, finding in report():
        print(f"{label:<10} {finding}")


main = command(print_report)


if __name__ == "__main__":
    sys.exit(main())
