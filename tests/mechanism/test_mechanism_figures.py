"""The figures of the counterfactual and the dose–response show the numbers of their tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spurious_rewards.reporting.mechanism_claims import mechanism_tables
from spurious_rewards.reporting.mechanism_figures import (
    clipped_by_probability,
    counterfactual_figures,
    dose_figures,
    dose_response,
    effects_by_setting,
    share_by_prior,
)

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture
def effects():
    rows = []
    for optimizer, steps in (("adamw", (1e-4, 3e-4, 1e-3)), ("sgd", (0.1, 0.3, 1.0))):
        for i, step in enumerate(steps):
            for mode in ("none", "two_sided"):
                for name in ("entropy", "code", "top1", "kl", *(f"move_bin{b}" for b in range(5))):
                    effect = np.nan if mode == "none" else float(i)
                    rows.append(
                        {
                            "optimizer": optimizer,
                            "learning_rate": step,
                            "clip_mode": mode,
                            "quantity": name,
                            "n_pairs": 200 + 50 * i,
                            "change": 1.0,
                            "change_low": 0.5,
                            "change_high": 2.0,
                            "effect": effect,
                            "effect_low": effect - 1,
                            "effect_high": effect + 2,
                        }
                    )
    return pd.DataFrame(rows)


def test_counterfactual_figures(effects):
    figures = counterfactual_figures(effects)
    assert {"counterfactual_entropy", "counterfactual_movement_sgd", "counterfactual_movement_adamw"} <= set(figures)
    entropy = figures["counterfactual_entropy"]
    assert [trace.name for trace in entropy.data] == ["with clip", "with clip"]  # one per optimizer, `none` not
    sgd = entropy.data[1]
    assert list(sgd.x) == ["0.1", "0.3", "1"] and list(sgd.y) == [0, 1, 2]
    assert list(sgd.error_y.array) == [2, 2, 2] and list(sgd.error_y.arrayminus) == [1, 1, 1]
    assert "200 to 300 pairs" in entropy.layout.title.text
    movement = figures["counterfactual_movement_sgd"]
    assert "SGD, step size 0.3" in movement.layout.title.text  # the middle of the map
    assert [trace.name for trace in movement.data] == ["without clip", "with clip", "with clip"]
    assert list(movement.data[0].x)[-1] == "0.83–1"


def test_dose_figures():
    table = pd.DataFrame(
        [
            {
                "optimizer": "sgd",
                "learning_rate": 0.3,
                "quantity": name,
                "clip_mode": "two_sided",
                "statistic": kind,
                "model": "m",
                "prior": prior,
                "n": 5,
                "effect": prior,
                "effect_low": 0.0,
                "effect_high": 1.0,
            }
            for name in ("code_logit", "accuracy")
            for kind, prior in (("prior", 0.1), ("prior", 0.9), ("slope", np.nan))
        ]
    )
    figure = dose_response(table, "code_logit", "seeds")
    assert list(figure.data[0].x) == [10, 90] and list(figure.data[0].y) == [0.1, 0.9]
    assert figure.layout.yaxis.title.text == "mode − without clip, log-odds" and "5 seeds" in figure.layout.title.text
    accuracy = dose_response(table, "accuracy", "seeds")
    assert list(accuracy.data[0].y) == [10, 90] and accuracy.layout.yaxis.title.text.endswith("points")
    assert set(dose_figures(table, None)) == {"dose_runs_code_logit", "dose_runs_accuracy"}
    assert set(dose_figures(None, table)) == {"dose_pairs_code_logit"} and dose_figures(None, None) == {}


def test_figures_leave_out_what_is_not_reliable(effects):
    effects["reliable"] = [False if step == 1.0 else True for step in effects["learning_rate"]]
    effects["effect_low"], effects["effect_high"] = effects["effect"] - 3, effects["effect"] + 3
    sgd = effects_by_setting(effects, "entropy").data[1]
    assert list(sgd.x) == ["0.1", "0.3"] and list(sgd.error_y.array) == [3, 3]


def test_bandit_figures_of_prior_and_bins():
    tables = mechanism_tables(RESULTS)
    prior = share_by_prior(tables["bandit_map"])
    flat = next(trace for trace in prior.data if trace.name == "with clip")
    assert dict(zip(flat.x, flat.y, strict=True))["flat"] == pytest.approx(22.7, abs=0.1)
    bins = clipped_by_probability(tables["bandit_bins"], "sgd")
    high, low = (trace for trace in bins.data if trace.name == "with clip")
    cells = tables["bandit_bins"].query("optimizer == 'sgd' and clip_mode == 'two_sided'")
    assert list(high.y) == pytest.approx((100 * cells["clipped_high"]).tolist())
    assert list(low.y) == pytest.approx((100 * cells["clipped_low"]).tolist())
    assert list(high.error_y.array) == pytest.approx(
        (100 * (cells["clipped_high_high"] - cells["clipped_high"])).tolist()
    )
