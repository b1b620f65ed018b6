"""Draw the clip term itself: the surrogate of one token, the bandit map, the counterfactual, the dose–response.

Usage: `show(surrogate_curves("two_sided", 0.2, 0.2))`; `mechanism_figures(tables)` in the report.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch

from spurious_rewards.reporting.drawing import ZERO, error_bar, panels, style
from spurious_rewards.reporting.words import BASE_COLOUR, clip_colour, clip_words
from spurious_rewards.training.clip import MODES, surrogate
from spurious_rewards.training.diagnostics import PI_OLD_BINS

OPTIMIZERS = {"sgd": "SGD", "adamw": "AdamW"}
PRIORS = {"two_arms": "two arms", "certain": "certain", "dominant": "dominant", "flat": "flat", "zipf": "Zipf"}
STEP_MODES = tuple(name for name, mode in MODES.items() if mode.keeps_old)
BIN_MODES = tuple(name for name, mode in MODES.items() if mode.hinge and mode.clips and not mode.mirrored)
"""Clip modes of the figures by step size; the table has all."""
QUANTITIES = {
    "entropy": "token entropy, nats",
    "code": "probability of code",
    "code_exact": "probability of code",
    "code_logit": "log-odds of code",
    "code_mean_logit": "log-odds of code, per pair",
    "code_tilt": "tilt of the log-odds of code",
    "code_mean_tilt": "tilt of the log-odds of code, per pair",
    "top1": "probability of the likeliest token",
    "kl": "KL(π_old‖π_θ), nats per token",
    "accuracy": "accuracy",
    "ended": "share of answers that end",
}
PROPORTIONS = ("code", "code_exact", "top1", "accuracy", "ended")
"""Quantities that are probabilities, whose effects are drawn in points."""
UNITS = {"entropy": "nats", "kl": "nats per token", **dict.fromkeys(PROPORTIONS, "points")}
"""Unit of an effect on a quantity; of all others log-odds."""


def surrogate_curves(mode: str, epsilon_low: float, epsilon_high: float) -> go.Figure:
    """Draw the surrogate of one token against the ratio R, for A = +1 and A = −1, beside the unclipped R·A.

    For `none_released` π_old is taken as 0.5, so that π_θ = 0.5·R.
    """
    ratio = torch.linspace(0.4, 1.9, 301, dtype=torch.float64)
    figure, height = panels(["<b>A = +1</b>", "<b>A = −1</b>"], 2, 200, horizontal_spacing=0.1)
    lines = {mode: (clip_words(mode), {"color": clip_colour(mode), "width": 3})}
    lines |= {"none": ("R·A", {"color": BASE_COLOUR, "dash": "dot"})}
    for column, advantage in enumerate((1.0, -1.0), start=1):
        gain = torch.tensor(advantage, dtype=torch.float64)
        for this_mode, (name, line) in lines.items():
            value = surrogate(ratio.log(), gain, this_mode, epsilon_low, epsilon_high, logp=(ratio * 0.5).log())
            figure.add_scatter(
                x=np.round(ratio.numpy(), 4), y=np.round(value.numpy(), 6), mode="lines", name=name, line=line, row=1,
                col=column, showlegend=column == 1,
            )  # fmt: skip
    figure.update_xaxes(title_text="ratio R = π_θ/π_old")
    figure.update_yaxes(title_text="surrogate", col=1)
    note = "a flat piece has no gradient: there the token is clipped"
    return style(figure, "The surrogate objective of one token", height, note)


def by_mode(
    figure: go.Figure,
    cells: pd.DataFrame,
    x: Sequence[Any],
    name: str,
    where: Mapping[str, int],
    lines: bool = True,
    scale: float = 1,
) -> None:
    """Add one series per clip mode to a panel, with its 95 % limits.

    Args:
        figure: with panels.
        cells: rows of a table with `clip_mode`, `name` and its limits.
        x: of the rows, numbers or categories.
        name: the column to draw.
        where: row and col of the panel.
        lines: join the points of a mode, where there are more than two.
        scale: factor of the column; 100 for proportions.
    """
    traces: Any = figure.data
    known = {trace.legendgroup for trace in traces}
    cells = cells.assign(_x=list(x))
    for mode, rows in cells[cells[name].notna()].groupby("clip_mode", sort=False):
        figure.add_scatter(
            x=rows["_x"], y=scale * rows[name], error_y=error_bar(rows, name, scale), name=clip_words(mode),
            legendgroup=mode,
            mode="lines+markers" if lines and len(rows) > 2 else "markers", showlegend=mode not in known,
            line={"color": clip_colour(mode)}, marker={"size": 7}, offsetgroup=mode, **where,
        )  # fmt: skip
        known.add(mode)


def share_by_step(table: pd.DataFrame, optimizer: str) -> go.Figure:
    """Draw how often the likelier of two arms gains, by step size."""
    rows = table[(table["sweep"] == "step") & (table["optimizer"] == optimizer) & table["clip_mode"].isin(STEP_MODES)]
    figure, height = panels([""], 1, 260)
    by_mode(figure, rows, rows["step_size"].map("{:g}".format), "share_up", {"row": 1, "col": 1}, scale=100)
    figure.add_hline(50, line=ZERO)
    figure.update_xaxes(title_text="step size", type="category")
    figure.update_yaxes(title_text="share of seeds, %")
    title = f"Bandit, {OPTIMIZERS[optimizer]}: how often the likelier arm gains"
    note = f"prior 0.65 and 0.35; n = {rows['n_seeds'].min()} seeds; lines: 95 % limits; grey: chance"
    return style(figure, title, height, note)


def clip_effect_by_gamma(table: pd.DataFrame) -> go.Figure:
    """Draw what the clip adds to the log-odds of the likelier arm, by γ, a panel per optimizer."""
    rows = table[(table["sweep"] == "gamma") & table["paired_logit_change"].notna()]
    optimizers = list(rows["optimizer"].unique())
    figure, height = panels([f"<b>{OPTIMIZERS[name]}</b>" for name in optimizers], len(optimizers), 230)
    for i, optimizer in enumerate(optimizers, start=1):
        cells = rows[rows["optimizer"] == optimizer]
        by_mode(figure, cells, cells["gamma"].map("{:g}".format), "paired_logit_change", {"row": 1, "col": i})
    figure.add_hline(0, line=ZERO)
    figure.update_xaxes(title_text="γ, share of rewarded rollouts", type="category")
    figure.update_yaxes(title_text="log-odds, mode − without clip", col=1)
    note = f"prior 0.65 and 0.35; paired by seed, n = {rows['n_seeds'].min()} seeds; lines: 95 % limits"
    return style(figure, "Bandit: what the clip adds, by γ", height, note)


def share_by_prior(table: pd.DataFrame) -> go.Figure:
    """Draw how often the likeliest arm gains, by the shape of the prior, a panel per optimizer."""
    rows = table[table["sweep"] == "prior"]
    steps = rows.drop_duplicates("optimizer").set_index("optimizer")["step_size"]
    titles = [f"<b>{OPTIMIZERS[name]}, step size {step:g}</b>" for name, step in steps.items()]
    figure, height = panels(titles, len(steps), 240, shared_yaxes=True)
    for i, optimizer in enumerate(steps.index, start=1):
        cells = rows[rows["optimizer"] == optimizer]
        priors = [PRIORS.get(name, name) for name in cells["prior"]]
        by_mode(figure, cells, priors, "share_up", {"row": 1, "col": i}, False, scale=100)
    figure.add_hline(50, line=ZERO)
    figure.update_xaxes(title_text="prior", tickangle=0)
    figure.update_yaxes(title_text="share of seeds, %", col=1)
    figure.update_layout(scattermode="group")
    note = f"n = {rows['n_seeds'].min()} seeds; lines: 95 % limits; grey: chance"
    return style(figure, "Bandit: how often the likeliest arm gains, by prior", height, note)


def clipped_by_probability(bins: pd.DataFrame, optimizer: str) -> go.Figure:
    """Draw the share of rollouts clipped, by the π_old of their arm, a panel per side.

    Args:
        bins: bandit_bins.csv, or `sweeps.run_bins` with a column `optimizer`.
        optimizer: `sgd` or `adamw`.
    """
    rows = bins[(bins["optimizer"] == optimizer) & bins["clip_mode"].isin(BIN_MODES)]
    figure, height = panels(["<b>above the band</b>", "<b>below the band</b>"], 2, 230, horizontal_spacing=0.1)
    labels = [f"{low:.2g}–{high:.2g}" for low, high in zip(rows["p_low"], rows["p_high"], strict=True)]
    for i, name in enumerate(("clipped_high", "clipped_low"), start=1):
        by_mode(figure, rows, labels, name, {"row": 1, "col": i}, scale=100)
    figure.update_xaxes(title_text="π_old of the arm", type="category", tickangle=-40, tickmode="linear")
    figure.update_yaxes(title_text="rollouts clipped, %", col=1)
    title = f"Bandit, {OPTIMIZERS[optimizer]}: where the clip acts"
    return style(figure, title, height + 30, "prior 0.65 and 0.35; lines: 95 % limits over seeds", bottom=86)


def map_figures(table: pd.DataFrame) -> dict[str, go.Figure]:
    """Draw the figures of the committed bandit map, by name."""
    return {
        **{f"bandit_step_{name}": share_by_step(table, name) for name in ("sgd", "adamw")},
        "bandit_gamma": clip_effect_by_gamma(table),
        "bandit_prior": share_by_prior(table),
    }


def effects_by_setting(table: pd.DataFrame, quantity: str) -> go.Figure:
    """Draw the paired effect of each clip mode on one quantity, by step size, a panel per optimizer.

    Cells that are marked as unreliable are left out.

    Args:
        table: counterfactual.csv.
        quantity: a value of its column `quantity`.
    """
    rows = table[(table["quantity"] == quantity) & table["effect"].notna()]
    if "reliable" in rows:
        rows = rows[rows["reliable"].ne(False)]
    optimizers = list(rows["optimizer"].unique())
    titles = [f"<b>{OPTIMIZERS[name]}</b>" for name in optimizers]
    figure, height = panels(titles, len(optimizers), 240, horizontal_spacing=0.1)
    for i, optimizer in enumerate(optimizers, start=1):
        cells = rows[rows["optimizer"] == optimizer].sort_values("learning_rate", kind="stable")
        by_mode(figure, cells, cells["learning_rate"].map("{:g}".format), "effect", {"row": 1, "col": i}, False,
                100 if quantity in PROPORTIONS else 1)  # fmt: skip
    figure.add_hline(0, line=ZERO)
    figure.update_xaxes(title_text="step size", type="category")
    figure.update_yaxes(title_text=f"mode − without clip, {UNITS.get(quantity, 'log-odds')}", col=1)
    figure.update_layout(scattermode="group")
    title = f"The clip in one rollout batch: {QUANTITIES.get(quantity, quantity)}"
    return style(figure, title, height, f"paired replays of the same rollouts; lines: 95 % limits; {_pairs_of(rows)}")


def movement_by_bin(table: pd.DataFrame, optimizer: str, learning_rate: float) -> go.Figure:
    """Draw the mean change of log π of the probe's tokens by their π_old: under each mode, and mode − without clip."""
    rows = table[(table["optimizer"] == optimizer) & np.isclose(table["learning_rate"], learning_rate)]
    rows = rows[rows["quantity"].str.startswith("move_bin")]
    labels = [f"{low:.2g}–{high:.2g}" for low, high in itertools.pairwise(PI_OLD_BINS)]
    x = [labels[int(name.removeprefix("move_bin"))] for name in rows["quantity"]]
    titles = ["<b>since the checkpoint</b>", "<b>mode − without clip</b>"]
    figure, height = panels(titles, 2, 230, horizontal_spacing=0.1)
    for i, name in enumerate(("change", "effect"), start=1):
        by_mode(figure, rows, x, name, {"row": 1, "col": i}, False)
    figure.add_hline(0, line=ZERO)
    figure.update_xaxes(title_text="π_old of the token", type="category", categoryorder="array", categoryarray=labels)
    figure.update_yaxes(title_text="mean change of log π", col=1)
    figure.update_layout(scattermode="group")
    title = f"Which tokens move: {OPTIMIZERS[optimizer]}, step size {learning_rate:g}"
    return style(figure, title, height, f"one rollout batch; lines: 95 % limits; {_pairs_of(rows)}")


