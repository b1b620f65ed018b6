"""Golds from a problem set of ours or of the user's, and whether a file's problems are those they pass for.

A file's problem is found in the reference by its id, by its text (white space, markup and upper case aside, or by its
words and numbers), or by the reference text that its prompt holds; of several, the one that ends last, since examples
come before the question.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from spurious_rewards.data.normalize import answer_key, clean_answer, markup_key, tokens
from spurious_rewards.data.problem import Problem
from spurious_rewards.data.problem_sets import PROBLEM_SETS, load_problems
from spurious_rewards.data.sources import BENCHMARKS, data_folder
from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.elsewhere.answers import Answer
from spurious_rewards.rewards.grading import same_answer

SHOWN = 160
"""Characters of a problem that a message shows."""
BEFORE, AFTER = 4, 10
"""Words before and after the first difference that a message shows."""
ENOUGH = 0.8
"""Share of a file's problems that must be in a benchmark for the file to be taken for answers to it."""


@dataclass(frozen=True)
class Reference:
    """Hold a problem set that answers are held against: its name, and its problems in their own order."""

    name: str
    problems: tuple[Problem, ...]

    @property
    def pinned(self) -> bool:
        """Tell whether it is one of the benchmarks whose content this project pins."""
        return self.name in BENCHMARKS


def load_reference(name: str) -> Reference:
    """Load the problem set of that name, or the user's file of problems (fields id, problem, answer).

    Raises:
        InputError: it is neither, or cannot be loaded.
    """
    return Reference(name if name in PROBLEM_SETS else "own problems", tuple(load_problems(name, order="first")))


def recognised(answers: Sequence[Answer]) -> Reference | None:
    """Recognise the pinned benchmark that a file's problems come from, where benchmarks are at hand as local files."""
    if data_folder() is None:
        return None
    asked = {answer.key: markup_key(_asked(answer)) for answer in answers}
    candidates = []
    for name in BENCHMARKS:
        try:
            reference = load_reference(name)
        except InputError:  # not among the local files
            continue
        keys = {markup_key(problem.problem) for problem in reference.problems}
        found = sum(text in keys for text in asked.values())
        if found >= ENOUGH * len(asked):
            candidates.append((found, -len(keys), reference))  # of amc and amc40 the one without problems left over
    return max(candidates, key=lambda item: item[:2])[2] if candidates else None


def matched(answers: Sequence[Answer], reference: Reference) -> dict[str, Problem | None]:
    """Find the reference's problem for the key of each problem of the file, None where there is none."""
    first = {answer.key: answer for answer in reversed(answers)}
    by_id = {problem.id: problem for problem in reference.problems}
    by_text = {markup_key(problem.problem): problem for problem in reference.problems}
    by_words = {tuple(tokens(problem.problem)): problem for problem in reference.problems}
    found: dict[str, Problem | None] = {}
    for key in dict.fromkeys(answer.key for answer in answers):
        asked = markup_key(_asked(first[key]))
        words = by_words.get(tuple(tokens(_asked(first[key])))) if asked else None
        found[key] = by_id.get(key) or by_text.get(asked) or words or (_held(asked, by_text) if asked else None)
    if not any(found.values()):
        found |= _by_number(list(found), reference.problems)
    return found


def differences(answers: Sequence[Answer], reference: Reference) -> list[str]:
    """Name each problem of the file that is not the reference's: another text, another gold, or unknown."""
    found, sentences, unknown = matched(answers, reference), [], []
    for answer in {answer.key: answer for answer in reversed(answers)}.values():
        problem = found[answer.key]
        if problem is None:
            near = _near(answer, reference)
            (sentences if near else unknown).append(near or _unknown(answer, reference))
        elif answer.problem and not _same_text(problem.problem, answer.problem):
            sentences.append(f"{_named(problem, reference)} {_differs(problem.problem, answer.problem)}")
        elif answer.golds and not any(_same_gold(gold, problem.answer) for gold in answer.golds):
            sentences.append(
                f"{_named(problem, reference)} has the answer {problem.answer[:60]!r}, and the file says "
                f"{answer.golds[0][:60]!r}."
            )
    return [*sentences[::-1], *unknown[::-1]]


