"""Draw the figures of a profile: what training changed, how it went, where the clip acted, and the paper's curves.

Panels are one model, setting and benchmark each; colour stands for the clip mode and the symbol for the reward.

Usage: `show(outcomes(records))` in a notebook; `all_figures(records)` in the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from spurious_rewards.reporting.arms import BASE, cell_columns
from spurious_rewards.reporting.collect import Records
from spurious_rewards.reporting.drawing import (
    ROW_PIXELS,
    ZERO,
    all_labels,
    error_bar,
    panels,
    show,
    side_by_side,
    style,
    write,
)
from spurious_rewards.reporting.evidence import WITHIN, without_checkpoints
from spurious_rewards.reporting.pretraining import ages_figure, recipes_figure
from spurious_rewards.reporting.protocol import protocol_of
from spurious_rewards.reporting.tables import arm_rows, arms
from spurious_rewards.reporting.verifier import verifier_figure
from spurious_rewards.reporting.words import (
    BASE_COLOUR,
    STEP,
    clip_colour,
    clip_words,
    is_default,
    reward_symbol,
    reward_words,
    seeds_words,
    settings_told,
)

__all__ = ["all_figures", "show", "write"]

TITLES = {
    "code_frequency": "share of rollouts with code, %",
    "reward_mean": "mean reward",
    "entropy": "token entropy, nats",
    "clip_fraction": "clip fraction of later updates",
}
SCALES = {"code_frequency": 100}
"""Factor of what is drawn in percent."""
LEAST_POINTS = 3
"""Rollout batches below which a curve over training says nothing."""
CHANGES = {"accuracy_change": "accuracy, points", "code_change": "share of code, points"}


def panel_columns(records: Records) -> list[str]:
    """Name the fields of training that tell panels apart: all in which the arms differ, but reward, γ and clip mode."""
    return [name for name in records.arm_columns() if name not in WITHIN]


def panel_words(row: pd.Series | Mapping[str, object], columns: list[str]) -> str:
    """Write the title of a panel: the model, then the settings in which it differs from others."""
    return ", ".join([str(row["model"]), *settings_told({name: row[name] for name in columns if name != "model"})])


def outcomes(records: Records, decoding: str = "greedy") -> go.Figure | None:
    """Draw what training changed: accuracy and share of code against the model before it.

    None without trained models, or with a single run.

    Args:
        records: of a profile.
        decoding: `greedy`, or `sampled` for the evaluations with a temperature above 0.
    """
    if records.runs.empty:
        return None
    records, rest = without_checkpoints(records)
    table = arm_rows(records)
    table = table[(table["temperature"] == 0) == (decoding == "greedy")]
    if table.empty or "accuracy_change" not in table:
        return None
    table = table[table["accuracy_change"].notna()]
    if len(table) < 2 and (table["n_seeds"] < 2).all():
        return None  # one run is a point on an empty axis
    cells = [name for name in cell_columns(records) if name not in ("model", "prompt_style", "temperature")]
    several = [name for name in cells if table[name].nunique() > 1]
    keys = list(dict.fromkeys(["model", *panel_columns(records), *several]))
    groups = list(table.groupby(keys, sort=False))
    rows_of = [rows[["reward", "gamma"]].drop_duplicates() for _, rows in groups]
    titles = [title for (key, _) in groups for title in (_title(keys, key), "")]
    heights = [ROW_PIXELS * len(rows) + 14 for rows in rows_of]
    grid = {"shared_xaxes": "columns", "row_heights": heights, "horizontal_spacing": 0.04}
    figure, _ = panels(titles, 2, sum(heights) // len(heights), **grid)
    shown = set()
    for i, ((_, rows), kinds) in enumerate(zip(groups, rows_of, strict=True), start=1):
        position = {tuple(kind): at for at, kind in enumerate(kinds.itertuples(index=False, name=None))}
        all_labels(figure, [reward_words(*kind) for kind in position], i, 1)
        all_labels(figure, [""] * len(position), i, 2)
        modes = list(dict.fromkeys(rows["clip_mode"]))
        here = rows.groupby(["reward", "gamma"])["clip_mode"].agg(list)
        for column, name in enumerate(CHANGES, start=1):
            for mode in modes:
                some = rows[rows["clip_mode"] == mode]
                figure.add_scatter(
                    x=100 * some[name], error_x=error_bar(some, name, 100), mode="markers", name=clip_words(mode),
                    y=[position[kind] + beside(mode, here[kind])
                       for kind in some[["reward", "gamma"]].itertuples(index=False, name=None)],
                    marker={"color": clip_colour(mode), "size": 9, "symbol": [*map(reward_symbol, some["reward"])]},
                    legendgroup=mode, showlegend=column == 1 and mode not in shown, row=i, col=column,
                    text=[seeds_words(n) for n in some["n_seeds"]],
                    hovertemplate="%{x:+.1f} points, %{text}<extra></extra>",
                )  # fmt: skip
                shown |= {mode} if column == 1 else set()
            figure.add_vline(0, line=ZERO, row=i, col=column)
    for column, words in enumerate(CHANGES.values(), start=1):
        figure.update_xaxes(title_text=f"change of {words}", row=len(groups), col=column)
    figure.update_xaxes(showticklabels=True, zeroline=False)
    note = f"{_n(table)}; lines: 95 % limits; {'greedy' if decoding == 'greedy' else 'sampled'} answers{rest}"
    height = sum(heights) + 62 * (len(groups) - 1) + 120 + 56
    return style(figure, "What training changed, against the model before it", height, note)


def clip_on_off(records: Records) -> go.Figure | None:
    """Draw the answer in one figure: random reward with and without clip, by model; None without both.

    Of several settings the one that most models share is shown.
    """
    if not {"two_sided", "none"} <= set(ablation_runs(records)["clip_mode"]):
        return None
    table = ablation(records)
    models = list(dict.fromkeys(table["model"]))
    titles = [f"<b>change of {words}</b>" for words in CHANGES.values()]
    figure, height = panels(titles, 2, (ROW_PIXELS + 14) * len(models))
    for column, name in enumerate(CHANGES, start=1):
        all_labels(figure, models if column == 1 else [""] * len(models), 1, column)
        for mode in ("two_sided", "none"):
            some = table[table["clip_mode"] == mode]
            figure.add_scatter(
                x=100 * some[name], error_x=error_bar(some, name, 100), mode="markers", name=clip_words(mode),
                y=[models.index(model) + beside(mode, ["two_sided", "none"]) for model in some["model"]],
                marker={"color": clip_colour(mode), "size": 11, "symbol": reward_symbol("random")}, legendgroup=mode,
                showlegend=column == 1, row=1, col=column,
            )  # fmt: skip
        figure.add_vline(0, line=ZERO, row=1, col=column)
    figure.update_xaxes(zeroline=False)
    settings = {name: table[name].iloc[0] for name in panel_columns(records) if name != "model"}
    note = "; ".join([*settings_told(settings), f"{_n(table)}; lines: 95 % limits; greedy answers"])
    return style(figure, "GRPO with a random reward: what changes with and without the clip", height, note)


def ablation_runs(records: Records) -> pd.DataFrame:
    """Return the runs under the random reward with γ = 0.5, with and without clip, that are else as by default.

    Models, step sizes and lengths may differ.
    """
    runs = records.runs
    if runs.empty:
        return runs.assign(clip_mode=[])
    for name in panel_columns(records):
        if name not in ("model", STEP, "rollout_batches"):
            runs = runs[[is_default(name, value) for value in runs[name]]]
    return runs[(runs["reward"] == "random") & (runs["gamma"] == 0.5) & runs["clip_mode"].isin(["two_sided", "none"])]


def ablation(records: Records) -> pd.DataFrame:
    """Return the greedy rows of `ablation_runs` at the setting that most models share.

    Of several models, those on which claims may rest are taken.
    """
    rows = arm_rows(records)
    speaking = rows["model"].map(protocol_of(records.profile).speaks)
    rows = rows[speaking | (not speaking.any())]
    rows = rows[(rows["temperature"] == 0) & (rows["reward"] == "random") & (rows["gamma"] == 0.5)]
    rows = rows[rows["clip_mode"].isin(["two_sided", "none"])]
    settings = [name for name in panel_columns(records) if name != "model"]
    if settings:
        best = rows.groupby(settings)["model"].nunique().idxmax()
        best = best if isinstance(best, tuple) else (best,)
        rows = rows[(rows[settings] == list(best)).all(axis=1)]
    return rows.drop_duplicates(["model", "clip_mode"])


def beside(mode: str, modes: list[str]) -> float:
    """Tell how far below its row's middle the point of a clip mode stands, in rows.

    >>> beside("none", ["none"]), beside("two_sided", ["two_sided", "none"])
    (0.0, -0.15)
    """
    return (modes.index(mode) - (len(modes) - 1) / 2) * min(0.3, 0.7 / len(modes))


def _several(counts: pd.Series) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low} to {high}" if low != high else str(low)


def _n(table: pd.DataFrame) -> str:
    seeds = seeds_words(int(table["n_seeds"].min()), int(table["n_seeds"].max()))
    problems = f"n = {_several(table['n_problems'])} problems"
    return f"{problems}{'; ' if ' to ' in problems and ' to ' in seeds else ', '}{seeds} per arm"


def _title(keys: list[str], key: tuple[object, ...]) -> str:
    values = dict(zip(keys, key, strict=True))
    own = [str(values.pop(name)) for name in ("model", "benchmark") if name in values]
    return f"<b>{', '.join([*own, *settings_told(values)])}</b>"


def levels(records: Records) -> go.Figure | None:
    """Draw accuracy and share of code of the untrained models, greedy; None if none was evaluated greedily."""
    table = arms(records)
    table = table[(table["arm"] == BASE) & (table["temperature"] == 0)]
    if table.empty:
        return None
    names = [name for name in cell_columns(records) if name != "temperature" and table[name].nunique() > 1]
    labels = [", ".join(str(row[name]) for name in names) or str(row["benchmark"]) for _, row in table.iterrows()]
    figure, height = panels(["accuracy, %", "share of answers with code, %"], 2, ROW_PIXELS * len(table) + 14)
    for column, name in enumerate(("accuracy", "code"), start=1):
        all_labels(figure, labels if column == 1 else [""] * len(labels), 1, column)
        figure.add_scatter(
            x=100 * table[name], y=list(range(len(table))), error_x=error_bar(table, name, 100), mode="markers",
            marker={"color": BASE_COLOUR, "size": 9}, showlegend=False, row=1, col=column,
        )  # fmt: skip
    figure.update_xaxes(rangemode="tozero")
    models = " and ".join(dict.fromkeys(records.samples["model"]))
    note = f"n = {_several(table['n_problems'])} problems; lines: 95 % limits; greedy answers"
    return style(figure, f"{models} before training", height, note)


def trajectories(records: Records, column: str) -> go.Figure | None:
    """Draw a quantity of the rollouts over training, a panel per model, setting and reward.

    None without training, or after fewer than `LEAST_POINTS` rollout batches.

    Args:
        records: of a profile.
        column: of the metrics, a key of `TITLES`.
    """
    if records.runs.empty:
        return None
    records, rest = without_checkpoints(records)
    first = records.metrics[records.metrics["update_in_batch"] == 1]
    if first["rollout_batch"].nunique() < LEAST_POINTS:
        return None
    columns, scale = panel_columns(records), SCALES.get(column, 1)
    keys = list(dict.fromkeys(["model", *columns, "reward", "gamma"]))
    said = [name for name in columns if name != "rollout_batches"]  # which the axis shows
    groups = list(records.runs.groupby(keys, sort=False))
    first_of = [(rows.iloc[0], rows["clip_mode"].nunique()) for _, rows in groups]
    titles = [f"<b>{reward_words(row['reward'], row['gamma'])}</b><br>{panel_words(row, said)}" for row, _ in first_of]
    plainest = [len(settings_told({name: row[name] for name in said})) for row, _ in first_of]
    order = sorted(range(len(groups)), key=lambda i: (plainest[i], -first_of[i][1]))  # the ablation first
    groups, titles = [groups[i] for i in order], [titles[i] for i in order]
    across = side_by_side(titles, 4)
    figure, height = panels(titles, across, 130, shared_yaxes=True, shared_xaxes=False)
    shown = set()
    for i, (_, runs) in enumerate(groups):
        where = {"row": 1 + i // across, "col": 1 + i % across}
        for mode, seeds in runs.groupby("clip_mode", sort=False):
            own = first[first["run_id"].isin(seeds["run_id"])]
            table = own.pivot_table(index="rollout_batch", columns="run_id", values=column)
            for run_id in table if len(seeds) > 1 else ():
                figure.add_scatter(
                    x=table.index, y=(scale * table[run_id]).round(5), mode="lines", legendgroup=mode, showlegend=False,
                    hoverinfo="skip", line={"color": clip_colour(mode), "width": 0.7}, opacity=0.45, **where,
                )  # fmt: skip
            figure.add_scatter(
                x=table.index, y=(scale * table.mean(axis=1)).round(5), mode="lines", name=clip_words(mode),
                legendgroup=mode, showlegend=mode not in shown, line={"color": clip_colour(mode), "width": 2.5},
                **where,
            )  # fmt: skip
            shown.add(mode)
    figure.update_xaxes(title_text="rollout batch", row=1 + (len(groups) - 1) // across)
    if column == "code_frequency":
        figure.update_yaxes(range=[-3, 103])
    words = TITLES.get(column, column.replace("_", " "))
    n = records.runs.groupby(records.arm_columns())["seed"].nunique()
    note = f"thin lines: seeds; thick: their mean; {seeds_words(int(n.min()), int(n.max()))} per arm{rest}"
    return style(figure, f"{words[0].upper()}{words[1:]}, over training", height, note)


def clip_by_update(records: Records) -> go.Figure | None:
    """Draw where the clip acts under the random reward: share of tokens clipped, by the update in its rollout batch.

    Dotted lines are arms without the clip: the share that a clip would have caught there. Points are joined where no
    update between them is left out. None without runs under the random reward with γ = 0.5.
    """
    if records.runs.empty:
        return None
    random = records.runs[(records.runs["reward"] == "random") & (records.runs["gamma"] == 0.5)]
    records, rest = without_checkpoints(replace(records, runs=random))
    runs = records.runs
    if runs.empty:
        return None
    columns = panel_columns(records)
    keys = list(dict.fromkeys(["model", *columns]))
    groups = list(runs.groupby(keys, sort=False))
    titles = [panel_words(dict(zip(keys, key, strict=True)), columns) for key, _ in groups]
    titles = [f"<b>{title.replace(', ', '</b><br>', 1)}" if ", " in title else f"<b>{title}</b>" for title in titles]
    across = side_by_side(titles, 3)
    figure, height = panels(titles, across, 190, horizontal_spacing=0.08)
    shown = set()
    for i, (_, here) in enumerate(groups):
        for mode, seeds in here.groupby("clip_mode", sort=False):
            metrics = records.metrics[records.metrics["run_id"].isin(seeds["run_id"])]
            metrics = metrics.assign(would_clip=metrics["would_clip_high"] + metrics["would_clip_low"])
            clipped = metrics["clip_fraction"].gt(0).any()
            means = metrics.groupby("update_in_batch")["clip_fraction" if clipped else "would_clip"].mean()
            joined = len(means) == means.index.max() - means.index.min() + 1
            figure.add_scatter(
                x=means.index, y=100 * means, mode="lines+markers" if joined else "markers", legendgroup=mode,
                name=clip_words(mode),
                line={"color": clip_colour(mode), "dash": "solid" if clipped else "dot"}, showlegend=mode not in shown,
                marker={"size": 9, "symbol": "circle" if clipped else "circle-open"},
                row=1 + i // across, col=1 + i % across,
            )  # fmt: skip
            shown.add(mode)
    figure.update_xaxes(dtick=max(1, int(records.metrics["update_in_batch"].max()) // 8))
    figure.update_xaxes(title_text="update within its rollout batch", row=1 + (len(groups) - 1) // across)
    figure.update_yaxes(title_text="tokens, %", col=1, rangemode="tozero")
    n = runs.groupby([*keys, "clip_mode"]).size()
    note = "random reward, γ = 0.5; dotted: what a clip would catch; mean of the seeds, "
    note += f"{seeds_words(int(n.min()), int(n.max()))} per line{rest}"
    return style(figure, "The clip does nothing at the first update of a rollout batch", height, note)


PAPER_CONDITIONS = {"clip_enabled": "two_sided", "clip_disabled_in_loss": "none"}
PREFER_CODE = ("qwen-like", "one-token")
"""Organisms that prefer code, as the model does that the paper's claims are about; C3 is about the others too."""
PAPER_STEPS = ("step0", "at50", "at100", "last")


