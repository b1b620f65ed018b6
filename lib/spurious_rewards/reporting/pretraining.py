"""Show what the pretraining behind a model changes: further checkpoints of its recipe, and earlier ages of one.

A recipe pretrained from other seeds gives other checkpoints, so that a result can be about the recipe and not about one
checkpoint: here the checkpoints are what is drawn at random, not the seeds of training. An age is the share of its
pretraining after which a checkpoint was taken; arXiv 2610.01066 finds that it decides what a random reward does.

Usage: `recipes(records)` for the table; `recipes_figure(records)` and `ages_figure(records)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from spurious_rewards.evaluation.crossed import effect
from spurious_rewards.reporting.arms import cell_columns
from spurious_rewards.reporting.collect import Records, once
from spurious_rewards.reporting.drawing import ROW_PIXELS, ZERO, all_labels, error_bar, panels, style
from spurious_rewards.reporting.evidence import SETTING, WITHIN, Evidence, recipe_of
from spurious_rewards.reporting.protocol import OUTCOMES, Arm
from spurious_rewards.reporting.tables import arm_rows
from spurious_rewards.reporting.words import clip_colour, clip_words, reward_words, seeds_words, settings_told

WHOLE = 100
"""The age of a whole pretraining, in per cent."""
NEITHER = "none"
"""The clip mode that the others are compared with."""
DRAWN = {
    "accuracy_change": "change of accuracy, points",
    "accuracy_difference": "accuracy, with − without clip",
    "code_difference": "share of code, with − without clip",
}
"""Columns of the table that the figure of recipes shows, and their words."""
CHANGES = {"accuracy_change": "change of accuracy, points", "code_change": "change of code, points"}


def age_of(model: str) -> int:
    """Read from a model organism's name the per cent of its pretraining after which it was taken.

    >>> age_of("qwen-like-s1-at25"), age_of("qwen-like-s1")
    (25, 100)
    """
    found = re.search(r"-at(\d+)$", model)
    return int(found[1]) if found else WHOLE


def pretraining_of(model: str) -> str:
    """Return the name of the whole pretraining that a checkpoint was taken from.

    >>> pretraining_of("qwen-like-s1-at25"), pretraining_of("qwen-like-s1")
    ('qwen-like-s1', 'qwen-like-s1')
    """
    return re.sub(r"-at\d+$", "", model)


@once
def recipes(records: Records) -> pd.DataFrame:
    """Tabulate what training changes, by checkpoint of a recipe and in the mean of them.

    Greedy answers; a row per recipe, setting, reward, clip mode and checkpoint, then one for the mean, whose
    `n_checkpoints` is above 1. `…_change` is after minus before training, `…_difference` minus the same seeds without
    the clip, of a mean only where every checkpoint has such seeds; both are proportions. Limits are 95 %: over seeds
    and problems for a checkpoint, over checkpoints and problems for the mean. Empty without two checkpoints of one
    recipe.
    """
    settings = [name for name in records.arm_columns() if name not in (*WITHIN, "model", "labels")]
    rows = []
    for part in _several(records):
        runs = part.records.runs
        for (reward, gamma, mode), _ in runs.groupby(["reward", "gamma", "clip_mode"], sort=False):
            named = {"recipe": recipe_of(runs["model"].iloc[0]), **{name: runs[name].iloc[0] for name in settings}}
            named |= {"reward": reward, "gamma": gamma, "clip_mode": mode}
            rows += [named | measured for measured in _measured(part, Arm(reward, gamma, mode))]
    return pd.DataFrame(rows)


def _several(records: Records) -> Iterator[Evidence]:
    """Find the settings in which several checkpoints of one recipe were trained."""
    runs = records.runs
    if runs.empty:
        return
    whole = runs[runs["model"].map(age_of).eq(WHOLE)]
    alike = [name for name in records.arm_columns() if name not in ("model", "clip_mode")]
    by = [whole["model"].map(recipe_of), *(whole[name] for name in alike)]
    runs = whole[whole.groupby(by, dropna=False)["model"].transform("nunique") > 1]
    samples = records.samples[records.samples["model"].isin(set(runs["model"]))]
    samples = samples[samples["trained_run"].isin({"", *runs["run_id"]})]
    if len(runs):
        yield from Evidence(replace(records, runs=runs, samples=samples)).parts(SETTING, recipes=True)


def _measured(part: Evidence, arm: Arm) -> Iterator[dict[str, Any]]:
    """Measure one arm of a recipe, checkpoint by checkpoint and in the mean of them."""
    units = {}
    for outcome, column in OUTCOMES.items():
        on, off = part.changes(arm, column), part.changes(replace(arm, clip_mode=NEITHER), column)
        units[f"{outcome}_change"] = on
        both = on.index.intersection(off.index) if arm.clip_mode != NEITHER else []
        if len(both):
            units[f"{outcome}_difference"] = on.loc[both] - off.loc[both]
    seeds = units["accuracy_change"].groupby("model").size() if len(units["accuracy_change"]) else {}
    if len(seeds) < 2:
        return
    for model, n_seeds in seeds.items():
        own = {name: table[table.index.get_level_values("model") == model] for name, table in units.items()}
        yield {"checkpoint": model, "n_checkpoints": 1, "n_seeds": n_seeds} | _effects(own)
    means = {name: table.groupby("model").mean() for name, table in units.items()}
    means = {name: table for name, table in means.items() if len(table) == len(seeds)}
    yield {"checkpoint": f"mean of {len(seeds)}", "n_checkpoints": len(seeds), "n_seeds": min(seeds)} | _effects(means)


def _effects(units: dict[str, pd.DataFrame]) -> dict[str, float]:
    """Estimate effects from tables with a row per unit (seed, or checkpoint) and a column per problem."""
    row: dict[str, float] = {"n_problems": units["accuracy_change"].shape[1]}
    for name, table in units.items():
        if len(table):
            row |= effect(table.to_numpy()).cut(-1, 1).columns(name)
    return row


def recipes_figure(records: Records) -> go.Figure | None:
    """Draw what a random reward changes in every checkpoint of a recipe; None without two checkpoints of one."""
    table = recipes(records)
    table = table[table["reward"].eq("random")] if len(table) else table
    if table.empty:
        return None
    settings = list(table)[: list(table).index("reward")]  # the recipe first
    keys = [name for name in [*settings, "gamma"] if name == "recipe" or table[name].nunique() > 1]
    groups = list(table.groupby(keys, sort=False))
    drawn = {name: words for name, words in DRAWN.items() if name in table}
    titles = []
    for key, _ in groups:
        told = dict(zip(keys, key, strict=True))
        name = ", ".join([str(told.pop("recipe")), *settings_told(told)])
        titles += [f"<b>{name}</b><br>{words}" for words in drawn.values()]
    names = [list(dict.fromkeys(rows.sort_values("n_checkpoints", kind="stable")["checkpoint"])) for _, rows in groups]
    heights = [ROW_PIXELS * len(labels) + 14 for labels in names]
    figure, height = panels(titles, len(drawn), sum(heights) // len(heights), row_heights=heights)
    aside, shown = _aside(table["clip_mode"], 0.4), set()
    for i, ((_, rows), labels) in enumerate(zip(groups, names, strict=True), start=1):
        for column, name in enumerate(drawn, start=1):
            all_labels(figure, labels if column == 1 else [""] * len(labels), i, column)
            for mode, own in rows[rows[name].notna()].groupby("clip_mode", sort=False):
                mean = own["n_checkpoints"] > 1
                figure.add_scatter(
                    x=100 * own[name], y=[labels.index(label) + aside[mode] for label in own["checkpoint"]],
                    error_x=error_bar(own, name, 100), mode="markers", name=clip_words(mode),
                    legendgroup=mode, showlegend=mode not in shown,
                    marker={"color": clip_colour(mode), "size": [11 if one else 7 for one in mean],
                            "symbol": ["diamond" if one else "circle" for one in mean]},
                    text=[seeds_words(n) for n in own["n_seeds"]],
                    hovertemplate="%{x:+.1f} points, %{text}<extra></extra>", row=i, col=column,
                )  # fmt: skip
                shown.add(mode)
            figure.add_vline(0, line=ZERO, row=i, col=column)
    n = table.loc[table["n_checkpoints"].eq(1), "n_seeds"]
    same = settings_told({str(name): table[name].iloc[0] for name in settings if name not in keys})
    seeds = seeds_words(int(n.min()), int(n.max()))
    limits = "lines: 95 % limits, those of the mean over checkpoints"
    note = "; ".join([*same, f"n = {table['n_problems'].max()} problems, {seeds} per checkpoint", limits])
    return style(figure, "A random reward on further checkpoints of the same recipe", height, note)


def _aside(modes: pd.Series, room: float) -> dict[str, float]:
    """Place clip modes beside each other on an axis of steps of 1: mode → distance from the middle."""
    names = list(dict.fromkeys(modes))
    return {mode: room * (i - (len(names) - 1) / 2) / max(1, len(names) - 1) for i, mode in enumerate(names)}


def ages_figure(records: Records) -> go.Figure | None:
    """Draw what rewards change by the age of the pretraining; None without two ages of one pretraining."""
    runs = records.runs
    if runs.empty or runs["model"].map(age_of).eq(WHOLE).all():
        return None
    table = arm_rows(records)
    table = table[table["temperature"].eq(0) & table["accuracy_change"].notna()]
    table = table.assign(pretraining=table["model"].map(pretraining_of), age=table["model"].map(age_of))
    settings = [name for name in records.arm_columns() if name not in (*WITHIN, "model")]
    cells = [name for name in cell_columns(records) if name not in ("model", *settings) and table[name].nunique() > 1]
    keys = ["pretraining", "reward", "gamma", *settings, *cells]
    groups = [(dict(zip(keys, key, strict=True)), rows) for key, rows in table.groupby(keys, sort=False)]
    groups = [(values, rows) for values, rows in groups if rows["age"].nunique() > 1]
    if not groups:
        return None
    same = {name: groups[0][0][name] for name in settings if len({str(values[name]) for values, _ in groups}) == 1}
    titles = []
    for values, _ in groups:
        told = settings_told({name: values[name] for name in settings if name not in same})
        where = [str(values[name]).replace("_", " ") for name in cells]
        name = ", ".join([reward_words(values["reward"], values["gamma"]), str(values["pretraining"]), *told, *where])
        titles += [f"<b>{name}</b><br>{words}" for words in CHANGES.values()]
    figure, height = panels(titles, 2, 220, horizontal_spacing=0.1)
    aside, shown = _aside(table["clip_mode"], 0.12), set()
    for i, (_, rows) in enumerate(groups, start=1):
        rows = rows.sort_values("age", kind="stable")
        ages = list(dict.fromkeys(rows["age"]))
        right = [(here["accuracy"] - here["accuracy_change"]).mean() for _, here in rows.groupby("age")]
        for column, name in enumerate(CHANGES, start=1):
            for mode, own in rows.groupby("clip_mode", sort=False):
                figure.add_scatter(
                    x=[ages.index(age) + aside[mode] for age in own["age"]],
                    y=100 * own[name], error_y=error_bar(own, name, 100), mode="lines+markers", name=clip_words(mode),
                    legendgroup=mode, showlegend=mode not in shown, marker={"size": 9},
                    line={"color": clip_colour(mode), "width": 1.5}, text=[seeds_words(n) for n in own["n_seeds"]],
                    hovertemplate="%{y:+.1f} points, %{text}<extra></extra>", row=i, col=column,
                )  # fmt: skip
                shown.add(mode)
            figure.add_hline(0, line=ZERO, row=i, col=column)
            figure.update_xaxes(
                tickmode="array", tickvals=list(range(len(ages))), row=i, col=column,
                ticktext=[f"{age} % ({100 * level:.0f})" for age, level in zip(ages, right, strict=True)],
            )  # fmt: skip
    drawn = pd.concat([rows for _, rows in groups])
    seeds = seeds_words(int(drawn["n_seeds"].min()), int(drawn["n_seeds"].max()))
    figure.update_xaxes(title_text="share of the pretraining done (% right before)", row=len(groups))
    n = f"n = {drawn['n_problems'].max()} problems, {seeds} per point; lines: 95 % limits"
    note = "; ".join([*settings_told(same), n])
    return style(figure, "What rewards teach models of different ages", height, note)


def regime_of(true: dict[str, Any], coin: dict[str, Any], smallest: float) -> str:
    """Name what an age lets rewards do, as arXiv 2610.01066 does; empty where the limits do not tell.

    Args:
        true: the arm with true rewards.
        coin: the arm with a random reward.
        smallest: the change of accuracy, a proportion, below which a gain does not matter.
    """
    taught, lifted = (row["accuracy_change_low"] > 0 for row in (true, coin))
    if lifted:
        return "autodidactic: even a random reward brings a gain"
    if coin["accuracy_change_high"] > smallest:
        return ""
    if taught:
        return "receptive: true rewards bring a gain, a random one none that matters"
    return "dormant: neither brings a gain that matters" if true["accuracy_change_high"] <= smallest else ""
