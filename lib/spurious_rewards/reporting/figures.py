"""The figures of the report, as plotly figures made from the records, and how they are written and shown.

Colour stands for the clip mode everywhere (blue: two_sided, orange: none), line style for the reward; thin lines are
single seeds. A figure is written as HTML (which loads plotly.js from the folder above it, or from the network where
that file is missing) and as PNG where a Chrome-family browser exists.

Usage: `show(trajectory(records, "code_frequency"))` in a notebook; `write(figures, folder)` in the report.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
from IPython.display import display
from plotly.offline import get_plotlyjs, get_plotlyjs_version

from spurious_rewards.reporting.collect import Records
from spurious_rewards.reporting.images import browser_path, png
from spurious_rewards.reporting.tables import BASE, arm_name, arms, cell_columns
from spurious_rewards.storage.files import atomic_path, write_text

COLOURS = {
    "two_sided": "#3366aa",
    "none": "#dd7722",
    "high_only": "#228833",
    "low_only": "#aa3377",
    "asymmetric": "#66ccee",
    "log_symmetric": "#888800",
    "cispo": "#7755bb",
    "none_released": "#bb5566",
}
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
TITLES = {
    "code_frequency": "share of rollouts with code reasoning",
    "reward_mean": "mean reward",
    "entropy": "token entropy",
    "completion_tokens": "completion length, tokens",
    "box_rate": "share of rollouts with a box",
    "clip_fraction": "share of tokens clipped",
    "would_clip_high": "share of tokens above 1+ε with A > 0",
    "would_clip_low": "share of tokens below 1−ε with A < 0",
    "kl_old": "KL(π_θ‖π_old)",
}
_LAYOUT = {
    "template": "plotly_white",
    "width": 860,
    "height": 430,
    "margin": {"l": 70, "r": 20, "t": 60, "b": 60},
    "legend": {"font": {"size": 11}},
}


def show(figure: go.Figure) -> None:
    """Display in a notebook: interactive, and as PNG beside it where a browser exists (GitHub shows only that)."""
    display(bundle(figure), raw=True)


def bundle(figure: go.Figure) -> dict[str, Any]:
    """A figure as a notebook's output: plotly's JSON, and PNG where a browser draws it in time."""
    result = pio.renderers["plotly_mimetype"].to_mimebundle(figure.to_dict())
    browser = browser_path()
    if browser:
        os.environ["BROWSER_PATH"] = browser
        image = png(figure)
        if image is None:
            print(f"{Path(browser).name} did not draw this figure in time; it is interactive only.")
        else:
            result["image/png"] = base64.b64encode(image).decode()
    return result


def styles(records: Records) -> dict[str, tuple[str, str]]:
    """Run id → (colour, dash): colour by clip mode, dash by everything else that makes an arm."""
    others = [name for name in records.arm_columns() if name != "clip_mode"]
    kinds = list(dict.fromkeys(tuple(row[others]) for _, row in records.runs.iterrows()))
    return {
        row["run_id"]: (COLOURS[row["clip_mode"]], DASHES[kinds.index(tuple(row[others])) % len(DASHES)])
        for _, row in records.runs.iterrows()
    }


def trajectory(records: Records, column: str) -> go.Figure:
    """A quantity of the rollout batch over training: thin, one line per seed; thick, the mean of an arm's seeds."""
    figure, style, columns = go.Figure(), styles(records), records.arm_columns()
    first = records.metrics[records.metrics["update_in_batch"] == 1]
    for _, seeds in records.runs.groupby(columns, sort=False):
        name = arm_name(seeds.iloc[0], columns)
        colour, dash = style[seeds.iloc[0]["run_id"]]
        table = first[first["run_id"].isin(seeds["run_id"])].pivot_table(
            index="rollout_batch", columns="run_id", values=column
        )
        for run_id in table if len(seeds) > 1 else ():
            figure.add_scatter(
                x=table.index,
                y=table[run_id],
                mode="lines",
                legendgroup=name,
                showlegend=False,
                hoverinfo="skip",
                line={"color": colour, "width": 0.7, "dash": dash},
                opacity=0.4,
            )
        figure.add_scatter(
            x=table.index,
            y=table.mean(axis=1),
            mode="lines",
            name=name,
            legendgroup=name,
            line={"color": colour, "width": 2.5, "dash": dash},
        )
    title = TITLES.get(column, column)
    seeds_per_arm = records.runs.groupby(columns)["seed"].nunique()
    return figure.update_layout(
        **_LAYOUT,
        title=f"{title[0].upper()}{title[1:]} (n = {seeds_per_arm.min()} seeds)",
        xaxis_title="rollout batch",
        yaxis_title=title,
    )


