"""Stored answers graded again: what counts as a change, where answers may come from, and the command line."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.rescore import main, rescore, stored_answers, summary_of
from spurious_rewards.storage.runs import RunFolder

ROWS = [  # text, gold, stored verdict of the robust grader, of the paper's
    (r"so \boxed{5}", "5", True, True),
    ("Mia has 70 coins. #### 70", "70", False, False),  # a grader of old: wrong → right by both
    (r"\boxed{6}", "5", True, False),  # right → wrong
    (r"\boxed{\frac24}", "1/2", True, False),  # the paper's grader refuses unreduced fractions
]


def own_records() -> pd.DataFrame:
    frame = pd.DataFrame(ROWS, columns=["text", "gold", "correct", "correct_paper"])
    return frame.assign(
        problem_id=[f"p{i}" for i in range(len(frame))],
        sample=0,
        prompt_style="organism",
        extracted=None,
        reason="number_differs",
        extracted_paper="",
    )


def printed(capsys, *arguments: str) -> tuple[dict, str]:
    main(list(arguments))
    output = capsys.readouterr().out
    return json.loads(output.splitlines()[-1]), output


def test_changed_verdicts_by_hand(tmp_path):
    path = tmp_path / "samples.parquet"
    own_records().to_parquet(path)
    rows = rescore(stored_answers(str(path)))
    assert list(rows["correct"]) == [True, True, False, True]
    assert list(rows["changed"]) == [False, True, True, False]
    assert summary_of(rows, "robust") == {
        "grader": "robust",
        "n": 4,
        "changed": 2,
        "now_right": 1,
        "now_wrong": 1,
        "accuracy_before": 0.75,
        "accuracy": 0.75,
    }


def test_each_grader_is_compared_with_its_own_verdicts(tmp_path):
    path = tmp_path / "samples.parquet"
    own_records().to_parquet(path)
    rows = rescore(stored_answers(str(path), "paper"), "paper")
    assert list(rows["correct"]) == [True, True, False, False]
    assert list(rows["changed"]) == [False, True, False, False]


def test_a_run_by_id_or_folder_and_what_is_printed(runs, capsys, tmp_path):
    run = RunFolder.open("eval-stored", {"prompt_style": "organism"})
    own_records().drop(columns="prompt_style").to_parquet(run.path("records.parquet"))
    with pytest.raises(InputError, match="is not complete"):
        stored_answers("eval-stored")
    run.finish({"kind": "evaluation"})
    for source in ("eval-stored", str(run.folder)):
        result, output = printed(capsys, source, "--table", str(tmp_path / "changed.csv"))
        assert (result["n"], result["changed"]) == (4, 2)
        assert "p1 #0: wrong → right; gold '70'; before None (number_differs), now '70' (string_equal)" in output
    assert list(pd.read_csv(tmp_path / "changed.csv")["problem_id"]) == ["p1", "p2"]
    _, output = printed(capsys, "eval-stored", "--show", "1")
    assert "… and 1 more" in output and "p2 #0" not in output


@pytest.mark.parametrize("style", ["organism", "r1"])
def test_the_prompt_decides_how_a_text_is_read(tmp_path, style):
    text = r"<answer>7</answer> so \boxed{8}"
    row = own_records().iloc[:1].assign(text=text, gold="7", correct=False, prompt_style=style)
    row.to_parquet(tmp_path / "samples.parquet")
    assert rescore(stored_answers(str(tmp_path / "samples.parquet")))["correct"].item() is (style == "r1")


def test_files_of_other_tools(tmp_path, capsys):
    path = tmp_path / "outputs.jsonl"
    rows = [
        {"question": "a", "answer": "7", "outputs": [r"\boxed{7}", "#### 7"], "correct": [True, False]},
        {"question": "b", "answer": "8", "outputs": [r"\boxed{7}", r"\boxed{8}"], "correct": [False, True]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    result, output = printed(capsys, str(path))
    assert (result["n"], result["changed"], result["now_right"]) == (4, 1, 1)
    assert (result["accuracy_before"], result["accuracy"]) == (0.5, 0.75)
    assert "a #1: wrong → right" in output


def test_answers_without_stored_verdicts_are_only_graded(tmp_path, capsys):
    path = tmp_path / "outputs.jsonl"
    path.write_text(json.dumps({"question": "a", "answer": "7", "output": r"\boxed{7}"}) + "\n", encoding="utf-8")
    result, output = printed(capsys, str(path))
    assert (result["changed"], result["accuracy_before"], result["accuracy"]) == (0, None, 1.0)
    assert "No verdicts are stored here" in output


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "json"])
def test_verdicts_of_the_selected_rows_whatever_the_file_calls_them(tmp_path, suffix):
    """Names as in our own records, verdicts as text in CSV; of step 1 the third row alone is stored as wrong."""
    rows = [
        {"step": 0, "problem": "a", "gold": "7", "text": r"\boxed{8}", "correct": False},
        {"step": 1, "problem": "a", "gold": "7", "text": r"\boxed{7}", "correct": True},
        {"step": 1, "problem": "b", "gold": "7", "text": r"\boxed{7}", "correct": False},
    ]
    path, frame = tmp_path / f"outputs.{suffix}", pd.DataFrame(rows)
    if suffix == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=suffix == "jsonl")
    assert rescore(stored_answers(str(path), select="step=1"))["changed"].tolist() == [False, True]


def test_a_score_that_is_not_0_or_1_in_some_row_is_no_verdict(tmp_path):
    path = tmp_path / "outputs.jsonl"
    rows = [{"question": q, "answer": "7", "output": r"\boxed{8}", "score": s} for q, s in (("a", 1.0), ("b", -1.0))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [stored.correct for stored in stored_answers(str(path))] == [None, None]


def test_an_answer_cannot_steer_the_terminal(tmp_path, capsys):
    path = tmp_path / "outputs.jsonl"
    row = {"question": "a", "answer": "7", "output": "\x1b]0;owned\x07\x1b[2J \\boxed{7}", "correct": False}
    path.write_text(json.dumps(row) + "\n")
    _, output = printed(capsys, str(path))
    assert "wrong → right" in output and r"\x1b]0;owned\x07\x1b[2J \boxed{7}" in output and "\x1b" not in output


def test_undecided_verdicts_are_said(tmp_path, capsys):
    path = tmp_path / "outputs.jsonl"
    path.write_text(json.dumps({"question": "a", "answer": "7", "output": r"\boxed{9^{9^{9^{9}}}}"}) + "\n")
    assert "Beware: The grader gave up on 1 of 1 answers" in printed(capsys, str(path))[1]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "There is no run or file"), ({"question": "a", "output": "7"}, "Row 1 has no gold")],
)
def test_bad_sources(runs, tmp_path, content, sentence):
    path = tmp_path / "outputs.jsonl"
    if content:
        path.write_text(json.dumps(content) + "\n")
    with pytest.raises(InputError, match=sentence):
        stored_answers(str(path))
