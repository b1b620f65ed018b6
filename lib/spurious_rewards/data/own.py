"""Read the user's own problems from a file of JSON lines, and part them into training and test problems.

Each line is an object with the problem (`problem`, `question` or `prompt`), its answer (`answer`, `gold`,
`ground_truth` or `target`) and perhaps an `id`. `mine.jsonl` is the whole file, `mine.jsonl#test` a quarter of it and
`mine.jsonl#train` the rest: a hash of the problem's text decides, so that no text is in both.

>>> import tempfile, pathlib
>>> path = pathlib.Path(tempfile.mkdtemp()) / "mine.jsonl"
>>> _ = path.write_text('{"question": "1 + 1?", "answer": 2}\\n')
>>> load_own(str(path))[0].answer
'2'
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from spurious_rewards.data.normalize import clean_answer, space_key
from spurious_rewards.data.problem import Problem
from spurious_rewards.errors import InputError
from spurious_rewards.storage.files import read_text

SUFFIX = ".jsonl"
PARTS = ("train", "test")
TEXTS = ("problem", "question", "prompt")
ANSWERS = ("answer", "gold", "ground_truth", "target")
IDS = ("id", "problem_id", "unique_id", "custom_id")
TEST_SHARE = 0.25
"""Expected share of the problems that `#test` takes."""


def is_own(name: str) -> bool:
    """Tell whether a problem set's name is the path of a file, with or without `#train` or `#test`."""
    return name.partition("#")[0].endswith(SUFFIX)


def own_name(name: str) -> str:
    """Name a file with its part, without the folder: what the problems' source is called."""
    path, hash_sign, part = name.partition("#")
    return Path(path).name + hash_sign + part


def load_own(name: str) -> list[Problem]:
    """Load the problems of a file or of a part of it, in the file's order.

    Raises:
        InputError: no such file or part, a line that is no problem, the same id twice, or an empty part.
    """
    path, _, part = name.partition("#")
    if part and part not in PARTS:
        raise InputError(f"A file of problems has the parts {' and '.join(PARTS)}, not {part!r}: write {path}#test.")
    file = Path(path).expanduser()
    if not file.is_file():
        raise InputError(f"There is no file of problems {file}; give the path of a {SUFFIX} file.")
    lines = [(number, line) for number, line in enumerate(read_text(file).split("\n"), 1) if line.strip()]
    problems = [_problem(file, number, line) for number, line in lines]
    seen: set[str] = set()
    for problem in problems:
        if problem.id in seen:
            raise InputError(f"{file.name} has the id {problem.id[:80]!r} twice: give every problem its own.")
        seen.add(problem.id)
    kept = [problem for problem in problems if not part or part_of(problem) == part]
    if not kept:
        raise InputError(f"{name} holds no problems: the file has {len(problems)}; add some, or use the whole file.")
    return kept


def part_of(problem: Problem) -> str:
    """Find the part that a problem belongs to, by its text alone."""
    digest = hashlib.sha256(space_key(problem.problem).encode()).digest()
    return "test" if digest[0] < 256 * TEST_SHARE else "train"


def _problem(file: Path, number: int, line: str) -> Problem:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"Line {number} of {file.name} is not JSON ({error}): write one object per line.") from error
    row = row if isinstance(row, dict) else {}
    text, answer = _first(row, TEXTS), _first(row, ANSWERS)
    if not isinstance(text, str) or not text.strip() or answer is None or not str(answer).strip():
        raise InputError(
            f"Line {number} of {file.name} needs a text `problem` and an `answer` (or {', '.join(TEXTS[1:])}; "
            f"{', '.join(ANSWERS[1:])})."
        )
    whole = isinstance(answer, float) and answer.is_integer()
    known = {*TEXTS, *ANSWERS, *IDS}
    meta = {str(key): value for key, value in row.items() if key not in known and isinstance(value, str | int | float)}
    identity = _first(row, IDS)
    return Problem(
        id=str(number if identity is None else identity),
        problem=text,
        answer=clean_answer(int(answer) if whole else answer),
        source=file.name,
        meta=meta,
    )


def _first(row: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)
