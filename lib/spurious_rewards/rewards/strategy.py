r"""Code reasoning: does a solution reason in Python (text that is never executed) or in words?

Two detectors:

- `uses_code` — the paper's own (its section on code reasoning): the word "python" anywhere in the text. The headline.
- `uses_code_structural` — an audit that does not depend on that word. A text is code if it holds
  (a) a fenced block in a programming language: its label is none of `NOT_CODE_LABELS` (json, text, output, latex, …);
  a block without a label counts if it passes (b) on its own, where one statement is enough; or
  (b) two or more lines that parse as Python statements, at least one of them *unmistakable*: an import, def, class,
  while, with, a loop over more than a name, an augmented assignment, a call of `print`, `range`, `input` or `len`, or a
  method call such as `math.sqrt(2)`. Words and formulas that happen to parse (`x`, `a + b`, `f(2)`) are no statements,
  and assignments or cases of a worked solution (`x = 3`, `if n is even: x = 2`) are not evidence.

>>> uses_code("Let's solve this using Python."), uses_code("We add 3 and 4.")
(True, False)
>>> uses_code_structural("```sympy\nprint(1 + 2)\n```"), uses_code_structural("x = 3\ny = 4\nSo x + y = 7.")
(True, False)
>>> uses_code_structural("import math\nprint(math.sqrt(16))"), uses_code_structural("```json\n{\"answer\": 4}\n```")
(True, False)

Usage: `python -m spurious_rewards.rewards.strategy --cases FILE.jsonl` (fields text, uses_code)
"""

from __future__ import annotations

import argparse
import ast
import re
import textwrap
from collections.abc import Callable

NOT_CODE_LABELS = frozenset(
    "json jsonl text txt plain plaintext output out stdout result results console latex tex math mathematica-output "
    "markdown md csv tsv html xml yaml toml asy diff".split()
)
MAX_LINES = 2000  # looked at outside fences
MAX_LINE = 400  # characters; longer lines are prose

_FENCE = re.compile(
    r"^[ \t]*(?:```|~~~)[ \t]*([^\s`]*)[^\n`]*\n(.*?)(?:^[ \t]*(?:```|~~~)[ \t]*$|\Z)", re.DOTALL | re.MULTILINE
)
_HEADER = re.compile(r"\s*(?:def|class|for|while|if|with|try|async)\b.*:\s*(?:#.*)?$")
_CONTINUATION = re.compile(r"(?:else|elif|except|finally)\b.*:\s*$")
_STATEMENT = re.compile(
    r"(?:import|from|return|assert|raise|del|global|for|while|if|with|def|class)\b|"
    r"[A-Za-z_][\w.]*\s*\(|"
    r"[A-Za-z_][\w.]*(?:\[[^\]]*\])?(?:\s*,\s*[A-Za-z_]\w*)*\s*(?:[-+*/%]|//|\*\*)?=(?!=)"
)
_BUILTINS = {"print", "range", "input", "len"}
_UNMISTAKABLE = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.While, ast.With, ast.AugAssign)


def uses_code(text: str) -> bool:
    """The paper's detector: `"python" in text.lower()`."""
    return "python" in text.lower()


def uses_code_structural(text: str) -> bool:
    """Whether the text holds a fenced code block or Python statements; see the module's description."""
    for label, body in _FENCE.findall(text):
        label = label.strip("{}.").lower()
        if (label and label not in NOT_CODE_LABELS) or (not label and _evidence(body)[1]):
            return True
    statements, evident = _evidence(_FENCE.sub("\n", text))
    return evident and statements >= 2


def _evidence(text: str) -> tuple[int, bool]:
    """Number of Python statements in the text, and whether one of them is unmistakable."""
    lines = [re.sub(r"^\s*>>> ?", "", line) for line in text.split("\n")[:MAX_LINES]]
    count, evident, position = 0, False, 0
    while position < len(lines):
        end = _end_of_statement(lines, position)
        for node in _parse("\n".join(lines[position:end])):
            if isinstance(node, ast.Expr) and not _is_evident(node):
                continue  # a word, a formula, f(2)
            count += 1
            evident = evident or _is_evident(node)
        position = end
    return count, evident


def _end_of_statement(lines: list[str], start: int) -> int:
    """Index after the statement that starts here: one line, or a header with its indented body."""
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


def _parse(source: str) -> list[ast.stmt]:
    source = textwrap.dedent(source).strip("\n")
    first = source.split("\n", 1)[0]
    if len(first) > MAX_LINE or not _STATEMENT.match(first):
        return []
    try:
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


def main(arguments: list[str] | None = None) -> None:
    """Run both detectors on labelled cases; the last line is JSON."""
    from spurious_rewards.rewards.cases import print_json, read_cases, run

    parser = argparse.ArgumentParser(description="Accuracy of the code-reasoning detectors on labelled texts.")
    parser.add_argument("--cases", required=True, help="JSON lines with text and uses_code (true or false)")
    cases = read_cases(parser.parse_args(arguments).cases, {"text": str, "uses_code": bool})
    verdicts = {
        name: run(cases, lambda case, detect=detect: detect(case["text"]), "uses_code")
        for name, detect in DETECTORS.items()
    }
    answers = [[row["verdict"] for row in rows] for _, rows in verdicts.values()]
    agreement = sum(a == b for a, b in zip(*answers, strict=True)) / max(len(cases), 1)
    print_json({"n": len(cases), **{name: summary for name, (summary, _) in verdicts.items()}, "agreement": agreement})


if __name__ == "__main__":
    import sys

    from spurious_rewards.command_line import exit_code

    sys.exit(exit_code(main))
