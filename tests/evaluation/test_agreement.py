"""Agreement of two evaluations: by hand where that is possible, and with a tiny random model that is teacher-forced."""

import math

import pandas as pd
import pytest
import torch
from tiny_lm import save_tiny, tiny_model, tiny_tokenizer

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation import agreement as ag
from spurious_rewards.evaluation.config import EvalConfig
from spurious_rewards.evaluation.evaluate import evaluate
from spurious_rewards.generation.engine import Sampling, encode
from spurious_rewards.generation.transformers_engine import TransformersEngine
from spurious_rewards.models.prompts import render
from spurious_rewards.models.registry import load
from spurious_rewards.storage.runs import RunFolder

PROMPTS = ["what is 2+2?", "7*8", "x=3. 5*x=?", "1"]
KEYS = ["p0", "p1", "p2", "p3"]


def records(correct, texts=None, **columns):
    n = len(correct)
    return pd.DataFrame(
        {
            "problem_id": [f"p{i}" for i in range(n)],
            "sample": 0,
            "prompt": [f"q{i}" for i in range(n)],
            "text": texts or ["a"] * n,
            "n_tokens": 3,
            "logprob": -1.0,
            "finish_reason": "stop",
            "correct": correct,
            **columns,
        }
    )


def test_verdicts_by_hand():
    a = records([True] * 6 + [False] * 2)
    b = records([True] * 5 + [False] * 3, texts=["a"] * 5 + ["b"] * 3)
    # both right: 5, only a: 1, neither: 2 → agree 7/8; McNemar on 1 discordant pair: p = 1; 5 of 8 texts are equal
    found = ag.verdicts(ag.answer_pairs(a, b))
    assert (found["n"], found["agree"], found["only_a"], found["only_b"]) == (8, 7 / 8, 1, 0)
    assert (found["accuracy_a"], found["accuracy_b"]) == (6 / 8, 5 / 8)
    assert (found["p_value"], found["same_text"]) == (1.0, 5 / 8)
    # Wilson for 7/8: centre (7/8 + 1.96²/16) / (1 + 1.96²/8), half width as in statistics.wilson: [0.529, 0.978]
    assert (found["agree_low"], found["agree_high"]) == pytest.approx((0.529, 0.978), abs=1e-3)


@pytest.mark.parametrize("column, value", [("text", "other"), ("n_tokens", 4), ("finish_reason", "length")])
def test_answers_are_the_same_only_in_text_length_and_reason(column, value):
    pairs = ag.answer_pairs(records([True, True]), records([True, True]))
    assert pairs["same"].all()
    changed = records([True, True])
    changed.loc[1, column] = value
    assert ag.answer_pairs(records([True, True]), changed)["same"].tolist() == [True, False]


def test_records_of_other_problems_or_prompts_are_refused():
    a = records([True, True])
    for b in (records([True]), a.assign(prompt=["q0", "other"]), a.assign(problem_id=["p0", "p9"])):
        with pytest.raises(InputError, match="not of the same problems and prompts"):
            ag.answer_pairs(a, b)
    shuffled = ag.answer_pairs(a.assign(text=["x", "y"]), a.assign(text=["x", "y"]).iloc[::-1])
    assert shuffled["problem_id"].tolist() == ["p0", "p1"] and shuffled["same"].all()


def test_tie_by_hand():
    # of (0.5, 0.3, 0.2): gap ln(0.5 / 0.3) = 0.511; tokens 0 and 2 were chosen: shortfall ln(0.5 / 0.2) = 0.916
    logprobs = torch.tensor([0.5, 0.3, 0.2]).log()
    assert ag.tie(logprobs, 1, 0) == ag.Tie(pytest.approx(0.5108, abs=1e-4), pytest.approx(0.5108, abs=1e-4))
    assert ag.tie(logprobs, 0, 2) == ag.Tie(pytest.approx(0.5108, abs=1e-4), pytest.approx(0.9163, abs=1e-4))


@pytest.fixture(scope="module")
def engine():
    return TransformersEngine(tiny_model(), tiny_tokenizer(), batch_size=4)


