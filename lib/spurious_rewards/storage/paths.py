"""Where things are: the project's root, its notebooks, and the folder of runs.

The runs folder is `$SPURIOUS_RUNS_DIR`, else `runs` under the project root. The root is found by walking up from the
working directory to the nearest `pyproject.toml`, so a notebook opened in `notebooks/` finds the runs that
`make reproduce` made.

>>> import os
>>> os.environ["SPURIOUS_RUNS_DIR"] = "/somewhere/runs"
>>> runs_dir().as_posix()
'/somewhere/runs'
>>> del os.environ["SPURIOUS_RUNS_DIR"]
"""

from __future__ import annotations

import os
from pathlib import Path


def project_root(start: str | Path | None = None) -> Path:
    """The nearest folder at or above `start` (default: the working directory) with a `pyproject.toml`, else `start`."""
    here = Path(start or os.getcwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").is_file():
            return folder
    return here


def code_root() -> Path | None:
    """The checkout this package was imported from, or None when there is no `pyproject.toml` above it."""
    root = project_root(Path(__file__).parent)
    return root if (root / "pyproject.toml").is_file() else None


def runs_dir() -> Path:
    """The folder that holds one folder per run (it need not exist yet)."""
    given = os.environ.get("SPURIOUS_RUNS_DIR")
    return Path(given).expanduser().resolve() if given else project_root() / "runs"
