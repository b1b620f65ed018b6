"""Compute every committed table and page of `results/` again from the committed records, and compare.

Each file of `results/tables` ends as one of

    same        computed again, byte for byte
    close       computed again, numbers equal but for rounding (another processor adds in another order)
    differs     computed again, and different: the first difference is named
    kept        not computed again: a measurement of time, or hours of simulation; its digest is that of its manifest
    unexplained nothing here makes it

and of the pages only `same` or `differs`. Exit code 0 if no file differs and none is unexplained.

Usage: `python -m spurious_rewards.reporting.verify [--all] [--results FOLDER]`
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from spurious_rewards.command_line import command
from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.coverage import coverage_table
from spurious_rewards.mechanism import counterfactual, dose_response
from spurious_rewards.mechanism.counterfactual_config import TABLES
from spurious_rewards.mechanism.questions import questions_table
from spurious_rewards.reporting import collect
from spurious_rewards.reporting.mechanism_claims import mechanism_tables
from spurious_rewards.reporting.provenance import PROGRAM
from spurious_rewards.reporting.report import all_tables, overall_tables, texts_of
from spurious_rewards.reporting.site import render
from spurious_rewards.storage.files import csv_text, read_json, read_text, sha256_file
from spurious_rewards.workflow.progress import PATIENCE_SECONDS

SAME, CLOSE, DIFFERS, KEPT, UNEXPLAINED = "same", "close", "differs", "kept", "unexplained"
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
ROUNDING = {".csv": 2e-5, ".md": 2e-3}
"""Relative differences that count as rounding: of six printed digits in a CSV, of four in Markdown."""
KEPT_TABLES = {
    "data/": "made by notebook 01 from the data sets themselves",
    "generation/": "measured by benchmarks/generation.py",
    "training/": "measured by scripts in benchmarks/",
    "faults/": "measured by make test-faults",
    "memory/": "measured by benchmarks/memory.py",
    "gpu/": "printed by make test-gpu on a machine with a GPU",
    "grader_": "made by rewards.grading from its cases, or measured by benchmarks/grader.py",
    "mechanism/bandit_": f"an hour of simulation: {PROGRAM}mechanism map",
    "mechanism/decision": f"measured on the organisms: {PROGRAM}mechanism decision",
}
"""Beginning of a path below `results/tables` → why it is not computed again."""


@dataclass(frozen=True)
class Check:
    """Hold what became of one committed file."""

    path: str
    status: str
    note: str = ""

    @property
    def fine(self) -> bool:
        """Tell whether the file may stay as it is."""
        return self.status not in (DIFFERS, UNEXPLAINED)


def compared(committed: str, again: str, suffix: str) -> tuple[str, str]:
    """Compare two texts, numbers apart from the rest: (status, first difference).

    >>> compared("a,0.1", "a,0.10000000000000002", ".csv")[0], compared("a,0.1", "a,0.2", ".csv")
    ('close', ('differs', 'line 1: 0.1 is now 0.2'))
    """
    if committed == again:
        return SAME, ""
    if suffix not in ROUNDING:
        return DIFFERS, _first_difference(committed, again)
    for line, (one, two) in enumerate(zip(committed.splitlines(), again.splitlines(), strict=False), 1):
        if NUMBER.sub("#", one) != NUMBER.sub("#", two):
            return DIFFERS, f"line {line}: {_short(one)} is now {_short(two)}"
        for x, y in zip(NUMBER.findall(one), NUMBER.findall(two), strict=True):
            if abs(float(x) - float(y)) > ROUNDING[suffix] * max(abs(float(x)), abs(float(y))) + 1e-12:
                return DIFFERS, f"line {line}: {x} is now {y}"
    if len(committed.splitlines()) != len(again.splitlines()):
        return DIFFERS, f"{len(committed.splitlines())} lines are now {len(again.splitlines())}"
    return CLOSE, ""


def rebuilt(results: Path) -> Iterator[tuple[str, str]]:
    """Yield (path below `results`, text) of every table that the records or other tables make."""
    profiles = [collect.load(name, results) for name in collect.saved_profiles(results)]
    tested = {}
    for records in profiles:
        found = all_tables(records)
        tested[records.profile] = found.get("tests", pd.DataFrame())
        yield from ((f"tables/{records.profile}/{name}", text) for name, text in texts_of(found))
    mechanism = mechanism_tables(results)
    overall = overall_tables(profiles, mechanism, tested)
    yield from ((f"tables/{name}", text) for name, text in texts_of(overall))
    yield from _of_mechanism(results, mechanism)
    if (results / "tables" / "statistics" / "coverage.csv").is_file():
        yield "tables/statistics/coverage.csv", csv_text(coverage_table())


def _of_mechanism(results: Path, tables: dict[str, pd.DataFrame]) -> Iterator[tuple[str, str]]:
    """Return the mechanism's tables that its records make, and the table of questions."""
    for name in ("antithetic", *TABLES.values()):
        if name in tables:
            for part, table in counterfactual.PairRecords.committed(name, results).tables(name).items():
                yield f"tables/mechanism/{part}.csv", csv_text(table)
    if {"dose_response", "dose_counterfactual"} <= set(tables):
        with tempfile.TemporaryDirectory() as folder:
            for part in ("records", "manifests"):
                shutil.copytree(results / part / "mechanism", Path(folder) / part / "mechanism")
            dose_response.rewrite_tables(folder)
            for name in ("dose_response", "dose_counterfactual"):
                path = f"tables/mechanism/{name}.csv"
                yield path, read_text(Path(folder) / path)
    if tables:
        yield "tables/mechanism/questions.csv", csv_text(questions_table(tables))


