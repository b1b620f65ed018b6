"""Execute one notebook strictly: done means done.

Papermill runs the cells; around it stand the checks it lacks. Before: names and types of the parameters, and a kernel
that is the very Python that runs this. After: a clean exit, no traceback among the printed errors, the completion
marker of the last cell, the declared output files. Only then does the notebook, without its volatile parts, get its
final name. A failed one is kept beside it as `<name>.failed.ipynb`, and an earlier good one stays as it is.

Usage: done = execute("notebooks/02_train_grpo.ipynb", "runs/train.ipynb", {"reward": "random"})
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spurious_rewards.errors import InputError, NotebookError
from spurious_rewards.storage.files import disk_is_full
from spurious_rewards.storage.locks import exclusive
from spurious_rewards.storage.provenance import NOTEBOOK_VARIABLE
from spurious_rewards.workflow.completion import MARKER, find_marker
from spurious_rewards.workflow.parameters import check_parameters, notebook_parameters, source_cells
from spurious_rewards.workflow.processes import bound

if TYPE_CHECKING:
    from nbformat import NotebookNode

START_TIMEOUT_SECONDS = 300
"""A kernel starts in two seconds, but on a machine whose cores are all busy it may take long."""

TRACEBACK = "Traceback (most recent call last):"


@dataclass(frozen=True)
class Executed:
    """Hold a notebook that ran to its end."""

    notebook: str  # file name without suffix
    parameters: dict[str, Any]  # those that were given, checked
    run_ids: list[str]  # as its completion marker names them


def execute(
    notebook: str | Path,
    output: str | Path,
    parameters: Mapping[str, Any] | None = None,
    output_files: Iterable[str | Path] = (),
    verbose: bool = False,
    inherited: Sequence[int] = (),
) -> Executed:
    """Run `notebook` with `parameters`, and write the executed notebook to `output` if all went well.

    Args:
        notebook: the source, with one cell tagged `parameters`, and `completed(<its name>)` in its last code cell.
        output: where the executed notebook goes; a failed one goes to `<output>.failed.ipynb`.
        parameters: values that replace the defaults of the parameters cell.
        output_files: files that must exist afterwards.
        verbose: pass what the notebook prints on to this process's standard output and error.
        inherited: file descriptors that the kernel keeps open, such as the locks of its GPUs.

    Raises:
        InputError: bad parameters (nothing ran), or an `InputError` inside the notebook (its own sentence).
        NotebookError: any other failure.
    """
    notebook, output = Path(notebook), Path(output)
    values = check_parameters(parameters or {}, notebook_parameters(notebook), notebook.name)
    check_source(notebook)
    if output.is_dir():
        raise InputError(f"{output} is a folder; give the executed notebook a file name, as in {output}/out.ipynb.")
    running = output.with_name(f".{output.stem}.running.ipynb")
    try:
        with exclusive(running, f"Output notebook {output}"):
            return _executed(notebook, output, running, values, output_files, verbose, inherited)
    except OSError as error:
        if not disk_is_full(error):
            raise
        raise InputError(
            f"No space left on the disk while running {notebook.name}: free some and run again."
        ) from error


def _executed(
    notebook: Path,
    output: Path,
    running: Path,
    values: dict[str, Any],
    output_files: Iterable[str | Path],
    verbose: bool,
    inherited: Sequence[int],
) -> Executed:
    """Execute into the file `running`, which is locked, check what came out, and give it its final name."""
    # Here and below: importing nbformat and papermill takes two seconds, which the check of a profile does not need.
    from spurious_rewards.workflow.normalise import normalise, write_notebook

    failed = output.with_name(f"{output.stem}.failed.ipynb")
    try:
        problem = _run(notebook, running, values, verbose, inherited)
        executed = _read_if_any(running)
        run_ids = _marker(executed, notebook.stem)
        if problem is None and run_ids is None:
            problem = NotebookError(_no_marker(executed, notebook))
        if problem is None:
            problem = _traceback(executed, notebook)
        missing = [str(path) for path in output_files if not Path(path).exists()]
        if problem is None and missing:
            problem = NotebookError(f"{notebook.name} ran to its end but did not write {', '.join(missing)}")
        if problem is None:
            write_notebook(output, normalise(executed))
            failed.unlink(missing_ok=True)
            return Executed(notebook.stem, values, run_ids)
        if executed is not None:
            os.replace(running, failed)
            if isinstance(problem, NotebookError):
                problem = NotebookError(f"{problem}; look at {failed}, which has all up to the failure.")
        raise problem
    finally:
        running.unlink(missing_ok=True)


def check_source(notebook: str | Path) -> None:
    """Refuse a notebook whose failure could go unnoticed.

    Raises:
        InputError: the last code cell does not call `completed` with the notebook's name, or a cell has a `!command`,
            whose failure would not stop the notebook.
    """
    notebook = Path(notebook)
    cells = [cell["source"] for cell in source_cells(notebook) if cell["cell_type"] == "code"]
    if not cells or not re.search(rf"completed\(\s*[\"']{re.escape(notebook.stem)}[\"']", cells[-1]):
        raise InputError(f"The last code cell of {notebook} must call completed({notebook.stem!r}).")
    for source in cells:
        for line in source.splitlines():
            if re.match(r"\s*(\w+\s*=\s*)?!", line):
                raise InputError(
                    f"{notebook} has `{line.strip()}`, whose failure would go unnoticed; "
                    "use subprocess.run(..., check=True)."
                )


def _run(
    notebook: Path, running: Path, values: dict[str, Any], verbose: bool, inherited: Sequence[int]
) -> Exception | None:
    """Execute with papermill into the file `running`; return what went wrong, or None."""
    from nbclient.exceptions import DeadKernelError
    from papermill import execute_notebook
    from papermill.exceptions import PapermillExecutionError

    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # failures are told in our own sentence
    streams = {"stdout_file": sys.stdout, "stderr_file": sys.stderr} if verbose else {}
    with tempfile.TemporaryDirectory(prefix="kernel-") as folder:
        try:
            execute_notebook(
                notebook, running, values, kernel_name="python3", language="python", progress_bar=False,
                start_timeout=START_TIMEOUT_SECONDS,
                kernel_manager_class=_own_python(Path(folder), notebook.stem, inherited), **streams,
            )  # fmt: skip
        except PapermillExecutionError as error:
            if error.ename == "InputError":
                return InputError(error.evalue)
            first_line = error.evalue.strip().split("\n")[0]
            return NotebookError(f"{notebook.name} failed in cell {error.cell_index} ({error.ename}: {first_line})")
        except DeadKernelError:
            return NotebookError(
                f"The kernel of {notebook.name} died in cell {_running_cell(running)} (killed, or out of memory)"
            )
        except RuntimeError as error:
            if "Kernel died before" not in str(error) and "Kernel didn't respond" not in str(error):
                raise
            return NotebookError(
                f"The kernel of {notebook.name} did not start; look at the limits on open files and memory (ulimit -a) "
                "and at the environment (make doctor)"
            )
        finally:
            if verbose:
                print(file=sys.stderr, flush=True)  # what is said next does not hang on to a progress bar
    return None


def _own_python(folder: Path, name: str, inherited: Sequence[int]) -> type:
    """Return a kernel manager whose kernel is `sys.executable`, whatever kernels are installed for the user.

    Sockets and IPython's own files lie in `folder`: several notebooks started at once cannot take each other's port,
    and start-up files of the user do not run. The kernel ends when this process does, and it checks its assertions
    even if this Python was told to leave them out.
    """
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    kernel = ["-m", "ipykernel_launcher", "-f", "{connection_file}", "--HistoryManager.enabled=False"]
    quiet = "--log-level=CRITICAL"  # what the kernel itself logs is noise about its shutdown
    spec = KernelSpec(
        argv=bound([sys.executable, *kernel, quiet]), display_name="Python 3", language="python", name="python3",
        metadata={"debugger": False},
        env={
            NOTEBOOK_VARIABLE: name, "IPYTHONDIR": str(folder / "ipython"), "PYTHONOPTIMIZE": "", "PYTHONUTF8": "1",
        },
    )  # fmt: skip

    class OwnPythonManager(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return spec

        def __init__(self, **options: Any):
            super().__init__(**{**options, "transport": "ipc", "connection_file": str(folder / "kernel.json")})

        async def _async_launch_kernel(self, kernel_cmd: list[str], **options: Any) -> None:
            await super()._async_launch_kernel(kernel_cmd, **options, pass_fds=tuple(inherited))

    return OwnPythonManager


def _read_if_any(running: Path) -> NotebookNode | None:
    """Return the notebook as far as it ran, or None if it failed before papermill wrote a whole one."""
    import nbformat

    try:
        return nbformat.read(running, as_version=4)
    except ValueError:  # empty, or cut off by a full disk
        return None


def _running_cell(running: Path) -> str:
    """Return the index of the cell during which the kernel died, as papermill's metadata tells it."""
    cells = source_cells(running)
    started = [index for index, cell in enumerate(cells) if cell["metadata"].get("papermill", {}).get("start_time")]
    return str(started[-1]) if started else "0"


