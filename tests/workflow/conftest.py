"""Tiny notebooks and tiny projects, built for a test."""

from pathlib import Path

import nbformat
import pytest

PARAMETERS = "seed: int = 0  # of nothing\nname: str = 'a'"


def build_notebook(path: Path, *cells: str, parameters: str = PARAMETERS, marker: str | None = None) -> Path:
    """A notebook with a parameters cell, the given code cells, and a last cell that prints the completion marker."""
    marker = f"completed({path.stem!r})" if marker is None else marker
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_markdown_cell("# A toy"),
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        *(nbformat.v4.new_code_cell(cell) for cell in cells),
        nbformat.v4.new_code_cell(f"from spurious_rewards.workflow.completion import completed\n{marker}"),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def notebook(project):
    """Builds a notebook under `notebooks/` of the project: name, code cells, and options of `build_notebook`."""
    return lambda name, *cells, **options: build_notebook(project / "notebooks" / f"{name}.ipynb", *cells, **options)
