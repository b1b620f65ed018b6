"""Nothing outlives what started it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from spurious_rewards.workflow.processes import bound

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's signal exists on Linux only")

SLEEP = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(100)"]
PARENT = f"""
import subprocess, sys, signal
from spurious_rewards.workflow.processes import bound
subprocess.run(bound({SLEEP!r}, signal.SIGTERM))
"""
# A notebook that launches a process of its own, as a training on several GPUs does.
LAUNCH = f"""
import os, pathlib, signal, subprocess, sys, time
from spurious_rewards.workflow.processes import bound
child = subprocess.Popen(bound({SLEEP!r}, signal.SIGTERM), stdout=subprocess.PIPE, text=True)
pathlib.Path("pids").write_text(f"{{os.getpid()}} {{child.stdout.readline().strip()}}")
time.sleep(100)
"""


def alive(process_id):
    try:
        with open(f"/proc/{process_id}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, seconds):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def test_a_bound_process_ends_with_its_parent_even_when_that_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    assert alive(child)
    parent.kill()
    parent.communicate()
    wait_for(lambda: not alive(child), 10)


def test_a_bound_process_listens_to_ctrl_c_again():
    # a shell script starts its background jobs with SIGINT ignored
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = subprocess.Popen(bound(SLEEP), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    finally:
        signal.signal(signal.SIGINT, old)
    child.stdout.readline()
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=10)
    assert child.returncode == -signal.SIGINT


@pytest.mark.parametrize("victim", ["executor", "kernel"])
def test_neither_kernel_nor_launched_training_survives(notebook, project, victim):
    path = notebook("toy", LAUNCH)
    command = [sys.executable, "-m", "spurious_rewards.workflow.execute", str(path), "out.ipynb"]
    executor = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    pids = project / "pids"
    wait_for(lambda: pids.is_file() and len(pids.read_text().split()) == 2, 120)
    kernel, child = map(int, pids.read_text().split())
    os.kill(executor.pid if victim == "executor" else kernel, signal.SIGKILL)
    wait_for(lambda: not alive(kernel) and not alive(child), 10)
    _, errors = executor.communicate(timeout=60)
    if victim == "kernel":
        assert executor.returncode == 1 and "The kernel of toy.ipynb died in cell 2" in errors
