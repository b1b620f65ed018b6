"""The control report as figure and as one page that stands alone.

Usage: `write_page(control_report(records), folder)`
"""

from __future__ import annotations

import base64
import math
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from spurious_rewards.reporting.control import PARTS, RULE, Control
from spurious_rewards.reporting.drawing import ROW_PIXELS, ZERO, all_labels, error_bar, panels, style
from spurious_rewards.reporting.images import png
from spurious_rewards.reporting.site import environment
from spurious_rewards.reporting.words import BASE_COLOUR, reward_words
from spurious_rewards.storage.files import write_text
from spurious_rewards.workflow.doctor import browser_path

PAGE = "control.html"
CONTROLS = {
    "control": "control", "n_seeds": "seeds", "gain": "its gain", "yours_minus_it": "yours minus it",
    "verdict": "explains of yours",
}  # fmt: skip
ARMS = {
    "arm": "model", "n_seeds": "seeds", "accuracy": "accuracy", "boxed": "boxed", "parsable": "with an answer",
    "cut_off": "cut off", "code": "code", "mean_tokens": "tokens",
}  # fmt: skip
PROMPTS = {
    "prompt_style": "prompt", "n_problems": "problems", "accuracy": "accuracy", "difference": "minus your prompt",
    "boxed": "boxed", "parsable": "with an answer", "cut_off": "cut off",
}  # fmt: skip
FORCED = {
    "prompt_style": "prompt", "accuracy": "free", "accuracy_forced": "forced to code", "difference": "difference",
    "code_advantage": "code minus words",
}  # fmt: skip
PROBE = {
    "benchmark": "problems", "percent": "shown, %", "n_problems": "n", "exact_match_numbers": "exact, with a number",
    "exact_match_numbers_minus_clean": "minus fresh problems", "cut_off": "cut off",
}  # fmt: skip
VERIFIER = {
    "verifier": "verifier", "n_right": "right answers", "called_wrong": "called wrong", "n_wrong": "wrong answers",
    "called_right": "called right",
}  # fmt: skip
DIFFERENCES = ("gain", "yours_minus_it", "difference", "code_advantage", "exact_match_numbers_minus_clean")
"""Columns that are differences of proportions: shown in points, with their sign."""
COUNTS = ("n_seeds", "n_problems", "n_right", "n_wrong", "percent", "mean_tokens")


def controls_figure(control: Control) -> go.Figure:
    """Draw the user's gain and that of every control, with limits."""
    mine = {"control": f"yours: {reward_words(control.reward)}", "gain": control.gain.estimate,
            "gain_low": control.gain.low, "gain_high": control.gain.high}  # fmt: skip
    rows = pd.concat([pd.DataFrame([mine]), control.controls], ignore_index=True)
    figure, height = panels([""], 1, ROW_PIXELS * len(rows) + 14)
    all_labels(figure, list(rows["control"]), 1, 1)
    figure.add_scatter(
        x=100 * rows["gain"], y=list(range(len(rows))), mode="markers", error_x=error_bar(rows, "gain", 100),
        showlegend=False, marker={"size": 10, "color": ["#0072b2", *[BASE_COLOUR] * (len(rows) - 1)]},
    )  # fmt: skip
    figure.add_vline(0, line=ZERO)
    figure.update_xaxes(title_text="change of accuracy, points")
    return style(figure, f"What {control.model} gained, and what controls gain", height, "lines: 95 % limits")


def tables(control: Control) -> list[tuple[str, str, list[list[str]]]]:
    """Lay out the page's tables: title, what to look for, rows of texts with the head first (no rows where none)."""
    return [
        ("Your gain and the controls", "Gains in points; 0 seeds: no training.", rows_of(control.controls, CONTROLS)),
        ("The answers before and after", "In per cent. Fewer boxes before than after: the gain is partly form.",
         rows_of(control.arms, ARMS)),
        ("The untrained model under every prompt", "The spread is the real \"before\".",
         rows_of(control.prompts, PROMPTS)),
        ("Forced code", "The answer is made to begin with a sentence on Python.", rows_of(control.forced, FORCED)),
        ("Memory", "Exact continuations of problems beyond those of fresh ones speak for memory.",
         rows_of(control.probe, PROBE)),
        ("Verifiers", "Against the robust grader, which is not infallible: read the disagreements in the notebook.",
         rows_of(control.verifier, VERIFIER)),
    ]  # fmt: skip


def rows_of(table: pd.DataFrame, columns: dict[str, str]) -> list[list[str]]:
    """Write a table as rows of texts, limits in brackets behind their value; empty for an empty table."""
    if table.empty:
        return []
    names = [name for name in columns if name in table]
    return [[columns[name] for name in names], *([shown(row, name) for name in names] for _, row in table.iterrows())]


def shown(row: pd.Series, name: str) -> str:
    """Write one value: a share in per cent, a difference in points, with limits where there are some.

    >>> shown(pd.Series({"gain": 0.05, "gain_low": 0.01, "gain_high": 0.09}), "gain")
    '+5.0 [+1.0, +9.0]'
    >>> shown(pd.Series({"code": 0.5}), "code")
    '50.0'
    """
    value = row[name]
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return ""
    if name in COUNTS:
        return f"{value:.0f}"
    form = "+.1f" if name in DIFFERENCES else ".1f"
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    limits = ""
    if low is not None and high is not None and pd.notna(low):
        limits = f" [{100 * low:{form}}, {100 * high:{form}}]" if math.isfinite(low) else " (no interval)"
    return f"{100 * value:{form}}{limits}"


def write_page(control: Control, folder: Path) -> Path:
    """Write the page, with its figure inside where a browser can draw it, and return its path."""
    figure = controls_figure(control)
    image = png(figure) if browser_path() else None
    text = environment().get_template("control.html.j2").render(
        control=control, rule=RULE, tables=tables(control), parts=PARTS,
        image=base64.b64encode(image).decode() if image else "",
        alternative="; ".join([control.answer(), *control.others()]),
    )  # fmt: skip
    write_text(folder / PAGE, text)
    return folder / PAGE
