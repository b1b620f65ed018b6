"""A training run and the pretraining of an organism give the committed bits, on whatever processor runs these tests."""

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

PRETRAINING = """
import json, os
from spurious_rewards.arithmetic import state
from spurious_rewards.models.organisms.pretrain import pretrain
from spurious_rewards.models.organisms.recipe import Recipe
from spurious_rewards.training.digests import weights_digest
recipe = Recipe(
    name="tiny", seed=1, hidden_size=64, heads=1, layers=1, intermediate_size=64, corpus_size=300, steps=20,
    batch_size=24, warmup_steps=5,
)
folder = pretrain(recipe, os.environ["SPURIOUS_RUNS_DIR"] + "/tiny", progress=False)
print(json.dumps({"arithmetic": state()["state"], "weights": weights_digest(folder)}))
"""


def beside_each_other(folder: Path, program: str) -> list[dict[str, str]]:
    """Digests of a program in two fresh interpreters at once, whose arithmetic nothing else has touched."""
    kept = {name: value for name, value in os.environ.items() if name not in (*PINS, VARIABLE)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env=kept | {"SPURIOUS_RUNS_DIR": str(folder / name), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "other")
    ]
    said = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    return [json.loads(text.splitlines()[-1]) for text in said]


@pytest.mark.parametrize(("what", "program"), [("training", RUN), ("pretraining", PRETRAINING)])
def test_it_gives_the_committed_bits(tmp_path, what, program):
    """Two at once: what runs beside a run changes none of its bits."""
    seen = beside_each_other(tmp_path, program)
    if "pinned" not in [one.pop("arithmetic") for one in seen]:
        pytest.skip("the pins do not act here: no AVX2, or another build of torch")
    assert seen == [EXPECTED[what]] * 2
