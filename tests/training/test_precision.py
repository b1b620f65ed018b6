"""At the paper's step size a bf16 weight does not move; fp32 weights under bf16 autocast do."""

import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import load_file

from spurious_rewards.models.registry import load
from spurious_rewards.training.run import train

STEP = 5e-7  # paper


def moved_share(before, after):
    """Share of weights whose value has changed."""
    return sum((a != b).sum().item() for a, b in zip(before, after, strict=True)) / sum(a.numel() for a in before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A bf16 run of 4 updates at the paper's learning rate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path_factory.mktemp("bf16")))
        return train(tiny.config(precision="bf16", learning_rate=STEP, rollout_batches=1), progress=False)


def test_our_weights_move_by_the_learning_rate(trained):
    after = load_file(trained.path("model/model.safetensors"))
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}
    base = {name: p.detach() for name, p in load("qwen-like")[0].named_parameters() if name in after}
    assert moved_share(list(base.values()), [after[name] for name in base]) > 0.9
    # 4 AdamW updates of at most about 5e-7 each (β₂ > β₁², so a step may exceed the rate a little)
    largest = max((after[name] - base[name]).abs().max().item() for name in base)
    assert STEP / 2 < largest < 10 * STEP
    assert pd.read_parquet(trained.path("metrics.parquet"))["grad_norm"].gt(0).all()


def test_bf16_weights_would_stay_where_they_are(trained):
    """bf16 has 8 significant bits: a weight w moves only if the step exceeds |w|/512, so at 5e-7 for |w| < 2.6e-4."""
    after = load_file(trained.path("model/model.safetensors"))
    model, _ = load("qwen-like", dtype="bfloat16")
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=STEP, betas=(0.9, 0.95), weight_decay=0.0)
    base = dict(load("qwen-like")[0].named_parameters())
    for _ in range(4):  # the direction that the fp32 run moved in, four times: Adam's step is then the whole rate
        for name, parameter in model.named_parameters():
            parameter.grad = (base[name].detach() - after[name]).sign().to(torch.bfloat16)
        optimizer.step()
    now = [p.detach() for p in model.parameters()]
    assert moved_share(before, now) < 0.1 < 0.9 < moved_share(list(base.values()), [after[name] for name in base])
    large = [p.abs() > 1e-3 for p in before]
    assert sum(mask.sum() for mask in large) > 0.9 * sum(p.numel() for p in before)
    assert (
        moved_share([p[m] for p, m in zip(before, large, strict=True)], [p[m] for p, m in zip(now, large, strict=True)])
        == 0
    ), "not one of them has moved"
