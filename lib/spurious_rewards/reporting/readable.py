"""Tables as readers see them: limits beside their value, units in the head, rounding to what the limits support.

Columns that hold the same value in every row go to the caption; a table shows at most ten columns, its CSV has all.

Usage: `readable(pd.read_csv(path))` for a page, `in_words(table, ["arm", "accuracy"])` in a notebook.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from spurious_rewards.reporting.words import arm_words, clip_words, compact, reward_words

MOST_COLUMNS = 10
HEADS = {
    "arm": "arm",
    "model": "model",
    "benchmark": "benchmark",
    "prompt_style": "prompt",
    "temperature": "T",
    "learning_rate": "step size",
    "clip_mode": "clip",
    "n_seeds": "seeds",
    "n_problems": "problems",
    "n_answers": "answers",
    "n_updates": "updates",
    "n_pairs": "pairs",
    "k": "samples",
    "accuracy": "accuracy",
    "code": "share of code",
    "accuracy_change": "change of accuracy",
    "code_change": "change of code",
    "accuracy_difference": "accuracy, mode − without clip",
    "code_difference": "code, mode − without clip",
    "clip_fraction_later_mean": "clip fraction",
    "clip_fraction_update_1_max": "clip fraction, update 1",
    "would_clip_high_later_mean": "above the band",
    "would_clip_low_later_mean": "below the band",
    "mean_tokens": "tokens",
    "cut_off": "cut off",
    "boxed": "with a box",
    "parsable": "with an answer",
    "accuracy_code": "right in code",
    "accuracy_language": "right in words",
    "accuracy_forced": "accuracy, forced code",
    "accuracy_before": "right before",
    "accuracy_after": "right after",
    "n_code": "answers in code",
    "n_language": "answers in words",
    "n_arms": "number of arms",
    "p_holm": "p (Holm)",
    "percent": "shown, %",
    "gamma": "γ",
    "peak_memory_mb": "memory, MB",
    "tokens_per_second": "tokens per second",
    "completion_tokens": "tokens",
    "dirty": "uncommitted changes",
}
SHARES = (
    "accuracy", "code", "boxed", "parsable", "cut_off", "clip_fraction", "would_clip", "exact_match", "share",
    "code_frequency", "frequency", "pass_at",
)  # fmt: skip
"""Columns whose names begin so are proportions, shown in percent."""
DIFFERENCES = ("change", "difference", "gain", "minus_clean")
"""Columns whose names end so are differences of proportions, shown in points with their sign."""
HIDDEN = ("losses", "seeds", "accuracy_difference_per_seed", "code_difference_per_seed", "run_id")
"""Columns that only the CSV shows."""


@dataclass(frozen=True)
class Cell:
    """Hold one cell: its text, and the number by which a column is sorted (None for text)."""

    text: str
    sort: float | None = None


@dataclass(frozen=True)
class Table:
    """Hold a table for readers: heads, rows of cells, and what all rows share."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    constant: str


def unit_of(name: str) -> str:
    """Name the unit of a column: `points` for differences of proportions, `%` for proportions, else nothing.

    >>> unit_of("accuracy_change"), unit_of("code"), unit_of("entropy_first")
    ('points', '%', '')
    """
    if name.endswith(DIFFERENCES):
        return "points"
    return "%" if name.startswith(SHARES) else ""


def interval_text(value: float, low: float, high: float, unit: str) -> str:
    """Write a value with its 95 % limits, rounded to what they support.

    >>> interval_text(0.02875, -0.01875, 0.0787, "points"), interval_text(0.5, float("nan"), float("nan"), "%")
    ('+2.9 [−1.9, +7.9]', '50.0')
    """
    scale = 100 if unit in ("%", "points") else 1
    known = [x for x in (low, high) if x is not None and math.isfinite(x)]
    width = scale * (high - low) if len(known) == 2 else 0.0
    digits = 1 if scale == 100 else 3
    if width > 0:
        digits = min(max(digits if scale == 100 else 0, 1 - math.floor(math.log10(width))), 6)
    form = f"{'+' if unit == 'points' else ''}.{digits}f"
    texts = [format(scale * x, form).replace("-", "−") for x in (value, *known)]
    return texts[0] if len(known) < 2 else f"{texts[0]} [{texts[1]}, {texts[2]}]"


