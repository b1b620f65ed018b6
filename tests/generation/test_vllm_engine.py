"""The vLLM engine: its pure parts with a stand-in for vLLM, and (marker vllm) the real one beside Transformers."""

import gc
import importlib.util
import json
import os
import shutil
import sys
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_lm import save_tiny, tiny_tokenizer
from transformers import Qwen2Config

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.agreement import NEAR_TIE, first_difference, teacher_forced, tie
from spurious_rewards.evaluation.config import EvalConfig
from spurious_rewards.evaluation.evaluate import evaluate
from spurious_rewards.generation import engine as interface
from spurious_rewards.generation import vllm_engine as ve
from spurious_rewards.generation.engine import Sampling, encode
from spurious_rewards.generation.transformers_engine import TransformersEngine, row_key
from spurious_rewards.models.prompts import render
from spurious_rewards.models.registry import load, resolve

MATH = ["What is 12 + 35?", "Compute 47 - 19.", "What is 6 + 6?", "Find the sum of 81 and 11.", "What is 90 - 45?"]
KEYS = [f"p{i}" for i in range(len(MATH))]
HOT = Sampling(temperature=1.0, max_new_tokens=16, n_samples=3, seed=5)


# ---- without vLLM ----------------------------------------------------------------------------------------------------


class FakeLLM:
    """What the engine uses of `vllm.LLM`: answers each request with its prompt's last token, then an end token."""

    def __init__(self, **options):
        if options["model"].endswith("broken"):
            raise ValueError("a long story\nthe cause.")
        self.options, self.queue = options, []
        torch.set_num_threads = lambda n: None  # as vLLM does
        os.environ["LD_PRELOAD"] = "libtcmalloc.so"
        config = SimpleNamespace(
            model_config=SimpleNamespace(dtype=torch.float32, max_model_len=100),
            device_config=SimpleNamespace(device_type="cpu"),
            scheduler_config=SimpleNamespace(max_num_seqs=options["max_num_seqs"], max_num_batched_tokens=4096),
            cache_config=SimpleNamespace(enable_prefix_caching=options["enable_prefix_caching"]),
        )
        self.llm_engine = SimpleNamespace(
            vllm_config=config, step=self.step, has_unfinished_requests=lambda: bool(self.queue)
        )

    def enqueue(self, prompts, parameters, use_tqdm):
        self.requests = list(zip(prompts, parameters, strict=True))
        self.queue = list(enumerate(self.requests))

    def step(self):
        """The last request finishes, the first one is still at work: outputs come out of order."""
        index, (prompt, parameters) = self.queue.pop()
        tokens = [prompt["prompt_token_ids"][-1], parameters["stop_token_ids"][0]][: parameters["max_tokens"]]
        logprobs = [{token: SimpleNamespace(logprob=-0.5 - index)} for token in tokens]
        working = [SimpleNamespace(finished=False, request_id="0", outputs=[])] if self.queue else []
        return [
            *working,
            SimpleNamespace(
                finished=True,
                request_id=str(index),
                outputs=[SimpleNamespace(token_ids=tuple(tokens), logprobs=logprobs)],
            ),
        ]


@pytest.fixture
def fake(monkeypatch):
    """A stand-in for the package on a machine without a GPU."""
    module = SimpleNamespace(LLM=FakeLLM, SamplingParams=dict, TokensPrompt=dict)
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(ve, "on_cpu", lambda: True)
    monkeypatch.setattr(ve, "_ENGINES", {})
    for name in (*ve.ENVIRONMENT, "VLLM_BATCH_INVARIANT", "VLLM_CPU_KVCACHE_SPACE", "LD_PRELOAD"):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards, whether it was set or not
        monkeypatch.delenv(name)
    with torch._dynamo.config.patch(disable=False):
        yield


@pytest.fixture
def tiny(tmp_path):
    return save_tiny(tmp_path / "tiny")


