"""What the mechanism's committed tables say about the paper's claims: bandit map, paired counterfactual, dose–response.

The settings that decide were fixed before anything was run: SGD step 2 in the bandit, `mechanism.verdict.MIDDLE` on the
language model. Where two settings speak, the verdict is that of `joint`.

Usage: `mechanism_findings(mechanism_tables(results_dir()))`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from spurious_rewards.evaluation.statistics import Interval
from spurious_rewards.mechanism.verdict import MIDDLE, middle_cell

NAMES = ("bandit_map", "counterfactual", "dose_response", "dose_counterfactual")
"""Tables in results/tables/mechanism that may be there."""
Finding = dict[str, str]
"""scale, measured, verdict."""


def mechanism_tables(results: Path) -> dict[str, pd.DataFrame]:
    """Name → committed table, of those in `NAMES` that exist."""
    paths = {name: results / "tables" / "mechanism" / f"{name}.csv" for name in NAMES}
    return {name: pd.read_csv(path) for name, path in paths.items() if path.is_file()}


def mechanism_findings(tables: Mapping[str, pd.DataFrame]) -> dict[str, list[Finding]]:
    """Claim → findings, in the order of `NAMES`."""
    found: dict[str, list[Finding]] = {}
    for name, read in (("bandit_map", from_bandit), ("counterfactual", from_counterfactual),
                       ("dose_response", from_dose_runs), ("dose_counterfactual", from_dose_pairs)):
        if name in tables:
            for claim, finding in read(tables[name]).items():
                found.setdefault(claim, []).append(finding)
    return found


def sign(interval: Interval) -> str:
    """Verdict of an interval that a claim expects above 0."""
    return "consistent" if interval.low > 0 else "against" if interval.high < 0 else "undecided"


def joint(intervals: Sequence[Interval]) -> str:
    """Verdict of several settings: that of those whose interval excludes 0, if they agree; else undecided.

    >>> joint([Interval(0.2, 0.1, 0.3, 9), Interval(0.0, -0.1, 0.1, 9)])
    'consistent'
    >>> joint([Interval(0.2, 0.1, 0.3, 9), Interval(-0.2, -0.3, -0.1, 9)])
    'undecided'
    """
    decided = {sign(interval) for interval in intervals} - {"undecided"}
    return decided.pop() if len(decided) == 1 else "undecided"


def written(interval: Interval, digits: int = 3) -> str:
    """An interval as text, signed."""
    return f"{interval.estimate:+.{digits}f} [{interval.low:+.{digits}f}, {interval.high:+.{digits}f}]"


def from_bandit(table: pd.DataFrame) -> dict[str, Finding]:
    """What the clip adds to the log-odds of the likelier arm, paired with `none` by seed."""
    rows = table[(table["clip_mode"] == "two_sided") & table["paired_logit_change"].notna()]

    def effect(cells: pd.DataFrame) -> Interval:
        cell = cells.iloc[0]
        return Interval(*(cell[f"paired_logit_change{end}"] for end in ("", "_ci_low", "_ci_high")),
                        int(cell["n_seeds"]))

    sgd = rows[rows["optimizer"] == "sgd"]
    large = effect(sgd[(sgd["sweep"] == "step") & (sgd["step_size"] == 2.0)])
    small = effect(rows[(rows["sweep"] == "step") & (rows["optimizer"] == "adamw") & (rows["step_size"] == 0.01)])
    half, rare = (effect(sgd[(sgd["sweep"] == "gamma") & (sgd["gamma"] == gamma)]) for gamma in (0.5, 0.001))
    scale = f"bandit, {large.n} seeds"
    return {
        "C4": {"scale": scale, "measured": f"the clip adds {written(large)} to the log-odds of the likelier arm (SGD, "
               f"step 2) and {written(small)} with AdamW at step 0.01, where no ratio leaves the band",
               "verdict": sign(large)},
        "C9": {"scale": scale, "measured": f"the clip adds {written(half)} at γ = 0.5 and {written(rare)} at γ = 0.001 "
               "(SGD): the clip does not explain an effect at γ = 0.001", "verdict": sign(rare)},
    }


def from_counterfactual(table: pd.DataFrame) -> dict[str, Finding]:
    """What one rollout batch with the clip does to code probability and entropy, against none, on the organism."""
    code, entropy = (middle_effects(table, quantity, "n_pairs") for quantity in ("code", "entropy"))
    n = " and ".join(str(interval.n) for interval in code.values())
    text = "; ".join(f"{name}: code probability {written(code[name])}, entropy {written(entropy[name], 4)} nats"
                     for name in code)
    return {"C4": {"scale": f"organism {table['model'].iloc[0]}, one rollout batch, {n} pairs",
                   "measured": f"clip minus no clip, code being the likelier strategy: {text}",
                   "verdict": joint(list(code.values()))}}


def from_dose_pairs(table: pd.DataFrame) -> dict[str, Finding]:
    """Slope of the clip's effect over the prior's log-odds, from paired counterfactuals."""
    return {"C4": _slope(table, "organisms of five code priors, one rollout batch, {n} pairs per prior")}


def from_dose_runs(table: pd.DataFrame) -> dict[str, Finding]:
    """The same slope, from short training runs."""
    return {"C4": _slope(table, "organisms of five code priors, short runs, {n} seeds per prior")}


def _slope(table: pd.DataFrame, scale: str) -> Finding:
    slopes = middle_effects(table[table["statistic"] == "slope"], "code", "n")
    text = "; ".join(f"{name}: {written(interval, 4)}" for name, interval in slopes.items())
    return {"scale": scale.format(n=" and ".join(sorted({str(interval.n) for interval in slopes.values()}))),
            "measured": "effect of the clip on the code frequency per unit of the prior's log-odds (amplifying what is "
                        f"likely needs it above 0): {text}",
            "verdict": joint(list(slopes.values()))}


def middle_effects(table: pd.DataFrame, quantity: str, count: str) -> dict[str, Interval]:
    """Setting → effect of the two-sided clip, for the settings in the middle of the map.

    Args:
        table: of effects.
        quantity: for example `code`.
        count: column with the sample size.
    """
    rows = {f"{optimizer} {step:g}": middle_cell(table, optimizer, "two_sided", quantity)
            for optimizer, step in MIDDLE.items()}
    return {name: Interval(row["effect"], row["effect_low"], row["effect_high"], int(row[count]))
            for name, row in rows.items()}
