"""Figures of the clip term itself: the surrogate of one token, the bandit map, the counterfactual, the dose–response.

Usage: `show(surrogate_curves("two_sided", 0.2, 0.2))`; for the results page `map_figures(bandit_map)`,
`counterfactual_figures(table)` and `dose_figures(runs_table, pairs_table)`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from spurious_rewards.reporting.figures import COLOURS
from spurious_rewards.training.clip import surrogate
from spurious_rewards.training.diagnostics import PI_OLD_BINS


def surrogate_curves(mode: str, epsilon_low: float, epsilon_high: float) -> go.Figure:
    """The per-token surrogate against the ratio R for A = +1 and A = −1, beside the unclipped R·A.

    For `none_released` π_old is taken as 0.5, so that π_θ = 0.5·R.
    """
    ratio = torch.linspace(0.4, 1.9, 301, dtype=torch.float64)
    figure = make_subplots(rows=1, cols=2, subplot_titles=["A = +1", "A = −1"])
    for column, advantage in enumerate((1.0, -1.0), start=1):
        for name, this_mode, line in (
            (f"{mode}", mode, {"color": "#3366aa", "width": 3}),
            ("no clip: R·A", "none", {"color": "#888888", "dash": "dot"}),
        ):
            value = surrogate(
                ratio.log(),
                torch.tensor(advantage, dtype=torch.float64),
                this_mode,
                epsilon_low,
                epsilon_high,
                logp=(ratio * 0.5).log(),
            )
            figure.add_scatter(
                x=np.round(ratio.numpy(), 4),
                y=np.round(value.numpy(), 6),
                mode="lines",
                name=name,
                line=line,
                row=1,
                col=column,
                showlegend=column == 1,
            )
    figure.update_xaxes(title_text="R = π_θ/π_old")
    return figure.update_layout(
        template="plotly_white",
        width=860,
        height=330,
        title="Surrogate objective of one token",
        margin={"l": 50, "r": 20, "t": 70, "b": 50},
    )


def share_by_step(table: pd.DataFrame, optimizer: str) -> go.Figure:
    """Share of seeds in which the likelier arm gained, by step size, one line per clip mode (Wilson 95 %)."""
    rows = table[(table["sweep"] == "step") & (table["optimizer"] == optimizer)]
    figure = go.Figure()
    for mode, cells in rows.groupby("clip_mode", sort=False):
        figure.add_scatter(
            x=cells["step_size"].astype(str),
            y=cells["share_up"],
            mode="lines+markers",
            name=mode,
            line={"color": COLOURS[mode]},
            error_y=_limits(cells, "share_up"),
        )
    figure.add_hline(0.5, line={"color": "#888888", "dash": "dot"})
    return figure.update_layout(
        template="plotly_white",
        width=860,
        height=430,
        xaxis_title="step size",
        yaxis_title="share of seeds",
        title=f"Bandit 0.65 / 0.35, {optimizer}: how often the likelier arm gains (n = {rows['n_seeds'].min()} seeds)",
    )


def clip_effect_by_gamma(table: pd.DataFrame) -> go.Figure:
    """What the clip adds to the mean log-odds of the likelier arm (paired with `none`), by γ."""
    rows = table[(table["sweep"] == "gamma") & table["paired_logit_change"].notna()]
    figure = go.Figure()
    for (optimizer, mode), cells in rows.groupby(["optimizer", "clip_mode"], sort=False):
        figure.add_scatter(
            x=cells["gamma"].astype(str),
            y=cells["paired_logit_change"],
            mode="lines+markers",
            name=f"{optimizer}, {mode}",
            error_y=_limits(cells, "paired_logit_change"),
            line={"color": COLOURS[mode], "dash": "solid" if optimizer == "sgd" else "dash"},
        )
    return figure.update_layout(
        template="plotly_white",
        width=860,
        height=430,
        xaxis_title="γ of the random reward",
        yaxis_title="paired change of log-odds",
        title=f"Bandit 0.65 / 0.35: what the clip adds, by γ (95 % limits, n = {rows['n_seeds'].min()} seeds)",
    )


def share_by_prior(table: pd.DataFrame) -> go.Figure:
    """Share of seeds in which the likeliest arm gained, by the prior's shape, a panel per optimizer (Wilson 95 %)."""
    rows = table[table["sweep"] == "prior"]
    steps = rows.drop_duplicates("optimizer").set_index("optimizer")["step_size"]
    figure = make_subplots(rows=1, cols=len(steps), subplot_titles=[f"{name} {step:g}" for name, step in steps.items()])
    for column, optimizer in enumerate(steps.index, start=1):
        for mode, cells in rows[rows["optimizer"] == optimizer].groupby("clip_mode", sort=False):
            figure.add_scatter(
                x=cells["prior"],
                y=cells["share_up"],
                mode="markers",
                name=mode,
                offsetgroup=mode,
                legendgroup=mode,
                showlegend=column == 1,
                marker={"color": COLOURS[mode], "size": 8},
                error_y=_limits(cells, "share_up"),
                row=1,
                col=column,
            )
    figure.add_hline(0.5, line={"color": "#888888", "dash": "dot"})
    figure.update_yaxes(title_text="share of seeds", col=1)
    return figure.update_layout(
        template="plotly_white",
        width=860,
        height=430,
        scattermode="group",
        title=f"Bandit: how often the likeliest arm gains, by prior (n = {rows['n_seeds'].min()} seeds)",
    )


