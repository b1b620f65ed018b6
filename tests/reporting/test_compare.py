"""Your run against the committed one: counts by hand, and which runs are yours."""

import json

import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.reporting import compare


def table(**columns):
    return pd.DataFrame({"arm": ["a", "b"], **columns})


def test_counts_by_hand():
    theirs = table(x=[1.0, 2.0], y=[0.5, float("nan")])
    mine = table(x=[1.0 + 1e-9, 2.5], y=[0.5, float("nan")])
    # x: one within tolerance, one off; y: both equal, the missing value too
    assert compare.count(mine, theirs) == compare.Counts(equal=2, near=1, other=1, missing=0)
    assert compare.count(mine.iloc[:1], theirs) == compare.Counts(equal=1, near=1, other=0, missing=2)
    x = theirs[["arm", "x"]]  # a column that one of the two lacks
    assert compare.count(x, theirs) == compare.count(theirs, x) == compare.Counts(equal=2, near=0, other=0, missing=2)


@pytest.fixture
def results(tmp_path):
    (tmp_path / "tables" / "toy").mkdir(parents=True)
    (tmp_path / "manifests" / "toy").mkdir(parents=True)
    arms = pd.DataFrame(
        {
            "arm": ["base model", "random γ=0.5, two_sided"], "benchmark": ["b"] * 2, "prompt_style": ["p"] * 2,
            "temperature": [0.0] * 2, "accuracy_change": [None, 0.0287], "code_change": [None, -0.01],
        }
    )  # fmt: skip
    arms.to_csv(tmp_path / "tables" / "toy" / "arms.csv", index=False)
    (tmp_path / "manifests" / "toy" / "train-1.json").write_text(json.dumps({"seconds": 1}))
    compare.accept("toy", tmp_path)
    return tmp_path


def test_the_same_results_agree(results):
    text = compare.comparison("toy", results)
    assert "random reward, with clip" in text and "+2.9 (+2.9)" in text and "-1.0 (-1.0)" in text
    assert "6 equal to the last bit" in text and "0 further off\n" in text


def test_other_results_are_counted_and_marked(results):
    path = results / "tables" / "toy" / "arms.csv"
    path.write_text(path.read_text().replace("0.0287", "0.0300"))
    text = compare.comparison("toy", results)
    assert "+3.0 (+2.9)" in text and "1 further off: look whether the limits overlap" in text
    manifest = results / "manifests" / "toy" / "train-1.json"
    committed = compare.committed_manifests("toy", results)
    assert not compare.is_yours(manifest, committed)
    manifest.write_text(json.dumps({"seconds": 2}))
    assert compare.is_yours(manifest, committed)
    assert not compare.is_yours(manifest, {}), "where nothing is committed nothing is marked"


def test_errors_name_cause_and_fix(results, tmp_path, capsys):
    with pytest.raises(InputError, match="Nothing of profile other is committed"):
        compare.comparison("other", results)
    with pytest.raises(InputError, match="make reproduce PROFILE=other"):
        compare.accept("other", results)
    assert compare.main(["other", "--results", str(results)]) == 2
    assert compare.main(["other", "--results", str(results), "--if-committed"]) == 0
    assert compare.main(["toy", "--results", str(results)]) == 0
    assert "your run against the committed one" in capsys.readouterr().out


def test_arms_that_differ_in_a_setting_have_lines_of_their_own(results):
    path = results / "tables" / "toy" / "arms.csv"
    row = pd.read_csv(path).iloc[[1]]
    names = [f"random γ=0.5, two_sided, model=a, updates_per_batch={n}" for n in (8, 1)]
    pd.concat([row.assign(arm=name) for name in names]).to_csv(path, index=False)
    compare.accept("toy", results)
    said = compare.comparison("toy", results)
    assert "random reward, with clip, a  " in said and "random reward, with clip, a, updates per batch 1  " in said
