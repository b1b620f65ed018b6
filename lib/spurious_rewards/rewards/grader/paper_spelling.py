r"""Spell answers as the released verifier does: for its predictions, for the MATH dataset, and for its sympy step.

`strip_prediction` is applied to predictions only (hence quirk 1 of `paper`), `spell_dataset` and `deliteralize`
to both sides.

>>> strip_prediction("(a+5)(b+2)"), strip_prediction(r"12\text{ cm}"), strip_prediction(r"1 \pm \sqrt{19}")
('(+5)(b+2)', '12', '1\\\\sqrt{19}')
>>> spell_dataset(r"\dfrac43"), spell_dataset("0.5"), deliteralize(r"\frac{x+1}{2}")
('\\frac{4}{3}', '\\frac{1}{2}', 'x+1/2')

Usage: `from spurious_rewards.rewards.grader.paper_spelling import strip_prediction`
"""

from __future__ import annotations

import re

# Words and letters removed as units. Several are no units at all; they are what the released table removes.
_UNIT_WORDS = (
    "a ab acre am apple are bc by c cc cm coin cube cubic d day dm decrease deg degree east excess feet ft g gain "
    "gal gallon gm h hectare hour hr inch inches increase kg km kmh kmph l lb less liter litre loss lt m man mark "
    "men meter metre min minute minw mm month monkey more mp mph mt mtr noon number o ohm per percent pie pm "
    "prime profit pure rd ratio rise rounds rs rupee s sec second soldier sq square st surface t th tile toy unit "
    "way west woman women yard year yr"
).split()
_UNIT_FORMS = sorted({word + ending for word in _UNIT_WORDS for ending in ("", "s")}, key=len, reverse=True)
_UNITS = re.compile(rf"(^|\W)(?:{'|'.join(_UNIT_FORMS)})(?=$|\W)")
WORD_NUMBERS = {
    word: n
    for n, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen".split()
    )
} | {word: 10 * n for n, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)}
SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_LONG_UNITS = ("degree cm centimeter meter mile second minute hour day week month year foot feet inch yard").split()
_SYMBOLS = {
    "pi": "pi",
    "infty": "inf",
    "cup": "U",
    "cdot": "*",
    "times": "*",
    "pm": "±",
    "mp": "∓",
    "le": "≤",
    "leq": "≤",
    "ge": "≥",
    "geq": "≥",
    "ne": "≠",
    "neq": "≠",
    "in": "∈",
    "theta": "θ",
    "alpha": "α",
    "beta": "β",
    "lambda": "λ",
    "ldots": "…",
    "dots": "…",
    "circ": "∘",
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "log": "log",
    "ln": "ln",
    "cot": "cot",
    "emptyset": "∅",
    "quad": " ",
    "approx": "≈",
    "angle": "∠",
    "phi": "ϕ",
    "gamma": "γ",
    "omega": "ω",
} | dict.fromkeys(" ,;:", " ")


def strip_prediction(text: str) -> str:
    """Clean a prediction up as the released verifier does, units removed."""
    text = text.strip().replace("\n", "").rstrip(".").replace("\\!", "")
    text = re.sub(r"\\begin\{array\}\{.*?\}", r"\\begin{pmatrix}", text).replace(r"\end{array}", r"\end{pmatrix}")
    text = text.replace("bmatrix", "pmatrix").replace("tfrac", "frac").replace("dfrac", "frac")
    text = text.replace("\\neq", "\\ne").replace("\\leq", "\\le").replace("\\geq", "\\ge")
    text = text.replace("\\left", "").replace("\\right", "").replace("\\{", "{").replace("\\}", "}")
    text = re.sub(r"\\text\{[^{}]*\}$", "", text).strip() or text
    for _ in range(2):
        text = _UNITS.sub(r"\1", text) or text
    for mark in ("^{\\circ}", "^\\circ", "\\$", "$", "\\(", "\\)"):
        text = text.replace(mark, "")
    text = words_to_number(text)
    text = re.sub(r"\\text\{(.*?)\}", r"\1", text) if text != r"\text{}" else text
    for prefix in ("x=", "y=", "z=", "x\\in", "y\\in", "z\\in", "x\\to", "y\\to", "z\\to"):
        text = text.replace(prefix, "")
    text = text.replace("\\emptyset", "{}").replace("(-\\infty,\\infty)", "\\mathbb{R}")
    text = text.replace("\\%", "").replace("%", "").replace(" .", " 0.").replace("{.", "{0.")
    text = text.replace("infinity", "\\infty")
    if "\\infty" not in text:
        text = text.replace("inf", "\\infty")
    text = text.replace("and", "").replace("\\mathbf", "")
    text = re.sub(r"\\mbox\{.*?\}", "", text)
    if "j" in text and "i" not in text:
        text = text.replace("j", "i")
    text = re.sub(r"(\d+)\.0*(?=[^\d]|$)", r"\1", text)
    if text.startswith("."):
        text = "0" + text
    text = _drop_short_name(text)
    text = re.sub(r"\\sqrt(\w+)", r"\\sqrt{\1}", text).replace(" ", "")
    return _slash_to_fraction(_brace_fractions(text))


