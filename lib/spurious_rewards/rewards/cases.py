"""Read labelled cases from JSON lines, run a judge over them and count its errors.

Shared by the command lines of the grader and of the strategy detector.

>>> cases = [{"x": 1, "expected": True}, {"x": 2, "expected": True}]
>>> summary, rows = run(cases, lambda case: case["x"] > 1, "expected")
>>> summary["accuracy"], summary["false_negatives"], summary["crashes"]
(0.5, 1, 0)

Usage: `from spurious_rewards.rewards.cases import read_cases, run`
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from spurious_rewards.errors import InputError
from spurious_rewards.workflow.progress import PATIENCE_SECONDS

Case = dict[str, Any]


def read_cases(path: str | Path, fields: Mapping[str, type]) -> list[Case]:
    """Read JSON lines and check the fields.

    Raises:
        InputError: no such file, a line that is not a JSON object, a field that is missing or of another type.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read the cases file {path}: give a UTF-8 file of JSON lines.") from error
    cases = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            case = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"Line {number} of {path} is not JSON ({error.msg}): one object per line.") from error
        for name, kind in fields.items():
            if not isinstance(case, dict) or not isinstance(case.get(name), kind):
                raise InputError(f"Line {number} of {path} needs a field {name!r} of type {kind.__name__}.")
        cases.append(case)
    if not cases:
        raise InputError(f"The cases file {path} is empty: give at least one JSON line.")
    return cases


def run(cases: list[Case], judge: Callable[[Case], bool], label: str) -> tuple[dict[str, Any], list[Case]]:
    """Judge every case; return a summary of the errors against the boolean field `label`, and one row per case."""
    rows = []
    for case in tqdm(cases, unit="case", delay=PATIENCE_SECONDS):
        started = time.perf_counter()
        verdict: bool | None
        try:
            verdict = bool(judge(case))
        except Exception:  # counted: a crash is what this program is asked to find
            verdict = None
        rows.append({"verdict": verdict, "expected": case[label], "seconds": time.perf_counter() - started})
    summary = {
        "n": len(rows),
        "accuracy": round(sum(row["verdict"] == row["expected"] for row in rows) / len(rows), 6),
        "false_positives": sum(row["verdict"] is True and not row["expected"] for row in rows),
        "false_negatives": sum(not row["verdict"] and row["expected"] for row in rows),
        "crashes": sum(row["verdict"] is None for row in rows),
        "max_seconds": round(max(row["seconds"] for row in rows), 3),
    }
    return summary, rows


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON line."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False))
