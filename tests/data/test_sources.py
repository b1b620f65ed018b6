"""The loader on small hand-made files and rows; on the real files when SPURIOUS_DATA_DIR is set."""

import dataclasses
import json
import os
import time
from pathlib import Path

import pytest

from spurious_rewards.data import hub, sources
from spurious_rewards.data.problem import Problem
from spurious_rewards.data.specs import BENCHMARKS, SOURCES
from spurious_rewards.errors import InputError

REAL = os.environ.get("SPURIOUS_DATA_DIR")
needs_data = pytest.mark.skipif(not REAL, reason="SPURIOUS_DATA_DIR is not set: no local copy of the data sets")

ROWS = [
    {"id": "amc-0", "problem": "One  and one?", "answer": "2", "answer_raw": "2.0", "url": "w/2022_AMC_12A",
     "in_amc23_40": False},
    {"id": "amc-1", "problem": "Two and two?", "answer": "4", "answer_raw": "4.0", "url": "w/2023_AMC_12A",
     "in_amc23_40": True},
]  # fmt: skip


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder with a two-problem `amc`, and specs that expect exactly it."""
    write(tmp_path, ROWS)
    problems = [Problem("", "One and one?", "2", "amc"), Problem("", "Two and two?", "4", "amc")]
    spec = dataclasses.replace(
        SOURCES["amc"], folder_rows=2, hub_rows=2, n_rows=2, folder_sha256=sources.content_hash(problems),
        folder_set_sha256=sources.content_hash(problems, ordered=False),
    )  # fmt: skip
    monkeypatch.setitem(SOURCES, "amc", spec)
    monkeypatch.delenv("SPURIOUS_DATA_DIR", raising=False)
    return tmp_path


def write(folder: Path, rows: list[dict]) -> None:
    (folder / "amc23.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_a_folder_gives_the_schema(small):
    problems = sources.load("amc", data_dir=small)
    assert problems[1] == Problem(
        "amc-1", "Two and two?", "4", "amc", {"answer_raw": "4.0", "url": "w/2023_AMC_12A", "in_amc23_40": True}
    )
    assert sources.load("amc", limit=1, data_dir=small) == problems[:1]


def test_the_environment_names_the_folder(small, monkeypatch):
    monkeypatch.setenv("SPURIOUS_DATA_DIR", str(small))
    assert len(sources.load("amc")) == 2
    assert sources.describe("amc")["origin"] == "folder"


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda path: path.write_text(path.read_text()[:-40]), "Line 2 .* not a JSON object"),
        (lambda path: path.write_text(path.read_text().splitlines()[0] + "\n"), "1 problems instead of 2"),
        (lambda path: path.write_text(path.read_text().replace("4.0", "5.0")), "checksum"),
        (lambda path: write(path.parent, ROWS[::-1]), "checksum"),  # another order: "the first 40" would differ
        (lambda path: path.write_text("[1]\n"), "Line 1 .* not a JSON object"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "cannot be read"),
        (lambda path: path.unlink(), "no file amc23.jsonl"),
    ],
)
def test_a_damaged_file_is_one_sentence_that_names_both_ways(small, damage, cause):
    damage(small / "amc23.jsonl")
    with pytest.raises(InputError, match=cause) as caught:
        sources.load("amc", data_dir=small)
    assert "SPURIOUS_DATA_DIR" in str(caught.value) and "Hugging Face hub" in str(caught.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="no data folder .*nowhere.*SPURIOUS_DATA_DIR.*hub"):
        sources.load("math500", data_dir=tmp_path / "nowhere")


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(InputError, match="did you mean 'math500'"):
        sources.load("math50")


def test_the_hash_ignores_ids_and_white_space_but_not_content():
    one, other = Problem("a", "x  y", "1", "s"), Problem("b", "x\ny", "1", "t", {"k": 1})
    assert sources.content_hash([one]) == sources.content_hash([other])
    assert sources.content_hash([one]) != sources.content_hash([Problem("a", "x y", "2", "s")])
    # One problem must not be able to look like two: ["x","1"] + ["y","2"] is not ["x","1\n…"].
    assert sources.content_hash([Problem("", "x", "1", ""), Problem("", "y", "2", "")]) != sources.content_hash(
        [Problem("", "x", '1"]\n["y", "2', "")]
    )


# --- the hub, with hand-made rows in place of a download

HUB_ROWS = {
    "math500": [{"problem": "P", "solution": "S", "answer": " p - q", "subject": "Algebra", "level": 5,
                 "unique_id": "test/a/1.json"}],
    "amc": [{"id": 7, "problem": "P", "answer": 142.0, "url": "https://w/2023_AMC_12B_Problems/Problem_1"}],
    "amc40": [
        {"id": 0, "problem": "P", "answer": 1.0, "url": "https://w/2022_AMC_12A_Problems/Problem_1"},
        {"id": 1, "problem": "Q", "answer": -2.0, "url": "https://w/2023_AMC_12A_Problems/Problem_1"},
    ],
    "aime24": [
        {"id": 1, "problem": "P", "solution": "S", "answer": "033", "url": "https://w/2023_AIME_I_Problems/Problem_1"},
        {"id": 2, "problem": "Q.\nGraph\nhttps://www.desmos.com/calculator/x", "solution": "S", "answer": "025",
         "url": "https://w/2024_AIME_I_Problems/Problem_2"},
    ],
    "aime25": [{"question": "P", "answer": "070"}],
    "deepscaler": [{"problem": "P", "answer": "$\\frac{1}{2}$", "solution": "S"}],
}  # fmt: skip
EXPECTED = {
    "math500": ("test/a/1.json", "P", "p - q", {"answer_raw": " p - q", "subject": "Algebra", "level": 5}),
    "amc": ("amc-7", "P", "142", {"answer_raw": "142.0", "url": HUB_ROWS["amc"][0]["url"], "in_amc23_40": True}),
    "amc40": ("amc-1", "Q", "-2", {"answer_raw": "-2.0", "url": HUB_ROWS["amc40"][1]["url"], "in_amc23_40": True}),
    "aime24": ("aime24-0", "Q.", "25", {"answer_raw": "025", "url": HUB_ROWS["aime24"][1]["url"],
                                        "problem_raw": HUB_ROWS["aime24"][1]["problem"]}),
    "aime25": ("aime25-0", "P", "70", {"answer_raw": "070", "paper": "AIME2025-I"}),
    "deepscaler": ("deepscaler-0", "P", "\\frac{1}{2}", {"answer_raw": "$\\frac{1}{2}$"}),
}  # fmt: skip


@pytest.fixture
def fake_hub(monkeypatch):
    """`datasets.load_dataset` answers from `HUB_ROWS`; the calls are recorded."""
    import datasets

    calls = []

    def load_dataset(path, config=None, *, split, revision):
        calls.append((path, config, split, revision))
        name = next(name for name, spec in SOURCES.items() if spec.hub_id == path and name != "amc40")
        return [] if config == "AIME2025-II" else HUB_ROWS[name]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(hub, "hub_reachable", lambda: True)
    monkeypatch.delenv("SPURIOUS_DATA_DIR", raising=False)
    return calls


@pytest.mark.parametrize("name", sorted(HUB_ROWS))
def test_hub_rows_become_problems_of_the_same_schema(name):
    rows = [{**row, "config": "AIME2025-I" if name == "aime25" else None} for row in HUB_ROWS[name]]
    identifier, text, answer, meta = EXPECTED[name]
    assert hub.adapt(SOURCES[name], rows) == [Problem(identifier, text, answer, name, meta)]


def test_the_hub_is_asked_for_the_pinned_revision(fake_hub, monkeypatch):
    monkeypatch.setitem(SOURCES, "aime25", dataclasses.replace(SOURCES["aime25"], hub_rows=1, n_rows=1))
    assert [p.answer for p in sources.load("aime25")] == ["70"]
    revision = "a6ad95f611d72cf628a80b58bd0432ef6638f958"
    assert fake_hub == [
        ("opencompass/AIME2025", "AIME2025-I", "test", revision),
        ("opencompass/AIME2025", "AIME2025-II", "test", revision),
    ]
    assert sources.describe("aime25")["content_equals_folder"] is False


def test_too_few_hub_rows_are_an_error(fake_hub):
    with pytest.raises(InputError, match=r"1 rows and 1 problems instead of 500 and 500.*SPURIOUS_DATA_DIR"):
        sources.load("math500")


def test_a_changed_hub_schema_is_an_error(fake_hub, monkeypatch):
    monkeypatch.setitem(HUB_ROWS, "math500", [{"question": "P", "answer": "1"}])
    with pytest.raises(InputError, match="no column 'unique_id'"):
        sources.load("math500")


def test_no_hub_and_no_copy_is_an_error_within_seconds(monkeypatch, tmp_path):
    import datasets

    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: nothing listens
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.delenv("SPURIOUS_DATA_DIR", raising=False)
    start = time.monotonic()
    with pytest.raises(InputError, match="cannot be reached.*access to the hub.*SPURIOUS_DATA_DIR.*deepscaler_level1"):
        sources.load("deepscaler")
    assert time.monotonic() - start < 10


def test_a_failing_download_is_one_sentence(fake_hub, monkeypatch):
    import datasets

    def broken(*_, **__):
        raise ConnectionError("Couldn't reach 'HuggingFaceH4/MATH-500' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", broken)
    with pytest.raises(InputError, match=r"Couldn't reach .*; either .*SPURIOUS_DATA_DIR"):
        sources.load("math500")


def test_revisions_are_commits():
    assert all(len(spec.revision) == 40 and int(spec.revision, 16) >= 0 for spec in SOURCES.values())
    assert set(BENCHMARKS) == {"math500", "amc", "amc40", "aime24", "aime25"}


# --- the real files


@needs_data
@pytest.mark.parametrize(
    ("name", "rows"), [("math500", 500), ("amc", 83), ("amc40", 40), ("aime24", 30), ("aime25", 30)]
)
def test_the_real_benchmarks_are_whole(name, rows):
    problems = sources.load(name)
    assert len(problems) == len({problem.id for problem in problems}) == rows
    assert sources.describe(name, problems=problems)["content_equals_folder"] is True
    if SOURCES[name].integer_answers:
        assert all(str(int(problem.answer)) == problem.answer for problem in problems)


@needs_data
def test_the_real_math500_begins_as_published_and_aime24_has_lost_its_link():
    assert sources.load("math500", limit=1)[0].id == "test/precalculus/807.json"
    assert not any("http" in problem.problem for problem in sources.load("aime24"))


@needs_data
def test_a_real_file_cut_short_is_caught(tmp_path):
    content = (Path(REAL) / "math500.jsonl").read_bytes()
    (tmp_path / "math500.jsonl").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="truncated"):
        sources.load("math500", data_dir=tmp_path)
