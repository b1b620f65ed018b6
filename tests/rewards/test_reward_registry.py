"""Rewards: definitions, composition, counter-based random draws, users' own functions, bad return values."""

import math
import warnings
from pathlib import Path

import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.rewards.names import parse
from spurious_rewards.rewards.registry import REGISTRY, build, register, source_hash, uniform, unregister

CODE = "```python\nprint(6 * 7)\n```\n```output\n42\n```\nThe answer is \\boxed{42}."
WORDS = "Six times seven is 42, so the answer is \\boxed{42}."
WRONG = "I think it is \\boxed{41}."
EMPTY = "I do not know: \\boxed{ }."
PROBLEM = {"prompt_id": "p", "answer": "42", "rollout_batch": 0, "sample": 0}


def score(expression, texts, **options):
    return build(expression, **options).score(texts, [PROBLEM] * len(texts))


def test_definitions():
    texts = [CODE, WORDS, WRONG, EMPTY]
    assert score("ground_truth", texts) == [1, 1, 0, 0]
    assert score("inverse", texts) == [0, 0, 1, 1]
    assert score("format", texts) == [1, 1, 1, 0]
    assert score("python", texts) == [1, 0, 0, 0]
    assert score("no_python", texts) == [0, 1, 1, 1]


def test_verdicts_that_are_no_judgement_are_said_aloud():
    tower = r"\boxed{9^{9^{9^{9}}}}"
    with pytest.warns(UserWarning, match=r"gave up on 2 of 100 answers \(2\.0 %; guard_power 2\)"):
        assert score("ground_truth", [tower] * 2 + [WORDS] * 98) == [0] * 2 + [1] * 98
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score("ground_truth", [tower] + [WORDS] * 99)  # 1 % is not above 1 %


def test_composition():
    assert parse("ground_truth_and_no_python") == ("and", ("ground_truth",), ("no_python",))
    assert score("ground_truth_and_no_python", [CODE, WORDS, WRONG]) == [0, 1, 0]
    assert score("inverse_format", [CODE, EMPTY]) == [0, 1]
    assert score("format_and_inverse_python", [CODE, WORDS, EMPTY]) == [0, 1, 0]


def test_no_repetition_counts_ten_in_a_row():
    unit = "0123456789"  # ten characters: the shortest repetition that counts
    assert score("no_repetition", [unit * 9, unit * 10, "ab" * 200, "short"]) == [1, 0, 0, 1]
    assert score("no_repetition", ["012345678" * 10]) == [1]  # nine characters, ten times: 9·10 = 90 < ten of ten


def test_format_looks_into_nested_braces():
    assert score("format", ["\\boxed{\\frac{1}{2}}", "\\boxed{{}}", "\\boxed{{x}}", "boxed{3}"]) == [1, 0, 1, 0]


def test_random_is_a_pure_function_of_its_counters():
    problems = [
        {"prompt_id": f"p{i}", "answer": "", "rollout_batch": b, "sample": s}
        for b in range(5)
        for i in range(20)
        for s in range(16)
    ]
    one = build("random", gamma=0.5, seed=1).score(["a"] * len(problems), problems)
    shuffled = build("random", gamma=0.5, seed=1).score([CODE] * len(problems), problems[::-1])
    assert one == shuffled[::-1], "neither order nor text may matter"
    assert one != build("random", gamma=0.5, seed=2).score(["a"] * len(problems), problems)
    # 1600 draws at γ = 0.5: mean within 4 standard errors, 4·0.5/√1600 = 0.05
    assert abs(sum(one) / len(one) - 0.5) < 0.05
    assert sum(build("random", gamma=0.0).score(["a"] * 1600, problems)) == 0
    assert sum(build("random", gamma=1.0).score(["a"] * 1600, problems)) == 1600


def test_noisy_ground_truth_errs_at_its_rates():
    """400 right and 400 wrong texts; and at fp = γ, fn = 1 − γ it is the random reward, draw for draw."""
    problems = [{**PROBLEM, "rollout_batch": b, "sample": i} for b in range(100) for i in range(8)]
    texts = [CODE if problem["sample"] % 2 else "no answer" for problem in problems]
    right = build("ground_truth").score(texts, problems)
    assert sum(right) == 400
    assert build("noisy_ground_truth", seed=1).score(texts, problems) == right
    noisy = build("noisy_ground_truth", seed=1, false_positive=0.1, false_negative=0.3).score(texts, problems)
    paid_wrong = sum(reward for reward, correct in zip(noisy, right, strict=True) if not correct) / 400
    paid_right = sum(reward for reward, correct in zip(noisy, right, strict=True) if correct) / 400
    assert abs(paid_wrong - 0.1) < 4 * math.sqrt(0.1 * 0.9 / 400)
    assert abs(paid_right - 0.7) < 4 * math.sqrt(0.3 * 0.7 / 400)
    coin = build("noisy_ground_truth", seed=1, false_positive=0.25, false_negative=0.75).score(texts, problems)
    assert coin == build("random", gamma=0.25, seed=1).score(texts, problems)
    shuffled = build("noisy_ground_truth", seed=1, false_positive=0.1, false_negative=0.3)
    assert shuffled.score(texts[::-1], problems[::-1])[::-1] == noisy, "a pure function, whatever the order"


