"""Grade stored answers again and list the verdicts that change; nothing is generated and no file is changed.

Reads the folder or id of an evaluation run, its `records.parquet`, the `samples.parquet` of a profile's results, or a
file of another tool (JSON lines, JSON, CSV, parquet; fields are found as in `evaluation.elsewhere`).

Usage: `python -m spurious_rewards.evaluation.rescore RUN|FILE [--grader robust|paper] [--table CHANGED.csv]`; the last
line is JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from tqdm import tqdm

from spurious_rewards.command_line import command
from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.elsewhere.answers import answers_of, style_of
from spurious_rewards.evaluation.elsewhere.files import read_rows
from spurious_rewards.models.prompts import answer_format
from spurious_rewards.rewards.cases import print_json
from spurious_rewards.rewards.grading import Grade, grade, undecided
from spurious_rewards.storage.files import write_text
from spurious_rewards.storage.paths import runs_dir
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.workflow.progress import PATIENCE_SECONDS

VERDICTS = {"robust": ("correct", "extracted", "reason"), "paper": ("correct_paper", "extracted_paper", "")}
"""Columns of our own records that hold the stored verdict, answer and reason code of each grader."""
FOREIGN_VERDICTS = ("correct", "is_correct", "expected", "acc", "exact_match", "score", "reward")
"""Fields in which other tools keep a verdict (true, false, 1 or 0; in CSV files as text)."""
_VERDICT = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
_NO_VERDICT = ("", "none", "nan")
END_OF_TEXT = 120  # characters of a text that are shown


class Stored(NamedTuple):
    """Hold one stored answer and what was said about it; `correct`, `extracted` and `reason` are None where unknown."""

    problem: str
    sample: int
    text: str
    golds: tuple[str, ...]
    style: str
    correct: bool | None
    extracted: str | None
    reason: str | None


def stored_answers(source: str, grader: str = "robust", fields: str = "", select: str = "") -> list[Stored]:
    """Read the answers of a run or file.

    Args:
        source: run id, run folder or file.
        grader: whose stored verdicts are compared, one of `grading.MODES`.
        fields: paths that are not found by themselves, as in `gold=meta.answer` (files of other tools).
        select: rows to keep, as in `step=100` (files of other tools).

    Raises:
        InputError: there is no such run or file, it cannot be read, or it has no texts or golds.
    """
    path = Path(source).expanduser()
    folder = path if path.is_dir() else runs_dir() / source
    if folder.is_dir():
        run = RunFolder(folder)
        run.manifest()  # raises if the run is not complete
        style = run.config().get("prompt_style", "")
        rows = [{"prompt_style": style} | row for row in read_rows(run.path("records.parquet"))]
    elif path.is_file():
        rows = read_rows(path)
    else:
        raise InputError(f"There is no run or file {source!r}: give a run id, a run folder or a file of answers.")
    if {"problem_id", "sample", "text", "gold", VERDICTS[grader][0]} <= set(rows[0]):
        return [_own(row, *VERDICTS[grader]) for row in rows]
    return _foreign(rows, fields, select)


def _own(row: Mapping[str, Any], correct: str, extracted: str, reason: str) -> Stored:
    return Stored(
        str(row["problem_id"]),
        int(row["sample"]),
        row["text"],
        (row["gold"],),
        answer_format(row["prompt_style"]) if row.get("prompt_style") else style_of(row["text"]),
        _verdict(row[correct]),
        row.get(extracted),
        row.get(reason),
    )


def _foreign(rows: Sequence[Mapping[str, Any]], fields: str, select: str) -> list[Stored]:
    answers, _ = answers_of(rows, fields, select)
    field = next((name for name in FOREIGN_VERDICTS if _holds_verdicts([row.get(name) for row in rows])), None)
    found = []
    for answer in answers:
        if not answer.golds:
            raise InputError(f"Row {answer.row} has no gold: name its field, as in --fields gold=NAME.")
        verdict = rows[answer.row - 1].get(field) if field else None
        if isinstance(verdict, list):
            verdict = verdict[answer.sample] if answer.sample < len(verdict) else None
        correct = _verdict(verdict)
        found.append(
            Stored(answer.key, answer.sample, answer.text, answer.golds, style_of(answer.text), correct, None, None)
        )
    return found


def _verdict(value: Any) -> bool | None:
    """Read a verdict from what a file holds; None where it holds none."""
    return _VERDICT.get(str(value).lower())


def _holds_verdicts(values: Sequence[Any]) -> bool:
    """Tell whether a field holds verdicts and nothing else: a score of -1 or 0.5 in any row makes it another thing."""
    words = {str(one).lower() for value in values for one in (value if isinstance(value, list) else [value])}
    return bool(words & set(_VERDICT)) and words <= {*_VERDICT, *_NO_VERDICT}


def rescore(answers: Iterable[Stored], grader: str = "robust") -> pd.DataFrame:
    """Grade stored answers again.

    Returns:
        One row per answer: problem, sample, gold, `correct_before` (null if none was stored), `correct`,
        `extracted_before`, `extracted`, `reason_before`, `reason`, `changed`, and the end of the text.

    Raises:
        InputError: unknown grader.
    """
    rows = []
    for stored in tqdm(answers, unit="answer", delay=PATIENCE_SECONDS):
        gold, now = _best(stored, grader)
        rows.append(
            {
                "problem_id": stored.problem,
                "sample": stored.sample,
                "gold": gold,
                "correct_before": stored.correct,
                "correct": now.correct,
                "extracted_before": stored.extracted,
                "extracted": now.extracted,
                "reason_before": stored.reason,
                "reason": now.reason,
                "changed": stored.correct is not None and stored.correct != now.correct,
                "end_of_text": " ".join(stored.text[-END_OF_TEXT:].split()),
            }
        )
    return pd.DataFrame(rows)


def _best(stored: Stored, grader: str) -> tuple[str, Grade]:
    """Return the gold that the answer meets, else the first, and its grade."""
    grades = [(gold, grade(stored.text, gold, grader, stored.style)) for gold in stored.golds]
    return next((one for one in grades if one[1].correct), grades[0])


def summary_of(rows: pd.DataFrame, grader: str) -> dict[str, Any]:
    """Count what changed: answers, changed verdicts by direction, accuracy (share right) before and now."""
    changed = rows[rows["changed"]]
    known = rows["correct_before"].dropna().astype(bool)
    return {
        "grader": grader,
        "n": len(rows),
        "changed": len(changed),
        "now_right": int(changed["correct"].sum()),
        "now_wrong": int((~changed["correct"].astype(bool)).sum()),
        "accuracy_before": round(float(known.mean()), 6) if len(known) else None,
        "accuracy": round(float(rows["correct"].mean()), 6),
    }


def grade_again(
    source: str, /, grader: str = "robust", fields: str = "", select: str = "", show: int = 20, table: str = ""
) -> None:
    """Grade stored answers again and list the verdicts that change.

    Args:
        source: run id, run folder, or file of answers.
        grader: robust or paper.
        fields: those that are not found by themselves, as in gold=answer,output=text.
        select: rows to keep, as in step=100.
        show: changed verdicts that are printed.
        table: write all changed verdicts to this CSV file.
    """
    rows = rescore(stored_answers(source, grader, fields, select), grader)
    changed = rows[rows["changed"]].drop(columns="changed")
    if table:
        write_text(table, changed.to_csv(index=False, lineterminator="\n"))
    for row in changed.head(show).to_dict("records"):
        print(_line(row))
    if len(changed) > show:
        print(f"… and {len(changed) - show} more; --table CHANGED.csv writes them all.")
    if rows["correct_before"].isna().all():
        print("No verdicts are stored here, so none can have changed.")
    for sentence in undecided(rows["reason"]):
        print(f"Beware: {sentence}")
    print_json(summary_of(rows, grader))


main = command(grade_again)


def _line(row: Mapping[str, Any]) -> str:
    """Write one changed verdict for a person."""
    was = f"{row['extracted_before']!r} ({row['reason_before']})" if row["reason_before"] else "unknown"
    verdict = "wrong → right" if row["correct"] else "right → wrong"
    return (
        f"{row['problem_id']} #{row['sample']}: {verdict}; gold {row['gold']!r}; before {was}, "
        f"now {row['extracted']!r} ({row['reason']}); … {row['end_of_text']}"
    )


if __name__ == "__main__":
    sys.exit(main())
