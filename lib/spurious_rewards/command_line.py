"""Run a program of this package: its function's parameters as arguments, and an exit code at the end.

Exit code 0: done; 2: bad input (the sentence names cause and fix); 1: a notebook failed (it says where); 130:
interrupted.

Usage: `main = command(plan_profile)`, then `sys.exit(main())` where the module is run.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import io
import os
import re
import signal
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO, Union, get_args, get_origin, get_type_hints

from spurious_rewards.errors import InputError, NotebookError, printable

Main = Callable[..., int]


def command(program: Callable[..., None], **subcommands: Callable[..., None]) -> Main:
    """Make the `main` of a program from a function, or from one function for each subcommand.

    Parameters before `/` (or `*names`) are the command line's words in order; all others are options, `--max-pairs` for
    `max_pairs` and `--all` for `all_`. A `bool` is a flag, a list takes several values. The docstring is the help.

    Args:
        program: does the work; with subcommands, a function of no arguments that runs before any of them.
        subcommands: name, with `_` for `-`, and function.

    Returns:
        A function of the list of arguments (default: the command line's) that returns the exit code.
    """

    def main(arguments: Sequence[str] | None = None) -> int:
        parser = _parser(program, subcommands)
        options = vars(parser.parse_args(arguments))
        chosen = subcommands.get(options.pop("subcommand", "").replace("-", "_"))
        if chosen is None:
            return exit_code(lambda: _call(program, options))
        return exit_code(lambda: (program(), _call(chosen, options))[0])

    return main


def _call(program: Callable[..., None], options: dict[str, Any]) -> None:
    """Call a function with what the command line said; what it did not say keeps the function's default."""
    words: list[Any] = []
    for name, parameter in inspect.signature(program).parameters.items():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL) and name in options:
            value = options.pop(name)
            words += value if parameter.kind == parameter.VAR_POSITIONAL else [value]
    program(*words, **options)


def _parser(program: Callable[..., None], subcommands: Mapping[str, Callable[..., None]]) -> argparse.ArgumentParser:
    module = inspect.getmodule(program)
    spec = getattr(module, "__spec__", None)
    settings = {"formatter_class": argparse.RawDescriptionHelpFormatter, "argument_default": argparse.SUPPRESS}
    name = f"python -m {spec.name.removesuffix('.__main__')}" if spec else None
    top = argparse.ArgumentParser(prog=name, description=_help(program)[0], **settings)
    if subcommands:
        several = top.add_subparsers(dest="subcommand", required=True)
        for one, function in subcommands.items():
            text, _ = _help(function)
            made = several.add_parser(one.replace("_", "-"), description=text, help=text.partition("\n")[0], **settings)
            _add(made, function)
    else:
        _add(top, program)
    return top


def _help(program: Callable[..., None]) -> tuple[str, dict[str, str]]:
    """Split a docstring into its text and what its `Args` say of each parameter."""
    text, _, rest = (inspect.getdoc(program) or "").partition("\nArgs:\n")
    notes = re.findall(r"^    (\w+): ((?:.|\n     +)*)", rest.partition("\n\n")[0] + "\n", re.MULTILINE)
    return text.strip(), {name: re.sub(r"\s+", " ", note).strip() for name, note in notes}


def _add(parser: argparse.ArgumentParser, program: Callable[..., None]) -> None:
    """Add the parameters of a function to a parser."""
    hints, notes = get_type_hints(program), _help(program)[1]
    for name, parameter in inspect.signature(program).parameters.items():
        kind, default = hints.get(name, type(parameter.default)), parameter.default
        if get_origin(kind) in (Union, types.UnionType):
            kind = next(one for one in get_args(kind) if one is not type(None))
        note = notes.get(name, "").replace("%", "%%")
        given = {"help": note + (f" (default: {default})" if default not in (None, "", False, parameter.empty) else "")}
        flag = f"--{name.strip('_').replace('_', '-')}"
        if parameter.kind == parameter.VAR_POSITIONAL:
            parser.add_argument(name, nargs="*", type=kind, default=[], help=note)
        elif parameter.kind == parameter.POSITIONAL_ONLY:
            parser.add_argument(name, nargs="?" if default is not parameter.empty else None, type=kind, **given)
        elif kind is bool:
            parser.add_argument(flag, dest=name, action="store_true", help=note)
        elif get_origin(kind) is list:
            parser.add_argument(flag, dest=name, nargs="+", action="extend", type=get_args(kind)[0], **given)
        else:
            parser.add_argument(flag, dest=name, type=kind, required=default is parameter.empty, **given)


def exit_code(program: Callable[[], None]) -> int:
    """Run a program of this package and turn its outcome into an exit code, with one sentence on standard error.

    A termination request (SIGTERM, from a scheduler or `kill`) is taken like Ctrl-C, so that kernels are shut down.
    Control characters of what the program prints, such as those of a model's answer, become visible escapes.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _use_utf8()
    try:
        with contextlib.redirect_stdout(_Escaping(sys.stdout)):
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


class _Escaping:
    """Write text to a stream with its control characters as visible escapes."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(printable(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _use_utf8() -> None:
    """Read and write UTF-8 here and in every Python started from here, whatever the locale says (LANG=C, say)."""
    os.environ["PYTHONUTF8"] = "1"
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower().replace("-", "") != "utf8":
            # A path read before has its bytes as surrogates: they are written as they were.
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