def plain(name: str, value: Any) -> Cell:
    """Write one value of a column that has no limits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Cell("–")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        unit = unit_of(name)
        if name.startswith("p_") and value < 0.001:
            return Cell("< 0.001", float(value))
        if isinstance(value, float) and unit and math.isfinite(value):
            digits = 1 if abs(value) >= 0.001 or value == 0 else 3
            return Cell(f"{100 * value:{'+' if unit == 'points' else ''}.{digits}f}".replace("-", "−"), 100 * value)
        text = f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if abs(value) < 1e5 else f"{value:,.0f}"
        return Cell(text.replace("-", "−") if not text.startswith("1e-") else text, float(value))
    text = str(value)
    if name == "arm":
        return Cell(arm_words(text))
    if name == "clip_mode":
        return Cell(clip_words(text))
    if name == "reward":
        return Cell(reward_words(text))
    return Cell(text[:10] if name == "commit" else text)


def readable(table: pd.DataFrame) -> Table:
    """Turn a table of `results/tables` into what the page shows."""
    limits = {name for column in table for name in (f"{column}_low", f"{column}_high")} & set(table)
    columns = [str(name) for name in table if name not in limits and name not in HIDDEN]
    same = [
        name
        for name in columns
        if len(table) > 1 and f"{name}_low" not in table and table[name].nunique(dropna=False) == 1
    ]
    constant = "; ".join(
        f"{HEADS.get(name, name.replace('_', ' '))}: {plain(name, table[name].iloc[0]).text}" for name in same
    )
    columns = [name for name in columns if name not in same]
    settings = "arm" in columns and table["arm"].map(arm_words).nunique() < table["arm"].nunique()
    if settings:  # the words leave out in what else arms differ
        table = table.assign(setting=[", ".join(str(arm).split(", ")[2:]) for arm in table["arm"]])
        columns.insert(columns.index("arm") + 1, "setting")
    shown = columns[:MOST_COLUMNS]
    return Table(_heads(shown), _rows(table, shown), constant)


def in_words(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Make the table of a notebook: chosen columns as text, with their limits beside them and units in the head.

    Args:
        table: of proportions in [0, 1], with limits in `_low` and `_high`.
        columns: to show, limits not counted; those that the table lacks are left out.

    Raises:
        InputError: more than eight columns, which no page of a notebook holds.
    """
    names = list(compact(table, dict(zip(columns, columns, strict=True))))
    if "arm" in names and table["arm"].map(arm_words).nunique() < table["arm"].nunique():
        table = table.assign(arm=[", ".join([arm_words(arm), *arm.split(", ")[2:]]) for arm in table["arm"]])
    texts = [[cell.text for cell in row] for row in _rows(table, names)]
    return pd.DataFrame(texts, columns=list(_heads(names)))


def _heads(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        HEADS.get(name, name.replace("_", " ")) + (f", {unit}" if (unit := unit_of(name)) else "") for name in names
    )


def _rows(table: pd.DataFrame, names: Sequence[str]) -> tuple[tuple[Cell, ...], ...]:
    rows = []
    for row in table.to_dict("records"):
        cells = []
        for name in names:
            if f"{name}_low" in row and isinstance(row[name], float) and math.isfinite(row[name]):
                low, high = row[f"{name}_low"], row[f"{name}_high"]
                if unit_of(name) and high - low > 1:  # wider than all that a proportion can change by in one direction
                    low = high = math.nan
                text = interval_text(row[name], low, high, unit_of(name))
                seeds = f" ({row['n_seeds']} seeds: no interval)" if math.isnan(low) and row.get("n_seeds") else ""
                cells.append(Cell(text + seeds, row[name]))
            else:
                cells.append(plain(name, row[name]))
        rows.append(tuple(cells))
    return tuple(rows)
