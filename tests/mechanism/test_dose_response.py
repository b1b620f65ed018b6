"""Dose–response: the design, lines over the prior by hand, a tiny run from beginning to end, the committed tables."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.mechanism import dose_response, verdict
from spurious_rewards.mechanism.dose_config import DoseConfig
from spurious_rewards.mechanism.dose_effects import dose_table, from_pairs, from_runs
from spurious_rewards.mechanism.effects import unpaired
from spurious_rewards.workflow.files import read_json, sha256_file

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture
def runs_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "runs"))
    return tmp_path


def test_the_design_is_five_priors_by_two_settings_by_modes_by_seeds():
    config = DoseConfig()
    runs = config.run_configs()
    assert len(runs) == 5 * 2 * 2 * 5 and len({run.run_id() for run in runs}) == 100
    assert {(run.optimizer, run.learning_rate) for run in runs} == {("adamw", 3e-4), ("sgd", 0.3)}
    assert [run.clip_mode for run in runs[:2]] == ["none", "two_sided"]
    assert len({run.seed for run in runs[:2]}) == 1 and {run.seed for run in runs} == set(range(5))
    evaluations = [config.eval_config("qwen-like", run) for run in ("", "train-a", "train-b")]
    assert len({(e.seed, e.problem_seed, e.n_problems, e.temperature) for e in evaluations}) == 1
    pairs = config.pair_configs()
    assert len(pairs) == 10 and all(p.looks() == (30,) and p.clip_modes == config.clip_modes for p in pairs)
    assert [run.model for run in config.run_configs("qwen-like-p90")] == ["qwen-like-p90"] * 20


@pytest.mark.parametrize("changes", [{"settings": "sgd"}, {"settings": "adam 0.1"}, {"clip_modes": "two_sided"},
                                     {"run_clip_modes": "two_sided"}, {"clip_modes": "none,two_side"}, {"n_seeds": 1}])
def test_bad_designs_are_refused(changes):
    with pytest.raises(InputError):
        DoseConfig(**changes)


def test_slopes_by_hand():
    """Priors 0.2 and 0.8: log-odds ∓ log 4. Effects of seed 0: −1 and 1, of seed 1: −1 and 3 (changes of none: 0)."""
    tidy = pd.DataFrame([
        {"optimizer": "sgd", "learning_rate": 0.3, "quantity": "code", "clip_mode": mode, "model": model,
         "prior": prior, "unit": unit, "change": change}
        for mode, table in (("none", {0: (0, 0), 1: (0, 0)}), ("two_sided", {0: (-1, 1), 1: (-1, 3)}))
        for unit, changes in table.items() for model, prior, change in zip("ba", (0.2, 0.8), changes, strict=True)])
    table = dose_table(tidy).set_index(["clip_mode", "statistic", "model"])
    slope = table.loc[("two_sided", "slope", "all")]
    # slopes 2 / (2 log 4) and 4 / (2 log 4): mean 3 / (2 log 4), standard error (1 / log 4) / 2, t(0.975, 1) = 12.706
    assert slope["effect"] == pytest.approx(3 / (2 * math.log(4)))
    assert slope["effect_high"] - slope["effect"] == pytest.approx(12.706 / (2 * math.log(4)), rel=1e-4)
    even = table.loc[("two_sided", "at_even_odds", "all")]
    assert even["effect"] == pytest.approx(0.5)  # lines through 0 and 1
    assert table.loc[("two_sided", "prior", "b"), "effect"] == -1 and table.loc[("two_sided", "prior", "a"), "n"] == 2
    assert np.isnan(table.loc[("none", "slope", "all"), "effect"])
    assert list(table.loc["two_sided"].index.get_level_values("model")) == ["b", "a", "all", "all"]  # by prior


def test_runs_become_changes_of_code_and_accuracy():
    rows = pd.DataFrame([{"model": "m", "optimizer": "sgd", "learning_rate": 0.3, "clip_mode": mode, "seed": seed,
                          "code_before": 0.5, "accuracy_before": 0.75, "ended_before": 1.0, "code_after": code,
                          "accuracy_after": 0.5, "ended_after": 1.0}
                         for seed in (0, 1) for mode, code in (("none", 0.25), ("two_sided", 0.75))])
    table = dose_table(from_runs(rows)).set_index(["quantity", "clip_mode"])
    assert table.loc[("code", "two_sided"), ["change", "effect"]].tolist() == [0.25, 0.5]
    assert table.loc[("accuracy", "two_sided"), ["change", "effect"]].tolist() == [-0.25, 0.0]
    assert (table["statistic"] == "prior").all()  # one model: no line


def test_a_tiny_dose_response_from_beginning_to_end(runs_dir):
    config = DoseConfig(models="qwen-like", settings="sgd 1.0", clip_modes="none,two_sided", n_seeds=2,
                        prompts_per_batch=2, group_size=4, updates_per_batch=4, rollout_batches=1, n_problems=8,
                        n_samples=1, n_pairs=2, max_completion_tokens=32)
    rows, folders = dose_response.run_rows(config, progress=False)
    assert len(rows) == 4 and len(folders) == 1 + 2 * 4 and rows["code_before"].nunique() == 1
    again, _ = dose_response.run_rows(config, progress=False)
    pd.testing.assert_frame_equal(rows, again)
    table = dose_response.write_runs(config, rows, folders, runs_dir / "out")
    found = table[(table["clip_mode"] == "two_sided") & (table["quantity"] == "code")].iloc[0]
    two, none = (rows[rows["clip_mode"] == mode].sort_values("seed")["code_after"].to_numpy()
                 for mode in ("two_sided", "none"))
    assert found["effect"] == pytest.approx((two - none).mean())
    pairs = dose_response.run_pairs(config, progress=False)
    dose_response.write_pairs(config, pairs, runs_dir / "out")
    for name in ("dose_response", "dose_counterfactual"):
        manifest = read_json(runs_dir / f"out/manifests/mechanism/{name}.json")
        assert manifest["runs"] and all(sha256_file(runs_dir / "out" / path) == digest
                                        for path, digest in manifest["files"].items())


def test_an_organism_that_is_not_built_is_named(runs_dir, capsys):
    assert dose_response.main(["--models", "qwen-like-p30"]) == 2
    assert "has not been built" in capsys.readouterr().err
    assert dose_response.main(["--models", "qwen-like-p31"]) == 2
    assert dose_response.main(["--part", "all"]) == 2


# Verdict


def test_verdict_takes_verbs_and_numbers_from_the_tables():
    bandit = pd.read_csv(RESULTS / "tables/mechanism/bandit_map.csv")
    cell = bandit.query("sweep == 'step' and optimizer == 'sgd' and step_size == 2.0")
    cell = cell.set_index("clip_mode")["share_up"]
    assert cell["high_only"] > cell["two_sided"] > 0.6 > cell["none"] > cell["low_only"]  # what the words say
    alone = verdict.sentences(bandit)
    assert len(alone) == 3 and not any("language model" in sentence for sentence in alone)
    assert f"{100 * cell['two_sided']:.0f} %" in alone[0] and f"{100 * cell['high_only']:.0f} %" in alone[1]
    assert "γ = 0.001" in alone[2]
    rows = [{"optimizer": optimizer, "learning_rate": step, "clip_mode": mode, "quantity": quantity, "n_pairs": 7,
             "effect": sign * 0.5, "effect_low": sign * 0.5 - 0.1, "effect_high": sign * 0.5 + 0.1}
            for optimizer, step in verdict.MIDDLE.items() for mode in ("two_sided", "high_only", "low_only")
            for quantity, sign in (("code", 1 if optimizer == "sgd" else -1), ("entropy", 0))]
    dose = pd.DataFrame(rows).query("clip_mode == 'two_sided'").assign(statistic="slope")
    first, second, _ = verdict.sentences(bandit, pd.DataFrame(rows), dose)
    assert "with sgd 0.3 it raises the code probability (+0.500 [+0.400, +0.600])" in first
    assert "with adamw 0.0003 it lowers the code probability" in first and "slope above 0" in first
    assert "low_only does not measurably change the entropy" in second


# What is committed


@pytest.mark.parametrize("name", ["dose_response", "dose_counterfactual"])
def test_committed_tables_follow_from_the_committed_records(name):
    if not (RESULTS / f"manifests/mechanism/{name}.json").is_file():
        pytest.skip("not run yet")
    for path, digest in read_json(RESULTS / f"manifests/mechanism/{name}.json")["files"].items():
        assert sha256_file(RESULTS / path) == digest, path
    rows = pd.read_parquet(RESULTS / f"records/mechanism/{name}.parquet")
    if name == "dose_response":
        tidy = from_runs(rows)
        assert (rows.groupby(["model", "optimizer", "clip_mode"])["seed"].nunique() >= 5).all()
    else:
        assert unpaired(rows) == []
        tidy = from_pairs(rows, pd.read_parquet(RESULTS / f"records/mechanism/{name}_checkpoints.parquet"))
    assert rows["model"].nunique() == 5
    table = pd.read_csv(RESULTS / f"tables/mechanism/{name}.csv")
    pd.testing.assert_frame_equal(dose_table(tidy), table, rtol=1e-4, atol=1e-9, check_dtype=False)
