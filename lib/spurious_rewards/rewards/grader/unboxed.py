r"""Find the final answer of a text that has no box: one rule for every place in which an answer can stand.

Places, first match wins:

1. the answer field of JSON (`{"reasoning": …, "answer": "12"}`);
2. `#### 12`, anywhere in a line;
3. a text that is nothing but an answer (`12`, `x=3`);
4. what follows the last cue: "final answer", else "answer" or "option";
5. an option that the last sentence chooses ("so it is choice C");
6. what follows the last "solution" or "result";
7. the last sentence that holds a number or formula.

The text ends where a new question begins after an answer ("Question:", "User:", "[Q]:"). In a sentence, what explains
the answer ("…, as 40 - 25 = 15", "… out of 20") is cut off, and what stands before ", so" too. Then the value after
the last `=` counts, else the first one after the last "is", "are" or colon, else the last one that no preposition makes
an aside ("in 3 days").

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
from collections import deque
from collections.abc import Sequence

_TAIL = 4000  # characters looked at, from the end
_MAX_CUES = 8  # of one kind, from the end

# ---------------------------------------------------------------- pieces of an answer

_PRICE = r"\s*\d[\d,.]*\s+[A-Za-z]{3}"  # "$5 and then $7" is no formula
_MATH = re.compile(
    rf"\$\$(.+?)\$\$|(?<!\\)\$(?!{_PRICE})(?=\S)((?:\\.|[^$\\\n]){{1,400}}?)(?<=\S)\$(?!\d)"
    r"|(?<!\\)\$\s((?:\\.|[^$\\\n]){1,400}?)\s\$(?!\d)|\\\((.+?)\\\)|\\\[(.+?)\\\]",
    re.DOTALL,
)
_GROUPED = r"\d{1,3}(?:(?:,|\{,\}|,\\!)\d{3})+(?!\d)(?:\.\d+)?"
_NUMBER = re.compile(
    r"[-−]?(?:\d+\s*)?\\[dtc]?frac\s*\{[^{}]*\}\s*\{[^{}]*\}"  # LaTeX without delimiters
    r"|[-−]?(?:(?<!\w)\d+)?\\sqrt\s*\{[^{}]*\}"
    r"|(?<![\w.:])\d+(?:\s?:\s?\d+)+(?:\s*[ap]\.?m\b)?"  # ratios and times of day
    r"|(?<![\w.])[-−]?\d+\s+\d+/\d+"  # mixed numbers
    rf"|(?<![\w.^])[-−]?[$€£¥]?[-−]?(?:{_GROUPED}|\d*\.?\d+)(?:\.\.\.)?(?:\s*/\s*\d+)?"
    r"(?:\s*(?:\\times|×|x|\*)\s*10\^\{?-?\d+\}?|\^\{?-?\d+\}?|e[+-]?\d+\b)?(?:\s*(?:\\?%|percent\b|pct\b))?"
)
_RECURRING = re.compile(r"\.\d+\.\.\.$")  # 0.333...
_AFTER_MATH = re.compile(r"\s*(?:\\?%|percent\b|pct\b|degrees?\b)")
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_COMMANDS = re.compile(r"\\(?:text|mathrm|mbox|begin|end)\s*\{[^{}]*\}")
_NUMBER_WORD = re.compile(
    r"(?i)\b(?:(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:[ -](?:one|two|three|four|five|six|seven"
    r"|eight|nine))?|zero|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh"
    r"|nine)teen)\b"
)

# ---------------------------------------------------------------- places of an answer

_NOISE = re.compile(r"<\|[^|>]*\|>.*|I hope it is correct.*", re.DOTALL)
_JSON_OPENING = re.compile(r"\s*(?:```\w*\s*)?\{\s*[\"'][\w -]{1,40}[\"']\s*:")
_JSON_FIELD = re.compile(
    r"[\"'](?:(?:final|correct)[_ ]?)?(answer|result|solution)[\"']\s*:\s*"
    r"(?:\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\\n]|\\.)*)'|(-?\d[\d.,/eE+-]*|true|false)(?=\s*[,}\]\s])|\[([^\[\]]*)\])",
    re.IGNORECASE | re.DOTALL,
)
_HASHES = re.compile(r"####[ \t]*([^\n#]+)")
_HEADING = re.compile(r"(?i)\s*(?:step|final|answer|solution|part|case|\d+[.)]\s+[a-z]).*|.*:\s*")
_CUES = tuple(
    re.compile(rf"(?i)\b(?:{words})\b[^\w$\\(\[?\n]{{0,6}}(?:(?:is|are|was|be|must be|should be)\b|[:=]){after}")
    for words, after in (
        (r"final\s+answers?", r"[\s:*=]*"),
        (r"answers?(?:\s+(?:option|choice))?|(?:correct|right)\s+(?:option|choice)", r"[\s:*=]*"),
        (r"solutions?|results?", r"[\s:*=]*"),
    )
)
_FINAL_HEADING = re.compile(r"(?i)\bfinal\s+answers?\b[\s*_#]*(?=\n|[$\\(\[\d-])[\s*_#]*")  # **Final Answer**, then $5$
_NEW_QUESTION = re.compile(
    r"(?im)^[ \t*#]*(?:\[?\s*Q(?:uestion)?\s*\d*\s*\]?\s*:|(?:new |next )?problem(?:[ \t]+\d+)?\s*:"
    r"|(?:human|user|student|instruction|input)\s*:)|<\|im_start\|>"
)
_DOUBT = re.compile(
    r"(?i)\bis (?:that|this|it) (?:correct|right)\s*\?|\bwait\b|\bactually,|\bno, (?:that|this|it)\b"
    r"|\bthat(?:'s| is) (?:not right|not correct|wrong|incorrect)|\blet(?:'s| me| us) (?:redo|recalculate|re-?check)"
)
_CONCLUSION = re.compile(r"(?im)(?:^|(?<=[.!?]\s))[ \t*]*(?:therefore|thus|hence|so)\b,?[ \t]*")

# ---------------------------------------------------------------- parts of a sentence

_SENTENCE_END = re.compile(r"(?<!\bMr)(?<!\bMs)(?<!\bDr)(?<!\bMrs)(?<!\d\.\.)[.!?](?:\s|\*|\"|$)|\n")
_BOLD = re.compile(r"\*\*(.+?)\*\*")
_EXPLANATION = re.compile(
    r"\s+\((?=[^()]*[A-Za-z]{2})"
    r"|,?\s+(?:since|because|out of|instead of|rather than|given that|assuming|where|when|if|whereas)\b"
    r"|\s+(?:more|less|fewer) than\b"
    r"|,\s*(?:which|as|not|but|while|and not|with)\b"
)
_ADDITION = re.compile(r";\s|\s[-–—]+\s(?=[A-Za-z]{2})|,\s*(?:i\.e|that is)\b")  # behind a stated answer
_COPULA = re.compile(r"\b(?:is|are|was|were|be|equals?|becomes|gives|yields|makes|totals)\b(?:\s+to\b)?|:(?=\s)")
_SO = re.compile(r",\s*(?:and\s+)?(?:so|thus|therefore|hence)\s+(?!that\b)|,\s*(?:i\.e\.|that is),?\s")
_COMPUTED = re.compile(r"\b(?:equals|gives|yields|makes)\b")  # 3 plus 4 equals 7
_NO_EQUATION = re.compile(r"[<>!≤≥]=|==")
_ASIDES = (  # words before a number, and how far they make it an aside
    (re.compile(r"(?i)\bnot\s+$"), 3),
    (re.compile(r"(?i)\b(?:for|in|after|per|every|within|during|from|than|under|over|before)\s+(?:\w+\s+){0,2}$"), 2),
    (re.compile(r"(?i)\b(?:half|third|quarter|times|multiple|double|twice)\s+(?:of\s+)?$"), 2),
    (re.compile(r"(?i)\bto\s+\w+\s+$|\b(?:the|all|both|her|his|their|these|those|its|step|on|at|with)\s+$"), 1),
)
_ASIDE = 2  # from here on a number behind a verb does not count if another one stands before it
_OPTION = re.compile(  # "option C", "(C) 31.5 N", "C, since …"
    r"(?i:(?:the\s+)?(?:correct\s+)?(?:option|choice|letter)\s*(?:is\s*)?:?)\s*\(?([A-J])\)?(?:[.):]?\s*$|[.):]\s)"
    r"|\(?([A-J])(?:\)?[.:]|\))\s+\S|([A-J])(?:,|\s+(?:since|because))\s"
)
_CHOSEN = re.compile(  # a last sentence like "So it is choice C" or "Thus (C) is the right option"
    r"\b(?:[Oo]ption|[Cc]hoice)\s+\(?([A-J])\)?(?![A-Za-z(])|\(?\b([A-J])\)?\s+is\s+(?:the\s+)?(?:right|correct|best)\b"
)
_CUE_IN_TEXT = re.compile(r"(?i)\\(?:text|textbf|mathbf|mbox)\s*\{([^{}]*\b(?:answer|solution|result)\b[^{}]*)\}")
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


def is_sentence(text: str) -> bool:
    """Return whether an answer is a sentence: three words or more, and one value, or several and a verb or `=`."""
    text = re.sub(r"\\(?:text|mathrm|mbox)\s*\{([^{}]*)\}", r" \1 ", text[:500])
    if len(_PROSE.findall(text)) < 3:
        return False
    values = _values(text)
    return len(values) == 1 or (len(values) > 1 and ("=" in text or _COPULA.search(text) is not None))


def lacks_json_answer(text: str) -> bool:
    """Return whether a text is JSON (perhaps cut off) without an answer field."""
    return _JSON_OPENING.match(text) is not None and _json_field(text[-_TAIL:]) is None


def before_new_question(text: str, start: int) -> str:
    """Return the text up to where a new question begins, looking from `start`."""
    question = _NEW_QUESTION.search(text, start)
    return text[: question.start()] if question else text


def tidy(answer: str) -> str:
    """Strip Markdown emphasis, math delimiters and closing punctuation around a short answer."""
    answer = answer.strip()
    while True:
        before = answer
        answer = answer.strip().strip('*`"').strip().removeprefix("'")
        if not _RECURRING.search(answer):
            answer = re.sub(r"(?<!\\)[.,;:]+$", "", answer)
        if ("\\]" in answer and "\\[" not in answer) or ("\\)" in answer and "\\(" not in answer):
            answer = re.split(r"\\[\])]", answer)[0]
        if answer.endswith("$") and len(re.findall(r"(?<!\\)\$", answer)) == 1:
            answer = answer[:-1]
        math = _MATH.fullmatch(answer)
        if math and not _content(math).startswith("$"):
            answer = _content(math)
        if answer == before:
            return answer


def _answer(text: str, is_answer: bool) -> str | None:
    text = text[-_TAIL:]
    if text.count("<|") + text.count("I hope it is") == 1:
        text = _NOISE.sub("", text)
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
    if _is_nothing_but_answer(text, is_answer):
        answer = tidy(text)
        return _letter_of_option(answer) or _with_noun(answer) or None
    option = _letter_of_option(text) if is_answer else None
    return (
        option
        or _after_cue(text, ((_CUES[0], _FINAL_HEADING), (_CUES[1],)))
        or _chosen_letter(text)
        or _after_cue(text, ((_CUES[2],),))
        or _last_sentence(text)
        or (_in_words(text) if is_answer else None)
    )


def _json_field(text: str) -> str | None:
    """Value of the last answer field, an "answer" before a "result" or "solution"."""
    fields = list(_JSON_FIELD.finditer(text))
    if not fields:
        return None
    match = next((field for field in reversed(fields) if field.group(1).lower() == "answer"), fields[-1])
    value = next(group for group in match.groups()[1:] if group is not None)
    return re.sub(r"\\([\"'/\\])", r"\1", value.replace("\\n", "\n") if "\\\\" not in value else value)


def _first_dialogue(text: str) -> str:
    """The text up to a new question, if an answer stands before it."""
    starts = [match.end() for pattern in (*_CUES, _HASHES) if (match := pattern.search(text))]
    return before_new_question(text, min(starts)) if starts else text


def _is_value(text: str) -> bool:
    """Whether what follows `####` is an answer rather than a heading."""
    text = tidy(text)
    if not text or _HEADING.fullmatch(text):
        return False
    return len(_PROSE.findall(_without_math(text))) <= (4 if _NUMBER.match(text) or _MATH.match(text) else 3)


def _is_nothing_but_answer(text: str, is_answer: bool) -> bool:
    """Whether a text is a value, formula or list; marked as the answer, also a counted noun or a few words."""
    text = tidy(text)
    if len(text) > 80 or "\n" in text:
        return is_answer and bool(text) and not _PROSE.search(_without_math(text))
    words = [word.lower() for word in _PROSE.findall(_without_math(text))]
    if is_answer and all(word in ("and", "or") for word in words):
        return True
    if not words:
        return True
    if not is_answer:
        return False
    if _COPULA.search(text) or "=" in text:
        return False
    number = _MATH.match(text) or _NUMBER.match(text)
    if number:
        return len(words) <= 4 and not _values(text[number.end() :]) and not _EXPLANATION.search(text)
    return not _values(text) and (len(words) <= 3 or not _NUMBER_WORD.search(text)) and len(words) <= 5


def _after_cue(text: str, patterns_in_turn: Sequence[tuple[re.Pattern[str], ...]]) -> str | None:
    """The answer behind the last cue that has one, of the first group of cues that has any."""
    for patterns in patterns_in_turn:
        ends = sorted({match.end() for pattern in patterns for match in pattern.finditer(text)})[-_MAX_CUES:]
        for end in reversed(ends):
            answer = _in_statement(text[end:])
            if answer:
                return _after_doubt(text[end:]) or answer
    return None


def _after_doubt(text: str) -> str | None:
    """The value of the last conclusion, if the text doubts its answer and concludes anew."""
    doubt = _last_match(_DOUBT, text)
    if doubt is None:
        return None
    conclusions = [match.end() for match in _CONCLUSION.finditer(text, doubt.end())]
    sentences = [_sentence(text[end:]) for end in conclusions]
    return next((value for sentence in reversed(sentences) if (value := _in_sentence(sentence))), None)


def _in_statement(rest: str) -> str | None:
    """The answer in what follows a cue such as "the answer is"."""
    rest = rest.lstrip()
    math = _MATH.match(rest)
    if math and not re.match(r"\s*=", rest[math.end() :]):
        return _joined(rest, math)
    sentence = _sentence(rest)
    bold = [match.group(1) for match in _BOLD.finditer(sentence) if _values(match.group(1)) or not _values(sentence)]
    if bold:
        sentence = bold[-1]
    sentence = tidy(sentence)
    option = _letter_of_option(sentence)
    if option:
        return option
    if _is_nothing_but_answer(sentence, is_answer=True):
        return None if not _values(sentence) and _NO_ANSWER.match(sentence) else _with_noun(sentence)
    return _in_sentence(sentence, stated=True)


def _sentence(text: str) -> str:
    """The first sentence; one that ends in a colon takes the next line with it."""
    masked = _masked(text)
    for end in _SENTENCE_END.finditer(masked):
        if masked[: end.start()].strip(" *") and not masked[: end.start()].rstrip(" *\n").endswith(":"):
            return text[: end.start()]
    return text


def _joined(text: str, math: re.Match[str]) -> str:
    """A formula, and those that "and", "or" or a comma join to it."""
    found = [_with_suffix(math, text)]
    while True:
        glue = re.compile(r"\s*(?:,|and|or|,\s*(?:and|or))\s*(?=\$|\\[(\[])").match(text, math.end())
        following = _MATH.match(text, glue.end()) if glue else None
        if following is None:
            return ", ".join(found)
        math = following
        found.append(_with_suffix(math, text))


def _last_sentence(text: str) -> str | None:
    """The answer in the last sentence that has a value."""
    values = _values(text)
    if not values:
        return None
    start = 0
    masked = _masked(text)
    for end in _SENTENCE_END.finditer(masked, 0, values[-1].start()):
        if not masked[: end.start()].rstrip(" *\n").endswith(":"):
            start = end.end()
    return _in_sentence(text[start : values[-1].end() + 200].split("\n\n")[0])


def _in_words(sentence: str) -> str | None:
    """The answer of a sentence without digits: a number word, else the few words after the last "is"."""
    number = _NUMBER_WORD.search(sentence)
    if number:
        return number.group()
    copula = _last_match(_COPULA, sentence)
    words = tidy(sentence[copula.end() :]) if copula else ""
    return words if words and len(words.split()) <= 3 else None


def _with_noun(answer: str) -> str:
    r"""A counted noun behind a formula as text: `$3$ cm` is `3\text{ cm}`."""
    math = _MATH.match(answer)
    noun = answer[math.end() :].strip() if math else ""
    if not noun or _values(noun) or _AFTER_MATH.match(noun):
        return answer
    return rf"{_with_suffix(math, answer)}\text{{ {noun}}}"


def _in_sentence(sentence: str, stated: bool = False) -> str | None:
    """The value of a sentence, see the module's description; if it is `stated` to be the answer, one at the head."""
    for pattern in (_EXPLANATION, _ADDITION) if stated else (_EXPLANATION,):
        after = next((m for m in pattern.finditer(sentence) if _values(sentence[: m.start()])), None)
        sentence = sentence[: after.start()] if after else sentence
    if not _values(sentence):
        return _in_words(sentence) if stated else None
    at_head = stated and _values(sentence)[0].start() == 0
    conclusion = None if at_head else _last_match(_SO, sentence)
    if conclusion and _values(sentence[conclusion.end() :]):
        sentence = sentence[conclusion.end() :]
    masked = _masked(sentence)
    if "=" in masked and not _NO_EQUATION.search(masked):
        value = sentence[masked.rindex("=") + 1 :]
        if _values(value):
            return _piece(value)
    if at_head and not _COMPUTED.search(masked):
        return _main_value(sentence, first=True)
    for copula in reversed(list(_COPULA.finditer(masked))):
        ranks = _ranks(sentence[copula.end() :])
        if ranks and (min(ranks) < _ASIDE or not _values(sentence[: copula.start()])):
            return _piece(sentence[copula.end() :])
    return _main_value(sentence, first=False)