def clipped_by_probability(bins: pd.DataFrame, optimizer: str) -> go.Figure:
    """Share of rollouts clipped, by the π_old of their arm, a panel per side (95 % over seeds).

    Args:
        bins: bandit_bins.csv, or `sweeps.run_bins` with a column `optimizer`.
        optimizer: `sgd` or `adamw`.
    """
    rows = bins[(bins["optimizer"] == optimizer) & bins["clip_mode"].isin(["two_sided", "high_only", "low_only"])]
    figure = make_subplots(rows=1, cols=2, subplot_titles=["upper exit", "lower exit"])
    for mode, cells in rows.groupby("clip_mode", sort=False):
        x = [f"{low:.2g}–{high:.2g}" for low, high in zip(cells["p_low"], cells["p_high"], strict=True)]
        for column, name in enumerate(("clipped_high", "clipped_low"), start=1):
            figure.add_scatter(
                x=x,
                y=cells[name],
                mode="lines+markers",
                name=mode,
                legendgroup=mode,
                line={"color": COLOURS[mode]},
                showlegend=column == 1,
                error_y=_limits(cells, name),
                row=1,
                col=column,
            )
    figure.update_xaxes(title_text="π_old of the arm", type="category")
    figure.update_yaxes(title_text="share of rollouts clipped", col=1)
    return figure.update_layout(
        template="plotly_white",
        width=860,
        height=430,
        title=f"Bandit 0.65 / 0.35, {optimizer}: where the clip acts (95 % over seeds)",
    )


def _limits(cells: pd.DataFrame, name: str) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": cells[f"{name}_ci_high"] - cells[name],
        "arrayminus": cells[name] - cells[f"{name}_ci_low"],
    }


def map_figures(table: pd.DataFrame) -> dict[str, go.Figure]:
    """Name → figure, for the committed bandit map."""
    return {
        **{f"bandit_step_{name}": share_by_step(table, name) for name in ("sgd", "adamw")},
        "bandit_gamma": clip_effect_by_gamma(table),
        "bandit_prior": share_by_prior(table),
    }


QUANTITIES = {
    "entropy": "token entropy, nats",
    "code": "probability of code reasoning",
    "code_exact": "probability of code reasoning",
    "code_logit": "log-odds of code reasoning",
    "code_mean_logit": "log-odds of code reasoning, per pair",
    "code_tilt": "tilt of the log-odds of code",
    "code_mean_tilt": "tilt of the log-odds of code, per pair",
    "top1": "top-1 probability",
    "kl": "KL(π_old‖π_θ), nats per token",
    "accuracy": "accuracy",
    "ended": "share of answers that end",
}


