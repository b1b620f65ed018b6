"""From records to `results/`: tables (CSV and Markdown), figures, claims, and one static page that links them.

Usage: `write_report("micro")` collects and writes all; `rebuild(results_dir())` rewrites tables and page
from what is committed, without any run.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from spurious_rewards.mechanism.verdict import sentences
from spurious_rewards.reporting import collect, figures, reasoning_figures
from spurious_rewards.reporting.claims import claims_table
from spurious_rewards.reporting.collect import Records
from spurious_rewards.reporting.mechanism_claims import mechanism_tables
from spurious_rewards.reporting.mechanism_figures import mechanism_figures
from spurious_rewards.reporting.tables import all_tables
from spurious_rewards.workflow.files import write_text
from spurious_rewards.workflow.profiles import load_profile, profile_names

CAPTIONS = {
    "arms": "Accuracy and code frequency of every arm, with the change from the base model (95 % limits over problems "
            "and seeds; `_seeds_` limits: over seeds alone).",
    "clip_effect": "Each clip mode minus `none`, paired by seed (95 % t limits over seeds).",
    "clip_activity": "Where the clip acts: share of tokens clipped at update 1 of a rollout batch (must be 0) and "
                     "later.",
    "first_updates": "Control: arms that differ in the clip alone have bit-equal losses at the first update.",
    "runs": "What each training run cost, and the commit it came from.",
    "strategies": "Code reasoning (Table 1 of the paper): frequency of code, accuracy with and without it, agreement "
                  "of two detectors (Cohen's kappa), and the identity frequency × accuracy that every row must satisfy "
                  "(95 % limits over problems; the seeds of an arm are taken together as they are).",
    "switches": "What problems contribute to the change of greedy accuracy (Fig 7), by strategy before and after "
                "training (C code, L language; 95 % limits over problems). Where the limits of total_gain include 0 "
                "the contributions mean little; where it is negative they are shares of the loss.",
    "contributions": "Contributions averaged over the arms that gained (Table 2; 95 % limits over problems).",
    "behaviour": "Code frequency and mean reward of the rollouts in fifths of training (Fig 6): mean of the seeds, and "
                 "the lowest and highest seed.",
    "checkpoints": "Evaluated checkpoints along training (95 % limits over problems and seeds).",
    "forced_code": "The base model with the answer forced to begin with “Let's solve this using Python.”, against the "
                   "same prompt without (Table 3): paired by problem, exact McNemar test, Holm correction within the "
                   "table.",
    "prompts": "The base model under every prompt, against the profile's own (first row of a model; Table 5): paired "
               "by problem, exact McNemar test, Holm correction within the table.",
    "probe": "Completion of problems from their first 40, 60, 80 % (contamination probe): exact match of the rest, "
             "ROUGE-L, and right answers from the beginning alone (95 % limits; Wilson, bootstrap for ROUGE-L).",
    "claims": "The paper's claims beside what was measured here. Figures in the third column are paper-reported.",
}

BENCHMARKS = {
    "generation/agreement": "The same greedy evaluation cell through two engines: verdicts, texts, and how near the "
                            "top two tokens were where the texts first differ.",
    "generation/engines": "Speed of the two engines in one run (benchmarks/generation.py).",
    "training/grpo_step": "CPU seconds of one rollout batch, 32 × 16 rollouts and 8 updates (benchmarks/grpo_step.py).",
    "training/scaling": "Time and memory against model size, completion length and group size.",
    "grader_benchmark": "Speed of the graders (benchmarks/grader.py).",
}
"""Tables that benchmarks write, below results/tables, and their captions."""

MECHANISM = ("A softmax bandit with coin-flip rewards and the trainer's own surrogate and advantages; the paired "
             "counterfactual, in which a language model replays the same rollouts with and without the clip; and "
             "organisms that differ in their code prior alone. Notebook 05_clip_mechanism derives what to expect.")


@dataclass(frozen=True)
class Report:
    """What a report wrote: its page, the records it rests on, and a sentence on the PNGs."""

    page: Path
    records: Records
    png_note: str


def write_report(profile: str, results: Path | None = None) -> Report:
    """Collect the runs of a profile and write everything that the profile contributes to the results folder.

    Raises:
        InputError: the profile has no complete evaluation.
    """
    results = results or collect.results_dir()
    records = collect.collect(profile)
    collect.save(records, results)
    records = collect.load(profile, results)  # what a reader of the committed files would see
    note = figures.write(figures.all_figures(records) | reasoning_figures.all_figures(records),
                         results / "figures" / profile)
    return Report(rebuild(results), records, note)


def rebuild(results: Path) -> Path:
    """Write all tables and `index.html` again from the committed records of all profiles."""
    profiles = [collect.load(name, results) for name in collect.saved_profiles(results)]
    for records in profiles:
        write_tables(all_tables(records), results / "tables" / records.profile)
    mechanism = mechanism_tables(results)
    if mechanism:
        figures.write(mechanism_figures(mechanism), results / "figures" / "mechanism")
    write_tables({"claims": claims_table(profiles, mechanism)}, results / "tables")
    write_text(results / "index.html", page(profiles, mechanism, results))
    return results / "index.html"


def write_tables(tables: dict[str, pd.DataFrame], folder: Path) -> None:
    """Write each table as CSV (full precision) and Markdown (rounded)."""
    for name, table in tables.items():
        write_text(folder / f"{name}.csv", table.to_csv(index=False))
        write_text(folder / f"{name}.md", f"{CAPTIONS[name]}\n\n{markdown(table)}")


def cell(value: Any) -> str:
    """A table cell as text: three significant digits after the point, a dash for what does not exist."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–" if value is None or math.isnan(value) else ("∞" if value > 0 else "−∞")
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def markdown(table: pd.DataFrame) -> str:
    """A pipe table."""
    lines = [" | ".join(table.columns), " | ".join("---" for _ in table.columns)]
    lines += [" | ".join(cell(value).replace("|", "\\|") for value in row) for row in table.itertuples(index=False)]
    return "".join(f"| {line} |\n" for line in lines)


