"""What the paper's tables on code reasoning report, beside checks of them; everything here is *paper-reported*.

Numbers are in per cent or points as printed; `version` says which versions of the PDF print them (v0 = 2025-05-27, v1 =
2025-06-12, v2 = 2026-02-25). The known errors are shown by arithmetic, not corrected silently: Table 1's row of
Qwen2.5-Math-7B does not satisfy freq · acc(code) + (1 − freq) · acc(language) = accuracy.

Usage: `paper_strategies()`, `paper_contributions()`, `paper_forced_code()`, `paper_prompts()`
"""

from __future__ import annotations

from importlib import resources
from io import StringIO
from typing import Any

import numpy as np
import pandas as pd

from spurious_rewards.evaluation.strategy_analysis import SWITCHES, consistency, contributions, mean_contributions
from spurious_rewards.storage.files import read_json

REFERENCE = resources.files("spurious_rewards.reporting") / "reference"
_SWITCH_NAMES = {"CC": "code_to_code", "CL": "code_to_language", "LC": "language_to_code", "LL": "language_to_language"}


def reported() -> pd.DataFrame:
    """All figures: columns version, where, model, benchmark, metric, condition, value, note."""
    table = pd.read_csv(StringIO((REFERENCE / "paper_tables.csv").read_text(encoding="utf-8")))
    return table.assign(number=pd.to_numeric(table["value"], errors="coerce"))


def paper_strategies() -> pd.DataFrame:
    """Table 1 with its identity: `language_implied` is what accuracy without code must be for the row to hold.

    The overall accuracies are v1's base accuracies; `residual` is in points, `identity_holds` allows for rounding of
    the four printed numbers to one decimal.
    """
    table = reported()
    accuracy = table[(table["condition"] == "base") & (table["metric"] == "accuracy")].drop_duplicates("model")
    accuracy = accuracy.set_index("model")["number"]
    rows = []
    for model, group in table[table["where"] == "Table 1"].groupby("model", sort=False):
        printed = group.set_index("metric")["number"]
        code, language = printed["accuracy_with_code"], printed["accuracy_without_code"]
        check = consistency(printed["code_frequency"], code, language, accuracy[model])
        rows.append(
            {
                "model": model,
                "version": group["version"].iloc[0],
                "code_frequency": printed["code_frequency"],
                "accuracy_code": code,
                "accuracy_language": language,
                "accuracy": accuracy[model],
                "residual": check.residual,
                "identity_holds": check.consistent,
                "language_implied": check.language_accuracy_implied,
                "note": "; ".join(group["note"].dropna()),
            }
        )
    return pd.DataFrame(rows)


def paper_switches() -> pd.DataFrame:
    """Fig 7 from its integer counts (Qwen2.5-Math-7B): one row per reward and switch, columns of `contributions`."""
    return pd.concat(
        [contributions(counts).assign(reward=reward) for reward, counts in _fig7().items()], ignore_index=True
    )[["reward", "switch", "n", "frequency", "accuracy_before", "accuracy_after", "gain", "contribution"]]


def paper_contributions() -> pd.DataFrame:
    """Table 2 as printed, and for Qwen2.5-Math-7B recomputed from Fig 7's counts; `agrees` to the printed digit."""
    mean, gain = mean_contributions(_fig7())
    recomputed = {**{_SWITCH_NAMES[d]: mean[d] for d in SWITCHES}, "mean_gain": gain}
    rows = []
    for row in reported().query("where == 'Table 2'").itertuples():
        value = recomputed[row.condition] if row.model == "Qwen2.5-Math-7B" else np.nan
        rows.append(
            {
                "model": row.model,
                "version": row.version,
                "quantity": row.condition,
                "printed": row.number,
                "recomputed": value,
                "agrees": None if np.isnan(value) else f"{value:.1f}" == f"{row.number:.1f}",
            }
        )
    return pd.DataFrame(rows)


def paper_forced_code() -> pd.DataFrame:
    """Table 3: accuracy under the original prompt (two versions differ) and with the forced beginning, in per cent."""
    rows = []
    for model, group in reported().query("where == 'Table 3'").groupby("model", sort=False):
        original = group[group["condition"] == "original prompt"].set_index("version")["number"]
        forced = group.loc[group["condition"] == "forced python prefix", "number"].iloc[0]
        rows.append(
            {
                "model": model,
                "original_v0": original["v0"],
                "original_v1": original["v1"],
                "forced_v0_v1": forced,
                "difference_v0": forced - original["v0"],
                "difference_v1": forced - original["v1"],
            }
        )
    return pd.DataFrame(rows)


def paper_prompts() -> pd.DataFrame:
    """Table 5 (v1, Qwen2.5-Math-7B): accuracy and parsable answers by prompt, in per cent; our names of the styles."""
    names = {"default": "qwen_default", "simplerl_zoo": "simplerl"}
    rows: dict[str, dict[str, Any]] = {}
    for row in reported().query("where == 'Table 5'").itertuples():
        style = row.condition.removeprefix("prompt ")
        rows.setdefault(names.get(style, style), {"model": row.model, "version": row.version})[row.metric] = row.number
    table = pd.DataFrame([{"prompt_style": style, **row} for style, row in rows.items()])
    default = table.loc[table["prompt_style"] == "qwen_default", "accuracy"].iloc[0]
    return table.assign(difference=table["accuracy"] - default)


def _fig7() -> dict[str, dict[str, list[int]]]:
    with resources.as_file(REFERENCE / "fig7_counts.json") as path:
        return read_json(path)
