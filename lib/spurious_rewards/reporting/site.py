"""The static page `results/index.html`: the answer first, then claims, the clip alone, each profile, how to run more.

It is made from the committed tables, figures and manifests alone. Wide tables are folded; every one links its CSV.

Usage: `page(profiles, mechanism, results_dir())`; `reporting.report.rebuild` writes it.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from spurious_rewards.mechanism.verdict import sentences
from spurious_rewards.reporting.collect import Records
from spurious_rewards.reporting.text import BENCHMARKS, CAPTIONS, cell
from spurious_rewards.storage.files import read_json
from spurious_rewards.workflow.profiles import Profile, profile_names, read_profile

SCALES = ("the clip alone", "small organisms", "real models here")
"""Columns of the overview, as `scale_of` sorts findings into them."""
OPEN = ("arms", "clip_effect")
"""Tables that are not folded."""

MECHANISM = (
    "A softmax bandit with coin-flip rewards and the trainer's own surrogate and advantages; the paired "
    "counterfactual, in which a language model replays the same rollouts with and without the clip; and "
    "organisms that differ in their code prior alone. Notebook 05_clip_mechanism derives what to expect."
)


def page(profiles: Sequence[Records], mechanism: Mapping[str, pd.DataFrame], results: Path) -> str:
    """The page as HTML.

    Args:
        profiles: with committed records, in the order in which they are to be shown.
        mechanism: from `mechanism_claims.mechanism_tables`.
        results: the folder that the page lies in.
    """
    claims = pd.read_csv(results / "tables" / "claims.csv", keep_default_na=False)
    names = ("bandit_map", "counterfactual", "dose_counterfactual")
    verdict = sentences(*(mechanism.get(name) for name in names)) if "bandit_map" in mechanism else []
    written = {name: results / "tables" / f"{name}.csv" for name in BENCHMARKS}
    benchmarks = [section(path.stem, name, path, results) for name, path in written.items() if path.is_file()]
    parts = {
        "In short": ("short", in_short(claims, profiles, verdict)),
        "Claims, one by one": ("claims", claims_section(claims)),
        "The clip alone": ("mechanism", mechanism_section(mechanism, results) if mechanism else ""),
        **{f"Profile {records.profile}": (records.profile, profile_section(records, results)) for records in profiles},
        "Engines and speed": ("benchmarks", "".join(benchmarks)),
        "Run it": ("run", run_section({records.profile for records in profiles})),
    }
    shown = {title: part for title, part in parts.items() if part[1]}
    links = " · ".join(f"<a href='#{anchor}'>{html.escape(title)}</a>" for title, (anchor, _) in shown.items())
    body = [f"<h2 id='{anchor}'>{html.escape(title)}</h2>\n{text}" for title, (anchor, text) in shown.items()]
    return TEMPLATE.format(links=links, body="\n".join(body))


def scale_of(finding: str) -> str:
    """The column of the overview in which a finding's scale belongs.

    >>> scale_of("bandit, 1000 seeds"), scale_of("qwen-like (profile micro)")
    ('the clip alone', 'small organisms')
    """
    if finding.startswith(("bandit", "organism")):
        return SCALES[0]
    return SCALES[1] if "-like" in finding else SCALES[2]


def in_short(claims: pd.DataFrame, profiles: Sequence[Records], verdict: Sequence[str]) -> str:
    """What the clip does, in the words of the verdict; every claim's verdicts by scale; what the numbers rest on."""
    rows = []
    for claim, findings in claims.groupby("claim", sort=False):
        columns = findings.groupby(findings["scale"].map(scale_of))["verdict"].value_counts()
        cells = "".join(f"<td>{badges(columns.get(scale))}</td>" for scale in SCALES)
        rows.append(
            f"<tr><td><a href='#{claim}'>{claim}</a></td><td>{html.escape(findings['says'].iloc[0])}</td>"
            f"{cells}<td>{badges(None)}</td></tr>"
        )
    answers = sum(len(records.samples) for records in profiles)
    trainings = sum(len(records.runs) for records in profiles)
    head = "".join(f"<th>{name}</th>" for name in ("claim", "the paper says", *SCALES, "Qwen2.5-Math-7B"))
    said = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in verdict)
    return (
        f"{said}<p>Verdicts by scale, one mark per finding: <i>consistent</i> or <i>against</i> where 95 % limits "
        f"exclude no effect, else <i>undecided</i>. They rest on {trainings} training runs and {answers:,} answers "
        "of the profiles below and on the tables of the clip alone. No GPU was used: what the paper measured "
        f"on Qwen2.5-Math-7B was <b>not run</b> here.</p><table><tr>{head}</tr>{''.join(rows)}</table>"
    )


