"""Tables from hand-made records, with the arithmetic."""

import dataclasses

import pandas as pd
import pytest
from scipy import stats

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.statistics import wilson
from spurious_rewards.reporting.arms import BASE
from spurious_rewards.reporting.claims import claims_table
from spurious_rewards.reporting.report import all_tables
from spurious_rewards.reporting.tables import arms, clip_activity, clip_effect, first_updates


def test_arms(records):
    table = arms(records).set_index("arm")
    assert table.index.tolist() == [BASE, "random γ=0.5, two_sided", "random γ=0.5, none"]
    # base 2/4; clip (3 + 4)/8; none (1 + 2)/8
    assert table["accuracy"].tolist() == [0.5, 0.875, 0.375]
    assert table["accuracy_change"].iloc[1:].tolist() == [0.375, -0.125]
    assert table["code"].tolist() == [0.75, 1.0, 0.625]
    assert (table["n_seeds"].tolist(), table["n_problems"].unique().tolist()) == ([0, 2, 2], [4])
    assert (table["accuracy_low"] <= table["accuracy"]).all() and (table["accuracy"] <= table["accuracy_high"]).all()
    # language answers of `none`: problems 2, 3 of seed 0 (0 right), problem 3 of seed 1 (0 right); code: 3 of 5
    assert table.loc["random γ=0.5, none", ["accuracy_code", "accuracy_language"]].tolist() == [0.6, 0.0]


def test_limits_of_tokens_that_follow_the_benchmark_are_no_column(records):
    other = records.samples.assign(benchmark="math500", max_new_tokens=256, run_id="other-" + records.samples["run_id"])
    both = dataclasses.replace(records, samples=pd.concat([records.samples, other], ignore_index=True))
    table = arms(both)
    assert len(table) == 6 and "max_new_tokens" not in table
    longer = dataclasses.replace(both, samples=both.samples.assign(benchmark="synthetic_test"))
    assert len(arms(longer)) == 6 and sorted(arms(longer)["max_new_tokens"].unique()) == [64, 256]


def test_limits_where_answers_do_not_vary(records):
    base = arms(records).set_index("arm").loc[BASE]
    expected = wilson(2, 4)  # one verdict per problem of one model
    assert (base["accuracy_low"], base["accuracy_high"]) == (expected.low, expected.high)
    # all 4 problems in code in both seeds: Wilson over problems, 4/4 → [1/(1 + 1.96²/4), 1] = [0.510, 1]
    code = arms(records).set_index("arm").loc["random γ=0.5, two_sided"]
    assert (code["code_low"], code["code_high"]) == (pytest.approx(1 / (1 + 1.959964**2 / 4)), 1.0)


def test_a_base_model_on_other_problems_is_refused(records):
    base = records.samples["trained_run"] == ""
    shuffled = records.samples.assign(
        problem_id=records.samples["problem_id"].where(~base, "other-" + records.samples["problem_id"])
    )
    with pytest.raises(InputError, match="4 problems after training and on 4 before, which are not the same"):
        arms(dataclasses.replace(records, samples=shuffled))


def test_two_evaluations_of_one_cell_are_not_pooled(records):
    again = records.samples[records.samples["trained_run"] == ""].assign(run_id="eval-other-batch-size")
    with pytest.raises(InputError, match="would be counted twice: eval- and eval-other-batch-size"):
        arms(dataclasses.replace(records, samples=pd.concat([records.samples, again], ignore_index=True)))


def test_labels_are_an_arm_column_only_where_they_vary_by_themselves(records):
    runs = pd.concat(
        [
            records.runs,
            records.runs.assign(run_id="m-" + records.runs["run_id"], reward="majority_vote", labels="labels-x"),
        ],
        ignore_index=True,
    )
    both = dataclasses.replace(records, runs=runs)
    assert both.arm_columns() == ["reward", "clip_mode"]
    assert "labels" in dataclasses.replace(records, runs=runs.assign(reward="majority_vote")).arm_columns()


