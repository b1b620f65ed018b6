"""Words for readers: every clip mode and reward has some, and wide tables are refused."""

import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.reporting.collect import saved_profiles
from spurious_rewards.reporting.reasoning_figures import row_labels, usual_words
from spurious_rewards.reporting.words import (
    CLIP_COLOURS,
    CLIP_WORDS,
    PROFILE_TITLES,
    arm_words,
    compact,
    reward_words,
    setting_words,
    usual_settings,
)
from spurious_rewards.storage.paths import code_root
from spurious_rewards.training.clip import MODES


def test_every_clip_mode_has_words_and_a_colour_of_its_own():
    assert set(MODES) <= set(CLIP_WORDS) and set(MODES) <= set(CLIP_COLOURS)
    assert len(set(CLIP_COLOURS.values())) == len(CLIP_COLOURS) and len(set(CLIP_WORDS.values())) == len(CLIP_WORDS)


@pytest.mark.parametrize(
    "arm, words",
    [
        ("random γ=0.3, none, learning_rate=0.0001", "random reward, γ = 0.3, without clip"),
        ("ground_truth, two_sided", "true reward, with clip"),
        ("random_and_no_python γ=0.5, two_sided", "random reward × no Python, with clip"),
        ("my_reward, two_sided", "my reward, with clip"),
    ],
)
def test_arms_in_words(arm, words):
    assert arm_words(arm) == words


def test_every_committed_profile_has_a_title():
    assert set(saved_profiles(code_root() / "results")) == set(PROFILE_TITLES)


def test_settings_in_words():
    assert setting_words("learning_rate", 0.0001) == "step size 1e-4" and setting_words("group_size", 16) == "group 16"
    assert reward_words("random", 0.0) == "random reward, γ = 0"


def test_rows_that_differ_in_a_setting_alone_have_names_of_their_own():
    arms = [f"random γ=0.5, two_sided, model=qwen-like, updates_per_batch={n}" for n in (8, 1)]
    assert row_labels(pd.DataFrame({"arm": arms})) == [
        "random reward, with clip, qwen-like",
        "random reward, with clip, qwen-like, updates per batch 1",
    ]


def test_labels_of_a_figure_leave_out_what_its_note_tells():
    arms = ["base model", *(f"random γ=0.5, {mode}, model=a, learning_rate=3e-05" for mode in ("two_sided", "none"))]
    table = pd.DataFrame({"arm": arms})
    assert row_labels(table) == ["before training", "random reward, with clip, a", "random reward, without clip, a"]
    assert usual_words(table) == "; mostly step size 3e-5"
    assert usual_words(table.iloc[:2]) == "", "one arm tells its settings itself"


@pytest.mark.parametrize(
    "settings, usual",
    [
        (["rollout_batches=100", "rollout_batches=100", "seed=1"], {}),  # not told of the third
        (["rollout_batches=100", "rollout_batches=100", ""], {}),
        (["updates_per_batch=1", "updates_per_batch=1", "updates_per_batch=8"], {}),  # 8 is what is never told
        (["false_positive=0.4, false_negative=0.4", "false_positive=0.4, false_negative=0.1"], {}),
        (["rollout_batches=100", "rollout_batches=100", "rollout_batches=30"], {"rollout_batches": 100.0}),
    ],
)
def test_usual_settings_are_told_of_every_arm_and_shared_by_most(settings, usual):
    arms = [f"random γ={i}, none, model=a{', ' + words if words else ''}" for i, words in enumerate(settings)]
    assert usual_settings(["base model", *arms]) == usual


def test_compact_tables():
    table = pd.DataFrame({"a": [0.12345], "b": ["x"], "c": [1]})
    shown = compact(table, {"b": "name", "a": "share", "missing": "gone"})
    assert list(shown) == ["name", "share"] and shown["share"].tolist() == [0.123]
    with pytest.raises(InputError, match="at most 8 columns"):
        compact(table, {str(i): "x" for i in range(9)})


def test_a_small_step_size_is_not_rounded_to_nothing():
    table = pd.DataFrame({"learning_rate": [3e-5, 0.0001], "effect": [0.00004, 0.12345]})
    shown = compact(table, {"learning_rate": "step size", "effect": "effect"})
    assert list(shown["step size"]) == ["3e-05", "0.0001"] and list(shown["effect"]) == [0.0, 0.123]
