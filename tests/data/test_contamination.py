import pytest

from spurious_rewards.data import contamination, synthetic
from spurious_rewards.data.problem import Problem

# 15 tokens: a fair die is rolled n times find the probability that the sum is 7
LONG = "A fair die is rolled $n$ times. Find the probability that the sum is $7$."


def problem(identifier, text, answer="1"):
    return Problem(identifier, text, answer, "t")


BENCHMARK = [problem("b", LONG, "\\frac{1}{6}")]


@pytest.mark.parametrize(
    ("text", "answer", "level"),
    [
        (LONG, "wrong", "exact"),
        ("A  fair die is rolled \\(n\\) times; find the probability that the sum is 7", "wrong", "normalised"),
        (f"{LONG} Here, $n = 2$.", "wrong", "contained"),
        ("A fair die is rolled n times. Find the probability that the sum equals 7.", "1/6", "reworded"),
        ("A fair die is rolled n times. Find the probability that the sum equals 8.", "1/6", "overlap"),
        ("A fair die is rolled n times. Find the probability that the sum equals 7.", "1/7", "overlap"),
    ],
)
def test_levels(text, answer, level):
    found = contamination.pairs([problem("t", text, answer)], BENCHMARK)
    assert [(pair.benchmark_id, pair.level) for pair in found] == [("b", level)]


def test_twelve_common_tokens_are_no_overlap():
    # "a fair die is rolled n times find the probability that the" are 12 tokens.
    text = "A fair die is rolled n times. Find the probability that the die breaks"
    assert contamination.pairs([problem("t", text)], BENCHMARK) == []


def test_coverage_is_the_share_of_the_benchmarks_windows():
    # LONG has 15 tokens, so 3 windows of 13; its first 13 tokens hold 1 of them, its first 14 hold 2.
    first13 = "a fair die is rolled n times find the probability that the sum"
    assert contamination.pairs([problem("t", first13)], BENCHMARK)[0].coverage == 1 / 3
    assert contamination.pairs([problem("t", first13 + " is")], BENCHMARK)[0].coverage == 2 / 3


def test_the_table_counts_each_benchmark_problem_once_at_its_strongest_level():
    short = problem("s", "What is 2 + 2?")
    train = [
        problem("t1", f"{LONG} Here, $n = 2$."),
        problem("t2", LONG),
        problem("t3", "What  is $2+2$?"),
        problem("t4", "What is 2 - 2?"),
    ]
    table = contamination.audit({"train": train}, {"bench": [*BENCHMARK, short]})
    row = table.iloc[0]
    assert (row["exact"], row["normalised"], row["contained"], row["leaks"], row["too_short"]) == (1, 1, 0, 2, 1)
    assert row["leaked_ids"] == "b s"
    assert row["leaking_training_ids"] == "t1 t2 t3"


def test_the_synthetic_splits_do_not_leak():
    train, test = (synthetic.generate(2000, seed, split) for seed, split in ((0, "train"), (1, "test")))
    assert contamination.leaks(train, {"synthetic_test": test}) == {"synthetic_test": []}
    assert len(contamination.leaks(train, {"train": train[:50]})["train"]) >= 50
