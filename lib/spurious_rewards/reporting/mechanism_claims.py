"""Judge C4 and C9 by the mechanism's tables: bandit map, paired and antithetic counterfactuals, dose–response.

One row per setting, none of which is picked, from the table of questions (`mechanism.questions`), whose p-values are
Holm-adjusted. For C4 the two-sided clip has to move the likelier arm, or code, upwards:

- *bandit*: log-odds of the likeliest arm, with minus without the clip in runs of the same seed, at every step size and
  prior of the map.
- *one rollout batch*: log-odds of code and its tilt (`mechanism.tilt`) must both be resolved, with the same sign. A
  smaller loss alone decides nothing.
- *antithetic pairs*: log-odds of code, where all odd noise cancels.
- *dose–response*: slope of the effect over the prior's log-odds.

For C9 the clip has to work at γ = 0.001, with and without the released code's second whitening.

Usage: `mechanism_findings(mechanism_tables(results_dir()))`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spurious_rewards.evaluation.statistics import Interval
from spurious_rewards.evaluation.verdicts import CONTRADICTED, SUPPORTED, UNDECIDED
from spurious_rewards.mechanism.counterfactual_config import TABLES
from spurious_rewards.mechanism.questions import LIKELIER, questions_table
from spurious_rewards.reporting.words import p_words

NAMES = (
    "bandit_map", "bandit_bins", "antithetic", *TABLES.values(), "drift", "decision", "dose_response",
    "dose_counterfactual",
)  # fmt: skip
"""Tables in results/tables/mechanism that may be there."""
VERDICTS = {1: SUPPORTED, 0: UNDECIDED, -1: CONTRADICTED}
QUESTIONS = {
    LIKELIER: ("C4", "bandit", "bandit_map", "the clip's effect on the likelier arm"),
    "clip on code": ("C4", "one rollout batch", "counterfactual", "the clip's effect on code"),
    "antithetic: clip on code": ("C4", "antithetic pairs", "antithetic", "the clip's effect on code"),
    "dose: slope, seeds": ("C4", "organisms, short runs", "dose_response", "the clip's effect per unit of the prior"),
    "dose: slope, pairs": ("C4", "organisms, pairs", "dose_counterfactual", "the clip's effect per unit of the prior"),
    "rare rewards": ("C9", "bandit", "bandit_map", "the clip's effect on the likelier arm"),
}
"""Question → claim, where it was measured, table, and what the number is."""
TILT = "tilt towards code"
FINE = 0.001
"""Width of an interval below which four decimal places show too little of it."""


def mechanism_tables(results: Path) -> dict[str, pd.DataFrame]:
    """Read the committed tables of the mechanism: name → table, of those in `NAMES` that exist."""
    paths = {name: results / "tables" / "mechanism" / f"{name}.csv" for name in NAMES}
    return {name: pd.read_csv(path) for name, path in paths.items() if path.is_file()}


def mechanism_findings(tables: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    """Yield a row of the claims table for each setting at which a question about the two-sided clip was asked."""
    questions = questions_table(tables)
    questions = questions[questions["clip_mode"] == "two_sided"]
    tilts = questions[questions["question"] == TILT].set_index(["model", "setting"])
    for row in questions[questions["question"].isin(QUESTIONS)].to_dict("records"):
        if row["question"] == "rare rewards" and not row["setting"].startswith("sgd 2, γ 0.001"):
            continue
        claim, where, table, what = QUESTIONS[row["question"]]
        model = "" if row["model"] == "bandit" else f", {row['model']}"
        tilt = tilts.loc[(row["model"], row["setting"])] if table == "counterfactual" else None
        effect = Interval.from_row(row, "effect", row["n"])
        text = f"{what} {effect.text(row['unit'], _digits(effect))}"
        if tilt is not None:
            own = Interval.from_row(tilt, "effect")
            text += f", of which tilt {own.text('', _digits(own))}"
        verdict, why = _judged(row, tilt)
        units = "seeds" if where in ("bandit", "organisms, short runs") else "pairs"
        outcome = "code" if "code" in what or "prior" in what else "likelier arm"
        found = {"claim": claim, "scale": f"{where}{model}, {row['setting']}", "table": table, "outcome": outcome}
        found |= {"estimate": effect.estimate, "low": effect.low, "high": effect.high, "unit": row["unit"]}
        yield found | {"n": f"{effect.n} {units}", "measured": text, "verdict": verdict, "why": why}


def _digits(interval: Interval) -> int:
    """Return the decimal places that show limits: four, or more where an interval is narrower than they can show."""
    return 4 if not 0 < interval.high - interval.low < FINE else 6


def _judged(row: Mapping[str, Any], tilt: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return the verdict and reason from the resolved sign of an effect, and of its tilt where there is one."""
    if row["sign"] is None or np.isnan(row["sign"]):
        return UNDECIDED, "The importance weights are too uneven to tell."
    sign = int(row["sign"])
    if not sign:
        return UNDECIDED, f"The effect is not told from 0 (adjusted {p_words(row['p_holm'])})."
    if tilt is not None and int(tilt["sign"]) != sign:
        return UNDECIDED, "The effect is told from 0, its tilt is not: a smaller loss alone decides nothing."
    side = "above" if sign > 0 else "below"
    return VERDICTS[sign], f"The effect lies {side} 0 (adjusted {p_words(row['p_holm'])})."
