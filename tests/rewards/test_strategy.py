"""The two code-reasoning detectors: what counts, what does not, and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spurious_rewards.rewards.strategy import (
    LANGUAGES,
    NOT_CODE,
    OTHER_LANGUAGES,
    strategy,
    uses_code,
    uses_code_structural,
)

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


PROGRAM = "total = 0\nfor k in range(9):\n    total += k\nprint(total)"
WORDS = "Step 1: add 3 and 4.\nStep 2: the sum is 7."


@pytest.mark.parametrize("fence", ["```", "````", "``````", "~~~", "~~~~"])
def test_fences_of_any_length_and_their_labels(fence):
    for label in sorted(LANGUAGES):
        assert uses_code_structural(f"We compute.\n{fence}{label}\n{WORDS}\n{fence}\nSo 7."), label
    for label in sorted(NOT_CODE):
        assert not uses_code_structural(f"{fence}{label}\n{PROGRAM}\n{fence}\nSo 7."), label
    for label in ("", "answer", "step1", "solution", "pseudocode", "diagram"):  # the body decides
        assert not uses_code_structural(f"{fence}{label}\n{WORDS}\n{fence}\nSo 7."), label
        assert uses_code_structural(f"{fence}{label}\n{PROGRAM}\n{fence}\nSo 7."), label


def test_a_longer_fence_holds_a_shorter_one():
    assert not uses_code_structural(f"````text\n```python\n{PROGRAM}\n```\n````\nSo 36.")


@pytest.mark.parametrize("line", ["~~~~~~~~~~~", "-----------", "===========", "***********"])
def test_a_ruled_line_is_no_fence(line):
    assert not uses_code_structural(f"The pattern is 0 7 5\n {line}\nSo the missing number is 9.")


@pytest.mark.parametrize(("pattern", "example"), OTHER_LANGUAGES)
def test_forms_of_other_languages(pattern, example):
    assert uses_code_structural(f"We let a machine do it.\n{example}\nIt gives 7.")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (">>> 3 + 4\n7\n>>> 7 * 2\n14", True),  # expressions after a prompt
        ("3 + 4 >>> 7 * 2", False),
        ("def cost(heel):\nreturn 5 - heel\nSo 104.", True),  # the body lost its indentation
        ("<code>total = 9 * 15</code> gives 135.", True),
        ("<code>135</code>", False),
        ("1. `x = 3`\n2. `y = x + 4`\n3. `print(y)`", True),
        ("1. `x = 3`\n2. `y = 4`", False),  # assignments are no evidence
        ("import note: the sum is 7\nx = 3\ny = 4", False),
        ("with x = 3:\n  we get 7\nfor all n in N:\n  true", False),
        ("For i = 1 to 10 we add i. The next is 11.", False),
    ],
)
def test_code_outside_fences(text, code):
    assert uses_code_structural(text) is code


ANSWERS = ["So \\boxed{7}.", "#### 7", "<answer> 7 </answer>", "so \\fbox{\\frac{1}{2}}"]


@pytest.mark.parametrize("answer", ANSWERS)
def test_code_behind_the_first_answer_is_reported_apart(answer):
    code = f"\n```python\n{PROGRAM}\n```\n"
    assert strategy(f"We add.\n{answer}\nUser: And now?{code}") == (False, True, False)
    assert strategy(f"We add.{code}{answer}\nDone.") == (True, False, False)
    assert strategy(f"We add.{code}{answer}\nUser: And now?{code}") == (True, True, False)
    assert strategy(f"We add.\n{answer}\nUser: And now?") == (False, False, False)


def test_an_answer_inside_code_or_an_empty_box_is_not_the_end():
    assert strategy('```python\nprint("\\\\boxed{7}")\nprint(8)\n```\nSo \\boxed{7}.') == (True, False, False)
    assert strategy(f"Put it in \\boxed{{}}.\n{PROGRAM}\n\\boxed{{36}}") == (True, False, False)


@pytest.mark.parametrize("label", ["output", "stdout", "Output", "console"])
def test_output_blocks_tell_executed_code_from_written_code(label):
    code = f"```python\n{PROGRAM}\n```\n"
    assert strategy(f"{code}```{label}\n36\n```\n\\boxed{{36}}").with_output
    assert not strategy(f"{code}\\boxed{{36}}").with_output
    assert not strategy(f"```{label}\n36\n```\n\\boxed{{36}}").with_output  # no code before it
    assert not strategy(f"{code}\\boxed{{36}}\n```{label}\n36\n```").with_output  # behind the answer


def test_labelled_cases():
    folder = os.environ.get("SPURIOUS_DATA_DIR")
    if not folder or not (Path(folder) / "strategy_cases.jsonl").exists():
        pytest.skip("SPURIOUS_DATA_DIR is not set or has no strategy_cases.jsonl")
    lines = (Path(folder) / "strategy_cases.jsonl").read_text(encoding="utf-8").splitlines()
    wrong = [case for case in map(json.loads, lines) if uses_code_structural(case["text"]) is not case["uses_code"]]
    assert wrong == []


@pytest.mark.parametrize(
    "text",
    [
        "<code>" * 30_000,
        "for i = 1 to 9\n" * 20_000,
        "```a\n" * 20_000,
        "~~~\n````\n" * 10_000,
        "#### 7\n" * 20_000,
        "\\boxed{" * 20_000,
        "Solve[" * 20_000,
        "def f(" * 20_000 + "x):\n" * 20_000,
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


@pytest.mark.parametrize("line", [" " * 100_000, "x" + " " * 100_000, " " * 100_000 + "`", "- " + " " * 100_000])
def test_a_long_line_of_spaces_takes_no_time(line):
    began = time.process_time()
    assert not strategy(f"The answer is \\boxed{{{line}}}\n{line}").code
    assert time.process_time() - began < 1


def test_a_number_that_python_warns_of_is_read_in_silence(recwarn):
    assert strategy("x = [1for y in range(3)]\nprint(x)").code
    assert not recwarn.list
