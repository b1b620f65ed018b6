"""The verdict on C4 and C9 in three sentences, whose numbers and verbs come from the committed tables.

C4: the clip is the cause of what a random reward does. C9: a random reward works at γ = 0.001. A verb follows from an
interval: *raises* above 0, *lowers* below 0, else *does not measurably change*; for a share of seeds *favours* or
*disfavours* the likelier arm as the interval lies above or below one half. On the language model two words are kept
apart: the clip lets a policy *lose less* (or gain less) of a strategy if the change under it is smaller than under
`none` and of the same sign; it *tilts* if it moves the log-odds where `none` would not move them (`tilt`). Every
setting that was measured is gone through, and what is not resolved after Holm's adjustment is called so. A sentence on
the language model or the dose–response is there only if its table is.

Usage: `for sentence in sentences(bandit_map, counterfactual, dose_pairs): print(sentence)`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from spurious_rewards.mechanism.effects import headline

Row = Mapping[str, Any]
BANDIT_STEP = 2.0
"""SGD's step size in the bandit sentences: the base of the map's other sweeps."""
LEVEL = 0.05


def sentences(
    bandit: pd.DataFrame, counterfactual: pd.DataFrame | None = None, dose: pd.DataFrame | None = None
) -> list[str]:
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


def favours(row: Row) -> str:
    """The same of `share_up`, the share of seeds in which the likelier arm gained, against one half.

    >>> favours({"share_up_low": 0.48, "share_up_high": 0.55})
    'favours neither arm measurably'
    """
    if row["share_up_low"] > 0.5:
        return "favours the likelier arm"
    return "disfavours the likelier arm" if row["share_up_high"] < 0.5 else "favours neither arm measurably"


def trusted(row: Row) -> bool:
    """Whether a row is not marked as unreliable."""
    return row.get("reliable") is None or pd.isna(row["reliable"]) or bool(row["reliable"])


def resolved(row: Row) -> int:
    """+1 or −1 if the effect of a row is resolved after Holm's adjustment and can be trusted, else 0."""
    return int(math.copysign(1, row["effect"])) if trusted(row) and row["p_holm"] < LEVEL else 0


def loses(none: float, mode: float) -> str:
    """How the change of a strategy under a mode compares with that under `none`, whatever is resolved.

    >>> loses(-0.05, -0.01), loses(0.05, 0.01), loses(-0.05, 0.01)
    ('loses less code', 'gains less code', 'changes code the other way')
    """
    if none * mode < 0:
        return "changes code the other way"
    return f"{'loses' if mode < 0 else 'gains'} {'less' if abs(mode) < abs(none) else 'more'} code"


def cell(table: pd.DataFrame, optimizer: str, step: float, mode: str, quantity: str) -> Row:
    """The row of one setting, clip mode and quantity; an empty mapping if there is none."""
    keep = (
        (table["optimizer"] == optimizer)
        & (table["clip_mode"] == mode)
        & (table["quantity"] == quantity)
        & ((table["learning_rate"] - step).abs() < 1e-9)
    )
    return table[keep].iloc[0].to_dict() if keep.any() else {}


def settings_of(table: pd.DataFrame) -> list[tuple[str, float]]:
    """Optimizers and step sizes of a table of effects, in its order."""
    return list(table[["optimizer", "learning_rate"]].drop_duplicates().itertuples(index=False, name=None))


def code_rows(table: pd.DataFrame, optimizer: str, step: float, mode: str) -> tuple[Row, Row]:
    """(effect on the code log-odds, tilt): per problem where they were recorded, else of the pair's probability."""
    for names in (("code_logit", "code_tilt"), ("code_mean_logit", "code_mean_tilt")):
        rows = tuple(cell(table, optimizer, step, mode, name) for name in names)
        if all(rows):
            return rows
    return {}, {}


# Parts


def _limits(row: Row, name: str = "effect", low: str = "_low", high: str = "_high", digits: int = 3) -> str:
    return f"{row[name]:+.{digits}f} [{row[name + low]:+.{digits}f}, {row[name + high]:+.{digits}f}]"


def _quoted(row: Row, digits: int = 3, unit: str = "") -> str:
    """Effect with its headline interval, marked when it is not resolved or cannot be trusted."""
    found = headline(row)
    text = f"{found.estimate:+.{digits}f} [{found.low:+.{digits}f}, {found.high:+.{digits}f}]{unit}"
    return text if resolved(row) else text + (", not resolved" if trusted(row) else ", weights too uneven to tell")


def _share(row: Row) -> str:
    return f"{100 * row['share_up']:.0f} % [{100 * row['share_up_low']:.0f}, {100 * row['share_up_high']:.0f}]"


def _step(bandit: pd.DataFrame, mode: str) -> Row:
    found = bandit.query(f"sweep == 'step' and optimizer == 'sgd' and step_size == {BANDIT_STEP}")
    return found.set_index("clip_mode").loc[mode].to_dict()


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(parts)


def _necessity(bandit: pd.DataFrame, counterfactual: pd.DataFrame | None, dose: pd.DataFrame | None) -> str:
    inert = bandit[
        (bandit["sweep"] == "step")
        & (bandit["optimizer"] == "adamw")
        & (bandit["clip_mode"] == "two_sided")
        & (bandit["paired_logit_change"] == 0)
    ]["step_size"]
    two_sided, none = _step(bandit, "two_sided"), _step(bandit, "none")
    text = (
        f"C4, consistency against necessity: in the bandit of two arms the clip {favours(two_sided)} (it gains in "
        f"{_share(two_sided)} of seeds; no clip {favours(none)}, {_share(none)}; SGD step {BANDIT_STEP:g})"
        f"{_by_prior(bandit)}, and it does exactly nothing where no ratio leaves the band (AdamW up to "
        f"{inert.max():g})"
    )
    if counterfactual is not None:
        text += "; in one rollout batch of the language model " + "; ".join(
            part
            for optimizer, step in settings_of(counterfactual)
            if (part := _in_model(counterfactual, optimizer, step))
        )
    if dose is not None:
        text += _over_priors(dose)
    return text + "."