def effects_by_setting(table: pd.DataFrame, quantity: str) -> go.Figure:
    """Paired effect of each clip mode on one quantity, by step size, a panel per optimizer (95 % limits).

    Cells that are marked as unreliable are left out.

    Args:
        table: counterfactual.csv.
        quantity: a value of its column `quantity`.
    """
    rows = table[(table["quantity"] == quantity) & table["effect"].notna()]
    if "reliable" in rows:
        rows = rows[rows["reliable"].ne(False)]
    optimizers = list(rows["optimizer"].unique())
    figure = make_subplots(rows=1, cols=len(optimizers), subplot_titles=optimizers)
    for column, optimizer in enumerate(optimizers, start=1):
        for mode, cells in rows[rows["optimizer"] == optimizer].groupby("clip_mode", sort=False):
            cells = cells.sort_values("learning_rate")
            figure.add_scatter(
                x=cells["learning_rate"].map("{:g}".format),
                y=cells["effect"],
                mode="markers",
                name=mode,
                offsetgroup=mode,
                legendgroup=mode,
                showlegend=column == 1,
                marker={"color": COLOURS[mode], "size": 8},
                error_y=_bounds(cells, "effect"),
                row=1,
                col=column,
            )
    figure.add_hline(0, line={"color": "#888888", "dash": "dot"})
    figure.update_xaxes(title_text="step size", type="category")
    figure.update_yaxes(title_text="mode − none", col=1)
    return figure.update_layout(
        template="plotly_white",
        width=860,
        height=430,
        scattermode="group",
        title=f"The clip in one rollout batch: {QUANTITIES.get(quantity, quantity)}{_pairs_of(rows)}",
    )


def movement_by_bin(table: pd.DataFrame, optimizer: str, learning_rate: float) -> go.Figure:
    """Mean change of log π of the probe's tokens by their π_old: under each mode, and mode − none (95 % over pairs)."""
    rows = table[
        (table["optimizer"] == optimizer)
        & np.isclose(table["learning_rate"], learning_rate)
        & table["quantity"].str.startswith("move_bin")
    ]
    labels = [f"{low:.2g}–{high:.2g}" for low, high in itertools.pairwise(PI_OLD_BINS)]
    figure = make_subplots(rows=1, cols=2, subplot_titles=["since the checkpoint", "mode − none"])
    for mode, cells in rows.groupby("clip_mode", sort=False):
        x = [labels[int(name.removeprefix("move_bin"))] for name in cells["quantity"]]
        for column, name in enumerate(("change", "effect"), start=1):
            if cells[name].notna().any():
                figure.add_scatter(
                    x=x,
                    y=cells[name],
                    mode="markers",
                    name=mode,
                    offsetgroup=mode,
                    legendgroup=mode,
                    showlegend=column == 1,
                    marker={"color": COLOURS[mode], "size": 8},
                    error_y=_bounds(cells, name),
                    row=1,
                    col=column,
                )
    figure.add_hline(0, line={"color": "#888888", "dash": "dot"})
    figure.update_xaxes(title_text="π_old of the token", type="category", categoryorder="array", categoryarray=labels)
    return figure.update_layout(
        template="plotly_white",
        width=860,
        height=430,
        scattermode="group",
        yaxis_title="mean change of log π",
        title=f"Which tokens move, {optimizer} {learning_rate:g}{_pairs_of(rows)}",
    )


