"""The contamination probe: cutting, matching and ROUGE-L by hand, then whole probes of models that know or do not."""

import pandas as pd
import pytest
from tiny_lm import tiny_tokenizer

from spurious_rewards.data.problem_sets import load_problems
from spurious_rewards.errors import InputError
from spurious_rewards.evaluation import probe as pr
from spurious_rewards.evaluation.probe import PROBE_COLUMNS, ProbeConfig, cut_text, load_probe, probe, word_ends
from spurious_rewards.generation.engine import Sample
from spurious_rewards.generation.transformers_engine import TransformersEngine


def config(tiny, **fields):
    return ProbeConfig(**{"model": str(tiny), "n_problems": 6, "max_new_tokens": 24, "batch_size": 4, **fields})


@pytest.mark.parametrize(
    "percent, beginning, rest",
    [
        # 25 characters; words end at 4, 7, 9, 11, 13, 25, tokens also at 2, 16, 19, 24; words within 1.25 are taken
        (40, "What is 4", "+ 3 altogether?"),  # 10.0: 9 and 11 are equally near, the first is taken
        (43, "What is 4 +", "3 altogether?"),  # 10.75: the nearest word ends behind the mark
        (52, "What is 4 + 3", "altogether?"),  # 13.0: an end that is hit exactly
        (80, "What is 4 + 3 altoge", "ther?"),  # 20.0: no word ends within 1.25, the nearest token ends at 20
        (99, "What is 4 + 3 altogether", "?"),  # 24.75: the whole text is no beginning
        (1, "Wh", "at is 4 + 3 altogether?"),  # 0.25: never nothing
    ],
)
def test_cutting_at_words_and_where_none_is_near_at_tokens(percent, beginning, rest):
    text = "What is 4 + 3 altogether?"
    assert len(text) == 25 and word_ends(text) == [4, 7, 9, 11, 13, 25]
    assert cut_text(text, percent, word_ends(text), [2, 4, 7, 9, 11, 13, 16, 20, 24, 25]) == (beginning, rest)


def test_cutting_between_tokens_of_the_model():
    # tokens: "What is ", "4", "7", " + ", "3", "8", "?", ending at 8, 9, 10, 13, 14, 15, 16; 57 % of 16 is 9.12
    tokenizer = tiny_tokenizer()
    text = "What is 47 + 38?"
    assert pr.token_ends(text, tokenizer) == [8, 9, 10, 13, 14, 15, 16]
    assert cut_text(text, 57, [], pr.token_ends(text, tokenizer)) == ("What is 4", "7 + 38?")
    assert cut_text(text, 57, word_ends(text), pr.token_ends(text, tokenizer)) == ("What is 4", "7 + 38?")  # not 10


@pytest.mark.parametrize(
    "text, rest, exact",
    [
        (" plus\n38. The answer", "plus 38.", True),
        ("plus 38", "plus 38.", False),  # the full stop is missing
        ("plus 380.", "plus 38", False),  # another number
        ("plus 38, and", "plus 38", True),
        ("plus 38.5", "plus 38.", False),  # the full stop is a decimal point
        ("plus 38. 5 apples", "plus 38.", True),
        ("plus 3,000", "plus 3", False),
        ("plus 3, 4", "plus 3", True),
        ("plus 3/4", "plus 3", False),
        ("plus 3 / 4", "plus 3", False),
        ("plus 3^2", "plus 3", False),
        ("plus 1/23", "plus 1/2", False),
        ("plus 1/2 or", "plus 1/2", True),
        ("sums", "sum", False),
        ("sum 3", "sum", True),
        ("", "plus 38", False),
    ],
)
def test_exact_match(text, rest, exact):
    assert pr.completes(text, rest) is exact


@pytest.mark.parametrize(
    "text, rest, score",
    [
        ("the red fox jumped far away", "the quick red fox jumped", 2 * 4 / (5 + 5)),  # of "the red fox jumped far"
        ("jumped fox red quick the", "the quick red fox jumped", 2 * 1 / 10),  # order counts
        ("The QUICK", "the quick red fox", 2 * 2 / (2 + 4)),  # too short: recall suffers
        ("", "a b", 0.0),
        ("x+1 = 2", "x + 1 = 2", 1.0),  # symbols are tokens, white space is not
    ],
)
def test_rouge_l(text, rest, score):
    assert pr.rouge_l(text, rest) == pytest.approx(score)