def with_reference(answers: Sequence[Answer], reference: Reference) -> tuple[list[Answer], dict[str, Problem]]:
    """Put the answers under the reference's ids, texts and golds; also return id → problem.

    Raises:
        InputError: a problem is not the reference's; the sentence names it.
    """
    wrong = differences(answers, reference)
    if wrong:
        more = f" {wrong[1]}" if len(wrong) > 1 else ""
        more += f" ({len(wrong)} problems in all.)" if len(wrong) > 2 else ""
        raise InputError(
            f"{wrong[0]}{more} Correct the file, or leave `reference` out to grade by the file's own golds."
        )
    found = {key: problem for key, problem in matched(answers, reference).items() if problem is not None}
    twice = len(found) - len({problem.id for problem in found.values()})
    if twice:
        raise InputError(f"{twice} problems of the file are one problem of {reference.name}: give each its own id.")
    replaced = [
        replace(answer, key=found[answer.key].id, problem=found[answer.key].problem, golds=(found[answer.key].answer,))
        for answer in answers
    ]
    return replaced, {problem.id: problem for problem in found.values()}


def first_of(keys: Sequence[str], reference: Reference) -> bool:
    """Tell whether these problems are the first of the reference in its own order, and not all of it."""
    n = len(set(keys))
    return n < len(reference.problems) and {problem.id for problem in reference.problems[:n]} == set(keys)


def _asked(answer: Answer) -> str:
    return answer.problem or answer.prompt


def _held(asked: str, by_text: Mapping[str, Problem]) -> Problem | None:
    """Find the problem whose text stands in the prompt, the last one to end, and of these the longest."""
    ends = [(asked.rfind(text) + len(text), len(text), problem) for text, problem in by_text.items() if text in asked]
    return max(ends, key=lambda item: item[:2])[2] if ends else None


def _by_number(keys: Sequence[str], problems: Sequence[Problem]) -> dict[str, Problem | None]:
    """Find problems by the number in which each id ends, as in `request-0`, if one is 0 and none is too large."""
    numbers = [int(match.group()) if (match := re.search(r"\d{1,9}$", key)) else -1 for key in keys]
    if len(set(numbers)) < len(keys) or min(numbers) != 0 or max(numbers) >= len(problems):
        return dict.fromkeys(keys)
    return {key: problems[number] for key, number in zip(keys, numbers, strict=True)}


def _same_gold(gold: str, answer: str) -> bool:
    return answer_key(clean_answer(gold, integer=True)) == answer_key(answer) or same_answer(gold, answer)


def _same_text(pinned: str, given: str) -> bool:
    """Tell whether a text is the pinned one or holds it, markup aside, or has the same words and numbers."""
    return markup_key(pinned) in markup_key(given) or tokens(pinned) == tokens(given)


def _near(answer: Answer, reference: Reference) -> str:
    """Say where a problem differs from the one of the reference that it nearly is; nothing if there is none."""
    keys = {markup_key(problem.problem): problem for problem in reference.problems}
    asked = _asked(answer)
    near = difflib.get_close_matches(markup_key(asked), keys, n=1, cutoff=0.8) if asked else []
    return f"{_named(keys[near[0]], reference)} {_differs(keys[near[0]].problem, asked)}" if near else ""


def _unknown(answer: Answer, reference: Reference) -> str:
    asked = _asked(answer)
    if not asked:
        return f"Row {answer.row} has the id {answer.key[:80]!r}, which {reference.name} does not have, and no text."
    return f"Row {answer.row} asks what {reference.name} does not: {asked[:SHOWN]!r}."


def _named(problem: Problem, reference: Reference) -> str:
    """Name a problem by its id and its place, the number that people know it by."""
    return f"Problem {problem.id} (number {reference.problems.index(problem) + 1} of {reference.name})"


def _differs(pinned: str, given: str) -> str:
    """Say where the words of two texts part, markup aside, as the end of a sentence."""
    one, two = pinned.split(), given.split()
    keys = [[markup_key(word) for word in words] for words in (one, two)]
    parts = difflib.SequenceMatcher(None, *keys, autojunk=False).get_opcodes()
    _, i, _, j, _ = next(part for part in [*parts, ("end", 0, 0, 0, 0)] if part[0] != "equal")
    shown = [" ".join(words[max(0, at - BEFORE) : at + AFTER]) for words, at in ((one, i), (two, j))]
    return f"reads {shown[0]!r} as pinned, and {shown[1]!r} in the file."
