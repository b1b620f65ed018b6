r"""Find the value that a sentence states.

What explains the value ("…, as 40 - 25 = 15", "… out of 20") is cut off, and what stands before ", so" too. Then the
value after the last `=` counts, else the first one after the last "is", "are" or colon, else the last one that no
preposition makes an aside ("in 3 days").

>>> in_sentence("In 3 days she earns 45 dollars for 2 jobs"), in_sentence("They paid $3 + $4 = $7")
('45', '$7')
>>> in_sentence("So he has 5 (since 2+3=5, not 6)"), in_sentence("One book costs $4, so 3 books cost $12")
('5', '$12')

Usage: `from spurious_rewards.rewards.grader.sentences import in_sentence`
"""

from __future__ import annotations

import re
from collections import deque

_PRICE = r"\s*\d[\d,.]*\s+[A-Za-z]{3}"  # "$5 and then $7" is no formula
_ROWS = r"\{(?:align(?:ed)?|gather(?:ed)?|equation|eqnarray|multline|split)\*?\}"
MATH = re.compile(
    rf"\$\$(.+?)\$\$|(?<!\\)\$(?!{_PRICE})(?=\S)((?:\\.|[^$\\\n]){{1,400}}?)(?<=\S)\$(?!\d)"
    r"|(?<!\\)\$\s((?:\\.|[^$\\\n]){1,400}?)\s\$(?!\d)|\\\((.+?)\\\)|\\\[(.+?)\\\]"
    rf"|\\begin{_ROWS}(.+?)\\end{_ROWS}",
    re.DOTALL,
)
_GROUPED = r"\d{1,3}(?:(?:,|\{,\}|,\\!)\d{3})+(?!\d)(?:\.\d+)?"
_BASE = (
    r"\s*\(?(?:in\s+)?base[\s-]*(?:\d{1,2}|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|sixteen)\b\)?"
    r"|\s+in\s+(?:binary|octal|hexadecimal)\b"
)
_ENTRY = r"(?=[^\s,()\[\]{}]*[\d∞π])[^\s,()\[\]{}]+"
_TUPLE = rf"(?!\({_GROUPED}\))[(\[{{]\s*{_ENTRY}(?:\s*,\s*{_ENTRY})+\s*[)\]}}]"
_TIMES = r"(?:\d+(?:\.\d+)?\s*\*?\s*)"
_ROOT = r"(?:√\s*(?:\d+|\([^()]*\))|sqrt\(\d+\))"
_TOGETHER = "|".join(  # 2 hours and 15 minutes
    rf"\d+\s*{large}(?:,\s*|\s+and\s+|,?\s*)\d+\s*{small}\b"
    for large, small in (
        ("h(?:ou)?rs?", "min(?:ute)?s?"),
        ("min(?:ute)?s?", "sec(?:ond)?s?"),
        ("f(?:ee|oo)?t", "in(?:ch(?:es)?)?"),
        ("dollars?", "cents?"),
        ("pounds?", "ounces?"),
        ("years?", "months?"),
        ("weeks?", "days?"),
    )
)
NUMBER = re.compile(
    r"[-−]?(?:\d+\s*)?\\[dtc]?frac\s*\{[^{}]*\}\s*\{[^{}]*\}"  # LaTeX without delimiters
    r"|[-−]?(?:(?<!\w)\d+)?\\sqrt\s*\{[^{}]*\}"
    r"|(?<![\w.:])\d+(?:(?::\d+)+|(?:\s:\s\d+)+)(?:\s*[ap]\.?m\b)?"  # ratios and times of day
    rf"|(?<![\w.])(?:{_TOGETHER})"
    rf"|(?<![\w)}}\\]){_TUPLE}(?:\s*[∪U]\s*{_TUPLE})*"  # pairs, intervals
    rf"|(?<![\w.])[-−]?(?:{_TIMES}?{_ROOT}|{_TIMES}(?:π|pi\b)|π(?=/\d)|\d*\s?[½⅓⅔¼¾])(?:/\d+)?"
    r"|(?<![\w.])[-−]?\d+\s+\d+/\d+"  # mixed numbers
    rf"|(?<![\w.^])[-−]?[$€£¥]?[-−]?(?:{_GROUPED}|\d*\.?\d+)(?:\.\.\.)?(?:\s*/\s*\d+)?"
    r"(?:\s*(?:\\times|×|x|\*)\s*10\^\{?-?\d+\}?|\^\{?-?\d+\}?|e[+-]?\d+\b)?"
    rf"(?:\s*(?:\\?%|percent\b|pct\b)|_\{{?\d{{1,2}}\}}?|{_BASE})?"
)
_TAG = re.compile(
    r"</?(?:b|strong|i|em|p|u|span|div|sub|sup|br|code|center|answer|s)\s*/?>|[\u2600-\u27bf\U0001f300-\U0001faff\ufe0f]"
)
_RECURRING = re.compile(r"\.\d+\.\.\.$")  # 0.333...
_AFTER_MATH = re.compile(rf"\s*(?:\\?%|percent\b|pct\b|degrees?\b)|{_BASE}")
PROSE = re.compile(r"(?<![\\A-Za-z])(?!(?:sqrt|pi|sin|cos|tan|cot|sec|csc|log|ln)(?![A-Za-z]))[A-Za-z]{2,}")
_COMMANDS = re.compile(r"\\(?:text|mathrm|mbox|begin|end)\s*\{[^{}]*\}")
_NUMBER_WORD = re.compile(
    r"(?i)\b(?:(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:[ -](?:one|two|three|four|five|six|seven"
    r"|eight|nine))?|zero|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh"
    r"|nine)teen)\b"
)
SENTENCE_END = re.compile(
    r"(?<!\bMr)(?<!\bMs)(?<!\bDr)(?<!\bMrs)(?<!\bi\.e)(?<!\be\.g)(?<!\d\.\.)[.!?](?:\s|\*|\"|$)|\n"
)
_EXPLANATION = re.compile(
    "|".join(
        (
            r"\s+\((?!base\b)(?=[^()]*[A-Za-z]{2})",  # 5 (since …)
            r"(?<=[A-Za-z]{3})\s+\((?=[^()]*[-+*/×=]\s*\$?\d)",  # 160 minutes (40 + 120)
            r"(?<=[A-Za-z]):\s(?=\d[\d,.]*\s[A-Za-z]+(?:\s[a-z]+){0,3}\s*(?:,|and\b))",  # 35 in all: 10 red and 25 blue
            r",?\s+(?:since|because|out of|instead of|rather than|given that|assuming|where|when|if|whereas)\b",
            r"\s+(?:more|less|\w+er) than\b",
            r"\s+that costs?\b|\s+by\s+[a-z]+ing\b",
            r",\s*which(?!\s+(?:gives|equals|yields|makes|means|totals)\b)\b",
            r",\s*(?:as|not|but|while|and not|with|at|by|who|attained|achieved|reached|occurring)\b",
            r"(?<=[\d$)}]),?\s+(?:at|for|with)\s+(?=\$?[A-Za-z]\s*=)",  # 72 at x = 5
        )
    )
)
_ADDITION = re.compile(r";\s|\s[-–—]+\s(?=[A-Za-z]{2})|,\s*(?:i\.e|that is)\b")  # behind a stated answer
_COPULA = re.compile(
    r"\b(?:is|are|was|were|be|equals?|becomes|gives|yields|makes|totals)\b(?:\s+to\b)?|:(?=\s)(?<!\d\s:)"
    r"|\b(?:factors\s+as|(?:simplifies|reduces|expands|evaluates|comes|amounts)\s+to)\b"
)
_SO = re.compile(
    r",\s*(?:and\s+)?(?:so|thus|therefore|hence|giving|yielding|making|leaving|for\s+a\s+total\s+of)\s+(?!that\b)"
    r"|,\s*which\s+(?:gives|yields|means)\s|%\s+of\s+\S+,\s*which\s+is\s|,\s*(?:i\.e\.|that is),?\s"
)
_COMPUTED = re.compile(r"\b(?:equals|gives|yields|makes)\b")  # 3 plus 4 equals 7
_GLUE = re.compile(r"\s*(?:,|and|or|,\s*(?:and|or))\s*(?=\$|\\[(\[])")
_ASSIGNMENT = r"\$?[A-Za-z]\s?=\s?[-−]?\d[\d.]*(?:/\d+)?\$?"
_ASSIGNED = re.compile(  # x = 2 or x = -3, at the end
    rf"(?<![\w+*-])(?<![+*-]\s){_ASSIGNMENT}(?:(?:,?\s(?:and|or)\s|,\s?){_ASSIGNMENT}){{1,5}}[.)]?\s?\Z"
)
_EQUATIONS = re.compile(r"[-+*/×]\s*\d+\s*=[^=,A-Za-z]*,[^=A-Za-z]*=")  # 12 + 30 = 42, 42 / 7 = 6
_EQUATION = re.compile(r"\bequation\b[^=]{0,80}?(?:\bis|:)\s+(?=[^=]{0,80}=)")
_RELATION = re.compile(r"[<>≤≥]|\\(?:le|ge|lt|gt)q?(?![a-z])")
_NO_EQUATION = re.compile(r"[<>!≤≥]=|==")
_ASIDES = (  # words before a number, and how far they make it an aside
    (re.compile(r"(?i)\bnot\s+$"), 3),
    (re.compile(r"(?i)\b(?:for|in|after|per|every|within|during|from|than|under|over|before)\s+(?:\w+\s+){0,2}$"), 2),
    (re.compile(r"(?i)\b(?:half|third|quarter|times|multiple|double|twice)\s+(?:of\s+)?$"), 2),
    (re.compile(r"(?i)\bto\s+\w+\s+$|\b(?:the|all|both|her|his|their|these|those|its|step)\s+$"), 1),
    (re.compile(r"(?i)[\d%]\s+of\s+(?:the\s+)?$|\b(?:factor|divisor|multiple|root|digit|term)s?\s+of\s+$"), 2),
    (re.compile(r"(?i)\b(?:sold|sells?|ga?ives?|given)\b.*\bto\s+$"), 1),
    (re.compile(r"(?i)\b(?:on|at|with)\s+(?:\w+\s+){0,3}$"), 1),
)
_ASIDE = 2  # from here on a number behind a verb does not count if another one stands before it


