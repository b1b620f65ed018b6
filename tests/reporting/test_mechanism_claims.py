"""Findings from the mechanism's tables: verdicts follow the intervals of the settings fixed beforehand."""

import pandas as pd
import pytest

from spurious_rewards.evaluation.statistics import Interval
from spurious_rewards.reporting.mechanism_claims import joint, mechanism_findings, mechanism_tables, written


def effects(code: dict[str, tuple[float, float, float]]) -> pd.DataFrame:
    """A counterfactual with these effects on the code probability, and 0.01 nats of entropy everywhere."""
    rows = []
    for setting, values in code.items():
        optimizer, step = setting.split()
        for quantity, (effect, low, high) in (("code", values), ("entropy", (0.01, 0.005, 0.015))):
            for mode in ("two_sided", "high_only"):
                rows.append({"model": "qwen-like", "optimizer": optimizer, "learning_rate": float(step),
                             "clip_mode": mode, "quantity": quantity, "n_pairs": 200, "effect": effect,
                             "effect_low": low, "effect_high": high})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("adamw, sgd, verdict", [
    ((0.02, 0.01, 0.03), (0.05, 0.02, 0.08), "consistent"),
    ((0.00, -0.01, 0.01), (0.05, 0.02, 0.08), "consistent"),  # one setting decides, the other is silent
    ((-0.02, -0.03, -0.01), (0.05, 0.02, 0.08), "undecided"),  # they contradict each other
    ((-0.02, -0.03, -0.01), (0.0, -0.1, 0.1), "against"),
])
def test_counterfactual_verdict(adamw, sgd, verdict):
    table = effects({"adamw 0.0003": adamw, "sgd 0.3": sgd, "sgd 1.0": (9.0, 8.0, 10.0)})
    (finding,) = mechanism_findings({"counterfactual": table})["C4"]
    assert finding["verdict"] == verdict
    assert written(Interval(*adamw, 200)) in finding["measured"] and "+9.000" not in finding["measured"]
    assert "200" in finding["scale"]


def test_slope_of_the_dose_decides():
    rows = [{"optimizer": optimizer, "learning_rate": step, "clip_mode": "two_sided", "statistic": statistic,
             "quantity": "code", "n": 60, "effect": effect, "effect_low": effect - 0.01, "effect_high": effect + 0.01}
            for optimizer, step, slope in (("adamw", 3e-4, 0.001), ("sgd", 0.3, -0.05))
            for statistic, effect in (("slope", slope), ("at_even_odds", 0.2))]
    (finding,) = mechanism_findings({"dose_counterfactual": pd.DataFrame(rows)})["C4"]
    assert finding["verdict"] == "against"  # the slope of SGD, not the effect at even odds
    assert "60 pairs per prior" in finding["scale"] and "-0.0500" in finding["measured"]


def test_nothing_without_tables(tmp_path):
    assert mechanism_tables(tmp_path) == {} and mechanism_findings({}) == {}
    assert joint([]) == "undecided"
