r"""Judge as the verifier released with the paper does, its errors included.

Written anew from the observed behaviour, so that every result can be reported under both graders. Quirks that change
verdicts (each has a test in `tests/rewards/test_paper_grader.py`):

1. Units are removed from the prediction only, as words *and* as single letters (a, c, d, g, h, l, m, s, t, o …, "pm",
   "east"): gold `(a+5)(b+2)`, `\text{east}`, `1 \pm \sqrt{19}` (its "pm") cannot be answered correctly.
2. A gold of A–D switches to "the last stand-alone letter A–D of the whole text", upper-cased first, so the article in
   "as in a triangle" is an A.
3. Unreduced fractions are wrong: `2/4` for `1/2`; an integer must be met by an integer.
4. A box that is never closed counts (`\boxed{5`), and the bare word "boxed" is taken for a box.
5. Without a box, what follows the last "he answer is" is the answer, however long; else the last number of the text.
6. In R1 style the *characters* of `</answer>` are stripped from the end of the answer: "swan" becomes nothing.
7. A text without any answer has the answer "", which equals an empty label.
8. `\frac{x+1}{2}` is read as x + 1/2: parentheses around numerators are lost.
9. Lists are compared in order and ± is not expanded.

>>> grade_as_paper(r"so \boxed{5", "5"), grade_as_paper(r"so \boxed{\text{east}}", r"\text{east}")
((True, '5', 'paper_equal'), (False, '\\text{}', 'paper_differs'))

Usage: `grade(prediction, gold, mode="paper")` in `spurious_rewards.rewards.grading`
"""

from __future__ import annotations

import re
from functools import lru_cache

from spurious_rewards.errors import unknown_name
from spurious_rewards.rewards.extraction import MAX_TEXT, STYLES
from spurious_rewards.rewards.grader import worker_client
from spurious_rewards.rewards.grader.guards import refuse
from spurious_rewards.rewards.grader.paper_spelling import deliteralize, spell_dataset, strip_prediction

_LETTER_GOLDS = ("A", "B", "C", "D")
MAX_ANSWER = 2000  # characters; longer answers are compared as strings only
_BRACKETS = "()[]"


def grade_as_paper(prediction: str, gold: str, style: str = "boxed") -> tuple[bool, str, str]:
    """Return the released verifier's verdict, extracted answer and reason code ("paper_equal" or "paper_differs").

    Raises:
        InputError: unknown style.
    """
    if style not in STYLES:
        raise unknown_name("answer style", style, STYLES)
    extracted = extract_as_paper(prediction[-MAX_TEXT:], gold, style)
    correct = _equal(extracted, gold)
    return correct, extracted, "paper_equal" if correct else "paper_differs"


def extract_as_paper(text: str, gold: str, style: str = "boxed") -> str:
    """Return the answer that the released verifier sees, units already removed; "" if there is none."""
    if style == "r1" and "<answer>" in text:
        text = text.split("<answer>")[-1].strip().rstrip("</answer>").strip()  # quirk 6: a set of characters
        if gold not in _LETTER_GOLDS and "boxed" not in text:
            return strip_prediction(text) if len(text) <= MAX_ANSWER else text
    if gold in _LETTER_GOLDS:
        letters = re.findall(r"\b[ABCD]\b", text.upper())
        return letters[-1] if letters else text.strip().rstrip("./")[:MAX_ANSWER]
    answer = _raw_answer(text)
    return strip_prediction(answer) if len(answer) <= MAX_ANSWER else answer


def _raw_answer(text: str) -> str:
    if "final answer is $" in text and "$. I hope" in text:
        answer = text.split("final answer is $", 1)[1].split("$. I hope", 1)[0].strip()
    elif "boxed" in text:
        answer = _after_boxed(text.rsplit("boxed", 1)[1])
    elif "he answer is" in text:
        answer = text.rsplit("he answer is", 1)[1].strip()
    elif "final answer is" in text:
        answer = text.rsplit("final answer is", 1)[1].strip()
    else:
        numbers = re.findall(r"-?\d*\.?\d+", text.replace(",", ""))
        answer = numbers[-1] if numbers else ""
    answer = re.sub(r"\n\s*", "", answer).removeprefix(":")
    return answer.removesuffix(".").removesuffix("/")


def _after_boxed(rest: str) -> str:
    """Return what follows "boxed": a group up to its closing brace or the end, else the text up to a dollar sign."""
    if not rest.startswith("{"):
        return rest.split("$", 1)[0].strip()
    depth = 0
    for match in re.finditer(r"[{}]", rest):
        depth += 1 if match.group() == "{" else -1
        if depth == 0:
            return rest[1 : match.start()]
    return rest[1:]


def _equal(given: str, gold: str) -> bool:
    if max(len(given), len(gold)) > MAX_ANSWER:
        return given == gold
    return _equal_short(given, gold)


@lru_cache(maxsize=20_000)
def _equal_short(given: str, gold: str) -> bool:
    if spell_dataset(given) == spell_dataset(gold):
        return True
    a, b = deliteralize(given), deliteralize(gold)
    if a == b:
        return True
    if not a:
        return False
    items_a, items_b = _entries(a), _entries(b)
    if len(items_a) != len(items_b) or (len(items_b) > 1 and (a[0] != b[0] or a[-1] != b[-1])):
        return False
    return all(_entry_equal(x, y) for x, y in zip(items_a, items_b, strict=True))


def _entries(text: str) -> list[str]:
    """Return the entries of a bracketed list without inner brackets, else the text as the only entry."""
    text = join_thousands(text)
    inside = text[1:-1]
    if len(text) > 2 and text[0] in _BRACKETS and text[-1] in _BRACKETS and not set(inside) & set(_BRACKETS):
        return [entry.strip() for entry in inside.split(",")]
    return [text] if text else []


def join_thousands(text: str) -> str:
    """Remove commas that group thousands."""
    while (joined := re.sub(r"(\d),(\d\d\d)(?=$|\D)", r"\1\2", text)) != text:
        text = joined
    return text


def _entry_equal(given: str, gold: str) -> bool:
    fraction = r"-?[0-9]+.?/0*[1-9][0-9]*.?"
    if re.fullmatch(fraction, given) and re.fullmatch(fraction, gold):
        return given == gold
    if _is_integer(given) != _is_integer(gold):
        return False
    return _difference_is_zero(given, gold)


def _is_integer(text: str) -> bool:
    try:
        number = float(join_thousands(text))
        return abs(number - round(number)) <= 1e-7
    except (ValueError, OverflowError):
        return False


def _difference_is_zero(given: str, gold: str) -> bool:
    """Tell whether sympy simplifies the difference to zero, for texts the released verifier lets sympy see."""
    expression = f"({gold})-({given})"
    letters = {character for character in expression.replace("sqrt", "").replace("frac", "") if character.isalpha()}
    if len(letters) > 2 or re.search(r"\^[{(]|\^[0-9]+\^|\^[0-9][0-9]+", expression) or refuse(expression):
        return False
    return worker_client.is_zero(expression)[0]
