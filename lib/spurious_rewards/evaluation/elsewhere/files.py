"""Read a table of another tool (JSON lines, JSON, CSV or parquet) as a list of plain mappings.

A table may be gzipped, and a folder of such files is one table. Nothing of a file is executed and no name in it is used
as a path: a row is text and numbers.

>>> import tempfile, pathlib
>>> path = pathlib.Path(tempfile.mkdtemp()) / "a.csv"
>>> _ = path.write_text("question,output\\n1 + 1,2\\n")
>>> read_rows(path)
[{'question': '1 + 1', 'output': '2'}]
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
import zlib
from pathlib import Path
from typing import Any

from spurious_rewards.errors import InputError
from spurious_rewards.storage.files import read_text, sha256_file

Row = dict[str, Any]
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
CELL_CHARACTERS = 10_000_000  # longest cell of a CSV file; the module's own limit of 131,072 cuts long answers off


def read_rows(path: str | Path) -> list[Row]:
    """Read all rows of a file, or of the files of a folder; the kind of file is told by its suffix.

    JSON is a list of objects, an object that holds such a list, an object of equally long lists, or of objects by id.

    Raises:
        InputError: there is no such file or folder, a suffix is unknown, a file is damaged or holds no rows, or files
            of a folder have different columns.
    """
    rows: list[Row] = []
    for file in files_of(path):
        found = _rows_of(file)
        if not found:
            raise InputError(f"{file.name} holds no rows; give a file with at least one answer.")
        if rows and set(found[0]) != set(rows[0]):
            names = ", ".join(sorted(map(str, set(found[0]) ^ set(rows[0])))[:6])
            raise InputError(f"The files of {path} do not have the same columns ({names}): name one of them.")
        rows += found
    return rows


def files_of(path: str | Path) -> list[Path]:
    """List the files that a path names: itself, or those of a folder in the order of the numbers in their names.

    Raises:
        InputError: there is no such file, or no file of a known kind in the folder.
    """
    path = Path(path).expanduser()
    kinds = f"a {', '.join(SUFFIXES)} file"
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"There is no file {path}; give the path of {kinds}, or of a folder of such files.")
    found = [file for file in path.iterdir() if file.is_file() and _suffix(file) in SUFFIXES]
    if not found:
        raise InputError(f"The folder {path} does not hold {kinds}.")
    return sorted(found, key=lambda file: [part.zfill(20) for part in re.split(r"(\d+)", file.name)])


def sha256_of(path: str | Path) -> str:
    """Compute the SHA-256 of a file, or of the hashes of a folder's files, in hex."""
    hashes = [sha256_file(file) for file in files_of(path)]
    return hashes[0] if Path(path).expanduser().is_file() else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _rows_of(path: Path) -> list[Row]:
    readers = {".json": _json, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet}
    suffix = _suffix(path)
    if suffix not in SUFFIXES:
        kinds = ", ".join(SUFFIXES)
        raise InputError(f"{path.name} has the suffix {suffix or '(none)'}; rename it to what it is: {kinds}.")
    return readers.get(suffix, _json_lines)(path)


def _text(path: Path) -> str:
    """Read a text file, gzipped or not; the mark with which some programs begin UTF-8 is no part of it."""
    if path.suffix.lower() != ".gz":
        return read_text(path).removeprefix("\ufeff")
    try:
        return gzip.decompress(path.read_bytes()).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} is no gzipped UTF-8 text ({error}); copy or write it again.") from error


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
    text = _text(path)
    header = text.split("\n", 1)[0]
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
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
        return pq.ParquetFile(path).read().to_pylist()
    except (OSError, pa.ArrowException) as error:
        cause = str(error).splitlines()[0][:150]
        raise InputError(f"{path.name} is no readable parquet file ({cause}); copy or write it again.") from error
