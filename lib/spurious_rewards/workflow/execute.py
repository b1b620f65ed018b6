"""Execute one notebook strictly, from the command line.

Usage: python -m spurious_rewards.workflow.execute notebooks/02_train_grpo.ipynb out.ipynb -p reward random -p seed 1

Exit code 0: done; 2: bad input (one sentence says what); 1: the notebook failed (one sentence says where);
130: interrupted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from spurious_rewards.command_line import exit_code
from spurious_rewards.errors import InputError
from spurious_rewards.storage.files import read_text
from spurious_rewards.storage.yaml_text import read_mapping
from spurious_rewards.workflow.notebook import execute
from spurious_rewards.workflow.parameters import check_parameters, from_text, notebook_parameters
from spurious_rewards.workflow.processes import make_ready


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, execute, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m spurious_rewards.workflow.execute", description="Execute one notebook strictly."
    )
    parser.add_argument("notebook", type=Path)
    parser.add_argument("output", type=Path, help="where the executed notebook goes")
    parser.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    parser.add_argument("-y", "--yaml", default="{}", help="parameters as a YAML or JSON mapping")
    parser.add_argument("--params-file", type=Path, help="parameters in a YAML or JSON file")
    parser.add_argument("--output-file", action="append", default=[], help="file that must exist afterwards")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what the notebook prints")
    options = parser.parse_args(arguments)

    def run() -> None:
        name, defaults = options.notebook.name, notebook_parameters(options.notebook)
        values = _mapping(options.params_file) if options.params_file else {}
        values = {**values, **read_mapping(options.yaml, "the text given with -y")}
        values = check_parameters(values, defaults, name)
        values |= from_text(dict(options.parameter), defaults, name)
        make_ready()
        execute(options.notebook, options.output, values, options.output_file, options.verbose)

    return exit_code(run)


def _mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"There is no parameter file {path}.")
    return read_mapping(read_text(path), str(path))


if __name__ == "__main__":
    sys.exit(main())
