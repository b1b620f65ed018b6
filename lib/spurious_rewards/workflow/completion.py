"""Mark that a notebook ran to its end, by a line that its last code cell prints.

`papermill` takes a notebook that calls `sys.exit(0)` half-way for a success; the marker does not.

>>> completed("01_prepare_data")
NOTEBOOK COMPLETE 01_prepare_data
>>> find_marker("x\\nNOTEBOOK COMPLETE 02_train_grpo runs: a-seed0, b-seed1\\n", "02_train_grpo")
['a-seed0', 'b-seed1']
>>> find_marker("x\\n", "02_train_grpo") is None
True
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from spurious_rewards.storage.runs import RunFolder

MARKER = "NOTEBOOK COMPLETE"


def completed(name: str, run_id: str = "", run_ids: Iterable[str] = ()) -> None:
    """Print the completion marker; call it in the last code cell and nowhere else.

    Args:
        name: the notebook's file name without suffix.
        run_id: the run that the notebook made or found, if there is one.
        run_ids: the same, for several.

    Raises:
        InputError: one of the runs does not exist or has no manifest, so the notebook is not complete.
    """
    ids = [*([run_id] if run_id else []), *run_ids]
    for one in ids:
        RunFolder.load(one).manifest()
    print(f"{MARKER} {name}" + (f" runs: {', '.join(ids)}" if ids else ""))


def find_marker(text: str, name: str) -> list[str] | None:
    """Find the run ids of the marker of notebook `name` in a cell's printed output; None if there is no marker."""
    found = re.search(rf"^{MARKER} {re.escape(name)}(?: runs: (.+))?$", text, flags=re.MULTILINE)
    if found is None:
        return None
    return found[1].split(", ") if found[1] else []
