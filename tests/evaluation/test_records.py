"""Figures of a cell from records written by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.records import (
    check_no_duplicates,
    code_advantage,
    compare,
    correct_matrix,
    jsonable,
    load_records,
    pass_curve,
    share,
    summarise,
    summary,
)
from spurious_rewards.evaluation.statistics import wilson
from spurious_rewards.evaluation.strategy_analysis import with_identity
from spurious_rewards.storage.runs import RunFolder


def make(rows, k=1):
    """Rows of (code, correct); consecutive k belong to one problem."""
    return pd.DataFrame(
        [
            {
                "problem_id": f"p{i // k}",
                "sample": i % k,
                "correct": bool(correct),
                "correct_paper": False,
                "uses_code": bool(code),
                "uses_code_structural": bool(code) and i > 0,
                "extracted": None if i == 1 else "4",
                "text": r"\boxed{4}" if i % 2 == 0 else "4",
                "n_tokens": 10 + i,
                "finish_reason": "length" if i == 0 else "stop",
                "family": "sum" if i < 4 else "gcd",
            }
            for i, (code, correct) in enumerate(rows)
        ]
    )


TEN = make([(1, 1), (1, 1), (1, 1), (1, 0), (0, 1), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)])


def test_one_sample_per_problem_by_hand():
    # 4 code answers, 3 right; 6 others, 1 right; 4 of 10 right
    figures = summarise(TEN)
    assert (figures["n_problems"], figures["k"], figures["n_code"], figures["n_language"]) == (10, 1, 4, 6)
    for name, (hits, n) in {
        "accuracy": (4, 10),
        "code": (4, 10),
        "accuracy_code": (3, 4),
        "accuracy_language": (1, 6),
        "parsable": (9, 10),
        "accuracy_paper": (0, 10),
    }.items():
        interval = wilson(hits, n)
        assert (figures[name], figures[f"{name}_low"], figures[f"{name}_high"]) == (
            interval.estimate,
            interval.low,
            interval.high,
        )
    assert figures["pass_at_k"] == pytest.approx(0.4)
    assert figures["boxed"] == 0.5 and figures["cut_off"] == 0.1
    assert figures["mean_tokens"] == pytest.approx(14.5)
    assert figures["code_structural"] == pytest.approx(0.3) and figures["detectors_agree"] == pytest.approx(0.9)


def test_k_samples_per_problem_by_hand():
    # five problems of two: correct 2, 1, 1, 0, 0 → avg@2 .4, pass@2 3/5; code 2, 2, 0, 0, 0 with 2 + 1 right
    figures = summarise(make([(1, 1), (1, 1), (1, 1), (1, 0), (0, 1), *[(0, 0)] * 5], k=2))
    assert (figures["n_problems"], figures["k"]) == (5, 2)
    assert figures["accuracy"] == pytest.approx(0.4) and figures["pass_at_k"] == pytest.approx(0.6)
    # pass@2 of five problems with three solved: 0 ≤ low < .6 < high ≤ 1, in steps of a fifth
    assert (figures["pass_at_k_low"], figures["pass_at_k_high"]) == (pytest.approx(0.2), pytest.approx(1.0))
    assert figures["accuracy_code"] == pytest.approx(3 / 4) and figures["accuracy_language"] == pytest.approx(1 / 6)
    assert figures["accuracy_low"] < 0.4 < figures["accuracy_high"]


def test_intervals_of_k_equal_samples_are_those_of_problems():
    records = make([(0, i % 2) for i in range(200)])
    repeated = pd.concat([records.assign(sample=s) for s in range(4)])
    interval = share(repeated["correct"], repeated["correct"] >= 0, repeated["problem_id"], k=4)
    # 2 · 1.96 · √(.25/200) = .139 over problems; .069 if the 800 samples were independent
    assert interval.high - interval.low == pytest.approx(0.139, abs=0.02)


def test_no_code_at_all_leaves_no_number_and_a_vacuous_interval():
    figures = summarise(make([(0, 1), (0, 0)]))
    assert math.isnan(figures["accuracy_code"])
    assert (figures["accuracy_code_low"], figures["accuracy_code_high"]) == (0.0, 1.0)
    assert jsonable(figures)["accuracy_code"] is None


def test_summary_by_family_and_its_identity():
    table = summary(TEN.assign(run_id="a"), by=["run_id", "family"])
    assert table["family"].tolist() == ["sum", "gcd"] and table["n_problems"].tolist() == [4, 6]
    assert table["accuracy"].tolist() == pytest.approx([3 / 4, 1 / 6])
    checked = with_identity(table)
    assert checked["identity_holds"].all()
    damaged = with_identity(table.assign(accuracy=table["accuracy"] + 0.01))
    assert not damaged["identity_holds"].any() and damaged["identity_residual"].tolist() == pytest.approx([-1, -1])


def test_cells_of_different_k_are_not_mixed():
    with pytest.raises(InputError, match="group the records by run_id"):
        summarise(pd.concat([TEN, TEN.iloc[:3]]))
    with pytest.raises(InputError, match="no records"):
        summarise(TEN.iloc[:0])


def test_correct_matrix_aligns_problems():
    one = TEN.assign(run_id="one")
    two = TEN.assign(run_id="two", correct=~TEN["correct"]).sample(frac=1, random_state=1)
    matrix = correct_matrix(pd.concat([one, two]), ["two", "one"])
    np.testing.assert_array_equal(matrix[1], TEN["correct"].astype(float))
    np.testing.assert_array_equal(matrix[0], 1 - matrix[1])
    third = TEN.iloc[:3].assign(run_id="three", problem_id=["q0", "q1", "q2"])  # is not compared
    np.testing.assert_array_equal(correct_matrix(pd.concat([one, two, third]), ["two", "one"]), matrix)
    with pytest.raises(InputError, match="problems differ"):
        correct_matrix(pd.concat([one, two.iloc[:5]]), ["two", "one"])
    with pytest.raises(InputError, match="no records of three"):
        correct_matrix(one, ["three"])


def test_code_advantage_by_hand():
    # with code 3 of 4, without 1 of 6: 3/4 − 1/6 = 7/12
    advantage = code_advantage(TEN)
    assert advantage.estimate == pytest.approx(7 / 12) and advantage.n == 10
    assert advantage.low < 7 / 12 < advantage.high <= 1
    assert math.isnan(code_advantage(TEN.iloc[4:]).estimate)
    # eight times the same samples are no more evidence
    assert code_advantage(pd.concat([TEN.assign(sample=i) for i in range(8)])) == advantage


def test_comparison_of_two_cells():
    # won 5 of the 6 wrong ones, lost 1 of the 4 right ones: + 4/10, p = 2 (C(6,0) + C(6,1)) / 2⁶ = .21875
    after = TEN.assign(run_id="after", correct=[False, True, True, False, True, True, True, True, True, True])
    result = compare(pd.concat([TEN.assign(run_id="base"), after]), "base", "after")
    assert result["difference"] == pytest.approx((8 - 4) / 10) and result["test"] == "McNemar, exact"
    assert result["p_value"] == pytest.approx(14 / 64)
    assert result["difference_low"] < 0.4 < result["difference_high"]
    two = make([(0, i % 3 == 0) for i in range(12)], k=2)
    assert (
        compare(pd.concat([two.assign(run_id="a"), two.assign(run_id="b", correct=True)]), "a", "b")["test"]
        == "paired permutation"
    )
    # two equal samples per problem: all means are 0 or 1, but there are two samples
    twice = pd.concat([TEN.assign(sample=i) for i in range(2)])
    both = pd.concat([twice.assign(run_id="a"), twice.assign(run_id="b", correct=True)])
    assert compare(both, "a", "b")["test"] == "paired permutation"


def test_no_answer_counts_twice():
    cell = {"trained_run": "", "checkpoint": 0, "benchmark": "b", "prompt_style": "none"}
    one, two = TEN.assign(run_id="eval-64", **cell), TEN.assign(run_id="eval-256", **cell)
    columns = ["benchmark", "prompt_style"]
    check_no_duplicates(one, columns)
    check_no_duplicates(pd.concat([one, two.assign(prompt_style="organism")]), columns)
    check_no_duplicates(pd.concat([one, two.assign(trained_run="train-x")]), columns)
    check_no_duplicates(pd.concat([one, two.assign(sample=1)]), columns)
    with pytest.raises(
        InputError,
        match="Problem p0 would be counted twice: eval-64 and eval-256 answer it in the same"
        " cell .benchmark=b, prompt_style=none.; keep one",
    ):
        check_no_duplicates(pd.concat([one, two]), columns)
    with pytest.raises(InputError, match="Problem p9 .* eval-64 and eval-256"):
        check_no_duplicates(pd.concat([one, two.iloc[9:]]), columns)
    with pytest.raises(InputError, match="eval-64 twice"):
        check_no_duplicates(pd.concat([one, one], ignore_index=True), columns)


def test_pass_curve_by_hand():
    # two problems of four samples, 1 and 2 correct: pass@1 (1/4 + 2/4)/2; pass@2 (1 − 3/6 + 1 − 1/6)/2; pass@4 1
    curve = pass_curve(make([(0, 1), (0, 0), (0, 0), (0, 0), (0, 1), (0, 1), (0, 0), (0, 0)], k=4), [1, 2, 4])
    assert curve["pass_at_k"].tolist() == pytest.approx([3 / 8, 2 / 3, 1])
    with pytest.raises(InputError, match="k=5"):
        pass_curve(TEN, [5])


def test_load_records_adds_cell_and_arm(tmp_path, monkeypatch):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path))
    cell = {
        "model": "m",
        "trained_run": "",
        "checkpoint": 0,
        "benchmark": "b",
        "prompt_style": "none",
        "temperature": 0.0,
        "top_p": 1.0,
        "n_samples": 1,
        "max_new_tokens": 8,
        "engine": "transformers",
        "dtype": "float32",
    }
    RunFolder.open("train-x", {"model": "m", "reward": "random", "gamma": 0.5, "clip_mode": "none", "seed": 3})
    for run_id, trained in (("eval-base", ""), ("eval-x", "train-x")):
        run = RunFolder.open(run_id, {**cell, "trained_run": trained})
        TEN.to_parquet(run.path("records.parquet"))
        with pytest.raises(InputError, match="not complete"):
            load_records([run_id])
        run.finish({})
    records = load_records(["eval-base", "eval-x"])
    assert len(records) == 20
    base, trained = records.iloc[0], records.iloc[-1]
    assert pd.isna(base["reward"]) and pd.isna(base["train_seed"])
    assert trained[["reward", "gamma", "clip_mode", "train_seed"]].tolist() == ["random", 0.5, "none", 3]
    assert (trained["benchmark"], trained["run_id"]) == ("b", "eval-x")
    with pytest.raises(InputError, match="no evaluations"):
        load_records([])
    with pytest.raises(InputError, match="There is no run 'eval-y'"):
        load_records(["eval-y"])
