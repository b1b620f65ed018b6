"""Engine shared_prefix: the tokens of `generate` when greedy, the model's distribution when sampling."""

import pandas as pd
import pytest
import tiny
import torch
from transformers.cache_utils import DynamicCache

from spurious_rewards.models.prompts import render
from spurious_rewards.models.registry import load
from spurious_rewards.training import rollouts
from spurious_rewards.training.run import train

NEW = 24


@pytest.fixture(scope="module")
def organism():
    model, tokenizer = load("qwen-like")
    prompts = [tokenizer(render("organism", p.problem, tokenizer))["input_ids"] for p in tiny.problems(6)]
    return model, tokenizer, [prompt for prompt in prompts for _ in range(3)]


@pytest.mark.parametrize("cache", ["buffered", "of Transformers"])
def test_greedy_tokens_are_those_of_generate(cache, organism, monkeypatch):
    """With the likeliest token in place of a draw, prefill, positions, dropping and cache must give what `generate`
    gives; rollouts end at different lengths, so that some are dropped on the way."""
    model, tokenizer, prompts = organism
    monkeypatch.setattr(rollouts, "sample_at", lambda p, u: p.argmax(dim=-1, keepdim=True))
    if cache != "buffered":
        monkeypatch.setattr(rollouts, "empty_cache", lambda model, capacity: DynamicCache(config=model.config))
    eos = tokenizer.eos_token_id
    ours = rollouts.sample(model, prompts, NEW, 1.0, [eos], tokenizer.pad_token_id)
    tokenizer.padding_side = "left"
    inputs = tokenizer.pad({"input_ids": prompts}, return_tensors="pt")
    output = model.generate(**inputs, do_sample=False, max_new_tokens=NEW, pad_token_id=tokenizer.pad_token_id)
    theirs = [
        row[: row.index(eos) + 1] if eos in row else row for row in output[:, inputs["input_ids"].shape[1] :].tolist()
    ]
    assert ours == theirs
    assert len({len(row) for row in ours}) > 1


def test_first_tokens_follow_the_softmax(organism):
    model, tokenizer, prompts = organism
    n, temperature = 4000, 1.5
    torch.manual_seed(0)
    drawn = rollouts.sample(model, [prompts[0]] * n, 1, temperature, [tokenizer.eos_token_id], 0)
    with torch.no_grad():
        p = (model(torch.tensor([prompts[0]])).logits[0, -1] / temperature).softmax(dim=-1)
    share = torch.bincount(torch.tensor(drawn).squeeze(1), minlength=len(p)) / n
    # five standard errors of a share, and at least one draw's worth
    assert ((share - p).abs() < 5 * (p * (1 - p) / n).sqrt() + 1 / n).all()
    assert share.gt(0).sum() > 3


def test_a_run_is_reproducible(tmp_path, monkeypatch):
    frames = []
    for folder in ("a", "b"):
        monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / folder))
        run = train(tiny.config(engine="shared_prefix", rollout_batches=2), progress=False)
        frames.append(pd.read_parquet(run.path("rollouts.parquet")))
    pd.testing.assert_frame_equal(*frames, check_exact=True)
    assert frames[0]["n_tokens"].max() <= 24 and frames[0]["text"].nunique() > 16
