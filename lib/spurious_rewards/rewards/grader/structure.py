r"""Parse the outer form of an answer: list, tuple, interval, union, matrix, assignment, relation, ±.

All functions take canonical strings (`normalization.normalize`) and never evaluate anything.

>>> split_top("(1,2),(3,[4,5])", ",")
['(1,2)', '(3,[4,5])']
>>> parse_group(r"\{1,2\}"), parse_group("(3,4]")
(Group(open='\\{', close='\\}', items=('1', '2')), Group(open='(', close=']', items=('3', '4')))
>>> expand_plus_minus(r"1\pm\sqrt{19}"), strip_assignment("(p,q)=(3,2)")
(['1+\\sqrt{19}', '1-\\sqrt{19}'], '(3,2)')

Usage: `from spurious_rewards.rewards.grader.structure import parse_group`
"""

from __future__ import annotations

import re
from typing import NamedTuple

_TOKEN = re.compile(r"\\[{}|]|\\[A-Za-z]+|\\\\|.", re.DOTALL)
_OPEN = {"(", "[", "{", "\\{", "\\langle", "\\lfloor", "\\lceil"}
_CLOSE = {")", "]", "}", "\\}", "\\rangle", "\\rfloor", "\\rceil"}
RELATION = re.compile(r"\\le(?![A-Za-z])|\\ge(?![A-Za-z])|\\ne(?![A-Za-z])|<|>")
_PLUS_MINUS = re.compile(r"\\(?:pm|mp)(?![A-Za-z])\s*")
NAME = r"(?:\\[A-Za-z]+|[A-Za-z])"


class Group(NamedTuple):
    """Entries between a pair of brackets; both brackets are "" for a bare list."""

    open: str
    close: str
    items: tuple[str, ...]

    @property
    def is_set(self) -> bool:
        """Whether the order of the entries carries no meaning."""
        return self.open in ("", "\\{", "{")


def split_top(text: str, separators: str) -> list[str]:
    """Split at separators outside all brackets."""
    parts, depth, start = [], 0, 0
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token in _OPEN:
            depth += 1
        elif token in _CLOSE:
            depth -= 1
        elif depth == 0 and token in separators and len(token) == 1:
            parts.append(text[start : match.start()].strip())
            start = match.end()
    parts.append(text[start:].strip())
    return parts


def brackets(text: str) -> tuple[str, str, str] | None:
    """Return opening bracket, closing bracket and content if one pair encloses the whole text; else None."""
    tokens = list(_TOKEN.finditer(text))
    if len(tokens) < 2 or tokens[0].group() not in _OPEN or tokens[-1].group() not in _CLOSE:
        return None
    depth = 0
    for token in tokens[:-1]:
        depth += (token.group() in _OPEN) - (token.group() in _CLOSE)
        if depth == 0:
            return None
    return tokens[0].group(), tokens[-1].group(), text[tokens[0].end() : tokens[-1].start()].strip()


def parse_group(text: str) -> Group | None:
    """Parse a bracketed or bare list; None for a single value."""
    found = brackets(text)
    if found is not None:
        opening, closing, content = found
        if opening == "{" and brackets(content) and len(split_top(text, ",;")) == 1:
            inner = parse_group(content)
            if inner is not None:
                return inner
        items = _items(content)
        if len(items) > 1 or (opening == "\\{" and items):
            return Group(opening, closing, tuple(items))
        return None
    items = _items(text)
    return Group("", "", tuple(items)) if len(items) > 1 else None


def _items(content: str) -> list[str]:
    blocks = [block for block in split_top(content, ";") if block]
    if len(blocks) > 1 and any(len(split_top(block, ",")) > 1 for block in blocks):
        return [block if brackets(block) else f"({block})" for block in blocks]
    return [item for item in split_top(content, ",;") if item]


def unwrap_single(text: str) -> str:
    """Remove brackets around a single value: `(5)`, `{5}`, `[5]`, nested."""
    while True:
        found = brackets(text)
        if found is None or found[0] not in "({[" or {found[0] + found[1]}.isdisjoint({"()", "{}", "[]"}):
            return text
        if len(_items(found[2])) != 1:
            return text
        text = found[2]


