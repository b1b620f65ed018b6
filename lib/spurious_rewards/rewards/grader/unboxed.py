r"""Find the final answer of a text that has no box: one rule for every place in which an answer can stand.

Places, first match wins:

1. the answer field of JSON (`{"reasoning": …, "answer": "12"}`);
2. `#### 12`, anywhere in a line;
3. a text that is nothing but an answer (`12`, `x=3`);
4. what follows the last cue: "final answer", else "answer" or "option";
5. an option that the last sentence chooses ("so it is choice C");
6. what follows the last "solution" or "result";
7. the last sentence that holds a number or formula;
8. of a text without any, "does not exist" or "no solution" at its end.

The text begins behind `</think>`, and ends at an end-of-text token or where a new question begins after an answer
("Question:", "User:", "[Q]:"). A cue that is denied ("the answer is not 3") or asked is none. After a doubt ("wait")
the next conclusion counts. A statement that is cut off while it repeats gives way to the one before. Which value of a
sentence counts is decided in `sentences`.

>>> unboxed("So the answer is 5 (since 2+3=5, not 6)."), unboxed("In 3 days she earns 45 dollars for 2 jobs.")
('5', '45')
>>> unboxed('{"reasoning": "We add 3 and 4.", "answer": "7"}'), unboxed("So we choose option C. #### C")
('7', 'C')
>>> marked("Mia has 70 coins."), marked("She paid $3 + $4 = $7."), marked("no real solutions"), unboxed("I give up.")
('70', '$7', 'no real solutions', None)

Usage: `from spurious_rewards.rewards.grader.unboxed import marked, unboxed`
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from spurious_rewards.rewards.grader.sentences import (
    MATH,
    NUMBER,
    PROSE,
    SENTENCE_END,
    in_sentence,
    in_words,
    is_nothing_but_answer,
    joined,
    last_match,
    masked_formulas,
    tidy,
    values_in,
    with_noun,
    without_commands,
)

_TAIL = 4000  # characters looked at, from the end
_MAX_CUES = 8  # of one kind, from the end
_END = re.compile(r"<\|[^|>\n]{1,40}\|>|</s>|<(?:eos|end_of_turn|end_of_text)>|\[/?INST\]|I hope it is correct")
_JSON_OPENING = re.compile(r"\s*(?:```\w*\s*)?\{\s*[\"'][\w -]{1,40}[\"']\s*:")
_JSON_VALUE = r"(?:\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\\n]|\\.)*)'|(-?\d[\d.,/eE+-]*|true|false)(?=\s*(?:[,}\]\s]|\Z)))"
_JSON_FIELD = re.compile(
    r"[\"'](?:(?:final|correct)[_ ]?)?(answers?|ans|result|solution|value|output)[\"']\s*:\s*"
    rf"(?:{_JSON_VALUE}|\[([^\[\]]*)\]|\{{([^{{}}]*)\}})",
    re.IGNORECASE | re.DOTALL,
)
_JSON_PAIR = re.compile(rf"[\"']([\w -]{{1,40}})[\"']\s*:\s*{_JSON_VALUE}", re.DOTALL)
_HASHES = re.compile(r"####[ \t]*([^\n#]+)")
_HEADING = re.compile(r"(?i)\s*(?:step|final|answer|solution|part|case|\d+[.)]\s+[a-z]).*|.*:\s*")
_CUES = tuple(
    re.compile(rf"(?i)\b(?:{words})\b[^\w$\\(\[?\n]{{0,6}}(?:(?:is|are|was|be|must be|should be)\b|[:=]){after}")
    for words, after in (
        (r"final\s+answers?", r"[\s:*=]*"),
        (
            r"answers?(?:\s+(?:option|choice))?|(?m:^[ \t]*A(?=:))"
            r"|(?:correct|right|best|selected|chosen|my)\s+(?:option|choice|letter)",
            r"[\s:*=]*",
        ),
        (r"solutions?|results?", r"[\s:*=]*"),
    )
)
_FINAL_HEADING = re.compile(r"(?i)\bfinal\s+answers?\b[\s*_#]*(?=\n|[$\\(\[\d-])[\s*_#]*")  # **Final Answer**, then $5$
_NEW_QUESTION = re.compile(
    r"(?im)^[ \t*#]*(?:\[?\s*Q(?:uestion)?\s*\d*\s*\]?\s*:|(?:new |next )?(?:problem|exercise)(?:[ \t]+\d+)?\s*:"
    r"|(?:human|user|student|instruction|input)\s*:)"
)
_CUT_OFF_FORMULA = re.compile(r"(?<![\\$])\$(?=[^$\n]*\\)[^$\n]*\Z|\\[\[(](?:(?!\\[\])]).)*\Z", re.DOTALL)
_DOUBT = re.compile(
    r"(?i)\bis (?:that|this|it) (?:correct|right)\s*\?|\bwait\b|\bactually,|\bno, (?:that|this|it)\b|\bhmm+\b"
    r"|\bthat(?:'s| is) (?:not right|not correct|wrong|incorrect)|\blet(?:'s| me| us) (?:redo|recalculate|re-?check)"
)
_CONCLUSION = re.compile(r"(?im)(?:^|(?<=[.!?,]\s))[ \t*]*(?:therefore|thus|hence|so)\b,?[ \t]*")
_UNFINISHED = re.compile(r"[^\n]{1,60}(?<=\w)")
_NOT_STATED = re.compile(
    r"(?i)not\s+(?!only\b)(?:[^.\n]{1,80}?(?:\bbut|[,;]\s*(?:it|but|rather)(?:\s+is)?)\s+(?P<rest>.*))?", re.DOTALL
)
_BOLD = re.compile(r"\*\*(.+?)\*\*")
_OPTION = re.compile(  # "option C", "(C) 31.5 N", "C, since …"
    r"(?i:(?:the\s+)?(?:correct\s+)?(?:option|choice|letter)\s*(?:is\s*)?:?)\s*\(?([A-J])\)?(?:[.):]?\s*$|[.):,]\s|\s\()"
    r"|\(?([A-J])(?:\)?[.:]|\))\s+\S|([A-J])(?:,\s|\s+(?:since|because)\s|\s\()"
)
_CHOSEN = re.compile(  # a last sentence like "So it is choice C" or "Thus (C) is the right option"
    r"\b(?:[Oo]ption|[Cc]hoice)\s+(?:is:?\s+)?\(?([A-J])\)?(?![A-Za-z(])"
    r"|\(?\b([A-J])\)?\s+is\s+(?:the\s+)?(?:right|correct|best)\b"
    r"|\b(?:choose|select|pick|go\s+with)\s+\(?([A-J])\)?[.!\s]*\Z|\A\W*(?:\*\*\(?([A-J])\)?\.?\*\*|\(([A-J])\)|([A-J])[.)])\W*\Z"
)
_CUE_IN_TEXT = re.compile(r"(?i)\\(?:text|textbf|mathbf|mbox)\s*\{([^{}]*\b(?:answer|solution|result)\b[^{}]*)\}")
_DENIAL = re.compile(r"(?i)\b(does not exist|no (?:real )?solutions?)[.\s]*\Z")
_NO_ANSWER = re.compile(
    r"(?i)(?:as follows|in |the following|following|below|above|given|correct|incorrect|right|wrong|not "
    r"|that |what |to |obtained|found|therefore|thus|shown|unknown|unclear|here|done|simple|clear)"
)


def unboxed(text: str) -> str | None:
    """Return the final answer of a text without a box, or None if it has none."""
    return _answer(text, is_answer=False)


def marked(text: str) -> str | None:
    """Return the answer in a text that is marked as the answer (answer tag, JSON field): words alone count too."""
    return _answer(text, is_answer=True)


def lacks_json_answer(text: str) -> bool:
    """Return whether a text is JSON (perhaps cut off) without an answer field."""
    return _JSON_OPENING.match(text) is not None and _json_field(text[-_TAIL:]) is None


def before_new_question(text: str, start: int) -> str:
    """Return the text up to where a new question begins, looking from `start`."""
    question = _NEW_QUESTION.search(text, start)
    return text[: question.start()] if question else text


def _answer(text: str, is_answer: bool) -> str | None:
    text = text[-_TAIL:]
    end = next((match.start() for match in _END.finditer(text) if text[: match.start()].strip()), None)
    text = text[:end]
    thought, _, said = text.rpartition("</think>")
    if thought and (answer := _answer(said, is_answer) if said.strip() else None):
        return answer
    if _JSON_OPENING.match(text) or "{" in text:
        value = _json_field(text)
        if value is not None:
            return marked(value) if value.strip() != text.strip() else tidy(value) or None
        if _JSON_OPENING.match(text):
            return None
    text = _first_dialogue(_CUE_IN_TEXT.sub(r" \1 ", text))
    hashes = [tidy(match.group(1)) for match in _HASHES.finditer(text) if _is_value(match.group(1))]
    if hashes:
        return _letter_of_option(hashes[-1]) or hashes[-1] or None
    if is_nothing_but_answer(text, is_answer):
        answer = tidy(text)
        return _letter_of_option(answer) or with_noun(answer) or None
    option = _letter_of_option(text) if is_answer else None
    return (
        option
        or _after_cue(text, ((_CUES[0], _FINAL_HEADING), (_CUES[1],)))
        or _chosen_letter(text)
        or _after_cue(text, ((_CUES[2],),))
        or _last_sentence(text)
        or (in_words(text) if is_answer or len(text.split()) == 1 else None)
        or _denied(text)
    )


def _denied(text: str) -> str | None:
    """Return what the last sentence says there is not ("the limit does not exist"), of a text without any value."""
    denial = None if values_in(text) else _DENIAL.search(text)
    return denial.group(1) if denial else None


def _json_field(text: str) -> str | None:
    """Return the value of the last answer field, an "answer" before other names of fields."""
    names = ("ans", "value", "output") if _JSON_OPENING.match(text) is None else ()
    fields = [field for field in _JSON_FIELD.finditer(text) if field.group(1).lower() not in names]
    if not fields:
        return None
    match = next((field for field in reversed(fields) if field.group(1).lower().startswith("ans")), fields[-1])
    value = next(group for group in match.groups()[1:] if group is not None)
    return _json_object(value) if match.group(6) is not None else _unescaped(value)


def _json_object(inside: str) -> str | None:
    """Return what an object states: the value of a field that is named so, its only value, or named values."""
    pairs = {m.group(1).lower(): _unescaped(next(v for v in m.groups()[1:] if v is not None))
             for m in _JSON_PAIR.finditer(inside)}  # fmt: skip
    named = next(
        (
            pairs[name]
            for name in ("answer", "value", "final", "result", "amount", "total", "number", "text")
            if name in pairs
        ),
        None,
    )
    if named is not None or len(pairs) < 2:
        return named if named is not None else next(iter(pairs.values()), None)
    return ", ".join(f"{name}={value}" for name, value in pairs.items()) if max(map(len, pairs)) == 1 else None


def _unescaped(text: str) -> str:
    """Return a JSON text as it was meant; a single backslash before a letter is a command of LaTeX."""
    return re.sub(r"\\([\"'/\\])", r"\1", text.replace("\\n", "\n") if "\\\\" not in text else text)


def _first_dialogue(text: str) -> str:
    """Return the text up to a new question, if an answer stands before it."""
    starts = [match.end() for pattern in (*_CUES, _HASHES) if (match := pattern.search(text))]
    value = NUMBER.search(text)
    first = before_new_question(text, value.end()) if value else text
    if first != text and not first.rstrip().endswith((":", "?")) and "?" not in first:
        return first
    return before_new_question(text, min(starts)) if starts else text


def _is_value(text: str) -> bool:
    """Tell whether what follows `####` is an answer rather than a heading."""
    text = tidy(text)
    if not text or _HEADING.fullmatch(text):
        return False
    return len(PROSE.findall(without_commands(text))) <= (4 if NUMBER.match(text) or MATH.match(text) else 3)


def _after_cue(text: str, patterns_in_turn: Sequence[tuple[re.Pattern[str], ...]]) -> str | None:
    """Return the answer behind the last cue that has one, of the first group of cues that has any."""
    for patterns in patterns_in_turn:
        ends = sorted({match.end() for pattern in patterns for match in pattern.finditer(text)})[-_MAX_CUES:]
        stated = ((end, _in_statement(text[end:]) or "") for end in reversed(ends))
        found = ((end, answer) for end, answer in stated if answer)
        end, answer = next(found, (0, ""))
        if answer and _UNFINISHED.fullmatch(text, end):  # "The answer is 72. The answer is 7": cut off while repeating
            before = next(found, (0, ""))
            end, answer = before if before[1].startswith(answer.strip("$ ")) else (end, answer)
        if answer:
            return _after_doubt(text[end:]) or answer
    return None


def _after_doubt(text: str) -> str | None:
    """Return the value of the last conclusion, if the text doubts its answer and concludes anew."""
    doubt = last_match(_DOUBT, text)
    if doubt is None:
        return None
    conclusions = [match.end() for match in _CONCLUSION.finditer(text, doubt.end())]
    sentences = [_sentence(text[end:]) for end in conclusions]
    return next((value for sentence in reversed(sentences) if (value := in_sentence(sentence))), None)


def _in_statement(rest: str) -> str | None:
    """Return the answer in what follows a cue such as "the answer is"."""
    rest = rest.lstrip()
    negation = _NOT_STATED.match(rest)
    if negation:
        return _in_statement(negation["rest"]) if negation["rest"] else None
    math = MATH.match(rest)
    sentence = _sentence(rest)
    if rest[len(sentence) : len(sentence) + 1] == "?":
        return None
    if math and not re.match(r"\s*=", rest[math.end() :]):
        return ", ".join(joined(rest, math))
    if sentence.count("**") % 2:  # the cue stood inside the emphasis, or took its beginning
        sentence = f"**{sentence}"
    bold = [
        match.group(1) for match in _BOLD.finditer(sentence) if values_in(match.group(1)) or not values_in(sentence)
    ]
    if bold:
        sentence = bold[-1]
    sentence = tidy(sentence)
    option = _letter_of_option(sentence)
    if option:
        return option
    if is_nothing_but_answer(sentence, is_answer=True):
        return None if not values_in(sentence) and _NO_ANSWER.match(sentence) else with_noun(sentence)
    return in_sentence(sentence, stated=True)


def _sentence(text: str) -> str:
    """Return the first sentence; one that ends in a colon takes the next line with it."""
    masked = masked_formulas(text)
    for end in SENTENCE_END.finditer(masked):
        if masked[: end.start()].strip(" *") and not masked[: end.start()].rstrip(" *\n").endswith(":"):
            return text[: end.start()]
    return text


def _last_sentence(text: str) -> str | None:
    """Return the answer in the last sentence that has a value; a formula that is cut off is none."""
    text = _CUT_OFF_FORMULA.sub("", text)
    values = values_in(text)
    if not values:
        return None
    start = 0
    masked = masked_formulas(text)
    for end in SENTENCE_END.finditer(masked, 0, values[-1].start()):
        if not masked[: end.start()].rstrip(" *\n").endswith(":"):
            start = end.end()
    again = text[start:].strip()
    if len(again) > 9 and re.search(rf"{re.escape(again)}\w", text[:start]):  # an earlier sentence, cut off
        return _last_sentence(text[:start])
    end_of_value = values[-1].end()
    return in_sentence(text[start:end_of_value] + text[end_of_value : end_of_value + 200].split("\n\n")[0])


def _letter_of_option(text: str) -> str | None:
    match = _OPTION.match(text)
    return match.group(match.lastindex or 0) if match else None


def _chosen_letter(text: str) -> str | None:
    """Return the letter that the last sentence chooses."""
    lines = text.strip().rsplit("\n", 1)[-1][-300:]
    match = last_match(_CHOSEN, re.split(r"[.!?]\s+(?=[A-Z])", lines)[-1])
    return match.group(match.lastindex or 0) if match else None