def _marker(executed: NotebookNode | None, name: str) -> list[str] | None:
    """Return the run ids in the completion marker that the last code cell printed; None without one."""
    codes = [cell for cell in executed.cells if cell.cell_type == "code"] if executed else []
    if not codes:
        return None
    printed = "".join(output.text for output in codes[-1].outputs if output.output_type == "stream")
    return find_marker(printed, name)


def _traceback(executed: NotebookNode, notebook: Path) -> NotebookError | None:
    """Return the error for a traceback that a library printed and went on, so that the cell did not fail; else None."""
    for index, cell in enumerate(executed.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr" and TRACEBACK in output.text:
                told = output.text.partition(TRACEBACK)[2].strip().splitlines()
                cause = next((line for line in told[1:] if line and not line[0].isspace()), "no message")
                return NotebookError(f"{notebook.name} went on after an error in cell {index} ({cause})")
    return None


def _no_marker(executed: NotebookNode | None, notebook: Path) -> str:
    for index, cell in enumerate(executed.cells if executed else []):
        for output in cell.get("outputs", []):
            if output.output_type == "error" and output.ename == "SystemExit":
                return f"{notebook.name} called sys.exit in cell {index} and skipped the rest"
    return f"{notebook.name} ended without the line '{MARKER} {notebook.stem}' that its last cell prints"
