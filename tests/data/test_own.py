"""The user's own problems as a problem set."""

import json

import pytest

from spurious_rewards.data.own import load_own
from spurious_rewards.data.problem_sets import load_problems
from spurious_rewards.errors import InputError


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.jsonl"
    rows = [{"question": f"What is {i} + 1?", "answer": float(i + 1), "topic": "sums"} for i in range(200)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_is_a_problem_set(mine):
    problems = load_problems(str(mine))
    assert (len(problems), problems[4].id, problems[4].answer) == (200, "5", "5")
    assert problems[0].meta == {"topic": "sums"}
    assert [p.id for p in load_problems(str(mine), 3, order="first")] == ["1", "2", "3"]


def test_a_draw_depends_on_the_files_name_and_not_on_its_folder(mine, tmp_path):
    (tmp_path / "other").mkdir()
    copy = tmp_path / "other" / "mine.jsonl"
    copy.write_bytes(mine.read_bytes())
    assert load_problems(str(mine), 20, 1) == load_problems(str(copy), 20, 1) != load_problems(str(mine), 20, 2)


def test_the_parts_share_no_text_and_make_the_whole(mine):
    train, test = load_own(f"{mine}#train"), load_own(f"{mine}#test")
    assert len(train) + len(test) == 200 and 25 <= len(test) <= 75
    assert not {p.problem for p in train} & {p.problem for p in test}


@pytest.mark.parametrize(
    ("content", "name", "sentence"),
    [
        ('{"question": "a"}', "", "Line 1 of a.jsonl needs a text `problem` and an `answer`"),
        ("[", "", "Line 1 of a.jsonl is not JSON"),
        ('{"id": 1, "problem": "a", "answer": 1}\n{"id": 1, "problem": "b", "answer": 1}', "", "the id '1' twice"),
        ('{"problem": "a", "answer": 1}', "#dev", "has the parts train and test, not 'dev'"),
        ("", "", "holds no problems"),
    ],
)
def test_bad_files_are_one_sentence(content, name, sentence, tmp_path):
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(InputError, match=sentence):
        load_own(f"{tmp_path / 'a.jsonl'}{name}")


def test_a_missing_file_and_an_unknown_set_are_one_sentence(tmp_path):
    with pytest.raises(InputError, match="There is no file of problems"):
        load_own(str(tmp_path / "none.jsonl"))
    with pytest.raises(InputError, match=r"Unknown problem set 'math50'.*path of a .jsonl file"):
        load_problems("math50")