def is_sentence(text: str) -> bool:
    """Return whether an answer is a sentence: three words or more, and one value, or several and a verb or `=`."""
    text = re.sub(r"\\(?:text|mathrm|mbox)\s*\{([^{}]*)\}", r" \1 ", text[:500])
    if len(PROSE.findall(text)) < 3:
        return False
    values = values_in(text)
    return len(values) == 1 or (len(values) > 1 and ("=" in text or _COPULA.search(text) is not None))


def tidy(answer: str) -> str:
    """Strip Markdown emphasis, math delimiters and closing punctuation around a short answer."""
    answer = answer.strip()
    while True:
        before = answer
        answer = _TAG.sub("", answer).strip().strip('*`"').lstrip("#").strip().removeprefix("'")
        if not _RECURRING.search(answer):
            answer = re.sub(r"(?<!\\)[.,;:]+$", "", answer)
        if ("\\]" in answer and "\\[" not in answer) or ("\\)" in answer and "\\(" not in answer):
            answer = re.split(r"\\[\])]", answer)[0]
        answer = re.sub(r"(?<=\d)\s?/\s?[a-z]{3,}$", "", answer)  # $18/day
        if answer.endswith("$") and len(re.findall(r"(?<!\\)\$", answer)) == 1:
            answer = answer[:-1]
        math = MATH.fullmatch(answer)
        if math and not _content(math).startswith("$"):
            answer = _content(math)
        if answer == before:
            return answer


