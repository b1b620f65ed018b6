"""Load any problem set by name: the synthetic task, the benchmarks and the training set, raw and cleaned.

===========================  ===========================================================================================
``synthetic``                the clean task's training split, generated from the seed (no download)
``synthetic_test``           its test split; within a family, no operands in common with the training split
``sums``                     of that task, additions and subtractions of a two-digit and a one-digit number
``synthetic_level1`` …       of that task, one level, 1 (easy) to 3
``sums_test`` …              the test splits of these parts
``math500`` … ``aime25``     the benchmarks of `sources.BENCHMARKS`
``deepscaler``               the paper's training problems as published
``deepscaler_clean``         the same after `cleaning.clean` against all benchmarks
``deepscaler_level1`` …      of the cleaned set, one band of difficulty, 1 to 5; known for local files only
``deepscaler_level1_test`` … one in ten of that band, which `deepscaler_level1` leaves out
a path ``….jsonl``           the user's own problems, see `own`; ``….jsonl#train`` and ``….jsonl#test`` are its parts
===========================  ===========================================================================================

>>> [p.source for p in load_problems("synthetic", n=2, seed=1)]
['synthetic', 'synthetic']

Usage: ``first40 = load_problems("math500", n=40, order="first")``
"""

from __future__ import annotations

import hashlib
import random
from functools import lru_cache
from pathlib import Path

from spurious_rewards.data import cleaning, sources, synthetic
from spurious_rewards.data.own import is_own, load_own, own_name
from spurious_rewards.data.problem import Problem
from spurious_rewards.errors import InputError, check_name, unknown_name

SYNTHETIC = {"synthetic": "train", "synthetic_test": "test"}
SYNTHETIC_DEFAULT_N = 1000  # problems drawn when no number is given: the split itself has tens of thousands
GRADED: dict[str, tuple[str, tuple[str, ...], tuple[int, ...]]] = {
    name + ("_test" if split == "test" else ""): (split, families, levels)
    for split in synthetic.SPLITS
    for name, families, levels in (
        ("sums", ("addition", "subtraction"), (1,)),
        *((f"synthetic_level{level}", tuple(synthetic.FAMILIES), (level,)) for level in synthetic.LEVELS),
    )
}
"""Parts of the synthetic task: name → split, families, levels."""
CLEANED = "deepscaler_clean"
BANDS = {f"deepscaler_level{band}{end}": (band, end != "") for band in range(1, 6) for end in ("", "_test")}
"""Parts of the cleaned training set: name → band of difficulty, whether it is the held-out tenth."""
ORDERS = ("shuffled", "first")
PROBLEM_SETS = (*SYNTHETIC, *GRADED, *sources.SOURCES, CLEANED, *BANDS)
# What a training set must not contain; amc40 is part of amc.
AUDITED_BENCHMARKS = tuple(name for name in sources.BENCHMARKS if name != "amc40")


def load_problems(name: str, n: int | None = None, seed: int = 0, order: str = "shuffled") -> list[Problem]:
    """Load `n` problems of a problem set; a pure function of the arguments and the set's content.

    Args:
        name: one of `PROBLEM_SETS`, or the path of a file of problems (see `own`).
        n: how many; None means the whole set (`SYNTHETIC_DEFAULT_N` of the synthetic task).
        seed: seed of the draw: of the synthetic problems themselves, of the permutation otherwise. Samples of one seed
            are nested: the first 40 of `n=80` are those of `n=40` (not so for the synthetic task).
        order: "shuffled", or "first" for the first `n` in the set's own order. The whole set comes in its own order.

    Raises:
        InputError: unknown name or order; more problems asked for than there are; data not available.
    """
    if name not in PROBLEM_SETS and not is_own(name):
        error = unknown_name("problem set", name, PROBLEM_SETS)
        raise InputError(f"{error} Or give the path of a .jsonl file with your own problems.")
    check_name("order", order, ORDERS)
    if n is not None and n < 1:
        raise InputError(f"Asked for {n} problems of {name!r}; ask for at least 1.")
    if name in SYNTHETIC:
        return synthetic.generate(n or SYNTHETIC_DEFAULT_N, seed, SYNTHETIC[name])
    if name in GRADED:
        return synthetic.generate(n or SYNTHETIC_DEFAULT_N, seed, *GRADED[name])
    if is_own(name):
        problems, drawn_as = load_own(name), own_name(name)
    else:
        problems, drawn_as = _of_source(name, sources.data_folder()), name
    if n is None:
        return problems
    if n > len(problems):
        raise InputError(f"Asked for {n} problems of {name!r}, which has {len(problems)}; ask for at most that many.")
    if order == "shuffled":
        random.Random(f"{drawn_as}:{seed}").shuffle(problems)
    return problems[:n]


def _of_source(name: str, folder: Path | None) -> list[Problem]:
    if name in BANDS:
        return _band(*BANDS[name], folder)
    return list(_cleaned(folder)[0]) if name == CLEANED else sources.load(name, data_dir=folder)


def cleaned_deepscaler(data_dir: str | Path | None = None) -> tuple[list[Problem], cleaning.CleaningReport]:
    """Return DeepScaleR without duplicates, contradictory labels and benchmark leaks, and the report of the steps.

    Takes about seven seconds; a second call in the same process returns the first one's result.
    """
    problems, report = _cleaned(sources.data_folder(data_dir))
    return list(problems), report


def _band(band: int, held_out: bool, folder: Path | None) -> list[Problem]:
    """Return the cleaned DeepScaleR problems of one band: those whose id hashes into a tenth, or all others.

    Raises:
        InputError: the hub's rows do not say their band.
    """
    problems = [problem for problem in _cleaned(folder)[0] if problem.meta.get("band") == band]
    if not problems:
        raise InputError(
            "DeepScaleR's bands of difficulty are in the names of the local files; set SPURIOUS_DATA_DIR to a folder "
            "that holds deepscaler_level1.jsonl to deepscaler_level5.jsonl."
        )
    return [p for p in problems if (hashlib.sha256(p.id.encode()).digest()[0] % 10 == 0) == held_out]


@lru_cache(maxsize=2)
def _cleaned(folder: Path | None) -> tuple[tuple[Problem, ...], cleaning.CleaningReport]:
    benchmarks = {name: sources.load(name, data_dir=folder) for name in AUDITED_BENCHMARKS}
    problems, report = cleaning.clean(sources.load("deepscaler", data_dir=folder), benchmarks)
    return tuple(problems), report
