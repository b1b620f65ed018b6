"""Figures of the clip term itself: the surrogate of one token, and the committed bandit map.

Usage: `show(surrogate_curves("two_sided", 0.2, 0.2))`; `map_figures(bandit_map)` for the results page.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from spurious_rewards.reporting.figures import COLOURS
from spurious_rewards.training.clip import surrogate


def surrogate_curves(mode: str, epsilon_low: float, epsilon_high: float) -> go.Figure:
    """The per-token surrogate against the ratio R for A = +1 and A = −1, beside the unclipped R·A.

    For `none_released` π_old is taken as 0.5, so that π_θ = 0.5·R.
    """
    ratio = torch.linspace(0.4, 1.9, 301, dtype=torch.float64)
    figure = make_subplots(rows=1, cols=2, subplot_titles=["A = +1", "A = −1"])
    for column, advantage in enumerate((1.0, -1.0), start=1):
        for name, this_mode, line in ((f"{mode}", mode, {"color": "#3366aa", "width": 3}),
                                      ("no clip: R·A", "none", {"color": "#888888", "dash": "dot"})):
            value = surrogate(ratio.log(), torch.tensor(advantage, dtype=torch.float64), this_mode, epsilon_low,
                              epsilon_high, logp=(ratio * 0.5).log())
            figure.add_scatter(x=np.round(ratio.numpy(), 4), y=np.round(value.numpy(), 6), mode="lines", name=name,
                               line=line, row=1, col=column, showlegend=column == 1)
    figure.update_xaxes(title_text="R = π_θ/π_old")
    return figure.update_layout(template="plotly_white", width=860, height=330,
                                title="Surrogate objective of one token", margin={"l": 50, "r": 20, "t": 70, "b": 50})


def share_by_step(table: pd.DataFrame, optimizer: str) -> go.Figure:
    """Share of seeds in which the likelier arm gained, by step size, one line per clip mode (Wilson 95 %)."""
    rows = table[(table["sweep"] == "step") & (table["optimizer"] == optimizer)]
    figure = go.Figure()
    for mode, cells in rows.groupby("clip_mode", sort=False):
        figure.add_scatter(x=cells["step_size"].astype(str), y=cells["share_up"], mode="lines+markers", name=mode,
                           line={"color": COLOURS[mode]}, error_y=_limits(cells, "share_up"))
    figure.add_hline(0.5, line={"color": "#888888", "dash": "dot"})
    return figure.update_layout(
        template="plotly_white", width=860, height=430, xaxis_title="step size", yaxis_title="share of seeds",
        title=f"Bandit 0.65 / 0.35, {optimizer}: how often the likelier arm gains (n = {rows['n_seeds'].min()} seeds)")


def clip_effect_by_gamma(table: pd.DataFrame) -> go.Figure:
    """What the clip adds to the mean log-odds of the likelier arm (paired with `none`), by γ."""
    rows = table[(table["sweep"] == "gamma") & table["paired_logit_change"].notna()]
    figure = go.Figure()
    for (optimizer, mode), cells in rows.groupby(["optimizer", "clip_mode"], sort=False):
        figure.add_scatter(x=cells["gamma"].astype(str), y=cells["paired_logit_change"], mode="lines+markers",
                           name=f"{optimizer}, {mode}", error_y=_limits(cells, "paired_logit_change"),
                           line={"color": COLOURS[mode], "dash": "solid" if optimizer == "sgd" else "dash"})
    return figure.update_layout(
        template="plotly_white", width=860, height=430, xaxis_title="γ of the random reward",
        yaxis_title="paired change of log-odds", title="Bandit 0.65 / 0.35: what the clip adds, by γ "
        f"(95 % limits, n = {rows['n_seeds'].min()} seeds)")


def _limits(cells: pd.DataFrame, name: str) -> dict[str, object]:
    return {"type": "data", "symmetric": False, "array": cells[f"{name}_ci_high"] - cells[name],
            "arrayminus": cells[name] - cells[f"{name}_ci_low"]}


def map_figures(table: pd.DataFrame) -> dict[str, go.Figure]:
    """Name → figure, for the committed bandit map."""
    return {**{f"bandit_step_{name}": share_by_step(table, name) for name in ("sgd", "adamw")},
            "bandit_gamma": clip_effect_by_gamma(table)}