def is_nothing_but_answer(text: str, is_answer: bool) -> bool:
    """Return whether a text is a value, formula or list; marked as the answer, also a counted noun or a few words."""
    text = tidy(text)
    if len(text) > 80 or "\n" in text:
        return is_answer and bool(text) and not PROSE.search(without_commands(text))
    words = [word.lower() for word in PROSE.findall(without_commands(text))]
    if not words or (is_answer and all(word in ("and", "or") for word in words)):
        return not _EQUATIONS.search(text) and not (is_answer and (_EXPLANATION.search(text) or ", i.e" in text))
    if not is_answer:
        return False
    if _COPULA.search(text) or "=" in text:
        return False
    number = MATH.match(text) or NUMBER.match(text)
    if number:
        return len(words) <= 4 and not values_in(text[_end(number, text) :]) and not _EXPLANATION.search(text)
    return not values_in(text) and (len(words) <= 3 or not _NUMBER_WORD.search(text)) and len(words) <= 5


def in_words(sentence: str) -> str | None:
    """Return the answer of a sentence without digits: a number word, else the few words after the last "is"."""
    number = _NUMBER_WORD.search(sentence)
    if number:
        return number.group()
    copula = last_match(_COPULA, sentence)
    words = tidy(sentence[copula.end() :]) if copula else ""
    return words if words and len(words.split()) <= 3 else None


