"""Show what several models wrote to a chosen problem, side by side, with verdicts and strategies.

One plotly table with a drop-down list of problems. All texts are inside the figure, so that it works in a saved
notebook without a running kernel; the picture beside it (what GitHub shows) is that of the first problem. Problems on
which the answers differ come first: in the verdict, then in the strategy.

Usage: `show(browser(answers(records)))` with `records` of `evaluation.records.load_records`, greedy and sampled.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from spurious_rewards.errors import InputError

N_PROBLEMS = 25
MAX_PROMPT = 600  # characters of a prompt that are shown, from its end
MAX_TEXT = 4000  # characters of an answer that are shown
LINE = 85  # characters of a line in the answer column
_ROW = 17  # pixels of a line of text
_WIDTHS = (130, 160, 90, 560)
_DETAILS = {
    "prompt_style": "prompt {}",
    "engine": "{}",
    "dtype": "{}",
    "max_new_tokens": "at most {} tokens",
    "top_p": "top-p {:g}",
    "seed": "sampling seed {}",
}
"""What else tells evaluations apart: column of the records → words, shown where it differs."""
_COLOURS = {True: "#e3f3e3", False: "#fbe5e1"}


def subject(row: Mapping[str, Any]) -> str:
    """Name who answered: model or training arm, checkpoint, and decoding.

    >>> subject(pd.Series({"model": "qwen-like", "trained_run": "", "checkpoint": 0, "temperature": 0.0, "sample": 0}))
    'qwen-like, greedy'
    """
    name = row["model"]
    if row["trained_run"]:
        reward = f"random γ={row['gamma']:g}" if row["reward"] == "random" else row["reward"]
        name = f"{name} after {reward}, {row['clip_mode']}, seed {row['train_seed']}"
        name += f", update {row['checkpoint']}" if row["checkpoint"] else ""
    if pd.isna(row["temperature"]):  # outputs made elsewhere do not say
        return f"{name}, answer {row['sample'] + 1}"
    decoding = "greedy" if row["temperature"] == 0 else f"T = {row['temperature']:g}, sample {row['sample'] + 1}"
    return f"{name}, {decoding}"


def answers(records: pd.DataFrame, samples: int = 2) -> pd.DataFrame:
    """Return the answers to show, one row each, with `subject`: who gave it; problems and evaluations in their order.

    Two evaluations never share a subject: what they differ in is named, as a last resort by the end of the run id.

    Args:
        records: of `load_records`, any number of evaluations of the same problems.
        samples: of a sampled evaluation, how many answers per problem at most.

    Raises:
        InputError: the evaluations have no problem in common.
    """
    shown = records[records["sample"] < samples]
    per_run = shown.groupby("run_id")["problem_id"].agg(set)
    common = set.intersection(*per_run)
    if not common:
        raise InputError("The evaluations to compare have no problem in common: evaluate on the same problems.")
    shown = shown[shown["problem_id"].isin(common)]
    differing = [name for name in _DETAILS if name in shown and shown[name].nunique() > 1]
    rows = shown.to_dict("records")
    names = [", ".join([subject(row), *(_DETAILS[name].format(row[name]) for name in differing)]) for row in rows]
    runs_of_a_name = shown.assign(subject=names).groupby("subject")["run_id"].nunique()
    names = [
        f"{name}, run {run_id.rsplit('-', 1)[-1]}" if runs_of_a_name[name] > 1 else name  # batch size, problems, …
        for name, run_id in zip(names, shown["run_id"], strict=True)
    ]
    columns = "problem_id subject prompt gold extracted correct reason uses_code n_tokens finish_reason text"
    return shown.assign(subject=names)[columns.split()]


def interesting(table: pd.DataFrame, n: int = N_PROBLEMS) -> list[str]:
    """List the ids of the `n` problems to offer: different verdicts first, then different strategies."""
    by_problem = table.groupby("problem_id", sort=False)
    different = pd.DataFrame(
        {"verdicts": by_problem["correct"].nunique(), "strategies": by_problem["uses_code"].nunique()}
    )
    return different.sort_values(["verdicts", "strategies"], ascending=False, kind="stable").index[:n].tolist()


def browser(table: pd.DataFrame, n: int = N_PROBLEMS) -> go.Figure:
    """Return the table figure with its drop-down list.

    Args:
        table: of `answers`.
        n: how many problems are offered.
    """
    titles = {problem_id: title(table, problem_id) for problem_id in interesting(table, n)}
    header = {"values": ["who", "verdict", "strategy", "answer"], "align": "left", "fill_color": "#dddddd"}
    figure, height, buttons = go.Figure(), 0, []
    for i, (problem_id, text) in enumerate(titles.items()):
        frame = table[table["problem_id"] == problem_id]
        rows = frame.to_dict("records")
        texts = [[plain(row["subject"]), verdict(row), strategy(row), plain(row["text"])] for row in rows]
        cells = {"values": list(zip(*texts, strict=True)), "align": "left", "height": _ROW + 4, "font": {"size": 11}}
        cells["fill_color"] = [[_COLOURS[bool(right)] for right in frame["correct"]]]
        height = max(height, sum(lines(text) for text in frame["text"]) * _ROW + 12 * len(frame))
        figure.add_trace(go.Table(visible=i == 0, columnwidth=list(_WIDTHS), header=header, cells=cells))
        shown = [{"visible": [j == i for j in range(len(titles))]}, {"title.text": text}]
        buttons.append({"label": f"{i + 1}. {problem_id}", "method": "update", "args": shown})
    top = 60 + _ROW * max(text.count("<br>") + 1 for text in titles.values())
    head = {"text": next(iter(titles.values())), "font": {"size": 13}, "x": 0.01, "y": 1, "yanchor": "top"}
    return figure.update_layout(
        template="plotly_white", width=sum(_WIDTHS), height=min(max(height + top + 60, 320), 1400),
        margin={"l": 10, "r": 10, "t": top, "b": 10}, title=head | {"pad": {"t": 10}},
        updatemenus=[{"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.0, "yanchor": "bottom", "pad": {"b": 4}}],
    )  # fmt: skip


def title(table: pd.DataFrame, problem_id: str) -> str:
    """Return the problem as it was asked, and its reference answer."""
    row = table[table["problem_id"] == problem_id].iloc[0]
    asked = wrapped(("… " if len(row["prompt"]) > MAX_PROMPT else "") + row["prompt"][-MAX_PROMPT:], 120)
    return f"{asked}<br>reference answer: <b>{plain(row['gold'])}</b>"


def verdict(row: Mapping[str, Any]) -> str:
    """Say whether an answer is right, what was found in it, and why it was judged so."""
    found = "no answer" if pd.isna(row["extracted"]) else f"found {plain(row['extracted'])}"
    return f"{'right' if row['correct'] else 'wrong'} ({row['reason']})<br>{found}"


def strategy(row: Mapping[str, Any]) -> str:
    """Say whether an answer is in code or language, how long it is, and whether it was cut off."""
    cut = "<br>cut off" if row["finish_reason"] == "length" else ""
    length = f"<br>{row['n_tokens']:g} tokens" if pd.notna(row["n_tokens"]) else ""
    return f"{'code' if row['uses_code'] else 'language'}{length}{cut}"


def plain(text: str) -> str:
    """Escape a text so that plotly shows it verbatim: no tags, entities or formulas, and its own line breaks.

    Control characters, which a model can write and a picture cannot hold, become �.

    >>> plain("a < b & $x$")
    'a &lt; b &amp; &#36;x&#36;'
    """
    text = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} … ({len(text)} characters)"
    text = "".join(c if c == "\n" or c.isprintable() else " " if c.isspace() else "�" for c in text)
    return html.escape(text, quote=False).replace("$", "&#36;").replace("\n", "<br>")


def wrapped(text: str, width: int) -> str:
    """Write `plain` text in lines of at most `width` characters."""
    pieces = [piece for line in text.split("\n") for piece in textwrap.wrap(line, width) or [""]]
    return "<br>".join(plain(piece) for piece in pieces)


def lines(text: str) -> int:
    """Estimate how many lines a text takes in the answer column.

    >>> lines("short"), lines("x" * 100 + "\\ny")
    (3, 3)
    """
    return max(3, sum(max(1, -(-len(line) // LINE)) for line in text[:MAX_TEXT].split("\n")))
