"""Each job has GPUs of its own, shown with an nvidia-smi that lists GPUs which are not there."""

import os
import subprocess
import sys

import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.storage.provenance import hardware, visible_gpus
from spurious_rewards.workflow import gpus
from spurious_rewards.workflow.reproduce import main

ROW = "{i}, GPU-{i}{i}{i}{i}-aaaa, NVIDIA H100 80GB HBM3, 81559, 580.65.06"


@pytest.fixture
def four_gpus(tmp_path, monkeypatch):
    """A machine with four GPUs, as far as nvidia-smi says."""
    folder = tmp_path / "programs"
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{ROW.format(i=i)}'\n" for i in range(4)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "locks"))


def devices():
    return os.environ["CUDA_VISIBLE_DEVICES"]


def test_devices_are_taken_in_turn_and_given_back(four_gpus, monkeypatch):
    with gpus.held(2) as locks:
        assert devices() == "0,1" and os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID" and len(locks) == 2
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")  # as another process sees the machine
        with gpus.held(1):
            assert devices() == "2"
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
            with pytest.raises(InputError, match=r"Only 1 of 2 GPUs became free in 0 s. GPU 2 is in use by process"):
                with gpus.held(2, wait_seconds=0):
                    pass
            with gpus.held(0):
                assert devices() == ""
    with gpus.held(4):
        assert devices() == "0,1,2,3"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    with pytest.raises(InputError, match="needs 5 GPUs, and 4 can be seen"), gpus.held(5):
        pass


def test_a_device_stays_taken_while_a_child_that_inherited_its_lock_lives(four_gpus, monkeypatch):
    with gpus.held(1) as locks:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=locks)
    try:
        with gpus.held(1):
            assert devices() == "1"
    finally:
        child.communicate(b"\n")
    with gpus.held(1):
        assert devices() == "0"


def test_the_scheduler_decides_which_gpus_there_are(four_gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    assert [gpu.uuid[:8] for gpu in visible_gpus()] == ["GPU-3333", "GPU-1111"]
    assert hardware()["gpus"] == ["NVIDIA H100 80GB HBM3"] * 2
    assert (hardware()["gpu_memory_gb"], hardware()["gpu_driver"]) == (85.5, "580.65.06")  # 81,559 MiB
    with gpus.held(1):
        assert devices() == "3"
    assert devices() == "3,1"
    for wanted, n in (("", 0), ("-1", 0), ("0,9,1", 1), ("GPU-2222", 1), ("MIG-5", 1)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", wanted)
        assert len(visible_gpus()) == n, wanted
    monkeypatch.setenv("PATH", "")  # without nvidia-smi the scheduler's word is all there is
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert [gpu.index for gpu in visible_gpus()] == ["0"]


TRAIN = """
import os, pathlib, time
pathlib.Path(f"gpu{seed}").write_text(os.environ["CUDA_VISIBLE_DEVICES"])
while not all(pathlib.Path(f"gpu{other}").is_file() for other in (0, 1)):  # both run at once
    time.sleep(0.05)
"""


def test_concurrent_jobs_of_a_profile_see_distinct_devices_and_the_others_none(
    four_gpus, project, notebook, monkeypatch
):
    (project / "profiles" / "toy.yaml").write_text(
        "stages:\n  plain: {notebook: plain}\n  train: {notebook: train, grid: {seed: [0, 1]}, resources: {gpus: 1}}\n"
    )
    notebook("train", TRAIN, parameters="seed: int = 0")
    notebook("plain", "import os, pathlib\npathlib.Path('plain').write_text(os.environ['CUDA_VISIBLE_DEVICES'])")
    assert main(["toy", "--cores", "3"]) == 0
    assert {(project / f"gpu{seed}").read_text() for seed in (0, 1)} <= {"0", "1", "2", "3"}
    assert (project / "gpu0").read_text() != (project / "gpu1").read_text()
    assert (project / "plain").read_text() == ""
    log = (project / "runs" / "profiles" / "toy" / "logs" / "train-seed0.log").read_text().splitlines()[-5:]
    assert [line.partition(":")[0] for line in log] == ["Done", "Parameters", "Runs", "Used", "Written"]
    assert log[1] == "Parameters: seed=0." and "GPU " in log[3] and log[4].endswith("train-seed0.ipynb.")
