"""The search for a learnable task: what it measures, the rule, and its edges."""

import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation import task_search
from spurious_rewards.evaluation.config import EvalConfig


def table(*rows):
    return pd.DataFrame(rows, columns=["task", "pass_1", "pass_k", "cut_off"])


def test_the_rule_takes_the_most_room_within_its_limits():
    edges = table(("low", 0.05, 0.41, 0.25), ("high", 0.40, 0.75, 0.0))
    assert task_search.choose(edges)["task"] == "low"  # 36 points of room against 35
    with pytest.raises(InputError, match="No task has pass@1 in 5%–40%"):
        task_search.choose(table(("a", 0.049, 0.9, 0.0), ("b", 0.2, 0.40, 0.0), ("c", 0.2, 0.9, 0.26)))


def test_cells_are_measured_and_those_that_cannot_be_say_why(monkeypatch, tmp_path):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path))
    cell = EvalConfig(benchmark="sums_test", n_problems=4, n_samples=2, temperature=1.0, max_new_tokens=32)
    refused = EvalConfig(benchmark="sums_test", n_problems=4, max_new_tokens=32, prompt_style="lipsum")
    measured, note = task_search.measure([cell, refused]).to_dict("records")
    assert measured["task"] == "sums" and measured["n_problems"] == 4 and measured["k"] == 2 and measured["note"] == ""
    assert 0 <= measured["pass_1"] <= measured["pass_k"] <= 1 and 0 < measured["mean_tokens"] <= 32
    assert "exceeds the model's context" in note["note"] and pd.isna(note["pass_1"])


def test_the_command_prints_the_table_and_ends_in_one_sentence_when_nothing_fits(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setattr(task_search, "MIN_PASS_K", 1.1)
    arguments = ["qwen-like", "--tasks", "sums", "--styles", "organism", "--problems", "3", "--samples", "2"]
    assert task_search.main([*arguments, "--tokens", "32", "--csv", str(tmp_path / "table.csv")]) == 2
    printed = capsys.readouterr()
    assert "sums" in printed.out and "No task has pass@1" in printed.err.splitlines()[-1]
    assert pd.read_csv(tmp_path / "table.csv")["task"].tolist() == ["sums"]
