"""The engine against a plain loop of forward passes, and the independence of a sample from its batch."""

import numpy as np
import pytest
import torch
from tiny_lm import tiny_model, tiny_tokenizer

from spurious_rewards.errors import InputError
from spurious_rewards.generation import transformers_engine as te
from spurious_rewards.generation.engine import Sampling, encode
from spurious_rewards.generation.transformers_engine import TransformersEngine

PROMPTS = ["what is 2+2?", "7*8", "a long prompt about nothing in particular", "1", "What", "x=3. 5*x=?"]
KEYS = [f"p{i}" for i in range(len(PROMPTS))]
HOT = Sampling(temperature=1.0, max_new_tokens=24, n_samples=3, seed=5)


@pytest.fixture(scope="module")
def engine():
    return TransformersEngine(tiny_model(), tiny_tokenizer(), batch_size=4)


@torch.no_grad()
def plain_loop(engine, prompt, max_new_tokens, choose):
    """One prompt, one forward pass over the whole text per token, no cache, no padding."""
    ids = encode(engine.tokenizer, [prompt])[0]
    tokens, logprobs = [], []
    for step in range(max_new_tokens):
        logits = engine.model(torch.tensor([ids + tokens])).logits[0, -1].float()
        tokens.append(choose(logits, step))
        logprobs.append(logits.log_softmax(-1)[tokens[-1]].item())
        if tokens[-1] == engine.tokenizer.eos_token_id:
            break
    return tokens, logprobs


def test_greedy_equals_a_plain_loop(engine):
    samples = engine.generate(PROMPTS, Sampling(max_new_tokens=16), KEYS)
    for prompt, (sample,) in zip(PROMPTS, samples, strict=True):
        tokens, logprobs = plain_loop(engine, prompt, 16, lambda logits, _: int(logits.argmax()))
        assert sample.token_ids == tokens
        np.testing.assert_allclose(sample.logprobs, logprobs, atol=1e-4)
        assert sample.logprobs.dtype == np.float32
        assert sample.finish_reason == ("stop" if tokens[-1] == engine.tokenizer.eos_token_id else "length")


@pytest.mark.parametrize("temperature, top_p", [(1.0, 1.0), (0.6, 0.8)])
def test_sampling_equals_a_plain_loop_with_the_same_uniforms(engine, temperature, top_p):
    sampling = Sampling(temperature, top_p, max_new_tokens=16, n_samples=2, seed=3)
    samples = engine.generate(PROMPTS, sampling, KEYS)
    for prompt, key, row in zip(PROMPTS, KEYS, samples, strict=True):
        for index, sample in enumerate(row):
            keys = np.array([te.row_key(3, key, index)], dtype=np.uint64)

            def choose(logits, step, keys=keys):
                p = (logits / temperature).softmax(-1).double().numpy()
                order = np.argsort(-p, kind="stable") if top_p < 1 else np.arange(len(p))
                kept = p[order]
                if top_p < 1:
                    kept = kept[: np.searchsorted(np.cumsum(kept), top_p) + 1]
                u = te.uniforms(keys, step)[0]
                return int(order[np.searchsorted(np.cumsum(kept), u * kept.sum(), side="right")])

            tokens, logprobs = plain_loop(engine, prompt, 16, choose)
            assert sample.token_ids == tokens
            np.testing.assert_allclose(sample.logprobs, logprobs, atol=1e-4)  # of the untempered distribution


def test_a_sample_does_not_depend_on_its_batch(engine):
    together = engine.generate(PROMPTS, HOT, KEYS)
    sevens = TransformersEngine(engine.model, engine.tokenizer, batch_size=7)
    backwards = sevens.generate(PROMPTS[::-1], HOT, KEYS[::-1])
    alone = [engine.generate([p], HOT, [k])[0] for p, k in zip(PROMPTS, KEYS, strict=True)]
    fewer = engine.generate(PROMPTS, Sampling(1.0, max_new_tokens=24, n_samples=1, seed=5), KEYS)
    tokens = [[s.token_ids for s in row] for row in together]
    assert tokens == [[s.token_ids for s in row] for row in backwards[::-1]]
    assert tokens == [[s.token_ids for s in row] for row in alone]
    assert [row[:1] for row in tokens] == [[s.token_ids for s in row] for row in fewer]


def test_seed_key_and_index_each_change_the_sample(engine):
    rows = engine.generate(["7*8"] * 2, HOT, ["a", "b"])
    other_seed = engine.generate(["7*8"], Sampling(1.0, max_new_tokens=24, n_samples=3, seed=6), ["a"])
    drawn = [tuple(s.token_ids) for s in rows[0] + rows[1] + other_seed[0]]
    assert len(set(drawn)) == 9


def test_finish_reason_text_and_lengths(engine):
    samples = [s for row in engine.generate(PROMPTS, Sampling(1.0, max_new_tokens=60, n_samples=8), KEYS) for s in row]
    eos, special = engine.tokenizer.eos_token_id, set(engine.tokenizer.all_special_ids)
    assert {s.finish_reason for s in samples} == {"stop", "length"}
    for sample in samples:
        assert len(sample.token_ids) == len(sample.logprobs)
        assert (sample.token_ids[-1] == eos) == (sample.finish_reason == "stop")
        assert eos not in sample.token_ids[:-1]
        assert sample.finish_reason == "stop" or len(sample.token_ids) == 60
        assert sample.text == engine.tokenizer.decode([t for t in sample.token_ids if t not in special])