def _by_prior(bandit: pd.DataFrame) -> str:
    """The same share at the other priors of the map, where they are."""
    rows = bandit[(bandit["sweep"] == "prior") & (bandit["prior"] != "two_arms") & (bandit["optimizer"] == "sgd")]
    if rows.empty:
        return ""
    with_clip, without = (rows[rows["clip_mode"] == mode] for mode in ("two_sided", "none"))
    shares = _joined(
        f"{row['prior']} {_share(row)}, {100 * other['share_up']:.0f} % without"
        for row, other in zip(with_clip.to_dict("records"), without.to_dict("records"), strict=True)
    )
    return f", which depends on the prior's shape ({shares})"


def _in_model(table: pd.DataFrame, optimizer: str, step: float) -> str:
    """One setting: change of code under `none` and under the clip; effect on its log-odds; tilt; entropy."""
    logit, tilt = code_rows(table, optimizer, step, "two_sided")
    if not logit or not trusted(logit):
        return f"({optimizer} {step:g}) code is not measurable by importance weighting"
    name = "code_exact" if cell(table, optimizer, step, "none", "code_exact") else "code"
    none, mode = (cell(table, optimizer, step, arm, name)["change"] for arm in ("none", "two_sided"))
    entropy = cell(table, optimizer, step, "two_sided", "entropy")
    return (
        f"({optimizer} {step:g}, {logit['n_pairs']} pairs) code changes by {none:+.4f} without the clip and "
        f"{mode:+.4f} with it ({loses(none, mode)}): log-odds{'' if name == 'code_exact' else ' of the pair'} "
        f"{_quoted(logit)}, of which tilt {_quoted(tilt)}; "
        f"entropy {_quoted(entropy, 4, ' nats')}"
    )


def _over_priors(dose: pd.DataFrame) -> str:
    lines = dose[(dose["statistic"] == "slope") & (dose["quantity"] == "code_logit") & dose["effect"].notna()]
    texts = []
    for optimizer, step in settings_of(lines):
        modes = _joined(
            f"{mode} {_quoted(row, 4)}"
            for mode in ("two_sided", "high_only", "low_only")
            if (row := cell(lines, optimizer, step, mode, "code_logit"))
        )
        texts.append(f"{modes} ({optimizer} {step:g})")
    return (
        (
            "; per unit of the prior's log-odds the effect on the log-odds of code, which amplifying the likely needs "
            "above 0, is " + " and ".join(texts)
        )
        if texts
        else ""
    )


def _side(bandit: pd.DataFrame, counterfactual: pd.DataFrame | None) -> str:
    high, low = _step(bandit, "high_only"), _step(bandit, "low_only")
    text = (
        f"The side: in the bandit of two arms the upper exit alone {favours(high)} (high_only {_share(high)}) and "
        f"the lower one alone {favours(low)} (low_only {_share(low)})"
    )
    if counterfactual is None:
        return text + "."
    parts = []
    for mode in ("high_only", "low_only"):
        found = []
        for optimizer, step in settings_of(counterfactual):
            logit, tilt = code_rows(counterfactual, optimizer, step, mode)
            if tilt and trusted(tilt):
                found.append(f"{_quoted(logit)}; {_quoted(tilt)} ({optimizer} {step:g})")
        parts.append(f"{mode} {_joined(found)}")
    return f"{text}; in the language model effects on the log-odds of code, then tilts, are " + "; ".join(parts) + "."


def _rare(bandit: pd.DataFrame) -> str:
    name, ends = "paired_logit_change", ("_low", "_high")

    def at(sweep: str, optimizer: str, gamma: float, mode: str = "two_sided") -> Row:
        rows = bandit[
            (bandit["sweep"] == sweep)
            & (bandit["optimizer"] == optimizer)
            & (bandit["gamma"] == gamma)
            & (bandit["clip_mode"] == mode)
        ]
        return rows.iloc[0].to_dict() if len(rows) else {}

    rare, half, whitened = at("gamma", "sgd", 0.001), at("gamma", "sgd", 0.5), at("whitened", "sgd", 0.001)
    clipped, unclipped = (at("gamma", "adamw", 0.001, mode) for mode in ("two_sided", "none"))
    again = (
        f", with the released code's second whitening it {verb(whitened, name, *ends)} them "
        f"({_limits(whitened, name, *ends)})"
        if whitened
        else ""
    )
    shown = "shown" if any(verb(row, name, *ends) == "raises" for row in (rare, whitened) if row) else "not shown"
    return (
        f"C9: at γ = 0.001 the clip {verb(rare, name, *ends)} the likelier arm's log-odds under SGD "
        f"({_limits(rare, name, *ends, digits=4)}; at γ = 0.5 it {verb(half, name, *ends)} them, "
        f"{_limits(half, name, *ends, digits=2)}){again}: the clip is {shown} to be what works there; with AdamW "
        f"and no clip at all γ = 0.001 {favours(unclipped)} ({_share(unclipped)} of seeds), and the clip "
        f"{verb(clipped, name, *ends)} the log-odds ({_limits(clipped, name, *ends, digits=4)})."
    )
