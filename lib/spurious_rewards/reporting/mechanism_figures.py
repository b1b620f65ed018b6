"""Figures of the clip term itself.

Usage: `show(surrogate_curves("two_sided", 0.2, 0.2))`.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

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
    return figure.update_layout(template="plotly_white", width=860, height=330, title="Surrogate objective of one token",
                                margin={"l": 50, "r": 20, "t": 70, "b": 50})
