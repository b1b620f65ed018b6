"""The clean task: exact answers, disjoint splits, determinism, clear errors."""

import re
from collections import Counter

import pytest

from spurious_rewards.data.problem import Problem
from spurious_rewards.data.synthetic import FAMILIES, LEVELS, cell_operands, generate, make_problem, split_of
from spurious_rewards.errors import InputError


@pytest.mark.parametrize(
    ("family", "operands", "expected"),
    [
        ("addition", (47, 38), "85"),  # 40 + 30 + 15
        ("subtraction", (152, 67), "85"),  # 152 - 60 - 7
        ("multiplication", (43, 7), "301"),  # 280 + 21
        ("remainder", (73, 8), "1"),  # 73 = 9 * 8 + 1
        ("gcd", (84, 12), "12"),  # 84 = 7 * 12
        ("digit_sum", (9407,), "20"),  # 9 + 4 + 0 + 7
        ("next_multiple", (42, 6), "48"),  # 42 is one itself: the next is 48
        ("next_multiple", (43, 6), "48"),
    ],
)
def test_answers_are_exact(family, operands, expected):
    assert make_problem(family, 1, operands, 0).answer == expected


def test_the_same_arguments_give_the_same_problems_and_another_seed_gives_others():
    first = generate(300, seed=5, split="test")
    assert first == generate(300, seed=5, split="test")
    assert first != generate(300, seed=6, split="test")


def test_problems_are_distinct_and_the_operands_are_in_the_text():
    problems = generate(3000, seed=0)
    assert len({p.id for p in problems}) == len({p.problem for p in problems}) == 3000
    for problem in problems:
        assert sorted(map(int, re.findall(r"\d+", problem.problem))) == sorted(problem.meta["operands"])


def test_splits_share_no_operands_in_any_wording_or_order():
    train = generate(20_000, seed=0, split="train")
    test = generate(6_000, seed=0, split="test")

    def facts(problems: list[Problem]) -> set:
        return {
            (p.meta["family"], frozenset(p.meta["operands"]))
            if FAMILIES[p.meta["family"]].symmetric
            else (p.meta["family"], tuple(p.meta["operands"]))
            for p in problems
        }

    assert not facts(train) & facts(test)


def test_about_a_fifth_of_the_operands_are_held_out():
    cells = [(f, level, s) for f in FAMILIES for level in LEVELS for s in ("train", "test")]
    counts = Counter()
    for family, level, split in cells:
        counts[split] += len(cell_operands(family, level, split))
    # 35 000 operand tuples in all; a binomial standard deviation is sqrt(.2 * .8 / 35 000) = 0.002
    assert abs(counts["test"] / counts.total() - 0.2) < 0.01


def test_order_of_operands_matters_only_where_it_should():
    pairs = [(a, b) for a in range(10, 60) for b in range(60, 100)]
    assert all(split_of("addition", (a, b)) == split_of("addition", (b, a)) for a, b in pairs)
    assert any(split_of("subtraction", (a, b)) != split_of("subtraction", (b, a)) for a, b in pairs)


def test_families_and_levels_are_balanced_until_one_runs_out():
    counts = Counter((p.meta["family"], p.meta["level"]) for p in generate(2100, seed=1, split="train"))
    assert len(counts) == 21
    assert set(counts.values()) == {100}  # 2100 / (7 families * 3 levels)
    # 17 two-digit numbers are held out and 22 from 100 to 199, times 4 phrasings: 68 and 88; level 3 makes up the rest.
    held_out = [4 * len(cell_operands("digit_sum", level, "test")) for level in (1, 2)]
    counts = Counter(p.meta["level"] for p in generate(600, seed=1, split="test", families=["digit_sum"]))
    assert [counts[1], counts[2], counts[3]] == [*held_out, 600 - sum(held_out)]


def test_a_family_can_be_exhausted_but_not_more():
    size = len(cell_operands("gcd", 1, "test")) * 4
    problems = generate(size, seed=0, split="test", families=["gcd"], levels=[1])
    assert len({p.problem for p in problems}) == size
    with pytest.raises(InputError, match=f"between 1 and {size}"):
        generate(size + 1, seed=0, split="test", families=["gcd"], levels=[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "between 1 and"),
        ({"n": 5, "split": "valid"}, "Unknown split 'valid'"),
        ({"n": 5, "families": ["additon"]}, "did you mean 'addition'"),
        ({"n": 5, "levels": [4]}, "Unknown level 4"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message):
    with pytest.raises(InputError, match=message):
        generate(seed=0, **arguments)


def test_levels_get_harder_in_operands():
    assert all(max(operands) < 100 for operands in cell_operands("addition", 2, "train"))
    assert all(100 <= a < 200 for a, _ in cell_operands("addition", 3, "train"))
    assert all(a > b for a, b in cell_operands("subtraction", 2, "train"))
    assert all(len(str(*n)) == 3 for n in cell_operands("digit_sum", 3, "train"))
