r"""Grade the final answer of a model's text against the reference answer, in two modes.

- `robust` (default): extraction of the last balanced box, canonical spelling, string equality, structural and exact
  rational comparison, and only then math-verify in a killable process.
- `paper`: the behaviour of the verifier released with the paper, its quirks included (`grader.paper`).

`grade` never raises for any text: a pair that cannot be decided is wrong, and the record says why.

>>> grade(r"… so the answer is $\boxed{\dfrac{2}{4}}$.", "0.5")
Grade(correct=True, extracted='\\dfrac{2}{4}', reason='number_equal')
>>> grade(r"… so \boxed{5", "5")
Grade(correct=False, extracted=None, reason='truncated_box')
>>> same_answer("1, -2", "-2,1"), same_answer("(1,2)", "(2,1)")
(True, False)

Usage: `python -m spurious_rewards.rewards.grading --mode robust|paper --cases FILE.jsonl`; the last line is JSON.
With `--disagreements TABLE.csv --reasons REASONS.json` it also writes TABLE.csv and TABLE.md, one row per case that is
judged otherwise than expected, with the reason given for its id.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from spurious_rewards.command_line import command
from spurious_rewards.errors import InputError, unknown_name
from spurious_rewards.rewards.cases import print_json, read_cases, run
from spurious_rewards.rewards.extraction import extract_answer, is_truncated, last_boxed
from spurious_rewards.rewards.grader import worker_client
from spurious_rewards.rewards.grader.compare import Verdict, compare
from spurious_rewards.rewards.grader.normalization import normalize
from spurious_rewards.rewards.grader.sentences import is_sentence
from spurious_rewards.rewards.grader.unboxed import lacks_json_answer, marked
from spurious_rewards.storage.files import read_json, write_text
from spurious_rewards.storage.markdown import pipe_table

MODES = ("robust", "paper")
MAX_ANSWER = 5000  # characters of an answer that is compared by more than string equality

REASONS: dict[str, str] = {
    "string_equal": "the canonical strings are equal",
    "number_equal": "the exact values are equal, or a long decimal is the rounded value",
    "text_equal": "the same words or choice letter",
    "structure_equal": "the same list, tuple, interval or matrix, entry by entry",
    "identity_equal": "expressions with unknowns agree at two arbitrary points, exactly or to 130 digits",
    "symbolic_equal": "math-verify takes the expressions for equal",
    "no_answer": "the text holds no answer",
    "truncated_box": "a box is opened and never closed",
    "no_json_answer": "the text is JSON, perhaps cut off, and has no answer field",
    "empty_gold": "the reference answer is empty",
    "number_differs": "the values differ",
    "text_differs": "other words or another choice letter",
    "structure_differs": "another number of entries, other brackets, or a relation against a value",
    "unit_differs": "both sides carry a unit and they disagree",
    "base_differs": "the same digits in different number bases",
    "identity_differs": "expressions with unknowns differ at an arbitrary point",
    "symbolic_differs": "math-verify tells the expressions apart",
    "guard_length": "too long for the symbolic engine; not equal as strings",
    "guard_words": "a sentence; not given to the symbolic engine",
    "guard_nesting": "nested too deeply for the symbolic engine",
    "guard_power": "an exponent or power tower too large for the symbolic engine",
    "guard_factorial": "a factorial or binomial too large for the symbolic engine",
    "guard_sum": "a sum, product or integral with large bounds, not given to the symbolic engine",
    "unparsable": "math-verify cannot parse one side",
    "timeout": "math-verify was killed after two seconds of work",
    "timeout_busy": "math-verify was killed after four seconds, in which a busy machine gave it less than two of work",
    "memory": "math-verify reached its memory limit",
    "engine_error": "math-verify raised an error",
    "failed": "the comparison before math-verify raised an error: a bug of this package",
    "worker_died": "the math-verify process died on this pair",
    "worker_failed": "the math-verify process could not be started",
    "paper_equal": "paper mode: judged equal",
    "paper_differs": "paper mode: judged different",
}


NOT_JUDGED = frozenset(
    "timeout timeout_busy memory engine_error failed worker_died worker_failed guard_length guard_nesting guard_power "
    "guard_factorial guard_sum".split()
)
"""Reasons that say nothing about the answer: the grader gave up on it, and it counts as wrong."""
NOT_READ = frozenset(("unparsable", "no_json_answer"))
"""Reasons that say that an answer was found and could not be read; it counts as wrong."""
MOST_UNDECIDED = 0.01
"""Share of answers of one of these kinds above which `undecided` speaks."""


class Grade(NamedTuple):
    """Verdict of one mode on one text; `reason` is a key of `REASONS`."""

    correct: bool
    extracted: str | None
    reason: str


def grade(prediction: str, gold: str, mode: str = "robust", style: str = "boxed", fallback: bool = True) -> Grade:
    """Grade a model's text against a reference answer.

    Args:
        prediction: the completion.
        gold: the reference answer, bare, in `$…$` or in a box.
        mode: one of `MODES`.
        style: answer style of the prompt, one of `extraction.STYLES`.
        fallback: whether an answer outside a box counts (robust mode).

    Raises:
        InputError: unknown mode or style, or an argument that is not a string.
    """
    if not isinstance(prediction, str) or not isinstance(gold, str):
        kinds = f"{type(prediction).__name__} and {type(gold).__name__}"
        raise InputError(f"Prediction and gold must be text, but they are {kinds}: convert them with str() first.")
    if mode == "paper":
        from spurious_rewards.rewards.grader.paper import grade_as_paper

        return Grade(*grade_as_paper(prediction, gold, style))
    if mode != "robust":
        raise unknown_name("grading mode", mode, MODES)
    extracted = extract_answer(prediction, style, fallback)
    if extracted is None:
        return Grade(False, None, _why_none(prediction))
    correct, reason = _safely_judge(extracted, gold)
    return Grade(correct, extracted, reason)


def _why_none(prediction: str) -> str:
    if is_truncated(prediction):
        return "truncated_box"
    return "no_json_answer" if lacks_json_answer(prediction) else "no_answer"


def undecided(reasons: Iterable[str]) -> list[str]:
    """Return a sentence for each kind of verdict that is no judgement and makes up more than `MOST_UNDECIDED` of all.

    >>> undecided(["number_equal"] * 97 + ["timeout"] * 3)[0][:61]
    'The grader gave up on 3 of 100 answers (3.0 %; timeout 3) and'
    >>> undecided(["number_equal"] * 99 + ["timeout"])
    []
    """
    counts = Counter(reasons)
    total, sentences = sum(counts.values()), []
    for what, kind in (
        ("gave up on {} and counted them as wrong: the accuracy may be too low by their share", NOT_JUDGED),
        ("could not read {} and counted them as wrong: look at a few of the texts", NOT_READ),
    ):
        found = {reason: n for reason, n in counts.most_common() if reason in kind}
        n = sum(found.values())
        if n > MOST_UNDECIDED * total:
            by_reason = ", ".join(f"{reason} {m}" for reason, m in found.items())
            share = f"{n} of {total} answers ({100 * n / total:.1f} %; {by_reason})"
            sentences.append(f"The grader {what.format(share)}.")
    return sentences


def same_answer(a: str, b: str) -> bool:
    """Return whether two bare answers are equal (robust rules); empty answers equal nothing."""
    return _safely_judge(a, b)[0]


_TRANSIENT = ("timeout_busy", "worker_failed")


class _Transient(Exception):
    """A verdict that says nothing about the pair (the machine was busy): must not enter the cache."""


def _safely_judge(prediction: str, gold: str) -> Verdict:
    """`judge`, where an error in this code on some unforeseen text costs one verdict and not a training run."""
    try:
        return judge(prediction, gold)
    except _Transient as transient:
        return False, str(transient)
    except Exception:  # the reason code makes it visible in every record
        return False, "failed"


def judge(prediction: str, gold: str) -> Verdict:
    """Compare an extracted answer with a reference answer by the robust rules; return verdict and reason code."""
    if max(len(prediction), len(gold)) > MAX_ANSWER:  # would fill the memory if it were remembered
        return _judged.__wrapped__(prediction, gold)
    return _judged(prediction, gold)


@lru_cache(maxsize=20_000)
def _judged(prediction: str, gold: str) -> Verdict:
    gold = _bare_gold(gold)
    if not gold:
        return False, "empty_gold"
    if prediction.strip() == gold:
        return True, "string_equal"
    if max(len(prediction), len(gold)) > MAX_ANSWER:
        return False, "guard_length"
    a, b = normalize(prediction), normalize(gold)
    if not a:
        return False, "no_answer"
    if not b:
        return False, "empty_gold"
    verdict = compare(a, b)
    if verdict[1] in _TRANSIENT:
        raise _Transient(verdict[1])
    if not verdict[0] and "," in prediction and "," in gold and (_GROUPED.search(prediction) or _GROUPED.search(gold)):
        spread = [_GROUPED.sub(lambda match: match.group().replace(",", ", "), text) for text in (prediction, gold)]
        if (normalize(spread[0]), normalize(spread[1])) != (a, b):
            again = compare(normalize(spread[0]), normalize(spread[1]))
            return again if again[0] else verdict
    if not verdict[0] and is_sentence(prediction):
        again = compare(normalize(marked(re.sub(r"\\text\s*\{([^{}]*)\}", r" \1 ", prediction)) or ""), b)
        return again if again[0] else verdict
    return verdict


_GROUPED = re.compile(r"(?<!\d)\d{1,3}(?:,\d{3})+(?!\d)")


def _bare_gold(gold: str) -> str:
    """Take the content of the box of a reference answer that is a whole solution."""
    gold = gold.strip()
    boxed = last_boxed(gold) if "boxed" in gold else None
    return boxed if boxed is not None else gold


# ---------------------------------------------------------------- command line

_COLUMNS = (
    "id",
    "source",
    "prediction",
    "gold",
    "expected",
    "judged",
    "extracted",
    "reason_code",
    "who_is_right_and_why",
)


def _style(case: dict[str, Any]) -> str:
    """Return the case's answer style; if it names none, a text with a closed answer tag is in R1 style."""
    return case.get("style") or ("r1" if "</answer>" in case["prediction"] else "boxed")


