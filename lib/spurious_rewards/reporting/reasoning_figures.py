"""Draw the figures of the code-reasoning analysis from the records of a profile; those without data are None.

Usage: `show_all(behaviour_figure(records))` in a notebook; `all_figures(records)` in the report.
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from spurious_rewards.evaluation.strategy_analysis import SWITCHES
from spurious_rewards.reporting import reasoning_tables
from spurious_rewards.reporting.arms import FURTHER, arm_name
from spurious_rewards.reporting.collect import Records
from spurious_rewards.reporting.drawing import ROW_PIXELS, ZERO, all_labels, error_bar, panels, show, style
from spurious_rewards.reporting.figures import panel_columns, panel_words
from spurious_rewards.reporting.words import (
    arm_words,
    clip_colour,
    clip_words,
    reward_words,
    seeds_words,
    setting_of_arm,
    settings_told,
    spoken,
    usual_settings,
)

SWITCH_NAMES = {"CC": "code → code", "CL": "code → language", "LC": "language → code", "LL": "language → language"}
SWITCH_COLOURS = {"CC": "#0072b2", "CL": "#e69f00", "LC": "#009e73", "LL": "#8a94a0"}
STRATEGIES = (("code", "with code", "#0072b2", "circle"), ("language", "without code", "#e69f00", "square"))
MOST_ROWS = 40
"""Rows of a figure that a reader can hold."""


def all_figures(records: Records) -> dict[str, go.Figure]:
    """Draw all figures of this module, by name; what a profile did not run is left out."""
    made = {"strategies": strategy_figure, "switches": switch_figure, "prompts": prompt_figure}
    figures = {name: draw(records) for name, draw in made.items()}
    return {name: figure for name, figure in figures.items() if figure is not None}


def show_all(*figures: go.Figure | None) -> None:
    """Display in a notebook those that exist."""
    for figure in figures:
        if figure is not None:
            show(figure)


def row_labels(table: pd.DataFrame) -> list[str]:
    """Name the rows of a table by arm, settings and, where they differ, model, benchmark, prompt and temperature.

    Settings of most arms are left out; `usual_words` tells them.
    """
    usual = usual_settings(table["arm"])
    further = [name for name in ("model", "benchmark", *FURTHER[1:]) if name in table and table[name].nunique() > 1]
    labels = []
    for _, row in table.iterrows():
        parts = [arm_words(row["arm"]), *(str(row[name]) for name in further)]
        if "temperature" in table and table["temperature"].nunique() > 1:
            parts.append(f"T = {row['temperature']:g}")
        if "prompt_style" in table and table["prompt_style"].nunique() > 1:
            parts.append(str(row["prompt_style"]))
        parts += setting_of_arm(str(row["arm"]), usual).split(", ")
        labels.append(", ".join(dict.fromkeys(filter(None, parts))))
    return labels


def usual_words(table: pd.DataFrame) -> str:
    """Say which settings the trained arms have whose names tell none; empty if all are told."""
    told = settings_told(usual_settings(table["arm"]))
    return spoken(f"; mostly {', '.join(told)}") if told else ""


def plainest(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the `MOST_ROWS` arms with the fewest settings of their own, in order, and what to say of the rest."""
    told = [setting_of_arm(str(arm)).count(", ") for arm in table["arm"]] if len(table) else []
    places = sorted(sorted(range(len(table)), key=lambda i: told[i])[:MOST_ROWS])
    left_out = len(table) - len(places)
    words = f"; {left_out} more arm{'s are' if left_out > 1 else ' is'} in the table" if left_out else ""
    return table.iloc[places].reset_index(drop=True), words


def problems_words(table: pd.DataFrame) -> str:
    """Say how many problems a table rests on, of each benchmark where they differ.

    >>> problems_words(pd.DataFrame({"benchmark": ["amc", "aime24", "aime25"], "n_problems": [83, 30, 30]}))
    '83 problems of amc, 30 of aime24 and aime25'
    """
    if table["n_problems"].nunique() == 1:
        return f"{table['n_problems'].iloc[0]} problems"
    most = table.groupby("benchmark", sort=False)["n_problems"].max()
    first, *others = [(n, " and ".join(names.index)) for n, names in most.groupby(most, sort=False)]
    return ", ".join([f"{first[0]} problems of {first[1]}", *(f"{n} of {names}" for n, names in others)])


def strategy_figure(records: Records) -> go.Figure | None:
    """Draw Table 1: accuracy of the answers with and without code, by arm; the larger a point, the more answers."""
    table = reasoning_tables.strategies(records)
    table = table[table["temperature"] == 0] if len(table) and (table["temperature"] == 0).any() else table
    table, left_out = plainest(table)
    if table.empty:
        return None
    figure, height = panels([""], 1, ROW_PIXELS * len(table) + 14)
    all_labels(figure, row_labels(table), 1, 1)
    for name, words, colour, symbol in STRATEGIES:
        figure.add_scatter(
            x=100 * table[f"accuracy_{name}"], y=list(range(len(table))), mode="markers", name=words,
            error_x=error_bar(table, f"accuracy_{name}", 100), text=[f"n = {n}" for n in table[f"n_{name}"]],
            marker={"color": colour, "symbol": symbol, "size": 5 + 9 * table[f"n_{name}"] / table["n_answers"]},
        )  # fmt: skip
    figure.update_xaxes(title_text="accuracy of these answers, %")
    note = f"{problems_words(table)}; size: share of answers; 95 % limits over problems"
    note += usual_words(table) + left_out
    return style(figure, "Accuracy with and without code", height, note)


