"""The DAG end to end on a toy profile: interrupted, failed, mended, changed, and done."""

import os
import signal
import subprocess
import sys
import time

import pytest

PROFILE = """
stages:
  train: {notebook: train, grid: {seed: [0, 1]}}
  report: {notebook: report, needs: [train], outputs: [results/page.html]}
"""
TRAIN = """
import pathlib, time
while seed == 1 and not pathlib.Path("go").exists():
    time.sleep(0.05)
with open("executed", "a") as log:
    log.write(f"train{seed}\\n")
"""
REPORT = """
import pathlib
from spurious_rewards.errors import InputError
from spurious_rewards.workflow.profiles import job_results
with open("executed", "a") as log:
    log.write("report\\n")
if not pathlib.Path("mended").exists():
    raise InputError("The toy is broken; mend it.")
pathlib.Path("results").mkdir(exist_ok=True)
pathlib.Path("results/page.html").write_text(str([result["parameters"]["seed"] for result in job_results(profile)]))
"""
COMMAND = [sys.executable, "-m", "spurious_rewards.workflow.reproduce", "toy", "--cores", "2"]


@pytest.fixture
def toy(project, notebook):
    (project / "profiles" / "toy.yaml").write_text(PROFILE)
    notebook("train", TRAIN, parameters="seed: int = 0")
    notebook("report", REPORT, parameters="profile: str = 'toy'")
    return project


def run():
    return subprocess.run(COMMAND, capture_output=True, text=True, timeout=300, check=False)


def processes_in(folder):
    """Process ids of other processes whose working directory is that folder."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if os.readlink(f"/proc/{entry.name}/cwd") == str(folder):
                    found.append(int(entry.name))
            except OSError:  # it has ended meanwhile, or is not ours
                continue
    return found


def test_interrupted_failed_mended_changed_and_done(toy, notebook):
    executed = toy / "executed"

    # One training is done, the other waits: Ctrl-C.
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert any(line.startswith("[1/3] train-seed0, ") for line in process.stdout)
    second = run()
    assert second.returncode == 2 and "is in use by process" in second.stderr and second.stderr.count("\n") == 1
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Run the same command again: 1 finished jobs of 3 are kept." in errors and "Traceback" not in errors
    for _ in range(100):  # kernels end by themselves within a second of their parent
        if not processes_in(toy):
            break
        time.sleep(0.1)
    assert processes_in(toy) == []
    assert executed.read_text().split() == ["train0"]
    first_notebook = (toy / "runs" / "profiles" / "toy" / "notebooks" / "train-seed0.ipynb").stat().st_mtime_ns

    # Again: the finished job is not redone; the report fails with its own sentence.
    (toy / "go").touch()
    again = run()
    assert again.returncode == 1
    assert "Not all jobs of profile toy are done: 2 of 3.\n  report: The toy is broken; mend it.\n" in again.stderr
    assert "[2/2] report failed: The toy is broken; mend it., " in again.stdout
    assert executed.read_text().split() == ["train0", "train1", "report"]
    assert (toy / "runs" / "profiles" / "toy" / "notebooks" / "train-seed0.ipynb").stat().st_mtime_ns == first_notebook

    # Mended: only the report runs.
    (toy / "mended").touch()
    mended = run()
    assert mended.returncode == 0, mended.stderr
    assert "Profile toy: 3 jobs, 2 done before, 2 cores.\n[1/1] report, " in mended.stdout
    assert f"Written: {toy / 'results' / 'page.html'}" in mended.stdout
    assert (toy / "results" / "page.html").read_text() == "[0, 1]"
    assert executed.read_text().split() == ["train0", "train1", "report", "report"]

    # Done: nothing runs, not even after a touch. A changed notebook runs again.
    began = time.monotonic()
    os.utime(toy / "notebooks" / "train.ipynb")
    result = toy / "runs" / "profiles" / "toy" / "jobs" / "train-seed0.json"
    os.utime(result, (4e9, 4e9))  # a clock that was ahead: times of files do not matter
    assert run().returncode == 0 and executed.read_text().count("\n") == 4
    assert time.monotonic() - began < 60
    notebook("report", REPORT + "\n# changed", parameters="profile: str = 'toy'")
    assert run().returncode == 0 and executed.read_text().split()[4:] == ["report"]

    # A changed value in the profile runs the jobs that it changes.
    (toy / "profiles" / "toy.yaml").write_text(PROFILE.replace("[0, 1]", "[0, 2]"))
    assert run().returncode == 0 and executed.read_text().split()[5:] == ["train2", "report"]
    assert (toy / "results" / "page.html").read_text() == "[0, 2]"


def test_runs_folders_that_cannot_be(toy, monkeypatch):
    (toy / "file").touch()
    for folder, words in (("file", "cannot be made (File exists)"), ("file/sub", "cannot be made (Not a directory)")):
        monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(toy / folder))
        done = run()
        assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_misspelt_profile_is_one_sentence(toy):
    done = subprocess.run([*COMMAND[:3], "tyo"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Unknown profile 'tyo' (did you mean 'toy'?); known: toy.\n"
