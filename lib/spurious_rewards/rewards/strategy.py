r"""Detect code reasoning: does a solution reason in code, or in words?

Two detectors:

- `uses_code` — the paper's own (its section on code reasoning): the word "python" anywhere in the text. The headline.
- `uses_code_structural` — an audit that does not depend on that word. It reads the text up to the first marked answer
  (a box, `#### 5`, `</answer>`) and looks for
  (a) a fenced block, of three or more backticks or tildes, labelled as one of `LANGUAGES`. A block without a label or
  with an unknown one ("step1", "solution") counts if its body passes (b) with one statement. A block labelled as one of
  `NOT_CODE` (json, text, output, …) never counts;
  (b) two or more lines that parse as Python statements, at least one of them *unmistakable*: an import, def, class,
  while, with, a loop over more than a name, an augmented assignment, a line after the prompt `>>>`, a call of `print`,
  `range`, `input` or `len`, or a method call such as `math.sqrt(2)`. Words and formulas that happen to parse (`x`,
  `a + b`, `f(2)`) are no statements, and assignments or cases of a worked solution (`x = 3`) are no evidence;
  (c) a `<code>` element that holds a statement, or one of the forms of other languages in `OTHER_LANGUAGES`.

`strategy` also reports code behind the first answer (models that run on into a new dialogue) and code that is followed
by an output block: a tool executed it, or the model made the output up.

>>> uses_code("Let's solve this using Python."), uses_code("We add 3 and 4.")
(True, False)
>>> uses_code_structural("```sympy\nprint(1 + 2)\n```"), uses_code_structural("x = 3\ny = 4\nSo x + y = 7.")
(True, False)
>>> strategy("```python\nprint(3)\n```\n```output\n3\n```\nSo \\boxed{3}.")
Strategy(code=True, code_after_answer=False, with_output=True)
>>> strategy("<answer>3</answer>\nUser: And in Python?\n```python\nprint(3)\n```")
Strategy(code=False, code_after_answer=True, with_output=False)

Usage: `python -m spurious_rewards.rewards.strategy --cases FILE.jsonl` (fields text, uses_code)
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
import warnings
from collections.abc import Callable
from typing import NamedTuple

from spurious_rewards.command_line import command
from spurious_rewards.rewards.cases import print_json, read_cases, run
from spurious_rewards.rewards.extraction import first_answer

LANGUAGES = frozenset(
    "python py python2 python3 py3 ipython ipython3 pycon jupyter sage sagemath sympy numpy tool_code c c++ cpp cxx c# "
    "cs csharp java javascript js typescript ts r julia jl matlab octave mathematica wolfram wl maple gap pari gp "
    "magma maxima haskell hs rust rs go golang ruby rb php perl pl sql bash sh shell scala kotlin swift lua lisp "
    "scheme clojure prolog fortran pascal basic vb ocaml f# fsharp erlang elixir dart nim zig asm lean coq".split()
)
"""Labels of fenced blocks that are programming languages."""
OUTPUT = frozenset("output out stdout result results console execution_result tool_output".split())
"""Labels of what a program printed."""
NOT_CODE = OUTPUT | frozenset(
    "json jsonl text txt plain plaintext latex tex math markdown md csv tsv html xml yaml toml asy diff "
    "mathematica-output".split()
)
"""Labels of fenced blocks that are never code."""
OTHER_LANGUAGES: tuple[tuple[str, str], ...] = (  # pattern, an example of it
    (r"\b(?:N?Solve|Reduce|(?:Full)?Simplify|N?Integrate|Expand|FindRoot)\[[^\[\]\n]+\]", "Solve[x^2 == 4, x]"),
    (r"(?im)^[ \t]*for +\w+ *= *\S+ +to +\S+.*\n(?:.*\n){0,20}?[ \t]*next\b", "for i = 1 to 9\n s = s + i\nnext i"),
    (r"(?m)^[ \t]*#include *<\w", "#include <stdio.h>"),
    (r"\bint main *\(", "int main() { return 0; }"),
    (r"\b(?:System\.out\.print|console\.log|std::cout|printf *\( *\")", 'printf("%d", 7);'),
)
"""Forms of other languages that count outside fences, each with an example."""
MAX_LINES = 2000  # looked at outside fences
MAX_LINE = 400  # characters; longer lines are prose

_FENCE = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|~{3,})[ \t]*(?P<label>[^\s`]*)[^\n`]*\n(?P<body>.*?)(?:^[ \t]*(?P=fence)[`~]*[ \t]*$|\Z)",
    re.DOTALL | re.MULTILINE,
)
_OTHER = [re.compile(pattern) for pattern, _ in OTHER_LANGUAGES]
_ELEMENT = re.compile(r"<code>(.{1,2000}?)</code>", re.DOTALL)
_PROMPT = re.compile(r"\s*>>> ?")
_INLINE = re.compile(r"\s*(?:\d+[.)]|[-*])?\s*`([^`]+)`[.;]?\s*")  # a line that is nothing but inline code
_DEFINITION = re.compile(r"\s*def\s+\w+\([^()]*\)\s*(?:->.*)?:\s*$")  # also without its indented body
_HEADER = re.compile(r"\s*(?:def|class|for|while|if|with|try|async)\b.*:\s*(?:#.*)?$")
_CONTINUATION = re.compile(r"(?:else|elif|except|finally)\b.*:\s*$")
_STATEMENT = re.compile(
    r"(?:import|from|return|assert|raise|del|global|for|while|if|with|def|class)\b|"
    r"[A-Za-z_][\w.]*\s*\(|"
    r"[A-Za-z_][\w.]*(?:\[[^\]]*\])?(?:\s*,\s*[A-Za-z_]\w*)*\s*(?:[-+*/%]|//|\*\*)?=(?!=)"
)
_BUILTINS = {"print", "range", "input", "len"}
_UNMISTAKABLE = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.While, ast.With, ast.AugAssign)


class Strategy(NamedTuple):
    """Hold what a text shows of code: up to its first answer, behind it, and whether output follows the code."""

    code: bool
    code_after_answer: bool
    with_output: bool


def uses_code(text: str) -> bool:
    """Return the verdict of the paper's detector: `"python" in text.lower()`."""
    return "python" in text.lower()


