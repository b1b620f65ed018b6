r"""Properties of the robust grader: reflexive, symmetric, blind to spacing, `\left\right`, `\dfrac`; never a crash."""

from __future__ import annotations

import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spurious_rewards.rewards.grading import REASONS, grade, judge, same_answer

numbers = st.integers(-(10**6), 10**6)
decimals = st.builds(lambda n, p: f"{n / 10**p:.{p}f}", st.integers(-(10**6), 10**6), st.integers(1, 4))
fractions = st.builds(lambda a, b: rf"\frac{{{a}}}{{{b}}}", numbers, st.integers(1, 1000))
roots = st.builds(lambda a, b: rf"{a}\sqrt{{{b}}}", st.integers(2, 99), st.integers(2, 999))
symbols = st.sampled_from([r"\pi", r"2\pi", "x+1", r"\infty", "n^2"])
atoms = st.one_of(numbers.map(str), decimals, fractions, roots, symbols)
tuples = st.builds(lambda items: f"({', '.join(items)})", st.lists(atoms, min_size=2, max_size=4))
sets = st.builds(lambda items: rf"\{{{', '.join(items)}\}}", st.lists(atoms, min_size=1, max_size=4))
intervals = st.builds(lambda a, b, o, c: f"{o}{a},{b}{c}", atoms, atoms, st.sampled_from("(["), st.sampled_from(")]"))
matrices = st.builds(lambda a, b: rf"\begin{{pmatrix}} {a} \\ {b} \end{{pmatrix}}", atoms, atoms)
answers = st.one_of(atoms, tuples, sets, intervals, matrices, st.sampled_from([r"\text{east}", "(A)", "x=5", "x<3"]))

quick = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(answers)
def test_reflexive(answer):
    assert same_answer(answer, answer)
    assert grade(rf"… $\boxed{{{answer}}}$", answer).correct


@quick
@given(answers, answers)
def test_symmetric(a, b):
    assert same_answer(a, b) == same_answer(b, a)


@quick
@given(answers, answers, st.sampled_from(["  ", r"\,", r"\ ", r"\;", "\n", "~"]))
def test_spacing_never_changes_a_verdict(a, b, space):
    spaced = re.sub(r"(?<=[,+=&])|(?=[+=&])", lambda _: space, a)
    assert same_answer(spaced, a)
    assert same_answer(spaced, b) == same_answer(a, b)


@quick
@given(answers, answers)
def test_left_right_and_fraction_style_never_change_a_verdict(a, b):
    for style in (r"\dfrac", r"\tfrac", r"\cfrac"):
        other = a.replace(r"\frac", style)
        assert same_answer(other, a) and same_answer(other, b) == same_answer(a, b)
    sized = re.sub(r"(\\?[(\[{])(?=[^{]*$)", r"\\left\1", a, count=1) if a[0] in "([" else a
    sized = re.sub(r"([)\]])$", r"\\right\1", sized) if sized != a else a
    assert same_answer(sized, a) and same_answer(sized, b) == same_answer(a, b)


@quick
@given(st.lists(atoms, min_size=2, max_size=4, unique=True), st.randoms(use_true_random=False))
def test_lists_are_unordered_and_tuples_are_not(items, random):
    shuffled = random.sample(items, len(items))
    assert same_answer(", ".join(shuffled), ", ".join(items))
    if not same_answer(items[0], items[-1]):
        swapped = [items[-1], *items[1:-1], items[0]]
        assert not same_answer(f"({', '.join(swapped)})", f"({', '.join(items)})")


@quick
@given(st.integers(-(10**6), 10**6), st.integers(1, 10**4), st.integers(1, 50))
def test_fractions_are_compared_by_value(a, b, k):
    assert same_answer(rf"\frac{{{k * a}}}{{{k * b}}}", f"{a}/{b}")
    assert not same_answer(rf"\frac{{{k * a + 1}}}{{{k * b}}}", f"{a}/{b}")


@settings(max_examples=250, deadline=None)
@given(st.text(alphabet=r"\{}()[]^_,;:=<>|!%$&.0123456789xyzife+-*/' ", max_size=60), answers)
def test_no_text_raises(text, gold):
    correct, reason = judge(text, gold)  # without the net that `grade` spans
    assert reason in REASONS and isinstance(correct, bool)
    assert isinstance(grade(text, gold, mode="paper").correct, bool)
