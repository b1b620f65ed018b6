"""Table 1's identity and Table 2 from Fig 7's counts, to the printed digit."""

from importlib import resources

import numpy as np
import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation import strategy_analysis as sa
from spurious_rewards.evaluation.crossed import effect
from spurious_rewards.storage.files import read_json

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
    table = sa.switch_contributions(read_json(REFERENCE / "fig7_counts.json")["ground_truth"]).set_index("switch")
    assert table["gain"].sum() == pytest.approx(28.8)
    assert table.loc["LC", "contribution"] == pytest.approx(25.0)
    assert table.loc["CL", "contribution"] == pytest.approx(100 * 32 / 144)
    assert table.loc["CC", "frequency"] == pytest.approx(33.0)
    assert table["contribution"].sum() == pytest.approx(100)
    assert (table["n"].sum(), table.loc["LL", "accuracy_after"]) == (500, pytest.approx(100 * 91 / 103))


@pytest.mark.parametrize(
    "model, consistent",
    [("Qwen2.5-Math-7B", False), ("Qwen2.5-7B", True), ("Qwen2.5-Math-1.5B", True), ("OLMo2-7B-SFT", True)],
)
def test_table_1_identity_on_the_papers_rows(model, consistent):
    table = paper_table()
    rows = table[(table["model"] == model) & (table["benchmark"] == "MATH-500") & (table["condition"] == "base")]
    printed = rows.drop_duplicates("metric").set_index("metric")["value"].astype(float)
    check = sa.consistency(
        printed["code_frequency"], printed["accuracy_with_code"], printed["accuracy_without_code"], printed["accuracy"]
    )
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
    return pd.DataFrame(
        {
            "problem_id": [f"p{i}" for i in range(len(code))],
            "uses_code": np.array(code, bool),
            "correct": np.array(correct, bool),
        }
    )


def test_switches_from_records_align_by_problem():
    before = frame([1, 1, 0, 0, 0], [1, 0, 0, 0, 1])
    after = frame([1, 0, 1, 0, 1], [1, 1, 1, 0, 0]).sample(frac=1, random_state=0)
    table = sa.problem_switches(before, after)
    assert table["switch"].tolist() == ["CC", "CL", "LC", "LL", "LC"]
    # LC: problems 2 (0 → 1) and 4 (1 → 0)
    assert sa.switch_counts(table) == {"CC": (1, 1, 1), "CL": (1, 0, 1), "LC": (2, 1, 1), "LL": (1, 0, 0)}
    shares = sa.switch_contributions(sa.switch_counts(table)).set_index("switch")["contribution"]
    assert shares.tolist() == pytest.approx([0, 100, 0, 0])


def test_contribution_intervals_hold_the_estimates():
    rng = np.random.default_rng(0)
    before = frame(rng.random(300) < 0.6, rng.random(300) < 0.4)
    after = frame(rng.random(300) < 0.9, rng.random(300) < 0.8)
    table = sa.problem_switches(before, after)
    shares = sa.switch_contributions(sa.switch_counts(table)).set_index("switch")["contribution"]
    intervals = sa.contribution_intervals([[table]])
    for d in sa.SWITCHES:
        assert 100 * intervals[d].estimate == pytest.approx(shares[d])
        assert np.isinf([intervals[d].low, intervals[d].high]).all(), "one seed allows no interval"
    assert intervals["gain"].estimate == pytest.approx(table["after"].mean() - table["before"].mean())


