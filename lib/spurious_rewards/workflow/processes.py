"""End processes together with the one that started them, so that a killed job leaves nothing behind on a GPU.

A process that is killed (kill -9, out of memory) cannot stop its children; on Linux the kernel does it for us.
Elsewhere the commands are left as they are.

>>> bound(["python", "train.py"])[-2:]
['python', 'train.py']
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Sequence

from spurious_rewards.errors import InputError
from spurious_rewards.storage.paths import ensure_cache

OPEN_FILES = 256
"""A notebook with its kernel opens about a hundred files; below this limit one may fail anywhere."""

PR_SET_PDEATHSIG = 1

# Runs before the command itself, in the same process. A parent that has died in between would never send the signal.
# Ctrl-C is switched on again: a shell script starts its background jobs with it ignored, and programs inherit that.
_FIRST = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, int(sys.argv[1]))
signal.signal(signal.SIGINT, signal.SIG_DFL)
if os.getppid() != int(sys.argv[2]):
    os._exit(1)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def bound(command: Sequence[str], request: signal.Signals = signal.SIGKILL) -> list[str]:
    """Extend a command so that its process gets a signal when the thread that starts it ends.

    Args:
        command: program and arguments.
        request: the signal; SIGTERM lets a program stop its own children in order.
    """
    if not sys.platform.startswith("linux"):
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _FIRST, str(int(request)), str(os.getpid()), *command]


def die_with_parent(request: signal.Signals = signal.SIGTERM) -> None:
    """Ask the kernel to send this process a signal when its parent ends; without effect outside Linux."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(request))


def make_ready() -> None:
    """Find a cache folder that can be written, and raise this process's limit on open files where it is low.

    Raises:
        InputError: the limit cannot be raised enough.
    """
    ensure_cache()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= OPEN_FILES:
        return
    if hard != unlimited and hard < OPEN_FILES:
        raise InputError(
            f"This process may open only {hard} files, and {OPEN_FILES} are needed; raise the limit (ulimit -n 1024)."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))
