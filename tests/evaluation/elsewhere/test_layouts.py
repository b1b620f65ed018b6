"""One invented file per layout: the same three problems, and for most layouts a right and a wrong answer to each."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.elsewhere.answers import answers_of
from spurious_rewards.evaluation.elsewhere.files import read_rows, sha256_of
from spurious_rewards.evaluation.elsewhere.layouts import LAYOUTS, layout_of

EXAMPLES = Path(__file__).parent / "examples"
FILES = {
    "lm_eval": ("lm-evaluation-harness", 1),
    "lighteval": ("lighteval", 2),
    "lighteval_old": ("lighteval (to 0.9)", 1),
    "qwen_math": ("Qwen2.5-Math", 2),
    "verl": ("verl", 2),
    "trl": ("TRL", 2),
    "openai_batch": ("OpenAI batch", 1),
    "openrlhf": ("OpenRLHF", 1),
}
WITHOUT_GOLDS = ("openai_batch", "openrlhf")


def example(name):
    return read_rows(EXAMPLES / f"{name}.jsonl")


def test_every_layout_has_an_example():
    assert {layout for layout, _ in FILES.values()} == {layout.name for layout in LAYOUTS}


@pytest.mark.parametrize("name", FILES)
def test_a_layout_is_recognised_and_read(name):
    layout, samples = FILES[name]
    answers, notes = answers_of(example(name))
    assert (notes["layout"], notes["n_samples"], len(answers)) == (layout, samples, 3 * samples)
    by_problem = {answer.key: answer for answer in answers if answer.sample == 0}
    assert len(by_problem) == 3
    assert any("print(6 * 7)" in answer.text for answer in answers) == (name != "lm_eval")
    if name not in WITHOUT_GOLDS:
        assert sorted(answer.golds[0] for answer in by_problem.values()) == ["2.5", "42", "7"]


@pytest.mark.parametrize("name", ["lighteval", "lighteval_old", "trl"])
def test_parquet_holds_what_json_lines_hold(name, tmp_path):
    pd.DataFrame(example(name)).to_parquet(tmp_path / "rows.parquet")
    assert answers_of(read_rows(tmp_path / "rows.parquet"))[0] == answers_of(example(name))[0]


def test_lists_written_as_text_in_old_parquet_files_are_lists(tmp_path):
    rows = [
        row | {"predictions": str(row["predictions"]), "gold": str(row["gold"])} for row in example("lighteval_old")
    ]
    assert answers_of(rows)[0] == answers_of(example("lighteval_old"))[0]


def test_answers_graded_once_per_filter_count_once():
    assert len(example("lm_eval")) == 6
    assert len(answers_of(example("lm_eval"))[0]) == 3


def test_older_harness_files_hold_the_prompt_in_a_list():
    rows = [row | {"arguments": [["asked", {"until": []}]]} for row in example("lm_eval")]
    assert {answer.prompt for answer in answers_of(rows)[0]} == {"asked"}


def test_a_batch_says_length_and_end_and_arrives_in_any_order():
    answers, _ = answers_of(example("openai_batch"))
    assert [answer.key for answer in answers] == ["request-2", "request-0", "request-1"]
    assert [(answer.finish, answer.n_tokens) for answer in answers] == [("length", 13), ("stop", 11), ("stop", 12)]
    assert answers[0].model == "demo/model"


def test_a_failed_request_is_an_error_wherever_it_stands():
    good = example("openai_batch")[0]
    body = {"status_code": 400, "body": {"error": {"message": "too long"}}}
    for bad, cause in (({"error": {"message": "rate limit"}}, "rate limit"), ({"response": body}, "too long")):
        with pytest.raises(InputError, match=rf"Row 1 is a failed request \({cause}\)"):
            answers_of([good | bad])
        with pytest.raises(InputError, match=rf"Row 2 is a failed request \({cause}\)"):
            answers_of([good, good | bad])


@pytest.mark.parametrize("suffix", [".json", ".csv", ".jsonl", ".parquet"])
def test_names_that_people_use_are_found_in_every_kind_of_file(suffix, tmp_path):
    frame = pd.DataFrame(
        {
            "question": ["1 + 1?", "2 + 2?"],
            "answer": ["2", "4"],
            "model_output": ["It is 2.", "5, so\n“5”"],
            "model": "m",
        }
    )
    path = tmp_path / f"rows{suffix}"
    match suffix:
        case ".json":
            path.write_text(frame.to_json(orient="records"), encoding="utf-8")
        case ".jsonl":
            path.write_text(frame.to_json(orient="records", lines=True), encoding="utf-8")
        case ".csv":
            frame.to_csv(path, index=False)
        case ".parquet":
            frame.to_parquet(path)
    answers, notes = answers_of(read_rows(path))
    assert notes["fields"] == {"problem": "question", "gold": "answer", "output": "model_output", "model": "model"}
    assert [(a.problem, a.golds, a.text, a.model) for a in answers] == [
        ("1 + 1?", ("2",), "It is 2.", "m"),
        ("2 + 2?", ("4",), "5, so\n“5”", "m"),
    ]


def test_answer_is_the_output_where_another_field_holds_the_gold():
    answers, _ = answers_of([{"question": "1 + 1?", "gold": 2, "answer": "It is 2."}])
    assert (answers[0].golds, answers[0].text) == (("2",), "It is 2.")


def test_samples_stand_in_one_row_or_in_several():
    listed, _ = answers_of([{"id": 1, "gold": "2", "samples": ["a", "b"]}])
    apart, _ = answers_of([{"id": 1, "gold": "2", "samples": "a"}, {"id": 1, "gold": "2", "samples": "b"}])
    assert [(a.key, a.sample, a.text) for a in listed] == [(a.key, a.sample, a.text) for a in apart]


def test_samples_with_their_own_end_keep_it():
    row = {"id": 1, "gold": "2", "outputs": [{"text": "a"}, {"text": "b"}], "finish_reason": ["length", "stop"]}
    assert [answer.finish for answer in answers_of([row])[0]] == ["length", "stop"]


def test_a_conversation_is_one_answer_and_its_last_question_the_problem():
    row = {
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "1 + 1?"}],
        "completion": [{"role": "assistant", "content": "2"}],
        "gold": "2",
    }
    (answer,), _ = answers_of([row])
    assert (answer.problem, answer.text, answer.prompt) == ("1 + 1?", "2", "system: s\nuser: 1 + 1?")


def test_named_fields_come_first_and_reach_into_objects():
    row = {"meta": {"final": "2"}, "gen": {"text": "a"}, "answer": "wrong", "question": "q"}
    (answer,), notes = answers_of([row], "gold=meta.final, output=gen")
    assert (answer.golds, answer.text, notes["fields"]["gold"]) == (("2",), "a", "meta.final")


def test_a_field_can_be_left_out():
    rows = [{"id": str(i), "gold": "2", "output": "a", "step": i} for i in range(2)]
    with pytest.raises(InputError, match=r"answers of 2 steps \(0, 1\): choose one, as in select='step=1'"):
        answers_of(rows)
    assert len(answers_of(rows, select="step=1")[0]) == 1
    assert len(answers_of(rows, fields="step=-")[0]) == 2


@pytest.mark.parametrize(
    ("rows", "arguments", "sentence"),
    [
        ([{"gold": 1}], {}, "No field of the first row is known to hold the model's answer; it has gold"),
        ([{"output": "a"}], {"fields": "gold=solution"}, "The first row has no 'solution', named for gold"),
        ([{"output": "a"}], {"fields": "golds=output"}, "Unknown field 'golds' .did you mean 'gold'"),
        ([{"output": "a"}], {"fields": "gold"}, "fields must be parts like gold=answer"),
        ([{"output": "a", "step": 1}], {"select": "step=2"}, "No row has step = 2; found: 1"),
        ([{"id": 1, "output": "a"}, {"id": 2}], {}, "Row 2 has no 'output'"),
        ([{"id": 1, "outputs": []}], {}, "Row 1 holds no answer"),
        ([{"doc_id": 0, "doc": {}, "resps": [[[-1.2, False]], [[-3.4, True]]]}], {}, "Row 1 holds numbers where"),
        ([{"id": 1, "output": {"score": 1}}], {}, r"An answer is an object without text \(score\)"),
        (
            [{"id": 1, "gold": "2", "output": "a"}, {"id": 1, "gold": "3", "output": "b"}],
            {},
            "Rows 1 and 2 have the same id '1' and different golds",
        ),
        (
            [{"id": 1, "question": "q", "output": "a"}, {"id": 1, "question": "p", "output": "b"}],
            {},
            "Rows 1 and 2 have the same id '1' and different texts",
        ),
        (
            [{"id": i, "output": ["a"] * n} for i, n in enumerate((8, 8, 5))],
            {},
            "1 of 3 problems have another number of answers than the rest: '2' has 5, where most have 8",
        ),
        ([{"id": 1, "output": ["a"] * 3}], {"n_samples": 8}, "'1' has 3, where 8 were asked for"),
        (
            [{"id": 1, "sample": 0, "output": "a"}, {"id": 1, "sample": 0, "output": "b"}],
            {},
            "Row 2 repeats sample 0 of problem '1'",
        ),
        ([{"id": 1, "output": "a", "model": m} for m in "xy"], {}, r"answers of 2 models \(x, y\)"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(rows, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        answers_of(rows, **arguments)


def test_rows_that_nothing_tells_apart_are_problems_of_their_own():
    answers, _ = answers_of([{"output": "a", "gold": "1"}, {"output": "b", "gold": "2"}])
    assert [answer.key for answer in answers] == ["row 1", "row 2"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": ', "Line 2 of a.jsonl is not JSON"),
        ("a.jsonl", "[1]\n", "Line 1 of a.jsonl is no JSON object"),
        ("a.jsonl", "\n", "a.jsonl holds no rows"),
        ("a.json", "{", "a.json is not JSON"),
        ("a.json", "[1]", "a.json must hold a list of objects"),
        ("a.csv", "a,b\n1\n", "Row 1 of a.csv has more or fewer cells"),
        ("a.csv", "a,a\n1,2\n", "a.csv has two columns 'a'"),
        ("a.json", "[" * 100_000, "a.json is not JSON .nested too deeply"),
        ("a.jsonl", "[" * 100_000, "Line 1 of a.jsonl is not JSON .nested too deeply"),
        ("a.parquet", "no", "a.parquet is no readable parquet file"),
        ("a.txt", "a", "a.txt has the suffix .txt; rename it"),
        ("a.jsonl.gz", "{}", "a.jsonl.gz is no gzipped UTF-8 text"),
    ],
)
def test_a_damaged_file_is_one_sentence(name, content, sentence, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=sentence):
        read_rows(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"), [("a.jsonl", '{"q": "é"}'), ("a.json", '[{"q": "é"}]'), ("a.csv", "q\né")]
)
def test_the_mark_at_the_start_of_utf8_is_no_text(name, content, tmp_path):
    (tmp_path / name).write_text(content, encoding="utf-8-sig")
    assert read_rows(tmp_path / name) == [{"q": "é"}]


ROWS = [{"q": "é1", "gold": "1"}, {"q": "é2", "gold": "2"}]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json.gz", "a.csv.gz", "a.tsv", "a.csv", "semicolon.csv"])
def test_gzipped_files_and_other_separators(name, tmp_path):
    separator = {"a.tsv": "\t", "semicolon.csv": ";"}.get(name, ",")
    if ".json" in name:
        text = json.dumps(ROWS) if name == "a.json.gz" else "\r\n".join(map(json.dumps, ROWS))
    else:
        text = pd.DataFrame(ROWS).to_csv(index=False, sep=separator)
    (tmp_path / name).write_bytes(gzip.compress(text.encode("utf-8-sig")) if name.endswith("gz") else text.encode())
    assert read_rows(tmp_path / name) == ROWS


def test_a_folder_is_one_table_in_the_order_of_its_numbers(tmp_path):
    folder = tmp_path / "rollouts"
    folder.mkdir()
    for step in (10, 2, 1):
        (folder / f"{step}.jsonl").write_text(json.dumps({"step": step}))
    (folder / "notes.txt").write_text("no table")
    assert read_rows(folder) == [{"step": 1}, {"step": 2}, {"step": 10}]
    before = sha256_of(folder)
    (folder / "2.jsonl").write_text(json.dumps({"step": 3}))
    assert len(before) == 64 and sha256_of(folder) != before


def test_a_folder_of_parquet_parts(tmp_path):
    for part in range(2):
        pd.DataFrame([ROWS[part]]).to_parquet(tmp_path / f"part-{part}.parquet")
    assert read_rows(tmp_path) == ROWS


def test_a_folder_without_tables_or_of_different_ones_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"The folder .* does not hold a .jsonl, "):
        read_rows(tmp_path)
    (tmp_path / "results_1.json").write_text('{"accuracy": 0.5}')
    (tmp_path / "samples_1.jsonl").write_text('{"doc": {}, "resps": []}')
    with pytest.raises(InputError, match=r"do not have the same columns \(accuracy, doc, resps\): name one of them"):
        read_rows(tmp_path)


def test_half_a_surrogate_pair_can_be_kept_and_a_whole_one_is_a_character(tmp_path):
    (tmp_path / "a.jsonl").write_text(r'{"q": "\ud800 \ud83d\ude00", "n": NaN}')
    row = read_rows(tmp_path / "a.jsonl")[0]
    assert row["q"] == "? \U0001f600" and row["n"] != row["n"]


def test_what_a_table_leaves_open_as_nan_is_missing():
    nan = float("nan")
    row = {"question": "a", "answer": nan, "output": nan, "n_tokens": nan, "finish_reason": nan, "error": nan}
    answer = answers_of([row | {"sample": 0.0}, row | {"sample": 1.0}])[0][1]
    assert (answer.golds, answer.text, answer.n_tokens, answer.finish, answer.sample) == ((), "", None, None, 1)


def test_rows_keep_their_number_in_the_file_when_some_are_selected():
    rows = [{"question": q, "answer": 1, "output": "1", "step": step} for q, step in (("a", 0), ("a", 1), ("b", 1))]
    assert [answer.row for answer in answers_of(rows, select="step=1")[0]] == [2, 3]


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="There is no file"):
        read_rows(tmp_path / "a.jsonl")


def test_json_may_hold_the_rows_in_one_field_or_by_columns(tmp_path):
    rows = [{"id": 1, "output": "a"}, {"id": 2, "output": "b"}]
    by_id = {"1": {"id": 1, "output": "a"}, "2": {"id": 2, "output": "b"}}
    for value in (rows, {"config": {"n": 1}, "results": rows}, {"id": [1, 2], "output": ["a", "b"]}, by_id):
        (tmp_path / "a.json").write_text(json.dumps(value))
        assert read_rows(tmp_path / "a.json") == rows


def test_a_tool_is_told_by_its_own_columns():
    assert layout_of({"input": "", "output": ""}).name == "OpenRLHF"
    assert layout_of({"input": "", "output": "", "score": 0, "step": 1}).name == "verl"
    assert layout_of({"prompt": "", "completion": ""}).name == "fields"


def test_a_gold_may_be_a_worked_solution():
    rows = [{"problem": "p", "solution": r"We see that $x = \boxed{\frac{1}{2}}$, as asked.", "output": "0.5"}]
    assert answers_of(rows)[0][0].golds == (r"\frac{1}{2}",)


def test_a_chat_completion_may_stand_in_a_row_as_it_came():
    row = {"id": 1, "input": "1 + 1?", "target": "2", "output": {"choices": [{"message": {"content": "so 2"}}]}}
    (answer,), _ = answers_of([row])
    assert (answer.text, answer.golds, answer.prompt) == ("so 2", ("2",), "1 + 1?")


def test_reading_says_nothing_on_its_own(recwarn):
    answers_of([{"id": 1, "gold": "[2x, 3y]", "output": "[1or 2]"}])
    assert not recwarn.list
