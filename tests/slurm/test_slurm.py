"""The first jobs of profile micro and a training on a GPU through a real Slurm, one of them cancelled half-way."""

import json
import os
import subprocess
import sys
import time

import pytest
import yaml
from cluster import Cluster, missing

from spurious_rewards.storage.paths import code_root
from spurious_rewards.storage.runs import RunFolder

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

SNAKEMAKE = os.environ.get("SPURIOUS_SNAKEMAKE", "")
"""The Python of the environment with Snakemake and Slurm's executor; `make test-slurm` gives it."""


@pytest.fixture
def cluster(tmp_path):
    if reason := missing():
        pytest.skip(reason)
    if not SNAKEMAKE:
        pytest.skip("SPURIOUS_SNAKEMAKE is not set; use make test-slurm")
    started = Cluster(tmp_path / "slurm")
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.fixture
def first_jobs(project):
    """A project with the first stages of profile micro, and one short training that asks for a GPU."""
    micro = yaml.safe_load((code_root() / "profiles" / "micro.yaml").read_text())
    stages = {name: micro["stages"][name] for name in ("prepare", "base", "train")}
    stages["base"]["parameters"] |= {"n_problems": 40}
    stages["train"] |= {
        "grid": {"seed": [0]},
        "parameters": {
            "reward": "random", "rollout_batches": 6, "save_every_batches": 1, "options": "keep_checkpoints: 0",
        },
        "resources": {"minutes": 2, "gpus": 1},
    }  # fmt: skip
    (project / "profiles" / "first.yaml").write_text(yaml.safe_dump(micro | {"stages": stages}, sort_keys=False))
    (project / "notebooks").symlink_to(code_root() / "notebooks")
    settings = yaml.safe_load((code_root() / "profiles" / "slurm" / "config.yaml").read_text())
    settings |= {
        "slurm-no-account": True, "slurm-status-command": "squeue", "seconds-between-status-checks": 2,
        "slurm-init-seconds-before-status-checks": 2, "latency-wait": 5,
    }  # fmt: skip
    (project / "settings").mkdir()
    (project / "settings" / "config.yaml").write_text(yaml.safe_dump(settings))
    return project


def test_jobs_run_on_the_cluster_and_a_cancelled_training_goes_on(cluster, first_jobs):
    command = [sys.executable, "-m", "spurious_rewards.workflow.reproduce", "first"]
    command += ["--cluster", "settings", "--snakemake", SNAKEMAKE]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    runs = first_jobs / "runs"
    try:
        deadline = time.monotonic() + 400
        while not all(any(runs.glob(f"train-*/checkpoints/checkpoint-{n}/trainer_state.json")) for n in (8, 16)):
            assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
            time.sleep(0.2)
        (first,) = runs.glob("train-*/checkpoints/checkpoint-8/trainer_state.json")
        written = first.stat().st_mtime_ns
        listed = cluster.output("squeue", "--noheader", "--states=R", "--Format=JobID:20,tres-per-job:40").splitlines()
        (job,) = [line.split()[0] for line in listed if line.split()[-1] == "gres:gpu:1"]  # one GPU, asked of Slurm
        subprocess.run(["scancel", job], check=True)
        printed, _ = process.communicate(timeout=400)
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=60)
    assert process.returncode == 0, printed
    assert "All 3 jobs of profile first are done" in printed
    result = json.loads((runs / "profiles" / "first" / "jobs" / "train-seed0.json").read_text())
    manifest = RunFolder.load(result["run_ids"][0]).manifest()
    assert manifest["n_rollout_batches"] == 6
    assert first.stat().st_mtime_ns == written, "the training began anew"
    log = (runs / "profiles" / "first" / "logs" / "train-seed0.log").read_text()
    assert "Used: 1 thread(s), GPU 0," in log or "Used: 1 thread(s), GPU 1," in log
    assert "GPU none" in (runs / "profiles" / "first" / "logs" / "base.log").read_text()
