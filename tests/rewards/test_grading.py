"""Verdicts of the robust grader: tables of pairs, of texts, the benchmarks' own golds, upstream cases, command line."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.rewards import grading
from spurious_rewards.rewards.grader import worker_client
from spurious_rewards.rewards.grader.compare import RULES
from spurious_rewards.rewards.grader.normalization import normalize
from spurious_rewards.rewards.grading import REASONS, grade, same_answer

HERE = Path(__file__).parent
TABLES = HERE.parents[1] / "results" / "tables"


def data_file(name: str) -> Path:
    folder = os.environ.get("SPURIOUS_DATA_DIR")
    if not folder or not (Path(folder) / name).exists():
        pytest.skip(f"SPURIOUS_DATA_DIR is not set or has no {name}")
    return Path(folder) / name


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# ---------------------------------------------------------------- tables

with open(HERE / "answer_pairs.csv", encoding="utf-8", newline="") as stream:
    PAIRS = [(row["answer"], row["other"], row["verdict"] == "equal") for row in csv.DictReader(stream)]


@pytest.mark.parametrize("equal", [True, False])
def test_pairs_of_answers_in_both_directions(equal):
    wrong = [
        (a, b, same_answer(a, b))
        for a, b, expected in PAIRS
        if expected is equal
        if same_answer(a, b) is not equal or same_answer(b, a) is not equal
    ]
    assert wrong == []
    assert sum(expected is equal for _, _, expected in PAIRS) > 300


def test_texts():
    wrong = []
    for case in read_lines(HERE / "answer_texts.jsonl"):
        result = grade(case["prediction"], case["gold"], style=case["style"])
        if result.correct is not case["expected"]:
            wrong.append((case, result))
    assert wrong == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: "-".join(rule.example[:2]))
def test_every_rule_of_the_comparison_has_an_example_that_it_settles(rule):
    a, b, equal = rule.example
    outcome = rule.apply(normalize(a), normalize(b), 0)
    assert outcome is not None, "the rule does not apply to its example"
    if isinstance(outcome[0], bool):
        assert outcome[0] is equal
    assert same_answer(a, b) is equal and same_answer(b, a) is equal


@pytest.mark.parametrize(
    ("prediction", "gold", "reason"),
    [
        (r"\boxed{\frac12}", r"\frac{1}{2}", "string_equal"),
        (r"\boxed{0.5}", r"\frac{1}{2}", "number_equal"),
        (r"\boxed{\frac{1}{2006!}}", r"\frac{1}{2004!}", "number_differs"),  # equal below math-verify's six digits
        (r"\boxed{2516_9}", "2516_8", "base_differs"),
        (r"\boxed{5.4\text{ dollars}}", r"5.4\text{ cents}", "unit_differs"),
        (r"\boxed{3} … wait: \boxed{5}", "3, 5", "structure_differs"),  # distant boxes are not joined
        (r"\boxed{(a+5)(b+2)}", "ab+2a+5b+10", "identity_equal"),
        (r"\boxed{x+1}", "x+2", "identity_differs"),
        (r"\boxed{y-3=2x}", "y=2x+3", "symbolic_equal"),
        (r"\boxed{y-3=5x}", "y=2x+3", "symbolic_differs"),
        (r"\boxed{\text{east}}", "West", "text_differs"),
        ("I give up", "5", "no_answer"),
        (r"so \boxed{5", "5", "truncated_box"),
        (r"\boxed{5}", " ", "empty_gold"),
        (r"\boxed{9^{9^{9^{9}}}}", "5", "guard_power"),
        (r"\boxed{10000000!}", "5", "guard_factorial"),
    ],
)
def test_reason_codes(prediction, gold, reason):
    result = grade(prediction, gold)
    assert (result.reason, result.correct) == (reason, reason.endswith("_equal"))


def test_reason_codes_are_a_closed_set():
    modules = ("grading", *(f"grader/{name}" for name in ("atoms", "compare", "guards", "worker", "worker_client")))
    source = "".join((Path(grading.__file__).parent / f"{name}.py").read_text() for name in modules)
    used = set(re.findall(r'"((?:[a-z]+)_(?:equal|differs))"|"(guard_[a-z]+)"|"(worker_[a-z]+)"', source))
    assert {code for codes in used for code in codes if code} <= set(REASONS)


def test_bad_arguments_are_named():
    with pytest.raises(InputError, match=r"Unknown grading mode 'robst' \(did you mean 'robust'"):
        grade("5", "5", mode="robst")
    with pytest.raises(InputError, match="must be text, but they are str and int"):
        grade("5", 5)


def test_a_bug_in_the_comparison_costs_one_verdict(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(grading, "compare", broken)
    grading._judged.cache_clear()
    assert grade(r"\boxed{x+7}", "x+8") == (False, "x+7", "failed")


def test_a_verdict_of_a_busy_machine_does_not_enter_the_cache(monkeypatch):
    grading._judged.cache_clear()
    monkeypatch.setattr(worker_client, "equal", lambda gold, prediction: (False, "timeout_busy"))
    assert grade(r"\boxed{y-3=2x}", "y=2x+3").reason == "timeout_busy"
    monkeypatch.undo()
    assert grade(r"\boxed{y-3=2x}", "y=2x+3").correct


# ---------------------------------------------------------------- benchmarks and upstream cases


@pytest.mark.parametrize("name", ["math500", "amc23", "aime24", "aime25"])
def test_every_benchmark_gold_equals_itself_in_a_box(name):
    golds = [row["answer"] for row in read_lines(data_file(f"{name}.jsonl"))]
    assert [gold for gold in golds if not grade(rf"The answer is $\boxed{{{gold}}}$.", gold).correct] == []


def test_deepscaler_golds_equal_themselves_in_a_box():
    golds = [row["answer"] for level in range(1, 6) for row in read_lines(data_file(f"deepscaler_level{level}.jsonl"))]
    wrong = [gold for gold in golds if not grade(rf"The answer is $\boxed{{{gold}}}$.", gold).correct]
    assert len(golds) == 40_308
    assert len(wrong) / len(golds) <= 0.001
    assert all(gold.count("{") != gold.count("}") for gold in wrong)  # only golds that are themselves cut off


def test_upstream_cases():
    cases = read_lines(data_file("grader_cases_upstream.jsonl"))
    right = sum(grade(case["prediction"], case["gold"]).correct is case["expected"] for case in cases)
    assert right / len(cases) >= 0.995


@pytest.mark.parametrize(
    ("cases", "reasons", "table"),
    [
        ("grader_cases_upstream.jsonl", "grader_disagreement_reasons.json", "grader_disagreements.csv"),
        ("grader_cases_unboxed.jsonl", "grader_unboxed_reasons.json", "grader_disagreements_unboxed.csv"),
    ],
)
def test_committed_tables_of_disagreements_are_current(cases, reasons, table):
    given = json.loads((HERE / reasons).read_text(encoding="utf-8"))
    rows = grading.disagreement_rows(read_lines(data_file(cases)), "robust", {})
    rows = [row for row in rows if row["reason_code"] != "timeout_busy"]  # says nothing about the grader
    rows = [row | {"who_is_right_and_why": given.get(row["id"], "")} for row in rows]
    with open(TABLES / table, encoding="utf-8", newline="") as stream:
        assert list(csv.DictReader(stream)) == rows
    assert {row["id"] for row in rows} == set(given)


# ---------------------------------------------------------------- command line


def run_cli(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "spurious_rewards.rewards.grading", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("mode", "accuracy", "false_positives", "false_negatives"),
    [
        ("robust", 1.0, 0, 0),
        ("paper", 0.25, 1, 2),  # paper: accepts the cut-off box, refuses 2/4 and the permuted list
    ],
)
def test_command_line(tmp_path, mode, accuracy, false_positives, false_negatives):
    cases = [
        (r"\boxed{5}", "5", True),
        (r"\boxed{\frac24}", "1/2", True),
        (r"\boxed{5", "5", False),
        (r"\boxed{2,1}", "1,2", True),
    ]
    path = tmp_path / "cases.jsonl"
    rows = [{"prediction": prediction, "gold": gold, "expected": expected} for prediction, gold, expected in cases]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run_cli("--mode", mode, "--cases", str(path))
    result = json.loads(done.stdout.splitlines()[-1])
    assert list(result) == ["n", "accuracy", "false_positives", "false_negatives", "crashes", "max_seconds"]
    assert (result["n"], result["accuracy"], result["crashes"]) == (4, accuracy, 0)
    assert (result["false_positives"], result["false_negatives"]) == (false_positives, false_negatives)


def test_command_line_wants_a_reason_for_every_disagreement(tmp_path):
    path, reasons = tmp_path / "cases.jsonl", tmp_path / "reasons.json"
    path.write_text(json.dumps({"id": "x1", "prediction": r"\boxed{5}", "gold": "6", "expected": True}) + "\n")
    reasons.write_text('{"x2": "…"}')
    done = run_cli("--cases", str(path), "--disagreements", str(tmp_path / "t.csv"), "--reasons", str(reasons))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Case x1 is judged otherwise than expected and has no reason: add one for this id.\n"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is empty"),
        ("{", "is not JSON"),
        ('{"prediction": "5", "gold": 5, "expected": true}', "field 'gold' of type str"),
    ],
)
def test_command_line_names_bad_files(tmp_path, content, sentence):
    path = tmp_path / "cases.jsonl"
    path.write_text(content)
    done = run_cli("--cases", str(path))
    assert done.returncode == 2 and sentence in done.stderr and "Traceback" not in done.stderr


def test_long_answers_are_not_remembered():
    from spurious_rewards.rewards import grading
    from spurious_rewards.rewards.grader import paper

    before = grading._judged.cache_info().currsize, paper._equal_short.cache_info().currsize
    for number in range(5):
        text = r"\boxed{" + str(number) * 20_000 + "}"
        assert not grade(text, "7").correct and not grade(text, "7", mode="paper").correct
    assert (grading._judged.cache_info().currsize, paper._equal_short.cache_info().currsize) == before
