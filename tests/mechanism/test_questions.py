"""The table of questions: every question once per setting, signs by Holm's p, what cannot be measured is left open."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spurious_rewards.mechanism.questions import LIKELIER, code_rows, questions_table, trusted
from spurious_rewards.reporting.mechanism_claims import mechanism_tables

RESULTS = Path(__file__).parents[2] / "results"


def effects(p_holm=0.01, reliable=True, quantities=("code_logit", "code_tilt")):
    """A table of effects of +0.5 [0.3, 0.7] at one setting of AdamW; without the clip −0.05 [−0.06, −0.04]."""
    shared = {"model": "m", "optimizer": "adamw", "learning_rate": 3e-4, "n_pairs": 40}
    rows = [
        {
            **shared,
            "clip_mode": "none",
            "quantity": "code_logit",
            "change": -0.05,
            "change_low": -0.06,
            "change_high": -0.04,
        }
    ]
    rows += [
        {
            **shared,
            "clip_mode": mode,
            "quantity": name,
            "effect": 0.5,
            "effect_low": 0.3,
            "effect_high": 0.7,
            "p_holm": p_holm,
            "reliable": reliable,
        }
        for mode in ("two_sided", "high_only", "low_only")
        for name in quantities
    ]
    return pd.DataFrame(rows)


def test_one_row_per_question_setting_and_mode():
    one = questions_table({"counterfactual": effects()})
    assert one["question"].value_counts().to_dict() == {"clip on code": 3, "tilt towards code": 3}
    assert one[["setting", "n", "effect", "sign"]].iloc[0].tolist() == ["adamw 0.0003", 40, 0.5, 1]
    both = questions_table({"antithetic": effects(quantities=("code_logit",))})
    assert both["question"].value_counts().to_dict() == {
        "antithetic: clip on code": 3,
        "antithetic: drift without a clip": 1,
    }
    drift = both[both["question"].str.contains("drift")].iloc[0]
    # half width 0.01 of 40 pairs: t(0.975, 39) = 2.023, se = 0.00494, t = −10.1
    assert (drift["effect"], drift["sign"]) == (-0.05, -1) and drift["p_holm"] < 1e-10


def test_signs_follow_holm_and_what_is_not_reliable_stays_open():
    assert set(questions_table({"counterfactual": effects(p_holm=0.06)})["sign"]) == {0}
    assert questions_table({"counterfactual": effects(reliable=False)})["sign"].isna().all()
    assert trusted({"effect": 1.0}) and trusted({"reliable": np.nan})


def test_stand_ins_are_taken_where_the_tree_was_not_recorded():
    table = effects(quantities=("code_mean_logit", "code_mean_tilt"))
    logit, tilt = code_rows(table, "adamw", 3e-4, "two_sided")
    assert (logit["quantity"], tilt["quantity"]) == ("code_mean_logit", "code_mean_tilt")
    assert code_rows(table, "sgd", 0.1, "two_sided") == ({}, {})


def test_the_committed_tables_give_every_question():
    table = questions_table(mechanism_tables(RESULTS))
    bandit = table[table["model"] == "bandit"]
    assert set(bandit["question"]) == {LIKELIER, "rare rewards"}
    main = bandit[bandit["question"].eq(LIKELIER) & bandit["clip_mode"].eq("two_sided")].set_index("setting")
    # four step sizes of each optimizer with two arms, and each optimizer's base step at four other priors
    assert len(main) == 16 and main.loc["sgd 2, flat prior", "effect"] == pytest.approx(0.201, abs=1e-3)
    assert main.loc["adamw 0.01, two arms", "sign"] == 0, "the clip never acts"
    at = bandit[bandit["question"].eq("rare rewards")].set_index("setting")
    assert at.loc["sgd 2, γ 0.5, gamma", "sign"] == 1 and at.loc["sgd 2, γ 0.001, whitened", "sign"] == 0
    assert {"clip on code", "tilt towards code", "dose: slope, seeds", "dose: slope, pairs"} <= set(table["question"])
    assert (table["effect_low"] <= table["effect"]).all() and table["p_holm"].dropna().between(0, 1).all()


def test_the_committed_questions_follow_from_the_committed_tables():
    found = pd.read_csv(RESULTS / "tables/mechanism/questions.csv")
    again = questions_table(mechanism_tables(RESULTS))
    pd.testing.assert_frame_equal(found, again, check_dtype=False, rtol=1e-5, atol=1e-12)
