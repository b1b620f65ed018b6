"""An evaluation folder from a file of outputs made elsewhere: read, checked against a reference, graded, kept.

    runs/<eval_id>/config.json       file, hash, layout, fields, and the columns of a cell (what is not known is null)
                   records.parquet   as of an evaluation made here, see `evaluate.RECORD_COLUMNS`
                   manifest.json     last: provenance, hash, mapping, what was checked, summary

Of a foreign file it is not known which tokens were sampled: `logprob` is missing, and `n_tokens` and `finish_reason`
where the file does not say. The same file with the same choices is graded once.

Usage: `run = import_outputs(Outputs("samples_gsm8k.jsonl", model="mine"))`
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from spurious_rewards.data.problem import Problem
from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.elsewhere.answers import Answer, answers_of, style_of
from spurious_rewards.evaluation.elsewhere.files import read_rows, sha256_of
from spurious_rewards.evaluation.elsewhere.layouts import value_at
from spurious_rewards.evaluation.elsewhere.reference import (
    Reference,
    differences,
    first_of,
    load_reference,
    recognised,
    with_reference,
)
from spurious_rewards.evaluation.evaluate import DTYPES, RECORD_COLUMNS, verdicts
from spurious_rewards.evaluation.records import jsonable, summarise
from spurious_rewards.storage.config import slug
from spurious_rewards.storage.files import write_parquet
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.workflow.progress import PATIENCE_SECONDS

ELSEWHERE = "elsewhere"
"""Prompt style and engine of a cell that was not made here."""


@dataclass(frozen=True)
class Outputs:
    """Name a file of outputs and how to read it."""

    file: str
    """Path of a JSON lines, JSON, CSV or parquet file, or of a folder of them."""
    model: str = ""
    """Name of the model; empty takes the file's own, else the file's name."""
    reference: str = ""
    """Problem set or file of problems that the golds come from; empty takes the file's golds."""
    fields: str = ""
    """Paths of fields that are not found by themselves, as in `gold=meta.answer, output=generated`."""
    select: str = ""
    """Rows to keep, as in `step=100`."""
    n_samples: int = 0
    """Answers that were asked for per problem; 0 takes what there is."""


def import_outputs(outputs: Outputs) -> RunFolder:
    """Grade a file of outputs, or return the folder if it was graded before.

    Raises:
        InputError: the file cannot be read, answers are missing or doubled, there are no golds, or a problem is not
            the reference's.
    """
    path = Path(outputs.file).expanduser()
    rows = read_rows(path)
    answers, notes = answers_of(rows, outputs.fields, outputs.select, outputs.n_samples)
    reference = load_reference(outputs.reference) if outputs.reference else recognised(answers)
    problems: dict[str, Problem] = {}
    warnings: list[str] = []
    if reference is not None:
        wrong = [] if outputs.reference else differences(answers, reference)
        if wrong:
            warnings.append(f"{wrong[0]} Graded by the file's own golds; problems that differ: {len(wrong)}.")
        else:
            answers, problems = with_reference(answers, reference)
            if reference.pinned and first_of(list(problems), reference):
                warnings.append(_first(len(problems), reference))
    steps = {str(value_at(row, notes["fields"]["step"])) for row in rows} if "step" in notes["fields"] else set()
    if len(steps) > 1:
        warnings.append(
            f"This is one of {len(steps)} steps of the file: if it was chosen because it does best here, its accuracy "
            "is too high; the end of the training is the result."
        )
    without = next((answer for answer in answers if not answer.golds), None)
    if without is not None:
        raise InputError(
            f"Row {without.row} has no gold. Name its field, as in fields='gold=NAME', or a problem set or a file of "
            "problems to take it from, as in reference='math500'."
        )
    config = _config(outputs, path, answers, notes, reference)
    run = RunFolder.open(_eval_id(config), config)
    if run.complete:
        return run
    with run.lock():
        if not run.complete:
            graded = tqdm(answers, desc=path.name, unit="answer", delay=PATIENCE_SECONDS)
            frame = pd.DataFrame([_record(answer, problems.get(answer.key)) for answer in graded])
            frame = frame.astype({**DTYPES, "finish_reason": "str"})
            write_parquet(run.path("records.parquet"), frame[list(RECORD_COLUMNS)])
            facts = {
                "kind": "evaluation",
                "config": config,
                "seed": None,
                "n_records": len(frame),
                "n_problems": frame["problem_id"].nunique(),
                "data_hash": _data_hash(answers),
                "engines": [],
                "warnings": warnings,
                "summary": jsonable(summarise(frame)),
            }
            run.finish(facts)
    return run


