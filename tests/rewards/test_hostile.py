"""Fifty hostile inputs: all answered, none over five seconds, under a gigabyte, the interpreter alive."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import psutil
import pytest
from hostile_inputs import HOSTILE
from nbclient import NotebookClient

from spurious_rewards.rewards import worker_client
from spurious_rewards.rewards.grading import REASONS, grade, judge

HERE = Path(__file__).parent
MAX_SECONDS = 5.0
MAX_BYTES = 1 << 30


class PeakMemory:
    """Peak of the memory of this process and all below it (shared pages counted once), sampled while active."""

    def __enter__(self) -> PeakMemory:
        self.bytes, self.active = 0, True
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.active = False
        self.thread.join()

    def watch(self) -> None:
        me = psutil.Process()
        while self.active:
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
            self.bytes = max(self.bytes, total)
            time.sleep(0.1)


def timed(case: tuple[str, str], mode: str = "robust") -> tuple[float, object]:
    started = time.perf_counter()
    result = grade(*case, mode=mode)
    return time.perf_counter() - started, result


def check(timings: list[tuple[float, object]], n: int) -> None:
    assert len(timings) == n
    assert max(seconds for seconds, _ in timings) < MAX_SECONDS
    assert all(not result.correct and result.reason in REASONS for _, result in timings)
    assert grade(r"\boxed{y-3=2x}", "y=2x+3").correct  # interpreter and worker are alive


def test_main_thread():
    judge.cache_clear()
    worker_client.warm_up()
    with PeakMemory() as peak:
        timings = [timed(case) for case in HOSTILE]
    check(timings, 50)
    assert peak.bytes < MAX_BYTES
    refused = sum(result.reason.startswith("guard_") for _, result in timings)
    assert refused >= 25  # most never reach the engine
    assert sum(seconds > 0.5 for seconds, _ in timings) <= 8


def test_eight_threads():
    judge.cache_clear()
    worker_client.warm_up()
    with PeakMemory() as peak, ThreadPoolExecutor(8) as pool:
        timings = list(pool.map(timed, HOSTILE * 2))
    check(timings, 100)
    assert peak.bytes < MAX_BYTES


def test_paper_mode():
    timings = [timed(case, "paper") for case in HOSTILE]
    assert max(seconds for seconds, _ in timings) < MAX_SECONDS
    assert not any(result.correct for _, result in timings)


def test_inside_a_notebook():
    cells = [
        f"import sys, time, json; sys.path.insert(0, {str(HERE)!r})\nfrom hostile_inputs import HOSTILE\n"
        "from spurious_rewards.rewards.grading import grade",
        "rows = []\nfor prediction, gold in HOSTILE:\n    started = time.perf_counter()\n"
        "    result = grade(prediction, gold)\n    rows.append((time.perf_counter() - started, result.correct))",
        # The kernel's own peak from /proc: its ru_maxrss starts at that of the process that spawned it.
        "import re, resource\nchildren = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
        "own = int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        r"alive = grade(r'\boxed{y-3=2x}', 'y=2x+3').correct" "\n"
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
