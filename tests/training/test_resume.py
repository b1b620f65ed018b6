"""A run killed at any point and resumed gives the metrics, rollouts and weights of an uninterrupted one."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import load_file

from spurious_rewards.training import checkpoints
from spurious_rewards.training.run import train

CONFIG = {"rollout_batches": 6, "save_every_batches": 2, "n_train_problems": 10}


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path_factory.mktemp("whole")))
        return train(tiny.config(**CONFIG), progress=False)


def same(run, other):
    for name in ("metrics", "rollouts"):
        a, b = (pd.read_parquet(r.path(f"{name}.parquet")) for r in (run, other))
        columns = [c for c in a if not c.startswith("seconds_")]
        pd.testing.assert_frame_equal(a[columns], b[columns], check_exact=True)
    a, b = (load_file(r.path("model/model.safetensors")) for r in (run, other))
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("killed_after", [1, 3, 4])
def test_killed_between_batches(killed_after, uninterrupted, tmp_path, monkeypatch):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path))

    def kill(metrics):
        if len(metrics) == killed_after * 4:
            raise Killed

    with pytest.raises(Killed):
        train(tiny.config(**CONFIG), on_batch=kill, progress=False)
    resumed = train(tiny.config(**CONFIG), progress=False)
    assert resumed.manifest()["sessions"] == 2
    assert same(uninterrupted, resumed)


def test_a_half_written_checkpoint_does_not_count(uninterrupted, tmp_path, monkeypatch):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path))

    def kill(metrics):
        if len(metrics) == 5 * 4:
            raise Killed

    with pytest.raises(Killed):
        train(tiny.config(**CONFIG), on_batch=kill, progress=False)
    folder = tmp_path / uninterrupted.run_id / "checkpoints"
    newest = checkpoints.latest(folder)
    (newest / checkpoints.MARKER).unlink()  # as if the process had died while writing it
    (newest / "model.safetensors").write_bytes(b"half")
    resumed = train(tiny.config(**CONFIG), progress=False)
    assert same(uninterrupted, resumed)


def test_checkpoints_lie_on_rollout_batch_boundaries_and_old_ones_go(uninterrupted):
    found = checkpoints.all_checkpoints(uninterrupted.path("checkpoints"))
    assert [path.name for path in found] == ["checkpoint-16", "checkpoint-24"]  # of 8, 16, 24: the newest two
    assert all((path / checkpoints.MARKER).is_file() for path in found)


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
def test_twenty_random_kill_points(uninterrupted, tmp_path):
    """SIGKILL at 20 random moments of the run (time, not batch), each then resumed to its end."""
    rng = random.Random(0)
    code = ("import json, sys; from spurious_rewards.training.config import RunConfig; "
            "from spurious_rewards.training.run import train; "
            "train(RunConfig(**json.loads(sys.argv[1])), progress=False)")
    arguments = [sys.executable, "-c", code, json.dumps({**tiny.SMALL, **CONFIG})]
    for kill in range(20):
        environment = {**os.environ, "SPURIOUS_RUNS_DIR": str(tmp_path / str(kill)), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        folder = tmp_path / str(kill) / uninterrupted.run_id
        while not (folder / "checkpoints").is_dir() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 6))
        process.send_signal(signal.SIGKILL)
        process.wait()
        subprocess.run(arguments, env=environment, check=True, capture_output=True)
        resumed = type(uninterrupted)(folder)
        assert resumed.complete and same(uninterrupted, resumed), f"kill {kill}"
