"""FSDP 2 as profiles/accelerate/eight_gpu_fsdp.yaml has it, on two gloo processes: numbers, checkpoints, resume."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import load_file

from spurious_rewards.models.registry import load
from spurious_rewards.storage.runs import RunFolder

CONFIG = {
    "precision": "bf16",
    "rollout_batches": 2,
    "updates_per_batch": 2,
    "save_every_batches": 1,
    "keep_checkpoints": 0,
    "micro_batch": 2,
    "n_train_problems": 16,
    "max_completion_tokens": 16,
}


def trained(folder, processes):
    """Run the worker; its facts, the run and the run that was interrupted."""
    worker = Path(__file__).with_name("fsdp_worker.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    done = subprocess.run(
        [*command, str(worker), json.dumps({**tiny.SMALL, **CONFIG}), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=550,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    facts = json.loads((folder / "facts.json").read_text())
    return facts, RunFolder(facts["run"]), RunFolder(facts["again"])


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("fsdp"), 2)


def test_log_probabilities_and_gradient_sums_are_fp32(sharded):
    facts, run, _ = sharded
    assert facts["launch"] == "FSDP" and run.manifest()["processes"] == 2
    assert facts["dtypes"] == ["torch.float32"], "a bf16 log-probability moves a ratio by a percent"
    assert facts["reduce"] == ["torch.float32"] and facts["shards"] == ["torch.float32"]


def test_no_token_is_clipped_at_the_first_update(sharded):
    metrics = pd.read_parquet(sharded[1].path("metrics.parquet"))
    first = metrics[metrics["update_in_batch"] == 1]
    assert (first["clip_fraction"] == 0).all() and first["ratio_max"].tolist() == [1.0, 1.0]
    assert metrics["grad_norm"].gt(0).all()


def test_an_interrupted_run_ends_in_the_same_place(sharded):
    _, run, again = sharded
    assert run.complete and again.complete and again.manifest()["sessions"] == 2
    weights, other = (load_file(each.path("model/model.safetensors")) for each in (run, again))
    assert weights.keys() == other.keys() and all(torch.equal(weights[name], other[name]) for name in weights)
    one, two = (pd.read_parquet(each.path("metrics.parquet")) for each in (run, again))
    shared = [name for name in one if not name.startswith("seconds_")]
    pd.testing.assert_frame_equal(one[shared], two[shared], check_exact=True)


def test_the_saved_model_loads_for_evaluation(sharded):
    _, run, _ = sharded
    for dtype in ("float32", "bfloat16"):
        model, tokenizer = load(run.path("model"), dtype=dtype)
        assert str(model.dtype) == f"torch.{dtype}" and len(tokenizer) <= model.config.vocab_size
    base = dict(load("qwen-like")[0].named_parameters())
    saved = load_file(run.path("model/model.safetensors"))
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
    moved = [name for name in saved.keys() & base.keys() if not torch.equal(saved[name], base[name])]
    assert moved, "training has moved the weights"


def test_the_newest_checkpoint_holds_all_state_and_older_ones_bf16_weights(sharded):
    """Bytes per parameter: 4 weights, 4 FSDP's copy, 8 Adam; an older one 2. Tied embeddings are stored twice."""
    facts, _, _ = sharded
    n, kept = facts["parameters"], facts["checkpoints"]
    assert list(kept) == ["checkpoint-2", "checkpoint-4"]
    state = ("model.safetensors", "pytorch_model_fsdp.bin", "optimizer.bin")
    assert sum(kept["checkpoint-4"][name] for name in state) == pytest.approx(16 * n, rel=0.1)
    older = kept["checkpoint-2"]
    assert older["model.safetensors"] == pytest.approx(2 * n, rel=0.15)
    assert not {"pytorch_model_fsdp.bin", "optimizer.bin"} & older.keys()
    assert not [name for name in older if name.startswith("rng_state")]