def test_requests_and_samples_keep_their_order(fake, tiny):
    engine = ve.from_model_name(str(tiny), 7, "float32")
    prompts, keys, bar = [f"1{i}" for i in range(6)], [f"k{i}" for i in range(6)], SimpleNamespace(n=0, updates=[])
    bar.update = bar.updates.append
    sampling = Sampling(temperature=0.6, top_p=0.9, max_new_tokens=5, n_samples=2, seed=3)
    samples = engine.generate(prompts, sampling, keys, bar)
    ids, eos = encode(engine.tokenizer, prompts), engine.tokenizer.eos_token_id
    assert [[s.token_ids for s in row] for row in samples] == [[[one[-1], eos]] * 2 for one in ids]
    # request i of 12 has log-probability -0.5 - i; sample s of prompt p is request 2p + s
    assert [[float(s.logprobs[0]) for s in row] for row in samples] == [[-0.5 - 2 * p, -1.5 - 2 * p] for p in range(6)]
    assert all(s.logprobs.dtype == np.float32 and s.finish_reason == "stop" for row in samples for s in row)
    assert [s.text for s in samples[3]] == ["3", "3"]  # the end token is not in the text
    assert bar.updates == [1] * 12
    assert [dict(p)["prompt_token_ids"] for p, _ in engine.llm.requests] == [one for one in ids for _ in range(2)]
    _, parameters = engine.llm.requests[9]  # sample 1 of k4
    assert parameters == {
        "n": 1,
        "temperature": 0.6,
        "top_p": 0.9,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "seed": row_key(3, "k4", 1) >> 1,
        "max_tokens": 5,
        "stop_token_ids": [eos],
        "logprobs": 0,
        "detokenize": False,
        "watermarking": False,
    }


def test_a_cut_answer_has_finish_reason_length(fake, tiny):
    ((sample,),) = ve.from_model_name(str(tiny), 7, "float32").generate(["12"], Sampling(max_new_tokens=1), ["a"])
    assert (sample.finish_reason, sample.text, len(sample.token_ids)) == ("length", "2", 1)
    assert ve.from_model_name(str(tiny), 7, "float32").generate([], Sampling(), []) == []


def test_options_environment_and_description(fake, tiny, monkeypatch):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "5")
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "INFO")
    set_num_threads = torch.set_num_threads
    engine = ve.from_model_name(str(tiny), 7, "auto")
    assert torch.set_num_threads is set_num_threads and "LD_PRELOAD" not in os.environ  # what vLLM changed is undone
    assert os.environ["VLLM_LOGGING_LEVEL"] == "INFO" and os.environ["VLLM_CPU_KVCACHE_SPACE"] == "5"  # the user's
    assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    options = engine.llm.options
    assert (options["dtype"], options["max_num_seqs"], options["generation_config"]) == ("float32", 7, "vllm")
    assert (options["logprobs_mode"], options["skip_tokenizer_init"]) == ("raw_logprobs", True)
    described = json.loads(json.dumps(engine.describe()))
    assert (described["engine"], described["batch_size"], described["kv_cache_gib"]) == ("vllm", 7, 5)
    assert described["batch_invariant"] is False and described["eos_token_ids"] == [engine.tokenizer.eos_token_id]


def test_the_cache_of_an_unset_environment(fake, tiny):
    ve.from_model_name(str(tiny), 7, "float32")
    assert os.environ["VLLM_CPU_KVCACHE_SPACE"] == str(ve.CPU_KV_CACHE_GIB)


def test_refusals(fake, tiny, monkeypatch, tmp_path):
    engine = ve.from_model_name(str(tiny), 7, "float32")
    for call, message in (
        (lambda: engine.generate(["1"], Sampling(max_new_tokens=128), ["a"]), "exceeds the model's context of 128"),
        (lambda: engine.generate(["1"], Sampling(max_new_tokens=110), ["a"]), "the 100 tokens that vLLM's cache"),
        (lambda: engine.generate([""], Sampling(), ["a"]), "prompt of a is empty"),
        (lambda: engine.generate(["1", "2"], Sampling(), ["a", "a"]), "key of its own"),
        (lambda: engine.generate(["1"], Sampling(temperature=0.001), ["a"]), "from 0.01 to 2 .*not 0.001"),
        (lambda: engine.generate(["1"], Sampling(temperature=3.0), ["a"]), "not 3"),
        (lambda: ve.from_model_name(str(tiny), 0, "float32"), "batch_size must be at least 1"),
        (
            lambda: ve.from_model_name(str(shutil.copytree(tiny, tmp_path / "broken")), 7, "float32"),
            "vLLM cannot load .*broken: the cause; see its log",
        ),
    ):
        with pytest.raises(InputError, match=message):
            call()
    with pytest.raises(InputError, match="no batch-invariant kernels on a CPU"):
        ve.from_model_name(str(tiny), 7, "float32", batch_invariant=True)
    assert not ve.invariant_environment()
    monkeypatch.setattr(ve, "on_cpu", lambda: False)  # on a GPU it is an option of the engine, and recorded
    monkeypatch.setattr(FakeLLM, "step", None)
    assert ve.from_model_name(str(tiny), 7, "float32").describe()["batch_invariant"] is False
    ve._ENGINES.clear()
    assert ve.from_model_name(str(tiny), 7, "float32", True).describe()["batch_invariant"] is True
    ve._ENGINES.clear()
    # vLLM has read it by now; and whoever sets the variable alone gets results whose identity does not say so
    with pytest.raises(InputError, match="VLLM_BATCH_INVARIANT is set in this process, but .* is false"):
        ve.from_model_name(str(tiny), 7, "float32")


