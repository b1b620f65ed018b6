"""SIGTERM, SIGUSR1 or an interrupt: a run ends at its next rollout batch with a checkpoint; its metrics are on disk."""

import os
import signal
import subprocess
from types import SimpleNamespace

import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import load_file

from spurious_rewards.errors import InputError
from spurious_rewards.rewards.registry import register, unregister
from spurious_rewards.storage.files import write_parquet
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.training import checkpoints
from spurious_rewards.training.launch import _wait
from spurious_rewards.training.run import PARTIAL, train

SENT: list[signal.Signals] = []  # signals still to be sent, each in the second rollout batch


@pytest.fixture(autouse=True)
def stopping_reward(tmp_path, monkeypatch):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "first"))

    @register("odd")
    def odd(texts, problems, **options):
        """1 for a text of odd length; sends a signal while it scores."""
        while SENT and problems[0]["rollout_batch"] == 1:
            os.kill(os.getpid(), SENT.pop())
        return [float(len(text) % 2) for text in texts]

    yield
    unregister("odd")
    SENT.clear()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_saves_at_the_next_rollout_batch_and_the_run_goes_on(number, tmp_path, monkeypatch):
    config = tiny.config(reward="odd", save_every_batches=100)
    whole = train(config, progress=False)
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "second"))
    before = signal.getsignal(number)
    SENT.append(number)
    how = "Interrupted" if number == signal.SIGINT else f"Stopped by {number.name}"
    with pytest.raises(
        InputError, match=f"{how} after rollout batch 2 of 4, with a checkpoint; run again, and it goes"
    ):
        train(config, on_batch=lambda metrics: None, progress=False)
    assert signal.getsignal(number) == before, "the handlers of before are back"
    run = RunFolder(tmp_path / "second" / config.run_id())
    assert not run.complete and checkpoints.latest(run.path("checkpoints")).name == "checkpoint-8"
    resumed = train(config, progress=False)
    assert resumed.complete and resumed.manifest()["sessions"] == 2
    a, b = (load_file(r.path("model/model.safetensors")) for r in (whole, resumed))
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("interrupts, on_batch", [(1, None), (2, lambda metrics: None)])
def test_an_interrupt_stops_at_once_outside_of_notebooks_and_when_it_is_repeated(interrupts, on_batch):
    before = signal.getsignal(signal.SIGINT)
    SENT.extend([signal.SIGINT] * interrupts)
    config = tiny.config(reward="odd", save_every_batches=100)
    with pytest.raises(KeyboardInterrupt):
        train(config, on_batch=on_batch, progress=False)
    assert signal.getsignal(signal.SIGINT) == before
    assert len(pd.read_parquet(RunFolder(RunFolder.manifest_path(config.run_id()).parent).path(PARTIAL))) == 4


def test_metrics_are_on_disk_after_every_rollout_batch():
    """A run that is killed without a checkpoint still shows what it had measured."""
    seen = []

    def look(metrics):
        seen.append(len(pd.read_parquet(run.path(PARTIAL))))
        assert seen[-1] == len(metrics)

    config = tiny.config(reward="odd", save_every_batches=100)
    run = RunFolder.open(config.run_id(), config)
    train(config, on_batch=look, progress=False)
    assert seen == [4, 8, 12, 16] and not run.path(PARTIAL).exists(), "whole, it has metrics.parquet"


def test_who_waits_for_a_launch_sees_its_metrics_grow(tmp_path):
    run, seen = RunFolder(tmp_path), []

    def wait(timeout):
        if len(seen) == 2:
            if run.path(PARTIAL).exists():  # finished between two looks
                run.path(PARTIAL).unlink()
                raise subprocess.TimeoutExpired("launch", timeout)
            return 0
        write_parquet(run.path(PARTIAL), pd.DataFrame({"update": range(1, 5 + 4 * len(seen))}))
        os.utime(run.path(PARTIAL), (1000 + len(seen), 1000 + len(seen)))
        raise subprocess.TimeoutExpired("launch", timeout)

    assert _wait(SimpleNamespace(wait=wait), run, lambda metrics: seen.append(len(metrics))) == 0
    assert seen == [4, 8]


def test_an_interrupted_cell_leaves_no_launch_behind(tmp_path):
    calls = []

    def wait(timeout=None):
        calls.append("wait")
        if timeout is not None:
            raise KeyboardInterrupt
        return 0

    process = SimpleNamespace(wait=wait, terminate=lambda: calls.append("terminate"))
    with pytest.raises(KeyboardInterrupt):
        _wait(process, RunFolder(tmp_path), None)
    assert calls == ["wait", "terminate", "wait"]
