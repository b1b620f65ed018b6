"""FSDP 2 over NCCL on one GPU with the file of the eight-GPU launch: dtypes, checkpoint bytes, resume, memory."""

import json

import pandas as pd
import pytest
import test_fsdp
import torch
from safetensors.torch import load_file


def test_one_process(tmp_path, record):
    facts, run, again = test_fsdp.trained(tmp_path, processes=1)
    assert facts["launch"] == "FSDP" and facts["dtypes"] == facts["reduce"] == facts["shards"] == ["torch.float32"]
    n, kept = facts["parameters"], facts["checkpoints"]
    newest, older = kept["checkpoint-4"], kept["checkpoint-2"]
    state = sum(newest[name] for name in ("model.safetensors", "pytorch_model_fsdp.bin", "optimizer.bin"))
    record("bytes per parameter of the newest checkpoint", state / n)
    record("bytes per parameter of an older checkpoint", older["model.safetensors"] / n)
    record("peak memory", facts["peak"] / 1e6, "MB")
    assert state == pytest.approx(16 * n, rel=0.1)
    first = pd.read_parquet(run.path("metrics.parquet")).query("update_in_batch == 1")
    record("ratio_max at first updates", json.dumps(first["ratio_max"].tolist()))
    assert (first["clip_fraction"] == 0).all()
    weights, other = (load_file(each.path("model/model.safetensors")) for each in (run, again))
    apart = max((weights[name] - other[name]).abs().max().item() for name in weights)
    record("largest difference of a weight after interruption and resume", apart)
    equal = all(torch.equal(weights[name], other[name]) for name in weights)
    record("resumed run equal to the last bit", equal)
    assert apart < 1e-4
