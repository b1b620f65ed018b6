"""What the first screen and the list of claims say: sentences and intervals filled from the committed tables.

Every sentence is a template of at most thirty words and three numbers; which of its endings is taken is decided by the
95 % limits.

Usage: `answers(results, profiles)`, `clip_rows(profiles)`, `claim_views(results)`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from spurious_rewards.evaluation.verdicts import NOTHING
from spurious_rewards.mechanism.questions import LIKELIER, questions_table
from spurious_rewards.reporting.claims import PARTS
from spurious_rewards.reporting.collect import Records
from spurious_rewards.reporting.figures import PREFER_CODE, ablation, ablation_runs, panel_columns
from spurious_rewards.reporting.protocol import protocol_of
from spurious_rewards.reporting.provenance import CLAIM_PLACES, Source, sources
from spurious_rewards.reporting.readable import interval_text
from spurious_rewards.reporting.tables import arm_rows
from spurious_rewards.reporting.words import clip_words, reward_words, seeds_words, settings_told
from spurious_rewards.storage.files import read_json, read_text

SCALES = ("clip alone", "organisms", "SmolLM2-135M", "Qwen2.5-Math-7B")
DECISIVE = "decide"
"""The profile whose protocol was fixed before its runs: where it speaks to a claim, other profiles only illustrate."""
STUDIES = (DECISIVE, "organism", "micro")
"""Profiles that can answer the question, the most decisive first."""
VERDICTS = ("supported", "contradicted", "equivalent to nothing", "undecided", "mixed", "not run")
"""Of a claim at one scale; the first three also with "in part"."""
CLIP_ON_OFF = "random reward, with minus without clip"
"""What the paired test of C4 is about."""
TRUE = reward_words("ground_truth")
"""What a test of true rewards is about."""


@dataclass(frozen=True)
class Bar:
    """Hold an interval on an axis, in percent of the axis, with its text."""

    text: str
    at: float
    low: float
    high: float
    zero: float


@dataclass(frozen=True)
class Row:
    """Hold one arm of the first figure: its model, its words, and its bars of accuracy and code."""

    model: str
    words: str
    bars: tuple[Bar, Bar]


def study(profiles: Sequence[Records]) -> Records | None:
    """Choose the profile of the first screen: the first of `STUDIES` with both clip modes under the random reward.

    The study that decides counts as soon as some model has the seeds that its protocol asks for a first verdict.
    """
    by_name = {records.profile: records for records in profiles}
    for name in (*STUDIES, *by_name):
        if name in by_name and len(by_name[name].runs):
            runs = ablation_runs(by_name[name])
            least = protocol_of(name).least if name == DECISIVE else 1
            seeds = runs.groupby(["model", "clip_mode"])["seed"].nunique().unstack()
            if {"two_sided", "none"} <= set(seeds) and (seeds[["two_sided", "none"]].min(axis=1) >= least).any():
                return by_name[name]
    return None


def clip_rows(records: Records) -> tuple[list[Row], str]:
    """Return the rows of the first figure, and what they rest on, in words."""
    table = ablation(records)
    names = ("accuracy_change", "code_change")
    axes = {name: _axis(table, name) for name in names}
    rows = [
        Row(row["model"], clip_words(row["clip_mode"]), tuple(
            bar(row[name], row[f"{name}_low"], row[f"{name}_high"], axes[name], "points") for name in names))
        for row in table.sort_values("clip_mode", ascending=False, kind="stable")
        .sort_values("model", key=lambda names: names.map(list(dict.fromkeys(table["model"])).index), kind="stable")
        .to_dict("records")
    ]  # fmt: skip
    settings = {name: table[name].iloc[0] for name in panel_columns(records) if name != "model"}
    where = "".join(f", {words}" for words in settings_told(settings))
    seeds = seeds_words(int(table["n_seeds"].min()), int(table["n_seeds"].max()))
    return rows, f"profile {records.profile}{where}; {seeds} per arm, {int(table['n_problems'].max())} problems"


def _axis(table: pd.DataFrame, name: str) -> tuple[float, float]:
    wide = table[f"{name}_high"] - table[f"{name}_low"] > 1
    low = min(0.0, table[f"{name}_low"].mask(wide, table[name]).min())
    high = max(0.0, table[f"{name}_high"].mask(wide, table[name]).max())
    room = 0.06 * (high - low or 1)
    return low - room, high + room


def bar(value: float, low: float, high: float, axis: tuple[float, float], unit: str) -> Bar:
    """Place an interval on an axis; limits wider than a proportion can change by are none.

    >>> bar(0.5, 0.0, 1.0, (-1.0, 1.0), "points").at
    75.0
    """
    if unit == "points" and high - low > 1:
        low = high = math.nan

    def place(x: float) -> float:
        x = value if math.isnan(x) else x
        return round(float(min(max(100 * (x - axis[0]) / (axis[1] - axis[0]), 0), 100)), 2)

    text = interval_text(value, low, high, unit) + (" (too few seeds for limits)" if math.isnan(low) else "")
    return Bar(text, place(value), place(low), place(high), place(0.0))


def ending(low: float, high: float, gain: str, loss: str, verdict: str = "", final: bool = False) -> str:
    """Say what the 95 % limits allow, and what the verdict of a test, which may ask for more, makes of it.

    Args:
        low: lower limit.
        high: upper limit.
        gain: what an effect above 0 is called.
        loss: what an effect below 0 is called.
        verdict: of the test, if there is one.
        final: whether no further look at more seeds is planned.

    >>> ending(-1.0, 2.0, "a gain", "a loss"), ending(0.1, 2.0, "a gain", "a loss")
    ('too uncertain to tell from chance', 'a gain')
    >>> ending(0.1, 2.0, "a gain", "a loss", "undecided"), ending(-0.1, 0.2, "a gain", "a loss", NOTHING)
    ('a gain, but no verdict yet', 'too little to matter')
    """
    if verdict in (NOTHING, "nothing"):
        return "too little to matter"
    said = gain if low > 0 else loss if high < 0 else ""
    if said and verdict == "undecided":
        said += ", but not enough for a verdict" if final else ", but no verdict yet"
    return said or "too uncertain to tell from chance"


def ending_of(row: Mapping[str, Any], gain: str, loss: str) -> str:
    """Say how one row of a table of tests ended; see `ending`."""
    planned = row.get("n_planned", 0)
    return ending(row["low"], row["high"], gain, loss, row["verdict"], bool(planned) and row["n_seeds"] >= planned)


def row_of_test(results: Path, profile: str, claim: str, model: str, about: str) -> dict[str, Any]:
    """Find the row of one test in a profile's table of tests; empty if there is none."""
    path = results / "tables" / profile / "tests.csv"
    if not path.is_file():
        return {}
    table = pd.read_csv(path)
    rows = table[table["claim"].eq(claim) & table["about"].eq(about)]
    rows = rows[rows["scale"].str.split(" (", regex=False).str[0].eq(model)]
    return {str(name): value for name, value in rows.iloc[0].items()} if len(rows) else {}


