"""A run killed at any point and resumed gives the metrics, rollouts and weights of an uninterrupted one."""

import json
import os
import random
import signal
import subprocess
import sys

import events
import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import load_file

from spurious_rewards.errors import InputError
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.training import checkpoints
from spurious_rewards.training.run import train

# 6 rollout batches of 4 updates of 2 micro-steps; checkpoints after updates 8, 16 and 24
CONFIG = {"rollout_batches": 6, "save_every_batches": 2, "n_train_problems": 10, "micro_batch": 2}


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The whole run, and the names of its events in their order."""
    names = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path_factory.mktemp("whole")))
        events.watch(patch.setattr, names.append)
        return train(tiny.config(**CONFIG), progress=False), names


def same(run, other):
    for name in ("metrics", "rollouts"):
        a, b = (pd.read_parquet(r.path(f"{name}.parquet")) for r in (run, other))
        columns = [c for c in a if not c.startswith("seconds_")]
        pd.testing.assert_frame_equal(a[columns], b[columns], check_exact=True)
    a, b = (load_file(r.path("model/model.safetensors")) for r in (run, other))
    return all(torch.equal(a[name], b[name]) for name in a)


def killed_by_signal(event, folder):
    """The run of a process that sends itself SIGKILL at that event; it must have come so far, and not further."""
    done = subprocess.run(
        [sys.executable, events.__file__, json.dumps({**tiny.SMALL, **CONFIG}), str(event)],
        env={**os.environ, "SPURIOUS_RUNS_DIR": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    run = RunFolder(folder / tiny.config(**CONFIG).run_id())
    assert run.path("config.json").is_file() and not run.complete
    return run


def test_events_are_those_of_the_whole_run(uninterrupted):
    _, names = uninterrupted
    # 6 · 4 · 2 micro-steps with 2 events, 6 rewards, 3 checkpoints of 3 files, 2 of them shed their state with 2 marks
    # each, the model and 2 tables
    assert len(names) == 96 + 6 + 9 + 4 + 3
    assert names[:3] == ["update 1, micro-step 0 begins", "rewards after update 0", "update 1, micro-step 0 ends"]


def test_killed_inside_a_rollout_batch(uninterrupted, tmp_path, monkeypatch):
    """SIGKILL between backward pass and optimizer step of update 15, the last but one before a checkpoint."""
    whole, names = uninterrupted
    run = killed_by_signal(names.index("update 15, micro-step 1 ends"), tmp_path)
    assert checkpoints.latest(run.path("checkpoints")).name == "checkpoint-8"
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path))
    resumed = train(tiny.config(**CONFIG), progress=False)
    assert resumed.complete and same(whole, resumed)


@pytest.mark.parametrize(
    "event, resumed_from",
    [
        ("update 6, micro-step 1 begins", None),  # before any checkpoint
        ("rewards after update 12", "checkpoint-8"),  # rollouts are written, rewards not yet
        ("checkpoint-16/rollouts.parquet", "checkpoint-8"),  # inside the sealing of the second checkpoint
        ("model", "checkpoint-24"),  # after the last update
    ],
)
def test_an_error_at_any_other_point(event, resumed_from, uninterrupted, tmp_path, monkeypatch):
    whole, names = uninterrupted
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path))
    assert names.count(event) == 1

    def kill(name):
        if name == event:
            raise Killed

    with monkeypatch.context() as patch:
        events.watch(patch.setattr, kill)
        with pytest.raises(Killed):
            train(tiny.config(**CONFIG), progress=False)
    newest = checkpoints.latest(tmp_path / whole.run_id / "checkpoints")
    assert (newest and newest.name) == resumed_from
    resumed = train(tiny.config(**CONFIG), progress=False)
    assert resumed.manifest()["sessions"] == 2
    assert same(whole, resumed)
    metrics = pd.read_parquet(resumed.path("metrics.parquet"))
    first = metrics[metrics["update_in_batch"] == 1]
    timed = ["seconds_rollout_batch", "seconds_tokens_rate"]
    assert len(first) == 6 and (first[timed] > 0).all().all(), "also the batch before the kill has its time"
    assert metrics[timed].notna().sum().tolist() == [6, 6]


def test_a_half_written_checkpoint_does_not_count(uninterrupted, tmp_path, monkeypatch):
    whole, _ = uninterrupted
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path))

    def kill(metrics):
        if len(metrics) == 5 * 4:
            raise Killed

    with pytest.raises(Killed):
        train(tiny.config(**CONFIG), on_batch=kill, progress=False)
    newest = checkpoints.latest(tmp_path / whole.run_id / "checkpoints")
    (newest / checkpoints.MARKER).unlink()  # as if the process had died while writing it
    (newest / "model.safetensors").write_bytes(b"half")
    resumed = train(tiny.config(**CONFIG), progress=False)
    assert same(whole, resumed)


def test_checkpoints_lie_on_rollout_batch_boundaries_and_old_ones_go(uninterrupted):
    found = checkpoints.all_checkpoints(uninterrupted[0].path("checkpoints"))
    assert [path.name for path in found] == ["checkpoint-16", "checkpoint-24"]  # of 8, 16, 24: the newest two
    assert all((path / checkpoints.MARKER).is_file() for path in found)


def test_another_number_of_processes_is_refused(uninterrupted, tmp_path, monkeypatch):
    whole, _ = uninterrupted
    newest = checkpoints.latest(whole.path("checkpoints"))
    checkpoints.check_processes(newest, 1)
    with pytest.raises(InputError, match=r"by 1 process\(es\), but this launch has 2: .* Start it again with 1"):
        checkpoints.check_processes(newest, 2)
    # a run of two processes that goes on with one: the sentence comes before anything is loaded
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path))
    checkpoint = tmp_path / whole.run_id / "checkpoints" / "checkpoint-8"
    checkpoint.mkdir(parents=True)
    checkpoints.seal(checkpoint, pd.DataFrame({"update": [8]}), pd.DataFrame({"text": ["a"]}), processes=2)
    with pytest.raises(InputError, match=r"written by 2 process\(es\), but this launch has 1"):
        train(tiny.config(**CONFIG), progress=False)
    # written before the number was stored: one file of random states per process
    (checkpoint / checkpoints.MARKER).write_text('{"update": 8}')
    for rank in range(3):
        (checkpoint / f"rng_state_{rank}.pth").touch()
    checkpoints.check_processes(checkpoint, 3)
    with pytest.raises(InputError, match=r"written by 3 process\(es\)"):
        checkpoints.check_processes(checkpoint, 1)


def test_a_checkpoint_that_is_being_removed_does_not_count(tmp_path, monkeypatch):
    for update in (8, 16, 24):
        checkpoints.seal(tmp_path / f"checkpoint-{update}", pd.DataFrame({"update": [update]}), pd.DataFrame())

    def die(path):
        raise Killed

    monkeypatch.setattr(checkpoints.shutil, "rmtree", die)
    with pytest.raises(Killed):
        checkpoints.prune(tmp_path, 1)
    assert not (tmp_path / "checkpoint-8" / checkpoints.MARKER).exists()
    monkeypatch.undo()
    assert checkpoints.latest(tmp_path).name == "checkpoint-24"
    assert [path.name for path in checkpoints.all_checkpoints(tmp_path)] == ["checkpoint-16", "checkpoint-24"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("event", random.Random(0).sample(range(118), 20))
def test_twenty_random_kill_points(event, uninterrupted, tmp_path, monkeypatch):
    """SIGKILL at 20 of the run's 118 events, each then resumed to its end."""
    killed_by_signal(event, tmp_path)
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path))
    resumed = train(tiny.config(**CONFIG), progress=False)
    assert resumed.complete and same(uninterrupted[0], resumed), uninterrupted[1][event]
