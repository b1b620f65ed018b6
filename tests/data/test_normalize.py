from fractions import Fraction

import pytest

from spurious_rewards.data import normalize as nf


@pytest.mark.parametrize(
    ("raw", "integer", "expected"),
    [
        ("142.0", True, "142"),
        (142.0, True, "142"),
        (-4.0, True, "-4"),
        ("025", True, "25"),
        ("000", True, "0"),
        ("142.0", False, "142.0"),  # a decimal may be meant
        ("007", False, "007"),
        ("  \\frac{1}{2}\n", False, "\\frac{1}{2}"),
        ("$2\\sqrt{5}$", False, "2\\sqrt{5}"),
        ("\\(x\\)", False, "x"),
        ("\\[\n\\boxed{\\frac{n+1}{4n-2}}\n\\]", False, "\\frac{n+1}{4n-2}"),
        ("\\boxed{1} and \\boxed{2}", False, "\\boxed{1} and \\boxed{2}"),  # two boxes: left alone
        ("$1$ or $2$", False, "$1$ or $2$"),  # the delimiters do not enclose the whole
        ("$19\\$", False, "$19\\$"),  # the last sign is money, not a delimiter
        ("x^2", True, "x^2"),
    ],
)
def test_clean_answer(raw, integer, expected):
    assert nf.clean_answer(raw, integer) == expected


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("4.5", "\\frac{9}{2}"),
        ("\\frac{17}{884}", "\\frac{1}{52}"),  # 884 = 17 · 52
        ("097", "97"),
        ("14", "14.0"),
        ("90^\\circ", "90^{\\circ}"),
        ("83", "83^\\circ"),
        ("\\$ 160", "160"),
        ("$\\frac{24}5$", "\\frac{24}{5}"),
        ("\\tfrac32", "\\dfrac{3}{2}"),
        ("907,200", "907200"),
        ("n = 2100", "2100"),
        ("\\text{east}", "east"),
        ("\\left( 3, \\frac{\\pi}{2} \\right)", "(3,\\frac{\\pi}{2})"),
        ("-0.5", "-\\frac{1}{2}"),
        ("7/2", "3.5"),
    ],
)
def test_equal_answer_keys(first, second):
    assert nf.answer_key(first) == nf.answer_key(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [("2.0", "20"), ("1/3", "0.333"), ("(1,2)", "12"), ("x+1", "x-1"), ("12\\%", "8.8\\%"), ("\\sqrt{3}", "1/3")],
)
def test_different_answer_keys(first, second):
    assert nf.answer_key(first) != nf.answer_key(second)


def test_as_rational_survives_zero_denominators_and_endless_digits():
    assert nf.as_rational("\\frac{1}{0}") is None
    assert nf.as_rational("9" * 100_000) is None
    assert nf.as_rational(".5") == Fraction(1, 2)


def test_markup_key_keeps_every_operator_and_decimal_point():
    base = nf.markup_key("Find 2+3.")
    for other in ("Find 2-3.", "Find 2.3.", "Find 23.", "Find 2,3."):
        assert nf.markup_key(other) != base


def test_markup_key_ignores_typesetting():
    plain = "Let $f(x) = x^{10}$, where $1, 2, \\dots, n$. Find $\\dfrac{1}{2}$."
    other = "Let \\( f(x)=x^{10} \\), where \\(1,2,\\ldots,n\\).\n\nFind \\[\\frac{1}{2}.\\]"
    assert nf.markup_key(plain) == nf.markup_key(other)
    assert nf.space_key(plain) != nf.space_key(other)


def test_tokens_drop_figures_and_split_letters_from_digits():
    text = "Let $(2 x-y)^{2}$ be\n[asy]draw((0,0)--(1,1));[/asy] even"
    assert nf.tokens(text) == ["let", "2", "x", "y", "2", "be", "even"]
    assert nf.numbers("[asy]draw(17);[/asy] Add 3 and 4.5 and 3") == ("3", "3", "4.5")
