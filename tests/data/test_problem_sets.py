import os

import pytest

from spurious_rewards.data import card, problem_sets
from spurious_rewards.data.problem import Problem
from spurious_rewards.data.problem_sets import PROBLEM_SETS, load_problems
from spurious_rewards.errors import InputError

needs_data = pytest.mark.skipif(
    not os.environ.get("SPURIOUS_DATA_DIR"), reason="SPURIOUS_DATA_DIR is not set: no local copy of the data sets"
)


def test_the_synthetic_sets_are_pure_functions_of_the_seed():
    assert load_problems("synthetic", 20, seed=3) == load_problems("synthetic", 20, seed=3)
    assert load_problems("synthetic", 20, seed=3) != load_problems("synthetic", 20, seed=4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "sinthetic"}, "did you mean 'synthetic'"),
        ({"name": "math500", "order": "last"}, "Unknown order 'last'"),
        ({"name": "synthetic", "n": 0}, "at least 1"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments, message):
    with pytest.raises(InputError, match=message):
        load_problems(**arguments)


@needs_data
def test_samples_are_seeded_nested_and_first_n_is_first_n():
    whole = load_problems("math500")
    assert load_problems("math500", 40, order="first") == whole[:40]
    forty = load_problems("math500", 40, seed=1)
    assert forty == load_problems("math500", 80, seed=1)[:40] and forty != load_problems("math500", 40, seed=2)
    assert len({p.id for p in load_problems("math500", 500, seed=1)}) == 500
    with pytest.raises(InputError, match="has 30"):
        load_problems("aime24", 31)


def test_the_card_without_data_says_what_is_missing_and_downloads_nothing(monkeypatch):
    monkeypatch.delenv("SPURIOUS_DATA_DIR", raising=False)
    made = card.build(synthetic_n=100)
    status = made.tables["sources"].set_index("name")["status"]
    assert status["synthetic"] == "available" and status["math500"].startswith("not asked for")
    assert made.tables["contamination"]["leaks"].tolist() == [0]
    assert made.tables["answer_types"].drop(columns=["name", "problems"]).sum(axis=1).tolist() == [1.0, 1.0]
    text = made.markdown()
    assert "## Cleaning of DeepScaleR\n\nNot available" in text and "nan" not in text.lower()


def test_the_card_gives_the_reason_when_a_folder_is_wrong(tmp_path):
    status = card.build(data_dir=tmp_path, synthetic_n=10).tables["sources"].set_index("name")["status"]
    assert "has no file math500.jsonl" in status["math500"]


@needs_data
def test_the_card_of_the_real_data():
    tables = card.build(synthetic_n=200).tables
    assert set(tables["sources"]["status"]) == {"available"}
    assert tables["sources"]["content_equals_folder"].dropna().all()
    leaks = tables["contamination"].set_index(["training_set", "benchmark"])["leaks"]
    assert leaks["deepscaler", "math500"] == 13  # ten contained, three reworded
    assert leaks["deepscaler"].drop("math500").sum() == 0  # none of AMC and AIME
    assert leaks["deepscaler_clean"].sum() == leaks["synthetic"].sum() == 0


def test_parts_of_the_clean_task():
    sums, test = load_problems("sums", 300), load_problems("sums_test", 300)
    assert {(p.meta["family"], p.meta["level"]) for p in sums + test} == {("addition", 1), ("subtraction", 1)}
    assert not {p.id.rsplit("-", 1)[0] for p in sums} & {p.id.rsplit("-", 1)[0] for p in test}
    hardest = load_problems("synthetic_level3_test", 100)
    assert {p.meta["level"] for p in hardest} == {3} and len({p.meta["family"] for p in hardest}) == 7


@needs_data
def test_a_band_of_deepscaler_is_cut_into_training_and_test():
    train, test, whole = (
        load_problems(name) for name in ("deepscaler_level1", "deepscaler_level1_test", "deepscaler_clean")
    )
    assert {p.meta["band"] for p in train + test} == {1} and not {p.id for p in train} & {p.id for p in test}
    assert len(train) + len(test) == sum(p.meta["band"] == 1 for p in whole)
    assert 0.08 < len(test) / (len(train) + len(test)) < 0.12


def test_bands_without_local_files_are_one_sentence(monkeypatch):
    monkeypatch.setattr(problem_sets, "_cleaned", lambda folder: ((Problem("a", "1 + 1", "2", "deepscaler"),), None))
    with pytest.raises(InputError, match="in the names of the local files"):
        load_problems("deepscaler_level1")


def test_every_name_is_documented():
    assert set(PROBLEM_SETS) == {
        "synthetic", "synthetic_test", "math500", "amc", "amc40", "aime24", "aime25", "deepscaler", "deepscaler_clean",
        "sums", "sums_test", *(f"synthetic_level{i}{end}" for i in (1, 2, 3) for end in ("", "_test")),
        *(f"deepscaler_level{i}{end}" for i in range(1, 6) for end in ("", "_test")),
    }  # fmt: skip
    names = ("sums", "sums_test", "synthetic_level1", "deepscaler_clean", "deepscaler_level1", "deepscaler_level1_test")
    assert all(f"``{name}``" in problem_sets.__doc__ for name in names)
