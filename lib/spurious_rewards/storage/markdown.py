"""Write tables as Markdown.

>>> print(pipe_table(["a", "b|c"], [[1, "x\\n y"]]), end="")
| a | b\\|c |
| --- | --- |
| 1 | x y |
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def pipe_table(heads: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Write a Markdown pipe table, one line per row; white space in a cell is folded and `|` escaped."""
    lines = []
    for row in (heads, ["---"] * len(heads), *rows):
        cells = (re.sub(r"\s+", " ", str(value)).replace("|", "\\|") for value in row)
        lines.append(f"| {' | '.join(cells)} |\n")
    return "".join(lines)
