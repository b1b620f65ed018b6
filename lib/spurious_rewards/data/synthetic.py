"""Generate the clean task: arithmetic and number-theory problems from a seed, with exact integer answers.

No model has seen these problems on the internet, so a gain on them cannot come from contamination. Seven families,
three levels each, four phrasings each. The split is decided by a hash of a problem's *operands*, not of its wording or
of their order: 47 + 38 is in the training split in all its phrasings and so is 38 + 47, or none of them is. About one
operand tuple in five is a test problem.

Usage: ``problems = generate(1000, seed=0, split="test", families=["addition", "gcd"], levels=[1, 2])``
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

from spurious_rewards.data.problem import Problem
from spurious_rewards.errors import InputError, check_name, unknown_name

LEVELS = (1, 2, 3)
SPLITS = ("train", "test")
TEST_SHARE = 0.2
TWO_DIGITS = range(10, 100)
THREE_DIGITS = range(100, 200)

Operands = tuple[int, ...]
Cell = tuple[str, int]


@dataclass(frozen=True)
class Family:
    """Hold a kind of problem: its wording, its exact answer and the operands that each level draws from.

    ``phrasings`` are templates over ``{a}`` and ``{b}``; ``answer`` maps the operands to the exact integer;
    ``operands[level - 1]`` lists the operand tuples of a level; ``symmetric`` says that their order does not matter.
    """

    name: str
    phrasings: tuple[str, ...]
    answer: Callable[..., int]
    operands: tuple[Callable[[], Iterable[Operands]], ...]
    symmetric: bool = False


def _pairs(first: Iterable[int], second: Iterable[int]) -> Callable[[], Iterable[Operands]]:
    return lambda: product(first, second)


def _descending(first: Iterable[int], second: Iterable[int]) -> Callable[[], Iterable[Operands]]:
    return lambda: ((a, b) for a, b in product(first, second) if a > b)


def _single(numbers: Iterable[int]) -> Callable[[], Iterable[Operands]]:
    return lambda: ((n,) for n in numbers)


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("addition",
               ("What is {a} + {b}?", "Compute the sum of {a} and {b}.", "Find {a} plus {b}.",
                "Mia has {a} coins and gets {b} more. How many coins does she have now?"),
               lambda a, b: a + b,
               (_pairs(TWO_DIGITS, range(1, 10)), _pairs(TWO_DIGITS, TWO_DIGITS), _pairs(THREE_DIGITS, TWO_DIGITS)),
               symmetric=True),
        Family("subtraction",
               ("What is {a} - {b}?", "Compute the difference of {a} and {b}.", "Find {a} minus {b}.",
                "Mia has {a} coins and spends {b} of them. How many coins are left?"),
               lambda a, b: a - b,
               (_pairs(TWO_DIGITS, range(1, 10)), _descending(TWO_DIGITS, TWO_DIGITS),
                _pairs(THREE_DIGITS, TWO_DIGITS))),
        Family("multiplication",
               ("What is {a} * {b}?", "Compute the product of {a} and {b}.", "Find {a} times {b}.",
                "A box holds {a} pens. How many pens are in {b} boxes?"),
               lambda a, b: a * b,
               (_pairs(TWO_DIGITS, (2, 5)), _pairs(THREE_DIGITS, (2, 5)), _pairs(TWO_DIGITS, (20, 50))),
               symmetric=True),
        Family("remainder",
               ("What is the remainder when {a} is divided by {b}?", "Compute {a} mod {b}.",
                "Find the remainder of {a} modulo {b}.",
                "{a} pens are packed in boxes of {b}. How many pens are left over?"),
               lambda a, b: a % b,
               (_pairs(TWO_DIGITS, (2, 5, 10)), _pairs(THREE_DIGITS, (2, 5, 10)), _pairs(TWO_DIGITS, (20, 50)))),
        Family("gcd",
               ("What is the greatest common divisor of {a} and {b}?", "Compute gcd({a}, {b}).",
                "Find the largest integer that divides both {a} and {b}.",
                "{a} pens and {b} books are shared equally. What is the largest possible number of shares?"),
               math.gcd,
               (_pairs(TWO_DIGITS, (2, 5)), _pairs(TWO_DIGITS, (4, 10)), _pairs(TWO_DIGITS, (20, 50))), symmetric=True),
        Family("digit_sum",
               ("What is the sum of the digits of {a}?", "Compute the digit sum of {a}.",
                "Find the sum of all digits of {a}.",
                "Mia adds up the digits of {a}. What does she get?"),
               lambda a: sum(int(digit) for digit in str(a)),
               (_single(TWO_DIGITS), _single(THREE_DIGITS), _single(range(200, 1000)))),
        Family("next_multiple",
               ("What is the smallest multiple of {b} greater than {a}?", "Compute the next multiple of {b} after {a}.",
                "Find the least number above {a} that is divisible by {b}.",
                "Seats come in rows of {b}. What is the least number of seats for more than {a} people?"),
               lambda a, b: (a // b + 1) * b,
               (_pairs(TWO_DIGITS, (5, 10)), _pairs(TWO_DIGITS, (2, 20)), _pairs(TWO_DIGITS, (4, 50)))),
    )
}  # fmt: skip


def split_of(family: str, operands: Operands) -> str:
    """Return the split ("train" or "test") that a problem belongs to, whatever its wording.

    >>> split_of("addition", (47, 38)) == split_of("addition", (38, 47))
    True
    """
    key = tuple(sorted(operands)) if FAMILIES[family].symmetric else operands
    digest = hashlib.blake2b(f"{family}:{key}".encode(), digest_size=4).digest()
    return "test" if int.from_bytes(digest, "big") < TEST_SHARE * 2**32 else "train"


def make_problem(family: str, level: int, operands: Operands, phrasing: int) -> Problem:
    """Put one problem into words.

    >>> make_problem("gcd", 2, (18, 4), 1)  # doctest: +ELLIPSIS
    Problem(id='gcd-2-18-4-p1', problem='Compute gcd(18, 4).', answer='2', source='synthetic', meta={...})
    """
    kind = FAMILIES[family]
    names = dict(zip("ab", operands, strict=False))
    return Problem(
        id=f"{family}-{level}-{'-'.join(map(str, operands))}-p{phrasing}",
        problem=kind.phrasings[phrasing].format(**names),
        answer=str(kind.answer(*operands)),
        source="synthetic",
        meta={"family": family, "level": level, "operands": list(operands), "phrasing": phrasing},
    )


@cache
def cell_operands(family: str, level: int, split: str) -> tuple[Operands, ...]:
    """Return all operand tuples of a family at a level that belong to a split, in a fixed order."""
    tuples = FAMILIES[family].operands[level - 1]()
    return tuple(operands for operands in tuples if split_of(family, operands) == split)


def generate(
    n: int, seed: int, split: str = "train", families: Sequence[str] | None = None, levels: Sequence[int] | None = None
) -> list[Problem]:
    """Draw `n` distinct problems, spread as evenly as possible over families and levels, in random order.

    The result is a pure function of the arguments. Train and test problems never share operands within a family
    (`split_of`). A family and level that runs out of distinct problems leaves its share to the others.

    Args:
        n: number of problems, at least 1.
        seed: seed of the draw.
        split: "train" or "test".
        families: names from `FAMILIES`; all by default.
        levels: from 1 (easy) to 3; all by default.

    Raises:
        InputError: unknown split, family or level, or more problems asked for than there are.

    >>> [p.problem for p in generate(2, seed=0, families=["addition"], levels=[1])]  # doctest: +ELLIPSIS
    ['...', '...']
    """
    check_name("split", split, SPLITS)
    families = list(FAMILIES if families is None else dict.fromkeys(families))
    levels = list(LEVELS if levels is None else dict.fromkeys(levels))
    for family in families:
        check_name("problem family", family, FAMILIES)
    for level in levels:
        if level not in LEVELS:
            raise unknown_name("level", level, map(str, LEVELS))
    cells = list(product(families, levels))
    sizes = {cell: len(cell_operands(*cell, split)) * len(FAMILIES[cell[0]].phrasings) for cell in cells}
    if not 1 <= n <= sum(sizes.values()):
        raise InputError(
            f"Asked for {n} synthetic problems, but the {split} split of families {', '.join(families)} at levels "
            f"{', '.join(map(str, levels))} has between 1 and {sum(sizes.values())}; "
            "ask for a number in this range or add families or levels."
        )
    rng = random.Random(f"synthetic:{seed}:{split}")
    rng.shuffle(cells)  # so that the remainder of n / cells does not always go to the same cells
    problems: list[Problem] = []
    for (family, level), count in _shares(n, [(cell, sizes[cell]) for cell in cells]):
        operands = cell_operands(family, level, split)
        for index in rng.sample(range(sizes[family, level]), count):
            problems.append(make_problem(family, level, operands[index % len(operands)], index // len(operands)))
    rng.shuffle(problems)
    return problems


def _shares(n: int, sizes: list[tuple[Cell, int]]) -> list[tuple[Cell, int]]:
    """Share `n` out evenly over cells of limited size; the smallest cells are filled first."""
    shares: dict[Cell, int] = {}
    left, ordered = n, sorted(sizes, key=lambda item: item[1])
    for position, (cell, size) in enumerate(ordered):
        share = min(size, math.ceil(left / (len(ordered) - position)))
        shares[cell] = share
        left -= share
    return [(cell, shares[cell]) for cell, _ in sizes]
