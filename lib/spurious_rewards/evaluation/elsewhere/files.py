"""Read a table of another tool (JSON lines, JSON, CSV or parquet) as a list of plain mappings.

Nothing of a file is executed and no name in it is used as a path: a row is text and numbers.

>>> import tempfile, pathlib
>>> path = pathlib.Path(tempfile.mkdtemp()) / "a.csv"
>>> _ = path.write_text("question,output\\n1 + 1,2\\n")
>>> read_rows(path)
[{'question': '1 + 1', 'output': '2'}]
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from spurious_rewards.errors import InputError
from spurious_rewards.storage.files import read_text

Row = dict[str, Any]
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")
CELL_CHARACTERS = 10_000_000  # longest cell of a CSV file; the module's own limit of 131,072 cuts long answers off


def read_rows(path: str | Path) -> list[Row]:
    """Read all rows of a file, the kind of file being told by its suffix.

    JSON is a list of objects, an object that holds such a list, an object of equally long lists, or of objects by id.

    Raises:
        InputError: there is no such file, its suffix is unknown, it is damaged or holds no rows.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"There is no file {path}; give the path of a {', '.join(SUFFIXES)} file.")
    readers = {".jsonl": _json_lines, ".ndjson": _json_lines, ".json": _json, ".csv": _csv, ".parquet": _parquet}
    if path.suffix.lower() not in readers:
        raise InputError(
            f"{path.name} has the suffix {path.suffix or '(none)'}; rename it to what it is: {', '.join(SUFFIXES)}."
        )
    rows = readers[path.suffix.lower()](path)
    if not rows:
        raise InputError(f"{path.name} holds no rows; give a file with at least one answer.")
    return rows


def _text(path: Path) -> str:
    """Read a text file; the mark with which some programs begin UTF-8 is no part of it."""
    return read_text(path).removeprefix("\ufeff")


def _parsed(text: str) -> Any:
    """Parse JSON; half a surrogate pair, which no parquet file can hold, becomes a question mark.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if "\\ud" in text.lower():
        value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    return value


def _json_lines(path: Path) -> list[Row]:
    rows = []
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = _parsed(line)
        except ValueError as error:
            raise InputError(
                f"Line {number} of {path.name} is not JSON ({error}): the file is cut off or no JSON lines."
            ) from error
        if not isinstance(row, dict):
            raise InputError(f"Line {number} of {path.name} is no JSON object; write one object per line.")
        rows.append(row)
    return rows


def _json(path: Path) -> list[Row]:
    text = _text(path)
    try:
        value = _parsed(text)
    except ValueError as error:
        if "\n" in text.strip() and text.lstrip().startswith("{"):
            return _json_lines(path)
        raise InputError(f"{path.name} is not JSON ({error}): the file is cut off or of another kind.") from error
    if isinstance(value, dict):
        value = _rows_in(value)
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise InputError(f"{path.name} must hold a list of objects, one per answer or problem.")
    return value


def _rows_in(value: Row) -> Any:
    """Find the rows in an object: its one list of objects, equally long lists, or objects under their ids."""
    lists = [item for item in value.values() if isinstance(item, list) and item and isinstance(item[0], dict)]
    if len(lists) == 1:
        return lists[0]
    columns = {name: item for name, item in value.items() if isinstance(item, list)}
    if columns and len(columns) == len(value) and len({len(item) for item in columns.values()}) == 1:
        return [dict(zip(columns, items, strict=True)) for items in zip(*columns.values(), strict=True)]
    if len(value) > 1 and all(isinstance(item, dict) for item in value.values()):
        return [{"id": key, **item} for key, item in value.items()]
    return [value]


def _csv(path: Path) -> list[Row]:
    csv.field_size_limit(CELL_CHARACTERS)
    try:
        reader = csv.DictReader(io.StringIO(_text(path), newline=""))
        rows = list(reader)
    except csv.Error as error:
        raise InputError(f"{path.name} is no readable CSV ({error}); save it with quotes around texts.") from error
    names = reader.fieldnames or []
    twice = next((name for name in names if names.count(name) > 1 and name), None)
    if twice:
        raise InputError(f"{path.name} has two columns {twice!r}: remove or rename one of them.")
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():
            raise InputError(
                f"Row {number} of {path.name} has more or fewer cells than the header: quote the texts, or use JSON "
                "lines."
            )
    return rows


def _parquet(path: Path) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowException) as error:
        cause = str(error).splitlines()[0][:150]
        raise InputError(f"{path.name} is no readable parquet file ({cause}); copy or write it again.") from error
