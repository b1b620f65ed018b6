"""Render the static pages in `results/`: the answer first, then claims, profiles, rollouts, answers, a bandit.

They are made from committed tables, records, figures and manifests alone, and open from disk without a network. The
templates lie in `reporting/templates`; Jinja escapes whatever a model wrote.

Usage: `for path, text in render(results_dir()).items(): ...`; `reporting.report.rebuild` writes them.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from spurious_rewards.reporting import bandit_grid, compare, overview
from spurious_rewards.reporting.answers import PROBLEMS, answers_script, script
from spurious_rewards.reporting.collect import Records, load, saved_profiles
from spurious_rewards.reporting.evidence import WITHIN, recipe_of
from spurious_rewards.reporting.overview import ClaimView, claim_views
from spurious_rewards.reporting.paragraph import SHORT, paragraph
from spurious_rewards.reporting.provenance import Source, command_of, computing_seconds, not_run, sources
from spurious_rewards.reporting.readable import Table, readable
from spurious_rewards.reporting.text import BENCHMARKS, CAPTIONS
from spurious_rewards.reporting.words import STEP, arm_words, profile_title, setting_words, settings_told, spoken
from spurious_rewards.storage.files import read_json
from spurious_rewards.storage.markdown import pipe_table
from spurious_rewards.training.config import RunConfig
from spurious_rewards.workflow.profiles import profile_names, read_profile

PAGES = {"answers": "What models wrote", "rollouts": "A rollout batch", "bandit": "Play the bandit"}
"""Pages beside those of the profiles, with their names in the menu."""
SLIDERS = (
    ("prior", "prior of the likelier arm"),
    ("gamma", "γ, share of rewarded rollouts"),
    ("epsilon", "ε, half width of the band"),
    ("step_size", "step size"),
    ("updates", "updates per rollout batch"),
)
MOST_ROWS = 400
"""Rows up to which the page shows a table; larger ones are linked as CSV."""
FIRST_TABLES = ("arms", "clip_effect", "bandit_map")
"""Tables that are shown before others."""
VERDICTS = "tests"
"""The table that stands below the first figure."""
FIRST_FIGURES = (
    "clip_on_off", "outcomes", "beside_the_paper",
    "bandit_step_sgd", "bandit_prior", "counterfactual_code", "dose_runs_accuracy",
)  # fmt: skip
"""Figures that are shown before others."""
MODEL_NOTE = "The models are organisms, small Qwen2 models that we pretrained on sums"
ORGANISM_WORDS = {
    "qwen-like": "prefers code, begun by one of many tokens",
    "one-token": "prefers it too, chosen by one token",
    "llama-like": "hardly knows code",
    "olmo-like": "knows no code",
}


@dataclass(frozen=True)
class FigureView:
    """Hold a written figure: its file name without suffix, title, note, and whether it has a PNG."""

    name: str
    title: str
    note: str
    image: bool


@dataclass(frozen=True)
class TableView:
    """Hold a table of a page: its title, caption, path below tables/, and cells."""

    title: str
    caption: str
    path: str
    view: Table


@cache
def environment() -> Environment:
    """Return Jinja's environment, with all values escaped and an unknown name an error."""
    made = Environment(
        loader=PackageLoader("spurious_rewards.reporting", "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {"items_of": items, "spoken": spoken}
    return made


def static(name: str) -> str:
    """Return a file of the templates folder as it is."""
    return (files("spurious_rewards.reporting") / "templates" / name).read_text(encoding="utf-8")


def render(results: Path) -> dict[str, str]:
    """Render every page and the files beside them: path below results/ → text."""
    profiles = [load(name, results) for name in saved_profiles(results)]
    known = sources(results)
    names = [records.profile for records in profiles]
    mechanism = [("mechanism", "The clip alone")] if (results / "tables" / "mechanism").is_dir() else []
    record = results / "records" / "rollouts" / "rollouts.json"
    grid = results / "tables" / "mechanism" / "bandit_grid.csv"
    texts = any("text" in records.samples for records in profiles)
    have = {"answers": texts, "rollouts": record.is_file(), "bandit": grid.is_file()}
    menu = [*mechanism, *((f"profile-{name}", profile_title(name)) for name in names)]
    menu += [(name, words) for name, words in PAGES.items() if have[name]]
    gpu = overview.gpu_numbers(results)

    def page(template: str, title: str, up: str = "../", **values: Any) -> str:
        values = {"title": title, "up": up, "pages": menu, "gpu": gpu, **values}
        return environment().get_template(template).render(values) + "\n"

    claims = claim_views(results)
    written = {
        "index.html": page("index.html.j2", "Answer", up="", **first_screen(results, profiles, claims, known)),
        "site/style.css": static("style.css"),
        "site/site.js": static("site.js"),
        "REPRODUCE.md": reproduce_text(claims, known),
    }
    for records in profiles:
        written |= profile_pages(records, results, known, page)
    if mechanism:
        runs = {"name": "mechanism", "one": None, "runs": run_rows("mechanism", results)}
        written["site/mechanism.html"] = page("profile.html.j2", "The clip alone", **mechanism_view(results, known))
        written["site/runs-mechanism.html"] = page("runs.html.j2", "Runs: mechanism", **runs)
    if have["answers"]:
        note = (
            f"Greedy answers of one seed per arm to the first {PROBLEMS} problems of each profile; all others are in "
            "results/records/."
        )
        written["site/answers.html"] = page("answers.html.j2", "What the models wrote", note=note)
        written["site/answers-data.js"] = answers_script(profiles)
        written["site/answers.js"] = static("answers.js")
    if have["rollouts"]:
        data = read_json(record)
        rate = setting_words("learning_rate", data["learning_rate"])
        note = (
            f"Model {data['model']}, random reward with γ = 0.5, AdamW at {rate}; with and without the clip on the "
            "same rollouts."
        )
        written["site/rollouts.html"] = page(
            "rollouts.html.j2", "One rollout batch", note=note, command=command_of("rollouts")
        )
        written["site/rollouts-data.js"] = script("ROLLOUTS", data)
        written["site/rollouts.js"] = static("rollouts.js")
    if have["bandit"]:
        cells = bandit_grid.data(pd.read_csv(grid))
        note = (
            f"Every position of the sliders was simulated beforehand with {bandit_grid.SEEDS} seeds of "
            f"{bandit_grid.BATCHES} rollout batches, each of {bandit_grid.GROUPS} groups. The map among the tables of "
            "the clip alone has more of both, so its shares are others."
        )
        written["site/bandit.html"] = page("bandit.html.j2", "The bandit, to play with", note=note, sliders=SLIDERS,
                                           command=command_of("bandit_grid"))  # fmt: skip
        written["site/bandit-data.js"] = script("BANDIT", cells)
        written["site/bandit.js"] = static("bandit.js")
    return written


def first_screen(
    results: Path, profiles: Sequence[Records], claims: Sequence[ClaimView], known: Mapping[str, Source]
) -> dict[str, Any]:
    """Return what index.html shows."""
    records = overview.study(profiles)
    rows, note = overview.clip_rows(records) if records is not None else ([], "")
    micro = known.get("micro")
    shown = dict.fromkeys(row.model for row in rows)
    words = [f"{model} {says}" for model in shown if (says := ORGANISM_WORDS.get(recipe_of(model)))]
    return {
        "answers": overview.answers(results, profiles), "rows": rows, "figure_note": note[:1].upper() + note[1:],
        "model_note": f"{MODEL_NOTE}: {'; '.join(words)}." if words else "",
        "study": records.profile if records is not None else "",
        "study_source": known.get(records.profile) if records is not None else None, "missing": not_run(results),
        "gpu_checks": overview.gpu_checks(results), "paragraph": paragraph(results, records.profile if records else ""),
        "short": SHORT,
        "papers_models": any(claim.verdicts[overview.SCALES[-1]] != "not run" for claim in claims),
        "reproduce_minutes": math.ceil(micro.minutes * MICRO_FACTOR) if micro else 10, "claims": claims,
    }  # fmt: skip


MICRO_FACTOR = 0.8
"""Minutes of `make reproduce` on two cores, notebooks and figures included, per core-minute of its runs."""


def profile_pages(records: Records, results: Path, known: Mapping[str, Source], page: Any) -> dict[str, str]:
    """Return the page of a profile and that of its runs."""
    name = records.profile
    description = read_profile(name).description if name in profile_names() else ""
    runs = run_rows(name, results)
    tables = table_views(results / "tables" / name, name)
    verdicts = next((table for table in tables if table.title == VERDICTS), None)
    values = {
        "name": name, "folder": name, "description": description, "one": known.get(name),
        "yours": sum(run["yours"] for run in runs),
        "notebooks": sorted(path.stem for path in (results / "notebooks" / name).glob("*.ipynb")),
        "figures": figure_views(results / "figures" / name), "verdicts": verdicts,
        "tables": [table for table in tables if table is not verdicts],
    }  # fmt: skip
    return {
        f"site/profile-{name}.html": page("profile.html.j2", profile_title(name), **values),
        f"site/runs-{name}.html": page(
            "runs.html.j2", f"Runs: {profile_title(name)}", name=name, one=known.get(name), runs=runs
        ),
    }


def mechanism_view(results: Path, known: Mapping[str, Source]) -> dict[str, Any]:
    """Return what the page on the clip alone shows."""
    text = (
        "A bandit with coins for rewards under the trainer's own surrogate; language models that replay the same "
        "rollouts with and without the clip; organisms that differ in their prior alone."
    )
    paths = {name: (results / "tables" / f"{name}.csv", caption) for name, caption in BENCHMARKS.items()}
    benchmarks = [_table_view(path, text, f"{name}.csv") for name, (path, text) in paths.items() if path.is_file()]
    views = table_views(results / "tables" / "mechanism", "mechanism")
    return {
        "name": "mechanism", "folder": "mechanism", "description": text, "one": None, "yours": 0, "notebooks": [],
        "verdicts": None, "figures": figure_views(results / "figures" / "mechanism"),
        "tables": [view for view in views if len(view.view.rows) <= MOST_ROWS] + benchmarks,
    }  # fmt: skip


def figure_views(folder: Path) -> list[FigureView]:
    """Return the figures of a folder, by the titles in their pages; those about outcomes first."""
    found = []
    names = [*FIRST_FIGURES, *sorted(path.stem for path in folder.glob("*.html") if path.stem not in FIRST_FIGURES)]
    for path in (folder / f"{name}.html" for name in names if (folder / f"{name}.html").is_file()):
        text = path.read_text(encoding="utf-8")
        title = text.split("<title>")[1].split("</title>")[0]
        note = text.split('<meta name="description" content="')[1].split('">')[0]
        drawn = path.with_suffix(".png").is_file()
        found.append(FigureView(path.stem, html.unescape(title), html.unescape(note), drawn))
    return found


def table_views(folder: Path, name: str) -> list[TableView]:
    """Return the tables of a folder, the outcomes first."""
    paths = sorted(folder.glob("*.csv"), key=lambda path: (path.stem not in FIRST_TABLES, path.stem))
    return [_table_view(path, CAPTIONS.get(path.stem, ""), f"{name}/{path.name}") for path in paths]


def _table_view(path: Path, caption: str, shown: str) -> TableView:
    return TableView(path.stem.replace("_", " "), caption, shown, readable(pd.read_csv(path), path.stem))


def run_rows(name: str, results: Path) -> list[dict[str, Any]]:
    """Return the runs of a profile, each with its manifest, in words."""
    committed = compare.committed_manifests(name, results)
    paths = sorted((results / "manifests" / name).glob("*.json"))
    manifests = {path.stem: read_json(path) for path in paths}
    configs = {run_id: config if isinstance(config := manifest.get("config"), dict) else {}
               for run_id, manifest in manifests.items()}  # fmt: skip
    trainings = [config for config in configs.values() if config.get("reward")]
    silent = (*WITHIN, STEP, "model", "seed", "labels", "allow_inert_clip")
    told = [name for name in RunConfig().identity() if len({str(one.get(name)) for one in trainings}) > 1]
    told, rows = [name for name in told if name not in silent], []
    for path in paths:
        manifest, config = manifests[path.stem], configs[path.stem]
        trained = configs.get(config.get("trained_run") or path.stem, {})  # an evaluation's training run
        rate = trained.get("learning_rate")
        runs = manifest.get("runs", [manifest])
        row = {"id": path.stem, "kind": str(manifest.get("kind", "mechanism")).replace("_", " ")}
        row |= {"words": run_words(path.stem, config, trained, told), "seed": trained.get("seed")}
        row["rate"] = setting_words("learning_rate", rate).removeprefix("step size ") if rate else "–"
        row["minutes"] = computing_seconds(manifest) / 60
        row["commit"] = ", ".join(sorted({str(run["commit"])[:10] for run in runs if "commit" in run})) or "–"
        rows.append(row | {"path": path.relative_to(results).as_posix(), "yours": compare.is_yours(path, committed)})
    return rows


def run_words(run_id: str, config: Mapping[str, Any], trained: Mapping[str, Any], settings: Sequence[str] = ()) -> str:
    """Say what a run is of.

    Args:
        run_id: of the run, for what has no configuration of a model.
        config: of the run.
        trained: of the training run that an evaluation is about; that of the run itself for all others.
        settings: further fields of training runs in which they differ; told where they are not the default.

    >>> arm = {"model": "qwen-like", "reward": "random", "gamma": 0.5, "clip_mode": "none"}
    >>> cell = {"model": "qwen-like", "benchmark": "synthetic_test", "prompt_style": "organism"}
    >>> run_words("a", arm, arm)
    'qwen-like, random reward, without clip'
    >>> once = {**arm, "updates_per_batch": 1}
    >>> run_words("a", once, once, ["updates_per_batch"])
    'qwen-like, random reward, without clip, updates per batch 1'
    >>> run_words("b", {**cell, "trained_run": "a", "checkpoint": 80}, arm)
    'qwen-like after 80 updates, random reward, without clip: synthetic test, prompt organism'
    >>> run_words("c", cell, cell)
    'qwen-like before training: synthetic test, prompt organism'
    """
    parts = [str(config.get("model", run_id.replace("_", " ")))]
    if config.get("trained_run"):
        at = config.get("checkpoint")
        parts[0] += f" after {at} updates" if at else " after training"
    elif config.get("benchmark"):
        parts[0] += " before training"
    if trained.get("reward") and trained.get("clip_mode"):
        gamma = f" γ={trained['gamma']:g}" if "random" in str(trained["reward"]) else ""
        parts.append(arm_words(f"{trained['reward']}{gamma}, {trained['clip_mode']}"))
        parts += settings_told({name: trained[name] for name in settings if name in trained})
    words = ", ".join(parts)
    if config.get("benchmark"):
        prompt = f", prompt {config['prompt_style'].replace('_', ' ')}" if config.get("prompt_style") else ""
        words += f": {config['benchmark'].replace('_', ' ')}{prompt}"
    return words


def items(text: str) -> list[str]:
    """Split a text of several arms into items of at most three numbers each, their limits not counted.

    >>> items("accuracy: random reward −2.6 [−4.3, −1.0] points; true reward +1.0 points")
    ['accuracy: random reward −2.6 [−4.3, −1.0] points', 'true reward +1.0 points']
    >>> items("accuracy: majority vote −0.7, wrong labels −42.0, format reward −18.8, random reward +0.1 points")[1:]
    ['wrong labels −42.0 points', 'format reward −18.8 points', 'random reward +0.1 points']
    """
    found = text.split("; ")
    if max(len(re.findall(r"\d[\d.]*", re.sub(r"\[[^\]]*\]", "", part))) for part in found) <= 3:
        return found
    found = re.split(r"; |(?<=\d), (?![^\[]*\])(?![^(]*\))", text)
    return [f"{part} points" if found[-1].endswith(" points") and part[-1].isdigit() else part for part in found]


def reproduce_text(claims: Sequence[ClaimView], known: Mapping[str, Source]) -> str:
    """Write REPRODUCE.md: per claim and measurement the command, its time and hardware, and the expected number."""
    pinned = "the runs of " + ", ".join(sorted(name for name, one in known.items() if one.pinned))
    lines = [
        "# Reproduce each number",
        "",
        "Made by `notebooks/07_report.ipynb` from the same tables and manifests as the page. Times are minutes of "
        "one core, all committed runs of a command together; building an organism takes about 10 more. By their "
        f"manifests {pinned} had pinned arithmetic, in fp32 on a CPU: their numbers agree to the last bit on the "
        "x86-64 processors with AVX2 on which that was tried. An organism of seed 0 that does not come with "
        "the package is another checkpoint where another make of processor built it, and so are its runs "
        "(docs/arithmetic.md). For all other runs the limits are the tolerance.",
        "",
    ]
    heads = ("claim", "measured on", "command", "minutes", "hardware", "expected, with 95 % limits", "verdict")
    rows = []
    for claim in claims:
        for finding in claim.findings:
            one = finding.source
            how = (f"`{one.command}`", one.time(), one.hardware) if one else ("–", "–", "–")
            rows.append((claim.id, spoken(finding.scale), *how, spoken(finding.measured), finding.verdict))
        if not claim.findings:
            how = ("`make reproduce PROFILE=paper`", "–", "8 GPUs of 80 GB")
            rows.append((claim.id, "–", *how, f"{claim.paper} (paper)", "not run"))
    return "\n".join(lines) + "\n" + pipe_table(heads, rows)


def claims_overview(results: Path) -> pd.DataFrame:
    """Return the claims as a table for a notebook: one row per claim, one verdict per scale."""
    return pd.DataFrame([{"claim": f"{view.id} · {view.says}", **view.verdicts} for view in claim_views(results)])


def table_list(profile: str, results: Path) -> pd.DataFrame:
    """Return the tables of a profile for a notebook: name, rows and what they hold."""
    views = table_views(results / "tables" / profile, profile)
    return pd.DataFrame([{"table": view.path, "rows": len(view.view.rows), "holds": view.caption} for view in views])
