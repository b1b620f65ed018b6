r"""Find the final answer in a model's text: answer tag, last balanced `\boxed{}`, optional unboxed fallback.

1. Style "r1": the content of the last `<answer>…</answer>` (an unclosed tag runs to the end, because samplers that stop
   at `</answer>` drop it), inside which rules 2 to 4 apply, and a few words are an answer too.
2. The last *balanced* non-empty `\boxed{…}` (or `\fbox{…}`). Boxes separated by nothing but commas, "and" or "or"
   form one list, so `\boxed{1}, \boxed{2}` is the answer `1, 2`; distant boxes are never joined.
3. A text that has no balanced box but an opened one was cut off: it has no answer.
4. Fallback (`fallback=True`): JSON, `#### 5`, "the answer is 5", else the last value (`grader.unboxed`).

Every step is linear in the length of the text.

>>> extract_answer(r"First \boxed{3}, wait: $\boxed{\frac{1}{2}}$.")
'\\frac{1}{2}'
>>> extract_answer(r"\boxed{-2} \quad \text{and} \quad \boxed{1}")
'-2, 1'
>>> extract_answer(r"so we get \boxed{5"), extract_answer("The answer is 42.", fallback=False)
(None, None)
>>> extract_answer("<think>\\boxed{1}</think><answer>7</answer>", style="r1")
'7'

Usage: `from spurious_rewards.rewards.extraction import extract_answer`
"""

from __future__ import annotations

import re
from collections import deque

from spurious_rewards.errors import check_name
from spurious_rewards.rewards.grader.unboxed import before_new_question, marked, unboxed

STYLES = ("boxed", "r1")
MAX_TEXT = 400_000  # characters looked at, from the end; a 3072-token completion has about 10 000
_MAX_OPENINGS = 200  # box openings looked at, from the end

_OPENING = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)")
_BARE_BOX = re.compile(r"\\boxed\s*([A-Za-z0-9.+\-/]*[A-Za-z0-9])")
_MARKED = re.compile(r"</answer>|####[ \t]*\(?(?:[-$€£]?\d[^\n]*|[A-J]\)?[ \t]*$)", re.MULTILINE)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
# What may stand between two boxes of one list: commas, "and"/"or", math delimiters, spacing, a short left-hand side.
_WORDS = r"\\(?:text|mbox|mathrm)\s*\{[^{}]{0,40}?\b(?:and|or)\s*\}|\band\b|\bor\b"
_GLUE = r"(?:\s|\\q?quad|\\[,;! ]|\$|\\[()\[\]]|\\left|\\right|\*\*)*"
_LEFT_HAND_SIDE = r"(?:[A-Za-z](?:_\{?\w{1,3}\}?)?\s*=)?"
_BETWEEN = re.compile(rf"{_GLUE}(?:[,;]|{_WORDS}|[,;]{_GLUE}(?:{_WORDS})){_GLUE}{_LEFT_HAND_SIDE}{_GLUE}")


def extract_answer(text: str, style: str = "boxed", fallback: bool = True) -> str | None:
    """Return the final answer of a model's text, or None if it has none.

    Args:
        text: a completion, any length (the last `MAX_TEXT` characters count).
        style: "boxed", or "r1" for prompts that ask for `<think>…</think><answer>…</answer>`.
        fallback: whether an answer without a box counts.

    Raises:
        InputError: `style` is not one of `STYLES`.
    """
    check_name("answer style", style, STYLES)
    text = text[-MAX_TEXT:]
    tagged = _last_tag(text)
    if style == "r1" and tagged is not None:
        boxed = last_boxed(tagged)
        if boxed is not None or is_truncated(tagged):
            return boxed
        return marked(tagged)
    boxed = last_boxed(text)
    if boxed is not None or is_truncated(text) or not fallback:
        return boxed
    return unboxed(text) if tagged is None else marked(tagged)


def last_boxed(text: str) -> str | None:
    r"""Return the content of the last balanced non-empty box, a comma list of boxes that belong together, or None."""
    if "\\boxed" not in text and "\\fbox" not in text:
        return None
    contents: list[str] = []
    next_start: int | None = None
    for opening in reversed(list(_OPENING.finditer(text))[-_MAX_OPENINGS:]):
        end = _matching_brace(text, opening.end(), next_start)
        if end is None:
            if contents:
                break
            continue
        content = text[opening.end() + 1 : end].strip()
        if not content:
            continue
        if next_start is not None and not _BETWEEN.fullmatch(text[end + 1 : next_start][:200]):
            break
        if content not in contents:
            contents.append(content)
        next_start = opening.start()
    if contents:
        return ", ".join(reversed(contents))
    bare = None if _OPENING.search(text) else _last_match(_BARE_BOX, text)
    return bare.group(1) if bare else None


def first_answer(text: str, start: int = 0) -> tuple[int, int] | None:
    r"""Return where the first marked answer stands (start, end): a filled box, `#### 5` or a closed answer tag.

    >>> first_answer(r"so \boxed{5}, and more"), first_answer("we add 3 and 4")
    ((3, 12), None)
    """
    found = [match.span() for match in _MARKED.finditer(text, start)][:1]
    for opening in _OPENING.finditer(text, start, found[0][0] if found else len(text)):
        end = _matching_brace(text, opening.end(), None)
        if end is None:
            break
        if text[opening.end() + 1 : end].strip():
            found.append((opening.start(), end + 1))
            break
    return min(found, default=None)


def is_truncated(text: str) -> bool:
    r"""Return whether a box is opened and none is ever closed (`… so \boxed{5` at the token limit)."""
    last = _last_match(_OPENING, text)
    return last is not None and _matching_brace(text, last.end(), None) is None and last_boxed(text) is None


def _matching_brace(text: str, start: int, stop: int | None) -> int | None:
    """Find the brace that closes the one at `start` (escaped braces do not count), looking up to `stop`."""
    depth = 0
    for match in _BRACE.finditer(text, start, len(text) if stop is None else stop):
        if match.group() == "{":
            depth += 1
        elif match.group() == "}":
            depth -= 1
            if depth == 0:
                return match.start()
    return None


def _last_tag(text: str) -> str | None:
    closed = text.find("</answer>")
    if closed >= 0:
        text = before_new_question(text, closed)
    start = text.rfind("<answer>")
    if start < 0:
        return None
    content = text[start + len("<answer>") :]
    return content.split("</answer>", 1)[0].strip()


def _last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)