def spell_dataset(text: str) -> str:
    """Return the MATH dataset's own spelling of an answer."""
    text = text.strip()
    whole = re.fullmatch(r"\\text\{(.+?)\}", text)
    text = (whole.group(1) if whole else text).strip()
    text = text.replace("\n", "").replace("\\!", "").replace("\\\\", "\\")
    text = text.replace("tfrac", "frac").replace("dfrac", "frac")
    for mark in ("\\left", "\\right", "^{\\circ}", "^\\circ", "\\$"):
        text = text.replace(mark, "")
    if text.count("\\text{ ") == 1:
        text = text.split("\\text{ ")[0]
    text = text.replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")
    if not text:
        return text
    if text.startswith("."):
        text = "0" + text
    text = _drop_short_name(text)
    text = re.sub(r"\\sqrt([^{])", r"\\sqrt{\1}", text).replace(" ", "")
    text = _brace_fractions(text)
    if text == "0.5":
        text = "\\frac{1}{2}"
    return _slash_to_fraction(text)


def deliteralize(text: str) -> str:
    """Return the plain-text form that is compared as a string and then given to sympy."""
    whole = re.search(r"^\\text\{(.+?)\}$", text)
    text = whole.group(1) if whole else text
    for mark in ("\\%", "\\$", "$", "%"):
        text = text.replace(mark, "")
    text = text.replace(" or ", " , ").replace(" and ", " , ")
    text = text.replace("million", "*10^6").replace("billion", "*10^9").replace("trillion", "*10^12")
    text = re.sub(rf"(?:{'|'.join(_LONG_UNITS)})(?:es)?s? *(?:\^[0-9]+)?", "", text)
    text = re.sub(r"\^ *\\circ", "", text)
    if len(text) > 1 and text[0] == "{" and text[-1] == "}":
        text = text[1:-1]
    text = _whole_number(re.sub(r",\\! *", "", text))
    if "\\" in text:
        text = _latex_to_text(text)
    text = re.sub(r"- *", "-", text)
    text = re.sub(r"([0-9]) +([0-9])", r"\1+\2", text)
    text = re.sub(r"[ {}]", "", text).lower()
    grouped = re.fullmatch(r"-?\d{1,3}(?:,\d{3})+(?:\.0*)?", text)
    return _whole_number(text.replace(",", "") if grouped else text)


def _whole_number(text: str) -> str:
    try:
        number = float(text)
        return str(round(number)) if abs(number - round(number)) <= 1e-7 else text
    except (ValueError, OverflowError):
        return text


def _latex_to_text(text: str) -> str:
    """LaTeX as plain text: fractions as a/b without parentheses, roots as sqrt(…), unknown commands dropped."""
    text = text.replace("\\frac", " \\frac")
    for _ in range(8):
        before = text
        text = re.sub(r"\\frac\s*(\{[^{}]*\}|\w)\s*(\{[^{}]*\}|\w)", _plain_fraction, text)
        text = re.sub(r"\\sqrt\s*\{([^{}]*)\}", r" sqrt(\1)", text)
        text = re.sub(r"\\sqrt\s*\[([^\[\]]*)\]\s*\{([^{}]*)\}", r" root(\1)(\2)", text)
        text = re.sub(r"\\(?:text|mathrm|mathbf|mbox|textbf)\s*\{([^{}]*)\}", r"\1", text)
        if text == before:
            break
    text = text.replace("\\\\", ";").replace("\\{", "{").replace("\\}", "}")
    text = re.sub(r"\\(?:begin|end)\s*\{[^{}]*\}", "|", text)
    return re.sub(r"\\([A-Za-z]+|.)", lambda match: _SYMBOLS.get(match.group(1), ""), text).strip()


def _plain_fraction(match: re.Match[str]) -> str:
    return f"{match.group(1).strip('{}')}/{match.group(2).strip('{}')}"


def _drop_short_name(text: str) -> str:
    name, separator, rest = text.partition("=")
    return rest if separator and "=" not in rest and len(name) <= 2 else text


def _brace_fractions(text: str) -> str:
    head, *parts = text.split("\\frac")
    for part in parts:
        if part.startswith("{") or len(part) < 2:
            head += "\\frac" + part
        else:
            bottom = part[1] if part[1] == "{" else "{" + part[1] + "}"
            head += "\\frac{" + part[0] + "}" + bottom + part[2:]
    return head


def _slash_to_fraction(text: str) -> str:
    match = re.fullmatch(r"(-?\d+)/(-?\d+)", text)
    return rf"\frac{{{match.group(1)}}}{{{match.group(2)}}}" if match else text


def words_to_number(text: str) -> str:
    """Return digits for a text that contains English number words; the other words are ignored."""
    total, current, found = 0, 0, False
    for word in re.split(r"[\s-]+", text.lower()):
        if word in WORD_NUMBERS:
            current, found = current + WORD_NUMBERS[word], True
        elif word in SCALES and found:
            scale = SCALES[word]
            current, total = (current * scale, total) if scale == 100 else (0, total + current * scale)
    return str(total + current) if found else text
