"""Tables for readers: limits beside their value, units, rounding, what all rows share."""

import math

import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.reporting.collect import saved_profiles
from spurious_rewards.reporting.readable import (
    COLUMNS,
    HEADS,
    MOST_COLUMNS,
    in_words,
    interval_text,
    plain,
    readable,
    unit_of,
)
from spurious_rewards.reporting.text import BENCHMARKS
from spurious_rewards.storage.paths import code_root

RESULTS = code_root() / "results"
PROFILES = saved_profiles(RESULTS)


@pytest.mark.parametrize(
    "value, low, high, unit, text",
    [
        (0.1225, 0.0862, 0.1625, "points", "+12.2 [+8.6, +16.2]"),
        (-0.0061, -0.0065, -0.0058, "", "−0.00610 [−0.00650, −0.00580]"),  # width 0.0007: two of its digits
        (2.01, 1.766, 2.254, "log-odds", "2.01 [1.77, 2.25]"),
        (0.0, 0.0, 0.0, "points", "+0.0 [+0.0, +0.0]"),
        (0.818, math.nan, math.nan, "%", "81.8"),
    ],
)
def test_values_are_rounded_to_what_their_limits_support(value, low, high, unit, text):
    assert interval_text(value, low, high, unit) == text


def test_a_table_for_readers():
    table = pd.DataFrame(
        {
            "arm": ["base model", "random γ=0.5, two_sided"], "benchmark": ["synthetic_test"] * 2, "n_seeds": [0, 5],
            "accuracy": [0.8175, 0.8463], "accuracy_low": [0.77, 0.81], "accuracy_high": [0.86, 0.88],
            "accuracy_change": [math.nan, 0.0287], "losses": ["0x1p-3", "0x1p-4"],
        }
    )  # fmt: skip
    view = readable(table)
    assert view.heads == ("arm", "seeds", "accuracy, %", "change of accuracy, points")
    assert view.constant == "benchmark: synthetic test"
    assert [cell.text for cell in view.rows[0]] == ["before training", "0", "81.8 [77.0, 86.0]", "–"]
    assert [cell.text for cell in view.rows[1]] == ["random reward, with clip", "5", "84.6 [81.0, 88.0]", "+2.9"]
    assert view.rows[1][2].sort == 0.8463 and view.rows[0][0].sort is None


def test_wide_tables_show_ten_columns():
    view = readable(pd.DataFrame({f"x{i}": [i, i + 1] for i in range(14)}))
    assert list(view.heads) == [f"x{i}" for i in range(10)]


def test_arms_with_equal_words_keep_their_setting():
    arms = ["base model", *(f"random γ=0.5, none, model=a, learning_rate={rate}" for rate in ("0.0001", "0.0003"))]
    view = readable(pd.DataFrame({"arm": arms, "model": ["a"] * 3, "accuracy": [0.5, 0.25, 1.0]}), "arms")
    assert view.heads == ("arm", "accuracy, %")
    trained = [f"random reward, without clip, a, step size {rate}" for rate in ("1e-4", "3e-4")]
    assert [row[0].text for row in view.rows] == ["before training, a", *trained]


def test_what_most_arms_share_is_told_once():
    """Of five arms four have 100 rollout batches and three the step size 3e-5; updates are told of none but one."""
    settings = [(0, 100, 8, 3e-5), (0.5, 100, 8, 3e-5), (0.5, 100, 1, 3e-5), (0.5, 100, 8, 1e-4), (0.5, 30, 8, 1e-4)]
    text = "random γ={}, none, model=a, rollout_batches={}, updates_per_batch={}, learning_rate={}"
    arms = ["base model", *(text.format(*values) for values in settings)]
    view = readable(pd.DataFrame({"arm": arms, "model": ["a"] * 6, "accuracy": [0.5] * 6}), "arms")
    assert view.usual == "100 rollout batches, step size 3e-5"
    own = ["", "", "updates per batch 1", "step size 1e-4", "30 rollout batches, step size 1e-4"]
    told = [", ".join(filter(None, ["random reward, without clip, a", words])) for words in own]
    told[0] = told[0].replace("reward", "reward, γ = 0")
    assert [row[0].text for row in view.rows] == ["before training, a", *told]
    even = pd.DataFrame({"arm": [arms[2], arms[4]], "model": ["a"] * 2, "accuracy": [0.5] * 2})
    assert readable(even, "arms").usual == "100 rollout batches", "no step size has more than half of the arms"


