"""The first screen and the claims: sentences, intervals and sums of verdicts."""

import dataclasses
import re
from types import SimpleNamespace

import pandas as pd
import pytest

from spurious_rewards.reporting import collect, overview, report
from spurious_rewards.storage.files import write_json, write_text
from spurious_rewards.storage.paths import code_root

RESULTS = code_root() / "results"


@pytest.fixture
def results(records, tmp_path, monkeypatch):
    monkeypatch.setattr(report.drawing, "browser_path", lambda: None)
    collect.save(records, tmp_path)
    report.rebuild(tmp_path)
    return tmp_path


def test_the_first_figure_shows_the_changes_of_both_arms(records):
    rows, note = overview.clip_rows(records)
    # with clip: (3 + 4)/2 right of 4 against 2 before: +37.5 points; code 4 and 4 against 3: +25
    assert [(row.model, row.words) for row in rows] == [("qwen-like", "with clip"), ("qwen-like", "without clip")]
    assert [bar.text.split(" ")[0] for bar in rows[0].bars] == ["+37.5", "+25.0"]
    assert rows[1].bars[0].text.startswith("−12.5")
    assert "2 seeds per arm" in note and "4 problems" in note
    for row in rows:
        for bar in row.bars:
            assert 0 <= bar.low <= bar.at <= bar.high <= 100


def test_the_first_figure_leaves_out_models_that_no_claim_rests_on(records):
    """Old checkpoints of the study stand in its tables; a profile of nothing else shows them all the same."""
    runs, samples = records.runs, records.samples
    trained = samples["trained_run"]
    old = {
        "runs": runs.assign(model="olmo-like", run_id=runs["run_id"] + "-old"),
        "samples": samples.assign(model="olmo-like", trained_run=trained.where(trained == "", trained + "-old")),
    }
    both = dataclasses.replace(
        records,
        profile="decide",
        **{name: pd.concat([getattr(records, name), table], ignore_index=True) for name, table in old.items()},
    )
    assert {row.model for row in overview.clip_rows(both)[0]} == {"qwen-like"}
    alone = dataclasses.replace(records, profile="decide", **old)
    assert {row.model for row in overview.clip_rows(alone)[0]} == {"olmo-like"}


def test_sentences_are_short_and_hold_few_numbers(records, results):
    said = overview.answers(results, [records])
    assert len(said) == 2 and "random reward changed accuracy by +37.5 points" in said[0]
    committed = [collect.load(name, RESULTS) for name in collect.saved_profiles(RESULTS)]
    said += overview.answers(RESULTS, committed)
    assert (
        len(said) == 6
        and said[2].startswith("GRPO with true rewards")
        and said[2].endswith("points, a gain (2 seeds, 400 problems).")
    )
    for sentence in said:
        assert len(sentence.split()) <= 30 and len(re.findall(r"\d+(?:\.\d+)?", sentence)) <= 3, sentence


def test_a_random_reward_is_told_beside_true_ones_over_as_many_batches(records):
    assert overview.true_words(records, overview.ablation(records)) == "", "none was run"
    run = records.runs[records.runs["run_id"].eq("clip-1")].assign(reward="ground_truth", run_id="true")
    scored = records.samples[records.samples["trained_run"].eq("clip-1")].assign(trained_run="true", run_id="eval-true")
    both = {"runs": pd.concat([records.runs, run]), "samples": pd.concat([records.samples, scored])}
    true = dataclasses.replace(records, **both)
    assert overview.true_words(true, overview.ablation(true)) == " in which true rewards bring +50.0"


def test_what_gpus_were_used_for_is_read_from_manifests_and_record(tmp_path):
    assert overview.gpu_numbers(tmp_path).startswith("No GPU") and overview.gpu_checks(tmp_path) == ""
    manifests = {"a": {"hardware": {"gpus": []}}, "b": {"runs": [{"hardware": {"gpus": ["H200"]}}, {"hardware": {}}]}}
    for name, manifest in manifests.items():
        write_json(tmp_path / "manifests" / "toy" / f"{name}.json", manifest)
    assert overview.gpu_numbers(tmp_path) == "Of the 3 runs behind these pages, 1 used a GPU."
    record = tmp_path / "tables" / "gpu" / "test_gpu.txt"
    lines = [
        "card, memory, driver: NVIDIA X, 1 MiB, 580",
        "",
        "test_a: passed after 3 s",
        "test_b: failed after 1 s | why",
    ]
    write_text(record, "\n".join(lines))
    assert overview.gpu_checks(tmp_path) == "The checks of make test-gpu on one NVIDIA X: 1 passed, 1 failed."
    write_text(record, "\n".join(["Checks: 8 passed, 1 failed, 2 skipped, 12 not reached", "", *lines]))
    assert overview.gpu_checks(tmp_path).endswith(": 8 passed, 1 failed. Not run: 2 skipped, 12 not reached.")


