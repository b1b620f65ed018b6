"""One front over every problem set: the synthetic task, the benchmarks and the training set, raw and cleaned.

========================  ==========================================================================================
``synthetic``             the clean task's training split, generated from the seed (no download)
``synthetic_test``        its test split; no operands in common with the training split
``math500`` … ``aime25``  the benchmarks of `sources.BENCHMARKS`
``deepscaler``            the paper's training problems as published
``deepscaler_clean``      the same after `cleaning.clean` against all benchmarks
a path ``….jsonl``        the user's own problems, see `own`; ``….jsonl#train`` and ``….jsonl#test`` are its parts
========================  ==========================================================================================

>>> [p.source for p in load_problems("synthetic", n=2, seed=1)]
['synthetic', 'synthetic']

Usage: ``first40 = load_problems("math500", n=40, order="first")``
"""

from __future__ import annotations

import random
from functools import lru_cache
from pathlib import Path

from spurious_rewards.data import cleaning, sources, synthetic
from spurious_rewards.data.own import is_own, load_own, own_name
from spurious_rewards.data.problem import Problem
from spurious_rewards.errors import InputError, unknown_name

SYNTHETIC = {"synthetic": "train", "synthetic_test": "test"}
SYNTHETIC_DEFAULT_N = 1000  # problems drawn when no number is given: the split itself has tens of thousands
CLEANED = "deepscaler_clean"
ORDERS = ("shuffled", "first")
PROBLEM_SETS = (*SYNTHETIC, *sources.SOURCES, CLEANED)
# What a training set must not contain; amc40 is part of amc.
AUDITED_BENCHMARKS = tuple(name for name in sources.BENCHMARKS if name != "amc40")


def load_problems(
    name: str,
    n: int | None = None,
    seed: int = 0,
    split: str | None = None,
    order: str = "shuffled",
    data_dir: str | Path | None = None,
) -> list[Problem]:
    """`n` problems of a problem set; a pure function of the arguments and the set's content.

    Args:
        name: one of `PROBLEM_SETS`, or the path of a file of problems (see `own`).
        n: how many; None means the whole set (`SYNTHETIC_DEFAULT_N` of the synthetic task).
        seed: seed of the draw: of the synthetic problems themselves, of the permutation otherwise. Samples of one seed
            are nested: the first 40 of `n=80` are those of `n=40` (not so for the synthetic task).
        split: "train" or "test", for `synthetic` only: another way to write `synthetic_test`.
        order: "shuffled", or "first" for the first `n` in the set's own order. The whole set comes in its own order.
        data_dir: folder of local files, see `sources.load`.

    Raises:
        InputError: unknown name, split or order; more problems asked for than there are; data not available.
    """
    if name not in PROBLEM_SETS and not is_own(name):
        error = unknown_name("problem set", name, PROBLEM_SETS)
        raise InputError(f"{error} Or give the path of a .jsonl file with your own problems.")
    if order not in ORDERS:
        raise unknown_name("order", order, ORDERS)
    if split is not None and name != "synthetic":
        raise InputError(f"Problem set {name!r} has no splits (only 'synthetic' has train and test); leave split out.")
    if n is not None and n < 1:
        raise InputError(f"Asked for {n} problems of {name!r}; ask for at least 1.")
    if name in SYNTHETIC:
        return synthetic.generate(n or SYNTHETIC_DEFAULT_N, seed, split or SYNTHETIC[name])
    folder = sources.data_folder(data_dir)
    if is_own(name):
        problems, drawn_as = load_own(name), own_name(name)
    else:
        problems, drawn_as = _of_source(name, folder), name
    if n is None:
        return problems
    if n > len(problems):
        raise InputError(f"Asked for {n} problems of {name!r}, which has {len(problems)}; ask for at most that many.")
    if order == "shuffled":
        random.Random(f"{drawn_as}:{seed}").shuffle(problems)
    return problems[:n]


def _of_source(name: str, folder: Path | None) -> list[Problem]:
    return list(_cleaned(folder)[0]) if name == CLEANED else sources.load(name, data_dir=folder)


def cleaned_deepscaler(data_dir: str | Path | None = None) -> tuple[list[Problem], cleaning.CleaningReport]:
    """DeepScaleR without duplicates, contradictory labels and leaks of any benchmark, and the report of the steps.

    Takes about seven seconds; a second call in the same process returns the first one's result.
    """
    problems, report = _cleaned(sources.data_folder(data_dir))
    return list(problems), report


@lru_cache(maxsize=2)
def _cleaned(folder: Path | None) -> tuple[tuple[Problem, ...], cleaning.CleaningReport]:
    benchmarks = {name: sources.load(name, data_dir=folder) for name in AUDITED_BENCHMARKS}
    problems, report = cleaning.clean(sources.load("deepscaler", data_dir=folder), benchmarks)
    return tuple(problems), report
