"""The figures of the code-reasoning analysis, made from the records of a profile like those of `reporting.figures`.

Colours and line styles are the report's: colour for the clip mode, dashes for what else makes an arm. A figure whose
table is empty is None.

Usage: `show_all(behaviour_figure(records))` in a notebook; `all_figures(records)` in the report.
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from spurious_rewards.evaluation.strategy_analysis import SWITCHES
from spurious_rewards.reporting import reasoning_tables
from spurious_rewards.reporting.collect import Records
from spurious_rewards.reporting.figures import show, styles
from spurious_rewards.reporting.tables import FURTHER, arm_name

SWITCH_NAMES = {"CC": "code → code", "CL": "code → language", "LC": "language → code", "LL": "language → language"}
SWITCH_COLOURS = {"CC": "#3366aa", "CL": "#dd7722", "LC": "#228833", "LL": "#999999"}
_LAYOUT = {"template": "plotly_white", "width": 960, "height": 430, "margin": {"l": 70, "r": 20, "t": 70, "b": 60}}
_BELOW = {"orientation": "h", "y": -0.2, "font": {"size": 11}}


def all_figures(records: Records) -> dict[str, go.Figure]:
    """Name → figure; what a profile did not run is left out."""
    figures = {
        "strategies": strategy_figure(records),
        "switches": switch_figure(records),
        "behaviour": behaviour_figure(records),
        "prompts": prompt_figure(records),
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def show_all(*figures: go.Figure | None) -> None:
    """Display in a notebook those that exist."""
    for figure in figures:
        if figure is not None:
            show(figure)


def strategy_figure(records: Records) -> go.Figure | None:
    """Table 1: accuracy with and without code of every arm and cell, with 95 % limits; size: how many answers."""
    table = reasoning_tables.strategies(records)
    if table.empty:
        return None
    figure = go.Figure()
    further = [name for name in ("benchmark", *FURTHER) if name in table and table[name].nunique() > 1]
    labels = [
        ", ".join(
            [f"{row['arm']} · {row['prompt_style']}, T = {row['temperature']:g}", *(str(row[name]) for name in further)]
        )
        for _, row in table.iterrows()
    ]
    for name, words, colour in (("code", "with code", "#3366aa"), ("language", "without", "#dd7722")):
        value = table[f"accuracy_{name}"]
        figure.add_scatter(
            x=value,
            y=labels,
            mode="markers",
            name=words,
            text=[f"n = {n}" for n in table[f"n_{name}"]],
            marker={"color": colour, "size": 5 + 9 * table[f"n_{name}"] / table["n_answers"]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": table[f"accuracy_{name}_high"] - value,
                "arrayminus": value - table[f"accuracy_{name}_low"],
            },
        )
    figure.update_yaxes(autorange="reversed", automargin=True)
    return figure.update_layout(
        **{**_LAYOUT, "height": 160 + 28 * len(table)},
        legend={"font": {"size": 11}},
        title=f"Accuracy by strategy ({table['n_problems'].max()} problems)",
        xaxis_title="accuracy of these answers, with 95 % limits",
    )


def switch_figure(records: Records) -> go.Figure | None:
    """Fig 7: what each switch of strategy adds to an arm's accuracy, in points; the four bars add up to the total."""
    table = reasoning_tables.switches(records)
    if table.empty:
        return None
    if table["benchmark"].nunique() > 1:
        table = table.assign(arm=table["arm"] + " · " + table["benchmark"])
    figure = go.Figure()
    for switch in SWITCHES:
        rows = table[table["switch"] == switch]
        figure.add_bar(
            y=rows["arm"],
            x=100 * rows["gain"],
            name=SWITCH_NAMES[switch],
            orientation="h",
            marker_color=SWITCH_COLOURS[switch],
            hovertext=[f"n = {n}" for n in rows["n"]],
        )
    total = table.drop_duplicates("arm")
    figure.add_scatter(
        y=total["arm"],
        x=100 * total["total_gain"],
        mode="markers",
        name="total",
        marker={"color": "black", "symbol": "diamond", "size": 9},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": 100 * (total["total_gain_high"] - total["total_gain"]),
            "arrayminus": 100 * (total["total_gain"] - total["total_gain_low"]),
        },
    )
    figure.update_yaxes(autorange="reversed", automargin=True)
    return figure.update_layout(
        **{**_LAYOUT, "height": 200 + 45 * len(total)},
        barmode="relative",
        title=f"Change of greedy accuracy by switch of strategy ({total['n_problems'].max()} "
        f"problems × {total['n_seeds'].max()} seeds)",
        xaxis_title="points of accuracy (95 % limits of the total over problems)",
    )