def answers(engine):
    """Greedy answers and their records."""
    samples = [row[0] for row in engine.generate(PROMPTS, Sampling(max_new_tokens=16), KEYS)]
    frame = records([True] * 4, [s.text for s in samples]).assign(
        prompt=PROMPTS,
        n_tokens=[len(s.token_ids) for s in samples],
        logprob=[float(s.logprobs.sum(dtype="float64")) for s in samples],
        finish_reason=[s.finish_reason for s in samples],
    )
    return samples, frame


def test_teacher_forcing_gives_the_engines_log_probabilities(engine):
    samples, _ = answers(engine)
    for ids, sample in zip(encode(engine.tokenizer, PROMPTS), samples, strict=True):
        logprobs_T_V = ag.teacher_forced(engine.model, ids, sample.token_ids)
        assert logprobs_T_V.shape == (len(sample.token_ids) + 1, engine.model.config.vocab_size)
        assert logprobs_T_V[:-1].argmax(-1).tolist() == sample.token_ids  # greedy
        chosen = logprobs_T_V[range(len(sample.token_ids)), sample.token_ids]
        torch.testing.assert_close(chosen, torch.from_numpy(sample.logprobs), atol=1e-4, rtol=0)


class Spelled:
    """A tokenizer of single letters with token 0 as the end, so that recovering can be followed by hand."""

    bos_token = None

    def __call__(self, text, **_):
        return {"input_ids": [ord(letter) - 96 for letter in text]}

    def decode(self, ids, **_):
        return "".join("$" if i == 0 else chr(i + 96) for i in ids)


class Cycle:
    """A language model on letters: after letter i comes i+1, or with a logit less by `gap` i+2."""

    device, dtype = "cpu", torch.float32

    def __init__(self, gap=1e-4, size=27):
        self.gap, self.size = gap, size

    def __call__(self, ids, logits_to_keep):
        logits = torch.full((1, ids.shape[1], self.size), -8.0)
        for t, i in enumerate(ids[0].tolist()):
            logits[0, t, (i + 1) % self.size] = 5.0
            logits[0, t, (i + 2) % self.size] = 5.0 - self.gap
        return type("Output", (), {"logits": logits[:, -logits_to_keep:]})


def total(model, prompt, ids):
    return float(ag.teacher_forced(model, prompt, ids)[range(len(ids)), ids].sum())


def test_recovering_an_answer_checks_count_and_log_probability():
    model, tokenizer, prompt = Cycle(), Spelled(), [1, 2]
    ids = [3, 4, 5]  # "cde"
    logprob = total(model, prompt, ids)
    # each token has probability about 1/2: 3 · ln(1/2) = -2.08
    assert logprob == pytest.approx(-2.079, abs=1e-2)

    def recovered(text, reason, n, logprob):
        found = ag.recover(text, reason, n, logprob, prompt, model, tokenizer, [0])
        return None if found is None else found[0]

    assert recovered("cde", "length", 3, logprob) == ids
    assert recovered("cde", "length", 4, logprob) is None  # the model wrote it in other pieces
    assert recovered("cde", "length", 3, logprob - 1) is None
    with_end = [3, 4, 5, 0]
    assert recovered("cde", "stop", 4, total(model, prompt, with_end)) == with_end
    assert recovered("cde", "length", 4, total(model, prompt, with_end)) is None


