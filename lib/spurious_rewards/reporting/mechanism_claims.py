"""What the mechanism's committed tables say about the paper's claims: bandit map, paired counterfactual, dose–response.

Rules, none of which picks a setting:

- *bandit*: SGD step 2, the base of the map, at every prior. With two arms what the clip adds to the log-odds decides,
  at the other priors whether the likelier arm gains more often than not; they must agree (`joint`).
- *counterfactual*: at every setting where code can be measured, the effect of the two-sided clip on the log-odds of
  code and its tilt (`mechanism.tilt`), Holm-adjusted together. `supported` needs a setting at which both are resolved
  above 0 and none at which either is resolved below; `contradicted` the reverse. A smaller *loss* decides nothing.
- *dose–response*: the slope of the two-sided clip's effect on the log-odds of code over the prior's, Holm-adjusted
  with those of the other modes and settings.
- C9: γ = 0.001 with and without the released code's second whitening; `joint`.

Usage: `mechanism_findings(mechanism_tables(results_dir()))`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from spurious_rewards.evaluation.statistics import Interval
from spurious_rewards.evaluation.verdicts import CONTRADICTED, SUPPORTED, UNDECIDED, agreed, judge
from spurious_rewards.mechanism.questions import code_rows, resolved, row_of, settings_of, trusted

NAMES = (
    "bandit_map",
    "bandit_bins",
    "counterfactual",
    "antithetic",
    "drift",
    "decision",
    "dose_response",
    "dose_counterfactual",
)
"""Tables in results/tables/mechanism that may be there."""
Finding = dict[str, str]
"""scale, measured, verdict."""
VERDICTS = {1: SUPPORTED, 0: UNDECIDED, -1: CONTRADICTED}


def mechanism_tables(results: Path) -> dict[str, pd.DataFrame]:
    """Name → committed table, of those in `NAMES` that exist."""
    paths = {name: results / "tables" / "mechanism" / f"{name}.csv" for name in NAMES}
    return {name: pd.read_csv(path) for name, path in paths.items() if path.is_file()}


def mechanism_findings(tables: Mapping[str, pd.DataFrame]) -> dict[str, list[Finding]]:
    """Claim → findings, in the order of `NAMES`."""
    found: dict[str, list[Finding]] = {}
    for name, read in (
        ("bandit_map", from_bandit),
        ("counterfactual", from_counterfactual),
        ("antithetic", from_antithetic),
        ("dose_response", from_dose_runs),
        ("dose_counterfactual", from_dose_pairs),
    ):
        if name in tables:
            for claim, finding in read(tables[name]).items():
                found.setdefault(claim, []).append(finding)
    return found


def joint(intervals: Sequence[Interval]) -> str:
    """Join the verdicts of several settings: that of those whose interval excludes 0, if they agree; else undecided.

    >>> joint([Interval(0.2, 0.1, 0.3, 9), Interval(0.0, -0.1, 0.1, 9)])
    'supported'
    >>> joint([Interval(0.2, 0.1, 0.3, 9), Interval(-0.2, -0.3, -0.1, 9)])
    'undecided'
    """
    return agreed(judge(interval) for interval in intervals)


def from_bandit(table: pd.DataFrame) -> dict[str, Finding]:
    """What the clip adds to the log-odds of the likelier arm, paired with `none` by seed."""
    rows = table[(table["clip_mode"] == "two_sided") & table["paired_logit_change"].notna()]

    def effect(cells: pd.DataFrame) -> Interval:
        first = cells.iloc[0]
        return Interval(*(first[f"paired_logit_change{end}"] for end in ("", "_low", "_high")), int(first["n_seeds"]))

    sgd = rows[rows["optimizer"] == "sgd"]
    large = effect(sgd[(sgd["sweep"] == "step") & (sgd["step_size"] == 2.0)])
    small = effect(rows[(rows["sweep"] == "step") & (rows["optimizer"] == "adamw") & (rows["step_size"] == 0.01)])
    rare = {
        name: effect(cells)
        for name, sweep in (("released whitening off", "gamma"), ("on", "whitened"))
        if len(cells := sgd[(sgd["sweep"] == sweep) & (sgd["gamma"] == 0.001)])
    }
    half = effect(sgd[(sgd["sweep"] == "gamma") & (sgd["gamma"] == 0.5)])
    priors = sgd[(sgd["sweep"] == "prior") & (sgd["prior"] != "two_arms")]
    gains = [
        Interval(row["share_up"] - 0.5, row["share_up_low"] - 0.5, row["share_up_high"] - 0.5, large.n)
        for row in priors.to_dict("records")
    ]
    shapes = (
        "; the likelier arm gains in "
        + ", ".join(f"{100 * row['share_up']:.0f} % ({row['prior']})" for row in priors.to_dict("records"))
        if gains
        else ""
    )
    scale = f"bandit, {large.n} seeds"
    return {
        "C4": {
            "scale": scale,
            "measured": f"the clip adds {large.text()} to the log-odds of the likelier of two "
            f"arms (SGD, step 2) and {small.text()} with AdamW at step 0.01, where no ratio leaves the band" + shapes,
            "verdict": joint([large, *gains]),
        },
        "C9": {
            "scale": scale,
            "measured": f"the clip adds {half.text()} at γ = 0.5 and at γ = 0.001 (SGD) "
            + ", ".join(f"{interval.text('', 4)} ({name})" for name, interval in rare.items()),
            "verdict": joint(list(rare.values())),
        },
    }


def from_counterfactual(table: pd.DataFrame) -> dict[str, Finding]:
    """What one rollout batch with the clip does to code, against none, at every setting where that can be measured."""
    texts, found, counts, left = [], [], set(), []
    for optimizer, step in settings_of(table):
        logit, tilt = code_rows(table, optimizer, step, "two_sided")
        if not logit or not trusted(logit):
            left.append(f"{optimizer} {step:g}")
            continue
        name = "code_exact" if row_of(table, optimizer, step, "none", "code_exact") else "code"
        none, mode = (row_of(table, optimizer, step, arm, name)["change"] for arm in ("none", "two_sided"))
        found.append((resolved(logit), resolved(tilt)))
        counts.add(int(logit["n_pairs"]))
        texts.append(
            f"{optimizer} {step:g}: {none:+.4f} without, {mode:+.4f} with the clip, "
            f"log-odds {_marked(logit)}, tilt {_marked(tilt)}"
        )
    text = "; ".join(texts) + (f"; not measurable at {', '.join(left)}" if left else "")
    return {
        "C4": {
            "scale": f"organism {table['model'].iloc[0]}, one rollout batch, "
            f"{' and '.join(map(str, sorted(counts)))} pairs per setting",
            "measured": f"change of code probability, and clip minus no clip in log-odds (Holm): {text}",
            "verdict": tilted(found),
        }
    }


def from_antithetic(table: pd.DataFrame) -> dict[str, Finding]:
    """Judge what the clip does to the log-odds of code in antithetic pairs, where all odd noise cancels.

    Supported if the two-sided clip's effect is resolved above 0 at a setting (Holm) and below 0 at none.
    """
    rows = table[(table["clip_mode"] == "two_sided") & (table["quantity"] == "code_logit")].to_dict("records")
    none = table[(table["clip_mode"] == "none") & (table["quantity"] == "code_logit")]
    drifts = {(row["model"], row["learning_rate"]): Interval.from_row(row, "change") for row in none.to_dict("records")}
    text = "; ".join(
        f"{row['model']} {row['optimizer']} {row['learning_rate']:g}: clip {_marked(row, 4)}, without a clip "
        f"{drifts[row['model'], row['learning_rate']].text('', 4)}"
        for row in rows
    )
    pairs = sorted({int(row["n_pairs"]) for row in rows})
    return {
        "C4": {
            "scale": f"organisms, one rollout batch, {' and '.join(map(str, pairs))} antithetic pairs per setting",
            "measured": f"change of the log-odds of code per rollout batch: {text}",
            "verdict": agreed([VERDICTS[resolved(row)] for row in rows]),
        }
    }


def tilted(found: Sequence[tuple[int, int]]) -> str:
    """Verdict from (resolved sign of the effect on the log-odds, of the tilt) at each setting.

    >>> tilted([(1, 1), (0, 0)]), tilted([(1, 0), (0, 1)]), tilted([(1, 1), (0, -1)])
    ('supported', 'undecided', 'undecided')
    """
    for direction in (1, -1):
        if (direction, direction) in found and not any(-direction in pair for pair in found):
            return VERDICTS[direction]
    return UNDECIDED


def from_dose_pairs(table: pd.DataFrame) -> dict[str, Finding]:
    """Slope of the clip's effect over the prior's log-odds, from paired counterfactuals."""
    return {"C4": _slope(table, "organisms of five code priors, one rollout batch, {n} pairs per prior")}


def from_dose_runs(table: pd.DataFrame) -> dict[str, Finding]:
    """The same slope, from short training runs."""
    return {"C4": _slope(table, "organisms of five code priors, short runs, {n} seeds per prior")}


def _slope(table: pd.DataFrame, scale: str) -> Finding:
    lines = table[(table["statistic"] == "slope") & (table["quantity"] == "code_logit")]
    rows = {
        f"{optimizer} {step:g}": row_of(lines, optimizer, step, "two_sided", "code_logit")
        for optimizer, step in settings_of(lines)
    }
    signs = {resolved(row) for row in rows.values()} - {0}
    text = "; ".join(f"{name}: {_marked(row, 4)}" for name, row in rows.items())
    return {
        "scale": scale.format(n=" and ".join(sorted({str(int(row["n"])) for row in rows.values()}))),
        "measured": "effect of the clip on the log-odds of code per unit of the prior's log-odds (amplifying what "
        f"is likely needs it above 0; Holm over modes and settings): {text}",
        "verdict": VERDICTS[signs.pop()] if len(signs) == 1 else UNDECIDED,
    }


def _marked(row: Mapping[str, Any], digits: int = 3) -> str:
    """Write an effect with its interval, and a word if that is not resolved or not to be trusted."""
    text = Interval.from_row(row, "effect").text("", digits)
    return text if resolved(row) else f"{text} ({'not resolved' if trusted(row) else 'weights too uneven'})"
