"""Majority votes by hand, and a labelling with a tiny random model."""

import json

import pandas as pd
import pytest
from tiny_lm import save_tiny

from spurious_rewards.data.labelled import load_labels, relabelled
from spurious_rewards.data.problem import Problem
from spurious_rewards.data.problem_sets import load_problems
from spurious_rewards.errors import InputError
from spurious_rewards.evaluation import labels as lb
from spurious_rewards.evaluation.labels import LabelConfig, Vote, vote
from spurious_rewards.evaluation.trained import labels_run
from spurious_rewards.generation.transformers_engine import TransformersEngine
from spurious_rewards.storage.runs import RunFolder


def test_vote_by_equivalence():
    # 1/2 has three votes in three spellings against two for 2; the two empty samples do not vote
    answers = ["2", "0.5", None, r"\frac{1}{2}", "2", "", "1/2"]
    assert vote(answers) == Vote("0.5", 3, 5, False, {"2": 2, "0.5": 3})


def test_a_tie_goes_to_the_first_sampled_and_is_recorded():
    assert vote(["7", "3", "3", "7"]) == Vote("7", 2, 4, True, {"7": 2, "3": 2})
    assert vote(["3", "7", "3", "7"]).label == "3"
    assert not vote(["7", "3", "3", "3", "7"]).tie


def test_no_answer_no_label():
    assert vote([None, "", "  "]) == Vote(None, 0, 0, False, {})


LABELS = pd.DataFrame({"problem_id": ["a", "b", "c"], "label": ["1", "9", None], "label_correct": [True, False, False]})
PROBLEMS = [
    Problem("a", "?", "1", "s", {"level": 1}),
    Problem("b", "?", "2", "s"),
    Problem("c", "?", "3", "s"),
    Problem("d", "?", "4", "s"),
]


def test_training_sets_from_labels():
    labelled = PROBLEMS[:3]
    majority, incorrect = (relabelled(labelled, LABELS, only_wrong) for only_wrong in (False, True))
    assert [(p.id, p.answer, p.meta["gold"]) for p in majority] == [("a", "1", "1"), ("b", "9", "2")]
    assert [(p.id, p.answer, p.meta["gold"]) for p in incorrect] == [("b", "9", "2")]
    assert majority[0].meta["level"] == 1 and "gold" not in PROBLEMS[0].meta
    with pytest.raises(InputError, match=r"1 of 4 problems have no row in the labelling \(first: d\)"):
        relabelled(PROBLEMS, LABELS, only_wrong=False)


def test_label_accuracy_counts_labelled_problems_only():
    interval = lb.label_accuracy(LABELS)
    assert (interval.estimate, interval.n) == (0.5, 2)


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "runs"))
    return LabelConfig(
        model=str(save_tiny(tmp_path / "tiny")),
        prompt_style="none",
        n_problems=6,
        n_samples=16,
        max_new_tokens=12,
        batch_size=32,
    )


def test_labelling_resumes_and_equals_an_uninterrupted_one(config, tmp_path, monkeypatch):
    generate, calls = TransformersEngine.generate, []

    def stops_after_one(engine, prompts, sampling, keys, bar=None):
        if calls:
            raise KeyboardInterrupt
        calls.append(keys)
        return generate(engine, prompts, sampling, keys, bar)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TransformersEngine, "generate", stops_after_one)
        lb.make_labels(config, progress=False)

    def watched(engine, prompts, sampling, keys, bar=None):
        calls.append(keys)
        return generate(engine, prompts, sampling, keys, bar)

    with monkeypatch.context() as patch:
        patch.setattr(TransformersEngine, "generate", watched)
        run = lb.make_labels(config, progress=False)
        lb.make_labels(config, progress=False)  # finished: nothing more
    assert [len(keys) for keys in calls] == [2, 2, 2] and len({key for keys in calls for key in keys}) == 6
    labels = lb.load_labels(run.folder)
    problems = load_problems("synthetic", 6, 0)
    assert list(labels) == list(lb.LABEL_COLUMNS)
    assert labels["problem_id"].tolist() == [p.id for p in problems]
    assert labels["gold"].tolist() == [p.answer for p in problems]
    assert (labels["n_valid"] <= 16).all() and labels["n_valid"].sum() > 0
    for row in labels.itertuples():
        votes = json.loads(row.votes)
        assert sum(votes.values()) == row.n_valid and max(votes.values(), default=0) == row.n_votes
    assert run.manifest()["n_labelled"] == labels["label"].notna().sum()
    assert run.run_id.startswith("labels-tiny-synthetic-none-t1-k16-")

    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "elsewhere"))
    whole = lb.make_labels(config, progress=False)
    pd.testing.assert_frame_equal(lb.load_labels(whole.folder), labels)


def test_label_configurations_that_cannot_work():
    with pytest.raises(InputError, match="n_samples"):
        LabelConfig(n_samples=0)
    with pytest.raises(InputError, match="did you mean 'none'"):
        LabelConfig(prompt_style="nonee")


def test_labels_are_named_by_job_run_or_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "runs"))
    run = RunFolder.open("labels-x", {})
    LABELS.to_parquet(run.path("labels.parquet"))
    with pytest.raises(InputError, match="holds no complete majority-vote labelling"):
        load_labels("labels-x")
    run.finish({"kind": "labels"})
    other = RunFolder.open("probe-x", {})
    other.finish({"kind": "probe"})
    jobs = {"toy/label": ["probe-x", "labels-x"], "toy/train": ["probe-x"]}
    monkeypatch.setattr("spurious_rewards.evaluation.trained.job_result", lambda name: {"run_ids": jobs[name]})
    assert labels_run("toy/label") == labels_run("labels-x") == "labels-x" and labels_run("") == ""
    assert labels_run(str(run.folder)) == str(run.folder)
    for labels in ("labels-x", run.folder):
        assert load_labels(labels)["label"].tolist()[:2] == ["1", "9"]
    run.path("labels.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(InputError, match="labels.parquet is missing or damaged .*: delete this folder"):
        load_labels("labels-x")
    with pytest.raises(InputError, match="Job toy/train made 0 labellings"):
        labels_run("toy/train")
    with pytest.raises(InputError, match="There is no run 'labels-y'"):
        load_labels("labels-y")
