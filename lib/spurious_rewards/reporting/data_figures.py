"""Draw the figures of the data card and of majority-vote labels.

Usage: `show(answer_types(card.tables["answer_types"]))`.
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

_LAYOUT = {"template": "plotly_white", "width": 860, "height": 340, "margin": {"l": 60, "r": 20, "t": 60, "b": 50}}


def answer_types(table: pd.DataFrame) -> go.Figure:
    """Draw stacked shares of answer types, one bar per problem set."""
    shares = table.set_index(table.columns[0]).select_dtypes("number")
    shares = shares.loc[:, [name for name in shares if shares[name].between(0, 1).all()]]
    figure = go.Figure([go.Bar(x=shares.index, y=shares[name], name=name) for name in shares])
    title = "What kind of answer a problem set asks for"
    return figure.update_layout(**_LAYOUT, barmode="stack", title=title, yaxis_title="share of problems")


def cleaning_steps(table: pd.DataFrame) -> go.Figure:
    """Draw the problems left after each cleaning step, as a waterfall."""
    figure = go.Figure().add_waterfall(
        x=table["step"], y=[table["left"].iloc[0], *(-table["removed"].iloc[1:])], textposition="outside",
        measure=["absolute", *["relative"] * (len(table) - 1)], text=[f"{left:,}" for left in table["left"]],
    )  # fmt: skip
    axis = {"title": "problems", "range": [0.9 * table["left"].min(), 1.02 * table["left"].max()]}
    return figure.update_layout(**_LAYOUT, title="DeepScaleR: problems left after each cleaning step", yaxis=axis)


def vote_shares(labels: pd.DataFrame) -> go.Figure:
    """Draw how the winning label's share of valid samples is distributed, right and wrong labels apart."""
    labels = labels[labels["n_valid"] > 0].assign(share=lambda t: t["n_votes"] / t["n_valid"])
    figure, bins = go.Figure(), {"start": 0, "end": 1.0001, "size": 0.0625}
    for right, name, colour in ((True, "label right", "#228833"), (False, "label wrong", "#bb5566")):
        shares = labels.loc[labels["label_correct"] == right, "share"]
        figure.add_histogram(x=shares, name=name, marker_color=colour, xbins=bins)
    title = f"How sure the vote is (n = {len(labels)} problems)"
    axes = {"xaxis_title": "share of votes for the label", "yaxis_title": "problems"}
    return figure.update_layout(**_LAYOUT, barmode="stack", title=title, **axes)
