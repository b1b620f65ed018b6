"""Compute the contamination probe's table: how much a model completes of each problem set, against fresh problems.

Usage: `probe(available("smollm-eval"))`
"""

from __future__ import annotations

import pandas as pd

from spurious_rewards.evaluation.probe import holds_number, summarise_probe
from spurious_rewards.evaluation.statistics import proportion_difference
from spurious_rewards.reporting.collect import Records

CLEAN = "synthetic_test"
"""The problem set that no model can have seen: generated; in each family its operands are none of training."""
PROBED = ("model", "boundary", "max_new_tokens", "engine", "dtype")
"""What two probes must share to be compared."""


def probe(records: Records) -> pd.DataFrame:
    """Tabulate each probed model, problem set and share shown, with the columns of `summarise_probe`.

    `…_minus_clean` is the difference to the clean task, probed in the same way at the same share, with Newcombe's 95 %
    limits. For exact matches of any rest it may be above 0 because a problem set ends in stock phrases; where that of
    rests with numbers is above 0, a model knows more than can be guessed.
    """
    if records.probes.empty:
        return pd.DataFrame()
    rows = []
    for (benchmark, *probed), group in records.probes.groupby(["benchmark", *PROBED], sort=False):
        same = (records.probes[list(PROBED)] == probed).all(axis=1)
        clean = records.probes[same & (records.probes["benchmark"] == CLEAN)]
        for row in summarise_probe(group).to_dict("records"):
            here, there = (rows_[rows_["percent"] == row["percent"]] for rows_ in (group, clean))
            found = {"model": probed[0], "benchmark": benchmark, **dict(zip(PROBED, probed, strict=True)), **row}
            rows.append(found if benchmark == CLEAN or there.empty else found | minus_clean(here, there))
    return pd.DataFrame(rows)


def minus_clean(here: pd.DataFrame, clean: pd.DataFrame) -> dict[str, float]:
    """Subtract exact match and accuracy of one set of problems from those of another, independent one."""
    with_numbers = [rows.loc[holds_number(rows["rest"]), "exact_match"] for rows in (here, clean)]
    found: dict[str, float] = {}
    for name, (one, two) in {
        "exact_match": (here["exact_match"], clean["exact_match"]),
        "exact_match_numbers": with_numbers,
        "accuracy": (here["correct"], clean["correct"]),
    }.items():
        difference = proportion_difference(int(one.sum()), len(one), int(two.sum()), len(two))
        found |= difference.columns(f"{name}_minus_clean")
    return found
