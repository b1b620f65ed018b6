"""The committed probes: what is counted as a completion, and how near, follows from the committed texts."""

import pandas as pd
import pytest

from spurious_rewards.evaluation.probe import completes, rouge_l
from spurious_rewards.rewards.grading import grade
from spurious_rewards.storage.files import read_json
from spurious_rewards.storage.paths import code_root

RESULTS = code_root() / "results"
PATHS = sorted((RESULTS / "records").glob("*/probes.parquet"))


def test_a_probe_is_committed():
    assert "smollm-eval" in {path.parent.name for path in PATHS}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.parent.name)
def test_matches_are_those_of_the_texts(path):
    rows = pd.read_parquet(path)
    assert [completes(row.text, row.rest) for row in rows.itertuples()] == rows["exact_match"].tolist()
    assert [rouge_l(row.text, row.rest) for row in rows.itertuples()] == pytest.approx(rows["rouge_l"].tolist())
    some = pd.concat([rows[rows["correct"]], rows[~rows["correct"]].iloc[::20]])
    verdicts = [grade(row.text, row.gold).correct for row in some.itertuples()]
    changed = sum(now != then for now, then in zip(verdicts, some["correct"], strict=True))
    assert changed / len(rows) <= 0.005  # the grader has learnt to read sentences since these were graded
    assert rows["shown"].between(0, 1, inclusive="neither").all()
    # a row is a beginning: a problem may be probed once per percentage
    assert not rows.duplicated(["run_id", "problem_id", "percent"]).any()


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.parent.name)
def test_each_probe_has_its_manifest_from_a_committed_tree(path):
    for run_id, rows in pd.read_parquet(path).groupby("run_id"):
        manifest = read_json(RESULTS / "manifests" / path.parent.name / f"{run_id}.json")
        assert manifest["kind"] == "probe" and manifest["dirty"] is False
        assert manifest["n_problems"] == rows["problem_id"].nunique()