def switch_figure(records: Records) -> go.Figure | None:
    """Draw Figure 7: what each switch of strategy adds to an arm's accuracy; the bars add up to the total."""
    table = reasoning_tables.switches(records)
    if table.empty:
        return None
    total, left_out = plainest(table.drop_duplicates(["arm", "benchmark"]))
    position = {(row["arm"], row["benchmark"]): i for i, row in total.iterrows()}
    figure, height = panels([""], 1, ROW_PIXELS * len(total) + 14)
    all_labels(figure, row_labels(total), 1, 1)
    for switch in SWITCHES:
        rows = table[table["switch"] == switch]
        rows = rows[[key in position for key in zip(rows["arm"], rows["benchmark"], strict=True)]]
        figure.add_bar(
            y=[position[key] for key in zip(rows["arm"], rows["benchmark"], strict=True)], x=100 * rows["gain"],
            name=SWITCH_NAMES[switch], orientation="h", marker_color=SWITCH_COLOURS[switch],
            hovertext=[f"n = {n}" for n in rows["n"]],
        )  # fmt: skip
    figure.add_scatter(
        y=list(range(len(total))), x=100 * total["total_gain"], mode="markers", name="total with 95 % limits",
        marker={"color": "black", "symbol": "diamond", "size": 8}, error_x=error_bar(total, "total_gain", 100),
    )  # fmt: skip
    figure.add_vline(0, line=ZERO)
    figure.update_xaxes(title_text="points of accuracy")
    figure.update_layout(barmode="relative")
    note = f"greedy answers, {problems_words(total)}; limits over seeds and problems{usual_words(total)}{left_out}"
    return style(figure, "Change of accuracy by switch of strategy, before → after training", height, note)


def behaviour_figure(records: Records) -> go.Figure | None:
    """Draw Figure 6: code and reward of the rollouts over training, a row per model and reward, mean of the seeds.

    Diamonds are greedy evaluations: of code on the left, of accuracy on the right, on the first benchmark evaluated.
    """
    if records.metrics.empty:
        return None
    columns, arm_fields = panel_columns(records), records.arm_columns()
    keys = list(dict.fromkeys(["model", *columns, "reward", "gamma"]))
    groups = list(records.runs.groupby(keys, sort=False))[:8]
    titles = []
    for key, _ in groups:
        row = dict(zip(keys, key, strict=True))
        name = f"<b>{reward_words(row['reward'], row['gamma'])}</b>, {panel_words(row, columns)}"
        titles += [f"{name}<br>share of rollouts with code", f"{name}<br>mean reward; ◆ accuracy"]
    figure, height = panels(titles, 2, 130, horizontal_spacing=0.08)
    first = records.metrics[records.metrics["update_in_batch"] == 1]
    points = reasoning_tables.evaluated_points(records)
    points = points[(points["temperature"] == 0) & (points["prompt_style"] == reasoning_tables.main_prompt(records))]
    points = points[points["benchmark"] == records.samples["benchmark"].iloc[0]]
    shown = set()
    for i, (_, runs) in enumerate(groups, start=1):
        for mode, seeds in runs.groupby("clip_mode", sort=False):
            rollouts = first[first["run_id"].isin(seeds["run_id"])].groupby("rollout_batch")
            evaluated = points[points["arm"] == arm_name(seeds.iloc[0], arm_fields)].groupby("rollout_batch")
            kinds = (("code_frequency", "uses_code"), ("reward_mean", "correct"))
            for column, (metric, verdict) in enumerate(kinds, 1):
                means, marks = rollouts[metric].mean(), evaluated[verdict].mean().astype(float)
                figure.add_scatter(
                    x=means.index, y=means.round(5), mode="lines", name=clip_words(mode), legendgroup=mode,
                    showlegend=column == 1 and mode not in shown, line={"color": clip_colour(mode), "width": 2},
                    row=i, col=column,
                )  # fmt: skip
                figure.add_scatter(
                    x=marks.index, y=marks.round(5), mode="markers", legendgroup=mode, showlegend=False,
                    marker={"color": clip_colour(mode), "symbol": "diamond", "size": 9}, row=i, col=column,
                )  # fmt: skip
            shown.add(mode)
    figure.update_yaxes(range=[-0.04, 1.04])
    figure.update_xaxes(title_text="rollout batches trained on", row=len(groups))
    n = records.runs.groupby(arm_fields)["seed"].nunique()
    note = f"mean over {seeds_words(int(n.min()), int(n.max()))}; ◆ greedy evaluation"
    return style(figure, "Behaviour over training", height, note)


def prompt_figure(records: Records) -> go.Figure | None:
    """Draw Table 5: accuracy and share of code of the untrained model under every prompt."""
    table = reasoning_tables.prompts(records)
    if table.empty:
        return None
    further = [name for name in ("model", "benchmark") if table[name].nunique() > 1]
    labels = [", ".join([row["prompt_style"], *(str(row[name]) for name in further)]) for _, row in table.iterrows()]
    titles = ["<b>accuracy, %</b>", "<b>share of answers with code, %</b>"]
    figure, height = panels(titles, 2, ROW_PIXELS * len(table) + 14)
    for column, (name, colour) in enumerate((("accuracy", "#5f6b7a"), ("code", "#0072b2")), start=1):
        all_labels(figure, labels if column == 1 else [""] * len(labels), 1, column)
        figure.add_scatter(
            x=100 * table[name], y=list(range(len(table))), mode="markers", showlegend=False,
            marker={"color": colour, "size": 9}, error_x=error_bar(table, name, 100), row=1, col=column,
        )  # fmt: skip
    note = f"greedy, {problems_words(table)}; lines: 95 % limits"
    return style(figure, "One model before training, many prompts", height, note)
