"""The verdict on C4 and C9 in three sentences, whose numbers and verbs come from the committed tables.

C4: the clip is the cause of what a random reward does. C9: a random reward works at γ = 0.001. The verb of an effect
follows from its 95 % interval: *raises* above 0, *lowers* below 0, else *does not measurably change*. A sentence on the
language model or the dose–response is there only if its table is.

Usage: `for sentence in sentences(bandit_map, counterfactual, dose_pairs): print(sentence)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

Row = Mapping[str, Any]
BANDIT_STEP = 2.0
"""SGD's step size in the bandit sentences: the base of the map's other sweeps."""
MIDDLE = {"sgd": 0.3, "adamw": 3e-4}
"""Settings of the language-model sentences, the middle of the map; fixed before the runs."""


def sentences(bandit: pd.DataFrame, counterfactual: pd.DataFrame | None = None,
              dose: pd.DataFrame | None = None) -> list[str]:
    """Three sentences: consistency against necessity, which side of the clip, γ = 0.001.

    Args:
        bandit: bandit_map.csv.
        counterfactual: counterfactual.csv, or None if it has not been run.
        dose: dose_counterfactual.csv, or None.
    """
    return [_necessity(bandit, counterfactual, dose), _side(bandit, counterfactual), _rare(bandit)]


def verb(row: Row, name: str = "effect", low: str = "_low", high: str = "_high") -> str:
    """What the interval of `row[name]` allows to say.

    >>> verb({"effect": 0.2, "effect_low": 0.1, "effect_high": 0.3})
    'raises'
    >>> verb({"effect": 0.2, "effect_low": -0.1, "effect_high": 0.5})
    'does not measurably change'
    """
    if row[name + low] > 0:
        return "raises"
    return "lowers" if row[name + high] < 0 else "does not measurably change"


def _limits(row: Row, name: str = "effect", low: str = "_low", high: str = "_high", digits: int = 3) -> str:
    return f"{row[name]:+.{digits}f} [{row[name + low]:+.{digits}f}, {row[name + high]:+.{digits}f}]"


def _share(row: Row) -> str:
    return f"{100 * row['share_up']:.0f} % [{100 * row['share_up_ci_low']:.0f}, {100 * row['share_up_ci_high']:.0f}]"


def _step(bandit: pd.DataFrame, mode: str) -> Row:
    found = bandit.query(f"sweep == 'step' and optimizer == 'sgd' and step_size == {BANDIT_STEP}")
    return found.set_index("clip_mode").loc[mode]


def middle_cell(table: pd.DataFrame, optimizer: str, mode: str, quantity: str) -> Row:
    """The row of a table of effects at the setting of `MIDDLE` for this optimizer."""
    keep = ((table["optimizer"] == optimizer) & (table["clip_mode"] == mode) & (table["quantity"] == quantity)
            & ((table["learning_rate"] - MIDDLE[optimizer]).abs() < 1e-9))
    return table[keep].iloc[0]


def _necessity(bandit: pd.DataFrame, counterfactual: pd.DataFrame | None, dose: pd.DataFrame | None) -> str:
    inert = bandit[(bandit["sweep"] == "step") & (bandit["optimizer"] == "adamw") & (bandit["clip_mode"] == "two_sided")
                   & (bandit["paired_logit_change"] == 0)]["step_size"]
    text = ("C4, consistency against necessity: in the bandit the clip is enough to favour the likelier arm (it gains "
            f"in {_share(_step(bandit, 'two_sided'))} of seeds with the clip and in {_share(_step(bandit, 'none'))} "
            f"without, SGD step {BANDIT_STEP:g}), but it does exactly nothing where no ratio leaves the band (AdamW up "
            f"to {inert.max():g})")
    if counterfactual is not None:
        parts = []
        for optimizer, step in MIDDLE.items():
            code, entropy = (middle_cell(counterfactual, optimizer, "two_sided", name) for name in ("code", "entropy"))
            parts.append(f"with {optimizer} {step:g} it {verb(code)} the code probability ({_limits(code)}) and "
                         f"{verb(entropy)} the entropy ({_limits(entropy, digits=4)} nats, {entropy['n_pairs']} pairs)")
        text += "; in one rollout batch of the language model, against no clip, " + ", ".join(parts)
    if dose is not None:
        lines = dose[dose["statistic"] == "slope"]
        slopes = [middle_cell(lines, optimizer, "two_sided", "code") for optimizer in MIDDLE]
        text += "; per unit of the prior's log-odds its effect on the code probability is " + " and ".join(
            f"{_limits(row, digits=4)} ({optimizer})" for row, optimizer in zip(slopes, MIDDLE, strict=True)) + (
            ", where amplifying what is likely would need a slope above 0")
    return text + "."


def _side(bandit: pd.DataFrame, counterfactual: pd.DataFrame | None) -> str:
    text = ("The side: in the bandit the upper exit carries the bias (high_only "
            f"{_share(_step(bandit, 'high_only'))}) and the lower one works against it (low_only "
            f"{_share(_step(bandit, 'low_only'))})")
    if counterfactual is not None:
        parts = []
        for mode in ("high_only", "low_only"):
            code, entropy = (middle_cell(counterfactual, "sgd", mode, name) for name in ("code", "entropy"))
            parts.append(f"{mode} {verb(entropy)} the entropy ({_limits(entropy, digits=4)}) and {verb(code)} the code "
                         f"probability ({_limits(code)})")
        text += f"; in the language model (sgd {MIDDLE['sgd']:g}) " + ", ".join(parts)
    return text + "."


def _rare(bandit: pd.DataFrame) -> str:
    gamma = bandit[bandit["sweep"] == "gamma"].set_index(["optimizer", "clip_mode", "gamma"])
    name, ends = "paired_logit_change", ("_ci_low", "_ci_high")
    sgd, half = (gamma.loc[("sgd", "two_sided", g)] for g in (0.001, 0.5))
    clipped, unclipped = (gamma.loc[("adamw", mode, 0.001)] for mode in ("two_sided", "none"))
    return (f"C9: at γ = 0.001 the clip adds {_limits(sgd, name, *ends, digits=4)} to the likelier arm's log-odds "
            f"under SGD (at γ = 0.5 {_limits(half, name, *ends, digits=2)}), as the clip account predicts; that the "
            f"likelier arm still gains in {_share(unclipped)} of seeds with AdamW is not the clip's doing, which adds "
            f"{_limits(clipped, name, *ends, digits=4)} there.")