def with_noun(answer: str) -> str:
    r"""Write a counted noun behind a formula as text, `$3$ cm` as `3\text{ cm}`; drop what a share is of."""
    number = NUMBER.match(answer)
    if number and re.match(r"\s+of\b", answer[number.end() :]):
        return number.group()
    math = MATH.match(answer)
    noun = answer[math.end() :].strip() if math else ""
    if not noun or values_in(noun) or _AFTER_MATH.match(noun):
        return answer
    return rf"{with_suffix(math, answer)}\text{{ {noun}}}"


def in_sentence(sentence: str, stated: bool = False) -> str | None:
    """Return the value of a sentence; if it is `stated` to be the answer, a value at its head comes first."""
    if not stated:
        sentence = _conclusion(sentence)
    for pattern in (_EXPLANATION, _ADDITION) if stated else (_EXPLANATION,):
        shorter = _cut(sentence, pattern)
        if stated and shorter != sentence and is_nothing_but_answer(shorter, is_answer=True):
            return with_noun(tidy(shorter))
        sentence = shorter
    if not values_in(sentence):
        return in_words(sentence) if stated else None
    at_head = stated and values_in(sentence)[0].start() == 0
    if stated and not at_head:
        sentence = _conclusion(sentence)
    masked = masked_formulas(sentence)
    if "=" in sentence:
        listed, equation = _ASSIGNED.search(sentence), _EQUATION.search(sentence)
        if listed:
            return tidy(listed.group())
        if equation and not PROSE.search(sentence, equation.end()):
            return tidy(sentence[equation.end() :])
    equals = masked.rfind("=") if not _NO_EQUATION.search(masked) else -1
    stating = next((m for m in reversed(list(_COPULA.finditer(masked))) if _states(sentence, m)), None)
    if equals >= 0 and values_in(sentence[equals + 1 :]) and not (stating and stating.start() > equals):
        return _piece(sentence[equals + 1 :])
    if at_head and not _COMPUTED.search(masked):
        return _main_value(sentence, first=True)
    if stating:
        return _piece(sentence[stating.end() :])
    for math in MATH.finditer(sentence):  # $x > 3$ or $x < -1$
        values = joined(sentence, math)
        if len(values) > 1 and all(_RELATION.search(value) for value in values):
            return ", ".join(values)
    return _main_value(sentence, first=False)


def _states(sentence: str, copula: re.Match[str]) -> bool:
    """Tell whether a value that is no aside stands behind a verb, or any value if none stands before it."""
    ranks = _ranks(sentence[copula.end() :])
    return bool(ranks) and (min(ranks) < _ASIDE or not values_in(sentence[: copula.start()]))


def _conclusion(sentence: str) -> str:
    """Return what a sentence concludes ("…, so 3 books cost $12"), or all of it if it does not conclude a value."""
    conclusion = last_match(_SO, sentence)
    return sentence[conclusion.end() :] if conclusion and values_in(sentence[conclusion.end() :]) else sentence


