"""The drift of one rollout batch beside the change over a run."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from spurious_rewards.reporting.drift_in_training import drift_in_training


def runs_of(records, shares):
    """Records of runs: (clip mode, seed) → share of code of the first and of the last ten of thirty rollout batches."""
    runs, metrics = [], []
    for (mode, seed), (first, last) in shares.items():
        run_id = f"{mode}-{seed}"
        runs.append(
            {"run_id": run_id, "model": "qwen-like", "reward": "random", "gamma": 0.5, "clip_mode": mode, "seed": seed,
             "learning_rate": 3e-5, "updates_per_batch": 8}
        )  # fmt: skip
        for batch in range(30):
            share = first if batch < 10 else last if batch >= 20 else 0.5
            metrics.append({"run_id": run_id, "rollout_batch": batch, "update_in_batch": 1, "code_frequency": share})
            metrics.append({"run_id": run_id, "rollout_batch": batch, "update_in_batch": 8, "code_frequency": None})
    return replace(records, runs=pd.DataFrame(runs), metrics=pd.DataFrame(metrics))


def drift(**values):
    values["none, in all"] = values.pop("none")
    rows = [
        {"model": "qwen-like", "optimizer": "adamw", "learning_rate": 3e-5, "n_pairs": 20, "quantity": quantity,
         "part": part, "value": value, "value_low": value - 0.001, "value_high": value + 0.001}
        for quantity in ("code", "code_logit")
        for part, value in values.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_run_is_predicted_by_its_length_and_measured_between_its_ends(records):
    shares = {
        ("none", 0): (0.5, 0.6),
        ("none", 1): (0.5, 0.8),
        ("two_sided", 0): (0.5, 0.5),
        ("two_sided", 1): (0.6, 0.7),
    }
    table = drift_in_training(drift(none=0.01, two_sided=-0.002, noise=0.03), [runs_of(records, shares)]).set_index(
        "part"
    )
    assert list(table.index) == ["without clip", "added by the clip", "spread, without clip", "spread, with clip"]
    # thirty rollout batches, ends of ten each: their middles lie twenty apart
    # a random walk spreads by √(20 − 99/30) of its steps
    wandered = (20 - 99 / 30) ** 0.5
    assert table["predicted"].tolist() == pytest.approx([20 * 0.01, 20 * -0.002, 0.03 * wandered, 0.03 * wandered])
    assert table["predicted_low"].tolist() == pytest.approx([0.18, -0.06, 0.029 * wandered, 0.029 * wandered])
    # without clip +0.1 and +0.3; with clip 0 and +0.1, so the clip adds −0.1 and −0.2
    # standard deviations of (0.1, 0.3) and (0, 0.1): 0.2/√2 and 0.1/√2
    assert table["measured"].tolist() == pytest.approx([0.2, -0.15, 0.2 / 2**0.5, 0.1 / 2**0.5])
    assert table["n_seeds"].tolist() == [2] * 4 and table["n_pairs"].tolist() == [20] * 4


def test_only_runs_that_are_else_as_by_default_count(records):
    """Runs with advantages of one sign are no runs of the ablation."""
    shares = {(mode, seed): (0.5, 0.6 + seed / 10) for mode in ("none", "two_sided") for seed in (0, 1)}
    plain = runs_of(records, shares)
    signed = replace(
        plain,
        runs=pd.concat([
            plain.runs.assign(advantage_sign="both"),
            plain.runs.assign(advantage_sign="negative", run_id="signed-" + plain.runs["run_id"]),
        ]),
        metrics=pd.concat([
            plain.metrics,
            plain.metrics.assign(run_id="signed-" + plain.metrics["run_id"], code_frequency=0.9),
        ]),
    )  # fmt: skip
    pairs = drift(none=0.01, two_sided=-0.002, noise=0.03)
    pd.testing.assert_frame_equal(drift_in_training(pairs, [signed]), drift_in_training(pairs, [plain]))


def test_a_random_walk_spreads_as_predicted():
    steps = np.random.default_rng(0).normal(size=(20_000, 30))
    walks = steps.cumsum(axis=1)
    ends = walks[:, 20:].mean(axis=1) - walks[:, :10].mean(axis=1)
    assert ends.var() == pytest.approx(20 - 99 / 30, rel=0.03)


def test_settings_that_lack_one_of_the_two_are_left_out(records):
    one_arm = runs_of(records, {("none", 0): (0.5, 0.6)})
    assert drift_in_training(drift(none=0.01, two_sided=0.0, noise=0.01), [one_arm]).empty
    both = runs_of(records, {("none", 0): (0.5, 0.6), ("two_sided", 0): (0.5, 0.6)})
    assert drift_in_training(drift(none=0.01, two_sided=0.0, noise=0.01).assign(learning_rate=1e-4), [both]).empty
