"""Audit contamination: find the benchmark problems that a training set contains, and say how literally.

Every benchmark problem gets the strongest of these levels that any training problem reaches with it:

exact       the statements are equal, character by character
normalised  they are equal but for markup (`normalize.markup_key`)
contained   every 13-gram of the benchmark problem's tokens occurs in the training problem, which may say more
reworded    they share a 13-gram, all numbers and the answer: the same problem in other words
overlap     they share a 13-gram and nothing else: a common phrase ("where m and n are relatively prime positive …")

The first four are leaks (`LEAKS`). Levels that use 13-grams cannot see problems of fewer than 13 tokens; the summary
counts those in `too_short`.

>>> train = [Problem("t", "Find $x^{2}$ if $x=3$.", "9", "demo")]
>>> pairs(train, [Problem("b", "Find \\\\(x^2\\\\) if \\\\(x = 3\\\\)", "9", "demo")])
[Pair(train_id='t', benchmark_id='b', level='normalised', coverage=None)]

Usage: ``audit({"deepscaler": deepscaler}, {"math500": math500})``
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from spurious_rewards.data.normalize import answer_key, markup_key, numbers, tokens
from spurious_rewards.data.problem import Problem

if TYPE_CHECKING:
    import pandas as pd

NGRAM = 13  # the window of the GPT-3 and PaLM audits
LEVELS = ("exact", "normalised", "contained", "reworded", "overlap")
LEAKS = LEVELS[:4]

Gram = tuple[str, ...]


class Pair(NamedTuple):
    """Hold a training problem and a benchmark problem that have something in common.

    `coverage` is the share of the benchmark problem's 13-grams that the training problem holds; None for a problem of
    fewer than 13 tokens.
    """

    train_id: str
    benchmark_id: str
    level: str
    coverage: float | None


def pairs(train: Iterable[Problem], benchmark: Sequence[Problem]) -> list[Pair]:
    """Return the pairs of a training and a benchmark problem that reach a level, in the order of the training set."""
    return pairs_by_benchmark(train, {"": benchmark})[""]


def pairs_by_benchmark(train: Iterable[Problem], benchmarks: Mapping[str, Sequence[Problem]]) -> dict[str, list[Pair]]:
    """Find the `pairs` with several benchmarks in one pass over the training set.

    Time is linear in the text of the training set, whatever the number of benchmarks.
    """
    targets = [(name, problem) for name, problems in benchmarks.items() for problem in problems]
    exact: dict[str, set[int]] = defaultdict(set)
    normalised: dict[str, set[int]] = defaultdict(set)
    index: dict[Gram, list[int]] = defaultdict(list)
    sizes: list[int] = []
    for position, (_, problem) in enumerate(targets):
        exact[problem.problem].add(position)
        normalised[markup_key(problem.problem)].add(position)
        grams = _grams(problem.problem)
        sizes.append(len(grams))
        for gram in grams:
            index[gram].append(position)
    found: dict[str, list[Pair]] = {name: [] for name in benchmarks}
    for problem in train:
        same_text = exact.get(problem.problem, set())
        same_statement = normalised.get(markup_key(problem.problem), set())
        shared = Counter(position for gram in _grams(problem.problem) for position in index.get(gram, ()))
        for position in sorted(same_text | same_statement | shared.keys()):
            name, target = targets[position]
            coverage = shared[position] / sizes[position] if sizes[position] else None
            if position in same_text:
                level = "exact"
            elif position in same_statement:
                level = "normalised"
            elif coverage == 1.0:
                level = "contained"
            elif _same_numbers_and_answer(problem, target):
                level = "reworded"
            else:
                level = "overlap"
            found[name].append(Pair(problem.id, target.id, level, coverage))
    return found


def leaks(train: Iterable[Problem], benchmarks: Mapping[str, Sequence[Problem]]) -> dict[str, list[Pair]]:
    """Return the pairs of each benchmark whose level is a leak."""
    found = pairs_by_benchmark(train, benchmarks)
    return {name: [pair for pair in found[name] if pair.level in LEAKS] for name in benchmarks}


def audit(trainings: Mapping[str, Sequence[Problem]], benchmarks: Mapping[str, Sequence[Problem]]) -> pd.DataFrame:
    """Return the table of every training set against every benchmark.

    Returns:
        One row per (training set, benchmark): sizes, the number of benchmark problems per level (each counted once, at
        its strongest level), their leaks together, the number too short for 13-grams, and the ids of the leaked
        benchmark problems and of the training problems that leak them, separated by blanks.
    """
    import pandas as pd

    rows = []
    for training_name, train in trainings.items():
        by_benchmark = pairs_by_benchmark(train, benchmarks)
        for benchmark_name, benchmark in benchmarks.items():
            found = by_benchmark[benchmark_name]
            strongest: dict[str, str] = {}
            for pair in found:
                known = strongest.get(pair.benchmark_id, LEVELS[-1])
                strongest[pair.benchmark_id] = min(known, pair.level, key=LEVELS.index)
            counts = Counter(strongest.values())
            leaked = [pair for pair in found if pair.level in LEAKS]
            row = {"training_set": training_name, "benchmark": benchmark_name, "training_problems": len(train)}
            row |= {"benchmark_problems": len(benchmark), **{level: counts[level] for level in LEVELS}}
            row["leaks"] = sum(counts[level] for level in LEAKS)
            row["too_short"] = sum(not _grams(problem.problem) for problem in benchmark)
            row["leaked_ids"] = " ".join(dict.fromkeys(pair.benchmark_id for pair in leaked))
            rows.append(row | {"leaking_training_ids": " ".join(dict.fromkeys(pair.train_id for pair in leaked))})
    return pd.DataFrame(rows)


def _grams(problem: str) -> set[Gram]:
    words = tokens(problem)
    return set(zip(*(words[start:] for start in range(NGRAM)), strict=False))  # stops at the last whole window


def _same_numbers_and_answer(first: Problem, second: Problem) -> bool:
    return numbers(first.problem) == numbers(second.problem) and answer_key(first.answer) == answer_key(second.answer)