def behaviour_figure(records: Records) -> go.Figure | None:
    """Fig 6: code frequency and reward of the rollouts over training, mean of the seeds; diamonds: greedy evaluations.

    The reward is accuracy only under the ground-truth reward; the diamonds of the right panel are accuracy always, on
    the first benchmark that was evaluated.
    """
    if records.metrics.empty:
        return None
    figure = make_subplots(rows=1, cols=2, subplot_titles=("share of answers with code", "mean reward; ◆ accuracy"))
    style, columns = styles(records), records.arm_columns()
    first = records.metrics[records.metrics["update_in_batch"] == 1]
    points = reasoning_tables.evaluated_points(records)
    points = points[(points["temperature"] == 0) & (points["prompt_style"] == reasoning_tables.main_prompt(records))]
    points = points[points["benchmark"] == records.samples["benchmark"].iloc[0]]
    panels = (("code_frequency", "uses_code"), ("reward_mean", "correct"))
    for _, seeds in records.runs.groupby(columns, sort=False):
        name = arm_name(seeds.iloc[0], columns)
        colour, dash = style[seeds.iloc[0]["run_id"]]
        rollouts = first[first["run_id"].isin(seeds["run_id"])].groupby("rollout_batch")
        evaluated = points[points["arm"] == name].groupby("rollout_batch")
        for panel, (metric, verdict) in enumerate(panels, start=1):
            means = rollouts[metric].mean()
            figure.add_scatter(
                x=means.index,
                y=means,
                mode="lines",
                name=name,
                legendgroup=name,
                showlegend=panel == 1,
                line={"color": colour, "dash": dash, "width": 2},
                row=1,
                col=panel,
            )
            marks: pd.Series = evaluated[verdict].mean().astype(float)
            figure.add_scatter(
                x=marks.index,
                y=marks,
                mode="markers",
                legendgroup=name,
                showlegend=False,
                name=f"{name}, greedy",
                marker={"color": colour, "symbol": "diamond", "size": 9},
                row=1,
                col=panel,
            )
    figure.update_xaxes(title_text="rollout batches trained on")
    n_seeds = records.runs.groupby(columns)["seed"].nunique().min()
    return figure.update_layout(**_LAYOUT, legend=_BELOW, title=f"Behaviour over training (n = {n_seeds} seeds)")


def prompt_figure(records: Records) -> go.Figure | None:
    """Table 5: the base model's accuracy and code frequency under every prompt, with 95 % limits."""
    table = reasoning_tables.prompts(records)
    if table.empty:
        return None
    figure = go.Figure()
    labels = [f"{row.prompt_style} · {row.model}, {row.benchmark}" for row in table.itertuples()]
    for name, words, colour in (("accuracy", "accuracy", "#3366aa"), ("code", "share with code", "#dd7722")):
        figure.add_scatter(
            x=table[name],
            y=labels,
            mode="markers",
            name=words,
            marker={"color": colour, "size": 9},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": table[f"{name}_high"] - table[name],
                "arrayminus": table[name] - table[f"{name}_low"],
            },
        )
    figure.update_yaxes(autorange="reversed", automargin=True)
    return figure.update_layout(
        **{**_LAYOUT, "height": 170 + 26 * len(table)},
        legend=_BELOW,
        title=f"One model, many prompts (greedy, {table['n_problems'].max()} problems)",
        xaxis_title="share of answers, with 95 % limits",
    )
