"""Load MATH-500, AMC, AIME 2024, AIME 2025 or DeepScaleR, from the hub or from a folder of local files.

Local files are used when a folder is given (`data_dir`, else `$SPURIOUS_DATA_DIR`), else the hub at the pinned
revision. Both give the same schema. Local files are JSON lines with `id`, `problem`, `answer` and further columns, and
their row counts and content hashes are verified at every load; a hub load is checked by revision and row count.

>>> problems = [Problem("a", "What is 1 + 1?", "2", "demo"), Problem("b", "What is 2 + 2?", "4", "demo")]
>>> content_hash(problems) == content_hash(problems[::-1])
False
>>> content_hash(problems, ordered=False) == content_hash(problems[::-1], ordered=False)
True

Usage: ``math500 = load("math500", data_dir="my_folder")``
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from spurious_rewards.data import hub
from spurious_rewards.data.normalize import space_key
from spurious_rewards.data.problem import Problem
from spurious_rewards.data.specs import BENCHMARKS, SOURCES, SourceSpec
from spurious_rewards.errors import InputError, check_name

__all__ = ["BENCHMARKS", "SOURCES", "content_hash", "data_folder", "describe", "load"]

DATA_DIR_VARIABLE = "SPURIOUS_DATA_DIR"


def load(name: str, limit: int | None = None, data_dir: str | Path | None = None) -> list[Problem]:
    """Load and check a problem set.

    Args:
        name: one of `SOURCES`.
        limit: keep the first `limit` problems (after the whole set has been checked).
        data_dir: folder of local files; default `$SPURIOUS_DATA_DIR`; when neither is there, the hub is asked.

    Returns:
        Problems in source order, answers normalised, `meta["answer_raw"]` as the source has it.

    Raises:
        InputError: unknown name; missing folder or file; a file that is truncated, altered or not JSON lines; the hub
            cannot be reached or has other rows than expected. The sentence names both ways to get the data.
    """
    spec = _spec(name)
    folder = data_folder(data_dir)
    problems = _from_hub(spec) if folder is None else _from_folder(spec, folder)
    return problems if limit is None else problems[:limit]


def data_folder(data_dir: str | Path | None = None) -> Path | None:
    """Return the folder of local files, or None when the hub is to be used."""
    given = data_dir or os.environ.get(DATA_DIR_VARIABLE)
    return Path(given).expanduser() if given else None


def content_hash(problems: Iterable[Problem], ordered: bool = True) -> str:
    """Hash (problem, normalised answer) pairs (SHA-256), runs of white space in a problem counted as one blank.

    Ids and `meta` do not enter, so that the same problems hash alike wherever they come from.

    Args:
        problems: the problems.
        ordered: False makes the hash independent of their order.
    """
    lines = [json.dumps([space_key(p.problem), p.answer], ensure_ascii=True) for p in problems]
    return hashlib.sha256("\n".join(lines if ordered else sorted(lines)).encode()).hexdigest()


def describe(
    name: str, data_dir: str | Path | None = None, problems: Sequence[Problem] | None = None
) -> dict[str, Any]:
    """Describe one problem set: origin, rows, hashes, revision, licence.

    `content_equals_folder` says whether the content, order aside, is that of the pinned local files.

    Args:
        name: one of `SOURCES`.
        data_dir: as in `load`.
        problems: what `load` returned for these arguments, if that is at hand.
    """
    spec = _spec(name)
    if problems is None:
        problems = load(name, data_dir=data_dir)
    set_sha256 = content_hash(problems, ordered=False)
    fixed = {field: getattr(spec, field) for field in ("name", "role", "hub_id", "revision", "licence", "citation")}
    hashes = {"sha256": content_hash(problems), "set_sha256": set_sha256}
    hashes["content_equals_folder"] = set_sha256 == spec.folder_set_sha256
    return {**fixed, "origin": "hub" if data_folder(data_dir) is None else "folder", "rows": len(problems), **hashes}


def _spec(name: str) -> SourceSpec:
    check_name("problem set", name, SOURCES)
    return SOURCES[name]


def _from_hub(spec: SourceSpec) -> list[Problem]:
    rows = hub.fetch(spec)
    problems = hub.adapt(spec, rows)
    if len(rows) != spec.hub_rows or len(problems) != spec.n_rows:
        raise InputError(
            f"Problem set {spec.name!r} from the hub ({spec.hub_id}) has {len(rows)} rows and {len(problems)} problems "
            f"instead of {spec.hub_rows} and {spec.n_rows}: the download is incomplete or another version; clear the "
            f"cache of the hub's client and try again, or {_folder_way(spec)}."
        )
    return problems


def _from_folder(spec: SourceSpec, folder: Path) -> list[Problem]:
    if not folder.is_dir():
        raise InputError(f"There is no data folder {folder}; {_both_ways(spec)}.")
    rows = [row for file in spec.folder_files for row in _read_lines(spec, folder / file)]
    problems = [_problem(spec, row) for row in rows]
    if spec.name == "amc40":
        problems = [problem for problem in problems if problem.meta.get("in_amc23_40")]
    files = ", ".join(spec.folder_files)
    if len(problems) != spec.folder_rows:
        raise InputError(
            f"Problem set {spec.name!r} in {folder} ({files}) has {len(problems)} problems instead of "
            f"{spec.folder_rows}: a file is truncated or another version; {_both_ways(spec)}."
        )
    if content_hash(problems) != spec.folder_sha256:
        raise InputError(
            f"Problem set {spec.name!r} in {folder} ({files}) does not have the expected content (checksum "
            f"{content_hash(problems)[:12]} instead of {spec.folder_sha256[:12]}): a file was altered or is another "
            f"version; {_both_ways(spec)}."
        )
    return problems


def _read_lines(spec: SourceSpec, path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise InputError(f"Data folder {path.parent} has no file {path.name}; {_both_ways(spec)}.")
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Data file {path} cannot be read ({error}); {_both_ways(spec)}.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if not isinstance(row, dict) or not {"id", "problem", "answer"} <= row.keys():
            raise InputError(
                f"Line {number} of {path} is not a JSON object with id, problem and answer: the file is truncated or "
                f"damaged; {_both_ways(spec)}."
            )
        # Level files carry their band only in the file's name.
        if spec.name == "deepscaler":
            row["band"] = int(path.stem.removeprefix("deepscaler_level"))
        rows.append(row)
    return rows


def _problem(spec: SourceSpec, row: dict[str, Any]) -> Problem:
    extra = {key: value for key, value in row.items() if key not in {"id", "problem", "answer", "answer_raw", "source"}}
    return hub.make_problem(spec, str(row["id"]), row["problem"], row.get("answer_raw", row["answer"]), extra)


def _folder_way(spec: SourceSpec) -> str:
    return f"set {DATA_DIR_VARIABLE} to a folder that holds {', '.join(spec.folder_files)}"


def _both_ways(spec: SourceSpec) -> str:
    return f"either {_folder_way(spec)}, unaltered, or unset it to load {spec.hub_id} from the Hugging Face hub"
