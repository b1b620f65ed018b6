"""Write files so that a reader never sees half of one: under a temporary name first, then renamed.

>>> import tempfile, pathlib
>>> target = pathlib.Path(tempfile.mkdtemp()) / "sub" / "a.json"
>>> write_json(target, {"b": 1}); read_json(target)
{'b': 1}
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spurious_rewards.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the target's folder; on a clean exit it is renamed to `target`, else removed.

    The temporary name keeps the target's suffix, so that writers that look at it (`.parquet`, `.ipynb`) behave.

    Raises:
        InputError: the disk is full or the folder is not writable.
    """
    target = Path(target)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.stem}.", suffix=target.suffix, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, target)
    except OSError as error:
        if disk_is_full(error):
            raise InputError(
                f"No space left on the disk while writing {target}: free some space and run again; "
                "what was already finished is kept."
            ) from error
        if error.errno in (13, 30):  # EACCES, EROFS
            raise InputError(f"Cannot write {target}: the folder is not writable; choose another one.") from error
        if error.errno in (17, 20, 21):  # EEXIST, ENOTDIR, EISDIR
            raise InputError(
                f"Cannot write {target}: it is a folder, or lies below a file; choose another name."
            ) from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def disk_is_full(error: BaseException) -> bool:
    """Tell whether an error says that the disk or the quota is full, also where a library has wrapped it.

    >>> disk_is_full(OSError(28, "No space left on device")), disk_is_full(OSError(2, "No such file"))
    (True, False)
    """
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error)


def read_text(source: str | Path) -> str:
    """Read a text file.

    Raises:
        InputError: it is not UTF-8.
    """
    try:
        return Path(source).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{source} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error


def write_text(target: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8")


def write_json(target: str | Path, value: Any) -> None:
    """Write `value` as strict JSON (no NaN or Infinity), atomically, keys in their given order."""
    write_text(target, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


RESTORE = "restore it from git or a backup, or run again what writes it"
"""What to do about a damaged file that no job of its own can make again."""


def read_json(source: str | Path, advice: str = RESTORE) -> Any:
    """Read a JSON file.

    Args:
        source: the file.
        advice: what to do if it is damaged, as the end of a sentence.

    Raises:
        InputError: it is damaged.
        FileNotFoundError: there is none.
    """
    try:
        return json.loads(Path(source).read_text(encoding="utf-8"))
    except ValueError as error:  # not JSON, or not even text
        raise InputError(f"{source} is damaged ({error}): {advice}.") from error


def csv_text(table: pd.DataFrame) -> str:
    """Write a table as measured tables are committed: without its index, six digits."""
    return table.to_csv(index=False, float_format="%.6g")


def write_parquet(target: str | Path, frame: pd.DataFrame) -> None:
    """Write a data frame as parquet (zstd, no index), atomically."""
    with atomic_path(target) as path:
        frame.to_parquet(path, index=False, compression="zstd")


def read_parquet(source: str | Path, needs: Iterable[str] = (), advice: str = RESTORE) -> pd.DataFrame:
    """Read a parquet file.

    Args:
        source: the file.
        needs: columns that it must have, if it has any.
        advice: what to do if it is missing or damaged, as the end of a sentence.

    Raises:
        InputError: it is missing or damaged, or is another table.
    """
    import pandas as pd

    try:
        frame = pd.read_parquet(source)
    except (OSError, ValueError) as error:  # pyarrow's errors are of these kinds
        raise InputError(f"{source} is missing or damaged ({str(error).splitlines()[0][:150]}): {advice}.") from error
    missing = [name for name in needs if len(frame.columns) and name not in frame]
    if missing:
        raise InputError(f"{source} has no column {missing[0]}, so it is another table: {advice}.")
    return frame


def sha256_file(source: str | Path) -> str:
    """Compute the SHA-256 of a file's bytes, in hex."""
    with open(source, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


HASHED_BYTES = 64_000_000
"""Larger files are hashed only before they are loaded: 100 GB take minutes."""


def fingerprint(path: Path) -> list[Any]:
    """Return a file's size in bytes and, below `HASHED_BYTES`, its SHA-256, else ""; `[-1, ""]` if there is none."""
    if not path.is_file():
        return [-1, ""]
    size = path.stat().st_size
    return [size, sha256_file(path) if size < HASHED_BYTES else ""]