def dose_response(table: pd.DataFrame, quantity: str, unit: str) -> go.Figure:
    """Draw the effect of each clip mode against the measured code prior, a panel per setting.

    Args:
        table: dose_response.csv or dose_counterfactual.csv.
        quantity: a value of its column `quantity`.
        unit: what the interval is over ("seeds", "pairs").
    """
    rows = table[(table["quantity"] == quantity) & (table["statistic"] == "prior") & table["effect"].notna()]
    settings = list(rows[["optimizer", "learning_rate"]].drop_duplicates().itertuples(index=False, name=None))
    titles = [f"<b>{OPTIMIZERS[name]}, step size {step:g}</b>" for name, step in settings]
    figure, height = panels(titles, len(settings), 240, horizontal_spacing=0.1)
    for i, (optimizer, step) in enumerate(settings, start=1):
        here = rows[(rows["optimizer"] == optimizer) & (rows["learning_rate"] == step)]
        by_mode(figure, here, (100 * here["prior"]).round(2), "effect", {"row": 1, "col": i},
                scale=100 if quantity in PROPORTIONS else 1)  # fmt: skip
    figure.add_hline(0, line=ZERO)
    figure.update_xaxes(title_text="probability of code before training, %", range=[0, 100])
    figure.update_yaxes(title_text=f"mode − without clip, {UNITS.get(quantity, 'log-odds')}", col=1)
    where = "one rollout batch" if unit == "pairs" else "short training runs"
    title = f"The clip's effect by prior, {where}: {QUANTITIES.get(quantity, quantity)}"
    return style(figure, title, height, f"lines: 95 % limits over {rows['n'].min()} {unit}")