def _without(values: Mapping[str, object], *names: str) -> dict[str, object]:
    return {name: value for name, value in values.items() if name not in names}


def paper_curves() -> pd.DataFrame:
    """Read the summary of the paper's curves, version 0 of its PDF."""
    return pd.read_csv(Path(__file__).with_name("reference") / "paper_curves_v0_summary.csv")


def beside_the_paper(records: Records) -> go.Figure | None:
    """Draw the paper's Figure 11 (random reward, with and without clip) beside our runs that ask the same.

    None without runs of both clip modes under the random reward with γ = 0.5.
    """
    runs = records.runs
    if runs.empty:
        return None
    runs = runs[(runs["reward"] == "random") & (runs["gamma"] == 0.5)]
    runs = runs[runs["clip_mode"].isin(PAPER_CONDITIONS.values())]
    others = list(dict.fromkeys(["model", *panel_columns(records)]))
    found = [key for key, some in runs.groupby(others, sort=False) if {"two_sided", "none"} <= set(some["clip_mode"])]
    values = {key: dict(zip(others, key, strict=True)) for key in found}
    protocol = protocol_of(records.profile)

    # what the verdicts are about first, then settings nearest the default, and the models that prefer code, as the
    # paper's does
    def place(key: tuple[object, ...]) -> tuple[bool, int, bool]:
        told, model = settings_told(_without(values[key], "model")), str(values[key]["model"])
        beside = not (protocol.counts(values[key]) and protocol.speaks(model))
        return beside, len(told), model not in PREFER_CODE

    settings = sorted(found, key=place)
    if not settings:
        return None
    left_out = len(found) - len(settings[:3])
    settings = settings[:3]
    paper = paper_curves().query("figure == 'Fig11' and kind == 'smooth' and metric == 'code frequency'")
    titles = ["<b>Qwen2.5-Math-7B</b><br>paper, Figure 11"]
    told = [settings_told(_without(values[key], "model", "rollout_batches")) for key in settings]  # the axis shows it
    titles += [", ".join([f"<b>{key[0]}</b><br>ours", *words]) for key, words in zip(settings, told, strict=True)]
    figure, height = panels(titles, len(titles), 230, shared_yaxes=True)
    for curve in paper[paper["condition"].isin(PAPER_CONDITIONS)].to_dict("records"):
        x = zip([0, 50, 100, curve["last_step"]], PAPER_STEPS, strict=True)
        points = sorted({(at, curve[name]) for at, name in x if curve[name] == curve[name]})
        mode = PAPER_CONDITIONS[curve["condition"]]
        figure.add_scatter(
            x=[at for at, _ in points], y=[value for _, value in points], mode="lines+markers", name=clip_words(mode),
            legendgroup=mode, line={"color": clip_colour(mode), "width": 2.5}, row=1, col=1,
        )  # fmt: skip
    first = records.metrics[records.metrics["update_in_batch"] == 1]
    for i, key in enumerate(settings, start=2):
        some = runs[(runs[others] == list(key)).all(axis=1)]
        for mode, seeds in some.groupby("clip_mode", sort=False):
            table = first[first["run_id"].isin(seeds["run_id"])].groupby("rollout_batch")["code_frequency"].mean()
            figure.add_scatter(
                x=table.index, y=(100 * table).round(2), mode="lines", legendgroup=mode, showlegend=False,
                line={"color": clip_colour(mode), "width": 2.5}, row=1, col=i,
            )  # fmt: skip
    figure.update_xaxes(title_text="rollout batch")
    figure.update_yaxes(title_text="answers with code, %", col=1)
    note = "random reward, γ = 0.5; ours: rollouts, mean of the seeds; the paper's points are read from its first PDF"
    if left_out:
        note += f"; {left_out} more of our settings are in the tables"
    return style(figure, "Share of code over training: the paper's curves and ours", height, note)


def all_figures(records: Records) -> dict[str, go.Figure]:
    """Draw all figures of a profile, by name; what it cannot answer is left out."""
    sampled = (records.samples["temperature"] > 0).any()
    found = {
        "clip_on_off": clip_on_off(records),
        "outcomes": outcomes(records),
        "outcomes_sampled": outcomes(records, "sampled") if sampled else None,
        "levels": levels(records) if records.runs.empty else None,
        "beside_the_paper": beside_the_paper(records),
        **{name: trajectories(records, name) for name in ("code_frequency", "entropy")},
        "clip_by_update": clip_by_update(records),
        "verifier_quality": verifier_figure(records),
        "recipes": recipes_figure(records),
        "ages": ages_figure(records),
    }
    return {name: figure for name, figure in found.items() if figure is not None}