def uses_code_structural(text: str) -> bool:
    """Return whether a text holds code up to its first answer; see the module's description."""
    return _has_code(text[: _end_of_answer(text)])


def strategy(text: str) -> Strategy:
    """Return where a text holds code, and whether an output block follows it."""
    end = _end_of_answer(text)
    code = _has_code(text[:end])
    labels = [_label(match) for match in _FENCE.finditer(text[:end])]
    with_output = any(label in OUTPUT for label in labels[1:] if labels[0] not in OUTPUT)
    return Strategy(code, end < len(text) and _has_code(text[end:]), code and with_output)


def _end_of_answer(text: str) -> int:
    """Return the index behind the first marked answer outside fenced code; the length of the text if there is none."""
    answer = first_answer(text)
    if answer is None:
        return len(text)
    for fence in _FENCE.finditer(text):
        if fence.end() > answer[0]:
            if fence.start() > answer[0] or _label(fence) in NOT_CODE:
                break
            answer = first_answer(text, fence.end())
            if answer is None:
                return len(text)
    return answer[1]


def _label(fence: re.Match[str]) -> str:
    return fence["label"].strip("{}.").lower()


def _has_code(text: str) -> bool:
    """Tell whether a text holds a fenced code block, statements, or a form of another language."""
    for fence in _FENCE.finditer(text):
        label = _label(fence)
        if label in LANGUAGES or (label not in NOT_CODE and _evidence(fence["body"])[1]):
            return True
    rest = _FENCE.sub("\n", text)
    if any(pattern.search(rest) for pattern in _OTHER) or any(
        _evidence(element)[0] for element in _ELEMENT.findall(rest)
    ):
        return True
    statements, evident = _evidence(rest)
    return evident and statements >= 2


