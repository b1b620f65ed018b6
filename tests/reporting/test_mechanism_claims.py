"""Findings from the mechanism's tables: verdicts follow the intervals of the settings fixed beforehand."""

from pathlib import Path

import pandas as pd
import pytest

from spurious_rewards.reporting.mechanism_claims import joint, mechanism_findings, mechanism_tables

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


@pytest.mark.parametrize(
    "found, verdict",
    [
        ({"adamw 0.001": (0.01, 0.02), "sgd 0.1": (0.3, -0.8)}, "supported"),
        ({"adamw 0.001": (0.01, 0.06), "sgd 0.1": (0.3, -0.8)}, "undecided"),  # less lost, no tilt
        ({"adamw 0.001": (0.01, 0.02), "sgd 0.1": (0.3, -0.01)}, "undecided"),  # another setting says the opposite
        ({"adamw 0.001": (-0.01, -0.02), "sgd 0.1": (0.3, -0.8)}, "contradicted"),
    ],
)
def test_counterfactual_verdict(found, verdict):
    (finding,) = mechanism_findings({"counterfactual": effects(found)})["C4"]
    assert finding["verdict"] == verdict
    assert "adamw 0.001: -0.0500 without, -0.0100 with the clip, log-odds" in finding["measured"]
    assert "sgd 0.1" in finding["measured"] and "200" in finding["scale"]
    assert "[+0.050, +0.350]" in finding["measured"] or "[-0.350, -0.050]" in finding["measured"]


@pytest.mark.parametrize(
    "p_holm, verdict",
    [
        ((0.01, 0.3), "supported"),
        ((-0.01, 0.3), "contradicted"),
        ((0.01, -0.01), "undecided"),
        ((0.3, 0.3), "undecided"),
    ],
)
def test_antithetic_pairs_judge_by_what_is_resolved(p_holm, verdict):
    rows = []
    for step, signed in zip((1e-4, 3e-4), p_holm, strict=True):
        shared = {
            "model": "one-token",
            "optimizer": "adamw",
            "learning_rate": step,
            "n_pairs": 40,
            "quantity": "code_logit",
        }
        rows.append({**shared, "clip_mode": "none", "change": 0.01, "change_low": 0.0, "change_high": 0.02})
        effect = 0.2 if signed > 0 else -0.2
        rows.append(
            {
                **shared,
                "clip_mode": "two_sided",
                "effect": effect,
                "effect_low": effect - 0.1,
                "effect_high": effect + 0.1,
                "p_holm": abs(signed),
                "reliable": True,
            }
        )
    (finding,) = mechanism_findings({"antithetic": pd.DataFrame(rows)})["C4"]
    assert finding["verdict"] == verdict and "40 antithetic pairs" in finding["scale"]
    assert "without a clip +0.0100 [+0.0000, +0.0200]" in finding["measured"]


def test_what_cannot_be_measured_decides_nothing():
    (finding,) = mechanism_findings({"counterfactual": effects({"sgd 1": (0.01, 0.01)}, reliable=False)})["C4"]
    assert finding["verdict"] == "undecided" and "not measurable at sgd 1" in finding["measured"]


@pytest.mark.parametrize("p_holm, verdict", [(0.01, "contradicted"), (0.2, "undecided")])
def test_slope_of_the_dose_decides(p_holm, verdict):
    rows = [
        {
            "optimizer": optimizer,
            "learning_rate": step,
            "clip_mode": "two_sided",
            "statistic": statistic,
            "quantity": quantity,
            "n": 60,
            "effect": effect,
            "effect_low": effect - 0.01,
            "effect_high": effect + 0.01,
            "p_holm": p,
        }
        for optimizer, step, slope, p in (("adamw", 3e-4, 0.001, 1.0), ("sgd", 0.3, -0.05, p_holm))
        for quantity, sign in (("code_logit", 1), ("code", -1))
        for statistic, effect in (("slope", sign * slope), ("at_even_odds", 0.2))
    ]
    (finding,) = mechanism_findings({"dose_counterfactual": pd.DataFrame(rows)})["C4"]
    assert finding["verdict"] == verdict  # the slope in log-odds of SGD, not the one in probability or at even odds
    assert "60 pairs per prior" in finding["scale"] and "-0.0500" in finding["measured"]


def test_bandit_needs_every_prior_and_c9_both_whitenings():
    table = mechanism_tables(RESULTS)["bandit_map"]
    found = mechanism_findings({"bandit_map": table})
    assert found["C4"][0]["verdict"] == "undecided" and "23 % (flat)" in found["C4"][0]["measured"]
    assert found["C9"][0]["verdict"] == "undecided"
    assert "released whitening off" in found["C9"][0]["measured"] and "(on)" in found["C9"][0]["measured"]
    no_flat = table[~table["prior"].isin(["flat", "zipf"])]
    assert mechanism_findings({"bandit_map": no_flat})["C4"][0]["verdict"] == "supported"


def test_nothing_without_tables(tmp_path):
    assert mechanism_tables(tmp_path) == {} and mechanism_findings({}) == {}
    assert joint([]) == "undecided"
