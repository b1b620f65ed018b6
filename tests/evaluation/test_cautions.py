"""Each reason for caution, from invented records."""

import pandas as pd
import pytest

from spurious_rewards.evaluation import cautions as module
from spurious_rewards.evaluation.cautions import cautions
from spurious_rewards.evaluation.published import published, published_sentence
from spurious_rewards.storage.runs import RunFolder

BOX = r"so \boxed{1}"


def evaluation(runs, texts, correct, finish="stop", reason="string_equal", warnings=(), **config):
    """A complete evaluation of a thousand problems, the given answers in turn."""
    n = 1000
    run = RunFolder.open("eval-invented", {"benchmark": "synthetic_test", "n_problems": 0, "checkpoint": 0} | config)
    turn = [i % len(texts) for i in range(n)]
    frame = pd.DataFrame(
        {
            "problem_id": [str(i) for i in range(n)],
            "text": [texts[i] for i in turn],
            "correct": [correct[i] for i in turn],
            "extracted": ["1" if "1" in texts[i] else None for i in turn],
            "finish_reason": finish,
            "reason": reason,
        }
    )
    frame.to_parquet(run.path("records.parquet"))
    run.finish({"kind": "evaluation", "warnings": list(warnings)})
    return run


def test_a_sound_evaluation_needs_no_caution(runs):
    assert cautions(evaluation(runs, [BOX, BOX], [True, False])) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"texts": ["1", "1", BOX], "correct": [True, False, True]}, "Only 33% of the answers are in a box"),
        ({"texts": [BOX] * 2, "correct": [True, False], "finish": "length"}, "100% of the answers were cut off"),
        ({"texts": [BOX], "correct": [True]}, "Every answer is right"),
        ({"texts": [BOX], "correct": [False]}, "No answer is right"),
        ({"texts": [BOX] * 2, "correct": [True, False], "reason": "timeout"}, "The grader gave up on 1000 of 1000"),
        (
            {"texts": [BOX] * 2, "correct": [True, False], "benchmark": "math500", "n_problems": 10,
             "problem_order": "first"},
            "These are the first 10 of 500 problems of math500, whose order is not random",
        ),
        ({"texts": [BOX] * 2, "correct": [True, False], "checkpoint": 8}, "This is the checkpoint after update 8"),
        ({"texts": [BOX] * 2, "correct": [True, False], "warnings": ["as imported"]}, "as imported"),
    ],
)  # fmt: skip
def test_each_reason_is_said_alone(runs, arguments, sentence):
    (said,) = cautions(evaluation(runs, **arguments))
    assert said.startswith(sentence)


def test_answers_that_do_not_say_how_they_ended_do_not_count(runs):
    finish = [["length", "stop", None, None][i % 4] for i in range(1000)]
    (said,) = cautions(evaluation(runs, [BOX] * 2, [True, False], finish=finish))
    assert said.startswith("50% of the answers were cut off")


def test_answer_tags_are_marks(runs):
    assert cautions(evaluation(runs, ["<answer>1</answer>", "so 1\n#### 1"], [True, False])) == []


def test_a_shuffled_draw_and_the_whole_set_are_no_reason(runs, tmp_path, monkeypatch):
    for name, config in (("a", {"n_problems": 10, "problem_order": "shuffled"}), ("b", {"n_problems": 0})):
        monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / name))
        assert cautions(evaluation(runs, [BOX] * 2, [True, False], benchmark="math500", **config)) == []


def test_few_problems_leave_the_accuracy_open(runs, monkeypatch):
    monkeypatch.setattr(module, "WIDE", 0.03)  # at 1,000 problems and one half: 1.96 · √(0.25/1000) = 0.031
    (said,) = cautions(evaluation(runs, [BOX] * 2, [True, False]))
    assert said.startswith("1000 problems leave the accuracy open by ±3 points")


def test_one_model_has_many_published_numbers():
    table = published("some/folder/Qwen2.5-Math-7B", "math500")
    assert {49.4, 50.6, 57.6, 69.0} <= set(table["accuracy"])
    assert table["source"].str.len().min() > 10 and set(table["seen"]) == {"read", "second-hand"}
    assert published_sentence("qwen/qwen2.5-math-7b", "math500") == (
        "Published for untrained Qwen/Qwen2.5-Math-7B on math500: 49.4 to 69.0 % in 10 measurements."
    )
    assert published("qwen-like", "math500").empty and published_sentence("qwen-like", "math500") == ""