def answers(results: Path, profiles: Sequence[Records]) -> list[str]:
    """Return the answer in plain sentences, one result each; those whose tables are missing are left out."""
    said = []
    records = study(profiles)
    if records is not None:
        rows = ablation(records)
        model = str(rows["model"].iloc[0])
        taught = row_of_test(results, "micro", "C1", model, TRUE)  # what a visitor runs first, if it is there
        same_runs = not taught or records.profile == "micro"
        taught = taught or row_of_test(results, records.profile, "C1", model, TRUE)
        if taught:
            said.append(
                "GRPO with true rewards changes the accuracy of a small model that likes to reason in code by "
                f"{100 * taught['estimate']:+.1f} points, {ending_of(taught, 'a gain', 'a loss')} ({_seeds(taught)}, "
                f"{taught['n_problems']} problems)."
            )
        if row := row_of_test(results, records.profile, "C1", model, "random reward"):
            first = "In a small model that likes to reason in code, GRPO with a random reward changed accuracy by "
            if taught:
                longer = "" if same_runs else f" over longer runs{true_words(records, rows)},"
                first = f"With a random reward in their place,{longer} it changed by "
            said.append(
                f"{first}{100 * row['estimate']:+.1f} points, {ending_of(row, 'a gain', 'a loss')} ({_seeds(row)})."
            )
        if row := row_of_test(results, records.profile, "C4", model, CLIP_ON_OFF):
            said.append(
                f"The clip moved the share of that model's answers in code by {100 * row['estimate']:+.1f} points, "
                f"{ending_of(row, 'towards code', 'away from code')} ({_seeds(row)})."
            )
    table = results / "tables" / "mechanism" / "bandit_map.csv"
    if table.is_file():
        asked = questions_table({"bandit_map": pd.read_csv(table)})
        signs = asked[asked["question"].eq(LIKELIER) & asked["clip_mode"].eq("two_sided")]["sign"]
        less = str((signs < 0).sum()) if (signs < 0).any() else "none"
        said.append(
            "In a bandit with coins for rewards, the clip makes the likelier arm likelier still in "
            f"{(signs > 0).sum()} of {len(signs)} settings of step size and prior, and less likely in {less}."
        )
    return [sentence.replace("-", "−", 1) if re.search(r" -\d", sentence) else sentence for sentence in said]


