"""Show what a verifier with errors teaches, by its quality: from one that is always right over a coin to a liar.

The quality is J = 1 − false positives − false negatives (Youden's J): 1 for a verifier that is always right, 0 for a
coin, below 0 where wrong answers are paid more often than right ones. Theory has learning start at J = 0 whatever the
clip does (arXiv 2601.04411); here each quality is run with and without the clip.

Usage: `verifier_quality(records)`, and `verifier_figure(records)` for the figure.
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from spurious_rewards.evaluation.crossed import effect
from spurious_rewards.reporting.arms import changes
from spurious_rewards.reporting.collect import Records
from spurious_rewards.reporting.drawing import ZERO, error_bar, panels, style
from spurious_rewards.reporting.words import clip_colour, clip_words, seeds_words, settings_told

NOISY, TRUE = "noisy_ground_truth", "ground_truth"
ERRORS = ("false_positive", "false_negative")
CHANGES = {"accuracy_change": ("correct", "accuracy, points"), "code_change": ("uses_code", "share of code, points")}
LENGTH = "rollout_batches"


def verifier_quality(records: Records) -> pd.DataFrame:
    """Tabulate the change of accuracy and code by quality of the verifier and clip mode, greedy, best quality first.

    Limits are 95 % over seeds and problems. Runs with true rewards stand at J = 1, after as many rollout batches: of
    longer runs, the checkpoint of that length is taken where it was evaluated. Empty without a verifier with errors.
    """
    runs = records.runs
    if runs.empty or not runs["reward"].eq(NOISY).any():
        return pd.DataFrame()
    shared = [name for name in records.arm_columns() if name not in ("reward", "gamma", "clip_mode", *ERRORS, LENGTH)]
    noisy, rows = runs[runs["reward"].eq(NOISY)], []
    samples = records.samples[records.samples["temperature"].eq(0)]
    for key, same in noisy.groupby([*shared, LENGTH], sort=False):
        values = dict(zip([*shared, LENGTH], key, strict=True))
        true = runs[runs["reward"].eq(TRUE)]
        for name in shared:
            true = true[true[name].eq(values[name])]
        for (mode, *errors), seeds in pd.concat([true, same]).groupby(["clip_mode", *ERRORS], sort=False):
            for benchmark, after in _after(samples, seeds, values[LENGTH]).groupby("benchmark", sort=False):
                before = samples[samples["trained_run"].eq("") & samples["benchmark"].eq(benchmark)]
                before = before[before["model"].eq(after["model"].iloc[0])]
                row = {**values, "model": after["model"].iloc[0], "benchmark": benchmark, "clip_mode": mode}
                row |= {**dict(zip(ERRORS, errors, strict=True)), "quality": round(1 - sum(errors), 6)}
                row |= {"n_seeds": after["trained_run"].nunique(), "n_problems": after["problem_id"].nunique()}
                for name, (column, _) in CHANGES.items():
                    row |= effect(changes(after, before, column)).cut(-1, 1).columns(name)
                rows.append(row)
    return pd.DataFrame(rows).sort_values("quality", ascending=False, kind="stable", ignore_index=True)


def _after(samples: pd.DataFrame, runs: pd.DataFrame, batches: int) -> pd.DataFrame:
    """Select the answers of these runs after so many rollout batches: at the end, or of a checkpoint."""
    of_run = runs.set_index("run_id")
    checkpoint = (batches * of_run["updates_per_batch"]).where(of_run[LENGTH].ne(batches), 0)
    return samples[samples["checkpoint"].eq(samples["trained_run"].map(checkpoint))]


def verifier_figure(records: Records) -> go.Figure | None:
    """Draw the change of accuracy and code against the quality of the verifier; None without a verifier with errors."""
    table = verifier_quality(records)
    if table.empty:
        return None
    models = list(dict.fromkeys(table["model"]))
    titles = [f"<b>{model}: change of {words}</b>" for model in models for _, words in CHANGES.values()]
    figure, height = panels(titles, 2, 300, shared_xaxes=True, horizontal_spacing=0.1)
    for i, model in enumerate(models, start=1):
        for column, name in enumerate(CHANGES, start=1):
            for mode, rows in table[table["model"].eq(model)].groupby("clip_mode", sort=False):
                figure.add_scatter(
                    x=rows["quality"], y=100 * rows[name], error_y=error_bar(rows, name, 100), mode="lines+markers",
                    name=clip_words(mode), legendgroup=mode, showlegend=i == column == 1,
                    line={"color": clip_colour(mode), "width": 1.5}, marker={"size": 9}, row=i, col=column,
                    text=[seeds_words(n) for n in rows["n_seeds"]],
                    hovertemplate="J = %{x}: %{y:+.1f} points, %{text}<extra></extra>",
                )  # fmt: skip
            figure.add_hline(0, line=ZERO, row=i, col=column)
            figure.add_vline(0, line=ZERO, row=i, col=column)
    figure.update_xaxes(title_text="quality J of the verifier (1: always right, 0: a coin)", row=len(models))
    told = settings_told({name: table[name].iloc[0] for name in ("learning_rate", LENGTH) if name in table})
    seeds = seeds_words(int(table["n_seeds"].min()), int(table["n_seeds"].max()))
    note = ", ".join([*told, f"n = {table['n_problems'].max()} problems, {seeds} per point; lines: 95 % limits"])
    return style(figure, "What a verifier with errors teaches, by its quality", height, note)
