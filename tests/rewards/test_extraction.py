"""Where the answer is found: boxes, answer tags, the fallback; and that every input is linear work."""

from __future__ import annotations

import time

import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.rewards.extraction import extract_answer, is_truncated, last_boxed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\boxed{5}", "5"),
        (r"\fbox{5}", "5"),
        (r"\boxed   {  x^2 } end", "x^2"),
        (r"\boxed 7", "7"),
        (r"Put it in \boxed. So \boxed{12}.", "12"),
        (r"First \boxed{3}. Then \boxed{5}.", "5"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\left\{1,2\right\}}", r"\left\{1,2\right\}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{5} and put it in \boxed{}", "5"),  # an empty box is no answer
        (r"\boxed{}", None),
        (r"\boxed{5", None),
        (r"\boxed{3} … \boxed{5", "3"),  # the last *balanced* box
        ("the word boxed alone", None),
    ],
)
def test_last_boxed(text, expected):
    assert last_boxed(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\boxed{1}, \boxed{2}", "1, 2"),
        (r"\boxed{1},\boxed{2},\boxed{3}", "1, 2, 3"),
        (r"$\boxed{-2} \quad \text{and} \quad \boxed{1}$", "-2, 1"),
        (r"$a = \boxed{3}$ and $b = \boxed{4}$", "3, 4"),
        (r"\boxed{5} or \boxed{5}", "5"),
        (r"\boxed{1} then \boxed{2}", "2"),  # words other than and/or separate
        ("\\boxed{1}\n\n\\boxed{2}", "2"),
        (r"\boxed{3} and after much more work \boxed{5}", "5"),  # distant boxes are never joined
    ],
)
def test_boxes_joined_only_by_commas_and_and(text, expected):
    assert last_boxed(text) == expected


def test_truncated_box_is_no_answer_and_not_rescued_by_the_fallback():
    assert is_truncated(r"The answer is 7: \boxed{7")
    assert extract_answer(r"The answer is 7: \boxed{7") is None
    assert not is_truncated(r"\boxed{3}, wait \boxed{7")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>\\boxed{1}</think><answer>2</answer>", "2"),
        ("<think>x</think><answer>so \\boxed{2}</answer>", "2"),
        ("<answer>1</answer> no: <answer> $\\frac{3}{4}$ </answer>", r"\frac{3}{4}"),
        ("<answer>5", "5"),  # the sampler stopped at </answer>
        ("<answer></answer>", None),
        ("<answer>\\boxed{5</answer>", None),
        ("<answer>The answer is 5.</answer>", "5"),
        ("no tag, \\boxed{5}", "5"),
    ],
)
def test_r1_style(text, expected):
    assert extract_answer(text, style="r1") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The answer is 42.", "42"),
        ("He pays 18 dollars.\n#### 18", "18"),
        ("**Final Answer:** $x = 3$", "x = 3"),
        ("**Final Answer**\n\n$12$", "12"),
        ("✅ Final Answer: **73**", "73"),
        ("Final Answer: The largest $n$ is 34.", "34"),
        ("The final answer is $14{,}916$. I hope it is correct. Note: …", "14{,}916"),
        ("the number is not 10 which is 1,000.99€", "1,000.99€"),
        ("the area is 15 cm^2", "15"),
        ("It increases by 100%.", "100%"),
        ("$28$ percent", "28percent"),
        ("Therefore $x \\geq 5$ is the solution.", "x \\geq 5"),
        ("The final answer is $\\$18.90$.", "\\$18.90"),
        ("It costs $3.50 and then $4.50", "$4.50"),
        ("x^2+1", "x^2+1"),
        ("I don't know.", None),
        ("", None),
    ],
)
def test_fallback_without_a_box(text, expected):
    assert extract_answer(text) == expected


def test_fallback_can_be_switched_off():
    assert extract_answer("The answer is 42.", fallback=False) is None


def test_unknown_style_is_named():
    with pytest.raises(InputError, match=r"Unknown answer style 'box' \(did you mean 'boxed'"):
        extract_answer("5", style="box")


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{" * 50_000,
        "{" * 300_000,
        "$" * 200_000,
        "1," * 200_000,
        "the answer is " * 30_000,
        "**" * 100_000,
        "\\boxed{1} and " * 30_000,
        "<answer>" * 50_000,
        "(" * 200_000 + "$x$",
        "9" * 300_000,
    ],
)
def test_long_texts_are_quick(text):
    started = time.perf_counter()
    extract_answer(text)
    extract_answer(text, style="r1")
    assert time.perf_counter() - started < 3