def page(profiles: list[Records], mechanism: Mapping[str, pd.DataFrame], results: Path) -> str:
    """The static page: claims, the clip alone, each profile, then what was not run and how to run it."""
    parts = [section("Claims", "claims", results / "tables" / "claims.csv", results)]
    if "bandit_map" in mechanism:
        verdict = sentences(*(mechanism.get(name) for name in ("bandit_map", "counterfactual", "dose_counterfactual")))
        links = ", ".join(f"<a href='tables/mechanism/{name}.csv'>{name}.csv</a>" for name in mechanism)
        parts.append(f"<h2 id='mechanism'>The clip alone</h2><p>{MECHANISM} All cells: {links}.</p>"
                     + "".join(f"<p>{html.escape(sentence)}</p>" for sentence in verdict))
        parts += drawn(results / "figures" / "mechanism", results)
    for records in profiles:
        parts.append(f"<h2 id='{records.profile}'>Profile {records.profile}</h2>"
                     f"<p>{html.escape(describe(records))}</p>")
        parts += drawn(results / "figures" / records.profile, results)
        for path in sorted((results / "tables" / records.profile).glob("*.csv")):
            parts.append(section(path.stem, path.stem, path, results))
        parts.append(f"<p>Executed notebooks: <a href='notebooks/{records.profile}/'>notebooks/{records.profile}</a>. "
                     f"Manifests: <a href='manifests/{records.profile}/'>manifests/{records.profile}</a>.</p>")
    written = {name: results / "tables" / f"{name}.csv" for name in BENCHMARKS}
    if any(path.is_file() for path in written.values()):
        parts.append("<h2 id='benchmarks'>Engines and speed</h2>")
        parts += [section(path.stem, name, path, results) for name, path in written.items() if path.is_file()]
    measured = {records.profile for records in profiles}
    rest = [load_profile(name) for name in profile_names() if name not in measured]
    if rest:
        items = "".join(f"<li><b>{p.name}</b> ({len(p.jobs)} notebooks): {html.escape(p.description)} "
                        f"<code>make reproduce PROFILE={p.name}</code> — <b>not run</b></li>" for p in rest)
        parts.append(f"<h2>Not run here</h2><ul>{items}</ul>")
    return TEMPLATE.format(body="\n".join(parts))


def drawn(folder: Path, results: Path) -> list[str]:
    """Each figure of a folder: its PNG if there is one, else the interactive page in a frame."""
    parts = []
    for path in sorted(folder.glob("*.html")):
        png = path.with_suffix(".png")
        link = path.relative_to(results).as_posix()
        shown = (f"<img src='{png.relative_to(results).as_posix()}' alt='{path.stem}'>" if png.is_file() else
                 f"<iframe src='{link}' title='{path.stem}' loading='lazy'></iframe>")
        parts.append(f"<figure>{shown}<figcaption><a href='{link}'>{path.stem} (interactive)</a></figcaption></figure>")
    return parts


def describe(records: Records) -> str:
    """One sentence on what the numbers of a profile rest on."""
    commits = {str(m["commit"])[:10] + (" + uncommitted changes" if m["dirty"] is True else "")
               for m in records.manifests.values()}
    seeds = records.runs["seed"].nunique() if len(records.runs) else 0
    return (f"{len(records.runs)} training runs ({seeds} seeds per arm), {records.samples['run_id'].nunique()} "
            f"evaluations of {records.samples['problem_id'].nunique()} problems, {len(records.samples)} answers; "
            f"commit {', '.join(sorted(commits))}.")


def section(title: str, name: str, path: Path, results: Path) -> str:
    """A table of the page, read back from its CSV, with a link to it."""
    table = pd.read_csv(path)
    head = "".join(f"<th>{html.escape(str(c))}</th>" for c in table.columns)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell(v))}</td>" for v in row) + "</tr>"
                   for row in table.itertuples(index=False))
    return (f"<h3>{html.escape(title)}</h3><p>{html.escape((CAPTIONS | BENCHMARKS).get(name, ''))} "
            f"<a href='{path.relative_to(results).as_posix()}'>CSV</a></p>"
            f"<div class='wide'><table><tr>{head}</tr>{rows}</table></div>")


TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Spurious Rewards, reproduced</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222; }}
table {{ border-collapse: collapse; font-size: 12.5px; }}
th, td {{ border-bottom: 1px solid #ddd; padding: 3px 8px; text-align: left; vertical-align: top; }}
.wide {{ overflow-x: auto; }}
figure {{ display: inline-block; margin: 0 0 1em 0; width: 100%; }}
img {{ max-width: 100%; }}
iframe {{ width: 100%; height: 460px; border: 0; }}
</style></head><body>
<h1>Spurious Rewards, reproduced</h1>
<p>Why does reinforcement learning with verifiable rewards improve some language models even when the reward is random?
Every number below is computed from committed records by <code>notebooks/07_report.ipynb</code>; every run has a
manifest. Proportions are in [0, 1].</p>
{body}
</body></html>
"""
