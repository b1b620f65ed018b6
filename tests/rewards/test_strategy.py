"""The two code-reasoning detectors: what counts, what does not, and the command line."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from spurious_rewards.rewards.strategy import uses_code, uses_code_structural

FENCED = "Let's compute.\n```python\nprint(6 * 7)\n```\n```output\n42\n```\nThe answer is \\boxed{42}."
BARE = "We use a loop:\nimport math\ntotal = 0\nfor k in range(10):\n    total += k\nprint(total)\nSo the answer is 45."
WORKED = "Let x = 3.\nx = 3\ny = 4\nz = x + y\nf(2) = 7\nmax(3, 4) = 4\nThus the answer is \\boxed{7}."


@pytest.mark.parametrize(
    ("text", "paper", "structural"),
    [
        (FENCED, True, True),
        (BARE, False, True),
        (WORKED, False, False),
        ("A Python is a snake; the answer is 3.", True, False),
        ("Let's solve this using Python. Adding gives 7.", True, False),
        ('```json\n{"answer": 4}\n```', False, False),
        ("```output\n42\n```", False, False),
        ("```text\nfor i in range(3): print(i)\n```", False, False),
        ("```latex\n\\frac{1}{2}\n```", False, False),
        ("```\nprint(3)\n```", False, True),  # unlabelled, but unmistakable
        ("```\n3 + 4 = 7\n```", False, False),
        ("```\nx = 3\ny = 4\n```", False, False),
        ("```cpp\nint main() { return 0; }\n```", False, True),
        ("```Python\nx = 1\n```", True, True),
        ("```python\nx = 1", True, True),  # cut off at the token limit
        (">>> import math\n>>> math.sqrt(16)\n4.0", False, True),
        ("def f(n):\n    return n + 1\n\nprint(f(3))", False, True),
        ("import sympy", False, False),  # one statement is not two
        ("Answer\nNumber\nx\na + b\n5\n(1, 2)", False, False),  # words and formulas parse, but are no statements
        ("If n is even:\n  then n = 2k.\nFor example:\n  n = 4", False, False),
        ("for all x in S: the claim holds.\nwhile n > 0: we continue.", False, False),
        (
            "if n is even: x = 2\nif n is odd: x = 3\nfor n in S: x = 1",
            False,
            False,
        ),  # cases of a proof, though they parse
        ("primes = [2, 3]\nfor p in primes:\n    print(p)", False, True),
        ("", False, False),
    ],
)
def test_detectors(text, paper, structural):
    assert (uses_code(text), uses_code_structural(text)) == (paper, structural)


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "(" * 5000,
        "f(" * 20_000,
        "```" * 20_000,
        "a = 1\n" * 50_000,
        "=" * 200_000,
        "x = '\x00'\n",
        "if x:\n" * 3000,
        "\\" * 100_000,
    ],
)
def test_any_text_is_quick_and_never_raises(text):
    started = time.perf_counter()
    uses_code_structural(text)
    assert time.perf_counter() - started < 5


def test_command_line_reports_both_detectors(tmp_path):
    cases = tmp_path / "cases.jsonl"
    rows = [(FENCED, True), (BARE, True), (WORKED, False), ("Python, the snake.", False)]
    cases.write_text("".join(json.dumps({"text": t, "uses_code": u}) + "\n" for t, u in rows))
    command = [sys.executable, "-m", "spurious_rewards.rewards.strategy", "--cases", str(cases)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    # paper: misses BARE, takes the snake for code -> 2/4; structural: 4/4; they agree on FENCED and WORKED -> 2/4
    paper = result["paper"]
    assert (paper["accuracy"], paper["false_positives"], paper["false_negatives"]) == (0.5, 1, 1)
    assert result["structural"]["accuracy"] == 1.0
    assert (result["n"], result["agreement"], result["structural"]["crashes"]) == (4, 0.5, 0)


def test_command_line_names_a_bad_field(tmp_path):
    cases = tmp_path / "cases.jsonl"
    cases.write_text('{"text": "x", "uses_code": "yes"}\n')
    command = [sys.executable, "-m", "spurious_rewards.rewards.strategy", "--cases", str(cases)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"Line 1 of {cases} needs a field 'uses_code' of type bool.\n"
