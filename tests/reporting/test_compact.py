"""Compact records: the same tables from less, and runs added to committed ones."""

import dataclasses

import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.reporting import collect, compact, tables
from spurious_rewards.reporting.report import all_tables


@pytest.fixture
def many(records):
    """Each problem of the hand-made records ten times, so that some lose their texts; with columns of real records."""
    copies = [records.samples.assign(problem_id=f"{i}-" + records.samples["problem_id"]) for i in range(10)]
    samples = pd.concat(copies, ignore_index=True).sort_values("run_id", kind="stable", ignore_index=True)
    return dataclasses.replace(
        records, samples=samples.assign(text="an answer", logprob=-1.0, extracted_paper="1", family="x", level=1)
    )


def shrunk(records):
    samples = [compact.samples(rows) for _, rows in records.samples.groupby("run_id", sort=False)]
    metrics = [
        compact.metrics(rows.drop(columns="run_id")).assign(run_id=run_id)
        for run_id, rows in records.metrics.groupby("run_id", sort=False)
    ]
    return dataclasses.replace(
        records, samples=pd.concat(samples, ignore_index=True), metrics=pd.concat(metrics, ignore_index=True)
    )


def test_tables_come_out_the_same(many):
    whole, small = all_tables(many), all_tables(shrunk(many))
    assert whole.keys() == small.keys()
    for name, table in whole.items():
        pd.testing.assert_frame_equal(
            table,
            small[name],
            rtol=1e-6,  # metrics are single precision
            check_dtype=False,
        )
    assert small["first_updates"]["losses"].tolist() == whole["first_updates"]["losses"].tolist()


def test_texts_of_the_first_problems_stay(many):
    small = shrunk(many).samples
    kept = small[small["text"].notna()].groupby("run_id")["problem_id"].nunique()
    assert (kept == compact.PROBLEMS_WITH_TEXT).all() and "logprob" not in small
    assert small["parsable"].all() and small["extracted"].isna().sum() == 20 * 5, "20 of 40 problems, 5 evaluations"


def test_later_updates_of_a_batch_become_their_mean():
    updates = pd.DataFrame(
        {
            "update": [1, 2, 3],
            "rollout_batch": 0,
            "update_in_batch": [1, 2, 3],
            "clip_fraction": [0.0, 0.1, 0.3],
            "kl_old": [0.0, 0.5, 0.7],
            "reward_mean": [0.25, None, None],
            "surrogate_loss": [0.1 + 0.2, 1.0, 2.0],
            "loss": [1.0, 2.0, 3.0],
        }
    )
    table = compact.metrics(updates)
    assert table["update_in_batch"].tolist() == [1, 3] and "loss" not in table
    assert table["clip_fraction"].tolist() == pytest.approx([0.0, 0.2])
    assert table["kl_old"].tolist() == pytest.approx([0.0, 0.7]), "how far the last update got"
    assert table["surrogate_loss"].iloc[0] == 0.1 + 0.2, "to the last bit"


@pytest.mark.parametrize("how", ["added", "compact"])
def test_runs_are_added_to_committed_ones(many, tmp_path, monkeypatch, how):
    monkeypatch.setattr(collect, "_kept", lambda profile: how)
    small = shrunk(many)

    def part(names):
        own = small.samples["trained_run"].isin(names)
        return dataclasses.replace(
            small,
            runs=small.runs[small.runs["run_id"].isin(names)],
            metrics=small.metrics[small.metrics["run_id"].isin(names)],
            samples=small.samples[own],
            manifests={name: m for name, m in small.manifests.items() if name.removeprefix("eval-") in names},
        )

    collect.save(part(["", "clip-0", "none-0"]), tmp_path)
    again = part(["none-0", "clip-1", "none-1"])
    again = dataclasses.replace(again, runs=again.runs.assign(dirty="unknown"))  # from an archive of the code
    collect.save(dataclasses.replace(again, runs=again.runs.assign(seconds=1.0)), tmp_path)
    found = collect.load("toy", tmp_path)
    trained = sorted(name for name in found.manifests if not name.startswith("eval-"))
    assert sorted(found.runs["run_id"]) == ["clip-0", "clip-1", "none-0", "none-1"] == trained
    assert found.runs.set_index("run_id")["seconds"].to_dict() == {"clip-0": 60, "none-0": 1, "clip-1": 1, "none-1": 1}
    assert len(found.samples) == len(small.samples) and len(found.metrics) == len(small.metrics)
    assert found.runs.set_index("run_id")["dirty"].isna().to_dict() == {
        "clip-0": False, "none-0": True, "clip-1": True, "none-1": True,
    }  # fmt: skip
    monkeypatch.setattr(collect, "_kept", lambda profile: "whole")
    collect.save(part(["", "clip-0"]), tmp_path)
    assert collect.load("toy", tmp_path).runs["run_id"].tolist() == ["clip-0"], "a whole profile is replaced"


def test_two_checkpoints_of_one_name_are_refused(many, tmp_path, monkeypatch):
    """Records are added run by run, and a machine that built the organism itself may have other weights."""
    monkeypatch.setattr(collect, "_kept", lambda profile: "added")
    one, other, *_ = (name for name, manifest in many.manifests.items() if manifest["kind"] == "training")

    def begun(name, start, model="olmo-like"):
        own = many.manifests[name] | {"config": {"model": model}, "digests": {"start": start} if start else {}}
        samples = many.samples[many.samples["trained_run"].eq(name)]
        return dataclasses.replace(
            many,
            runs=many.runs[many.runs["run_id"].eq(name)],
            metrics=many.metrics[many.metrics["run_id"].eq(name)],
            samples=samples,
            manifests={name: own, **{run_id: many.manifests[run_id] for run_id in samples["run_id"].unique()}},
        )

    collect.save(begun(one, "aa"), tmp_path)
    collect.save(begun(other, "aa"), tmp_path)
    with pytest.raises(InputError, match="two checkpoints of olmo-like .weights aa and bb."):
        collect.save(begun(other, "bb"), tmp_path)
    with pytest.raises(InputError, match="two checkpoints of olmo-like .weights aa and not told."):
        collect.save(begun(other, ""), tmp_path)


def test_an_old_manifest_of_an_embedded_model_is_no_other_checkpoint():
    manifests = {
        name: {"kind": "training", "config": {"model": "qwen-like"}, "digests": {"start": start} if start else {}}
        for name, start in (("a", "aa"), ("b", ""), ("c", "aa"))
    }
    collect.check_one_checkpoint(manifests)


def test_what_is_made_once_is_each_callers_own(many):
    first = tables.arms(many)
    assert len(many._made) == 1
    first["accuracy"] = -1.0
    assert tables.arms(many)["accuracy"].ge(0).all()
    fewer = dataclasses.replace(many, samples=many.samples[many.samples["trained_run"].isin(["", "clip-0"])])
    assert len(tables.arms(fewer)) < len(first), "other records have tables of their own"