def import_all(outputs: str, outputs_after: str = "", **how: str) -> list[RunFolder]:
    """Grade the files that a notebook's parameters name: none, one, or before and after.

    Args:
        outputs: path of a file; empty for none.
        outputs_after: path of the file to compare it with; empty for none.
        how: further fields of `Outputs`, the same for both.

    Raises:
        InputError: as in `import_outputs`; or there is a second file without a first.
    """
    if outputs_after and not outputs:
        raise InputError("outputs_after is compared with outputs, which is empty: give both files.")
    return [import_outputs(Outputs(file, **how)) for file in (outputs, outputs_after) if file]


def _config(
    outputs: Outputs, path: Path, answers: Sequence[Answer], notes: Mapping[str, Any], reference: Reference | None
) -> dict[str, Any]:
    """Describe what the folder holds; the first eleven names are the columns of a cell."""
    sampled = notes["n_samples"] > 1
    return {
        "model": outputs.model or answers[0].model or path.stem,
        "trained_run": "",
        "checkpoint": 0,
        "benchmark": reference.name if reference is not None else path.stem,
        "prompt_style": ELSEWHERE,
        "temperature": None,
        "top_p": None,
        "n_samples": notes["n_samples"],
        "max_new_tokens": None,
        "engine": ELSEWHERE,
        "dtype": None,
        "sampled": sampled,
        "outputs": path.name,
        "outputs_sha256": sha256_of(path),
        "layout": notes["layout"],
        "fields": dict(notes["fields"]),
        "select": outputs.select,
        "reference": outputs.reference,
    }


def _eval_id(config: Mapping[str, Any]) -> str:
    known = {name: value for name, value in config.items() if name != "outputs"}  # a renamed file is the same file
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:10]
    names = (slug(config["model"])[:60], slug(config["benchmark"])[:60], f"k{config['n_samples']}")
    return "-".join(filter(None, ("outputs", *names, digest)))


def _record(answer: Answer, problem: Problem | None) -> dict[str, Any]:
    """Make one row of `records.parquet`, by the gold that is met if there are several."""
    graded = [verdicts(answer.text, gold, style_of(answer.text)) for gold in answer.golds]
    best = next((one for one in graded if one["correct"]), graded[0])
    best = best | {"correct_paper": any(one["correct_paper"] for one in graded)}
    meta = problem.meta if problem is not None else {}
    level = meta.get("level")
    return {
        "problem_id": answer.key,
        "sample": answer.sample,
        "seed": -1,
        "prompt": answer.prompt or answer.problem,
        "text": answer.text,
        "n_tokens": float("nan") if answer.n_tokens is None else answer.n_tokens,
        "logprob": float("nan"),
        "finish_reason": answer.finish,
        **best,
        "family": meta.get("family", meta.get("subject")),
        "level": pd.NA if level is None else int(level),
        "batch": 0,
    }


def _data_hash(answers: Sequence[Answer]) -> str:
    """Hash what was asked: key, text and golds of each problem."""
    asked = sorted({json.dumps([answer.key, answer.problem, answer.golds], ensure_ascii=True) for answer in answers})
    return hashlib.sha256("\n".join(asked).encode()).hexdigest()


def _first(n: int, reference: Reference) -> str:
    return (
        f"These are the first {n} of {len(reference.problems)} problems of {reference.name}, whose order is not "
        "random: the accuracy on all of them may be far from this one."
    )


def described(run: RunFolder) -> str:
    """Say in one line what a folder was made from."""
    config, manifest = run.config(), run.manifest()
    found = ", ".join(f"{field} from {path}" for field, path in config["fields"].items())
    return (
        f"{config['outputs']} (sha256 {config['outputs_sha256'][:12]}), layout {config['layout']}: "
        f"{manifest['n_problems']} problems, answers per problem: {config['n_samples']}; {found}."
    )