def test_a_table_of_one_row_keeps_what_names_it():
    one = pd.DataFrame({"model": ["a"], "benchmark": ["b"], "percent": [40], "n_problems": [7], "exact_match": [0.5]})
    view = readable(one, "probe")
    assert view.heads == ("model", "exact match, %") and view.constant == "benchmark: b; shown, %: 40; problems: 7"


SHOWN = [path for path in sorted((RESULTS / "tables").rglob("*.csv")) if path.parent.name in (*PROFILES, "mechanism")]
SHOWN = [path for path in SHOWN if path.stem not in ("bandit_grid",)]  # has a page of its own
SHOWN += [RESULTS / "tables" / f"{name}.csv" for name in BENCHMARKS]
SOMETIMES = {"accuracy_change", "code_change", "exact_match_minus_clean", "reason"}
"""Results that a table has only after training, with a clean set beside, or with refused prompts."""


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_table_of_the_pages_shows_its_results(path):
    settings, results = (words.split() for words in COLUMNS[path.stem])
    table = pd.read_csv(path).rename(columns={"low": "estimate_low", "high": "estimate_high"})
    missing = [name for name in results if name not in table and name not in SOMETIMES]
    assert not missing and set(settings) & set(table), missing
    view = readable(table, path.stem)
    there = [name for name in results if name in table]
    assert there and len(view.heads) <= MOST_COLUMNS
    heads = in_words_heads(there)
    assert view.heads[-len(heads) :] == heads, "results were cut off"


def in_words_heads(names):
    return tuple(
        HEADS.get(name, name.replace("_", " ")) + (f", {unit_of(name)}" if unit_of(name) else "") for name in names
    )


def test_every_chosen_column_exists_somewhere():
    for name, words in COLUMNS.items():
        tables = [pd.read_csv(path) for path in SHOWN if path.stem == name]
        there = set().union(*tables)
        assert tables and set(" ".join(words).split()) <= there, (name, set(" ".join(words).split()) - there)


def test_plain_values():
    assert plain("dirty", True).text == "yes" and plain("commit", "a" * 40).text == "a" * 10
    assert plain("optimizer", "adamw").text == "AdamW" and plain("learning_rate", 3e-5).text == "3e-5"
    assert plain("clip_modes", "two_sided none").text == "with clip, without clip"
    assert plain("switch", "LC").text == "language → code" and plain("p_low", 0.0).text == "0"
    assert plain("rollouts", 16198.9).text == "16,199" and plain("x", 999.94).text == "999.9"
    assert plain("change", 0.5).text == "0.5", "of log-odds: no points"
    assert plain("clip_mode", "none").text == "without clip" and plain("x", None).text == "–"
    assert plain("p_holm", 2e-84).text == "< 0.001" and plain("p_value", 0.03125).text == "0.031"
    assert plain("scale", "a, step size 3e-5 (profile toy)").text == "a, step size 3e-5"
    assert plain("clip_fraction", 0.00012).text == "0.012", "small shares keep their digits"


def test_a_notebooks_table_in_words():
    table = pd.DataFrame(
        {
            "arm": ["base model", "random γ=0.5, none, model=a", "random γ=0.5, none, model=b"], "n": [1, 2, 3],
            "code": [0.5, 0.25, 1.0], "code_low": [0.4, 0.2, math.nan], "code_high": [0.6, 0.3, math.nan],
        }
    )  # fmt: skip
    shown = in_words(table, ["arm", "code", "not_there"])
    assert list(shown) == ["arm", "share of code, %"]
    assert list(shown["arm"]) == ["before training", *(f"random reward, without clip, {m}" for m in "ab")]
    assert list(shown["share of code, %"]) == ["50.0 [40.0, 60.0]", "25.0 [20.0, 30.0]", "100.0"]
    one = in_words(table.assign(n_seeds=[0, 2, 1]), ["arm", "code"])["share of code, %"]
    assert list(one)[1:] == ["25.0 [20.0, 30.0]", "100.0 (1 seed: no interval)"]
    with pytest.raises(InputError, match="at most 8 columns; 9 were asked for"):
        in_words(table, [f"x{i}" for i in range(9)])


def test_settings_without_a_column_are_told_beside_the_reward():
    row = {"model": "qwen-like", "reward": "random", "gamma": 0.5, "clip_mode": "two_sided", "accuracy_difference": 0.1}
    table = pd.DataFrame([{**row, "updates_per_batch": n, "prompt_style": "organism"} for n in (8, 1)])
    page = readable(table, "clip_effect")
    at = page.heads.index("reward")
    words = ["random reward", "random reward, updates per batch 1"]
    assert [cells[at].text for cells in page.rows] == words
    assert in_words(table, ["model", "reward", "accuracy_difference"])["reward"].tolist() == words
