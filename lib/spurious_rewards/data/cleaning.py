"""Clean the training set: remove duplicates, contradictory labels and benchmark leaks, and count each step.

1. Duplicates: statements that are equal but for white space; the first of each group stays.
2. Contradictory groups: duplicates whose answers differ are dropped altogether, since no label can be trusted.
   Answers differ if neither their spelling nor their exact rational value agrees (`normalize.answer_key`).
3. and 4. The same two steps for statements that are equal but for markup (`normalize.markup_key`).
5. Leaks: problems that contain a benchmark problem, found by the contamination audit.
6. Reworded leaks: problems that state a benchmark problem in other words, found by the same audit.

>>> raw = [Problem("a", "1 + 1?", "2", "demo"), Problem("b", "1  + 1?", "2.0", "demo"), Problem("c", "2?", "1", "demo")]
>>> kept, report = clean(raw, benchmarks={})
>>> [p.id for p in kept], report.frame()["removed"].tolist()
(['a', 'c'], [0, 1, 0, 0, 0, 0, 0])

Usage: ``train, report = clean(load("deepscaler"), {"math500": load("math500")}); print(report.frame())``
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spurious_rewards.data.contamination import Pair, leaks
from spurious_rewards.data.normalize import answer_key, markup_key, space_key
from spurious_rewards.data.problem import Problem

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Step:
    """Hold one step: what it removes, how many problems it removed and left, and how many groups it saw."""

    name: str
    what: str
    removed: int
    left: int
    groups: int | None = None


@dataclass(frozen=True)
class CleaningReport:
    """Hold what `clean` did; `leaked` lists the pairs behind the two leak steps, per benchmark."""

    rows_before: int
    steps: tuple[Step, ...]
    leaked: dict[str, tuple[Pair, ...]] = field(default_factory=dict)

    def leaked_ids(self, benchmark: str, reworded: bool = False) -> list[str]:
        """List the benchmark problems that the training set contained (or, if `reworded`, stated in other words)."""
        chosen = (pair for pair in self.leaked.get(benchmark, ()) if (pair.level == "reworded") == reworded)
        return sorted({pair.benchmark_id for pair in chosen})

    def frame(self) -> pd.DataFrame:
        """Return one row per step: step, what, removed, left, groups."""
        import pandas as pd

        start = {"step": "raw", "what": "as loaded", "removed": 0, "left": self.rows_before, "groups": None}
        steps = [{"step": s.name, "what": s.what, "removed": s.removed, "left": s.left, "groups": s.groups}
                 for s in self.steps]  # fmt: skip
        return pd.DataFrame([start, *steps]).astype({"groups": "Int64"})


def clean(
    problems: Sequence[Problem], benchmarks: Mapping[str, Sequence[Problem]]
) -> tuple[list[Problem], CleaningReport]:
    """Remove duplicates, contradictory labels and benchmark leaks.

    Args:
        problems: the raw training set; the order is kept, and of duplicates the first stays.
        benchmarks: benchmark name → problems that must not be in the training set.

    Returns:
        The cleaned training set and the report.
    """
    steps: list[Step] = []
    kept = list(problems)
    for key, prefix, but_for in ((space_key, "", "white space"), (markup_key, "markup ", "markup")):
        groups = _groups(kept, key)
        repeated = [group for group in groups if len(group) > 1]
        contradictory = {id(group[0]) for group in repeated if len({answer_key(p.answer) for p in group}) > 1}
        kept = [group[0] for group in groups]
        surplus = sum(len(group) - 1 for group in repeated)
        steps.append(Step(f"{prefix}duplicates", f"surplus rows of problems equal but for {but_for}", surplus,
                          len(kept), len(repeated)))  # fmt: skip
        kept = [problem for problem in kept if id(problem) not in contradictory]
        steps.append(Step(f"{prefix}contradictory", "what is left of duplicate groups with contradictory answers",
                          len(contradictory), len(kept), len(contradictory)))  # fmt: skip
    leaked = leaks(kept, benchmarks)
    for name, what, reworded in (
        ("leaks", "problems that contain a benchmark problem", False),
        ("reworded leaks", "problems that state a benchmark problem in other words", True),
    ):
        ids = {p.train_id for found in leaked.values() for p in found if (p.level == "reworded") == reworded}
        before = len(kept)
        kept = [problem for problem in kept if problem.id not in ids]
        steps.append(Step(name, what, before - len(kept), len(kept)))
    return kept, CleaningReport(len(problems), tuple(steps), {name: tuple(found) for name, found in leaked.items()})


def _groups(problems: Sequence[Problem], key: Callable[[str], str]) -> list[list[Problem]]:
    """Return the problems with equal keys, groups in the order of their first member."""
    groups: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        groups[key(problem.problem)].append(problem)
    return list(groups.values())