def test_the_models_own_generation_defaults_do_not_act(engine):
    expected = engine.generate(PROMPTS, HOT, KEYS)
    model = tiny_model()
    model.generation_config.repetition_penalty = 5.0
    model.generation_config.suppress_tokens = [5, 6, 7, 8]
    model.generation_config.max_length = 3
    changed = TransformersEngine(model, engine.tokenizer, 4)
    assert [[s.token_ids for s in row] for row in changed.generate(PROMPTS, HOT, KEYS)] == [
        [s.token_ids for s in row] for row in expected
    ]
    assert model.generation_config.repetition_penalty == 5.0  # put back


def test_every_end_token_of_the_generation_config_ends_a_sample(engine):
    model = tiny_model()
    model.generation_config.eos_token_id = [engine.tokenizer.eos_token_id, 10]
    (row,) = TransformersEngine(model, engine.tokenizer, 64).generate(
        ["7*8"], Sampling(1.0, max_new_tokens=100, n_samples=64), ["a"]
    )
    ends = {s.token_ids[-1] for s in row if s.finish_reason == "stop"}
    assert ends == {engine.tokenizer.eos_token_id, 10}


def test_samples_follow_the_models_distribution(engine):
    # 4000 first tokens against the exact probabilities: chi-square over tokens with expectation >= 5
    n = 4000
    (row,) = TransformersEngine(engine.model, engine.tokenizer, 1000).generate(
        ["7*8"], Sampling(1.0, max_new_tokens=1, n_samples=n), ["a"]
    )
    with torch.no_grad():
        p = engine.model(torch.tensor(encode(engine.tokenizer, ["7*8"]))).logits[0, -1].softmax(-1).numpy()
    counts = np.bincount([s.token_ids[0] for s in row], minlength=len(p))
    frequent = n * p >= 5
    chi2 = ((counts - n * p) ** 2 / (n * p))[frequent].sum()
    degrees = frequent.sum() - 1
    assert degrees > 5 and chi2 < degrees + 4 * np.sqrt(2 * degrees)


def test_uniforms_are_uniform_and_uncorrelated():
    keys = np.array([te.row_key(0, f"p{i}", 0) for i in range(2000)], dtype=np.uint64)
    u = np.stack([te.uniforms(keys, step) for step in range(50)])
    assert 0 <= u.min() and u.max() < 1
    # standard error of the mean of 1e5 uniforms: √(1/12)/√1e5 = .00091; of a correlation: 1/√1e5 = .0032
    assert abs(u.mean() - 0.5) < 0.004
    assert abs(np.corrcoef(u[:-1].ravel(), u[1:].ravel())[0, 1]) < 0.013
    assert abs(np.corrcoef(u[:, :-1].ravel(), u[:, 1:].ravel())[0, 1]) < 0.013


def test_sampling_stays_inside_the_nucleus_of_a_large_vocabulary():
    p = torch.rand(3, 50_000, generator=torch.Generator().manual_seed(0)).softmax(-1)
    p[:, -1] = 0.0
    edge = torch.tensor([0.0, 0.5, 1 - 2.0**-48], dtype=torch.float64)
    assert (te.sample_at(p, edge).squeeze(1) < 49_999).all()
    peaked = torch.tensor([[0.04, 0.9, 0.06]])
    assert te.sample_at(peaked, torch.tensor([0.999]), top_p=0.5).item() == 1


def test_context_overflow_is_an_error_not_a_cut(engine):
    with pytest.raises(InputError, match=r"p2 has 41 tokens.*context of 128.*at most 87"):
        engine.generate(PROMPTS, Sampling(max_new_tokens=88), KEYS)
    assert len(engine.generate(PROMPTS, Sampling(max_new_tokens=87), KEYS)) == 6


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda e: e.generate(["a", "b"], HOT, ["x", "x"]), "key of its own"),
        (lambda e: e.generate(["a", ""], HOT, ["x", "y"]), "prompt of y is empty"),
        (lambda e: TransformersEngine(e.model, e.tokenizer, 0), "batch_size"),
    ],
)
def test_bad_requests(engine, call, message):
    with pytest.raises(InputError, match=message):
        call(engine)


def test_tiny_models_run_on_one_thread_and_leave_the_setting_alone(engine, monkeypatch):
    seen = []
    forward = engine.model.forward

    def watched(*args, **kwargs):
        seen.append(torch.get_num_threads())
        return forward(*args, **kwargs)

    monkeypatch.setattr(engine.model, "forward", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    engine.generate(["1"], Sampling(max_new_tokens=2), ["a"])
    assert set(seen) == {1} and torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_describe_is_json_ready(engine):
    import json

    described = json.loads(json.dumps(engine.describe()))
    assert described["batch_size"] == 4 and described["threads"] == 1 and described["dtype"] == "float32"
