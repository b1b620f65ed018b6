"""What the secondary arms show, in words: each sentence follows from its tables."""

import pandas as pd
import pytest

from spurious_rewards.reporting.secondary import at_other_steps, secondary_parts


@pytest.fixture
def results(tmp_path):
    """Tables of a study at step size 3e-5 with arms at another step, and with one side of the clip."""
    folder = tmp_path / "tables" / "decide"
    folder.mkdir(parents=True)
    effects = [
        ("random", 3e-5, "two_sided", 8, 0.01, -0.02, 100),
        ("random", 3e-5, "high_only", 8, 0.02, 0.01, 100),
        ("random", 3e-5, "low_only", 8, -0.03, -0.05, 100),
        ("random", 3e-5, "cispo", 3, 0.5, 0.4, 100),  # too few seeds
        ("random", 3e-5, "high_only", 8, 0.6, 0.5, 30),  # shorter than the study's
        ("format", 3e-5, "high_only", 8, 0.7, 0.6, 100),
        ("random", 1e-4, "two_sided", 8, 0.25, 0.05, 100),
    ]
    names = ["reward", "learning_rate", "clip_mode", "n_seeds", "code_difference", "code_difference_low"]
    effects = pd.DataFrame(effects, columns=[*names, "rollout_batches"])
    effects = effects.assign(gamma=0.5, model="qwen-like", code_difference_high=effects["code_difference"] + 0.02)
    effects = effects.assign(accuracy_difference=-0.11, accuracy_difference_low=-0.2, accuracy_difference_high=-0.02)
    effects.assign(updates_per_batch=8, temperature=0.0, prompt_style="organism").to_csv(folder / "clip_effect.csv")
    arms = [
        ("random γ=0.5, two_sided", 3e-5, 100, 0.9, 0.0002),
        ("random γ=0.5, two_sided", 1e-4, 100, -0.1, 0.001),
        ("random γ=0.5, two_sided", 1e-4, 30, 0.8, 0.5),
        ("random γ=0.5, none", 1e-4, 100, -0.3, 0.0),
    ]
    rows = [
        {
            "arm": f"{arm}, model=qwen-like, learning_rate={rate:g}, updates_per_batch=8, rollout_batches={length}",
            "accuracy_change": change,
            "accuracy_change_low": change - 0.05,
            "accuracy_change_high": change + 0.05,
            "clip_fraction_later_mean": share,
            "n_seeds": 8,
        }
        for arm, rate, length, change, share in arms
    ]
    for name in ("arms", "clip_activity"):
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv")
    return tmp_path


def test_a_larger_step_is_told_with_and_without_the_clip(results):
    assert secondary_parts(results, "decide")["A larger step"] == [
        "At step size 1e-4 the clip acts on 0.1 % of qwen-like's tokens after the first update of a rollout batch, 5.0 "
        "times the share at the study's own step.",
        "At step size 1e-4, a random reward changed the accuracy of qwen-like by -10.0 points with the clip, a loss, "
        "and by -30.0 without it, destruction.",
        "Between the two lie -11.0 points in the same 8 seeds, so runs end lower with the clip.",
        "Between their shares of code lie +25.0 points, towards code.",
    ]


def test_in_short_the_clip_at_a_larger_step_is_told_by_accuracy(results):
    assert list(at_other_steps(results, "decide")) == [
        "At step size 1e-4, without a verdict, a random reward changed the accuracy of qwen-like by "
        "-10.0 points with the clip, a loss, and by -30.0 without it, destruction.",
        "Between the two lie -11.0 points in the same 8 seeds, so runs end lower with the clip.",
        "What true rewards teach in runs as long at that step size was not measured.",
    ]
    path = results / "tables" / "decide" / "arms.csv"
    arms = pd.read_csv(path)
    true = arms[arms["arm"].str.contains("two_sided") & arms["accuracy_change"].eq(-0.1)].replace(
        "random γ=0.5", "ground_truth", regex=True
    )
    pd.concat([arms, true]).to_csv(path)
    assert len(list(at_other_steps(results, "decide"))) == 2, "it was measured"
    assert not list(at_other_steps(results, "toy")), "without a table, or a protocol that names a step size"


def test_other_clips_are_told_at_the_step_and_length_of_the_study(results):
    assert secondary_parts(results, "decide")["Other ways to clip"] == [
        "With the upper clip only, the share of code of qwen-like differs by +2.0 points from the same 8 seeds "
        "without any clip, towards code.",
        "With the lower clip only, the share of code of qwen-like differs by -3.0 points from the same 8 seeds "
        "without any clip, away from code.",
    ]


def test_without_another_step_nothing_is_said_of_one(results):
    path = results / "tables" / "decide" / "clip_effect.csv"
    effects = pd.read_csv(path)
    effects[effects["learning_rate"].eq(3e-5)].drop(columns="learning_rate").to_csv(path)
    parts = secondary_parts(results, "decide")
    assert parts["A larger step"] == [] and len(parts["Other ways to clip"]) == 2


def test_a_study_without_a_step_of_its_own_or_without_seeds_says_nothing(results):
    folder = results / "tables"
    (folder / "decide").rename(folder / "organism")
    parts = secondary_parts(results, "organism")
    assert parts["A larger step"] == parts["Other ways to clip"] == []
    (folder / "organism").rename(folder / "decide")
    path = folder / "decide" / "clip_effect.csv"
    pd.read_csv(path).assign(n_seeds=1).to_csv(path)
    assert not any(secondary_parts(results, "decide").values())