def _seeds(row: Mapping[str, Any]) -> str:
    return seeds_words(int(row["n_seeds"]), int(row["n_seeds"]))


def true_words(records: Records, rows: pd.DataFrame) -> str:
    """Say what true rewards bring the model of the first row in runs that are else as that row's; empty if not run."""
    settings = [name for name in panel_columns(records) if name != "model"]
    alike = arm_rows(records).merge(rows[["model", "benchmark", "temperature", "clip_mode", *settings]].iloc[:1])
    alike = alike[alike["reward"].eq("ground_truth")]
    return f" in which true rewards bring {100 * alike['accuracy_change'].iloc[0]:+.1f}" if len(alike) else ""


def gpu_numbers(results: Path) -> str:
    """Say how many of the runs behind the pages used a GPU, by their manifests."""
    runs = [run for path in (results / "manifests").rglob("*.json") for run in _runs(read_json(path))]
    used = sum(bool(run.get("hardware", {}).get("gpus")) for run in runs)
    if not used:
        return "No GPU was used for the numbers on these pages."
    return f"Of the {len(runs)} runs behind these pages, {used} used a GPU."


def _runs(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return manifest.get("runs", [manifest])


def gpu_checks(results: Path) -> str:
    """Say how the checks of `make test-gpu` ended, by their record; empty without one.

    The record is in `tables/gpu/test_gpu.txt`; what a session did not reach stands in its first paragraph.
    """
    path = results / "tables" / "gpu" / "test_gpu.txt"
    if not path.is_file():
        return ""
    text = read_text(path)
    summed = {
        word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|not reached)", text.split("\n\n")[0])
    }
    counts = summed or Counter(re.findall(r": (passed|failed|skipped) after \d+ s", text))
    card = re.search(r"(?m)^card[^:]*: ([^,\n]+)", text)
    ran, not_run = (
        ", ".join(f"{n} {word}" for word, n in counts.items() if (word in ("passed", "failed")) == of_those_run)
        for of_those_run in (True, False)
    )
    told = f"The checks of make test-gpu on one {card[1] if card else 'GPU'}: {ran}."
    return f"{told} Not run: {not_run}." if not_run else told


# Claims


@dataclass(frozen=True)
class Finding:
    """Hold one measurement that speaks to a claim, with where its number comes from.

    `part` says what it is about if that is not the claim itself; it has no part in the claim's verdict then.
    """

    part: str
    scale: str
    profile: str
    column: str
    measured: str
    n: str
    n_seeds: int | None
    unit: str
    verdict: str
    why: str
    bar: Bar | None
    notebook: str
    section: str
    table: str
    source: Source | None
    runs: str


@dataclass(frozen=True)
class ClaimView:
    """Hold a claim, the paper's figure, and what was found at each scale."""

    id: str
    says: str
    paper: str
    verdicts: dict[str, str]
    why: str
    bar: Bar | None
    unit: str
    where: str
    findings: tuple[Finding, ...]


def scale_column(scale: str) -> str:
    """Sort a finding's scale into a column of the list of claims.

    >>> scale_column("bandit, 1000 seeds"), scale_column("qwen-like (profile micro)")
    ('clip alone', 'organisms')
    """
    if scale.startswith(("bandit", "organism", "one rollout", "paired", "counterfactual", "antithetic")):
        return SCALES[0]
    return SCALES[1] if "-like" in scale or "one-token" in scale else SCALES[2]


def joint(verdicts: Sequence[str]) -> str:
    """Sum up the verdicts of one scale; "in part" says that others are undecided.

    >>> joint(["undecided", "supported"]), joint(["supported", "contradicted"]), joint([])
    ('supported in part', 'mixed', 'not run')
    """
    found = set(verdicts) - {"not run"}
    if not found:
        return "not run"
    if len(found) == 1:
        return found.pop()
    decided = found - {"undecided"}
    return "mixed" if len(decided) > 1 else f"{decided.pop()} in part"


