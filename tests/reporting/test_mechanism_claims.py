"""Findings from the mechanism's tables: verdicts follow the intervals of the settings fixed beforehand."""

from pathlib import Path

import pandas as pd
import pytest

from spurious_rewards.reporting.mechanism_claims import mechanism_findings, mechanism_tables

RESULTS = Path(__file__).parents[2] / "results"


def effects(found: dict[str, tuple[float, float]], reliable: bool = True) -> pd.DataFrame:
    """A counterfactual with these adjusted p-values, signed like the effects, of log-odds and tilt at each setting."""
    rows = []
    for setting, values in found.items():
        optimizer, step = setting.split()
        shared = {"model": "qwen-like", "optimizer": optimizer, "learning_rate": float(step), "n_pairs": 200}
        for mode in ("none", "two_sided", "high_only"):
            rows.append(
                {**shared, "clip_mode": mode, "quantity": "code_exact", "change": -0.05 if mode == "none" else -0.01}
            )
        for name, signed in zip(("code_logit", "code_tilt"), values, strict=True):
            sign = 1 if signed > 0 else -1
            rows.append(
                {
                    **shared,
                    "clip_mode": "two_sided",
                    "quantity": name,
                    "effect": 0.2 * sign,
                    "reliable": reliable,
                    "effect_low": 0.2 * sign - 0.15,
                    "effect_high": 0.2 * sign + 0.15,
                    "p_holm": abs(signed),
                }
            )
    return pd.DataFrame(rows)


def findings(tables):
    return pd.DataFrame(mechanism_findings(tables))


@pytest.mark.parametrize(
    "logit, tilt, verdict",
    [
        (0.01, 0.02, "supported"),
        (-0.01, -0.02, "contradicted"),
        (0.01, 0.06, "undecided"),  # less lost, no tilt
        (0.01, -0.02, "undecided"),  # less lost, tilted the other way
        (0.3, 0.02, "undecided"),
    ],
)
def test_one_rollout_batch(logit, tilt, verdict):
    rows = findings({"counterfactual": effects({"adamw 0.001": (logit, tilt), "sgd 0.1": (0.3, -0.8)})})
    assert rows["scale"].tolist() == [
        "one rollout batch, qwen-like, adamw 0.001",
        "one rollout batch, qwen-like, sgd 0.1",
    ]
    assert rows["verdict"].tolist() == [verdict, "undecided"] and set(rows["n"]) == {"200 pairs"}
    sign = 1 if logit > 0 else -1
    assert rows["estimate"].iloc[0] == 0.2 * sign and rows["low"].iloc[0] == pytest.approx(0.2 * sign - 0.15)
    assert "of which tilt" in rows["measured"].iloc[0]


def test_what_cannot_be_measured_decides_nothing():
    (row,) = mechanism_findings({"counterfactual": effects({"sgd 1": (0.01, 0.01)}, reliable=False)})
    assert row["verdict"] == "undecided" and "too uneven" in row["why"]


@pytest.mark.parametrize("p_holm, verdict", [(0.01, "contradicted"), (0.2, "undecided")])
def test_slope_of_the_dose(p_holm, verdict):
    rows = [
        {
            "optimizer": "sgd",
            "learning_rate": 0.3,
            "clip_mode": mode,
            "statistic": statistic,
            "quantity": quantity,
            "n": 60,
            "effect": effect,
            "effect_low": effect - 0.01,
            "effect_high": effect + 0.01,
            "p_holm": p_holm,
        }
        for mode in ("two_sided", "high_only")
        for quantity, sign in (("code_logit", 1), ("code", -1))
        for statistic, effect in (("slope", sign * -0.05), ("at_even_odds", 0.2))
    ]
    # the slope in log-odds of the two-sided clip, not the one in probability or at even odds
    (row,) = mechanism_findings({"dose_counterfactual": pd.DataFrame(rows)})
    assert (row["verdict"], row["estimate"], row["n"]) == (verdict, -0.05, "60 pairs")


def test_the_committed_bandit_speaks_at_every_step_size_and_prior():
    rows = findings({"bandit_map": mechanism_tables(RESULTS)["bandit_map"]}).set_index("scale")
    assert rows.loc["bandit, sgd 2, two arms", "verdict"] == "supported"
    assert rows.loc["bandit, sgd 2, flat prior", "verdict"] == "supported"
    assert rows.loc["bandit, adamw 0.01, two arms", "verdict"] == "undecided" and len(rows) == 18
    rare = rows[rows["claim"] == "C9"]
    assert len(rare) == 2 and (rare["verdict"] == "undecided").all()


def test_committed_findings_are_short():
    rows = findings(mechanism_tables(RESULTS))
    assert rows["measured"].str.split().str.len().max() <= 30 and rows["why"].str.split().str.len().max() <= 30


def test_nothing_without_tables(tmp_path):
    assert mechanism_tables(tmp_path) == {} and list(mechanism_findings({})) == []
