"""Define the errors that a user of this project may have to read.

Bad input ends with an `InputError`: a sentence that names the cause and the fix. Programs print the sentence without
a traceback and exit with code 2; notebooks show the sentence alone.

>>> raise unknown_name("reward", "randon", ["random", "format"])
Traceback (most recent call last):
    ...
spurious_rewards.errors.InputError: Unknown reward 'randon' (did you mean 'random'?); known: format, random.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable

# C0 but newline and tab, DEL, C1, and what reverses the order of letters.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: object) -> str:
    """Replace a text's control characters by visible escapes, so that a terminal obeys none; newline and tab stay.

    >>> print(printable("a right\\x1b[2Janswer\\r"))
    a right\\x1b[2Janswer\\r
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


class InputError(ValueError):
    """What the user gave cannot work; the message says why and what to do instead, and holds no control characters."""

    def __init__(self, message: object = ""):
        super().__init__(printable(message))

    def _render_traceback_(self) -> list[str]:
        """Show the sentence alone where IPython would show a traceback.

        >>> InputError("No such model.")._render_traceback_()
        ['No such model.']
        """
        return [str(self)]


class LockedError(InputError):
    """Another process holds what this one needs; the message names it."""


class NotebookError(Exception):
    """A notebook failed for a reason other than bad input; the message says where and where to look."""

    def __init__(self, message: object = ""):
        super().__init__(printable(message))


def unknown_name(kind: str, name: object, known: Iterable[str]) -> InputError:
    """Build (not raise) the error for a name that is not in a closed set, with the nearest known name as a hint."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return InputError(f"Unknown {kind} {name!r}{hint}; known: {', '.join(names)}.")


def check_name(kind: str, name: object, known: Collection[str]) -> None:
    """Raise `InputError` unless a name is in a closed set.

    >>> check_name("reward", "random", ["random", "format"])
    """
    if name not in known:
        raise unknown_name(kind, name, known)
