"""Draw a running training: four small panels that grow with every rollout batch.

It is drawn as SVG, not as a plotly figure: JupyterLab does not redraw a plotly figure whose display is updated. The
whole run is shown once more as a plotly figure when it has ended.

Usage: `live = LiveFigure(config.arm()); train(config, on_batch=live.update); live.close(metrics)`
"""

from __future__ import annotations

import html
import time
from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from IPython.display import display
from plotly.subplots import make_subplots

from spurious_rewards.reporting.figures import TITLES, show
from spurious_rewards.reporting.words import CLIP_COLOURS

PANELS = ("reward_mean", "code_frequency", "entropy", "clip_fraction")
COLOUR = CLIP_COLOURS["two_sided"]
_WIDTH, _HEIGHT, _LEFT, _TOP = 380, 150, 46, 24


class LiveFigure:
    """Show reward, code frequency, entropy and clip fraction of a run while it trains.

    Args:
        title: of the run.
        seconds_between: shortest time between two drawings.
    """

    def __init__(self, title: str, seconds_between: float = 3.0):
        self.title, self.seconds_between = title, seconds_between
        self._handle = None
        self._last = 0.0

    def update(self, metrics: pd.DataFrame) -> None:
        """Redraw in place; does nothing when the last drawing is recent."""
        now = time.monotonic()
        if self._handle is not None and now - self._last < self.seconds_between:
            return
        self._last = now
        drawn = {"image/svg+xml": svg(self.title, metrics), "text/plain": f"{self.title}: {len(metrics)} updates"}
        if self._handle is None:
            self._handle = display(drawn, raw=True, display_id=True)
        else:
            self._handle.update(drawn, raw=True)

    def close(self, metrics: pd.DataFrame) -> None:
        """Replace the live drawing by the whole run as a plotly figure, which saved notebooks keep."""
        if self._handle is not None:
            self._handle.update({"text/plain": f"{self.title}: {len(metrics)} updates"}, raw=True)
        show(figure(self.title, metrics))


def series(metrics: pd.DataFrame, name: str) -> pd.Series:
    """Return one value per rollout batch: of its first update; of the clip fraction the mean of the later ones."""
    if name == "clip_fraction":
        return metrics[metrics["update_in_batch"] > 1].groupby("rollout_batch")[name].mean()
    return metrics[metrics["update_in_batch"] == 1].set_index("rollout_batch")[name]


def figure(title: str, metrics: pd.DataFrame) -> go.Figure:
    """Draw the four panels over rollout batches with plotly."""
    drawn = make_subplots(rows=2, cols=2, subplot_titles=[TITLES[name] for name in PANELS], vertical_spacing=0.18)
    for i, name in enumerate(PANELS):
        values = series(metrics, name)
        drawn.add_scatter(
            x=values.index, y=values, mode="lines+markers", row=1 + i // 2, col=1 + i % 2, showlegend=False,
            line={"color": COLOUR}, marker={"size": 4},
        )  # fmt: skip
    drawn.update_annotations(font_size=12)
    drawn.update_xaxes(title_text="rollout batch", row=2)
    return drawn.update_layout(
        template="plotly_white", width=820, height=480, title=title, margin={"l": 50, "r": 20, "t": 80, "b": 50}
    )


def svg(title: str, metrics: pd.DataFrame) -> str:
    """Draw the same panels as a small SVG, which takes milliseconds and no browser."""
    panels = ""
    for i, name in enumerate(PANELS):
        at = f"{_WIDTH * (i % 2)},{24 + _HEIGHT * (i // 2)}"
        panels += f'<g transform="translate({at})">{_panel(name, series(metrics, name))}</g>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * _WIDTH} {24 + 2 * _HEIGHT}" width="100%" '
        f'style="max-width:{2 * _WIDTH}px;background:#fff" role="img" font-family="sans-serif" font-size="11">'
        f"<title>{html.escape(title)}</title>"
        f'<text x="8" y="16" font-size="13">{html.escape(title)}</text>{panels}</svg>'
    )


def _panel(name: str, values: pd.Series) -> str:
    """Draw one panel: its title, the lowest and highest value, and a point per rollout batch."""
    values = values.dropna().astype(float)
    parts = [f'<text x="{_LEFT}" y="{_TOP - 8}" font-weight="bold">{html.escape(TITLES[name])}</text>']
    left, right, top, bottom = _LEFT, _WIDTH - 12, _TOP, _HEIGHT - 22
    parts.append(f'<path d="M{left},{top}V{bottom}H{right}" fill="none" stroke="#999"/>')
    if len(values):
        low, high = float(values.min()), float(values.max())
        x = np.interp(values.index.to_numpy(float), _span(values.index[0], values.index[-1]), (left + 8, right - 8))
        y = np.interp(values.to_numpy(), _span(low, high), (bottom - 8, top + 8))
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{COLOUR}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="{COLOUR}"/>' for a, b in zip(x, y, strict=True)]
        marks = {round(float(y[values.argmin()])): low, round(float(y[values.argmax()])): high}
        parts += [f'<text x="{left - 4}" y="{at + 4}" text-anchor="end">{v:.3g}</text>' for at, v in marks.items()]
        ends = {round(float(x[0])): values.index[0], round(float(x[-1])): values.index[-1]}
        parts += [f'<text x="{at}" y="{_HEIGHT - 8}" text-anchor="middle">{v}</text>' for at, v in ends.items()]
    return "".join(parts)


def _span(low: float, high: float) -> Sequence[float]:
    """Return the two ends of an axis, apart even where all values are equal."""
    return (low, high) if high > low else (low - 1, high + 1)
