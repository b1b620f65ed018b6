"""Run a job in a fork of this process, which has loaded everything, and end or disturb it there.

In the fork an audit hook counts file operations below the job's folder (open for writing, rename, remove, make or
remove a folder). At the chosen one it sends SIGKILL to its own process, or refuses it as a full disk would.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import tqdm.std

from spurious_rewards.errors import InputError, NotebookError

EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
NEED_SPACE = ("open", "os.mkdir", "os.rename")
"""Events that a full disk refuses; to remove something needs no space."""
SENTENCE, TRACE, KILLED = 2, 1, -signal.SIGKILL


class Audit:
    """Counts file operations below a folder and acts at one of them."""

    def __init__(self, folder: Path, at: int | None = None, refuse: bool = False, note: Path | None = None):
        self.folder, self.at, self.refuse, self.note, self.seen = f"{folder}/", at, refuse, note, 0
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple) -> None:
        if event not in EVENTS or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = os.fsdecode(arguments[1]) if event == "os.rename" else os.fsdecode(arguments[0])
        if not path.startswith(self.folder):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        self.seen += 1
        if self.seen != self.at:
            return
        if self.note is not None:
            at, self.at = self.at, None  # the note itself is a file
            self.note.write_text(f"{event.removeprefix('os.')} {os.path.relpath(path, self.folder)} ({at})")
        if not self.refuse:
            os.kill(os.getpid(), signal.SIGKILL)
        if event in NEED_SPACE:
            raise OSError(28, "No space left on device", path)


class Fork:
    """A job that runs in a fork, with its project in the folder `root`."""

    def __init__(
        self,
        job: Callable[[], Any],
        root: Path,
        at: int | None = None,
        refuse: bool = False,
        before: Callable[[], None] | None = None,
    ):
        self.began = time.monotonic()
        self.files = {name: root.parent / f"{root.name}.{name}" for name in ("said", "stderr", "where")}
        for file in self.files.values():
            file.unlink(missing_ok=True)
        self.pid = os.fork()
        if self.pid == 0:
            os.setpgid(0, 0)
            self._child(job, root, at, refuse, before)
        with suppress(OSError):  # the child has done it already, or has ended
            os.setpgid(self.pid, 0)

    def _child(self, job: Callable, root: Path, at: int | None, refuse: bool, before: Callable | None) -> None:
        code, said = 0, {}
        try:
            _own_locks()
            os.environ["SPURIOUS_RUNS_DIR"] = str(root / "runs")
            os.chdir(root)
            with open(os.devnull, "wb") as nothing, open(self.files["stderr"], "wb") as errors:
                os.dup2(nothing.fileno(), 1)
                os.dup2(errors.fileno(), 2)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
            if before:
                before()
            audit = Audit(root, at, refuse, self.files["where"])
            code = job() or 0
            said = {"events": audit.seen}
        except (InputError, NotebookError) as error:
            code, said = SENTENCE, {"sentence": str(error)}
        except BaseException:
            code, said = TRACE, {"trace": traceback.format_exc()}
        with suppress(OSError):
            sys.stderr.flush()
        self.files["said"].write_text(json.dumps(said))
        os._exit(code)

    def kill(self) -> None:
        """Send SIGKILL to the job and to what it has started in its process group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def wait(self) -> dict[str, Any]:
        """Wait for the end.

        Returns:
            exit: 0, 2 for a sentence, 1 for a traceback, −9 after a kill; where: the file operation that was acted at;
            seconds; and what there is of events, sentence, trace.
        """
        _, status = os.waitpid(self.pid, 0)
        code, said = os.waitstatus_to_exitcode(status), self._read("said")
        found = {"exit": code, "seconds": time.monotonic() - self.began, "where": self._read("where")}
        found |= json.loads(said) if said else {}
        errors = self._read("stderr").strip()
        if code == SENTENCE and "sentence" not in found:
            found["sentence"] = errors.splitlines()[-1] if errors else ""
        if code == TRACE and "trace" not in found:
            found["trace"] = errors
        return found

    def _read(self, name: str) -> str:
        file = self.files[name]
        return file.read_text(errors="replace") if file.is_file() else ""


def _own_locks(kind: type[tqdm.std.tqdm] = tqdm.std.tqdm) -> None:
    """Give progress bars a lock of this process: forks share tqdm's, and one that is killed while it draws keeps it."""
    kind.set_lock(threading.RLock())
    for one in kind.__subclasses__():
        _own_locks(one)


def forked(job: Callable[[], Any], root: Path, **options: Any) -> dict[str, Any]:
    """Run a job in a fork to its end; see `Fork` for options and `Fork.wait` for what is returned."""
    return Fork(job, root, **options).wait()