def test_endings_follow_the_limits():
    assert overview.ending(-2, -1, "a gain", "a loss") == "a loss"
    assert overview.ending(-2, 0.0, "a gain", "a loss") == "too uncertain to tell from chance"
    row = {"low": -2, "high": -1, "verdict": "undecided", "n_seeds": 16, "n_planned": 32}
    assert overview.ending_of(row, "a gain", "a loss") == "a loss, but no verdict yet"
    assert overview.ending_of(row | {"n_seeds": 32}, "a gain", "a loss") == "a loss, but not enough for a verdict"
    assert overview.ending_of(row | {"verdict": "equivalent to nothing"}, "a gain", "a loss") == "too little to matter"


def test_verdicts_of_one_scale_are_summed_up():
    assert overview.joint(["supported", "supported"]) == "supported"
    assert overview.joint(["undecided", "contradicted", "supported"]) == "mixed"
    assert overview.joint(["undecided", "contradicted"]) == "contradicted in part"
    assert overview.joint(["not run"]) == "not run"


def test_claims_know_where_their_numbers_come_from():
    views = overview.claim_views(RESULTS)
    assert [view.id for view in views] == [f"C{i}" for i in range(1, 12)]
    assert all(set(view.verdicts) == set(overview.SCALES) for view in views)
    assert all(
        {word.removesuffix(" in part") for word in view.verdicts.values()} <= set(overview.VERDICTS) for view in views
    )
    assert all(view.verdicts["Qwen2.5-Math-7B"] == "not run" for view in views), "no GPU was used"
    findings = [finding for view in views for finding in view.findings]
    assert len(findings) > 20
    for finding in findings:
        assert (RESULTS / finding.table).is_file(), finding.table
        assert finding.source is not None and finding.source.commits != "commit unknown"
        assert len(finding.why.split()) <= 30 and "p = 0)" not in finding.why
        assert not re.search(r"(?<![\w.−])-\d", finding.measured), "a hyphen for a minus"


def test_a_claim_with_estimate_and_limits_has_an_interval(results):
    path = results / "tables" / "claims.csv"
    table = pd.read_csv(path, keep_default_na=False)
    for name in ("estimate", "low", "high", "unit", "why"):
        table[name] = ""
    table = table.astype(object)
    [first, *_] = table.index[table["claim"] == "C1"]
    table.loc[first, ["scale", "verdict"]] = ["qwen-like (profile toy)", "supported"]
    table.loc[first, ["estimate", "low", "high", "unit", "why"]] = [0.1, 0.05, 0.15, "points", "It gains."]
    table.to_csv(path, index=False)
    [claim] = [view for view in overview.claim_views(results) if view.id == "C1"]
    assert claim.bar.text == "+10.0 [+5.0, +15.0]" and claim.bar.zero == 50 and claim.why == "It gains."
    assert claim.verdicts["organisms"] == "supported"


def study(seeds, profile="decide", modes=("two_sided", "none")):
    """Records of a profile with random-reward runs of so many seeds per clip mode."""
    runs = [
        {"model": "qwen-like", "reward": "random", "gamma": 0.5, "clip_mode": mode, "seed": seed}
        for mode in modes
        for seed in range(seeds)
    ]
    return SimpleNamespace(profile=profile, runs=pd.DataFrame(runs), arm_columns=lambda: ["reward", "clip_mode"])


def test_the_first_screen_waits_for_eight_seeds_of_the_study_that_decides():
    micro = study(2, "micro")
    assert overview.study([micro, study(7)]) is micro
    assert overview.study([micro, study(8, modes=("two_sided",))]) is micro
    whole = study(8)
    assert overview.study([micro, whole]) is whole


def finding(profile, scale, verdict, n_seeds=8):
    nothing = dict.fromkeys(("part", "measured", "n", "unit", "why", "notebook", "section", "table", "runs"), "")
    found = {"profile": profile, "scale": f"{scale} (profile {profile})", "verdict": verdict, "n_seeds": n_seeds}
    return overview.Finding(**nothing, **found, column=overview.SCALES[1], bar=None, source=None)


def test_the_study_with_a_protocol_decides_its_scale():
    earlier = [
        finding("micro", "qwen-like", "supported"),
        finding("organism", "qwen-like, step size 1e-4", "undecided"),
    ]
    planned = [finding("decide", model, "equivalent to nothing") for model in ("qwen-like", "one-token")]
    beside = [finding("decide", model, "contradicted") for model in ("llama-like", "qwen-like-at10")]
    organisms = overview.SCALES[1]
    assert overview.telling(earlier, organisms) == earlier
    assert overview.telling([*earlier, *beside, *planned], organisms) == planned
    several = finding("decide", "llama-like, qwen-like", "supported")
    assert overview.telling([*earlier, several], organisms) == [several]
    assert overview.telling([*earlier, *planned], overview.SCALES[0]) == []
    beside_it = dataclasses.replace(planned[0], part="What happens without the clip", verdict="loss")
    assert overview.telling([*planned, beside_it], organisms) == planned
    few = finding("decide", "qwen-like", "undecided", n_seeds=7)
    assert overview.telling([*earlier, few], organisms) == [*earlier, few]
