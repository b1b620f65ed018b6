"""Find the project's root, its notebooks, the folder of runs, and a cache folder that can be written.

The runs folder is `$SPURIOUS_RUNS_DIR`, else `runs` under the project root. The root is found by walking up from the
working directory to the nearest `pyproject.toml`, so a notebook opened in `notebooks/` finds the runs that
`make reproduce` made; from any other folder it is the checkout that this code was imported from.

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
    """Find the nearest folder at or above `start` (default: the working directory) with a `pyproject.toml`.

    Without one it is the checkout of this code, and without that `start` itself.
    """
    here = Path(start or os.getcwd()).resolve()
    return _above(here) or code_root() or here


def code_root() -> Path | None:
    """Find the checkout this package was imported from; None when there is no `pyproject.toml` above it."""
    return _above(Path(__file__).resolve().parent)


def _above(here: Path) -> Path | None:
    return next((folder for folder in (here, *here.parents) if (folder / "pyproject.toml").is_file()), None)


def runs_dir() -> Path:
    """Find the folder that holds one folder per run (it need not exist yet)."""
    given = os.environ.get("SPURIOUS_RUNS_DIR")
    return Path(given).expanduser().resolve() if given else project_root() / "runs"


def ensure_cache() -> None:
    """Point XDG_CACHE_HOME to a folder beside the runs if the usual cache folder cannot be written.

    Snakemake and the Hugging Face libraries keep files under `~/.cache` and stop where HOME is missing or read-only.
    """
    if os.environ.get("XDG_CACHE_HOME"):
        return
    try:
        usual = Path("~/.cache").expanduser()
        usual.mkdir(parents=True, exist_ok=True)
        usable = os.access(usual, os.W_OK)
    except (OSError, RuntimeError):  # RuntimeError: there is no home at all
        usable = False
    if not usable:
        os.environ["XDG_CACHE_HOME"] = str(runs_dir() / ".cache")
