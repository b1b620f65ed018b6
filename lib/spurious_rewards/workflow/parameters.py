"""Read what a notebook can be given, its `parameters` cell, without executing anything.

The cell holds only lines `name: type = literal` with type str, int, float or bool. Papermill alone would take a
misspelt name for a warning; here names and types are checked before anything runs.

>>> cell = parse_parameters("seed: int = 0  # of the draws\\ngamma: float = 0.5", "demo")
>>> check_parameters({"gamma": 1}, cell, "demo")
{'gamma': 1.0}
>>> check_parameters({"gama": 1}, cell, "demo")
Traceback (most recent call last):
    ...
spurious_rewards.errors.InputError: Unknown parameter of demo 'gama' (did you mean 'gamma'?); known: gamma, seed.
>>> from_text({"seed": "3"}, cell, "demo")
{'seed': 3}
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spurious_rewards.errors import InputError, check_name
from spurious_rewards.storage.config import checked

KINDS: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}

Defaults = dict[str, Any]
"""Default value of each parameter, in the order of the cell; the value's type is the parameter's type."""


def source_cells(path: str | Path) -> list[dict[str, Any]]:
    """Read the cells of a notebook file as they are in its JSON, except that `source` is one string.

    Read as plain JSON: importing nbformat takes longer than planning all jobs of a profile.

    Raises:
        InputError: the file is missing or no notebook.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no notebook {path}; give the path of an existing .ipynb file.")
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return [{"metadata": {}, **cell, "source": "".join(cell["source"])} for cell in cells]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a readable notebook; restore it from git.") from error


def source_digest(path: str | Path) -> str:
    """Compute the SHA-256 of a notebook's source: types, texts and tags of its cells, and nothing else of them."""
    cells = [[cell["cell_type"], cell["source"], cell["metadata"].get("tags", [])] for cell in source_cells(path)]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def notebook_parameters(path: str | Path) -> Defaults:
    """Read names and defaults of a notebook's parameters.

    Raises:
        InputError: there is not exactly one cell tagged `parameters`, or it holds anything but parameter lines.
    """
    cells = [cell for cell in source_cells(path) if "parameters" in cell["metadata"].get("tags", [])]
    if len(cells) != 1:
        raise InputError(f"{path} must have exactly one cell tagged 'parameters', but it has {len(cells)}.")
    return parse_parameters(cells[0]["source"], Path(path).name)


def parse_parameters(source: str, name: str) -> Defaults:
    """Read names and defaults in the source of a `parameters` cell.

    Raises:
        InputError: a line is not `name: type = literal`, or repeats a name; the sentence names the line.
    """
    where = f"{name}, parameters cell"
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise InputError(f"{where}, line {error.lineno}: this is not Python ({error.msg}).") from error
    lines = source.splitlines()
    found: Defaults = {}
    for statement in statements:
        place = f"{where}, line {statement.lineno}: `{lines[statement.lineno - 1].strip()}`"
        match statement:
            case ast.AnnAssign(target=ast.Name(id=key), annotation=ast.Name(id=kind), value=ast.expr() as value) if (
                kind in KINDS
            ):
                pass
            case _:
                raise InputError(f"{place} is not `name: type = literal` with type {', '.join(KINDS)}.")
        if "=" in lines[(statement.end_lineno or 1) - 1][statement.end_col_offset or 0 :]:
            raise InputError(f"{place} has an = in its comment, which papermill cannot read; reword it.")
        if key in found:
            raise InputError(f"{place} repeats the parameter {key}; keep one of the two lines.")
        try:
            found[key] = checked(key, ast.literal_eval(value), KINDS[kind])
        except InputError as error:
            raise InputError(f"{place}: {error}") from error
        except ValueError as error:
            raise InputError(f"{place} has a value that is not a literal; write the value itself.") from error
    return found


def check_parameters(given: Mapping[str, Any], defaults: Defaults, name: str) -> dict[str, Any]:
    """Check each value of `given` against the type of its default (an int passes for a float).

    Raises:
        InputError: a name is unknown or a value has another type.
    """
    values = {}
    for key, value in given.items():
        check_name(f"parameter of {name}", key, defaults)
        try:
            values[key] = checked(key, value, type(defaults[key]))
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
    return values


def from_text(given: Mapping[str, str], defaults: Defaults, name: str) -> dict[str, Any]:
    """Read values from a command line as the type of each parameter.

    Raises:
        InputError: a name is unknown or a text cannot be read as the parameter's type.
    """
    values = {}
    for key, text in given.items():
        check_name(f"parameter of {name}", key, defaults)
        kind = type(defaults[key])
        try:
            values[key] = {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
        except (ValueError, KeyError):
            known = "true or false" if kind is bool else kind.__name__
            raise InputError(f"Parameter {key} of {name} must be {known}, but {text!r} was given.") from None
    return check_parameters(values, defaults, name)
