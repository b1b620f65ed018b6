"""Table 1's identity and Table 2 from Fig 7's counts, to the printed digit."""

from importlib import resources

import numpy as np
import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation import strategy_analysis as sa
from spurious_rewards.workflow.files import read_json

REFERENCE = resources.files("spurious_rewards.reporting") / "reference"


def paper_table():
    return pd.read_csv(REFERENCE / "paper_tables.csv")


def test_fig7_counts_reproduce_table_2_to_the_printed_digit():
    mean, gain = sa.mean_contributions(read_json(REFERENCE / "fig7_counts.json"))
    assert {d: f"{value:.1f}" for d, value in mean.items()} == {"CC": "11.6", "CL": "8.6", "LC": "58.3", "LL": "21.4"}
    assert f"{gain:.1f}" == "23.5"


def test_contributions_by_hand():
    # ground truth: correct 105+93+20+29 = 247 before, 119+125+56+91 = 391 after; gain 144 of 500 = 28.8 points
    # LC: (56 − 20)/144 = 25.0 %; CL: 32/144 = 22.2 %; frequency of CC 165/500 = 33 %
    table = sa.contributions(read_json(REFERENCE / "fig7_counts.json")["ground_truth"]).set_index("switch")
    assert table["gain"].sum() == pytest.approx(28.8)
    assert table.loc["LC", "contribution"] == pytest.approx(25.0)
    assert table.loc["CL", "contribution"] == pytest.approx(100 * 32 / 144)
    assert table.loc["CC", "frequency"] == pytest.approx(33.0)
    assert table["contribution"].sum() == pytest.approx(100)
    assert (table["n"].sum(), table.loc["LL", "accuracy_after"]) == (500, pytest.approx(100 * 91 / 103))


@pytest.mark.parametrize("model, consistent", [
    ("Qwen2.5-Math-7B", False), ("Qwen2.5-7B", True), ("Qwen2.5-Math-1.5B", True), ("OLMo2-7B-SFT", True)])
def test_table_1_identity_on_the_papers_rows(model, consistent):
    table = paper_table()
    rows = table[(table["model"] == model) & (table["benchmark"] == "MATH-500") & (table["condition"] == "base")]
    printed = rows.drop_duplicates("metric").set_index("metric")["value"].astype(float)
    check = sa.consistency(printed["code_frequency"], printed["accuracy_with_code"],
                           printed["accuracy_without_code"], printed["accuracy"])
    assert check.consistent is consistent
    if not consistent:  # (49.4 − .65 · 60.9)/.35 = 28.04; residual .65 · 60.9 + .35 · 35 − 49.4 = 2.435
        assert check.language_accuracy_implied == pytest.approx(28.04, abs=0.01)
        assert check.residual == pytest.approx(2.435)


def test_identity_holds_exactly_for_measured_counts_and_at_the_ends():
    # 3 of 4 code answers right, 1 of 6 language answers right: 40 %, 75 %, 16.67 %, overall 4/10
    assert sa.consistency(40, 75, 100 / 6, 40, rounding=0).consistent
    assert not sa.consistency(40, 75, 100 / 6, 40.1, rounding=0).consistent
    only_code = sa.consistency(100, 50, float("nan"), 50, rounding=0)
    assert only_code.consistent and np.isnan(only_code.language_accuracy_implied)
    assert sa.consistency(0, float("nan"), 50, 50, rounding=0).consistent


def frame(code, correct):
    return pd.DataFrame({"problem_id": [f"p{i}" for i in range(len(code))], "uses_code": np.array(code, bool),
                         "correct": np.array(correct, bool)})


def test_switches_from_records_align_by_problem():
    before = frame([1, 1, 0, 0, 0], [1, 0, 0, 0, 1])
    after = frame([1, 0, 1, 0, 1], [1, 1, 1, 0, 0]).sample(frac=1, random_state=0)
    table = sa.switches(before, after)
    assert table["switch"].tolist() == ["CC", "CL", "LC", "LL", "LC"]
    # LC: problems 2 (0 → 1) and 4 (1 → 0)
    assert sa.switch_counts(table) == {"CC": (1, 1, 1), "CL": (1, 0, 1), "LC": (2, 1, 1), "LL": (1, 0, 0)}
    shares = sa.contributions(sa.switch_counts(table)).set_index("switch")["contribution"]
    assert shares.tolist() == pytest.approx([0, 100, 0, 0])


def test_contribution_intervals_hold_the_estimates():
    rng = np.random.default_rng(0)
    before = frame(rng.random(300) < 0.6, rng.random(300) < 0.4)
    after = frame(rng.random(300) < 0.9, rng.random(300) < 0.8)
    table = sa.switches(before, after)
    shares = sa.contributions(sa.switch_counts(table)).set_index("switch")["contribution"]
    intervals = sa.contribution_intervals(table)
    for d in sa.SWITCHES:
        assert 100 * intervals[d].estimate == pytest.approx(shares[d])
        assert intervals[d].low < intervals[d].estimate < intervals[d].high
    assert intervals["gain"].estimate == pytest.approx(table["after"].mean() - table["before"].mean())


def test_a_zero_gain_has_no_contributions():
    counts = {"CC": (2, 1, 2), "CL": (1, 1, 0), "LC": (0, 0, 0), "LL": (1, 0, 0)}
    assert sa.contributions(counts)["contribution"].isna().all()


@pytest.mark.parametrize("call, message", [
    (lambda: sa.switches(frame([1], [1]), frame([1, 1], [1, 1])), "different problems"),
    (lambda: sa.switches(pd.concat([frame([1], [1])] * 2), frame([1], [1])), "several samples"),
    (lambda: sa.contributions({"CC": (1, 1, 1)}), "exactly the keys"),
    (lambda: sa.contributions({"CC": (1, 2, 1), "CL": (0, 0, 0), "LC": (0, 0, 0), "LL": (0, 0, 0)}), "cannot have 2"),
    (lambda: sa.mean_contributions({}), "there is none"),
])
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