def _piece(part: str) -> str:
    """The value at the head of a part of a sentence: a formula or list as a whole, else the first main number."""
    whole = _MATH.fullmatch(part.strip(" .*\n"))
    part = _content(whole).strip() if whole else tidy(part)
    return part if whole or _is_nothing_but_answer(part, is_answer=False) else _main_value(part, first=True)


def _main_value(sentence: str, first: bool) -> str:
    """The first or last value among those that are least of an aside."""
    values, ranks = _values(sentence), _ranks(sentence)
    chosen = [value for value, rank in zip(values, ranks, strict=True) if rank == min(ranks)]
    value = chosen[0 if first else -1]
    return _with_suffix(value, sentence) if value.re is _MATH else tidy(value.group())


def _ranks(sentence: str) -> list[int]:
    """How far each value of a sentence is an aside."""
    before = [sentence[max(value.start() - 30, 0) : value.start()] for value in _values(sentence)]
    return [max((rank for word, rank in _ASIDES if word.search(text)), default=0) for text in before]


def _values(text: str) -> list[re.Match[str]]:
    """Formulas and numbers of a text, in order."""
    found: list[re.Match[str]] = []
    position = 0
    for math in _MATH.finditer(text):
        found += [*_NUMBER.finditer(text, position, math.start()), math]
        position = math.end()
    return found + list(_NUMBER.finditer(text, position))


def _masked(text: str) -> str:
    """The text with letters for formulas; a full stop at the end of a formula stays."""
    return _MATH.sub(lambda m: "x" * (len(m.group()) - 1) + ("." if _content(m).rstrip().endswith(".") else "x"), text)


def _with_suffix(math: re.Match[str], text: str) -> str:
    suffix = _AFTER_MATH.match(text, math.end())
    return tidy(_content(math)) + (suffix.group().strip() if suffix else "")


def _content(math: re.Match[str]) -> str:
    return next(group for group in math.groups() if group is not None)


def _letter_of_option(text: str) -> str | None:
    match = _OPTION.match(text)
    return match.group(match.lastindex) if match else None


def _chosen_letter(text: str) -> str | None:
    """The letter that the last sentence chooses."""
    lines = text.strip().rsplit("\n", 1)[-1][-300:]
    match = _last_match(_CHOSEN, re.split(r"[.!?]\s+(?=[A-Z])", lines)[-1])
    return match.group(match.lastindex) if match else None


def _without_math(text: str) -> str:
    return _COMMANDS.sub("", text)


def _last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)