def _bare(line: str) -> str:
    """Take inline code out of its marks, and the first prompt out of a line."""
    return _INLINE.sub(r"\1", line) if _INLINE.fullmatch(line) else _PROMPT.sub("", line, count=1)


def _evidence(text: str) -> tuple[int, bool]:
    """Return the number of Python statements in the text, and whether one of them is unmistakable."""
    lines = text.split("\n")[:MAX_LINES]
    prompted = [_PROMPT.match(line) is not None for line in lines]
    lines = [_bare(line) if len(line) <= MAX_LINE else line for line in lines]
    count, evident, position = 0, False, 0
    while position < len(lines):
        end = _end_of_statement(lines, position)
        nodes = _parse("\n".join(lines[position:end]), any_expression=prompted[position])
        for node in nodes:
            shown = prompted[position] or _is_evident(node)
            if isinstance(node, ast.Expr) and not shown:
                continue  # a word, a formula, f(2)
            count += 1
            evident = evident or shown
        if not nodes and _DEFINITION.match(lines[position]):
            count, evident = count + 1, True
        position = end
    return count, evident


def _end_of_statement(lines: list[str], start: int) -> int:
    """Return the index after the statement that starts here: one line, or a header with its indented body."""
    if not _HEADER.match(lines[start]):
        return start + 1
    indent = len(lines[start]) - len(lines[start].lstrip())
    end = start + 1
    while end < len(lines):
        line = lines[end]
        deeper = len(line) - len(line.lstrip()) > indent
        if line.strip() and not deeper and not _CONTINUATION.match(line.strip()):
            break
        end += 1
    return end


def _parse(source: str, any_expression: bool) -> list[ast.stmt]:
    """Parse statements of a source that begins like one, or an expression after a prompt; [] if that fails."""
    source = textwrap.dedent(source).strip("\n")
    first = source.split("\n", 1)[0]
    if len(first) > MAX_LINE or not (any_expression or _STATEMENT.match(first)):
        return []
    try:
        with warnings.catch_warnings(action="ignore"):  # "2x" is a warning of Python's, and the text of a model
            return ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _is_evident(node: ast.stmt) -> bool:
    if isinstance(node, _UNMISTAKABLE) or (isinstance(node, ast.For) and not isinstance(node.iter, ast.Name)):
        return True
    calls = [child.func for child in ast.walk(node) if isinstance(child, ast.Call)]
    methods = [call for call in calls if isinstance(call, ast.Attribute)]
    return bool(methods) or any(isinstance(call, ast.Name) and call.id in _BUILTINS for call in calls)


DETECTORS: dict[str, Callable[[str], bool]] = {"paper": uses_code, "structural": uses_code_structural}


def judge_detectors(*, cases: str) -> None:
    """Measure the accuracy of the code-reasoning detectors on labelled texts; the last line is JSON.

    Args:
        cases: JSON lines with text and uses_code (true or false).
    """
    rows = read_cases(cases, {"text": str, "uses_code": bool})
    verdicts = {
        name: run(rows, lambda case, detect=detect: detect(case["text"]), "uses_code")
        for name, detect in DETECTORS.items()
    }
    answers = [[row["verdict"] for row in found] for _, found in verdicts.values()]
    agreement = sum(a == b for a, b in zip(*answers, strict=True)) / max(len(rows), 1)
    shown = [strategy(case["text"]) for case in rows]
    counts = {name: sum(getattr(found, name) for found in shown) for name in ("code_after_answer", "with_output")}
    summaries = {name: summary for name, (summary, _) in verdicts.items()}
    print_json({"n": len(rows), **summaries, "agreement": agreement, **counts})


main = command(judge_detectors)


if __name__ == "__main__":
    sys.exit(main())