def test_a_zero_gain_has_no_contributions():
    counts = {"CC": (2, 1, 2), "CL": (1, 1, 0), "LC": (0, 0, 0), "LL": (1, 0, 0)}
    assert sa.switch_contributions(counts)["contribution"].isna().all()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: sa.problem_switches(frame([1], [1]), frame([1, 1], [1, 1])), "different problems"),
        (lambda: sa.problem_switches(pd.concat([frame([1], [1])] * 2), frame([1], [1])), "several samples"),
        (lambda: sa.switch_contributions({"CC": (1, 1, 1)}), "exactly the keys"),
        (
            lambda: sa.switch_contributions({"CC": (1, 2, 1), "CL": (0, 0, 0), "LC": (0, 0, 0), "LL": (0, 0, 0)}),
            "cannot have 2",
        ),
        (lambda: sa.mean_contributions({}), "there is none"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()


# ------------------------------------------------------------------------------------------------ a row of Table 1


def detected(one, two, correct=None):
    return pd.DataFrame(
        {
            "problem_id": [f"p{i}" for i in range(len(one))],
            "uses_code": np.array(one, bool),
            "uses_code_structural": np.array(two, bool),
            "correct": np.array(correct or [0] * len(one), bool),
        }
    )


def test_kappa_by_hand_and_by_statsmodels():
    from statsmodels.stats.inter_rater import cohens_kappa

    # both 4, first only 1, second only 2, neither 3: p_o = 0.7, p_e = 0.5 · 0.6 + 0.5 · 0.4 = 0.5, kappa = 0.4
    figures = sa.strategy_figures(detected([1] * 5 + [0] * 5, [1] * 4 + [0] + [1] * 2 + [0] * 3))
    assert figures["kappa"] == pytest.approx(0.4) == cohens_kappa([[4, 1], [2, 3]]).kappa
    assert figures["detectors_agree"] == pytest.approx(0.7) and figures["code_structural"] == pytest.approx(0.6)
    assert figures["kappa_low"] < 0.4 < figures["kappa_high"]


def test_code_behind_the_answer_and_executed_code_are_counted_apart():
    records = detected([1, 1, 0, 0], [1, 1, 0, 0])
    assert "code_after_answer" not in sa.strategy_figures(records)
    records = records.assign(code_after_answer=[0, 0, 0, 1], code_with_output=[1, 1, 0, 0])
    figures = sa.strategy_figures(records)
    assert (figures["code_after_answer"], figures["code_with_output"]) == (0.25, 0.5)


def test_kappa_does_not_exist_for_detectors_that_always_say_the_same():
    figures = sa.strategy_figures(detected([1, 1, 1], [1, 1, 1]))
    assert np.isnan([figures["kappa"], figures["kappa_low"], figures["kappa_high"]]).all()
    assert np.isnan(figures["accuracy_language"]) and figures["identity_holds"]


def test_seeds_of_an_arm_are_one_cluster_per_problem():
    # 50 problems, half right; 4 equal copies of every answer must not narrow the limits
    one = detected([1] * 50, [1] * 50, [1, 0] * 25)
    four = pd.concat([one] * 4, ignore_index=True)
    figures = sa.strategy_figures(four)
    assert (figures["n_problems"], figures["n_answers"], figures["accuracy"]) == (50, 200, 0.5)
    # 2 · 1.96 · √(.25/50) = .277 over problems, .139 if the 200 answers were independent
    assert figures["accuracy_high"] - figures["accuracy_low"] == pytest.approx(0.277, abs=0.03)


# ------------------------------------------------------------------------------------------- Table 2 with intervals


def from_counts(counts):
    """A table of switches with these counts; problems are numbered switch by switch."""
    rows = [(d, i < before, i < after) for d in sa.SWITCHES for n, before, after in [counts[d]] for i in range(n)]
    return pd.DataFrame(rows, columns=["switch", "before", "after"], index=[f"p{i}" for i in range(len(rows))]).astype(
        {"before": int, "after": int}
    )


def test_intervals_of_table_2_hold_the_printed_means():
    tables = {reward: from_counts(counts) for reward, counts in read_json(REFERENCE / "fig7_counts.json").items()}
    intervals = sa.contribution_intervals([[table, table] for table in tables.values()])
    assert {d: f"{100 * intervals[d].estimate:.1f}" for d in sa.SWITCHES} == {
        "CC": "11.6",
        "CL": "8.6",
        "LC": "58.3",
        "LL": "21.4",
    }
    assert f"{100 * intervals['gain'].estimate:.1f}" == "23.5" and intervals["gain"].n == 2
    assert all(interval.low < interval.estimate < interval.high for interval in intervals.values())


def test_contributions_of_stacked_seeds():
    one = from_counts({"CC": (2, 1, 2), "CL": (0, 0, 0), "LC": (2, 0, 1), "LL": (1, 0, 0)})
    two = one.assign(after=one["before"])  # a second seed in which nothing changed
    intervals = sa.contribution_intervals([[one, two]])
    # gained 1 on CC and 1 on LC in ten pairs of five problems
    assert intervals["gain"].estimate == pytest.approx(0.2) and intervals["gain"].n == 2
    assert intervals["LC"].estimate == pytest.approx(0.5)
    # seed one: g = 1 0 1 0 0, on LC 0 0 1 0 0; seed two: none. Values 0.5 + (g_LC − 0.5 g)/0.2
    order = one.sort_index()
    gained = np.array([order["after"] - order["before"], np.zeros(5)])
    values = 0.5 + (np.where(order["switch"] == "LC", gained, 0) - 0.5 * gained) / 0.2
    assert sorted(values[0]) == [-2.0, 0.5, 0.5, 0.5, 3.0] and set(values[1]) == {0.5}
    assert intervals["LC"] == effect(values) and intervals["gain"] == effect(gained)


def test_an_arm_that_stood_still_has_no_contributions():
    one = from_counts({"CC": (2, 1, 2), "CL": (0, 0, 0), "LC": (0, 0, 0), "LL": (1, 0, 0)})
    still = sa.contribution_intervals([[one.assign(after=one["before"])] * 2])
    assert all(np.isnan(still[d].estimate) for d in sa.SWITCHES) and still["gain"].estimate == 0


def test_a_mean_needs_common_problems_and_a_gain():
    one = from_counts({"CC": (2, 1, 2), "CL": (0, 0, 0), "LC": (0, 0, 0), "LL": (1, 0, 0)})
    with pytest.raises(InputError, match="same problems"):
        sa.contribution_intervals([[one], [one.iloc[:2]]])
    with pytest.raises(InputError, match="same problems"):
        sa.contribution_intervals([])
    with pytest.raises(InputError, match="without any gain"):
        sa.contribution_intervals([[one.assign(after=one["before"])], [one]])
