"""The project's own notebooks, profiles and Makefile."""

import os
import subprocess

import pytest

from spurious_rewards.storage.paths import code_root
from spurious_rewards.workflow.notebook import check_source
from spurious_rewards.workflow.parameters import notebook_parameters, source_cells
from spurious_rewards.workflow.profiles import load_profile

ROOT = code_root()
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROFILES = sorted((ROOT / "profiles").glob("*.yaml"))


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_notebooks_are_committed_without_outputs():
    cells = [cell for path in NOTEBOOKS for cell in source_cells(path)]
    assert cells and not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_parameters_and_a_marker(path):
    assert notebook_parameters(path)
    check_source(path)


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_profile_fits_its_notebooks_and_configurations(path):
    assert load_profile(path.stem).jobs


def test_make_says_what_it_offers_and_what_is_missing(tmp_path):
    done = subprocess.run(["make", "help"], capture_output=True, text=True, check=True)
    assert "make reproduce" in done.stdout and "micro" in done.stdout
    arguments = ["make", "setup", f"VENV={tmp_path / 'venv'}", "PYTHON="]
    # without the variables that `make test` itself was called with
    clean = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKEOVERRIDES", "PY")}
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=clean)
    assert done.returncode == 2 and done.stderr.startswith("Python 3.11, 3.12 or 3.13 is needed and not found; ")
