"""Read what the paper's tables on code reasoning report, and check them; everything here is *paper-reported*.

Numbers are in per cent or points as printed; `version` says which versions of the PDF print them (v0 = 2025-05-27, v1 =
2025-06-12, v2 = 2026-02-25). The known errors are shown by arithmetic, not corrected silently: Table 1's row of
Qwen2.5-Math-7B does not satisfy freq · acc(code) + (1 − freq) · acc(language) = accuracy.

Usage: `paper_strategies()`, `paper_contributions()`, `paper_forced_code()`, `paper_prompts()`,
`paper_released_seeds()`
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from spurious_rewards.evaluation.significance import permutation
from spurious_rewards.evaluation.statistics import Interval, proportion_difference
from spurious_rewards.evaluation.strategy_analysis import SWITCHES, consistency, mean_contributions
from spurious_rewards.storage.files import read_json

COLLAPSED = 30
"""Accuracy in per cent below which a run counts as collapsed; the base model has 49.4."""
REFERENCE = Path(__file__).with_name("reference")
_SWITCH_NAMES = {"CC": "code_to_code", "CL": "code_to_language", "LC": "language_to_code", "LL": "language_to_language"}


def reported() -> pd.DataFrame:
    """Read all figures: columns version, where, model, benchmark, metric, condition, value, note."""
    table = pd.read_csv(REFERENCE / "paper_tables.csv")
    return table.assign(number=pd.to_numeric(table["value"], errors="coerce"))


def paper_strategies() -> pd.DataFrame:
    """Check Table 1's identity: `language_implied` is what accuracy without code must be for the row to hold.

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
        row = {"model": model, "version": group["version"].iloc[0], "code_frequency": printed["code_frequency"]}
        row |= {"accuracy_code": code, "accuracy_language": language, "accuracy": accuracy[model]}
        row |= {"residual": check.residual, "identity_holds": check.consistent}
        row["language_implied"] = check.language_accuracy_implied
        rows.append(row | {"note": "; ".join(group["note"].dropna())})
    return pd.DataFrame(rows)


def paper_contributions() -> pd.DataFrame:
    """Compare Table 2 as printed with Fig 7's counts (Qwen2.5-Math-7B); `agrees` to the printed digit."""
    mean, gain = mean_contributions(read_json(REFERENCE / "fig7_counts.json"))
    recomputed = {**{_SWITCH_NAMES[d]: mean[d] for d in SWITCHES}, "mean_gain": gain}
    table = reported().query("where == 'Table 2'").rename(columns={"condition": "quantity", "number": "printed"})
    table = table[["model", "version", "quantity", "printed"]].reset_index(drop=True)
    known = table["quantity"].map(recomputed).where(table["model"] == "Qwen2.5-Math-7B")
    agrees = [
        None if np.isnan(value) else f"{value:.1f}" == f"{printed:.1f}"
        for value, printed in zip(known, table["printed"], strict=True)
    ]
    return table.assign(recomputed=known, agrees=agrees)


def paper_forced_code() -> pd.DataFrame:
    """Read Table 3: accuracy with the original prompt (two versions differ) and the forced beginning, in per cent."""
    rows = []
    for model, group in reported().query("where == 'Table 3'").groupby("model", sort=False):
        original = group[group["condition"] == "original prompt"].set_index("version")["number"]
        forced = group.loc[group["condition"] == "forced python prefix", "number"].iloc[0]
        row = {"model": model, **{f"original_{v}": original[v] for v in ("v0", "v1")}, "forced_v0_v1": forced}
        rows.append(row | {f"difference_{v}": forced - original[v] for v in ("v0", "v1")})
    return pd.DataFrame(rows)


def paper_prompts() -> pd.DataFrame:
    """Read Table 5 (v1, Qwen2.5-Math-7B): accuracy and parsable answers by prompt, in per cent, under our names."""
    names = {"default": "qwen_default", "simplerl_zoo": "simplerl"}
    rows: dict[str, dict[str, Any]] = {}
    for row in reported().query("where == 'Table 5'").to_dict("records"):
        style = str(row["condition"]).removeprefix("prompt ")
        style_row = rows.setdefault(names.get(style, style), {"model": row["model"], "version": row["version"]})
        style_row[row["metric"]] = row["number"]
    table = pd.DataFrame([{"prompt_style": style, **row} for style, row in rows.items()])
    default = table.loc[table["prompt_style"] == "qwen_default", "accuracy"].iloc[0]
    return table.assign(difference=table["accuracy"] - default)


def paper_released_seeds() -> pd.DataFrame:
    """Analyse the seeds of the clip ablation that were released (Fig 12, step about 80): mean and bad tail.

    One row for mean accuracy (points; Welch's interval, permutation test) and one for the share of runs that end below
    `COLLAPSED` per cent (Newcombe's interval, Fisher's exact test). `seeds_to_decide`: seeds per arm that find a
    difference of this size with a power of 80 %.
    """
    table = reported()
    runs = table[table["condition"].fillna("").str.contains("one seed, step ~80 smoothed", regex=False)]
    disabled = runs["condition"].str.contains("clip disabled")
    on, off = runs.loc[~disabled, "number"].to_numpy(), runs.loc[disabled, "number"].to_numpy()
    welch = stats.ttest_ind(on, off, equal_var=False).confidence_interval()
    bad_on, bad_off = int((on < COLLAPSED).sum()), int((off < COLLAPSED).sum())
    fisher: Any = stats.fisher_exact([[bad_on, len(on) - bad_on], [bad_off, len(off) - bad_off]])
    tail = proportion_difference(bad_on, len(on), bad_off, len(off))
    mean = Interval(on.mean() - off.mean(), welch.low, welch.high, len(runs))
    variances = (on.var(ddof=1) + off.var(ddof=1), tail_variance(bad_on / len(on), bad_off / len(off)))
    found = (
        ("mean accuracy, per cent", on.mean(), off.mean(), mean, permutation(on, off).p_value, variances[0]),
        (f"share of runs below {COLLAPSED} per cent", bad_on / len(on), bad_off / len(off), tail, fisher.pvalue,
         variances[1]),
    )  # fmt: skip
    return pd.DataFrame(
        {"quantity": name, "version": "v0", "n_on": len(on), "n_off": len(off), "clip_on": one, "clip_off": two}
        | interval.columns("difference")
        | {"p_value": p_value, "seeds_to_decide": _seeds_per_arm(interval.estimate, variance)}
        for name, one, two, interval, p_value, variance in found
    )


def tail_variance(one: float, two: float) -> float:
    """Add the variances of single yes-or-no outcomes with these two probabilities."""
    return one * (1 - one) + two * (1 - two)


def _seeds_per_arm(difference: float, variance: float) -> int:
    """Find the fewest seeds per arm that show a difference with power 80 % at a two-sided level of 5 %."""
    quantiles = stats.norm.isf(0.025) + stats.norm.isf(0.2)
    return int(np.ceil(variance * (quantiles / difference) ** 2))
