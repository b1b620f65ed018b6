"""A study makes the run folders that the notebooks of its profile would make, and resumes."""

import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation import study
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.workflow.profiles import load_profile


@pytest.fixture
def profile(monkeypatch, tmp_path):
    """The committed profile decide, with runs in an empty folder."""
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path))
    return load_profile("decide")


def test_units_pair_a_training_with_its_evaluations(profile):
    (unit,) = [
        unit for unit in study.units(profile, ["first"], [3])
        if unit[0].model == "qwen-like" and unit[0].clip_mode == "none"
    ]  # fmt: skip
    config, evaluations = unit
    assert config.learning_rate == 0.00003 and config.keep_checkpoints == 0 and config.seed == 3
    assert [cell.checkpoint for cell in evaluations] == [0, 80, 240]
    assert {cell.trained_run for cell in evaluations} == {config.run_id()}
    assert {cell.n_problems for cell in evaluations} == {4000} and {cell.temperature for cell in evaluations} == {0.0}


def test_an_evaluation_with_samples_is_greedy_and_sampled(monkeypatch, tmp_path):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path))
    config, cells = next(study.units(load_profile("smollm"), ["train"]))
    found = [(cell.benchmark, cell.temperature, cell.n_samples) for cell in cells]
    assert found == [("synthetic_level1_test", 0.0, 1), ("synthetic_level1_test", 1.0, 4), ("math500", 0.0, 1)]
    assert {cell.trained_run for cell in cells} == {config.run_id()}


def test_pairs_share_everything_but_the_clip(profile):
    pairs = {}
    for config, _ in study.units(profile, ["first"], [0]):
        if config.reward == "random":
            pairs.setdefault(config.model, []).append(config.identity())
    assert set(pairs) == {"qwen-like", "one-token", "llama-like", "olmo-like-s1"}
    for one, other in pairs.values():
        assert {name for name in one if one[name] != other[name]} == {"clip_mode"}


def test_labels_must_be_there(profile):
    with pytest.raises(InputError, match="decide/label is not done"):
        list(study.units(profile, ["labelled"]))


def test_a_committed_run_counts_as_finished(profile):
    config, evaluations = next(study.units(profile, ["first"], [0]))
    ids = {config.run_id(), *(cell.eval_id() for cell in evaluations)}
    assert not study.finished(config, evaluations, set())
    assert study.finished(config, evaluations, ids)
    assert not study.finished(config, evaluations, ids - {config.run_id()})


def test_a_run_that_fails_ends_the_study_with_its_sentence(profile, monkeypatch, capsys):
    def diverged(config, evaluations):
        raise InputError("The policy diverged.")

    monkeypatch.setattr(study, "run_unit", diverged)
    for seeds in ("0-x", "7-0"):
        assert study.main(["decide", "--seeds", seeds]) == 2 and "a range like 0-7" in capsys.readouterr().err
    assert study.main(["decide", "--stages", "first", "--seeds", "0", "--anew"]) == 2
    assert capsys.readouterr().err.endswith(" runs failed. The policy diverged.\n")


def test_a_unit_is_trained_evaluated_and_found_again(profile, monkeypatch):
    from dataclasses import replace

    config, evaluations = next(study.units(profile, ["first"], [0]))
    config = replace(config, prompts_per_batch=2, group_size=4, micro_batch=1, rollout_batches=2, save_every_batches=1)
    cells = [
        replace(cell, trained_run=config.run_id(), checkpoint=checkpoint, n_problems=3)
        for cell, checkpoint in zip(evaluations[:2], (0, 8), strict=True)
    ]
    study.run_unit(config, cells)
    assert study.finished(config, cells, set())
    kept = [path.name for path in RunFolder.load(config.run_id()).path("checkpoints").iterdir()]
    assert kept == ["checkpoint-8"]  # the one that an evaluation names
    monkeypatch.setattr(study, "evaluate", lambda cell, progress: None)
    study.run_unit(config, cells)  # trains nothing again
    RunFolder.load(config.run_id()).path("metrics.parquet").write_bytes(b"")
    assert not study.finished(config, cells, set())
    with pytest.raises(InputError, match="metrics.parquet is not the file that run"):
        study.run_unit(config, cells)
