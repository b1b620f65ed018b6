"""Show what a verifier with errors teaches, by its quality: from one that is always right over a coin to a liar.

The quality is J = 1 − false positives − false negatives (Youden's J): 1 for a verifier that is always right, 0 for a
coin, below 0 where wrong answers are paid more often than right ones. arXiv 2601.04411 has learning start at J = 0;
here each quality is run with and without the clip, which might move that point.

Usage: `verifier_quality(records)`, and `verifier_figure(records)` for the figure.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from spurious_rewards.evaluation.crossed import effect
from spurious_rewards.reporting.arms import cell_columns, changes
from spurious_rewards.reporting.collect import Records, once
from spurious_rewards.reporting.drawing import ZERO, error_bar, panels, style
from spurious_rewards.reporting.words import clip_colour, clip_words, seeds_words, settings_told

NOISY, TRUE = "noisy_ground_truth", "ground_truth"
ERRORS = ("false_positive", "false_negative")
CHANGES = {"accuracy_change": ("correct", "accuracy, points"), "code_change": ("uses_code", "share of code, points")}
LENGTH = "rollout_batches"
LIMITS = [f"{name}{end}" for name in CHANGES for end in ("", "_low", "_high")]
MEASURED = ("clip_mode", *ERRORS, "quality", "n_seeds", "n_problems", *LIMITS)
"""Columns of the table that do not tell two settings apart."""


@once
def verifier_quality(records: Records) -> pd.DataFrame:
    """Tabulate the change of accuracy and code by quality of the verifier and clip mode, greedy, best quality first.

    Limits are 95 % over seeds and problems. Runs with true rewards stand at J = 1, after as many rollout batches: of
    longer runs, the checkpoint of that length is taken where it was evaluated. Empty without a verifier with errors.
    """
    runs = records.runs
    if runs.empty or not runs["reward"].eq(NOISY).any():
        return pd.DataFrame()
    shared = [name for name in records.arm_columns() if name not in ("reward", "gamma", "clip_mode", *ERRORS, LENGTH)]
    samples, cell = records.samples[records.samples["temperature"].eq(0)], cell_columns(records)
    cell = list(dict.fromkeys([*cell, "model"]))
    bases = dict(list(samples[samples["trained_run"].eq("")].groupby(cell, sort=False)))
    rows = []
    for key, noisy in runs[runs["reward"].eq(NOISY)].groupby([*shared, LENGTH], sort=False):
        values = dict(zip([*shared, LENGTH], key, strict=True))
        same = pd.concat([_with_true_rewards(runs, values), noisy])
        for (mode, *errors), seeds in same.groupby(["clip_mode", *ERRORS], sort=False):
            for where, after in _after(samples, seeds, values[LENGTH]).groupby(cell, sort=False):
                if where not in bases:
                    continue
                row = {**values, **dict(zip(cell, where, strict=True)), "clip_mode": mode}
                row |= {**dict(zip(ERRORS, errors, strict=True)), "quality": round(1 - sum(map(float, errors)), 6)}
                row |= {"n_seeds": after["trained_run"].nunique(), "n_problems": after["problem_id"].nunique()}
                for name, (column, _) in CHANGES.items():
                    row |= effect(changes(after, bases[where], column)).cut(-1, 1).columns(name)
                rows.append(row)
    table = pd.DataFrame(rows)
    return table.sort_values("quality", ascending=False, kind="stable", ignore_index=True) if rows else table


def _with_true_rewards(runs: pd.DataFrame, values: Mapping[str, object]) -> pd.DataFrame:
    """Select the runs with true rewards that share these settings; of a seed run twice, the shorter run."""
    true = runs[runs["reward"].eq(TRUE)]
    for name, value in values.items():
        true = true[true[name].eq(value)] if name != LENGTH else true[true[name].ge(value)]
    return true.sort_values(LENGTH).drop_duplicates(["seed", "clip_mode"])


def _after(samples: pd.DataFrame, runs: pd.DataFrame, batches: int) -> pd.DataFrame:
    """Select the answers of these runs after so many rollout batches: at the end, or of a checkpoint."""
    of_run = runs.set_index("run_id")
    checkpoint = (batches * of_run["updates_per_batch"]).where(of_run[LENGTH].ne(batches), 0)
    return samples[samples["checkpoint"].eq(samples["trained_run"].map(checkpoint))]


def verifier_figure(records: Records) -> go.Figure | None:
    """Draw the change of accuracy and code against the quality of the verifier; None without a verifier with errors.

    A row of panels per model and whatever else tells runs and evaluations apart.
    """
    table = verifier_quality(records)
    if table.empty:
        return None
    settings = [name for name in table if name not in MEASURED and (name == "model" or table[name].nunique() > 1)]
    groups = [(dict(zip(settings, key, strict=True)), rows) for key, rows in table.groupby(settings, sort=False)]
    titles = [
        f"<b>{', '.join([str(values['model']), *settings_told(_but_model(values))])}: change of {words}</b>"
        for values, _ in groups
        for _, words in CHANGES.values()
    ]
    figure, height = panels(titles, 2, 300, shared_xaxes=True, horizontal_spacing=0.1)
    shown = set()
    for i, (_, here) in enumerate(groups, start=1):
        for column, name in enumerate(CHANGES, start=1):
            for mode, rows in here.groupby("clip_mode", sort=False):
                line = "lines+markers" if rows["quality"].is_unique else "markers"
                figure.add_scatter(
                    x=rows["quality"], y=100 * rows[name], error_y=error_bar(rows, name, 100), mode=line,
                    name=clip_words(mode), legendgroup=mode, showlegend=mode not in shown,
                    line={"color": clip_colour(mode), "width": 1.5}, marker={"size": 9}, row=i, col=column,
                    text=[seeds_words(n) for n in rows["n_seeds"]],
                    hovertemplate="J = %{x}: %{y:+.1f} points, %{text}<extra></extra>",
                )  # fmt: skip
                shown.add(mode)
            figure.add_hline(0, line=ZERO, row=i, col=column)
            figure.add_vline(0, line=ZERO, row=i, col=column)
    figure.update_xaxes(title_text="quality J of the verifier (1: always right, 0: a coin)", row=len(groups))
    same = {name: table[name].iloc[0] for name in table if name not in (*settings, *MEASURED)}
    told = settings_told({name: value for name, value in same.items() if name in records.runs})
    seeds = seeds_words(int(table["n_seeds"].min()), int(table["n_seeds"].max()))
    note = "; ".join([*told, f"n = {table['n_problems'].max()} problems, {seeds} per point; lines: 95 % limits"])
    return style(figure, "What a verifier with errors teaches, by its quality", height, note)


def _but_model(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if name != "model"}
