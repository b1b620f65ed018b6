import os

import pytest

from spurious_rewards.data import problem_sets
from spurious_rewards.data.cleaning import clean
from spurious_rewards.data.problem import Problem

TEN_KNOWN_LEAKS = {
    *(f"test/intermediate_algebra/{n}.json" for n in (1849, 582, 1411, 90, 1791, 2146, 1365, 345, 2015)),
    "test/precalculus/742.json",
}


def problem(identifier, text, answer):
    return Problem(identifier, text, answer, "t")


def removed(report, step):
    return report.frame().set_index("step")["removed"][step]


RAW = [
    problem("a1", "What is 1 + 1?", "2"),
    problem("a2", "What is  1 + 1?", "2.0"),  # duplicate, same answer
    problem("b1", "What is 2 + 2?", "4"),
    problem("b2", "What is 2 + 2?\n", "5"),  # duplicate, contradicts
    problem("b3", "What is 2 + 2?", "4"),
    problem("c1", "What is $3 + 3$?", "6"),
    problem("c2", "What is \\(3+3\\)?", "6"),  # duplicate but for markup
    problem("d1", "What is $4 + 4$?", "8"),
    problem("d2", "What is \\(4+4\\)?", "9"),  # duplicate but for markup, contradicts
    problem("e", "What is 5 + 5?", "10"),
    problem("f", "What is the leak?", "7"),
]
BENCHMARKS = {"bench": [problem("x", "What is the leak?", "7")]}


def test_each_step_is_counted():
    kept, report = clean(RAW, BENCHMARKS)
    assert [p.id for p in kept] == ["a1", "c1", "e"]
    # 11 − 3 (a2, b2, b3) = 8; − 1 (b1) = 7; − 2 (c2, d2) = 5; − 1 (d1) = 4; − 1 (f) = 3
    frame = report.frame()
    assert frame["removed"].tolist() == [0, 3, 1, 2, 1, 1, 0]
    assert frame["left"].tolist() == [11, 8, 7, 5, 4, 3, 3]
    assert report.leaked_ids("bench") == ["x"] and report.leaked_ids("bench", reworded=True) == []


def test_cleaning_twice_changes_nothing():
    kept, _ = clean(RAW, BENCHMARKS)
    again, report = clean(kept, BENCHMARKS)
    assert again == kept and report.frame()["removed"].sum() == 0


@pytest.mark.skipif(not os.environ.get("SPURIOUS_DATA_DIR"), reason="SPURIOUS_DATA_DIR is not set: no local DeepScaleR")
def test_deepscaler_counts():
    kept, report = problem_sets.cleaned_deepscaler()
    assert report.rows_before == 40_308
    assert (removed(report, "duplicates"), removed(report, "contradictory")) == (1_218, 161)
    assert set(report.leaked_ids("math500")) == TEN_KNOWN_LEAKS
    assert len(kept) == report.frame()["left"].iloc[-1]