def badges(counts: pd.Series | None) -> str:
    """Verdicts with how often each occurs, coloured; a dash for none."""
    found = {verdict: n for verdict, n in ({} if counts is None else counts).items() if verdict != "not run"}
    return (
        " ".join(f"<span class='{verdict}'>{verdict}{f' ×{n}' if n > 1 else ''}</span>" for verdict, n in found.items())
        or "<span class='none'>not run</span>"
    )


def claims_section(claims: pd.DataFrame) -> str:
    """The table of claims, one block per claim, each finding a row."""
    rows = []
    for claim, findings in claims.groupby("claim", sort=False):
        first = findings.iloc[0]
        for i, row in enumerate(findings.itertuples()):
            left = (
                "".join(
                    f"<td rowspan='{len(findings)}'>{html.escape(text)}</td>"
                    for text in (claim, first["says"], first["paper-reported"])
                )
                if i == 0
                else ""
            )
            mark = f" id='{claim}'" if i == 0 else ""
            rows.append(
                f"<tr{mark}>{left}<td>{html.escape(row.scale)}</td><td>{html.escape(row.measured)}</td>"
                f"<td><span class='{row.verdict.replace('not run', 'none')}'>{row.verdict}</span></td></tr>"
            )
    head = "".join(f"<th>{name}</th>" for name in ("claim", "says", "paper-reported", "scale", "measured", "verdict"))
    return (
        f"<p>{html.escape(CAPTIONS['claims'])} <a href='tables/claims.csv'>CSV</a></p>"
        f"<div class='wide'><table><tr>{head}</tr>{''.join(rows)}</table></div>"
    )


def mechanism_section(mechanism: Mapping[str, pd.DataFrame], results: Path) -> str:
    """What the tables of the mechanism are, and their figures."""
    links = ", ".join(f"<a href='tables/mechanism/{name}.csv'>{name}.csv</a>" for name in mechanism)
    manifests = map(read_json, sorted((results / "manifests" / "mechanism").glob("*.json")))
    runs = [run for manifest in manifests for run in manifest.get("runs", [manifest])]
    return (
        f"<p>{MECHANISM} All cells: {links}. Manifests: <a href='manifests/mechanism/'>manifests/mechanism</a>; "
        f"commit {commits(runs)}.</p>" + drawn(results / "figures" / "mechanism", results)
    )


def profile_section(records: Records, results: Path) -> str:
    """A profile: what it is, figures, tables, and where its notebooks and manifests are."""
    name = records.profile
    known = read_profile(name).description if name in profile_names() else ""
    tables = sorted((results / "tables" / name).glob("*.csv"), key=lambda path: (path.stem not in OPEN, path.stem))
    return "".join(
        [
            f"<p>{html.escape(known)} {html.escape(describe(records))}</p>",
            drawn(results / "figures" / name, results),
            *(section(path.stem, path.stem, path, results) for path in tables),
            f"<p>Executed notebooks: <a href='notebooks/{name}/'>notebooks/{name}</a>. "
            f"Manifests: <a href='manifests/{name}/'>manifests/{name}</a>.</p>",
        ]
    )


def run_section(measured: set[str]) -> str:
    """The commands of every profile, and what has not been run."""

    def item(profile: Profile) -> str:
        state = "measured, above" if profile.name in measured else "<b>not run</b>"
        return (
            f"<li><code>make reproduce PROFILE={profile.name}</code> — {state}. {len(profile.jobs)} notebooks. "
            f"{html.escape(profile.description)}</li>"
        )

    items = "".join(item(read_profile(name)) for name in profile_names())
    return f"<ul>{items}</ul><p>{GPU}</p>"


