"""Draw a comparison: which answers a change of accuracy comes from.

Usage: `show(split_figure(before_after(before, after)))`
"""

from __future__ import annotations

import plotly.graph_objects as go

from spurious_rewards.evaluation.comparison import SPLITS, BeforeAfter
from spurious_rewards.reporting.drawing import ROW_PIXELS, ZERO, all_labels, error_bar, panels, style
from spurious_rewards.reporting.words import BASE_COLOUR


def split_figure(report: BeforeAfter) -> go.Figure:
    """Draw the parts of a change, a panel for each way to split it; the bars of a panel add up to the change."""
    titles = [" or ".join(SPLITS[name]) for name in report.splits]
    figure, height = panels(titles, 1, 4 * ROW_PIXELS + 14, shared_xaxes=True)
    for i, table in enumerate(report.splits.values(), start=1):
        all_labels(figure, list(table["pair"]), i, 1)
        figure.add_bar(
            x=100 * table["gain"], y=list(range(len(table))), orientation="h", marker_color=BASE_COLOUR,
            error_x=error_bar(table, "gain", 100), showlegend=False, row=i, col=1,
            hovertext=[f"{share:.0%} of the pairs of answers" for share in table["share"]],
        )  # fmt: skip
        figure.add_vline(0, line=ZERO, row=i, col=1)
    figure.update_xaxes(title_text="points of accuracy", row=len(titles), col=1)
    note = f"{report.change['n_problems']} problems; lines: 95 % limits over problems"
    return style(figure, "What the change consists of, before → after", height, note)
