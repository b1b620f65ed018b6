"""Draw the log of a training made elsewhere beside the trainings of a profile, a row of panels per metric.

Usage: `show(beside_log(records, read_metrics("trainer_state.json")))`
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from spurious_rewards.evaluation.elsewhere.metrics import METRICS
from spurious_rewards.reporting.collect import Records
from spurious_rewards.reporting.drawing import panels, style
from spurious_rewards.reporting.words import BASE_COLOUR, clip_colour, clip_words

OURS = {"reward": "reward_mean", "tokens": "completion_tokens"}
"""Our metrics' columns, where they are not called like the metric."""
WORDS = {
    "reward": "mean reward",
    "entropy": "entropy, nats",
    "clip_fraction": "clip fraction",
    "clip_fraction_high": "clipped above the band",
    "clip_fraction_low": "clipped below the band",
    "ratio": "mean ratio",
    "ratio_max": "largest ratio",
    "tokens": "tokens per completion",
    "cut_off": "completions cut off",
    "kl_old": "KL to the old policy",
}
DASHES = ("solid", "dash", "dot", "dashdot")
MOST_RUNS = len(DASHES)
"""How many runs of a log are drawn; a log of more is named in the figure's note."""


def ours(records: Records) -> pd.DataFrame:
    """Put the metrics of a profile under the names of a log: mean over the runs of a clip mode, by update.

    Returns:
        Columns `clip_mode`, `step` (the update) and those of `METRICS` that are logged here.
    """
    if records.metrics.empty:
        return pd.DataFrame(columns=["clip_mode", "step"])
    metrics = records.metrics.assign(cut_off=1 - records.metrics["ended_share"])
    columns = {name: OURS.get(name, name) for name in METRICS}
    columns = {name: column for name, column in columns.items() if column in metrics}
    modes = records.runs.set_index("run_id")["clip_mode"]
    table = metrics.assign(clip_mode=metrics["run_id"].map(modes))
    means = table.groupby(["clip_mode", "update"], sort=False, as_index=False)[list(columns.values())].mean()
    return means.rename(columns={"update": "step", **{column: name for name, column in columns.items()}})


def beside_log(records: Records, log: pd.DataFrame) -> go.Figure:
    """Draw the metrics of a log that stand in it: left our trainings by update, right the log by its own steps.

    Args:
        records: of a profile.
        log: of `read_metrics`.
    """
    names = [name for name in METRICS if name in log]
    mine, runs = ours(records), list(dict.fromkeys(log["run"]))
    titles = [title for name in names for title in (f"<b>{WORDS[name]}</b>, profile {records.profile}", "the log")]
    figure, height = panels(titles, 2, 120, shared_yaxes=True, shared_xaxes="columns")
    for i, name in enumerate(names, start=1):
        known = mine[mine[name].notna()] if name in mine else mine.iloc[:0]  # some are logged once per rollout batch
        for mode, rows in known.groupby("clip_mode", sort=False):
            figure.add_scatter(
                x=rows["step"], y=rows[name].round(5), mode="lines", name=clip_words(mode), legendgroup=mode,
                line={"color": clip_colour(mode), "width": 1.5}, showlegend=i == 1, row=i, col=1,
            )  # fmt: skip
        for run, dash in zip(runs, DASHES, strict=False):
            rows = log[(log["run"] == run) & log[name].notna()]
            figure.add_scatter(
                x=rows["step"], y=rows[name].round(5), mode="lines", name=run[:40], legendgroup=run,
                line={"color": BASE_COLOUR, "dash": dash, "width": 1.5}, showlegend=i == 1, row=i, col=2,
            )  # fmt: skip
    figure.update_xaxes(title_text="update", row=len(names), col=1)
    figure.update_xaxes(title_text="step, as the tool counts", row=len(names), col=2)
    more = f"; {len(runs) - MOST_RUNS} further runs of the log are not drawn" if len(runs) > MOST_RUNS else ""
    return style(figure, "A training made elsewhere, beside ours", height, f"left: mean over runs of a clip mode{more}")