def is_name(text: str) -> bool:
    """Return whether a left-hand side names a quantity: `x`, `a_{3}`, `f(2)`, `|AB|`, `A:B`, `(p,q)`, words."""
    text = re.sub(r"\\text\{[^{}]*\}", "w", text)
    text = re.sub(r"_\{[^{}]*\}|\^\{(?:[*']*|-1|T)\}", "", text)
    text = re.sub(r"\[([A-Z]+)\]", r"\1", re.sub(r"(?<=[A-Za-z'])\([^()=]*\)", "", text))
    text = re.sub(r"\\frac\{([A-Za-z]+)\}\{([A-Za-z]+)\}", r"\1", text)
    text = re.sub(r"\\(?:overline|overrightarrow|vec|hat|bar|mathbf|angle|triangle|odot|Delta)", "", text)
    return bool(re.search("[A-Za-z]", text) and re.fullmatch(rf"[(|]?(?:{NAME}|[,:|{{}}' ])+[)|]?", text))


def is_quantity(text: str) -> bool:
    r"""Return whether a left-hand side is a quantity to be found: `m+n`, `100a+b`, `x^{2}`, `\sin 2x`."""
    text = text.replace(r"\cdot ", "").replace(r"\cdot", "")
    if re.fullmatch(
        r"[A-Za-z]\^\{\d+\}|\\(?:sin|cos|tan|cot|sec|csc)(?:\^\{2\})? ?\(?\d*(?:[A-Za-z]|\\[a-z]+)\)?", text
    ):
        return True
    return len(set(re.findall("[A-Za-z]", text))) > 1 and re.fullmatch(r"[A-Za-z\d+\-*^{}]+", text) is not None


def split_assignment(text: str) -> tuple[str, str] | None:
    """Split `name = value`, `value = name`, `x \\in S` or a chain `name = … = value` into name and value; else None."""
    member = re.match(rf"({NAME}(?:_\{{[^{{}}]*\}})?(?:,{NAME})*)\s*\\in(?![A-Za-z])\s*", text)
    if member:
        return member.group(1), text[member.end() :]
    parts = split_top(re.sub(r"\\equiv(?![A-Za-z])", "=", text), "=")
    if len(parts) < 2 or not all(parts) or RELATION.search(parts[0]):
        return None
    if len(parts) > 2 and len(split_top(text, ",;")) > 1:
        return None  # several assignments, not one chain
    if is_name(parts[0]):
        rounded = len(parts) > 2 and re.fullmatch(r"-?\d*\.\d+", parts[-1]) and not is_name(parts[-2])
        return parts[0], parts[-2] if rounded else parts[-1]
    if len(parts) == 2 and is_name(parts[1]) and len(parts[1]) <= 3:
        return parts[1], parts[0]
    return None


def strip_assignment(text: str) -> str:
    """Return the value of an assignment, or the text itself."""
    assignment = split_assignment(text)
    return assignment[1] if assignment else text


def expand_plus_minus(text: str) -> list[str]:
    """List the at most four values of an expression with ± (itself without): signs linked by ∓, else independent."""
    if not _PLUS_MINUS.search(text):
        return [text]
    if "\\mp" in text or len(_PLUS_MINUS.findall(text)) > 2:
        swap = {"\\pm": ("+", "-"), "\\mp": ("-", "+")}
        return [_tidy_signs(_PLUS_MINUS.sub(lambda m, k=k: swap[m.group().strip()][k], text)) for k in (0, 1)]
    head, tail = _PLUS_MINUS.split(text, maxsplit=1)
    return [_tidy_signs(head + sign + rest) for sign in "+-" for rest in expand_plus_minus(tail)]


def _tidy_signs(text: str) -> str:
    return re.sub(r"(^|[({,=])\+", r"\1", text)


def has_relation(text: str) -> bool:
    """Return whether the text holds an (in)equality sign outside brackets."""
    return bool(RELATION.search(text)) or len(split_top(text, "=")) > 1


def parse_matrix(text: str) -> list[list[str]] | None:
    """Return the rows of a matrix in LaTeX or as nested lists `[[1,2],[3,4]]`, or None."""
    nested = re.fullmatch(r"(?:Matrix\()?\[(\[.*\])\]\)?", text)
    if nested:
        rows = [parse_group(row) or Group("[", "]", (row[1:-1],)) for row in split_top(nested.group(1), ",")]
        return [list(row.items) for row in rows] if all(row.open == "[" for row in rows) else None
    match = re.fullmatch(r"\\begin\{pmatrix\}(.*)\\end\{pmatrix\}", text, re.DOTALL)
    if not match or "\\begin" in match.group(1):
        return None
    rows = [row for row in match.group(1).split("\\\\") if row.strip()]
    return [[cell.strip() for cell in row.split("&")] for row in rows]