def dose_response(table: pd.DataFrame, quantity: str, unit: str) -> go.Figure:
    """Effect of each clip mode (mode − none) against the measured code prior, a panel per setting (95 % limits).

    Args:
        table: dose_response.csv or dose_counterfactual.csv.
        quantity: a value of its column `quantity`.
        unit: what the interval is over, for the title ("seeds", "pairs").
    """
    rows = table[(table["quantity"] == quantity) & (table["statistic"] == "prior") & table["effect"].notna()]
    settings = list(rows[["optimizer", "learning_rate"]].drop_duplicates().itertuples(index=False, name=None))
    figure = make_subplots(rows=1, cols=len(settings), subplot_titles=[f"{name} {step:g}" for name, step in settings])
    for column, (optimizer, step) in enumerate(settings, start=1):
        here = rows[(rows["optimizer"] == optimizer) & (rows["learning_rate"] == step)]
        for mode, cells in here.groupby("clip_mode", sort=False):
            figure.add_scatter(
                x=cells["prior"],
                y=cells["effect"],
                mode="lines+markers",
                name=mode,
                legendgroup=mode,
                showlegend=column == 1,
                line={"color": COLOURS[mode]},
                row=1,
                col=column,
                error_y=_bounds(cells, "effect"),
            )
    figure.add_hline(0, line={"color": "#888888", "dash": "dot"})
    figure.add_vline(0.5, line={"color": "#cccccc", "dash": "dot"})
    figure.update_xaxes(title_text="code probability of the checkpoint", range=[0, 1])
    figure.update_yaxes(title_text="mode − none", col=1)
    return figure.update_layout(
        template="plotly_white",
        width=860,
        height=430,
        title=f"Dose–response: {QUANTITIES.get(quantity, quantity)} (95 % limits over {rows['n'].min()} {unit})",
    )


def counterfactual_figures(table: pd.DataFrame) -> dict[str, go.Figure]:
    """Name → figure, for the committed counterfactual."""
    middle = table[["optimizer", "learning_rate"]].drop_duplicates().groupby("optimizer")["learning_rate"].median()
    shown = ("entropy", "code", "code_mean_logit", "code_mean_tilt", "code_logit", "code_tilt", "top1", "kl")
    return {
        **{
            f"counterfactual_{name}": effects_by_setting(table, name)
            for name in shown
            if table["quantity"].eq(name).any()
        },
        **{
            f"counterfactual_movement_{optimizer}": movement_by_bin(table, optimizer, step)
            for optimizer, step in middle.items()
        },
    }


def dose_figures(runs: pd.DataFrame | None, pairs: pd.DataFrame | None) -> dict[str, go.Figure]:
    """Name → figure, for those of the two committed dose–response tables that are there."""
    found = (
        {}
        if runs is None
        else {f"dose_runs_{name}": dose_response(runs, name, "seeds") for name in ("code_logit", "accuracy")}
    )
    return found | ({} if pairs is None else {"dose_pairs_code_logit": dose_response(pairs, "code_logit", "pairs")})


def mechanism_figures(tables: Mapping[str, pd.DataFrame]) -> dict[str, go.Figure]:
    """Name → figure, for the committed tables of the mechanism by name; those that are not there have none."""
    found = map_figures(tables["bandit_map"]) if "bandit_map" in tables else {}
    if "bandit_bins" in tables:
        found |= {"bandit_bins_sgd": clipped_by_probability(tables["bandit_bins"], "sgd")}
    found |= counterfactual_figures(tables["counterfactual"]) if "counterfactual" in tables else {}
    return found | dose_figures(tables.get("dose_response"), tables.get("dose_counterfactual"))


def _bounds(cells: pd.DataFrame, name: str) -> dict[str, object]:
    """Error bars; of an effect the hierarchical limits where there are any."""
    low, high = cells[f"{name}_low"], cells[f"{name}_high"]
    if name == "effect" and "boot_low" in cells:
        low, high = cells["boot_low"].fillna(low), cells["boot_high"].fillna(high)
    return {"type": "data", "symmetric": False, "array": high - cells[name], "arrayminus": cells[name] - low}


def _pairs_of(rows: pd.DataFrame) -> str:
    low, high = rows["n_pairs"].min(), rows["n_pairs"].max()
    return f" (95 % limits, n = {low}{'' if low == high else f'–{high}'} pairs)"
