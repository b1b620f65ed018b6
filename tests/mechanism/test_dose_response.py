"""Dose–response: the design, lines over the prior by hand, a tiny run from beginning to end, the committed tables."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.mechanism import dose_response
from spurious_rewards.mechanism.__main__ import main
from spurious_rewards.mechanism.dose_config import DoseConfig
from spurious_rewards.mechanism.dose_effects import dose_table, from_pairs, from_runs
from spurious_rewards.mechanism.effects import unpaired
from spurious_rewards.storage.files import read_json, sha256_file

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


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": "sgd"},
        {"settings": "adam 0.1"},
        {"clip_modes": "two_sided"},
        {"run_clip_modes": "two_sided"},
        {"clip_modes": "none,two_side"},
        {"n_seeds": 1},
    ],
)
def test_bad_designs_are_refused(changes):
    with pytest.raises(InputError):
        DoseConfig(**changes)


def test_slopes_by_hand():
    """Priors 0.2 and 0.8: log-odds ∓ log 4. Effects of seed 0: −1 and 1, of seed 1: −1 and 3 (changes of none: 0)."""
    tidy = pd.DataFrame(
        [
            {
                "optimizer": "sgd",
                "learning_rate": 0.3,
                "quantity": "code",
                "clip_mode": mode,
                "model": model,
                "prior": prior,
                "unit": unit,
                "before": prior,
                "change": change,
            }
            for mode, table in (("none", {0: (0, 0), 1: (0, 0)}), ("two_sided", {0: (-1, 1), 1: (-1, 3)}))
            for unit, changes in table.items()
            for model, prior, change in zip("ba", (0.2, 0.8), changes, strict=True)
        ]
    )
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
    rows = pd.DataFrame(
        [
            {
                "model": "m",
                "optimizer": "sgd",
                "learning_rate": 0.3,
                "clip_mode": mode,
                "seed": seed,
                "code_before": 0.5,
                "accuracy_before": 0.75,
                "ended_before": 1.0,
                "code_after": code,
                "accuracy_after": 0.5,
                "ended_after": 1.0,
            }
            for seed in (0, 1)
            for mode, code in (("none", 0.25), ("two_sided", 0.75))
        ]
    )
    table = dose_table(from_runs(rows, n_answers=3)).set_index(["quantity", "clip_mode"])
    assert table.loc[("code", "two_sided"), ["change", "effect"]].tolist() == [0.25, 0.5]
    # log((0.75·3 + ½) / (0.25·3 + ½)) − 0, minus its mirror image
    assert table.loc[("code_logit", "two_sided"), "effect"] == pytest.approx(2 * math.log(2.75 / 1.25))
    assert table.loc[("accuracy", "two_sided"), ["change", "effect"]].tolist() == [-0.25, 0.0]
    assert (table["statistic"] == "prior").all()  # one model: no line


def test_limits_of_shares_stay_possible():
    """ended 1, 1, 0 of three seeds: change −1/3 ± 4.303/√3 · 0.577 = [−1.77, 1.10], cut to [−1, 0]; effect likewise."""
    rows = pd.DataFrame(
        [
            {
                "model": "m",
                "optimizer": "sgd",
                "learning_rate": 0.3,
                "clip_mode": mode,
                "seed": seed,
                **{f"{name}_{when}": 1.0 for name in ("code", "accuracy") for when in ("before", "after")},
                "ended_before": 1.0,
                "ended_after": 0.0 if seed == 2 and mode == "none" else 1.0,
            }
            for seed in range(3)
            for mode in ("none", "two_sided")
        ]
    )
    table = dose_table(from_runs(rows, n_answers=3)).set_index(["quantity", "clip_mode"])
    none, effect = table.loc[("ended", "none")], table.loc[("ended", "two_sided")]
    assert (none["change_low"], none["change_high"]) == (-1, 0) and none["change"] == pytest.approx(-1 / 3)
    assert (effect["effect_low"], effect["effect_high"]) == (-1, 1) and effect["effect"] == pytest.approx(1 / 3)


def test_shrinkage_alone_has_a_slope_in_probability_and_none_in_log_odds():
    """Symmetric noise of the log-odds, of which a clip lets 70 % through, at five priors and 4000 pairs."""
    rng, rows, start = np.random.default_rng(0), [], []
    setting = {"optimizer": "sgd", "learning_rate": 0.1}
    for model, prior in zip("abcde", (0.1, 0.3, 0.5, 0.65, 0.9), strict=True):
        odds, noise = math.log(prior / (1 - prior)), rng.normal(0, 0.6, 4000)
        start.append({**setting, "model": model, "code": prior, "entropy": 0.0, "accuracy": 0.5})
        rows += [
            {
                **setting,
                "model": model,
                "clip_mode": mode,
                "pair": pair,
                "entropy": 0.0,
                "accuracy": 0.5,
                "ess": 1.0,
                "code": 1 / (1 + math.exp(-odds - share * z)),
            }
            for mode, share in (("none", 1.0), ("two_sided", 0.7))
            for pair, z in enumerate(noise)
        ]
    table = dose_table(from_pairs(pd.DataFrame(rows), pd.DataFrame(start)))
    slope = table[table["statistic"] == "slope"].set_index(["quantity", "clip_mode"])
    assert slope.loc[("code", "two_sided"), "effect_low"] > 0  # what an amplification would give, from shrinkage
    logit = slope.loc[("code_logit", "two_sided")]
    assert logit["effect_low"] < 0 < logit["effect_high"] and logit["effect_high"] < 0.02
    tilts = table[(table["statistic"] == "tilt") & table["clip_mode"].eq("two_sided")]
    assert len(tilts) == 5 and tilts["shrinkage"].to_numpy() == pytest.approx(np.full(5, 0.7), abs=0.03)
    assert logit["p_holm"] == logit["p_value"] > 0.05 and logit["models_low"] < 0 < logit["models_high"]


def test_a_tiny_dose_response_from_beginning_to_end(runs_dir):
    config = DoseConfig(
        models="qwen-like",
        settings="sgd 1.0",
        clip_modes="none,two_sided",
        n_seeds=2,
        prompts_per_batch=2,
        group_size=4,
        updates_per_batch=4,
        rollout_batches=1,
        n_problems=8,
        n_samples=1,
        n_pairs=2,
        max_completion_tokens=32,
    )
    rows, folders = dose_response.run_rows(config)
    assert len(rows) == 4 and len(folders) == 1 + 2 * 4 and rows["code_before"].nunique() == 1
    again, _ = dose_response.run_rows(config)
    pd.testing.assert_frame_equal(rows, again)
    table = dose_response.write_runs(config, rows, folders, runs_dir / "out")
    found = table[(table["clip_mode"] == "two_sided") & (table["quantity"] == "code")].iloc[0]
    two, none = (
        rows[rows["clip_mode"] == mode].sort_values("seed")["code_after"].to_numpy() for mode in ("two_sided", "none")
    )
    assert found["effect"] == pytest.approx((two - none).mean())
    pairs = dose_response.run_pairs(config)
    dose_response.write_pairs(config, pairs, runs_dir / "out")
    for name in ("dose_response", "dose_counterfactual"):
        manifest = read_json(runs_dir / f"out/manifests/mechanism/{name}.json")
        assert manifest["runs"] and all(
            sha256_file(runs_dir / "out" / path) == digest for path, digest in manifest["files"].items()
        )
    assert {"looks", "checkpoint_sha", "probe_sha", "n_pairs"} <= set(manifest["runs"][0])
    table = runs_dir / "out/tables/mechanism/dose_counterfactual.csv"
    before = table.read_text()
    table.unlink()
    assert main(["dose", "--tables-only", "--out", str(runs_dir / "out")]) == 0
    again = read_json(runs_dir / "out/manifests/mechanism/dose_counterfactual.json")
    assert table.read_text() == before and again["runs"] == manifest["runs"] and again["files"] == manifest["files"]


def test_an_organism_that_is_not_built_is_named(runs_dir, capsys):
    assert main(["dose", "--models", "qwen-like-p30"]) == 2
    assert "has not been built" in capsys.readouterr().err
    assert main(["dose", "--models", "qwen-like-p31"]) == 2
    assert main(["dose", "--part", "all"]) == 2


# What is committed


@pytest.mark.parametrize("name", ["dose_response", "dose_counterfactual"])
def test_committed_tables_follow_from_the_committed_records(name):
    if not (RESULTS / f"manifests/mechanism/{name}.json").is_file():
        pytest.skip("not run yet")
    for path, digest in read_json(RESULTS / f"manifests/mechanism/{name}.json")["files"].items():
        assert sha256_file(RESULTS / path) == digest, path
    rows = pd.read_parquet(RESULTS / f"records/mechanism/{name}.parquet")
    if name == "dose_response":
        tidy = from_runs(rows, n_answers=600)
        assert (rows.groupby(["model", "optimizer", "clip_mode"])["seed"].nunique() >= 5).all()
    else:
        assert unpaired(rows) == []
        tidy = from_pairs(rows, pd.read_parquet(RESULTS / f"records/mechanism/{name}_checkpoints.parquet"))
    assert rows["model"].nunique() == 5
    table = pd.read_csv(RESULTS / f"tables/mechanism/{name}.csv")
    pd.testing.assert_frame_equal(dose_table(tidy), table, rtol=1e-4, atol=1e-9, check_dtype=False)
