r"""Give each answer one spelling: Unicode, LaTeX variants, spacing, thousands separators.

`normalize` maps an answer to a canonical LaTeX string. It removes what carries no meaning (`\left`, `\!`, `\dfrac`,
`$…$`, a closing full stop) and unifies what is written in several ways (`−`, `²`, `≤`, `\leq`, `\frac43`, `\sqrt2`,
`7{,}425{,}000`). It keeps units, percent signs and subscripts: whether those matter is decided by the grader.
Equal canonical strings mean equal answers; unequal ones decide nothing.

>>> normalize(r"$\dfrac43$."), normalize(r"\left( 3, \tfrac{\pi}{2} \right)"), normalize("7{,}425{,}000")
('\\frac{4}{3}', '(3,\\frac{\\pi}{2})', '7425000')
>>> normalize("x² − 4 ≤ 0"), normalize(r"11\sqrt2"), normalize(r"\mathrm{East}")
('x^{2}-4\\le0', '11\\sqrt{2}', '\\text{East}')

Usage: `from spurious_rewards.rewards.grader.normalization import normalize`
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SUPERSCRIPT_RUN = re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_SUBSCRIPT_RUN = re.compile(r"[₀₁₂₃₄₅₆₇₈₉]+")
_UNICODE = {
    "−": "-",
    "–": "-",
    "—": "-",
    "‐": "-",
    "‑": "-",
    "×": r"\times ",
    "·": r"\cdot ",
    "⋅": r"\cdot ",
    "∙": r"\cdot ",
    "÷": "/",
    "∕": "/",
    "⁄": "/",
    "≤": r"\le ",
    "⩽": r"\le ",
    "≥": r"\ge ",
    "⩾": r"\ge ",
    "≠": r"\ne ",
    "≈": r"\approx ",
    "∞": r"\infty ",
    "π": r"\pi ",
    "θ": r"\theta ",
    "α": r"\alpha ",
    "β": r"\beta ",
    "γ": r"\gamma ",
    "λ": r"\lambda ",
    "φ": r"\phi ",
    "ω": r"\omega ",
    "Δ": r"\Delta ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "∈": r"\in ",
    "∅": r"\emptyset ",
    "±": r"\pm ",
    "∓": r"\mp ",
    "°": r"^\circ ",
    "º": r"^\circ ",
    "′": "'",
    "’": "'",
    "‘": "'",
    "…": r"\ldots ",
    "ℝ": r"\mathbb{R}",
    "∠": r"\angle ",
    "¢": r"\text{cents}",
    "〈": r"\langle ",
    "〉": r"\rangle ",
    "⟨": r"\langle ",
    "⟩": r"\rangle ",
    "“": "",
    "”": "",
    "\u200b": "",
    "\u2061": "",
    "\ufeff": "",
    "½": r"\frac{1}{2}",
    "⅓": r"\frac{1}{3}",
    "⅔": r"\frac{2}{3}",
    "¼": r"\frac{1}{4}",
    "¾": r"\frac{3}{4}",
}
_UNICODE_ANY = re.compile("|".join(map(re.escape, _UNICODE)))
_UNICODE_ROOT = re.compile(r"√\s*(?:\(([^()]*)\)|\{([^{}]*)\}|(\d+|[A-Za-z]))")

_WRAPPERS = re.compile(r"\$\$(.*)\$\$|\$(.*)\$|\\\((.*)\\\)|\\\[(.*)\\\]|`(.*)`|\*\*(.*)\*\*", re.DOTALL)
_INVISIBLE = re.compile(
    r"\\(?:left|right)\s*\.|\\(?:[bB]ig[lr]?|[bB]igg[lr]?|left|right|displaystyle|textstyle|scriptstyle|limits|nolimits"
    r"|mathstrut|strut|null|relax|rm|bf|it)(?![A-Za-z])"
    r"|\\[hv]space\*?\s*\{[^{}]*\}|\\[hv]?phantom\s*\{[^{}]*\}|\\(?:label|tag|color|textcolor)\s*\{[^{}]*\}"
)
_THIN = re.compile(r"\\[!,]\s*|\{,\}\s*")
_SPACES = re.compile(r"\\q?quad|\\[;: >]|~|\\(?:thinspace|enspace|nobreakspace)(?![A-Za-z])")
_FONT = re.compile(
    r"\\(?:mathrm|mathbf|mathit|mathsf|mathtt|mathnormal|textbf|textit|textrm|textsf|texttt|textnormal"
    r"|emph|mbox|hbox|operatorname\*?|boldsymbol|bm|text)\s*\{([^{}]*)\}"
)
_SYNONYMS = {
    r"\leqslant": r"\le",
    r"\leq": r"\le",
    r"\geqslant": r"\ge",
    r"\geq": r"\ge",
    r"\neq": r"\ne",
    r"\lt": "<",
    r"\gt": ">",
    r"\dfrac": r"\frac",
    r"\tfrac": r"\frac",
    r"\cfrac": r"\frac",
    r"\dbinom": r"\binom",
    r"\tbinom": r"\binom",
    r"\ast": "*",
    r"\bullet": r"\cdot",
    r"\div": "/",
    r"\over": "/",
    r"\colon": ":",
    r"\dots": r"\ldots",
    r"\cdots": r"\ldots",
    r"\dotsc": r"\ldots",
    r"\degree": r"^\circ",
    r"\degrees": r"^\circ",
    r"\varnothing": r"\emptyset",
    r"\lbrace": r"\{",
    r"\rbrace": r"\}",
    r"\lbrack": "[",
    r"\rbrack": "]",
    r"\lvert": "|",
    r"\rvert": "|",
    r"\vert": "|",
    r"\mid": "|",
    r"\bigcup": r"\cup",
    r"\backslash": r"\setminus",
    r"\lor": r"\text{or}",
    r"\land": r"\text{and}",
    r"\R": r"\mathbb{R}",
    r"\reals": r"\mathbb{R}",
    r"\Reals": r"\mathbb{R}",
    r"\prime": "'",
    r"\percent": r"\%",
    r"\dollar": r"\$",
    r"\euro": "€",
    r"\texteuro": "€",
    r"\pounds": "£",
    r"\textsterling": "£",
    r"\yen": "¥",
    r"\varphi": r"\phi",
    r"\imath": "i",
}
_COMMAND = re.compile(r"\\[A-Za-z]+")
_MATRIX = re.compile(r"\\(begin|end)\s*\{(?:[bvBV]matrix|smallmatrix|matrix|array)\}(?:\s*\{[clr|]*\})?")
_PLAIN_WORDS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<![\\A-Za-z])sqrt(?=\s*[({\d])", r"\\sqrt"),
        (r"(?<![\\A-Za-z])pi(?![A-Za-z])", r"\\pi "),
        (r"(?<![\\A-Za-z])(?:infinity|infty|inf|oo)(?![A-Za-z])", r"\\infty "),
        (r"(?<![\\A-Za-z])(arcsin|arccos|arctan|sin|cos|tan|cot|sec|csc|ln|log|exp)(?![A-Za-z])", r"\\\1 "),
        (r"<=|=<", r"\\le "),
        (r">=|=>", r"\\ge "),
        (r"!=", r"\\ne "),
        (r"\*\*", "^"),
        (r"(?<=\d)\s*[xX]\s*(?=10\s*\^)", r"\\times "),  # 1.2 x 10^6
        (r"~=", r"\\approx "),
        (r"(?<=\d)[eE]([+-]?\d{1,3})(?![\w.])", r"\\times 10^{\1}"),  # 6.72e-5
    )
)
_SQRT_SHORT = re.compile(r"\\sqrt\s*(\[[^\[\]]*\])?\s*(\d+|[A-Za-z]|\\pi(?![A-Za-z]))")
_SQRT_PAREN = re.compile(r"\\sqrt\s*(?=\()")
_SCRIPT = re.compile(r"([\^_])\s*(?:\{\s*([^{}]*?)\s*\}|(\\[A-Za-z]+|[A-Za-z]|\d+))")
_CIRC = re.compile(r"\^\{?\\circ\}?")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_SPACED_THOUSANDS = re.compile(r"(?<![\d.,\s])(?<!\d\s)\d{1,3}(?:\s\d{3})+(?![\d,\s]|\.\d)")
_MIXED = re.compile(r"(?<![\d.}])(\d+)\s+(\d+)\s*/\s*(\d+)(?!\d)")
_AND_OR = re.compile(
    r"\s*,?\s*(?:\\text\{\s*,?\s*(?:and|or)\s*,?\s*\}|(?<![\\A-Za-z{])(?:and|or)(?![A-Za-z]))\s*(?!\})"
)
_AND_OR_UNSPACED = re.compile(  # x=0orx=3, f(x)=xandf(x)=0
    r"(?:(?<=[\d)}\]])|(?<==[A-Za-z]))(?:and|or)(?=[A-Za-z](?:_?\{?\d\}?)?(?:\([A-Za-z]\))?(?:=|<|>|\\le|\\ge|\\ne|\\in))"
)
_RECURRING = re.compile(  # 0.333..., 0.1(6)
    r"(?<![\d.])(\d*)\.(?:(\d+)(?:\.\.\.|…|\s*\\(?:l|c)?dots(?![A-Za-z]))(?!\s*\d)|(\d*)\((\d+)\)(?!\s*\d))"
)
_PHRASE = re.compile(r"(?=.*[A-Za-z]{3})[A-Za-z]+(?:[ -]+[A-Za-z']+)+")
_LEAD_IN = re.compile(r"^(?:\\text\s*\{)?\s*(?:[Tt]he\s+)?(?:[Ff]inal\s+)?[Aa]nswer(?:\s+is)?\s*[:=]?\s*\}?(?=.)")
_POWERS = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_MILLIONS = re.compile(r"(?<=\d)\s*(\\text\s*\{)?\s*(thousand|million|billion|trillion)s?(?![A-Za-z])")
_COUNTED = re.compile(  # 6 ways, 5 kg of rice
    r"^(.*[\d})])\s+((?:[A-Za-z]{3,}|(?:[kcm]?m|[km]?g|m?[lL]|lbs?|oz|ft)(?= of ))(?:[ -][A-Za-z]+)*)$", re.DOTALL
)
_FUNCTION_NAME = re.compile(r"\b(?:sin|cos|tan|cot|sec|csc|ln|log|exp|sqrt|pi|and|or|infinity)\b")
_SPACE_KEPT = re.compile(r"(\\[A-Za-z]+)\s+(?=[A-Za-z])")
_TEXT_PIECES = re.compile(r"(\\text\{[^{}]*\})")
_THIN_SPACE, _ROW_BREAK = "\x00", "\x01"  # placeholders
_INLINE_MATH = re.compile(r"(?<!\\)\$([^$]*[^$\\])\$")  # $28$ percent
_ROW = re.compile(r"\\\\(?![A-Za-z])(?:\[[^\]]*\])?|\\\\(?=[A-Za-z]+\s*[&}])")
_GROUPED_THIN = re.compile(r"(?<=\d),?\x00+,?\x00*(?=\d{3}(?!\d))")  # 10\,080 and 11,\! 111
_BRACKETED_MATRIX = re.compile(r"[\[(]\s*(\\begin\{pmatrix\}(?:(?!\\begin).)*\\end\{pmatrix\})\s*[\])]", re.DOTALL)


@lru_cache(maxsize=20_000)
def normalize(answer: str) -> str:
    """Return the canonical spelling of an answer."""
    if answer.isascii() and answer.isdigit():
        return answer
    if _PHRASE.fullmatch(answer.strip(" .")) and not _FUNCTION_NAME.search(answer):
        return rf"\text{{{' '.join(answer.strip(' .').split())}}}"
    answer = _RECURRING.sub(_recurring, answer)
    text = _unwrap(_ascii(answer.replace(_THIN_SPACE, "").replace(_ROW_BREAK, "")))
    text = _one_spelling(_spacing(_without_lead_in(text)))
    text = _AND_OR.sub(" , ", _AND_OR_UNSPACED.sub(" , ", text))
    pieces = _TEXT_PIECES.split(text)
    pieces[::2] = [_plain(piece) for piece in pieces[::2]]
    return _unwrap(_canonical_math("".join(pieces)).replace(_ROW_BREAK, r"\\"))


def _without_lead_in(text: str) -> str:
    r"""Drop "the answer is" at the head, also inside `\text{…}`."""
    rest = _LEAD_IN.sub("", text)
    return rest.removesuffix("}") if rest != text and rest.count("}") > rest.count("{") else rest


def _spacing(text: str) -> str:
    r"""Protect row breaks, drop invisible commands, join grouped digits, and make every space a plain one."""
    text = _ROW.sub(_ROW_BREAK, _INLINE_MATH.sub(r"\1", text))
    text = re.sub(r"\\\\(?=[A-Za-z])", r"\\", text)  # a doubly escaped command
    text = _MILLIONS.sub(lambda match: rf"\times10^{{{_POWERS[match.group(2)]}}}{match.group(1) or ''}", text)
    text = _COUNTED.sub(_counted, _INVISIBLE.sub("", text))
    if _in_brackets(text):
        text = text.replace(r",\,", ", ")  # (0,\,100) is a pair; outside of brackets 10,\,000 is a number
    text = _THIN.sub(lambda match: "," if match.group().startswith("{") else _THIN_SPACE, text)
    text = _GROUPED_THIN.sub("", text).replace(_THIN_SPACE, " ")
    return _SPACES.sub(" ", text)


def _one_spelling(text: str) -> str:
    r"""Write one command for synonyms, `\text` for all fonts, one kind of matrix."""
    text = _COMMAND.sub(lambda match: _SYNONYMS.get(match.group(), match.group()), text)
    for _ in range(2):  # fonts may be nested
        text = _FONT.sub(_font, text)
    text = _MATRIX.sub(lambda match: rf"\{match.group(1)}{{pmatrix}}", text)
    return _BRACKETED_MATRIX.sub(r"\1", text)


def _counted(match: re.Match[str]) -> str:
    return match.group() if _FUNCTION_NAME.search(match.group(2)) else rf"{match.group(1)}\text{{{match.group(2)}}}"


def _ascii(text: str) -> str:
    if not text.isascii():
        text = _SUPERSCRIPT_RUN.sub(lambda match: "^{" + match.group().translate(_SUPERSCRIPTS) + "}", text)
        text = _SUBSCRIPT_RUN.sub(lambda match: "_{" + match.group().translate(_SUBSCRIPTS) + "}", text)
        text = _UNICODE_ROOT.sub(lambda match: rf"\sqrt{{{match.group(match.lastindex or 0)}}}", text)
        text = _UNICODE_ANY.sub(lambda match: _UNICODE[match.group()], text)
        text = unicodedata.normalize("NFKC", text)
    return text


def _recurring(match: re.Match[str]) -> str:
    r"""Write a recurring decimal with a bar over its period: `0.333...` and `0.(3)` as `0.\overline{3}`."""
    whole, digits, fixed, period = match.groups()
    if period is None:
        fixed, period = _fixed_and_period(digits)
    return match.group() if not period else rf"{whole}.{fixed}\overline{{{period}}}"


def _fixed_and_period(digits: str) -> tuple[str, str]:
    """Split digits before the shortest period that ends them at least twice; its text is "" if there is none."""
    for length in range(1, len(digits) // 2 + 1):
        period = digits[-length:]
        if digits.endswith(period * (3 if length == 1 and len(digits) > 4 else 2)):
            fixed = digits
            while fixed.endswith(period):
                fixed = fixed.removesuffix(period)
            return fixed, period
    return digits, ""


def _unwrap(text: str) -> str:
    """Remove delimiters, emphasis and punctuation around the whole answer."""
    while True:
        before = text
        text = text.strip().removeprefix("=")
        text = re.sub(r"(?<!\\)[.,;:]+$|(?<!\\)\\$", "", text)
        match = _WRAPPERS.fullmatch(text)
        if match:
            inner = next(group for group in match.groups() if group is not None)
            if "$" not in inner.replace(r"\$", "") and "**" not in inner:
                text = inner
        if text == before:
            return text


def _font(match: re.Match[str]) -> str:
    content = match.group(1)
    word = content.strip()
    if match.group().startswith(("\\operatorname", "\\mathrm")) and _FUNCTION_NAME.fullmatch(word):
        return f"\\{word} "
    if (len(word) == 1 and word.isalpha()) or not re.search(r"[A-Za-z]", word):
        before, after = match.string[: match.start()], match.string[match.end() :].strip(" .$")
        if word not in "ei" and (not after or after[0] == "^") and re.search(r"[\d}]\s*$", before):
            return rf"\text{{{word}}}" if word else ""  # a unit: 5\text{ m}, 10\,\mathrm{N}
        return f" {word} " if word in "ei" else word
    counted = re.fullmatch(r"\s*(-?[\d.,/]*\d)\s+([A-Za-z][^\d{}]*)", content)
    if counted:
        return rf"{counted.group(1)}\text{{{counted.group(2)}}}"
    parts = [part.strip() for part in re.split(r",|(?<=\w)\s+(?:and|or)\s+(?=\w)", content)]
    if len(parts) > 1 and all(len(part) <= 20 for part in parts) and any(parts):
        return ",".join(part if len(part) == 1 else rf"\text{{{part}}}" for part in parts if part)
    return rf"\text{{{content}}}"


def _plain(text: str) -> str:
    for pattern, replacement in _PLAIN_WORDS:
        text = pattern.sub(replacement, text)
    return text


def _canonical_math(text: str) -> str:
    text = _THOUSANDS.sub(lambda match: match.group().replace(",", ""), text) if not _in_brackets(text) else text
    text = _SPACED_THOUSANDS.sub(lambda match: re.sub(r"\s", "", match.group()), text)
    text = _MIXED.sub(r"\1\\frac{\2}{\3}", text)
    text = _SQRT_SHORT.sub(lambda m: rf"\sqrt{m.group(1) or ''}{{{m.group(2)}}}", _root_parentheses(text))
    text = _expand_fractions(text)
    text = _CIRC.sub(r"^\\circ ", text)
    text = _SCRIPT.sub(lambda m: f"{m.group(1)}{{{m.group(2) if m.group(2) is not None else m.group(3)}}}", text)
    text = text.replace(r"^{\circ}", r"^\circ")
    text = re.sub(r"(?<![\d.])\.(?=\d)", "0.", text)
    pieces = _TEXT_PIECES.split(text)
    pieces[::2] = [_without_spaces(piece) for piece in pieces[::2]]
    pieces[1::2] = [rf"\text{{{' '.join(piece[6:-1].split())}}}" for piece in pieces[1::2]]
    return "".join(pieces)


def _without_spaces(text: str) -> str:
    r"""Drop spaces, except between a command and a letter (`\sin x`)."""
    return re.sub(r"\s+", "", _SPACE_KEPT.sub(rf"\1{_THIN_SPACE}", text)).replace(_THIN_SPACE, " ")


def _in_brackets(text: str) -> bool:
    """Tell whether the answer is a bracketed group, in which `1,234` is two entries rather than a number."""
    return bool(re.match(r"\s*(?:\\?[({\[]|\\langle)", text)) and bool(re.search(r"[)\]}]\s*$", text))


def _root_parentheses(text: str) -> str:
    r"""`\sqrt(…)` as `\sqrt{…}`."""
    for match in reversed(list(_SQRT_PAREN.finditer(text))):
        depth = 0
        for position in range(match.end(), len(text)):
            depth += {"(": 1, ")": -1}.get(text[position], 0)
            if depth == 0:
                text = rf"{text[: match.start()]}\sqrt{{{text[match.end() + 1 : position]}}}{text[position + 1 :]}"
                break
    return text


def _expand_fractions(text: str) -> str:
    r"""Brace both arguments of every `\frac` and `\binom` (`\frac43`, `\frac{1}2`, `\frac\pi2`)."""
    pieces = re.split(r"(\\(?:frac|binom)(?![A-Za-z]))", text)
    done = pieces[-1]
    for command, rest in zip(pieces[-2::-2], pieces[-3::-2], strict=True):
        top, after = _argument(done)
        bottom, after = _argument(after)
        done = rest + (f"{command}{{{top}}}{{{bottom}}}{after}" if top and bottom else command + done)
    return done


def _argument(text: str) -> tuple[str, str]:
    """Split a macro argument (a group without its braces, a command or one character) off the text."""
    text = text.lstrip()
    if not text.startswith("{"):
        command = re.match(r"\\[A-Za-z]+(?:\[[^\[\]]*\])?(?:\{[^{}]*\})*|[A-Za-z0-9]", text)
        return (command.group(), text[command.end() :]) if command else ("", text)
    depth = 0
    for match in re.finditer(r"\\.|[{}]", text):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return text[1 : match.start()].strip(), text[match.end() :]
    return "", text