def test_explaining_differences_by_hand():
    model, tokenizer = Cycle(gap=1e-4), Spelled()
    a = records([True, True, False], ["cde", "cde", "cde"]).assign(prompt="ab", n_tokens=3, finish_reason="length")
    b = a.assign(text=["cde", "cfg", "cdf"], correct=[True, False, False])
    for frame in (a, b):
        frame["logprob"] = [total(model, [1, 2], tokenizer(text)["input_ids"]) for text in frame["text"]]
    b.loc[2, "logprob"] -= 5.0  # this one cannot be recovered
    found = ag.explain(ag.answer_pairs(a, b), model, tokenizer, [0])
    assert list(found) == list(ag.DIFFERENCE_COLUMNS) and found["problem_id"].tolist() == ["p1", "p2"]
    first = found.iloc[0]
    # after "abc" come d (5.0) and e (5.0 - 1e-4); b chose f, which is not one of them
    assert (first["position"], first["token_a"], first["token_b"]) == (1, "d", "f")
    assert first["shortfall"] == pytest.approx(13, rel=1e-3)  # 5 - (-8)
    assert first["gap"] == pytest.approx(1e-4, rel=0.05) and (first["correct_a"], first["correct_b"]) == (True, False)
    assert not found.iloc[1]["located"] and math.isnan(found.iloc[1]["gap"])
    summary = ag.ties(found)
    assert (summary["n_different"], summary["n_located"], summary["near_ties"]) == (2, 1, 0)

    b.loc[1, ["text", "logprob"]] = ["cef", total(model, [1, 2], [3, 5, 6])]  # e is the second of the two
    summary = ag.ties(ag.explain(ag.answer_pairs(a, b), model, tokenizer, [0]))
    assert summary["near_ties"] == 1 and summary["largest_shortfall"] == summary["largest_gap"]
    assert summary["largest_gap"] == summary["median_gap"] == pytest.approx(1e-4, rel=0.05)
    wide = Cycle(gap=0.5)
    known = {("p1", 0): ([3, 4, 5], [3, 5, 6]), ("p2", 0): ([3, 4, 5], [3, 4, 6])}  # token ids given: none is lost
    summary = ag.ties(ag.explain(ag.answer_pairs(a, b), wide, tokenizer, [0], tokens=known))
    assert (summary["n_located"], summary["near_ties"]) == (2, 0)
    assert summary["largest_gap"] == pytest.approx(0.5, rel=1e-3)


def test_a_models_own_answers_are_recovered_from_their_texts():
    model, tokenizer = load("qwen-like")
    engine = TransformersEngine(model, tokenizer)
    prompts = [render("organism", f"What is {i} + {i}?", tokenizer) for i in range(11, 17)]
    for prompt, (sample,) in zip(prompts, engine.generate(prompts, Sampling(max_new_tokens=64), prompts), strict=True):
        found = ag.recover(
            sample.text,
            sample.finish_reason,
            len(sample.token_ids),
            float(sample.logprobs.sum()),
            encode(tokenizer, [prompt])[0],
            model,
            tokenizer,
            engine.eos,
        )
        assert found is not None and found[0] == sample.token_ids


def test_nothing_differs(engine):
    _, frame = answers(engine)
    found = ag.explain(ag.answer_pairs(frame, frame), engine.model, engine.tokenizer, engine.eos)
    assert found.empty and list(found) == list(ag.DIFFERENCE_COLUMNS)
    summary = ag.ties(found)
    assert summary["n_different"] == summary["near_ties"] == 0 and math.isnan(summary["largest_gap"])


def test_a_forced_beginning_is_part_of_prompt_and_text():
    model, tokenizer = Cycle(), Spelled()
    a = records([True], ["abcd"]).assign(
        prompt="ab", n_tokens=2, finish_reason="length", logprob=total(model, [1, 2], [3, 4])
    )
    b = a.assign(text="abce", logprob=total(model, [1, 2], [3, 5]))
    found = ag.explain(ag.answer_pairs(a, b), model, tokenizer, [0], prefix="ab")
    assert (found.loc[0, "position"], found.loc[0, "token_a"], found.loc[0, "token_b"]) == (1, "d", "e")


def test_cells_of_two_engines(tmp_path, monkeypatch):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "runs"))
    tiny = save_tiny(tmp_path / "tiny")
    fields = {"model": str(tiny), "prompt_style": "none", "n_problems": 4, "max_new_tokens": 8}
    one, two = (evaluate(EvalConfig(batch_size=size, **fields), progress=False) for size in (2, 4))
    config = ag.same_cell(one.run_id, two.run_id)
    assert (config.model, config.batch_size, config.engine) == (str(tiny), 2, "transformers")
    RunFolder.open("by-vllm", {**two.config(), "engine": "vllm"})  # read where vLLM is not installed
    assert ag.same_cell("by-vllm", one.run_id).engine == "transformers"
    RunFolder.open("other", {**two.config(), "dtype": "bfloat16", "seed": 1})
    with pytest.raises(InputError, match="they differ in seed, dtype"):
        ag.same_cell(one.run_id, "other")
    RunFolder.open("sampled", {**two.config(), "temperature": 1.0})
    with pytest.raises(InputError, match="are sampled"):
        ag.same_cell("sampled", "sampled")
    with pytest.raises(InputError, match="There is no run"):
        ag.same_cell(one.run_id, "nothing")