def test_a_process_has_one_engine(fake, tiny, monkeypatch, tmp_path):
    """On a GPU a second one would not start (vLLM keeps the memory); the same arguments get the same engine."""
    first = ve.from_model_name(str(tiny), 7, "float32")
    assert ve.from_model_name(str(tiny), 7, "float32") is first
    other = shutil.copytree(tiny, tmp_path / "other")
    second = ve.from_model_name(str(other), 7, "float32")
    assert second is not first and list(ve._ENGINES.values()) == [second], "on a CPU the old one is given up"
    monkeypatch.setattr(ve, "on_cpu", lambda: False)
    with pytest.raises(InputError, match=r"already runs vLLM with .*other \(batch_size 7, float32\)"):
        ve.from_model_name(str(tiny), 7, "float32")
    assert ve.from_model_name(str(other), 7, "float32") is second


@pytest.mark.parametrize("heads, head_dim, dim", [(2, None, 32), (1, 48, 48)])
def test_small_heads_are_refused_before_the_engine_starts(fake, tiny, heads, head_dim, dim):
    config = json.loads((tiny / "config.json").read_text()) | {"num_attention_heads": heads, "head_dim": head_dim}
    (tiny / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=f"at least 64 dimensions, but those of .* have {dim}"):
        ve.from_model_name(str(tiny), 7, "float32")
    assert ve.check_machine(Qwen2Config(hidden_size=128, num_attention_heads=2), "x") is None


