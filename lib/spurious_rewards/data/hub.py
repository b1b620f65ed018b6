"""Fetch problem sets from the Hugging Face hub at their pinned revisions, and adapt the rows to `Problem`.

Column names as the data sets' own cards give them: MATH-500 problem/solution/answer/subject/level/unique_id; AMC
id/problem/answer (a float)/url; AIME 2022–2024 id/problem/solution/answer/url; AIME 2025 question/answer; DeepScaleR
problem/answer/solution.

Usage: ``problems = adapt(SOURCES["aime25"], fetch(SOURCES["aime25"]))``
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from spurious_rewards.data.normalize import clean_answer
from spurious_rewards.data.problem import Problem
from spurious_rewards.data.specs import SourceSpec
from spurious_rewards.errors import InputError
from spurious_rewards.workflow.network import hub_reachable

Row = Mapping[str, Any]
_STRAY_LINK = re.compile(r"\s*\n\s*Graph\s*\n\s*https?://\S+\s*$")  # AIME 2024 carries a plotter's address in one row


def fetch(spec: SourceSpec) -> list[dict[str, Any]]:
    """Fetch all rows of a source's split at its pinned revision, in the hub's order, the config's name in `config`.

    Raises:
        InputError: the hub cannot be reached and no downloaded copy is there, or it does not have the data set.
    """
    import datasets  # seconds to import
    import httpx
    from datasets.exceptions import DatasetsError

    if not hub_reachable() and not _has_copy(spec):
        raise InputError(_unavailable(spec, "it cannot be reached from here"))
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "15")
    rows: list[dict[str, Any]] = []
    for config in spec.configs or (None,):
        arguments = (spec.hub_id,) if config is None else (spec.hub_id, config)
        try:
            table: Any = datasets.load_dataset(*arguments, split=spec.split, revision=spec.revision)
        except (OSError, ValueError, DatasetsError, httpx.HTTPError) as error:
            cause = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            raise InputError(_unavailable(spec, cause)) from error
        rows += [{**row, "config": config} for row in table]
    return rows


def adapt(spec: SourceSpec, rows: Iterable[Row]) -> list[Problem]:
    """Return the source's problems out of the hub's rows.

    Raises:
        InputError: a row lacks a column that the adapter needs.
    """
    try:
        return ADAPTERS[spec.name](spec, list(rows))
    except KeyError as error:
        raise InputError(
            f"Data set {spec.hub_id} has no column {error.args[0]!r} at revision {spec.revision[:8]}: the download is "
            "not the data set this project was written for; set SPURIOUS_DATA_DIR to a folder of local files instead."
        ) from error


def make_problem(spec: SourceSpec, identifier: str, text: str, answer: object, meta: Mapping[str, Any]) -> Problem:
    """Make a `Problem` with a normalised answer, the raw one in `meta["answer_raw"]`; None in `meta` is dropped."""
    cleaned = clean_answer(answer, integer=spec.integer_answers)
    kept = {key: value for key, value in meta.items() if value is not None}
    return Problem(identifier, text, cleaned, spec.name, {"answer_raw": str(answer), **kept})


def _math500(spec: SourceSpec, rows: list[Row]) -> list[Problem]:
    return [
        make_problem(spec, row["unique_id"], row["problem"], row["answer"],
                     {"subject": row["subject"], "level": int(row["level"])})
        for row in rows
    ]  # fmt: skip


def _amc(spec: SourceSpec, rows: list[Row]) -> list[Problem]:
    return [
        make_problem(spec, f"amc-{row['id']}", row["problem"], row["answer"],
                     {"url": row["url"], "in_amc23_40": "/2023_AMC_12" in row["url"]})
        for row in rows
    ]  # fmt: skip


def _amc40(spec: SourceSpec, rows: list[Row]) -> list[Problem]:
    return [problem for problem in _amc(spec, rows) if problem.meta["in_amc23_40"]]


def _aime24(spec: SourceSpec, rows: list[Row]) -> list[Problem]:
    problems = []
    for index, row in enumerate(row for row in rows if "/2024_AIME_" in row["url"]):
        text = _STRAY_LINK.sub("", row["problem"])
        raw = row["problem"] if text != row["problem"] else None
        meta = {"url": row["url"], "problem_raw": raw}
        problems.append(make_problem(spec, f"aime24-{index}", text, row["answer"], meta))
    return problems


def _aime25(spec: SourceSpec, rows: list[Row]) -> list[Problem]:
    return [
        make_problem(spec, f"aime25-{index}", row["question"], row["answer"], {"paper": row.get("config")})
        for index, row in enumerate(rows)
    ]


def _deepscaler(spec: SourceSpec, rows: list[Row]) -> list[Problem]:
    named = ((f"deepscaler-{index}", row) for index, row in enumerate(rows))
    return [make_problem(spec, name, row["problem"], row["answer"], {}) for name, row in named]


ADAPTERS: dict[str, Callable[[SourceSpec, list[Row]], list[Problem]]] = {
    "math500": _math500,
    "amc": _amc,
    "amc40": _amc40,
    "aime24": _aime24,
    "aime25": _aime25,
    "deepscaler": _deepscaler,
}


def _has_copy(spec: SourceSpec) -> bool:
    """Tell whether an earlier download of the data set is in the cache of `datasets`."""
    from datasets.config import HF_DATASETS_CACHE

    def plain(name: str) -> str:  # the cache's folder names mix case rules and underscores
        return name.lower().replace("_", "").replace("/", "")

    cache = Path(HF_DATASETS_CACHE)
    return cache.is_dir() and any(plain(folder.name) == plain(spec.hub_id) for folder in cache.iterdir())


def _unavailable(spec: SourceSpec, cause: str) -> str:
    return (
        f"Problem set {spec.name!r} is not available from the Hugging Face hub ({spec.hub_id}): {cause.rstrip('.')}; "
        f"either give this machine access to the hub, or set SPURIOUS_DATA_DIR to a folder that holds "
        f"{', '.join(spec.folder_files)}."
    )