def telling(findings: Sequence[Finding], scale: str) -> list[Finding]:
    """Return the findings that the verdict of a scale rests on.

    Where the study with a protocol has the seeds for a first verdict, they are its findings on organisms that prefer
    code (or on several organisms at once); else all there are.
    """
    there = [finding for finding in findings if finding.column == scale and not finding.part]
    planned = [finding for finding in there if _planned(finding)]
    return [finding for finding in planned if finding.scale.split(" (")[0] in PREFER_CODE] or planned or there


def _planned(finding: Finding) -> bool:
    """Tell whether a finding is of the study that decides and rests on as many seeds as its protocol asks for."""
    least = protocol_of(DECISIVE).least
    return finding.profile == DECISIVE and finding.n_seeds is not None and finding.n_seeds >= least


def claim_views(results: Path) -> list[ClaimView]:
    """Return the claims in order, from `tables/claims.csv`."""
    table = pd.read_csv(results / "tables" / "claims.csv", keep_default_na=False)
    known = sources(results)
    views = []
    for claim, rows in table.groupby("claim", sort=False):
        findings = tuple(
            _finding(str(claim), row, known) for row in rows.to_dict("records") if row["verdict"] != "not run"
        )
        by_scale = {name: joint([f.verdict for f in telling(findings, name)]) for name in SCALES}
        planned = any(map(_planned, findings))
        order = sorted(SCALES, key=lambda name: not (planned and name == SCALES[1]))
        scale = next((name for name in order if by_scale[name] != "not run"), order[0])
        overall = by_scale[scale]
        agreeing = [one for one in telling(findings, scale) if one.verdict == overall.removesuffix(" in part")]
        agreeing.sort(key=lambda one: STUDIES.index(one.profile) if one.profile in STUDIES else 1)
        main = next((finding for finding in agreeing if finding.bar is not None), agreeing[0] if agreeing else None)
        first = rows.iloc[0]
        paper = f"{first['paper']}, {first['where']}"
        own = overall.removesuffix(" in part")
        why = main.why if main and main.verdict == own else WHY[own]
        if overall.endswith("in part"):
            other = [one.scale.split(" (")[0] for one in telling(findings, scale) if one.verdict == "undecided"]
            several = (
                "other settings or models are" if len(set(other)) > 2 else f"{' and '.join(dict.fromkeys(other))}:"
            )
            why += f" Not everywhere: {several} undecided."
        shown = (main.bar, main.unit, main.scale) if main else (None, "", "")
        views.append(ClaimView(str(claim), first["says"], paper, by_scale, why, *shown, findings))
    return views


def _finding(claim: str, row: dict[str, Any], known: dict[str, Source]) -> Finding:
    notebook, section, _ = CLAIM_PLACES[claim]
    column, profile, table = scale_column(row["scale"]), row["profile"], row["table"]
    if column == SCALES[0]:
        notebook, section = "05a_bandit" if table.startswith("bandit") else "05b_counterfactual", ""
        source = known.get(table)
        path, runs = f"tables/mechanism/{table}.csv", source.manifests if source else ""
    else:
        source = known.get(profile)
        path, runs = f"tables/{profile}/{table}.csv", f"site/runs-{profile}.html"
    interval = None
    if all(
        isinstance(row.get(name), (int, float)) or str(row.get(name, "")).strip()
        for name in ("estimate", "low", "high")
    ):
        value, low, high = (float(row[name]) for name in ("estimate", "low", "high"))
        if all(map(math.isfinite, (value, low, high))):
            edge = 1.1 * max(abs(low), abs(high), abs(value), 1e-9)
            interval = bar(value, low, high, (-edge, edge), row["unit"])
    measured = re.sub(r"(?<![\w.−-])-(?=\d)", "−", row["measured"])
    n_seeds = int(row["n_seeds"]) if row["n_seeds"] else None
    part = row["says"] if row["says"] in PARTS.values() else ""
    return Finding(
        part, row["scale"], profile, column, measured, row["n"], n_seeds, row["unit"], row["verdict"], row["why"],
        interval, notebook, section, path, source, runs,
    )  # fmt: skip


WHY = {
    "supported": "The 95 % limits lie wholly on the side of 0 that the claim expects.",
    "contradicted": "The 95 % limits lie wholly on the other side of 0.",
    "equivalent to nothing": "The effect lies inside the bounds below which it would not matter.",
    "undecided": "The limits hold both an effect and none, seeds are too few or collapsed, or nothing gained.",
    "mixed": "Settings or models disagree; the details list them.",
    "not run": "It needs models or prompts that were not run here.",
}
