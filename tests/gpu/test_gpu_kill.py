"""A killed notebook kernel leaves no process behind that keeps the GPU."""

import json
import os
import signal
import subprocess
import sys
import time

import tiny
import torch

KERNEL = """
import json, sys
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.launch import launch_run
launch_run(RunConfig(**json.loads(sys.argv[1])), "one_gpu")
"""


def held(before):
    """GPU memory that others have taken since `before`, in MB."""
    return (before - torch.cuda.mem_get_info()[0]) / 1e6


def wait_for(condition, seconds):
    """Seconds until the condition holds; fails after `seconds`."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        time.sleep(0.2)
    return time.monotonic() - began


def test_the_gpu_is_free_after_the_kernel_was_killed(tmp_path, record):
    torch.cuda.empty_cache()
    before = torch.cuda.mem_get_info()[0]
    values = {**tiny.SMALL, "rollout_batches": 400, "save_every_batches": 400}
    kernel = subprocess.Popen(
        [sys.executable, "-c", KERNEL, json.dumps(values)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: held(before) > 200, 90)
    finally:
        os.kill(kernel.pid, signal.SIGKILL)
        kernel.wait()
    seconds = wait_for(lambda: held(before) < 50, 40)
    record("seconds until the killed kernel's training had left the GPU", seconds)
