"""Collect what the mechanism's tables answer: one row per question and setting, with effect, interval and p.

Questions, and what an effect is a difference of:

    bandit: clip on the likelier arm        log-odds of the likeliest arm, clip − no clip of the same seed, after 100
                                            batches, at every step size of both optimizers and at every prior
    rare rewards                            the same at γ = 0.001 and 0.5, with and without second whitening, SGD
    clip on code                            log-odds of code after one rollout batch, clip − no clip, one sign
    tilt towards code                       the same where no clip makes no change (see `tilt`)
    antithetic: clip on code                log-odds of code after one rollout batch, clip − no clip, both signs
    antithetic: drift without a clip        change of the log-odds of code without any clip, both signs
    dose: slope                             effect on the log-odds of code per unit of the prior's log-odds

Holm's adjustment is within a question of the bandit; language rows carry that of their own table. `sign` is the sign of
a resolved effect (p_holm below 0.05), 0 if it is not resolved, and empty where code cannot be measured.

Usage: `questions_table({"bandit_map": bandit, "antithetic": antithetic})`
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from spurious_rewards.evaluation.significance import holm
from spurious_rewards.evaluation.statistics import Interval
from spurious_rewards.mechanism.effects import CODE_FAMILY, SETTING, STAND_INS, p_of_width
from spurious_rewards.mechanism.sweeps import MAIN_MODES
from spurious_rewards.training.clip import MODES

Row = Mapping[str, Any]
SIGNIFICANCE = 0.05
LIKELIER = "bandit: clip on the likelier arm"
COLUMNS = "question model setting clip_mode unit n effect effect_low effect_high p_holm sign".split()


def questions_table(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Compute the table of the module's docstring from those of the mechanism's tables that are there.

    Args:
        tables: name of a table in results/tables/mechanism → the table.
    """
    rows: list[dict[str, Any]] = []
    if "bandit_map" in tables:
        rows += _of_bandit(tables["bandit_map"])
    for name in ("counterfactual", "antithetic"):
        if name in tables:
            rows += _of_pairs(tables[name], antithetic=name == "antithetic")
    for name, unit in (("dose_response", "seeds"), ("dose_counterfactual", "pairs")):
        if name in tables:
            rows += _of_doses(tables[name], unit)
    return pd.DataFrame([{**dict.fromkeys(COLUMNS), **row} for row in rows], columns=COLUMNS)


def trusted(row: Row) -> bool:
    """Tell whether a row is not marked as unreliable."""
    return row.get("reliable") is None or pd.isna(row["reliable"]) or bool(row["reliable"])


def row_of(table: pd.DataFrame, optimizer: str, step: float, mode: str, quantity: str) -> Row:
    """Find the row of one setting, clip mode and quantity; an empty mapping if there is none."""
    keep = (table["optimizer"] == optimizer) & ((table["learning_rate"] - step).abs() < 1e-9)
    keep &= (table["clip_mode"] == mode) & (table["quantity"] == quantity)
    return table[keep].iloc[0].to_dict() if keep.any() else {}


def code_rows(table: pd.DataFrame, optimizer: str, step: float, mode: str) -> tuple[Row, Row]:
    """Find (effect on the code log-odds, tilt): per problem where recorded, else of the pair's probability."""
    for names in (CODE_FAMILY, STAND_INS):
        effect, tilt = (row_of(table, optimizer, step, mode, name) for name in names)
        if effect and tilt:
            return effect, tilt
    return {}, {}


def _of_bandit(table: pd.DataFrame) -> list[dict[str, Any]]:
    table = table[table["clip_mode"].isin(MAIN_MODES) & table["paired_logit_change"].notna()]
    main = table[(table["sweep"] == "step") | ((table["sweep"] == "prior") & (table["prior"] != "two_arms"))]
    rare = table[table["optimizer"].eq("sgd") & table["sweep"].isin(["gamma", "whitened"])]
    rare = rare[rare["gamma"].isin([0.001, 0.5])]
    rows: list[dict[str, Any]] = []
    for question, cells in ((LIKELIER, main), ("rare rewards", rare)):
        at = cells.to_dict("records")
        effects = [Interval.from_row(row, "paired_logit_change", row["n_seeds"]) for row in at]
        adjusted = holm(np.nan_to_num([p_of_width(effect) for effect in effects], nan=1.0)) if at else []
        for row, effect, p in zip(at, effects, adjusted, strict=True):
            prior = str(row["prior"]).replace("_", " ") + ("" if row["prior"] == "two_arms" else " prior")
            named = f"γ {row['gamma']:g}, {row['sweep']}" if question == "rare rewards" else prior
            setting = {"model": "bandit", "setting": f"{row['optimizer']} {row['step_size']:g}, {named}"}
            shared = {"question": question, **setting, "clip_mode": row["clip_mode"], "unit": "log-odds"}
            rows.append(shared | _numbers(effect, p))
    return rows


def _of_pairs(table: pd.DataFrame, antithetic: bool) -> list[dict[str, Any]]:
    rows = []
    for (model, optimizer, step), cells in table.groupby(list(SETTING), sort=False):
        setting = {"model": model, "setting": f"{optimizer} {step:g}", "unit": "log-odds"}
        if antithetic and (none := row_of(cells, optimizer, step, "none", "code_logit")):
            drift = Interval.from_row(none, "change", none["n_pairs"])
            row = {"question": "antithetic: drift without a clip", **setting, "clip_mode": "none"}
            rows.append(row | _numbers(drift, p_of_width(drift)))
        for mode in (mode for mode in MAIN_MODES if MODES[mode].clips):
            logit, tilt = code_rows(cells, optimizer, step, mode)
            if antithetic:
                logit = row_of(cells, optimizer, step, mode, "code_logit")
            question = "antithetic: clip on code" if antithetic else "clip on code"
            for text, found in ((question, logit), ("tilt towards code", {} if antithetic else tilt)):
                if found:
                    effect = Interval.from_row(found, "effect", found["n_pairs"])
                    row = {"question": text, **setting, "clip_mode": mode, **_numbers(effect, found["p_holm"])}
                    rows.append(row if trusted(found) else row | {"sign": None})
    return rows


def _of_doses(table: pd.DataFrame, unit: str) -> list[dict[str, Any]]:
    lines = table[(table["statistic"] == "slope") & (table["quantity"] == "code_logit") & table["effect"].notna()]
    shared = {"question": f"dose: slope, {unit}", "model": "five priors", "unit": "log-odds per log-odds"}
    return [
        shared
        | {"setting": f"{row['optimizer']} {row['learning_rate']:g}", "clip_mode": row["clip_mode"]}
        | _numbers(Interval.from_row(row, "effect", row["n"]), row["p_holm"])
        for row in lines.to_dict("records")
    ]


def _numbers(effect: Interval, p_holm: float) -> dict[str, Any]:
    sign = int(math.copysign(1, effect.estimate)) if p_holm < SIGNIFICANCE else 0
    return {"n": effect.n, **effect.columns("effect"), "p_holm": p_holm, "sign": sign}
