"""The check of committed results finds what was changed, left over or missing."""

import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.reporting import collect, report, verify
from spurious_rewards.reporting.verify import compared


@pytest.fixture
def results(records, tmp_path, monkeypatch):
    """A results folder made from hand-made records, without pages."""
    monkeypatch.setattr(verify, "render", lambda results: {})
    collect.save(records, tmp_path)
    records = collect.load("toy", tmp_path)
    report.write_tables(report.all_tables(records), tmp_path / "tables" / "toy")
    report.write_tables({"claims": report.claims_table([records])}, tmp_path / "tables", alone=False)
    return tmp_path


def wrong(results):
    return {check.path: (check.status, check.note) for check in verify.verify(results) if not check.fine}


def test_what_the_records_make_is_found_the_same(results):
    assert {check.status for check in verify.verify(results)} == {"same"}


def test_a_changed_number_a_left_over_and_a_missing_table_are_found(results):
    arms, claims = results / "tables" / "toy" / "arms.csv", results / "tables" / "claims.md"
    arms.write_text(arms.read_text().replace("0.375", "0.376", 1))
    (results / "tables" / "toy" / "old.csv").write_text("a\n1\n")
    claims.unlink()
    found = wrong(results)
    assert found["tables/toy/arms.csv"] == ("differs", found["tables/toy/arms.csv"][1])
    assert "0.376 is now 0.375" in found["tables/toy/arms.csv"][1]
    assert found["tables/toy/old.csv"][0] == "unexplained"
    assert found["tables/claims.md"] == ("differs", "it is not committed") and len(found) == 3


def test_a_changed_record_is_found(results):
    path = results / "records" / "toy" / "samples.parquet"
    samples = pd.read_parquet(path)
    samples.loc[samples["trained_run"] == "none-1", "correct"] = False
    samples.to_parquet(path, index=False)
    assert {"tables/toy/arms.csv", "tables/toy/clip_effect.csv"} <= set(wrong(results))


def test_rounding_is_no_difference_but_words_are():
    assert compared("a 0.123456", "a 0.1234561", ".csv")[0] == "close"
    assert compared("a 0.1", "b 0.1", ".csv") == ("differs", "line 1: 'a 0.1' is now 'b 0.1'")
    assert compared("1\n2", "1", ".csv") == ("differs", "2 lines are now 1")
    assert compared("<p>0.1</p>", "<p>0.1000001</p>", ".html")[0] == "differs", "pages are made of committed texts"


def test_a_measurement_is_kept_if_its_manifest_says_so(results):
    (results / "tables" / "training").mkdir()
    (results / "tables" / "training" / "grpo_step.csv").write_text("seconds\n")
    assert not wrong(results)
    (results / "manifests" / "training").mkdir()
    manifest = results / "manifests" / "training" / "grpo_step.json"
    manifest.write_text('{"tables": {"grpo_step.csv": "0"}}')
    assert "digest" in wrong(results)["tables/training/grpo_step.csv"][1]


def test_exit_code_and_sentence(results, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["verify", "--results", str(results)])
    assert verify.main() == 0 and "same" in capsys.readouterr().out
    (results / "tables" / "toy" / "old.csv").write_text("a\n")
    assert verify.main() == 2
    said = capsys.readouterr()
    assert "unexplained tables/toy/old.csv" in said.out and "1 files are not what the records make" in said.err


def test_a_folder_without_records(tmp_path):
    with pytest.raises(InputError, match="holds no records"):
        verify.verify(tmp_path)
