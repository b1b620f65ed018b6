"""Let one process at a time work on something, by a lock that vanishes with its process.

The lock file itself stays; it names the last holder, and only for the error message. A second process does not wait:
it gets an `InputError` that names what is locked and who holds it.

>>> import tempfile, pathlib
>>> path = pathlib.Path(tempfile.mkdtemp()) / "a.lock"
>>> with exclusive(path, "run demo"):
...     path.exists()
True
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spurious_rewards.errors import InputError, LockedError
from spurious_rewards.storage.files import disk_is_full


@contextmanager
def exclusive(path: str | Path, what: str) -> Iterator[int]:
    """Hold an exclusive lock on the file `path` inside the `with` block, which gets the open file's descriptor.

    Args:
        path: the lock file; its folder is created.
        what: what the lock protects, as the subject of the error message ("run train-random-0").

    Raises:
        LockedError: another process (or this one) holds it.
        InputError: its folder cannot be written, or the file system has no locks.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Opened without truncation: an attempt that fails must not wipe the holder's name.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if disk_is_full(error):
            raise _no_space(path, what) from error
        if not isinstance(error, PermissionError | FileExistsError | NotADirectoryError | IsADirectoryError):
            raise
        raise InputError(
            f"{what} cannot be locked: {path.parent} is no folder that can be written "
            f"({error.strerror}); choose another one."
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                f"{what} is in use by {_holder(descriptor)}; wait until it is done or stop it, then run again "
                "(finished work is kept)."
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            raise InputError(
                f"The file system of {path.parent} has no file locks, which {what} needs; set SPURIOUS_RUNS_DIR to a "
                "folder on another file system."
            ) from error
        try:
            sign(descriptor, os.getpid())
        except OSError as error:
            if not disk_is_full(error):
                raise
            raise _no_space(path, what) from error
        yield descriptor
    finally:
        os.close(descriptor)  # releases the lock


def _no_space(path: Path, what: str) -> InputError:
    return InputError(
        f"{what} cannot be locked: no space left on the disk of {path.parent}; free some space and run again."
    )


def sign(descriptor: int, process_id: int) -> None:
    """Name the process that holds the lock, when it is to outlive this one in a child that inherits the descriptor."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps({"pid": process_id, "host": socket.gethostname()}).encode(), 0)


def _holder(descriptor: int) -> str:
    """Return the holder's process id and host, as far as the lock file tells."""
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {holder['pid']} on {holder['host']}"
    except (ValueError, KeyError):  # the holder took the lock an instant ago and has not written its name yet
        return "another process"
