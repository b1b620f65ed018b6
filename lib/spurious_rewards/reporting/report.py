"""Write `results/` from records: tables (CSV and Markdown), figures, claims, and the pages that link them.

Usage: `write_report("micro")` collects and writes all; `rebuild(results_dir())` rewrites tables, figures and pages
from what is committed, without any run.

    python -m spurious_rewards.reporting.report       # the pages alone, from the tables and figures as they are
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from spurious_rewards.reporting import (
    collect,
    drawing,
    figures,
    reasoning_figures,
    reasoning_tables,
    tables,
    training_claims,
)
from spurious_rewards.reporting.claims import claims_table
from spurious_rewards.reporting.collect import Records
from spurious_rewards.reporting.drift_in_training import drift_in_training
from spurious_rewards.reporting.mechanism_claims import mechanism_tables
from spurious_rewards.reporting.mechanism_figures import mechanism_figures
from spurious_rewards.reporting.pretraining import recipes
from spurious_rewards.reporting.site import render
from spurious_rewards.reporting.text import CAPTIONS, markdown
from spurious_rewards.reporting.verifier import verifier_quality
from spurious_rewards.storage.files import write_text
from spurious_rewards.workflow.progress import PATIENCE_SECONDS

__all__ = ["CAPTIONS", "Report", "all_tables", "markdown", "rebuild", "write_report", "write_tables"]


def all_tables(records: Records) -> dict[str, pd.DataFrame]:
    """Compute every table of a profile: name → table; tables without rows are left out."""
    found = {
        "arms": tables.arms(records),
        "clip_effect": tables.clip_effect(records),
        "clip_activity": tables.clip_activity(records),
        "first_updates": tables.first_updates(records),
        "runs": tables.runs(records),
        "tests": training_claims.claim_tests(records),
        **reasoning_tables.tables(records),
        "verifier_quality": verifier_quality(records),
        "recipes": recipes(records),
    }
    return {name: table for name, table in found.items() if len(table)}


def overall_tables(
    profiles: Sequence[Records], mechanism: Mapping[str, pd.DataFrame], tested: Mapping[str, pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """Compute the tables over all profiles: name → table; `tested` holds each profile's table `tests`."""
    found = {"claims": claims_table(profiles, mechanism, tested)}
    if "drift" in mechanism:
        found["drift_in_training"] = drift_in_training(mechanism["drift"], profiles)
    return {name: table for name, table in found.items() if len(table)}


@dataclass(frozen=True)
class Report:
    """Hold what a report wrote: its page, the records it rests on, and a sentence on the PNGs."""

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
    page, note = _rebuild(results)
    return Report(page, records, note)


def rebuild(results: Path) -> Path:
    """Write all tables, figures and pages again from the committed records of all profiles; returns the first page."""
    return _rebuild(results)[0]


def _rebuild(results: Path) -> tuple[Path, str]:
    """Write everything again; return the first page, and a sentence on the PNGs of the last figures drawn."""
    profiles = [collect.load(name, results) for name in collect.saved_profiles(results)]
    note, tested = "", {}
    for records in tqdm(profiles, unit="profile", delay=PATIENCE_SECONDS):
        found = all_tables(records)
        tested[records.profile] = found.get("tests", pd.DataFrame())
        write_tables(found, results / "tables" / records.profile)
        drawn = figures.all_figures(records) | reasoning_figures.all_figures(records)
        drawing.check_legends(drawn)
        note = drawing.write(drawn, results / "figures" / records.profile)
    mechanism = mechanism_tables(results)
    if mechanism:
        drawing.write(mechanism_figures(mechanism), results / "figures" / "mechanism")
    write_tables(overall_tables(profiles, mechanism, tested), results / "tables", alone=False)
    write_site(results)
    return results / "index.html", note


def write_site(results: Path) -> None:
    """Write the pages from the tables and figures as they are; pages of what is gone go too."""
    pages = render(results)
    for path in (results / "site").glob("*"):
        if f"site/{path.name}" not in pages:
            path.unlink()
    for name, text in pages.items():
        write_text(results / name, text)


def write_tables(named: dict[str, pd.DataFrame], folder: Path, alone: bool = True) -> None:
    """Write each table as CSV (full precision) and Markdown (rounded); a profile's folder holds these and no others."""
    for path in [*folder.glob("*.csv"), *folder.glob("*.md")] if alone else []:
        if path.stem not in named:
            path.unlink()
    for name, text in texts_of(named):
        write_text(folder / name, text)


def texts_of(named: dict[str, pd.DataFrame]) -> Iterator[tuple[str, str]]:
    """Yield file name and text of each table, as CSV and as Markdown."""
    for name, table in named.items():
        yield f"{name}.csv", table.to_csv(index=False)
        yield f"{name}.md", f"{CAPTIONS[name]}\n\n{markdown(table)}"


if __name__ == "__main__":
    write_site(collect.results_dir())
