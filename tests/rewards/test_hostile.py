"""Fifty hostile inputs: all answered, none over five seconds, under a gigabyte, the interpreter alive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from hostile_inputs import HOSTILE
from nbclient import NotebookClient

from spurious_rewards.rewards.grading import REASONS, grade

HERE = Path(__file__).parent
MAX_SECONDS = 5.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # more on a machine with other work
MAX_BYTES = 1 << 30


def run(threads: int) -> list[dict[str, object]]:
    """Rows of `hostile_run.py` with so many threads, after the checks that hold for any number of them."""
    command = [sys.executable, str(HERE / "hostile_run.py"), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert max(row["seconds"] for row in result["rows"]) < MAX_SECONDS
    assert all(not row["correct"] and row["reason"] in REASONS for row in result["rows"])
    assert result["alive"]
    assert 0 < result["peak_bytes"] < MAX_BYTES
    return result["rows"]


def test_main_thread():
    rows = run(threads=1)
    assert len(rows) == 50
    refused = sum(row["reason"].startswith("guard_") for row in rows)
    assert refused >= 25  # most never reach the engine
    assert sum(row["seconds"] > 0.5 for row in rows) <= 8


def test_eight_threads():
    assert len(run(threads=8)) == 100


def test_paper_mode():
    for case in HOSTILE:
        started = time.perf_counter()
        assert not grade(*case, mode="paper").correct
        assert time.perf_counter() - started < MAX_SECONDS


def test_inside_a_notebook():
    cells = [
        f"import sys, time, json; sys.path.insert(0, {str(HERE)!r})\nfrom hostile_inputs import HOSTILE\n"
        "from spurious_rewards.rewards.grading import grade",
        "rows = []\nfor prediction, gold in HOSTILE:\n    started = time.perf_counter()\n"
        "    result = grade(prediction, gold)\n    rows.append((time.perf_counter() - started, result.correct))",
        # The kernel's own peak from /proc: its ru_maxrss starts at that of the process that spawned it.
        "import re, resource\nchildren = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
        "own = int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        r"alive = grade(r'\boxed{y-3=2x}', 'y=2x+3').correct"
        "\n"
        "print(json.dumps([len(rows), max(rows)[0], any(c for _, c in rows), alive, (own + children) * 1024]))",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    n, slowest, any_correct, alive, peak = json.loads(notebook.cells[-1].outputs[0].text)
    assert (n, any_correct, alive) == (50, False, True)
    assert slowest < MAX_SECONDS
    assert peak < MAX_BYTES


@pytest.mark.slow
def test_command_line_over_hostile_inputs(tmp_path):
    path = tmp_path / "hostile.jsonl"
    rows = [{"prediction": p, "gold": g, "expected": False} for p, g in HOSTILE]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    command = [sys.executable, "-m", "spurious_rewards.rewards.grading", "--cases", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["n"], result["accuracy"], result["crashes"]) == (50, 1.0, 0)
    assert result["max_seconds"] < MAX_SECONDS