def counterfactual_figures(table: pd.DataFrame) -> dict[str, go.Figure]:
    """Draw the figures of the committed counterfactual, by name."""
    middle = table[["optimizer", "learning_rate"]].drop_duplicates().groupby("optimizer")["learning_rate"].median()
    measured = set(table["quantity"])
    shown = [name for name in ("entropy", "code", "code_mean_logit", "code_mean_tilt", "kl") if name in measured]
    found = {f"counterfactual_{name}": effects_by_setting(table, name) for name in shown}
    moves = {optimizer: movement_by_bin(table, optimizer, step) for optimizer, step in middle.items()}
    return found | {f"counterfactual_movement_{optimizer}": figure for optimizer, figure in moves.items()}


def dose_figures(runs: pd.DataFrame | None, pairs: pd.DataFrame | None) -> dict[str, go.Figure]:
    """Draw the figures, by name, of those of the two committed dose–response tables that are there."""
    found = {}
    for name in ("accuracy", "code_logit") if runs is not None else ():
        found[f"dose_runs_{name}"] = dose_response(runs, name, "seeds")
    return found if pairs is None else found | {"dose_pairs_code_logit": dose_response(pairs, "code_logit", "pairs")}


def mechanism_figures(tables: Mapping[str, pd.DataFrame]) -> dict[str, go.Figure]:
    """Draw the figures, by name, of the mechanism's committed tables; those that are not there have none."""
    found = map_figures(tables["bandit_map"]) if "bandit_map" in tables else {}
    if "bandit_bins" in tables:
        found |= {"bandit_bins_sgd": clipped_by_probability(tables["bandit_bins"], "sgd")}
    found |= counterfactual_figures(tables["counterfactual"]) if "counterfactual" in tables else {}
    return found | dose_figures(tables.get("dose_response"), tables.get("dose_counterfactual"))


def _pairs_of(rows: pd.DataFrame) -> str:
    low, high = rows["n_pairs"].min(), rows["n_pairs"].max()
    return f"n = {low}{'' if low == high else f' to {high}'} pairs"
