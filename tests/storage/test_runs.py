"""Run folders: identity, completeness, one process at a time, provenance."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.storage import provenance as provenance_module
from spurious_rewards.storage.config import Config
from spurious_rewards.storage.files import write_json, write_parquet, write_text
from spurious_rewards.storage.paths import project_root, runs_dir
from spurious_rewards.storage.runs import RunFolder, all_runs

HOLDER = """
import sys, time
from spurious_rewards.storage.runs import RunFolder
with RunFolder.open("a", {"x": 1}).lock():
    print("locked", flush=True)
    time.sleep(60)
"""


@dataclass(frozen=True)
class Example(Config):
    gamma: float = 0.5
    batch_size: int = field(default=8, metadata={"identity": False})


def test_a_run_is_complete_when_its_manifest_is_there(project):
    run = RunFolder.open("a", {"x": 1})
    assert run.folder == project / "runs" / "a" and not run.complete
    assert run.config() == {"x": 1}
    with pytest.raises(InputError, match="not complete"):
        run.manifest()
    with run.lock():
        run.finish({"n_problems": 40})
    manifest = RunFolder.load("a").manifest()
    assert manifest["run_id"] == "a" and manifest["n_problems"] == 40
    assert manifest["python"].startswith("3.") and manifest["versions"]["torch"].startswith("2.")
    assert manifest["hardware"]["cores"] >= 1 and manifest["peak_memory_mb"] > 1
    assert manifest["seconds"] >= 0 and manifest["started"] <= manifest["ended"]
    assert [one.run_id for one in all_runs()] == ["a"]


def test_another_configuration_in_the_folder_is_an_error(project):
    RunFolder.open("a", {"x": 1, "y": (1, 2)})
    RunFolder.open("a", {"y": [1, 2], "x": 1})  # the same after a round trip through JSON
    with pytest.raises(InputError, match="x: 1 there, 2 here"):
        RunFolder.open("a", {"x": 2, "y": [1, 2]})
    with pytest.raises(InputError, match="another configuration"):
        RunFolder.open("a", {"x": 1})


def test_fields_outside_the_identity_may_differ(project):
    RunFolder.open("a", Example(batch_size=8))
    assert RunFolder.open("a", Example(batch_size=4)).config()["batch_size"] == 8
    with pytest.raises(InputError, match="gamma"):
        RunFolder.open("a", Example(gamma=0.3))


@pytest.mark.parametrize("run_id", ["", "../a", "a/b", ".a"])
def test_a_run_id_must_be_a_folder_name(project, run_id):
    with pytest.raises(InputError, match="no folder name"):
        RunFolder.open(run_id, {})


def test_unknown_and_damaged_runs_are_named(project):
    with pytest.raises(InputError, match="no run 'b'"):
        RunFolder.load("b")
    run = RunFolder.open("a", {})
    run.path("config.json").write_text('{"x": ')
    with pytest.raises(InputError, match="damaged"):
        RunFolder.open("a", {})


def test_the_manifest_keeps_its_own_keys(project):
    with pytest.raises(ValueError, match="commit"):
        RunFolder.open("a", {}).finish({"commit": "mine"})


def test_a_resumed_run_counts_the_seconds_of_all_sessions(project, monkeypatch):
    clock = iter([10.0, 12.0, 13.0, 50.0, 51.0, 100.0, 102.0, 104.0])  # sessions: 3 s, killed after 1 s, 4 s
    cpu = iter([1.0, 2.0, 2.5, 5.0, 5.25, 20.0, 20.2, 20.5])  # 1.5 s, 0.25 s and 0.5 s
    monkeypatch.setattr("spurious_rewards.storage.runs.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("spurious_rewards.storage.runs.time.process_time", lambda: next(cpu))
    run = RunFolder.__new__(RunFolder)
    run.folder, run._start, run._provenance = project / "runs" / "a", None, None
    with pytest.raises(RuntimeError), run.lock():
        run.keep_time()
        raise RuntimeError("interrupted")
    with run.lock():
        run.keep_time()
        run._provenance = None  # as if killed here: nothing more is written
    with run.lock():
        run.keep_time()
        run.finish()
    assert (run.manifest()["seconds"], run.manifest()["cpu_seconds"], run.manifest()["sessions"]) == (8.0, 2.25, 3)


def test_a_second_process_is_told_who_holds_the_run_and_a_killed_holder_is_no_obstacle(project):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "locked\n"
        run = RunFolder.open("a", {"x": 1})
        for _ in range(2):  # the failed attempt must not wipe the holder's name
            with pytest.raises(InputError, match=f"Run a is in use by process {holder.pid} on "), run.lock():
                pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    with run.lock():
        assert str(os.getpid()) in run.path(".lock").read_text()


def test_the_root_is_found_from_a_subfolder(project, monkeypatch):
    (project / "notebooks").mkdir()
    monkeypatch.chdir(project / "notebooks")
    assert project_root() == project and runs_dir() == project / "runs"
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(project / "elsewhere"))
    assert runs_dir() == project / "elsewhere"


def test_provenance_works_without_git_and_names_the_notebook(project, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv(provenance_module.NOTEBOOK_VARIABLE, "02_train_grpo")
    found = provenance_module.provenance()
    assert (found["commit"], found["dirty"], found["notebook"]) == ("unknown", "unknown", "02_train_grpo")
    json.dumps(found, allow_nan=False)


def test_the_commit_and_dirt_are_those_of_the_checkout(project, monkeypatch):
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "init", "-q"], check=True)
    (project / "results").mkdir()
    (project / "results" / "a.csv").write_text("1")
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    monkeypatch.setattr(provenance_module, "code_root", lambda: project)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    (project / "results" / "a.csv").write_text("2")  # written by the report: no dirt
    assert provenance_module.git_state() == (commit, False)
    (project / "pyproject.toml").write_text("# changed")
    assert provenance_module.git_state() == (commit, True)
    # A checkout that belongs to somebody else, which git refuses by itself.
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    refused = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    assert refused.returncode and "dubious ownership" in refused.stderr
    assert provenance_module.git_state() == (commit, True)
    # An archive unpacked inside a repository is not that repository's commit, which git would tell.
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    archive = project / "archive"
    archive.mkdir()
    monkeypatch.setattr(provenance_module, "code_root", lambda: archive)
    assert provenance_module.git_state() == ("unknown", "unknown")
    # An archive that git made says of which commit it is.
    for name in (".gitattributes", ".git_archival.txt"):
        shutil.copy(Path(__file__).parents[2] / name, project)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "y"], check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    packed = subprocess.run(["git", "archive", "HEAD"], capture_output=True, check=True).stdout
    subprocess.run(["tar", "x", "-C", archive], input=packed, check=True)
    assert provenance_module.git_state() == (commit, "unknown")


def test_limits_of_a_container_count(project, monkeypatch):
    machine = provenance_module.hardware()
    limits = {"cpu.max": ["max 100000", "50000 100000"], "memory.max": ["max", "1000000000", "max"]}
    monkeypatch.setattr(provenance_module, "control_group", lambda name: limits[name])
    assert provenance_module.hardware() == machine | {"cores": 1, "memory_gb": 1.0}  # half a core is one


def test_the_manifest_of_a_gpu_run_has_its_memory_and_cuda(project, monkeypatch):
    cuda = SimpleNamespace(
        is_available=lambda: True, is_initialized=lambda: True, device_count=lambda: 2,
        max_memory_reserved=lambda index: (30_000_000_000, 31_250_000_000)[index],
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, version=SimpleNamespace(cuda="13.0")))
    assert provenance_module.gpu_use() == {"peak_gpu_memory_mb": 31250.0, "cuda": "13.0"}
    cuda.is_initialized = lambda: False  # a GPU is there, and the run did not use it
    assert provenance_module.gpu_use() == {}
    monkeypatch.undo()
    monkeypatch.setattr("spurious_rewards.storage.runs.gpu_use", lambda: {"cuda": "13.0"})
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(project / "runs"))
    run = RunFolder.open("a", {})
    run.finish()
    assert run.manifest()["cuda"] == "13.0"


def test_a_clock_that_goes_back_does_not_change_seconds(project, monkeypatch):
    now = [4e9]

    def clock():  # an hour back at every look
        now[0] -= 3600
        return now[0]

    monkeypatch.setattr("time.time", clock)
    run = RunFolder.open("a", {})
    with run.lock():
        run._start = (run._start[0].replace(year=2999), *run._start[1:])  # it began in the future
        run.finish()
    manifest = run.manifest()
    assert manifest["started"] > manifest["ended"] and 0 <= manifest["seconds"] < 60


def test_a_file_system_without_locks_is_named(project, monkeypatch):
    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(InputError, match="has no file locks, which Run a needs; set SPURIOUS_RUNS_DIR to a folder on"):
        with RunFolder.open("a", {}).lock():
            pass


@pytest.mark.parametrize("call", ["os.open", "os.pwrite"])
def test_a_full_disk_under_a_lock_is_named(project, monkeypatch, call):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    run = RunFolder.open("a", {})
    monkeypatch.setattr(call, full)
    with pytest.raises(InputError, match="Run a cannot be locked: no space left on the disk"):
        with run.lock():
            pass


@pytest.mark.parametrize("file", ["model/weights.bin", "config.json"])
def test_model_and_configuration_of_a_finished_run_are_compared_too(project, file):
    run = RunFolder.open("a", {"x": 1})
    run.path("model").mkdir()
    run.path("model/weights.bin").write_bytes(b"weights")
    run.finish()
    run.check_files()
    run.path(file).write_text('{"x": 2}')
    with pytest.raises(InputError, match=f"a/{file} is not the file that run a ended with"):
        run.check_files()


def test_a_large_model_is_hashed_only_when_asked(project, monkeypatch):
    run = RunFolder.open("a", {})
    run.path("model").mkdir()
    run.path("model/weights.bin").write_bytes(b"weights")
    run.finish()
    monkeypatch.setattr("spurious_rewards.storage.files.HASHED_BYTES", 7)
    run.path("model/weights.bin").write_bytes(b"others!")
    run.check_files()
    with pytest.raises(InputError, match="a/model/weights.bin is not the file that run a ended with"):
        run.check_files(thorough=True)
    run.path("model/weights.bin").unlink()
    with pytest.raises(InputError, match="is missing"):
        run.check_files()


@pytest.mark.parametrize("how", ["damaged", "removed", "exchanged"])
def test_a_finished_table_that_is_not_what_it_was_is_one_sentence(project, how):
    runs = []
    for run_id, rows in (("a", [1, 2]), ("b", [3, 4])):
        run = RunFolder.open(run_id, {"x": 1})
        with run.lock():
            write_parquet(run.path("rows.parquet"), pd.DataFrame({"n": rows}))
            run.finish()
        runs.append(run.path("rows.parquet"))
    RunFolder.open("a", {"x": 1})
    if how == "damaged":
        runs[0].write_bytes(runs[0].read_bytes()[:-1] + b"x")
    elif how == "removed":
        runs[0].unlink()
    else:
        runs[0].write_bytes(runs[1].read_bytes())
    with pytest.raises(InputError, match=r"a/rows.parquet is not the file that run a ended with: .* run again"):
        RunFolder.open("a", {"x": 1})
    RunFolder.open("b", {"x": 1})


def test_a_link_in_the_place_of_a_result_is_exchanged_and_not_written_through(project, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("another's")
    run = RunFolder.open("a", {})
    for name, write in (
        ("t.md", lambda path: write_text(path, "ours")),
        ("t.json", lambda path: write_json(path, {})),
        ("t.parquet", lambda path: write_parquet(path, pd.DataFrame({"x": [1]}))),
    ):
        run.path(name).symlink_to(other)
        write(run.path(name))
        assert not run.path(name).is_symlink()
    assert other.read_text() == "another's"
