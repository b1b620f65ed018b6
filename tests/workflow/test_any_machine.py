"""Ordinary environments in which programs tend to fail: each works here, or ends in one sentence."""

import ast
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spurious_rewards.storage.paths import code_root, ensure_cache, project_root, runs_dir
from spurious_rewards.workflow.doctor import report

REPRODUCE = [sys.executable, "-m", "spurious_rewards.workflow.reproduce"]
CELL = """
import os, pathlib, sys
assert sys.flags.utf8_mode == 1 and sys.flags.optimize == 0
pathlib.Path("größe.txt").write_text(f"γ = {seed}, {os.environ['XDG_CACHE_HOME']}")
print(f"γ = {seed} in {pathlib.Path.cwd()}")
"""


def run(*command, **options):
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", timeout=300, check=False, **options
    )


@pytest.fixture
def toy(project, notebook):
    """A profile of one job."""
    (project / "profiles" / "toy.yaml").write_text("stages: {train: {notebook: train, parameters: {seed: 1}}}")
    notebook("train", CELL)
    return project


def test_no_home_no_shared_memory_no_utf8_and_assertions_left_out(toy, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("ein Ordner für γ")
    folder = elsewhere / "Projekt"
    shutil.copytree(toy, folder)
    (elsewhere / "no_home").touch()  # a file: no folder can be made below it
    hostile = {
        "HOME": str(elsewhere / "no_home"), "LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
        "PYTHONOPTIMIZE": "1",
    }  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")} | hostile
    command = [*REPRODUCE, "toy", "--cores", "1"]
    without_shm = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o ro none /dev/shm && exec "$@"', "sh"]
    if run(*without_shm, "true").returncode == 0:
        command = [*without_shm, *command]
    done = run(*command, cwd=folder, env=environment)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert f"Executed notebooks: {folder}" in done.stdout
    assert (folder / "größe.txt").read_text() == f"γ = 1, {folder / 'runs' / '.cache'}"
    assert "γ = 1 in ." in (folder / "results" / "notebooks" / "toy" / "train.ipynb").read_text()
    # An integrity check of a notebook is made whatever PYTHONOPTIMIZE says.
    source = (folder / "notebooks" / "train.ipynb").read_text()
    (folder / "notebooks" / "train.ipynb").write_text(
        source.replace("import os, pathlib, sys", "assert seed == 0, 'γ'")
    )
    failed = run(*command, cwd=folder, env=environment)
    assert failed.returncode == 1 and "train.ipynb failed in cell 3 (AssertionError: γ)" in failed.stderr


def test_integrity_checks_of_the_package_are_no_assertions():
    # python -O leaves assertions out
    for path in (code_root() / "lib").rglob("*.py"):
        assert not [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)], path


def test_a_cache_is_found_only_where_the_usual_one_cannot_be_written(project, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(project / "home"))
    ensure_cache()
    assert "XDG_CACHE_HOME" not in os.environ and (project / "home" / ".cache").is_dir()
    (project / "file").touch()
    monkeypatch.setenv("HOME", str(project / "file"))
    ensure_cache()
    assert os.environ["XDG_CACHE_HOME"] == str(runs_dir() / ".cache")
    monkeypatch.setenv("XDG_CACHE_HOME", "/mine")
    ensure_cache()
    assert os.environ["XDG_CACHE_HOME"] == "/mine"


def test_another_working_directory_finds_the_checkout(tmp_path):
    done = run(*REPRODUCE, "micro", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("Profile micro"), done.stderr
    assert project_root(tmp_path) == code_root()
    (tmp_path / "pyproject.toml").touch()  # another project, without profiles
    done = run(*REPRODUCE, "micro", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"There is no profile 'micro', since {tmp_path} has no folder profiles; change to the folder of the checkout "
        f"(this code was imported from {code_root()}) and run again.\n"
    )


def test_a_limit_on_open_files_is_raised_or_named(notebook, project):
    path = notebook("toy", "import resource\nprint(resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 256)")
    command = [sys.executable, "-m", "spurious_rewards.workflow.execute", str(path), "out.ipynb"]
    done = run(*command, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 1024)))
    assert (done.returncode, done.stderr) == (0, "") and "True" in (project / "out.ipynb").read_text()
    done = run(*command, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)))
    assert done.returncode == 2 and done.stderr == (
        "This process may open only 40 files, and 256 are needed; raise the limit (ulimit -n 1024).\n"
    )


def test_a_limit_on_memory_is_one_sentence(notebook, project):
    path = notebook("toy", "x = bytearray(4 * 2**30)")

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))

    done = run(sys.executable, "-m", "spurious_rewards.workflow.execute", str(path), "out.ipynb", preexec_fn=limit)
    assert done.returncode == 1 and "toy.ipynb failed in cell 2 (MemoryError" in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1


def test_the_doctor_says_why_there_is_no_commit(project, monkeypatch):
    monkeypatch.setattr("spurious_rewards.workflow.doctor.code_root", lambda: project)
    monkeypatch.setattr("spurious_rewards.workflow.doctor.git_state", lambda: ("unknown", "unknown"))
    assert "commit unknown (no .git in this folder: an archive" in dict(report())["Code"]
    (project / ".git").mkdir()
    assert "commit unknown (git is missing or refuses" in dict(report())["Code"]


SLOW = "import pathlib, time\npathlib.Path('started').touch()\ntime.sleep(100)"


@pytest.mark.parametrize("request_name", ["SIGTERM", "SIGKILL"])
def test_nothing_runs_on_after_a_stop_even_where_a_script_started_it(toy, notebook, request_name):
    notebook("train", SLOW)
    # A shell without job control starts its background jobs with SIGINT ignored.
    script = f"{' '.join(REPRODUCE)} toy --cores 1 & echo $!; wait $!; echo $?"
    shell = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process_id = int(shell.stdout.readline())
    while not (toy / "started").exists():
        time.sleep(0.1)
    began = time.monotonic()
    os.kill(process_id, signal.Signals[request_name])
    printed, errors = shell.communicate(timeout=60)
    if request_name == "SIGTERM":
        assert printed.split()[-1] == "130" and "0 finished jobs of 1 are kept." in errors
        assert time.monotonic() - began < 12
    while others := [e for e in Path("/proc").glob("[0-9]*/cwd") if _links_to(e, toy)]:
        assert time.monotonic() - began < 12, others
        time.sleep(0.1)


def _links_to(entry, folder):
    """Whether another process than this one works in that folder."""
    try:
        return os.readlink(entry) == str(folder) and entry.parent.name != str(os.getpid())
    except OSError:
        return False
