r"""Paper mode: every documented quirk of the released verifier, and its five failures on MATH-500 golds."""

from __future__ import annotations

import pytest

from spurious_rewards.rewards.grader.paper_spelling import strip_prediction
from spurious_rewards.rewards.grading import grade


def paper(prediction: str, gold: str, style: str = "boxed") -> bool:
    return grade(prediction, gold, mode="paper", style=style).correct


@pytest.mark.parametrize(
    "gold",
    [
        r"1 \pm \sqrt{19}",
        r"\text{east}",
        "(a+5)(b+2)",
        r"3 \pm 2 \sqrt{2}",
        r"3 \pm 2\sqrt2",
        r"\{1\pm\sqrt5,-2\}",
        r"\{1\pm\sqrt{5},-2\}",
    ],
)
def test_math500_golds_that_cannot_be_answered(gold):
    text = rf"The answer is $\boxed{{{gold}}}$."
    assert not paper(text, gold)
    assert grade(text, gold).correct  # robust mode is not affected


@pytest.mark.parametrize("letter", list("acdghlmst"))
def test_single_letters_vanish_as_units_on_the_prediction_side(letter):
    assert strip_prediction(f"({letter}+5)") == "(+5)"
    assert not paper(rf"\boxed{{({letter}+5)(b+2)}}", f"({letter}+5)(b+2)")


def test_letters_that_are_no_units_survive():
    assert paper(r"\boxed{(x+5)(y+2)}", "(x+5)(y+2)")


def test_gold_letter_switches_to_the_last_standalone_letter_of_the_text():
    assert paper(r"\boxed{D}. So the choice is C", "C")  # the box is not looked at
    assert not paper(r"The choice is \boxed{C}, as in a triangle.", "C")  # the article is an A
    assert paper(r"The answer is \boxed{C}", "C")
    assert paper(r"The answer is \boxed{E}. B", "E")  # E is not one of A-D: the box counts
    assert grade(r"The choice is \boxed{C}, as in a triangle.", "C").correct


def test_unreduced_fractions_are_rejected():
    assert not paper(r"\boxed{\frac{2}{4}}", r"\frac{1}{2}")
    assert not paper(r"\boxed{6/3}", "2")
    assert paper(r"\boxed{1/2}", r"\frac{1}{2}")


def test_truncated_box_is_accepted():
    assert paper(r"so \boxed{5", "5")
    assert paper(r"so \boxed{\frac{1}{2}", r"\frac{1}{2}")  # one brace short
    assert not grade(r"so \boxed{5", "5").correct


def test_the_bare_word_boxed_is_a_box():
    assert paper("The boxed 5$ is it", "5")
    assert grade("My answer, boxed{5} here", "5", mode="paper").extracted == "5"


def test_r1_style_strips_the_characters_of_the_tag():
    # "swan" and "answer" consist of characters of "</answer>": nothing is left.
    assert grade("<answer>swan</answer>", "swan", mode="paper", style="r1").extracted == ""
    assert grade("<answer>5 beans</answer>", "5", mode="paper", style="r1").extracted == "5b"
    assert not paper("<answer>swan</answer>", "swan", style="r1")
    assert grade("<answer>swan</answer>", "swan", style="r1").correct


def test_no_answer_equals_an_empty_label():
    assert paper("I do not know.", "")
    assert not paper("I do not know.", "5")
    assert not grade("I do not know.", "").correct


def test_numerators_lose_their_parentheses():
    assert paper(r"\boxed{x+\frac{1}{2}}", r"\frac{x+1}{2}")  # (x+1)/2 is read as x+1/2
    assert not grade(r"\boxed{x+\frac{1}{2}}", r"\frac{x+1}{2}").correct


def test_lists_are_ordered_and_plus_minus_is_not_expanded():
    assert not paper(r"\boxed{1, -2}", "-2, 1")
    assert not paper(r"\boxed{2, -2}", r"\pm 2")


@pytest.mark.parametrize(
    ("text", "gold", "correct"),
    [
        ("Then 5 + 7 = 12", "12", True),  # the last number of the text
        ("The answer is 12", "12", True),
        ("The answer is 12, which is even", "12", False),  # everything after "he answer is"
        (r"the final answer is $5$. I hope it is correct, \boxed{6}", "5", True),
        (r"\boxed{7,425,000}", "7425000", True),
        (r"\boxed{12\text{ cm}}", "12", True),
        (r"\boxed{x^2+2x+1}", "(x+1)^2", True),  # sympy
        (r"\boxed{\sqrt{8}}", r"2\sqrt{2}", True),
        (r"\boxed{x^{12}}", "x^{12}", True),  # string equality; sympy is not asked about exponents in braces
        (r"\boxed{(1,2)}", "(1, 2)", True),
        (r"\boxed{(1,2]}", "(1,2)", False),
    ],
)
def test_ordinary_behaviour(text, gold, correct):
    assert paper(text, gold) is correct


def test_code_of_the_model_is_never_evaluated(tmp_path):
    target = tmp_path / "made"
    assert not paper(rf"\boxed{{open('{target}','w')}}", "5")
    assert not target.exists()