@pytest.mark.parametrize(
    "change, message",
    [
        ({"vocab_size": 50}, "tokens, but the model only 50 embeddings"),
        ({"model_type": "nothing"}, "cannot be loaded: .*nothing"),
    ],
)
def test_folders_that_do_not_hold_together(fake, tiny, change, message):
    tokenizer = tiny_tokenizer()
    config = json.loads((tiny / "config.json").read_text()) | change
    (tiny / "config.json").write_text(json.dumps(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spurious_rewards.models.registry.load_tokenizer", lambda model: tokenizer)
        with pytest.raises(InputError, match=message):
            ve.from_model_name(str(tiny), 7, "float32")


def test_end_tokens_are_those_of_the_transformers_engine(tiny):
    model, tokenizer = load(str(tiny))
    for own in (None, 7, [7, 9]):
        model.generation_config.eos_token_id = own
        model.save_pretrained(tiny)
        expected = TransformersEngine(load(str(tiny))[0], tokenizer).eos
        assert ve.end_tokens(tokenizer, tiny, model.config) == expected
    (tiny / "generation_config.json").unlink()
    assert ve.end_tokens(tokenizer, tiny, model.config) == TransformersEngine(load(str(tiny))[0], tokenizer).eos
    tokenizer.eos_token = None
    model.config.eos_token_id = None
    with pytest.raises(InputError, match="set tokenizer.eos_token"):
        ve.end_tokens(tokenizer, tiny, model.config)


def test_seeds_fit_vllm_and_differ():
    seeds = {ve.request_seed(seed, key, sample) for seed in (0, 1) for key in KEYS for sample in range(100)}
    assert len(seeds) == 2 * len(KEYS) * 100 and all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62  # the whole range is used


def test_batch_invariance_is_read_from_the_environment(monkeypatch):
    for value, expected in (("1", True), ("true", True), ("0", False), ("False", False), ("", False)):
        monkeypatch.setenv("VLLM_BATCH_INVARIANT", value)
        assert ve.invariant_environment() is expected


# ---- the real engine -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_cache():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        yield


@pytest.fixture(scope="module", params=["qwen-like", "smollm2-135m-instruct"])
def both(request, small_cache):
    """The same model in both engines, and prompts for it."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed: make test-vllm")
    real = interface.create("vllm", request.param, 8, "float32")
    reference = interface.create("transformers", request.param, 8, "float32")
    style = "organism" if request.param == "qwen-like" else "qwen_default"
    yield real, reference, [render(style, problem, real.tokenizer) for problem in MATH]
    del real, reference
    gc.collect()


def tokens_of(samples):
    return [[s.token_ids for s in row] for row in samples]


@pytest.mark.vllm
def test_greedy_agrees_with_transformers_except_at_ties(both):
    real, reference, prompts = both
    sampling = Sampling(max_new_tokens=32)
    ours, theirs = (one.generate(prompts, sampling, KEYS) for one in (real, reference))
    for prompt, (a,), (b,) in zip(encode(real.tokenizer, prompts), ours, theirs, strict=True):
        t = first_difference(a.token_ids, b.token_ids)
        if t is None:
            assert a.token_ids == b.token_ids and a.text == b.text and a.finish_reason == b.finish_reason
            np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-3)
        else:
            found = tie(teacher_forced(reference.model, prompt, a.token_ids)[t], a.token_ids[t], b.token_ids[t])
            assert found.shortfall < NEAR_TIE


@pytest.mark.vllm
@pytest.mark.parametrize("temperature, top_p", [(0.0, 1.0), (1.0, 1.0), (0.6, 0.8)])
def test_logprobs_are_the_models_own_at_temperature_one(both, temperature, top_p):
    real, reference, prompts = both
    samples = real.generate(prompts, Sampling(temperature, top_p, max_new_tokens=24), KEYS)
    for prompt, (sample,) in zip(encode(real.tokenizer, prompts), samples, strict=True):
        expected_T_V = teacher_forced(reference.model, prompt, sample.token_ids)
        expected_T = expected_T_V[range(len(sample.token_ids)), sample.token_ids].numpy()
        assert sample.logprobs.dtype == np.float32
        np.testing.assert_allclose(sample.logprobs, expected_T, atol=1e-3)


@pytest.mark.vllm
def test_a_sample_depends_on_seed_key_and_index_and_on_nothing_else(both):
    real, _, prompts = both
    together = tokens_of(real.generate(prompts, HOT, KEYS))
    assert tokens_of(real.generate(prompts, HOT, KEYS)) == together
    assert tokens_of(real.generate(prompts[::-1], HOT, KEYS[::-1]))[::-1] == together
    alone = tokens_of(real.generate(prompts[1:2], Sampling(1.0, max_new_tokens=16, n_samples=1, seed=5), KEYS[1:2]))
    assert alone[0] == together[1][:1]
    drawn = [
        *tokens_of(real.generate(prompts[:1] * 2, HOT, ["a", "b"])),
        *tokens_of(real.generate(prompts[:1], Sampling(1.0, max_new_tokens=16, n_samples=3, seed=6), ["a"])),
    ]
    assert len({tuple(tokens) for row in drawn for tokens in row}) == 9


@pytest.mark.vllm
def test_ids_text_and_finish_reason(both):
    real, _, prompts = both
    seen = set()
    sampling = Sampling(temperature=1.0, max_new_tokens=24, n_samples=4)
    for sample in (s for row in real.generate(prompts, sampling, KEYS) for s in row):
        seen.add(sample.finish_reason)
        assert len(sample.token_ids) == len(sample.logprobs)
        assert (sample.token_ids[-1] in real.eos) == (sample.finish_reason == "stop")
        assert not set(sample.token_ids[:-1]) & set(real.eos)
        assert sample.finish_reason == "stop" or len(sample.token_ids) == 24
        assert sample.text == real.tokenizer.decode(sample.token_ids, skip_special_tokens=True)
        assert real.tokenizer.eos_token not in sample.text
    assert seen == {"stop", "length"}


@pytest.mark.vllm
def test_context_overflow_is_an_error_not_a_cut(both):
    real, reference, prompts = both
    context = reference.model.config.max_position_embeddings
    length = real.prompt_lengths(prompts)[0]
    assert real.prompt_lengths(prompts) == reference.prompt_lengths(prompts)
    with pytest.raises(InputError, match=f"context of {context}: .*at most {context - length}, or leave "):
        real.generate(prompts[:1], Sampling(max_new_tokens=context - length + 1), ["p"])


@pytest.mark.vllm
def test_what_a_number_depends_on_is_described(both):
    real, reference, _ = both
    described = json.loads(json.dumps(real.describe()))
    assert described["engine"] == "vllm" and described["engine_version"].startswith("0.31.0")
    assert (described["dtype"], described["device"], described["max_num_seqs"]) == ("float32", "cpu", 8)
    assert described["eos_token_ids"] == reference.describe()["eos_token_ids"]
    assert (described["batch_invariant"], described["prefix_caching"], described["kv_cache_gib"]) == (False, False, 1)


@pytest.mark.vllm
def test_first_tokens_follow_the_models_distribution(small_cache):
    # 1500 first tokens against the exact probabilities: chi-square over tokens with expectation >= 5
    n = 1500
    real, (model, tokenizer) = interface.create("vllm", "qwen-like", 256), load("qwen-like")
    prompt = render("organism", MATH[0], tokenizer)
    (row,) = real.generate([prompt], Sampling(1.0, max_new_tokens=1, n_samples=n), ["a"])
    p = teacher_forced(model, encode(tokenizer, [prompt])[0], [])[0].exp().numpy()
    counts = np.bincount([s.token_ids[0] for s in row], minlength=len(p))
    frequent = n * p >= 5
    chi2 = ((counts - n * p) ** 2 / (n * p))[frequent].sum()
    degrees = frequent.sum() - 1
    assert degrees > 2 and chi2 < degrees + 4 * np.sqrt(2 * degrees)


@pytest.mark.vllm
def test_the_models_generation_defaults_act_only_through_their_end_tokens(small_cache, tmp_path):
    folder = shutil.copytree(resolve("qwen-like").folder(), tmp_path / "model")
    plain = interface.create("vllm", "qwen-like", 8)
    prompts = [render("organism", problem, plain.tokenizer) for problem in MATH]
    expected = plain.generate(prompts, HOT, KEYS)
    stop = expected[0][0].token_ids[5]
    (folder / "generation_config.json").write_text(
        json.dumps(
            {
                "eos_token_id": [*plain.eos, stop],
                "do_sample": True,
                "temperature": 0.01,
                "top_k": 1,
                "top_p": 0.1,
                "repetition_penalty": 1.9,
            }
        )
    )
    changed = interface.create("vllm", str(folder), 8)
    assert changed.eos == sorted({*plain.eos, stop})
    again = changed.generate(prompts, HOT, KEYS)
    for before, after in zip(chain(*expected), chain(*again), strict=True):
        ends = [t for t, token in enumerate(before.token_ids) if token in changed.eos]
        assert after.token_ids == before.token_ids[: ends[0] + 1 if ends else None]
        assert after.finish_reason == ("stop" if ends else "length")


@pytest.mark.vllm
def test_an_evaluation_cell(small_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "runs"))
    fields = {"n_problems": 24, "max_new_tokens": 64, "batch_size": 8}
    run = evaluate(EvalConfig(engine="vllm", **fields), progress=False)
    records = pd.read_parquet(run.path("records.parquet"))
    (described,) = run.manifest()["engines"]
    assert described["engine"] == "vllm" and described["batch_size"] == 8
    assert run.manifest()["versions"]["vllm-cpu"] == "0.31.0"
    reference = pd.read_parquet(evaluate(EvalConfig(**fields), progress=False).path("records.parquet"))
    assert (records["problem_id"] == reference["problem_id"]).all()
    assert (records["prompt"] == reference["prompt"]).all()
    assert (records["correct"] == reference["correct"]).mean() >= 22 / 24  # near-ties may fall the other way
    assert 0.5 < records["correct"].mean() <= 1
    before = run.path("records.parquet").stat().st_mtime_ns
    assert (
        evaluate(EvalConfig(engine="vllm", **fields), progress=False).path("records.parquet").stat().st_mtime_ns
        == before
    )