GPU = (
    "The paper's experiment on 8 GPUs (not run by us): <code>docker build -t spurious-rewards . &amp;&amp; docker "
    'run --gpus all --ipc host -v "$PWD/runs:/artifact/runs" -v "$PWD/results:/artifact/results" '
    "spurious-rewards make reproduce PROFILE=paper</code>"
)


def drawn(folder: Path, results: Path) -> str:
    """Each figure of a folder: its PNG if there is one, else the interactive page in a frame."""
    parts = []
    for path in sorted(folder.glob("*.html")):
        png = path.with_suffix(".png")
        link = path.relative_to(results).as_posix()
        shown = (
            f"<img src='{png.relative_to(results).as_posix()}' alt='{path.stem}' loading='lazy'>"
            if png.is_file()
            else f"<iframe src='{link}' title='{path.stem}' loading='lazy'></iframe>"
        )
        parts.append(f"<figure>{shown}<figcaption><a href='{link}'>{path.stem} (interactive)</a></figcaption></figure>")
    return "".join(parts)


def describe(records: Records) -> str:
    """One sentence on what the numbers of a profile rest on."""
    seeds = sorted({len(arm) for _, arm in records.runs.groupby(records.arm_columns())}) if len(records.runs) else []
    several = " to ".join(map(str, dict.fromkeys(seeds[:1] + seeds[-1:])))
    trained = f"{len(records.runs)} training runs ({several} seeds per arm)" if seeds else "No training runs"
    samples = records.samples
    return (
        f"{trained}, {samples['run_id'].nunique()} evaluations of {samples['problem_id'].nunique()} problems, "
        f"{len(samples)} answers; commit {commits(records.manifests.values())}."
    )


def commits(manifests: Iterable[Mapping[str, Any]]) -> str:
    """The commits that runs were made from, as text."""
    return ", ".join(
        sorted({str(m["commit"])[:10] + (" + uncommitted changes" if m["dirty"] is True else "") for m in manifests})
    )


def section(title: str, name: str, path: Path, results: Path) -> str:
    """A table of the page, read back from its CSV, with a link to it; folded unless it is one of `OPEN`."""
    table = pd.read_csv(path)
    head = "".join(f"<th>{html.escape(str(c))}</th>" for c in table.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell(v))}</td>" for v in row) + "</tr>"
        for row in table.itertuples(index=False)
    )
    caption = html.escape((CAPTIONS | BENCHMARKS).get(name, ""))
    return (
        f"<details{' open' if title in OPEN else ''}><summary><b>{html.escape(title)}</b> ({len(table)} rows). "
        f"{caption} <a href='{path.relative_to(results).as_posix()}'>CSV</a></summary>"
        f"<div class='wide'><table><tr>{head}</tr>{rows}</table></div></details>"
    )


TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Spurious Rewards, reproduced</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222; }}
nav {{ position: sticky; top: 0; background: #fff; padding: 6px 0; border-bottom: 1px solid #ddd; font-size: 13.5px; }}
h2, tr[id] {{ scroll-margin-top: 3.5em; }}
table {{ border-collapse: collapse; font-size: 12.5px; }}
th, td {{ border-bottom: 1px solid #ddd; padding: 3px 8px; text-align: left; vertical-align: top; }}
.wide {{ overflow-x: auto; }}
details {{ margin: 0.6em 0; }}
summary {{ cursor: pointer; }}
figure {{ display: inline-block; margin: 0 0 1em 0; width: 100%; }}
img {{ max-width: 100%; }}
iframe {{ width: 100%; height: 460px; border: 0; }}
.consistent, .against, .undecided, .none {{ border-radius: 3px; padding: 0 5px; white-space: nowrap; }}
.consistent {{ background: #d8efdc; }} .against {{ background: #f6d9d5; }} .undecided {{ background: #eee; }}
.none {{ color: #888; }}
</style></head><body>
<h1>Spurious Rewards, reproduced</h1>
<p>Why does reinforcement learning with verifiable rewards improve some language models even when the reward is random?
The paper of that name (arXiv 2506.10947) says: the clip term of GRPO amplifies what the model already likes to do.
Every number below is computed from committed files by <code>notebooks/07_report.ipynb</code>, and every run has a
manifest. Proportions are in [0, 1].</p>
<nav>{links}</nav>
{body}
</body></html>
"""