def _cut(sentence: str, pattern: re.Pattern[str]) -> str:
    """Cut off what explains a value, where a value stands before it and it does not begin inside a formula."""
    formulas = [math.span() for math in MATH.finditer(sentence)]
    for match in pattern.finditer(sentence):
        inside = any(start <= match.start() < end for start, end in formulas)
        if not inside and values_in(sentence[: match.start()]):
            return sentence[: match.start()]
    return sentence


def _piece(part: str) -> str:
    """Return the value at the head of a sentence's part: formulas or a list as a whole, else the first main number."""
    math = MATH.match(part.strip(" *\n"))
    if math:
        values = joined(math.string, math)
        if len(values) > 1 or not math.string[math.end() :].strip(" .*"):
            return ", ".join(values)
    part = tidy(re.sub(r"[\s,;]+(?:and|or)?[\s,;]*\Z", "", part))
    words = set(PROSE.findall(without_commands(part))) <= {"and", "or"}
    return part if words and len(part) <= 80 else _main_value(part, first=True)


def joined(text: str, math: re.Match[str]) -> list[str]:
    """List a formula of the text, and those that "and", "or" or a comma join to it."""
    found = [with_suffix(math, text)]
    while True:
        glue = _GLUE.match(text, math.end())
        following = MATH.match(text, glue.end()) if glue else None
        if following is None:
            return found
        math = following
        found.append(with_suffix(math, text))


def _main_value(sentence: str, first: bool) -> str:
    """Return the first or last value among those that are least of an aside."""
    values, ranks = values_in(sentence), _ranks(sentence)
    ranks = [rank + (value.re is MATH and _content(value).isalpha()) for value, rank in zip(values, ranks, strict=True)]
    chosen = [value for value, rank in zip(values, ranks, strict=True) if rank == min(ranks)]
    value = chosen[0 if first else -1]
    return with_suffix(value, sentence) if value.re is MATH else tidy(value.group())


def _ranks(sentence: str) -> list[int]:
    """Tell how far each value of a sentence is an aside."""
    before = [sentence[max(value.start() - 30, 0) : value.start()] for value in values_in(sentence)]
    return [max((rank for word, rank in _ASIDES if word.search(text)), default=0) for text in before]


def values_in(text: str) -> list[re.Match[str]]:
    """List the formulas and numbers of a text, in order."""
    found: list[re.Match[str]] = []
    position = 0
    for math in MATH.finditer(text):
        found += [*NUMBER.finditer(text, position, math.start()), math]
        position = _end(math, text)
    return found + list(NUMBER.finditer(text, position))


def masked_formulas(text: str) -> str:
    """Put letters in place of formulas; a full stop at the end of a formula stays."""
    return MATH.sub(lambda m: "x" * (len(m.group()) - 1) + ("." if _content(m).rstrip().endswith(".") else "x"), text)


def with_suffix(math: re.Match[str], text: str) -> str:
    """Return the content of a formula of the text, with a percent sign or degrees behind it."""
    suffix = _AFTER_MATH.match(text, math.end())
    return tidy(_content(math)) + (suffix.group().strip() if suffix else "")


def _end(value: re.Match[str], text: str) -> int:
    """Return where a value and the percent sign, degrees or base behind it end."""
    suffix = _AFTER_MATH.match(text, value.end())
    return suffix.end() if suffix else value.end()


def _content(math: re.Match[str]) -> str:
    content = next(group for group in math.groups() if group is not None)
    if not math.group().startswith("\\begin"):
        return content
    rows = [row for row in re.split(r"\\\\(?:\[[^\]]*\])?", content) if row.strip()]
    return rows[-1].replace("&", " ") if rows else content


def without_commands(text: str) -> str:
    r"""Drop `\text{…}` and the like, so that what is left of words is prose."""
    return _COMMANDS.sub("", text)


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """Find the last match of a pattern."""
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)
