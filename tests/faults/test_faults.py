"""A quick share of `make test-faults`: an evaluation killed, out of disk and damaged."""

import random

import faults
import pandas as pd
import pytest


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return faults.Stage("evaluation", tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("share", [0.02, 0.5, 0.75, 1.0])
def test_killed_and_run_again(stage, share):
    row = stage.kill(max(1, round(share * stage.events)))
    assert row["first"] == -9 and row["outcome"] == "equal", row


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_full_disk_is_one_sentence_and_nothing_finished_is_lost(stage, share):
    row = stage.kill(round(share * stage.events), "disk full")
    assert row["outcome"] == "equal" and row["first"] in (0, faults.SENTENCE), row
    assert row["first"] == 0 or "No space left on the disk" in row["said"]


@pytest.mark.parametrize(
    ("file", "how", "finished", "outcome"),
    [
        ("records.parquet", "truncated", True, "sentence"),
        ("records.parquet", "noise", False, "equal"),
        ("manifest.json", "zeros", True, "sentence"),
        ("config.json", "emptied", False, "sentence"),
    ],
)
def test_damaged_files(stage, file, how, finished, outcome):
    row = stage.corrupt(file, how, 0, finished)
    assert row["outcome"] == outcome, row


def test_a_wrong_result_would_be_called_a_failure(stage, monkeypatch):
    monkeypatch.setattr(stage, "expected", {**stage.expected, "records.parquet": "another"})
    assert stage.kill(stage.events // 2)["outcome"] == "failure"


def test_damages_change_the_file(tmp_path):
    for how in faults.DAMAGES:
        path = tmp_path / how.replace(" ", "")
        path.write_bytes(b"something of some length")
        faults.damage(path, how, random.Random(0))
        assert not path.is_file() or path.read_bytes() != b"something of some length"


def test_the_summary_counts_outcomes():
    rows = [("a", "kill", "equal"), ("a", "kill", "failure"), ("a", "emptied, finished run", "sentence")]
    counts = faults.summary(pd.DataFrame(rows, columns=["job", "fault", "outcome"])).set_index("fault")
    assert counts.loc["kill", ["equal", "sentence", "failure"]].tolist() == [1, 0, 1]
    assert counts.loc["damaged file", "sentence"] == 1