def disagreement_rows(cases: list[dict[str, Any]], mode: str, reasons: dict[str, str]) -> list[dict[str, str]]:
    """List the cases that are judged otherwise than expected, one row each, with the end of a long prediction.

    Raises:
        InputError: a disagreement has no reason although reasons are given.
    """
    rows = []
    for number, case in enumerate(cases):
        result = grade(case["prediction"], case["gold"], mode, _style(case))
        if result.correct == case["expected"]:
            continue
        name = str(case.get("id", number))
        if reasons and name not in reasons:
            raise InputError(f"Case {name} is judged otherwise than expected and has no reason: add one for this id.")
        values = (
            name,
            case.get("source", ""),
            case["prediction"][-200:],
            case["gold"],
            case["expected"],
            result.correct,
            result.extracted,
            result.reason,
            reasons.get(name, ""),
        )
        rows.append({column: str(value) for column, value in zip(_COLUMNS, values, strict=True)})
    return rows


def write_disagreements(path: str | Path, rows: list[dict[str, str]], total: int) -> None:
    """Write the rows as CSV, and as a Markdown table next to it."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, stream.getvalue())
    table = pipe_table(_COLUMNS, (row.values() for row in rows))
    head = f"{len(rows)} of {total} cases are judged otherwise than expected."
    write_text(Path(path).with_suffix(".md"), f"{head}\n\n{table}")


def judge_cases(*, cases: str, mode: str = "robust", disagreements: str = "", reasons: str = "") -> None:
    """Measure the accuracy of the grader on labelled cases; the last line is JSON.

    Args:
        cases: JSON lines with prediction, gold, expected; maybe style, id.
        mode: robust or paper.
        disagreements: write this CSV table (and .md next to it).
        reasons: JSON object from case id to reason, for the table.
    """
    rows = read_cases(cases, {"prediction": str, "gold": str, "expected": bool})
    worker_client.warm_up()  # so that the first case does not pay for the import
    summary, _ = run(rows, lambda case: judge_case(case, mode), "expected")
    if disagreements:
        known = read_json(reasons) if reasons else {}
        write_disagreements(disagreements, disagreement_rows(rows, mode, known), len(rows))
    print_json(summary)


def judge_case(case: dict[str, Any], mode: str) -> bool:
    """Return the verdict on one labelled case; a comparison that failed inside counts as a crash.

    Raises:
        RuntimeError: the comparison raised an error.
    """
    result = grade(case["prediction"], case["gold"], mode, _style(case))
    if result.reason in ("failed", "worker_failed"):
        raise RuntimeError(result.reason)
    return result.correct


main = command(judge_cases)


if __name__ == "__main__":
    sys.exit(main())
