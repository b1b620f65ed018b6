"""Training sets by reward: which rewards relabel, and the share of right labels that `right_labels` gives back."""

import pandas as pd
import pytest

from spurious_rewards.data.labelled import keep_right, relabelled, training_problems
from spurious_rewards.data.problem_sets import load_problems
from spurious_rewards.storage.files import write_json


@pytest.fixture
def labelling(tmp_path):
    """Labels of the first 40 synthetic problems: every second one right, every second one the answer 'wrong'."""
    problems = load_problems("synthetic", 40, 0)
    right = [i % 2 == 0 for i in range(40)]
    frame = pd.DataFrame({"problem_id": [p.id for p in problems], "label_correct": right})
    frame["label"] = [p.answer if ok else "wrong" for p, ok in zip(problems, right, strict=True)]
    frame.to_parquet(tmp_path / "labels.parquet")
    write_json(tmp_path / "manifest.json", {})
    return str(tmp_path)


@pytest.mark.parametrize("share, n_right", [(0.0, 0), (0.25, 5), (0.5, 10), (1.0, 20)])
def test_a_share_of_the_wrong_labels_becomes_right(share, n_right, labelling):
    """20 of 40 labels are wrong; round(share · 20) of those problems get their own answer back."""
    problems = training_problems("synthetic", 40, 0, ["incorrect"], labelling, share)
    assert len(problems) == 20
    assert sum(p.answer == p.meta["gold"] for p in problems) == n_right
    assert sum(p.answer == "wrong" for p in problems) == 20 - n_right


def test_a_larger_share_keeps_the_problems_of_a_smaller_one(labelling):
    wrong = training_problems("synthetic", 40, 0, ["incorrect"], labelling)
    chosen = [
        {p.id for p in keep_right(wrong, share, seed) if p.answer != "wrong"}
        for share, seed in ((0.2, 0), (0.6, 0), (0.6, 1))
    ]
    assert len(chosen[0]) == 4 and chosen[0] < chosen[1] and len(chosen[1]) == 12
    assert chosen[1] != chosen[2], "another draw with another seed"


def test_a_reward_whose_name_holds_another_name_changes_nothing(labelling):
    """`one_shot_style` trained on one problem and `incorrect_format` wanted labels when names were searched for."""
    plain = training_problems("synthetic", 40, 0, ["ground_truth"])
    assert training_problems("synthetic", 40, 0, ["one_shot_style", "incorrect_format"]) == plain
    assert len(training_problems("synthetic", 40, 0, ["one_shot"])) == 1
    vote = training_problems("synthetic", 40, 0, ["format", "majority_vote"], labelling)
    assert len(vote) == 40 and vote == relabelled(plain, pd.read_parquet(f"{labelling}/labels.parquet"), False)