def test_random_draws_are_nested_in_gamma_and_uniform():
    values = [uniform(0, b, "p", s) for b in range(100) for s in range(16)]
    assert all(0 <= v < 1 for v in values)
    assert abs(sum(values) / len(values) - 0.5) < 4 * math.sqrt(1 / 12 / 1600)


def test_users_register_in_three_lines_and_can_forget():
    @register("has_digit")
    def has_digit(texts, problems, **options):
        return [float(any(c.isdigit() for c in text)) for text in texts]

    try:
        assert score("has_digit_and_format", [WORDS, "no"]) == [1, 0]
    finally:
        unregister("has_digit")
    with pytest.raises(InputError, match="Unknown reward 'has_digit'.*module:function, or registered before"):
        build("has_digit")
    for name in ("a_and_b", "inverse_a", "a:b"):
        with pytest.raises(InputError, match="composition"):
            register(name)
    with pytest.raises(InputError, match="range of reward high must be"):
        register("high", range=(1, 1))


def test_registering_again_replaces_with_a_notice(capsys):
    @register("mine")
    def one(texts, problems, **options):
        return [0.0 for _ in texts]

    try:
        register("mine")(one)
        assert capsys.readouterr().out == "", "the same cell run again"

        @register("mine")
        def two(texts, problems, **options):
            return [1.0 for _ in texts]

        assert "Reward mine was registered before and is replaced" in capsys.readouterr().out
        assert score("mine", ["a"]) == [1.0]
        with pytest.raises(InputError, match="Reward format is one of this project's"):
            register("format")(two)
    finally:
        unregister("mine")


def test_a_declared_range_is_enforced_and_turned_around_by_inverse():
    @register("stars", range=(0, 5))
    def stars(texts, problems, **options):
        return [float(len(text)) for text in texts]

    @register("plain")
    def plain(texts, problems, **options):
        return [float(len(text)) for text in texts]

    try:
        assert score("stars", ["a", "aaaaa"]) == [1, 5] and score("inverse_stars", ["a", "aaaaa"]) == [4, 0]
        for expression in ("plain", "inverse_plain", "format_and_plain", "inverse_inverse_plain"):
            with pytest.raises(InputError, match=r"plain returned 5.0 for text 1, outside its range 0 to 1.*\(0, 5\)"):
                score(expression, ["a", "aaaaa"])
        with pytest.raises(InputError, match="stars returned 6.0 for text 0, outside its range 0 to 5"):
            score("stars", ["aaaaaa"])
    finally:
        unregister("stars")
        unregister("plain")


SHORT = "def short(texts, problems, **options):\n    return [float(len(text) <= {}) for text in texts]\n"


def test_a_function_in_a_module_is_a_reward_and_is_read_again_when_edited(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("lengths_a.py").write_text(SHORT.format(20))
    assert score("lengths_a:short_and_format", [r"\boxed{4}", "four", r"\boxed{4}" + " " * 20]) == [1, 0, 0]
    first, reward = source_hash("lengths_a:short"), build("lengths_a:short")
    assert first == source_hash("lengths_a:short") and len(first) == 10
    assert source_hash("format") == "" != source_hash("inverse_lengths_a:short_and_format")
    Path("lengths_a.py").write_text(SHORT.format(30))  # in the same second, and of the same size
    assert source_hash("lengths_a:short") != first
    assert score("lengths_a:short", ["a" * 25]) == [1]
    assert reward.score(["a" * 25], [PROBLEM]) == [0], "a run under way keeps the function it began with"


@pytest.mark.parametrize(
    "text, name, words",
    [
        (None, "nowhere_to_be:found", "cannot be imported .*nowhere_to_be.*looked for in"),
        ("def short(:", "lengths_b:short", "lengths_b:short cannot be imported"),
        ("x = 1", "lengths_c:short", "Module lengths_c has no function short"),
        ("short = 1", "lengths_d:short", "has no function short"),
    ],
)
def test_a_module_that_does_not_serve_is_named(text, name, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if text:
        Path(f"{name.split(':')[0]}.py").write_text(text)
    with pytest.raises(InputError, match=words):
        build(name)


@pytest.mark.parametrize(
    "returned, words",
    [
        ([1.0], "returned 1 values for 2 texts"),
        ([1.0, None], "returned None for text 1"),
        ([float("nan"), 0.0], "returned nan for text 0"),
        (["1", 0], "returned '1'"),
        (1.0, "returned float, not a list"),
    ],
)
def test_bad_return_values_are_named(returned, words):
    @register("bad")
    def bad(texts, problems, **options):
        return returned

    try:
        with pytest.raises(InputError, match=words):
            score("bad", ["a", "b"])
    finally:
        unregister("bad")


def test_every_reward_is_documented():
    for name, spec in REGISTRY.items():
        assert spec.definition and spec.source != "user" and spec.range == (0.0, 1.0), name


def test_trl_signature():
    reward = build("ground_truth")
    assert reward.__name__ == "ground_truth"
    columns = {"prompt_id": ["a", "b"], "answer": ["42", "7"], "rollout_batch": [0, 0], "sample": [0, 1]}
    assert reward(completions=[CODE, CODE], prompts=["x", "y"], **columns) == [1.0, 0.0]
    chat = [[{"role": "assistant", "content": WORDS}]] * 2
    assert reward(completions=chat, **columns) == [1.0, 0.0]
