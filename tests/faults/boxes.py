"""Evaluate a model that writes answers of 10^5 characters, with the grader as it is, symbolic engine included."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import pandas as pd
from fork import forked

from spurious_rewards.evaluation.config import EvalConfig
from spurious_rewards.evaluation.evaluate import evaluate

LENGTH = 100_000
MOST_SECONDS = 60
"""For two problems and both graders; a request to the symbolic engine may take five seconds."""


WRONG = "-5"
"""What the answers hold at their core: no problem of the first two has it as its answer."""


def _of_length(piece: str) -> str:
    return (piece * (LENGTH // len(piece) + 1))[:LENGTH]


def _nested(opened: str, closed: str, core: str = WRONG) -> str:
    depth = LENGTH // (len(opened) + len(closed))
    return opened * depth + core + closed * depth


BOXES = {
    "digits": _of_length("7"),
    "letters": _of_length("x"),
    "a sum": _of_length("1+") + "1",
    "commas": _of_length("1,") + "1",
    "spaces": _of_length(" "),
    "brackets": _nested("(", ")"),
    "braces": _nested("{", "}"),
    "fractions": _nested(r"\frac{1}{1+", "}"),
    "roots": _nested(r"\sqrt{", "}"),
    "powers": _nested("9^{", "}", "9"),
    "factorials": "9" + _of_length("!"),
    "backslashes": _of_length("\\"),
    "dollar signs": _of_length("$"),
    "boxes in a row": _of_length(WRONG + r"}, \boxed{"),
    "boxes in boxes": _nested(r"\boxed{", "}"),
    "a box that never ends": "{" + _of_length("1"),
    "a matrix": r"\begin{pmatrix}" + _of_length("1 & ") + r"\end{pmatrix}",
    "control codes": _of_length("\x1b[2J\x07\x00"),
    "marks above a letter": "e" + _of_length("\u0301"),
    "both directions": _of_length("\u202e12\u202c"),
}
"""What stands in the box, by name."""


def rows(names: list[str], folder: Path) -> list[dict[str, Any]]:
    """Evaluate each twice, in folders of their own; what the model wrote must be kept, and the verdicts be equal."""
    found = []
    for number, name in enumerate(names):
        text = f"The answer is $\\boxed{{{BOXES[name]}}}$."
        tables, problem, seconds = [], "", 0.0
        for attempt in ("first", "second"):
            root = folder / f"box-{number}-{attempt}"
            root.mkdir()
            began = time.monotonic()
            end = forked(lambda text=text: _evaluate(text), root)
            seconds = max(seconds, time.monotonic() - began)
            if end["exit"] != 0:
                problem = str(end)
                continue
            tables.append(pd.read_parquet(next((root / "runs").glob("*/records.parquet"))))
        if not problem and not all((table["text"] == text).all() for table in tables):
            problem = "the answer was not kept as it was written"
        if not problem and any(table["correct"].any() or table["correct_paper"].any() for table in tables):
            problem = "it counts as right"
        if not problem and seconds > MOST_SECONDS:
            problem = f"it took {seconds:.0f} s"
        equal = len(tables) == 2 and tables[0].equals(tables[1])
        if not problem and not equal:
            problem = "two evaluations differ"
        reasons = ", ".join(sorted(set(tables[0]["reason"]))) if tables else ""
        found.append({
            "job": "long answers", "fault": name, "where": f"{LENGTH} characters in a box",
            "ended": "traceback" if problem else "done", "there": f"reason {reasons} after {seconds:.0f} s", "said": "",
            "equal": "yes" if equal else "no", "outcome": "failure" if problem else "equal", "problem": problem,
        })  # fmt: skip
    return found


def _evaluate(text: str) -> None:
    """Evaluate two problems with a model whose every answer is `text`."""
    from spurious_rewards.generation.transformers_engine import TransformersEngine

    generate = TransformersEngine.generate

    def wordy(self: Any, *arguments: Any, **options: Any) -> Any:
        answers = generate(self, *arguments, **options)
        return [[dataclasses.replace(sample, text=text) for sample in samples] for samples in answers]

    TransformersEngine.generate = wordy
    evaluate(EvalConfig(n_problems=2, max_new_tokens=4), progress=False)
