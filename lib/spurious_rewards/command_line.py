"""Run a program of this package: an exit code at the end, and one sentence on standard error where something is wrong.

Exit code 0: done; 2: bad input (the sentence names cause and fix); 1: a notebook failed (it says where); 130:
interrupted.

Usage: `return exit_code(program)` at the end of a `main`, with `program` a function of no arguments.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable

from spurious_rewards.errors import InputError, NotebookError


def exit_code(program: Callable[[], None]) -> int:
    """Run a program of this package and turn its outcome into an exit code, with one sentence on standard error.

    A termination request (SIGTERM, from a scheduler or `kill`) is taken like Ctrl-C, so that kernels are shut down.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _use_utf8()
    try:
        program()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left to write goes nowhere
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except NotebookError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    return 0


def _use_utf8() -> None:
    """Read and write UTF-8 here and in every Python started from here, whatever the locale says (LANG=C, say)."""
    os.environ["PYTHONUTF8"] = "1"
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower().replace("-", "") != "utf8":
            # A path read before has its bytes as surrogates: they are written as they were.
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
