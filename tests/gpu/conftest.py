"""Checks that need a GPU: marked `gpu`, skipped where there is none, with a record of what was measured.

`make test-gpu` runs them, prints the record and writes it to the file named by SPURIOUS_GPU_RECORD. They also run from
a folder without network: `PYTHONPATH=lib:<wheels> python3 -m pytest -m gpu tests/gpu` with the wheels that
`tests/gpu/collect_wheels.sh` collects, on Python 3.11 to 3.13.
"""

import functools
import gc
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "training"), str(HERE.parents[1] / "benchmarks")]
RECORD: list[str] = []


def pytest_collection_modifyitems(items):
    """Mark everything in this folder; without CUDA each check is skipped, with the reason."""
    # by value, so that a session that is cut off has seen the most
    order = ("organism", "head", "fsdp", "step", "engine", "memory", "kill", "cpus_tests")
    items.sort(key=lambda item: max((i for i, name in enumerate(order) if name in item.nodeid), default=-1))
    reason = None
    if not torch.cuda.is_available():
        built = "this torch has no CUDA" if torch.version.cuda is None else "torch finds no usable NVIDIA GPU"
        reason = f"{built}: the check needs a GPU"
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def record(request):
    """Write one line of what was measured: `record("peak memory", 42.1, "GB")`."""

    def write(name, value, unit=""):
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        line = f"{request.node.name}: {name} = {shown} {unit}".rstrip()
        RECORD.append(line)
        save([*machine(), "", *RECORD])  # a session that is cut off keeps what it measured

    return write


def save(lines):
    """Write the record to the file that SPURIOUS_GPU_RECORD names, if it names one."""
    if target := os.environ.get("SPURIOUS_GPU_RECORD"):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Put the outcome and the seconds of each check into the record at once, with the reason of a failure."""
    outcome = yield
    report = outcome.get_result()
    if HERE in item.path.parents and (report.when == "call" or report.failed):
        reason = str(call.excinfo.value).strip().splitlines()[:3] if report.failed and call.excinfo else []
        RECORD.append(" | ".join([f"{item.name}: {report.outcome} after {report.duration:.0f} s", *reason]))
        save([*machine(), "", *RECORD])


@pytest.fixture(autouse=True)
def memory(tmp_path, monkeypatch):
    """Each check starts with an empty cache and a runs folder of its own."""
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "runs"))
    yield
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def pytest_sessionstart(session):
    session.config.gpu_checks_began = time.monotonic()


def pytest_terminal_summary(terminalreporter, config):
    """Print the record, and write it where SPURIOUS_GPU_RECORD says."""
    if not RECORD:
        return
    failed = [report.nodeid for report in terminalreporter.stats.get("failed", [])]
    counts = {name: len(terminalreporter.stats.get(name, [])) for name in ("passed", "failed", "error", "skipped")}
    lines = [
        *machine(),
        f"{', '.join(f'{n} {name}' for name, n in counts.items())} in "
        f"{time.monotonic() - config.gpu_checks_began:.0f} s",
        *(f"failed: {name}" for name in failed),
        "",
        *RECORD,
    ]
    terminalreporter.write_sep("-", "record of the GPU checks")
    terminalreporter.write_line("\n".join(lines))
    save(lines)


@functools.cache
def machine():
    """Card, driver and versions, one line each."""
    asked = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        card = subprocess.run(asked, capture_output=True, text=True, timeout=60).stdout.strip()
    except OSError:
        card = torch.cuda.get_device_name()
    import transformers
    import trl

    return [
        f"card, memory, driver: {card}",
        f"torch {torch.__version__}, CUDA {torch.version.cuda}, transformers {transformers.__version__}, "
        f"trl {trl.__version__}, Python {platform.python_version()}",
    ]
