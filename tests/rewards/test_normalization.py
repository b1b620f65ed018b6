"""One spelling per answer: each row lists spellings that must become the same canonical string."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spurious_rewards.rewards.grader.normalization import normalize


@pytest.mark.parametrize(
    ("canonical", "spellings"),
    [
        (r"\frac{4}{3}", [r"\frac43", r"\dfrac43", r"\tfrac 4 3", r"\frac{4}3", r"\frac4{3}", r"$\frac{4}{3}$."]),
        (r"11\sqrt{2}", [r"11\sqrt2", r"11 \sqrt 2", r"11\sqrt{2}", "11√2", "11sqrt(2)", r"11\sqrt(2)"]),
        ("7425000", ["7,425,000", "7{,}425{,}000", r"7,\!425,\!000", r"7\,425\,000", "7 425 000", "$7,425,000$"]),
        (r"(3,\frac{\pi}{2})", [r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac\pi2)", r"\bigl(3, \tfrac{π}{2}\bigr)"]),
        (r"x^{2}-4\le0", ["x² − 4 ≤ 0", r"x^2-4 \leq 0", r"x^{2} - 4\leqslant 0", "x**2-4<=0"]),
        (r"\text{East}", [r"\text{East}", r"\textbf{East}", r"\mathrm{East}", r"\mbox{ East }", r"\textnormal{East}"]),
        (r"\{1,2\}", [r"\{1,2\}", r"\left\{ 1, 2 \right\}", r"\lbrace 1, 2\rbrace"]),
        (r"90^\circ", [r"90^\circ", r"90^{\circ}", "90°", r"90\degree"]),
        (
            r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
            [r"\begin{bmatrix} 1 & 2 \\ 3 & 4 \end{bmatrix}", r"\left[\begin{array}{cc}1&2\\3&4\end{array}\right]"],
        ),
        ("19,46,82", ["19, 46, and 82", r"19, 46, \text{ and } 82", r"19,46 \text{ or } 82"]),
        (r"6.72\times10^{-5}", [r"6.72 \times 10^{-5}", "6.72e-5", "6.72×10⁻⁵"]),
        (r"1\frac{4}{5}", [r"1\frac45", "1 4/5", r"1 \frac{4}{5}"]),
        (r"4210_{5}", ["4210_5", "4210_{5}", "4210₅"]),
        ("0.5", [".5", "0.5", "$0.5$"]),
        (r"3\times10^{6}", ["3 million", r"3\text{ million}"]),
    ],
)
def test_spellings(canonical, spellings):
    assert {spelling: normalize(spelling) for spelling in spellings} == dict.fromkeys(spellings, canonical)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("(1,234)", "(1234)"),
        ("1,2", "12"),
        (r"\frac{1}{3x}", r"\frac{1}{3}x"),
        ("2^{10}", "210"),
        (r"\sin x", "sinx x"),
        (r"\text{east}", r"\text{west}"),
        ("x^{2}", "x_{2}"),
        ("-5", "5"),
        ("[1,2]", "(1,2)"),
        (r"90^\circ", "90"),
    ],
)
def test_what_must_stay_apart(a, b):
    assert normalize(a) != normalize(b)


@given(st.text(max_size=80))
def test_never_raises_on_any_text(text):
    assert isinstance(normalize(text), str)
