"""A training run gives the committed bits, on whatever processor runs this test."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spurious_rewards.arithmetic import PINS, VARIABLE

EXPECTED = json.loads(Path(__file__).with_name("same_numbers.json").read_text())
RUN = """
import json, sys
from spurious_rewards.arithmetic import state
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.run import train
config = RunConfig(
    model="qwen-like", train_set="synthetic", n_train_problems=64, prompt_style="organism", reward="random",
    prompts_per_batch=4, group_size=8, updates_per_batch=4, micro_batch=8, rollout_batches=2, learning_rate=1e-3,
    max_prompt_tokens=128, max_completion_tokens=64, precision="fp32", engine="shared_prefix",
)
manifest = train(config, progress=False).manifest()
print(json.dumps({"arithmetic": state()["state"], **manifest["digests"]}))
"""


def run(folder: Path, **variables: str) -> dict[str, str]:
    """Digests of the run in a fresh interpreter, whose arithmetic nothing else has touched."""
    kept = {name: value for name, value in os.environ.items() if name not in (*PINS, VARIABLE)}
    environment = kept | {"SPURIOUS_RUNS_DIR": str(folder), "OMP_NUM_THREADS": "1"} | variables
    return json.loads(subprocess.check_output([sys.executable, "-c", RUN], env=environment, text=True).splitlines()[-1])


def test_a_run_has_the_committed_bits(tmp_path):
    seen = run(tmp_path)
    if seen.pop("arithmetic") != "pinned":
        pytest.skip("the pins do not act here: no AVX2, or another build of torch")
    assert seen == EXPECTED