def test_summary_by_hand():
    rows = pd.DataFrame(
        [
            {
                "problem_id": f"p{i}",
                "percent": percent,
                "exact_match": i < n,
                "rouge_l": i / 4,
                "correct": i == 0,
                "rest": "a b" if i else "a 7",
                "finish_reason": "length" if i else "stop",
                "shown": (percent + i - 2) / 100,
                "fits": i != 1,
            }
            for percent, n in ((60, 3), (40, 1))
            for i in range(5)
        ]
    )
    table = pr.summarise_probe(rows).set_index("percent")
    assert table.index.tolist() == [40, 60] and table["n_problems"].tolist() == [5, 5]
    assert table["exact_match"].tolist() == [0.2, 0.6] and table["accuracy"].tolist() == [0.2, 0.2]
    # Wilson, 1 of 5: centre (0.2 + 1.9207/5)/(1 + 3.8415/5) = 0.3304, half width 0.2941
    assert table.loc[40, "exact_match_low"] == pytest.approx(0.0362, abs=1e-3)
    assert table.loc[40, "exact_match_high"] == pytest.approx(0.6245, abs=1e-3)
    assert table["rouge_l"].tolist() == [0.5, 0.5] and (table["rouge_l_low"] < 0.5).all()
    assert table["cut_off"].tolist() == [0.8, 0.8] and table["rest_tokens"].tolist() == [2, 2]
    assert table["fits"].tolist() == [0.8, 0.8]
    assert table["n_numbers"].tolist() == [1, 1] and table["exact_match_numbers"].tolist() == [1, 1]  # p0 alone
    assert table[["shown", "shown_min", "shown_max"]].loc[40].tolist() == pytest.approx([0.4, 0.38, 0.42])


class Reciting:
    """Answers every beginning with the rest of its problem and the right answer, as a contaminated model would."""

    def __init__(self, problems, known):
        self.rest = {problem.problem: problem.meta["rest"] for problem in problems}
        self.answers = {problem.problem: problem.answer for problem in problems}
        self.known = known

    def generate(self, engine, prompts, sampling, keys, bar=None):
        import numpy as np

        texts = [
            f" {self.rest[p]} It is \\boxed{{{self.answers[p]}}}." if key.split("@")[0] in self.known else " Hm."
            for p, key in zip(prompts, keys, strict=True)
        ]
        return [[Sample(text, [5, 6], np.zeros(2, dtype="float32"), "stop")] for text in texts]


def test_a_model_that_knows_four_of_six_problems(tiny, runs, monkeypatch):
    cell = config(tiny)
    problems = load_problems("synthetic_test", 6, 0, order="first")
    reciting = Reciting(pr.beginnings(cell), {problem.id for problem in problems[:4]})
    monkeypatch.setattr(
        TransformersEngine, "generate", lambda engine, *args, **named: reciting.generate(engine, *args, **named)
    )
    run = probe(cell, progress=False)
    rows = load_probe(run)
    assert list(rows) == list(PROBE_COLUMNS)
    assert rows["problem_id"].tolist() == [problem.id for problem in problems for _ in range(3)]
    assert rows["percent"].tolist() == [40, 60, 80] * 6
    whole = {problem.id: problem.problem for problem in problems}
    tokenizer = tiny_tokenizer()
    for row in rows.itertuples():
        text = whole[row.problem_id]
        assert text.startswith(row.beginning) and text[len(row.beginning) :].strip() == row.rest
        assert row.shown == len(row.beginning) / len(text)
        assert row.fits == (len(tokenizer(row.rest)["input_ids"]) <= 24)
        others = [end / len(text) for end in pr.token_ends(text, tokenizer) if end < len(text)]
        nearest = min(abs(other - row.percent / 100) for other in others)
        assert abs(row.shown - row.percent / 100) <= max(nearest, pr.NEAR)
    assert rows["batch"].nunique() == 5  # 18 beginnings in batches of four
    summary = run.manifest()["summary"]
    assert [row["exact_match"] for row in summary] == pytest.approx([4 / 6] * 3)
    assert [row["accuracy"] for row in summary] == pytest.approx([4 / 6] * 3)
    assert run.manifest()["kind"] == "probe" and run.manifest()["n_problems"] == 6


