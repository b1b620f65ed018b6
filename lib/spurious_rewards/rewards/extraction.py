r"""Finding the final answer in a model's text: answer tag, last balanced `\boxed{}`, optional unboxed fallback.

1. Style "r1": the content of the last `<answer>…</answer>` (an unclosed tag runs to the end, because samplers that stop
   at `</answer>` drop it), inside which the rules below apply.
2. The last *balanced* non-empty `\boxed{…}` (or `\fbox{…}`). Boxes separated by nothing but commas, "and" or "or"
   form one list, so `\boxed{1}, \boxed{2}` is the answer `1, 2`; distant boxes are never joined.
3. A text that has no balanced box but an opened one was cut off: it has no answer.
4. Fallback (`fallback=True`): `#### 5`, "the answer is 5", "Final Answer: **5**", else the last formula or number.

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

from spurious_rewards.errors import unknown_name

STYLES = ("boxed", "r1")
MAX_TEXT = 400_000  # characters looked at, from the end; a 3072-token completion has about 10 000
_MAX_OPENINGS = 200  # box openings looked at, from the end

_OPENING = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)")
_BARE_BOX = re.compile(r"\\boxed\s*([A-Za-z0-9.+\-/]*[A-Za-z0-9])")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
# What may stand between two boxes of one list: commas, "and"/"or", math delimiters, spacing, a short left-hand side.
_WORDS = r"\\(?:text|mbox|mathrm)\s*\{[^{}]{0,40}?\b(?:and|or)\s*\}|\band\b|\bor\b"
_GLUE = r"(?:\s|\\q?quad|\\[,;! ]|\$|\\[()\[\]]|\\left|\\right|\*\*)*"
_LEFT_HAND_SIDE = r"(?:[A-Za-z](?:_\{?\w{1,3}\}?)?\s*=)?"
_BETWEEN = re.compile(rf"{_GLUE}(?:[,;]|{_WORDS}|[,;]{_GLUE}(?:{_WORDS})){_GLUE}{_LEFT_HAND_SIDE}{_GLUE}")


def extract_answer(text: str, style: str = "boxed", fallback: bool = True) -> str | None:
    """The final answer of a model's text, or None if it has none.

    Args:
        text: a completion, any length (the last `MAX_TEXT` characters count).
        style: "boxed", or "r1" for prompts that ask for `<think>…</think><answer>…</answer>`.
        fallback: whether an answer without a box counts.

    Raises:
        InputError: `style` is not one of `STYLES`.
    """
    if style not in STYLES:
        raise unknown_name("answer style", style, STYLES)
    text = text[-MAX_TEXT:]
    tagged = _last_tag(text)
    if style == "r1" and tagged is not None:
        boxed = last_boxed(tagged)
        if boxed is not None or is_truncated(tagged):
            return boxed
        return _unboxed(tagged) if len(tagged) > 80 or _ANSWER_CUE.search(tagged) else _tidy(tagged) or None
    boxed = last_boxed(text)
    if boxed is not None or is_truncated(text) or not fallback:
        return boxed
    if tagged is not None:
        return _tidy(tagged) or None
    return _unboxed(text)


def last_boxed(text: str) -> str | None:
    r"""Content of the last balanced non-empty box, or a comma list of the boxes that belong together; else None."""
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


def is_truncated(text: str) -> bool:
    r"""Whether a box is opened and none is ever closed (`… so \boxed{5` at the token limit)."""
    last = _last_match(_OPENING, text)
    return last is not None and _matching_brace(text, last.end(), None) is None and last_boxed(text) is None


def _matching_brace(text: str, start: int, stop: int | None) -> int | None:
    """Index of the brace that closes the one at `start` (escaped braces do not count), looking up to `stop`."""
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
    start = text.rfind("<answer>")
    if start < 0:
        return None
    content = text[start + len("<answer>") :]
    return content.split("</answer>", 1)[0].strip()


def _last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)


# ---------------------------------------------------------------- answers without a box

_TAIL = 4000  # characters of the text that the fallback looks at
_HASHES = re.compile(r"^\s*####\s*(.+)$", re.MULTILINE)
_FINAL_CUE = re.compile(r"(?i)\bfinal\s+answer\b[^\w$\\(\[]{0,6}(?:is\b)?[\s:*=]*")
_ANSWER_CUE = re.compile(r"(?i)\b(?:answer|solution|result)\b[^\w$\\(\[]{0,4}(?:is\b|:|=)[\s:*=]*")
_PRICE = r"\s*\d[\d,.]*\s+[A-Za-z]{3}"  # "$5 and then $7" is no formula
_MATH = re.compile(
    rf"\$\$(.+?)\$\$|(?<!\\)\$(?!{_PRICE})((?:\\.|[^$\\\n]){{1,400}}?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL
)
_AFTER_MATH = re.compile(r"\s*(?:\\?%|percent\b|pct\b|degrees?\b)")
_NUMBER = re.compile(
    r"(?<![\w.^])[-−]?[$€£]?[-−]?(?:\d{1,3}(?:(?:,|\{,\}|,\\!)\d{3})+(?!\d)(?:\.\d+)?|\d*\.?\d+)(?:\s*/\s*\d+)?"
    r"(?:\s*(?:\\?%|percent\b|pct\b))?"
)
_SENTENCE_END = re.compile(r"\.(?:\s|\*|$)|\n")
_BOLD = re.compile(r"\*\*(.+?)\*\*")
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_NOISE = re.compile(r"<\|[^|>]*\|>.*|I hope it is correct.*", re.DOTALL)


def _unboxed(text: str) -> str | None:
    """The answer of a text without a box: after the last cue, else the last formula or number."""
    text = _NOISE.sub("", text[-_TAIL:]) if text.count("<|") + text.count("I hope it is") == 1 else text[-_TAIL:]
    hashes = _last_match(_HASHES, text)
    if hashes:
        return _tidy(hashes.group(1)) or None
    if len(text) <= 80 and "\n" not in text.strip() and not _PROSE.search(re.sub(r"\\text\{[^{}]*\}", "", text)):
        return _tidy(text) or None
    for cue in (_FINAL_CUE, _ANSWER_CUE):
        match = _last_match(cue, text)
        if match:
            answer = _from_statement(text[match.end() :])
            if answer:
                return answer
    return _last_formula_or_number(text)


def _from_statement(rest: str) -> str | None:
    """The answer in what follows a cue such as "the answer is": one sentence, whose last formula or number counts."""
    rest = rest.lstrip()
    math = _MATH.match(rest)
    if math:
        return _with_suffix(math, rest)
    end = _SENTENCE_END.search(_mask_math(rest))
    sentence = rest[: end.start()] if end else rest
    bold = _BOLD.search(sentence)
    if bold:
        sentence = bold.group(1)
    if re.search(r"\b(?:is|are|equals)\b", sentence) and (found := _last_formula_or_number(sentence)):
        return found
    if len(_PROSE.findall(sentence)) <= 3:
        return _tidy(sentence) or None
    return _last_formula_or_number(sentence)


def _mask_math(text: str) -> str:
    return _MATH.sub(lambda match: "x" * len(match.group()), text)


def _with_suffix(math: re.Match[str], text: str) -> str:
    suffix = _AFTER_MATH.match(text, math.end())
    content = next(group for group in math.groups() if group is not None)
    return _tidy(content) + (suffix.group().strip() if suffix else "")


def _last_formula_or_number(text: str) -> str | None:
    math = _last_match(_MATH, text)
    start = math.end() if math else 0
    number = _last_match(_NUMBER, text[start:])
    if number and (math is None or not _AFTER_MATH.match(text, math.end())):
        return _tidy(number.group())
    return _with_suffix(math, text) if math else None


def _tidy(answer: str) -> str:
    """Strip Markdown emphasis, math delimiters and closing punctuation around a short answer."""
    answer = answer.strip()
    while True:
        before = answer
        answer = answer.strip().strip("*`").strip()
        answer = re.sub(r"(?<!\\)[.,;:]+$", "", answer)
        math = _MATH.fullmatch(answer)
        if math:
            answer = next(group for group in math.groups() if group is not None)
        if answer == before:
            return answer
