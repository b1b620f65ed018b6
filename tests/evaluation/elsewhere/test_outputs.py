"""From a file to an evaluation folder, from two files to a comparison; the arithmetic by hand."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from spurious_rewards.data.problem import Problem
from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.cautions import cautions
from spurious_rewards.evaluation.comparison import before_after, split_of_gain
from spurious_rewards.evaluation.elsewhere.__main__ import main
from spurious_rewards.evaluation.elsewhere.answers import answers_of
from spurious_rewards.evaluation.elsewhere.outputs import Outputs, import_outputs
from spurious_rewards.evaluation.elsewhere.reference import Reference, differences, first_of, matched, with_reference
from spurious_rewards.evaluation.records import check_one_version, load_records
from spurious_rewards.evaluation.strategy_analysis import problem_switches, switch_contributions, switch_counts

EXAMPLES = Path(__file__).parent / "examples"
PROBLEMS = str(EXAMPLES / "problems.jsonl")


@pytest.fixture(autouse=True)
def _own_runs(runs, monkeypatch):
    monkeypatch.delenv("SPURIOUS_DATA_DIR", raising=False)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def outputs(path, texts, **more):
    """A file with one answer per problem, gold 1 for all."""
    return write(path, [{"id": f"p{i}", "gold": "1", "output": text} | more for i, text in enumerate(texts)])


def graded(path, **arguments):
    return import_outputs(Outputs(str(path), **arguments))


def test_a_file_becomes_an_evaluation_folder(tmp_path):
    path = outputs(tmp_path / "mine.jsonl", [r"\boxed{1}", r"\boxed{2}"], model="org/mine", finish_reason="length")
    run = graded(path)
    manifest, config = run.manifest(), run.config()
    assert (manifest["kind"], manifest["n_problems"], manifest["summary"]["accuracy"]) == ("evaluation", 2, 0.5)
    assert (config["outputs"], len(config["outputs_sha256"]), config["layout"]) == ("mine.jsonl", 64, "fields")
    assert config["fields"]["gold"] == "gold"
    records = load_records([run])
    assert list(records["correct"]) == [True, False]
    assert records["model"].unique() == ["org/mine"]
    assert records["logprob"].isna().all() and records["n_tokens"].isna().all()
    assert manifest["summary"]["cut_off"] == 1.0 and manifest["summary"]["mean_tokens"] is None


def test_the_same_file_is_graded_once_under_any_name(tmp_path):
    path = Path(outputs(tmp_path / "mine.jsonl", [r"\boxed{1}"], model="m"))
    first = graded(path)
    ended = first.manifest()["ended"]
    assert graded(path).run_id == first.run_id and first.manifest()["ended"] == ended
    outputs(path, [r"\boxed{2}"], model="m")
    assert graded(path).run_id != first.run_id


def test_names_from_a_file_stay_in_the_runs_folder(tmp_path, runs):
    path = outputs(tmp_path / "mine.jsonl", [r"\boxed{1}"], model="../../etc/passwd; rm -rf /", question="../../up")
    run = graded(path)
    assert run.folder.parent == runs and run.folder.name.startswith("outputs-")
    assert [p.name for p in runs.iterdir()] == [run.folder.name]


def test_texts_are_only_texts(tmp_path):
    text = "=cmd()<script>alert(1)</script>\x00\u202e__import__('os').system('true')"
    run = graded(outputs(tmp_path / "mine.jsonl", [text]))
    assert list(load_records([run])["text"]) == [text]


def test_without_golds_a_sentence_says_where_to_take_them(tmp_path):
    path = write(tmp_path / "mine.jsonl", [{"id": "p0", "output": "1"}])
    with pytest.raises(InputError, match=r"Row 1 has no gold.*fields='gold=NAME'.*reference='math500'"):
        graded(path)


def test_golds_come_from_a_file_of_problems_by_the_text_in_the_prompt():
    run = graded(EXAMPLES / "openrlhf.jsonl", reference=PROBLEMS)
    records = load_records([run])
    assert list(records["problem_id"]) == ["p0", "p1", "p2"] and records["correct"].all()


def test_golds_come_by_the_number_of_a_request():
    records = load_records([graded(EXAMPLES / "openai_batch.jsonl", reference=PROBLEMS)])
    assert dict(zip(records["problem_id"], records["gold"], strict=True)) == {"p0": "7", "p1": "42", "p2": "2.5"}


@pytest.mark.parametrize("gold", [70, 70.0, "70", "070", "70.0"])
def test_integer_golds_are_accepted(gold, tmp_path):
    path = write(tmp_path / "a.jsonl", [{"problem": "q", "answer": gold, "output": r"\boxed{70}"}])
    assert load_records([graded(path)])["correct"].all()
    reference = Reference("aime24", (Problem("24-I-1", "q", "70", "aime24"),))
    assert not differences(answers_of([{"problem": "q", "answer": gold, "output": ""}])[0], reference)


def test_any_of_several_golds_counts(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"id": 1, "gold": ["5", "6"], "output": r"\boxed{6}"}])
    assert load_records([graded(path)])[["correct", "gold"]].values.tolist() == [[True, "6"]]


AIME = Reference(
    "aime25",
    (
        Problem(
            "25-I-13", "Alex divides a disk into four quadrants with two perpendicular diameters.", "204", "aime25"
        ),
        Problem("25-I-14", "Let ABCDE be a convex pentagon with AB=14, BC=7, CD=24, DE=13, EA=26.", "60", "aime25"),
    ),
)


def asked(*rows):
    return answers_of([{"output": ""} | row for row in rows])[0]


def test_a_problem_that_is_misquoted_is_named():
    text = AIME.problems[1].problem.replace("DE=13", "DE=31")
    (sentence,) = differences(asked({"problem": AIME.problems[0].problem}, {"problem": text}), AIME)
    assert sentence.startswith("Problem 25-I-14 (number 2 of aime25) reads ")
    assert "with AB=14, BC=7, CD=24, DE=13, EA=26.' as pinned" in sentence and "DE=31, EA=26.' in the file" in sentence
    with pytest.raises(InputError, match="Problem 25-I-14 .number 2 of aime25. reads"):
        with_reference(asked({"problem": text}), AIME)


def test_another_gold_or_an_unknown_problem_is_named():
    (gold,) = differences(asked({"problem": AIME.problems[1].problem, "answer": 61}), AIME)
    assert gold == "Problem 25-I-14 (number 2 of aime25) has the answer '60', and the file says '61'."
    (unknown,) = differences(asked({"problem": "How many primes are below ten?"}), AIME)
    assert unknown == "Row 1 asks what aime25 does not: 'How many primes are below ten?'."


def test_markup_and_white_space_do_not_matter():
    text = "Let $ABCDE$ be a convex pentagon with $AB = 14$, $BC = 7$,\n$CD = 24$, $DE = 13$, $EA = 26$."
    assert not differences(asked({"problem": text}), AIME)


def test_other_spelling_of_the_same_words_and_numbers_does_not_matter():
    text = AIME.problems[1].problem.replace("a convex pentagon", "a \\textbf{convex} \\emph{pentagon}")
    assert not differences(asked({"problem": text.replace("\\emph", "\\textit")}), AIME)


def test_a_misquoted_problem_comes_before_unknown_ones():
    wrong = AIME.problems[1].problem.replace("DE=13", "DE=31")
    first, second = differences(asked({"problem": "How many primes are below ten?"}, {"problem": wrong}), AIME)
    assert first.startswith("Problem 25-I-14") and second.startswith("Row 1 asks")


def test_of_examples_in_a_prompt_the_last_question_counts():
    prompt = f"Q: {AIME.problems[1].problem} A: 60\nQ: {AIME.problems[0].problem} A:"
    assert [problem.id for problem in matched(asked({"prompt": prompt}), AIME).values()] == ["25-I-13"]


def test_the_first_problems_of_an_ordered_set_are_told_from_all_and_from_others():
    assert first_of(["25-I-13"], AIME)
    assert not first_of(["25-I-14"], AIME) and not first_of(["25-I-13", "25-I-14"], AIME)


# -------------------------------------------------------------------------------------------------- before and after

BOX, PLAIN, WRONG = r"so \boxed{1}", "The answer is 1.", r"so \boxed{2}"


def test_the_gain_is_split_by_hand(tmp_path):
    # before: plain and right, plain and wrong, boxed wrong, boxed right; after: boxed right, right, right, wrong
    before = graded(outputs(tmp_path / "a.jsonl", [PLAIN, "The answer is 2.", WRONG, BOX]))
    after = graded(outputs(tmp_path / "b.jsonl", [BOX, BOX, BOX, WRONG]))
    report = before_after(before, after)
    assert report.change["difference"] == pytest.approx(0.75 - 0.5)
    split = report.splits["marked"].set_index("pair")
    # without box → boxed: problems 0 (1 → 1) and 1 (0 → 1): (0 + 1)/4; boxed → boxed: problems 2 and 3: (1 − 1)/4
    assert split["gain"].to_dict() == pytest.approx(
        {
            "without box → without box": 0.0,
            "without box → boxed": 0.25,
            "boxed → without box": 0.0,
            "boxed → boxed": 0.0,
        }
    )
    assert split.loc["without box → boxed", ["share", "accuracy_before", "accuracy_after"]].tolist() == [0.5, 0.5, 1.0]
    # reading boxes only: 1 of 4 before (problem 3), 3 of 4 after
    assert report.boxed_change["difference"] == pytest.approx(0.5)
    assert "A grader that reads boxes only would report +50.0 [" in report.parsability()


def test_parts_add_up_to_the_gain_with_several_answers():
    rows = {
        "before": [(0, 1, 0), (0, 0, 1), (1, 1, 1), (1, 0, 0)],
        "after": [(0, 1, 1), (0, 1, 1), (1, 0, 1), (1, 1, 1)],
    }
    one, two = (
        pd.DataFrame([{"problem_id": p, "correct": bool(c), "uses_code": bool(u)} for p, c, u in rows[name]])
        for name in ("before", "after")
    )
    split = split_of_gain(one, two, "uses_code").set_index("pair")
    assert split["gain"].sum() == pytest.approx(two["correct"].mean() - one["correct"].mean())
    # problem 0: before half language (right), half code (wrong); after all code, all right.
    # language → code: ½·1 − 1·½ = 0; code → code: ½·1 − 1·0 = ½
    # problem 1: before half code (right), half language (wrong); after all code, half right.
    # language → code: ½·½ − 1·0 = ¼; code → code: ½·½ − 1·½ = −¼
    assert split.loc["language → code", "gain"] == pytest.approx((0 + 0.25) / 2)
    assert split.loc["code → code", "gain"] == pytest.approx((0.5 - 0.25) / 2)
    assert split["share"].sum() == pytest.approx(1)
    assert split["contribution"].to_dict() == pytest.approx((split["gain"] / split["gain"].sum()).to_dict())


def test_the_comparison_says_what_it_leaves_out_and_what_else_differs(tmp_path):
    before = graded(outputs(tmp_path / "a.jsonl", [BOX, BOX, WRONG]))
    after = graded(outputs(tmp_path / "b.jsonl", [BOX, BOX]), n_samples=1)
    report = before_after(before, after)
    assert report.change["n_problems"] == 2
    assert "1 problems are only in before and are left out." in report.warnings
    assert not any("benchmark" in said for said in report.warnings), "named by their files, which always differ"
    # two of two problems are the same: 3 / 2 is more than all
    assert any("at n = 2, up to 100 % of the problems may differ" in said for said in report.warnings)


def test_answers_that_are_all_the_same_are_said(tmp_path):
    rows = [{"id": f"p{i % 2}", "gold": "1", "output": BOX} for i in range(4)]
    assert any("2 answers to a problem are word for word the same" in said
               for said in cautions(graded(write(tmp_path / "a.jsonl", rows))))  # fmt: skip
    rows[3]["output"] = WRONG
    assert not any("word for word" in said for said in cautions(graded(write(tmp_path / "b.jsonl", rows))))


def test_a_step_chosen_among_several_is_said(tmp_path):
    rows = [{"id": f"p{i}", "gold": "1", "output": BOX, "step": step} for step in (1, 2) for i in range(2)]
    chosen = graded(write(tmp_path / "a.jsonl", rows), select="step=2")
    assert any(said.startswith("This is one of 2 steps of the file: if it was chosen") for said in cautions(chosen))
    only = graded(write(tmp_path / "b.jsonl", rows[2:]))
    assert not any("steps of the file" in said for said in cautions(only))


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    path = outputs(tmp_path / "a.jsonl", [BOX, WRONG])
    program = [sys.executable, "-m", "spurious_rewards.evaluation.elsewhere", path]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 0


def test_two_engine_versions_are_two_arms(tmp_path):
    runs = [graded(outputs(tmp_path / f"{name}.jsonl", [BOX, WRONG], model=name)) for name in "ab"]
    for run, version in zip(runs, ("0.7.2", "0.9.0"), strict=True):
        manifest = run.manifest() | {"engines": [{"engine": "vllm", "engine_version": version}]}
        run.path("manifest.json").write_text(json.dumps(manifest))
    assert any("version of the engine (vllm 0.7.2 → vllm 0.9.0)" in said for said in before_after(*runs).warnings)
    with pytest.raises(
        InputError, match=r"made with vllm 0.7.2 and outputs-b-.* with vllm 0.9.0: two versions are two"
    ):
        check_one_version(runs)
    check_one_version([runs[0], runs[0]])


def test_files_of_other_problems_or_golds_are_refused(tmp_path):
    before = graded(outputs(tmp_path / "a.jsonl", [BOX]))
    other = graded(write(tmp_path / "b.jsonl", [{"id": "q9", "gold": "1", "output": BOX}]))
    with pytest.raises(InputError, match=r"share no problem: 'p0' there, 'q9' here"):
        before_after(before, other)
    regold = graded(write(tmp_path / "c.jsonl", [{"id": "p0", "gold": "2", "output": BOX}]))
    with pytest.raises(InputError, match="Problem 'p0' has the gold '1' before and '2' after"):
        before_after(before, regold)
    with pytest.raises(InputError, match="are the same file"):
        before_after(before, before)


def test_one_line_prints_the_report(tmp_path, capsys):
    before = outputs(tmp_path / "a.jsonl", [PLAIN] * 10 + ["I do not know."] * 30, finish_reason="stop")
    after = outputs(tmp_path / "b.jsonl", [BOX] * 40, finish_reason="stop")
    assert main([before, after]) == 0
    said = capsys.readouterr().out
    assert "Accuracy rose by +75.0 [" in said and "(100% of the change)" in said
    assert "The change by language or code" in said and "The change by finished or cut off" in said
    assert "Beware: before: Only 0% of the answers are in a box" in said
    assert "Beware: after: Every answer is right" in said


def test_one_file_prints_its_figures_and_bad_input_one_sentence(tmp_path, capsys):
    assert main([outputs(tmp_path / "a.jsonl", [BOX, WRONG])]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert main([str(tmp_path / "none.jsonl")]) == 2
    assert capsys.readouterr().err.startswith("There is no file")


DONE = {"custom_id": "6", "response": {"body": {"choices": [{"message": {"content": "x"}}]}}, "error": None}


@pytest.mark.parametrize(
    "rows", [[{"\x1b[2J": 1}], [DONE, {"custom_id": "7", "response": None, "error": "\x1b]0;owned\x07"}]]
)
def test_names_and_errors_of_a_file_cannot_steer_the_terminal(tmp_path, capsys, rows):
    assert main([write(tmp_path / "a.jsonl", rows)]) == 2
    said = capsys.readouterr().err
    assert "\\x1b" in said and "\x1b" not in said


def test_one_answer_per_problem_gives_the_switches_of_the_paper(tmp_path):
    code = "```python\nprint(1)\n```\n"
    before = graded(outputs(tmp_path / "a.jsonl", [WRONG, BOX, code + WRONG, code + BOX, WRONG]))
    after = graded(outputs(tmp_path / "b.jsonl", [code + BOX, code + BOX, code + BOX, WRONG, WRONG]))
    ours = before_after(before, after).splits["uses_code"].set_index("pair")
    records = load_records([before, after])
    table = problem_switches(*(records[records["run_id"] == run.run_id] for run in (before, after)))
    theirs = switch_contributions(switch_counts(table)).set_index("switch")
    pairs = {"LC": "language → code", "CC": "code → code", "CL": "code → language", "LL": "language → language"}
    for switch, pair in pairs.items():
        assert 100 * ours.loc[pair, ["share", "gain", "contribution"]].to_numpy(float) == pytest.approx(
            theirs.loc[switch, ["frequency", "gain", "contribution"]].to_numpy(float)
        )


def test_several_answers_give_pass_at_k(tmp_path):
    rows = [{"id": i, "gold": "1", "outputs": [BOX, WRONG]} for i in range(3)]
    better = [{"id": i, "gold": "1", "outputs": [BOX, BOX]} for i in range(3)]
    report = before_after(graded(write(tmp_path / "a.jsonl", rows)), graded(write(tmp_path / "b.jsonl", better)))
    assert report.passes["before_pass_at_k"].tolist() == [0.5, 1.0]
    assert report.passes["after_pass_at_k"].tolist() == [1.0, 1.0]
    assert "pass@k" in report.text()