def test_a_random_model_knows_nothing_and_a_finished_probe_is_kept(tiny, runs, monkeypatch):
    cell = config(tiny, boundary="token")
    first = probe(cell, progress=False)
    assert not load_probe(first)["exact_match"].any()
    assert [row["n_problems"] for row in first.manifest()["summary"]] == [6, 6, 6]
    monkeypatch.setattr(TransformersEngine, "generate", lambda *a, **k: pytest.fail("computed again"))
    assert probe(cell, progress=False).folder == first.folder


def test_an_interrupted_probe_goes_on_with_the_missing_parts(tiny, runs, monkeypatch):
    cell, generate, seen = config(tiny), TransformersEngine.generate, []

    def stops_at_the_third(engine, prompts, sampling, keys, bar=None):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(list(keys))
        return generate(engine, prompts, sampling, keys, bar)

    monkeypatch.setattr(TransformersEngine, "generate", stops_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        probe(cell, progress=False)
    later = []

    def watched(engine, prompts, sampling, keys, bar=None):
        later.append(list(keys))
        return generate(engine, prompts, sampling, keys, bar)

    monkeypatch.setattr(TransformersEngine, "generate", watched)
    rows = load_probe(probe(cell, progress=False))
    assert len(rows) == 18 and len(later) == 3  # 18 beginnings in batches of four: five parts, two were done
    assert not {key for keys in later for key in keys} & {key for keys in seen for key in keys}


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"percents": "40,140"}, "from 1 to 99"),
        ({"percents": "40,40"}, "different"),
        ({"percents": ""}, "percents"),
        ({"boundary": "words"}, "did you mean 'word'"),
        ({"prompt_style": "organism"}, "raw text"),
        ({"temperature": 1.0, "n_samples": 2}, "n_samples at 1"),
        ({"n_problems": -1}, "at least 0"),
    ],
)
def test_a_configuration_that_cannot_work(tiny, fields, message):
    with pytest.raises(InputError, match=message):
        config(tiny, **fields)


def test_context_overflow_and_unknown_benchmark(tiny, runs):
    with pytest.raises(InputError, match="exceeds the model's context of 128"):
        probe(config(tiny, max_new_tokens=127), progress=False)
    with pytest.raises(InputError, match="did you mean 'math500'"):
        probe(config(tiny, benchmark="math50"), progress=False)


def test_a_problem_of_one_token_cannot_be_cut(tiny, monkeypatch):
    from spurious_rewards.data.problem import Problem

    monkeypatch.setattr(pr, "problems_of", lambda *a: [Problem("one", "7", "1", "toy")])
    with pytest.raises(InputError, match="Problem one of synthetic_test is one token long and cannot be cut"):
        pr.beginnings(config(tiny))


def test_a_rest_that_is_longer_than_any_continuation_is_marked(tiny):
    long, short = (pr.beginnings(config(tiny, max_new_tokens=n)) for n in (64, 1))
    sample = Sample("", [], None, "stop")
    fits = [[pr.probe_record(p, "", sample, n)["fits"] for p in problems] for problems, n in ((long, 64), (short, 1))]
    assert all(fits[0]) and not all(fits[1])


def test_probes_are_read_together(tiny, runs):
    one = probe(config(tiny), progress=False)
    two = probe(config(tiny, boundary="token"), progress=False)
    rows = pr.load_probes([one, two])
    assert len(rows) == 36 and rows.groupby("run_id")["boundary"].unique().map(list).to_dict() == {
        one.run_id: ["word"],
        two.run_id: ["token"],
    }
    assert set(pr.CELL_COLUMNS) | set(PROBE_COLUMNS) | {"run_id"} == set(rows)
    assert pr.load_probes([]).empty


@pytest.mark.parametrize("names", ["", " , ", "math500, math500"])
def test_problem_sets_to_probe(names):
    with pytest.raises(InputError, match="problem sets to probe must be"):
        pr.named_benchmarks(names)