def verify(results: Path) -> list[Check]:
    """Check every table and page below a results folder.

    Raises:
        InputError: the folder holds no records.
    """
    if not collect.saved_profiles(results):
        raise InputError(f"{results} holds no records; give the folder results of a checkout.")
    checks, made = [], set()
    known = [file.relative_to(results / "tables").as_posix() for file in (results / "tables").rglob("*.*")]
    n_made = sum(not name.startswith(tuple(KEPT_TABLES)) for name in known)
    for path, again in tqdm(rebuilt(results), total=n_made, unit="table", delay=PATIENCE_SECONDS):
        made.add(path)
        checks.append(_check(results, path, again))
    for file in sorted((results / "tables").rglob("*")):
        path = file.relative_to(results).as_posix()
        if file.is_file() and path not in made:
            checks.append(_kept(results, path))
    return checks + [_check(results, path, again) for path, again in render(results).items()]


def _check(results: Path, path: str, again: str) -> Check:
    file = results / path
    if not file.is_file():
        return Check(path, DIFFERS, "it is not committed")
    return Check(path, *compared(read_text(file), again, file.suffix))


def _kept(results: Path, path: str) -> Check:
    """Check a file that is not computed again: known, and as its manifest says where that names a digest."""
    name = path.removeprefix("tables/")
    reasons = [reason for start, reason in KEPT_TABLES.items() if name.startswith(start)]
    if not reasons:
        return Check(path, UNEXPLAINED, "no record, table or benchmark makes it; remove it")
    manifest = results / "manifests" / Path(name).with_suffix(".json")
    digests = read_json(manifest).get("tables", {}) if manifest.is_file() else {}
    if digests.get(Path(name).name, sha256_file(results / path)) != sha256_file(results / path):
        return Check(path, DIFFERS, f"its digest is not that of {manifest.relative_to(results)}")
    return Check(path, KEPT, reasons[0])


def _first_difference(one: str, two: str) -> str:
    for line, (a, b) in enumerate(zip(one.splitlines(), two.splitlines(), strict=False), 1):
        if a != b:
            return f"line {line}: {_short(a)} is now {_short(b)}"
    return f"{len(one.splitlines())} lines are now {len(two.splitlines())}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def check_results(results: Path | None = None, all_: bool = False) -> None:
    """Check the committed tables and pages against what the committed records make.

    Args:
        results: folder of the results; without one, the committed.
        all_: list every file, not only those that are not the same.
    """
    checks = verify(results or collect.results_dir())
    for check in checks:
        if all_ or check.status in (DIFFERS, UNEXPLAINED, CLOSE):
            print(f"{check.status:11} {check.path}{f' ({check.note})' if check.note else ''}")
    counts = pd.Series([check.status for check in checks]).value_counts()
    print(", ".join(f"{n} {status}" for status, n in counts.items()))
    wrong = [check.path for check in checks if not check.fine]
    if wrong:
        raise InputError(f"{len(wrong)} files are not what the records make, {wrong[0]} first; see above.")


main = command(check_results)


if __name__ == "__main__":
    sys.exit(main())
