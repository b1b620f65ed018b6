"""Remove what changes from run to run, so that a git diff of a notebook shows only changed results.

`normalise` drops what changes from one execution to the next (papermill's metadata, times, random cell ids, progress
bars, memory addresses, the place of the checkout) and what is not worth keeping in git: of the outputs it keeps text,
LaTeX, PNG, plotly's JSON, and HTML up to 50 kB without scripts (tables of a data frame, say).

>>> last_state("training: 10%|#   | 1/10 [00:01<00:09]\\rtraining: 100%|####| 10/10 [00:10<00:00]\\ndone\\n")
'done\\n'

Usage: python -m spurious_rewards.workflow.normalise notebooks/*.ipynb    # removes the outputs of sources in place
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from spurious_rewards.command_line import command
from spurious_rewards.storage.files import atomic_path
from spurious_rewards.storage.paths import code_root, project_root, runs_dir

KEPT = (
    "text/plain", "text/markdown", "text/latex", "text/html", "image/png", "application/vnd.plotly.v1+json",
)  # fmt: skip
HTML_LIMIT_BYTES = 50_000
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PROGRESS_BAR = re.compile(r"\d+%\|.*\|\s*\d+/\d+")
_CELL_FILE = re.compile(r"/\S*/ipykernel_\d+/\d+\.py")
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Remove the volatile parts of an executed notebook, so that equal executions give equal notebooks.

    Paths below the project's root become relative to it, and the place of the Python environment is left out.

    Args:
        notebook: as papermill wrote it; it is changed in place and returned.
    """
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index:02d}"
        cell.metadata = nbformat.from_dict({"tags": tags} if (tags := cell.metadata.get("tags")) else {})
        if cell.cell_type == "code":
            cell.outputs = [kept for output in _merged(cell.outputs) if (kept := _cleaned(output)) is not None]
    return notebook


def source_only(notebook: NotebookNode) -> NotebookNode:
    """Make a source notebook as it is committed: no outputs, no counts, stable ids, no metadata but tags."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return normalise(notebook)


def last_state(text: str) -> str:
    """Keep of printed text what a terminal shows in the end, without colours and progress bars."""
    lines = []
    for line in _COLOURS.sub("", text).replace("\r\n", "\n").split("\n"):
        shown = ""
        for state in line.split("\r"):
            shown = state + shown[len(state) :]  # a shorter state leaves the end of a longer one standing
        if not _PROGRESS_BAR.search(shown):
            lines.append(shown.rstrip() if "\r" in line else line)
    return "\n".join(lines)


def _merged(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join neighbouring streams to one stdout and one stderr: how they interleave differs between equal runs."""
    merged: list[NotebookNode] = []
    streams: dict[str, NotebookNode] = {}
    for output in outputs:
        if output.output_type != "stream":
            streams = {}
            merged.append(output)
        elif output.name in streams:
            streams[output.name].text += output.text
        else:
            streams[output.name] = output
            merged.append(output)
            if set(streams) == {"stdout", "stderr"}:
                merged[-2:] = [streams["stdout"], streams["stderr"]]
    return merged


def _cleaned(output: NotebookNode) -> NotebookNode | None:
    """Return the output without volatile text and unwanted types; None if nothing is left."""
    if output.output_type == "stream":
        output.text = _stable(last_state(output.text))
        return output if output.text.strip() else None
    if output.output_type == "error":
        output.evalue = _stable(output.evalue)
        output.traceback = [_stable(_COLOURS.sub("", line)) for line in output.traceback]
        return output
    data: dict[str, Any] = {key: output.data[key] for key in KEPT if key in output.data}
    html = data.get("text/html", "")
    if len(html.encode()) > HTML_LIMIT_BYTES or "<script" in html or "<progress" in html:
        del data["text/html"]
        if data.get("text/plain", "").startswith("<IPython.core.display."):  # says nothing without its HTML
            del data["text/plain"]
    if not data:
        return None
    output.data = nbformat.from_dict(
        {key: _stable(value) if key.startswith("text/") else value for key, value in data.items()}
    )
    output.metadata = nbformat.from_dict({key: value for key, value in output.metadata.items() if key in data})
    return output


def _stable(text: str) -> str:
    """Remove the place of the checkout and of Python, the kernel's process id, and memory addresses from a text."""
    places = ((runs_dir(), "runs"), (project_root(), "."), (code_root(), "."), (Path(sys.prefix), "<python>"))
    for folder, name in places:
        if folder is not None and folder != Path(folder.anchor):
            text = text.replace(f"{folder}/", "" if name == "." else f"{name}/").replace(str(folder), name)
    return _ADDRESS.sub("0x…", _CELL_FILE.sub("<cell>", text))


def write_notebook(target: str | Path, notebook: NotebookNode) -> None:
    """Write a notebook file atomically."""
    with atomic_path(target) as path:
        nbformat.write(notebook, path)


def clear(*paths: str) -> None:
    """Remove the outputs of source notebooks, in place.

    Args:
        paths: of the notebooks.
    """
    for path in paths:
        write_notebook(path, source_only(nbformat.read(path, as_version=4)))


main = command(clear)


if __name__ == "__main__":
    main(sys.argv[1:])
