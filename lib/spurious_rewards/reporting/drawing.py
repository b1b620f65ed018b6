"""Style figures, show them in notebooks and write them to files; the modules named `…figures` draw them.

Small multiples with titles in words; a legend of the few things that colour or line stand for; every tick label drawn.
A figure is written as an interactive page, which needs plotly.js in the folder above it, and as PNG where a
Chrome-family browser exists.

Usage: `show(figure)` in a notebook; `write(figures, folder)` in the report.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from IPython.display import display
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from spurious_rewards.errors import InputError
from spurious_rewards.reporting.images import png
from spurious_rewards.storage.files import atomic_path, write_text
from spurious_rewards.workflow.doctor import browser_path

WIDTH = 960
ZERO = {"color": "#888888", "width": 1}
INK = "#333f4d"
MOST_ENTRIES = 6
"""Entries of a legend that can be told apart."""
TITLE_ROOM = 140
"""Characters of the titles of panels that fit side by side."""
ROW_PIXELS = 26
"""Height of one row of intervals."""


def style(figure: go.Figure, title: str, height: int, note: str = "", bottom: int = 56) -> go.Figure:
    """Give a figure its title, with a note below it, its size and the legend above the panels."""
    head = f"<b>{title}</b>" + (f"<br><span style='font-size:12px'>{note}</span>" if note else "")
    figure.update_xaxes(title_font_size=12).update_yaxes(title_font_size=12)
    return figure.update_layout(
        template="plotly_white", width=WIDTH, height=height, font={"size": 12, "color": INK},
        title={"text": head, "font": {"size": 15}, "x": 12 / WIDTH, "xref": "container", "xanchor": "left",
               "y": 1 - 22 / height, "yref": "container", "yanchor": "top"},
        margin={"l": 70, "r": 24, "t": 120, "b": bottom},
        legend={"orientation": "h", "x": 12 / WIDTH, "xref": "container", "xanchor": "left", "y": 1 - 58 / height,
                "yref": "container", "yanchor": "top", "font": {"size": 12}, "traceorder": "normal"},
    )  # fmt: skip


def panels(titles: Sequence[str], columns: int, panel_height: int, **options: Any) -> tuple[go.Figure, int]:
    """Make a grid of small panels, each under its title; returns it with its height in pixels.

    Args:
        titles: of the panels, row by row; at most two lines each.
        columns: panels side by side.
        panel_height: in pixels, without title and ticks.
        options: of `make_subplots`.
    """
    rows = -(-len(titles) // columns)
    gap, inner = 62, rows * panel_height + (rows - 1) * 62
    figure = make_subplots(
        rows=rows, cols=columns, subplot_titles=list(titles), vertical_spacing=gap / inner if rows > 1 else 0,
        horizontal_spacing=options.pop("horizontal_spacing", 0.05), **options,
    )  # fmt: skip
    figure.update_annotations(font={"size": 12, "color": INK}, yshift=2)
    return figure, inner + 120 + 56


def side_by_side(titles: Sequence[str], most: int) -> int:
    """Count the panels, at most `most`, whose titles stand side by side without touching each other.

    >>> side_by_side(["<b>one</b><br>" + 60 * "x", "<b>two</b>", "<b>three</b>"], 3)
    2
    """
    longest = max(len(line) for title in titles for line in re.sub("</?b>", "", title).split("<br>"))
    return max(1, min(most, len(titles), TITLE_ROOM // longest))


def error_bar(rows: pd.DataFrame, name: str, scale: float = 1.0) -> dict[str, Any]:
    """Make error bars of a column from its limits; none where those of a proportion are too wide to mean anything."""
    value, low, high = rows[name], rows[f"{name}_low"], rows[f"{name}_high"]
    if scale == 100:
        low, high = low.mask(high - low > 1), high.mask(high - low > 1)
    return {
        "type": "data", "symmetric": False, "thickness": 1.5, "width": 4,
        "array": scale * (high - value), "arrayminus": scale * (value - low),
    }  # fmt: skip


def check_legends(figures: Mapping[str, go.Figure]) -> None:
    """Refuse figures whose legend is too long to be read.

    Raises:
        InputError: a legend has more than `MOST_ENTRIES` entries.
    """
    for name, figure in figures.items():
        traces: Any = figure.data
        entries = [trace for trace in traces if trace.showlegend is not False and trace.name]
        if len(entries) > MOST_ENTRIES:
            raise InputError(f"The legend of figure {name} has {len(entries)} entries; split it into panels.")


def all_labels(figure: go.Figure, labels: Sequence[str], row: int, col: int) -> None:
    """Name the rows 0, 1, … of a panel from top to bottom; every label is drawn."""
    figure.update_yaxes(
        tickmode="array", tickvals=list(range(len(labels))), ticktext=list(labels), automargin=True, showgrid=False,
        range=[len(labels) - 0.5, -0.5], row=row, col=col,
    )  # fmt: skip


def show(figure: go.Figure | None) -> None:
    """Display in a notebook: interactive, and as PNG where a browser exists, which is what GitHub shows.

    Args:
        figure: or None, of which a sentence says that the profile has too little for it.
    """
    if figure is None:
        print("This profile has too few runs or rollout batches for this figure.")
        return
    display(bundle(figure), raw=True)


def bundle(figure: go.Figure) -> dict[str, Any]:
    """Make a figure's output in a notebook: plotly's JSON, and PNG where a browser draws it in time."""
    result = pio.renderers["plotly_mimetype"].to_mimebundle(figure.to_dict())
    browser = browser_path()
    if browser:
        image = png(figure)
        if image is None:
            print(f"{Path(browser).name} did not draw this figure in time; it is interactive only.")
        else:
            result["image/png"] = base64.b64encode(image).decode()
    return result


def write(figures: Mapping[str, go.Figure], folder: Path) -> str:
    """Write every figure as page, and as PNG where a browser exists; returns a sentence on the PNGs.

    Afterwards the folder holds these figures and no others, and no PNG of other data: a figure whose page has not
    changed keeps its PNG, any other PNG is drawn again or removed. plotly.js goes once into the folder's parent.
    """
    put_plotlyjs(folder.parent)
    for path in [*folder.glob("*.html"), *folder.glob("*.png")]:
        if path.stem not in figures:
            path.unlink()
    to_draw = {}
    for name, figure in figures.items():
        body = figure.to_html(full_html=False, include_plotlyjs=False, div_id=name)
        page, drawn = folder / f"{name}.html", folder / f"{name}.png"
        title, note = (html.escape(part) for part in words_of(figure))
        text = PAGE.format(title=title, note=note, image=f"{name}.png", body=body)
        if page.is_file() and page.read_bytes() == text.encode():
            if drawn.is_file():
                continue
        else:
            drawn.unlink(missing_ok=True)
            write_text(page, text)
        to_draw[name] = figure
    if not to_draw:
        return "All figures are as they were."
    browser = browser_path()
    if browser is None:
        return (
            f"No PNG was written for {len(to_draw)} figures: no Chrome-family browser was found (set BROWSER_PATH, "
            "or install chromium-headless-shell). They are interactive only."
        )
    late = []
    for name, figure in to_draw.items():
        image = png(figure)
        if image is None:
            late.append(name)
            continue
        with atomic_path(folder / f"{name}.png") as path:
            path.write_bytes(image)
    return f"PNGs were written with {Path(browser).name}" + (
        f", which did not draw in time: {', '.join(late)}." if late else "."
    )


def put_plotlyjs(folder: Path) -> None:
    """Write plotly.js, as `plotly.min.js`, into the folder whose subfolders hold figures; one that is current stays."""
    javascript = folder / "plotly.min.js"
    if not javascript.is_file() or javascript.read_bytes() != get_plotlyjs().encode():
        write_text(javascript, get_plotlyjs())


def words_of(figure: go.Figure) -> tuple[str, str]:
    """Read the title of a figure and its note, without markup.

    >>> words_of(style(go.Figure(), "Share of code", 300, "n = 5 seeds"))
    ('Share of code', 'n = 5 seeds')
    """
    title, _, note = (figure.layout.title.text or "").partition("<br>")
    return re.sub("<[^>]+>", "", title), re.sub("<[^>]+>", "", note)


PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<meta name="description" content="{note}">
<script src="../plotly.min.js"></script></head><body>
<main><h1 style="position:absolute;left:-9999px">{title}</h1>
<noscript><img src="{image}" alt="{title}"></noscript>
<p id="missing" hidden>The interactive figure needs plotly.js, which <code>make reproduce</code> writes beside the
figures. Here is the picture.<br><img src="{image}" alt="{title}"></p>
<script>if (!window.Plotly) {{ document.getElementById("missing").hidden = false; window.Plotly = {{newPlot() {{}}}}; }}
</script>
{body}
</main></body></html>
"""