def within_batch(records: Records) -> go.Figure:
    """Does the clip act? Share of tokens clipped, and would-be clipped, by position of the update in its batch."""
    figure, columns = go.Figure(), records.arm_columns()
    for _, seeds in records.runs.groupby(columns, sort=False):
        name, (colour, dash) = arm_name(seeds.iloc[0], columns), styles(records)[seeds.iloc[0]["run_id"]]
        metrics = records.metrics[records.metrics["run_id"].isin(seeds["run_id"])]
        metrics = metrics.assign(would_clip=metrics["would_clip_high"] + metrics["would_clip_low"])
        means = metrics.groupby("update_in_batch")[["clip_fraction", "would_clip"]].mean()
        figure.add_scatter(
            x=means.index,
            y=means["clip_fraction"],
            mode="lines+markers",
            name=f"clipped: {name}",
            line={"color": colour, "dash": dash},
        )
        if seeds.iloc[0]["clip_mode"] != "two_sided":
            figure.add_scatter(
                x=means.index,
                y=means["would_clip"],
                mode="lines",
                name=f"would be clipped: {name}",
                line={"color": colour, "dash": dash, "width": 1},
            )
    return figure.update_layout(
        **_LAYOUT,
        title="The clip is inert at the first update of each rollout batch",
        xaxis_title="optimizer update within its rollout batch",
        yaxis_title="share of tokens (mean over training)",
    )


def arm_intervals(records: Records, name: str = "accuracy", decoding: str = "greedy") -> go.Figure:
    """Accuracy or code frequency per arm with 95 % limits; the base model as a band.

    Args:
        records: of a profile.
        name: `accuracy` or `code`.
        decoding: `greedy`, or `sampled` for the cells with a temperature above 0.
    """
    table = arms(records)
    table = table[(table["temperature"] == 0) == (decoding == "greedy")]
    table = table.assign(
        cell=table[[column for column in cell_columns(records) if column not in ("prompt_style", "temperature")]]
        .astype(str)
        .agg(", ".join, axis=1)
    )  # the benchmark, and what else differs
    figure = go.Figure()
    for cell, rows in table.groupby("cell", sort=False):
        figure.add_scatter(
            x=rows[name],
            y=[f"{arm} · {cell}" for arm in rows["arm"]],
            mode="markers",
            name=cell,
            marker={"size": 10, "color": ["#444444" if arm == BASE else "#3366aa" for arm in rows["arm"]]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": rows[f"{name}_high"] - rows[name],
                "arrayminus": rows[name] - rows[f"{name}_low"],
            },
        )
        base = rows[rows["arm"] == BASE]
        if len(base):
            figure.add_vrect(
                x0=base.iloc[0][f"{name}_low"],
                x1=base.iloc[0][f"{name}_high"],
                fillcolor="#444444",
                opacity=0.12,
                line_width=0,
            )
    label = {
        "accuracy": "accuracy (pass@1)" if decoding == "greedy" else "accuracy (avg@k)",
        "code": "share of answers with code reasoning",
    }[name]
    n = f"{table['n_problems'].max():.0f} problems, up to {table['n_seeds'].max():.0f} seeds" if len(table) else "none"
    figure.update_yaxes(autorange="reversed", automargin=True)
    return figure.update_layout(
        **_LAYOUT,
        title=f"{label[0].upper()}{label[1:]}, {decoding} decoding ({n})",
        xaxis_title=f"{label}, with 95 % limits",
        showlegend=False,
    )


def all_figures(records: Records) -> dict[str, go.Figure]:
    """Name → figure, for a profile."""
    decodings = {"greedy" if t == 0 else "sampled" for t in records.samples["temperature"].unique()}
    figures = {
        f"{name}_{decoding}": arm_intervals(records, name, decoding)
        for decoding in sorted(decodings)
        for name in ("accuracy", "code")
    }
    if len(records.runs):
        figures |= {name: trajectory(records, name) for name in ("code_frequency", "reward_mean", "entropy")}
        figures["clip_within_batch"] = within_batch(records)
    return figures


def write(figures: Mapping[str, go.Figure], folder: Path) -> str:
    """Write every figure as HTML, and as PNG where a browser exists; returns a sentence on the PNGs.

    Afterwards the folder holds these figures and no others, and no PNG of other data: a figure whose HTML has not
    changed keeps its PNG, any other PNG is drawn again or removed. plotly.js goes once into the folder's parent.
    """
    javascript = folder.parent / "plotly.min.js"
    if not javascript.is_file():
        write_text(javascript, get_plotlyjs())
    for path in [*folder.glob("*.html"), *folder.glob("*.png")]:
        if path.stem not in figures:
            path.unlink()
    to_draw = {}
    for name, figure in figures.items():
        body = figure.to_html(full_html=False, include_plotlyjs=False, div_id=name)
        page, drawn = folder / f"{name}.html", folder / f"{name}.png"
        text = PAGE.format(title=name, script=plotly_script("../"), body=body)
        if page.is_file() and page.read_text(encoding="utf-8") == text:
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
    os.environ["BROWSER_PATH"] = browser
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


def plotly_script(up: str) -> str:
    """HTML that loads plotly.js from `up`, or from the network where that file was not made yet."""
    network = f"https://cdn.plot.ly/plotly-{get_plotlyjs_version()}.min.js"
    return (
        f'<script src="{up}plotly.min.js"></script>\n'
        f"<script>window.Plotly || document.write('<script src=\"{network}\"><\\/script>')</script>"
    )


PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
{script}</head><body>
{body}
</body></html>
"""