def test_clip_effect_is_paired_by_seed_and_problem(records):
    (row,) = clip_effect(records).to_dict("records")
    # accuracy: seed 0: 3/4 − 1/4 = 0.5, seed 1: 4/4 − 2/4 = 0.5; code: 4/4 − 2/4 = 0.5 and 4/4 − 3/4 = 0.25
    assert row["accuracy_difference"] == 0.5 and row["accuracy_difference_per_seed"] == "+0.5000 +0.5000"
    assert row["code_difference"] == 0.375
    # per problem, code: seed 0 0 0 1 1, seed 1 0 0 0 1. R = .25²/2 = .03125; columns 0 0 .5 1, C = .6875/3 = .229167;
    # residuals ±.125 ±.125 ∓.375 ±.125: squares 8/64 + … = 2(3/64 + 9/64) = .375 → E = .375/3 = .125
    # variance .03125/2 + .229167/4 − .125/8 = .0572917, no less than C/P: the same
    # df = .0572917² / (.015625²/1 + .0572917²/3 + .015625²/3) = .00328234/.00141962 = 2.31212
    half = stats.t.ppf(0.975, 2.31212) * 0.0572917**0.5
    assert row["code_difference_low"] == pytest.approx(0.375 - half, abs=1e-3) and row["n_problems"] == 4
    assert row["code_difference_high"] == 1, "0.375 + 0.907, cut to what a difference of shares can be"
    assert (row["n_seeds"], row["seeds"], row["clip_mode"]) == (2, "0 1", "two_sided")


def test_clip_activity_and_control(records):
    activity = clip_activity(records).set_index("arm")
    assert activity["clip_fraction_update_1_max"].tolist() == [0, 0]
    assert activity["clip_fraction_later_mean"].tolist() == [0.02, 0]
    assert activity["code_frequency_first"].tolist() == [0.5, 0.5]
    assert activity["code_frequency_last"].tolist() == pytest.approx([0.7, 0.7])
    moved = records.metrics.copy()  # it falls by 0.02; plus 0.12 with one seed, 0.32 with the other: 0.2 ± t · 0.1
    for run_id, change in (("clip-0", 0.12), ("clip-1", 0.32)):
        own = moved["run_id"].eq(run_id) & moved["rollout_batch"].gt(0)
        moved.loc[own, "entropy"] += change
    change, same = clip_activity(dataclasses.replace(records, metrics=moved)).to_dict("records")
    assert change["entropy_change"] == pytest.approx(0.2) and same["entropy_change"] == pytest.approx(-0.02)
    assert change["entropy_change_high"] == pytest.approx(0.2 + stats.t.ppf(0.975, 1) * 0.1)
    control = first_updates(records)
    assert control["equal"].all() and control["losses"].iloc[0] == f"{(0.125).hex()} {(0.125).hex()}"
    changed = records.metrics.copy()
    changed.loc[(changed["run_id"] == "none-1") & (changed["update"] == 1), "surrogate_loss"] += 1e-12
    assert first_updates(dataclasses.replace(records, metrics=changed))["equal"].tolist() == [True, False]
    alone = dataclasses.replace(records, runs=records.runs[records.runs["run_id"] != "none-1"])
    assert first_updates(alone)["seed"].tolist() == [0], "seed 1 has one clip mode: nothing to compare"
    on_a_gpu = records.manifests | {"none-1": records.manifests["none-1"] | {"hardware": {"gpus": ["a card"]}}}
    assert first_updates(dataclasses.replace(records, manifests=on_a_gpu))["seed"].tolist() == [0]
    cispo = records.runs.assign(clip_mode=records.runs["clip_mode"].replace("none", "cispo"))
    assert first_updates(dataclasses.replace(records, runs=cispo)).empty


def test_claims_follow_from_the_records(records):
    table = claims_table([records]).set_index("claim")
    assert len(table) == 12, "eleven claims, and what happens without the clip"
    # base 0.5, random + clip 0.875: +37.5 points
    assert table.loc["C1", "measured"].startswith("accuracy: random reward +37.5 [")
    assert (table.loc["C4", "verdict"] == "undecided").all(), "two seeds"
    assert table.loc["C5", "measured"].startswith("code: random reward +25.0 [")
    assert table.loc["C6", "verdict"] == "undecided", "three code and one language answers are too few"
    assert (table.loc[["C2", "C3", "C7", "C9", "C10", "C11"], "verdict"] == "not run").all()


def test_a_profile_without_training_has_the_base_model_only(records):
    base = dataclasses.replace(
        records,
        runs=records.runs.iloc[:0],
        metrics=pd.DataFrame(),
        samples=records.samples[records.samples["trained_run"] == ""],
    )
    tables = all_tables(base)
    assert list(tables) == ["arms", "strategies"]
    assert tables["arms"]["arm"].tolist() == tables["strategies"]["arm"].tolist() == [BASE]
