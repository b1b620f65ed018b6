"""The committed comparison of engines: verdicts from the committed answers, ties from the committed differences."""

import json

import pandas as pd
import pytest

from spurious_rewards.evaluation.agreement import answer_pairs, near_tie, ties, verdicts
from spurious_rewards.storage.paths import code_root

RESULTS = code_root() / "results"
TABLES = RESULTS / "tables" / "generation"
ROWS = pd.read_csv(TABLES / "agreement.csv")
DIFFERENCES = pd.read_csv(TABLES / "differences.csv")


def answers(run_id):
    """Committed answers of one evaluation (their prompts are not committed)."""
    profile = next((RESULTS / "manifests").glob(f"*/{run_id}.json")).parent.name
    samples = pd.read_parquet(RESULTS / "records" / profile / "samples.parquet")
    return samples[samples["run_id"] == run_id].assign(prompt="")


@pytest.mark.parametrize("index", ROWS.index, ids=ROWS["benchmark"] + "-" + ROWS["dtype"])
def test_a_row_is_that_of_the_records(index):
    row = ROWS.loc[index]
    pairs = answer_pairs(answers(row["run_a"]), answers(row["run_b"]))
    for name, value in verdicts(pairs).items():
        assert row[name] == pytest.approx(value, rel=1e-9), name
    differing = DIFFERENCES[DIFFERENCES["run_a"] == row["run_a"]]
    assert differing["problem_id"].tolist() == pairs.loc[~pairs["same"], "problem_id"].tolist()
    verdicts_of = pairs.set_index("problem_id")
    for difference in differing.itertuples():
        assert (difference.correct_a, difference.correct_b) == tuple(
            verdicts_of.loc[difference.problem_id, ["correct_a", "correct_b"]]
        )
    for name, value in ties(differing, near_tie(row["dtype"])).items():
        assert row[name] == pytest.approx(value, rel=1e-9, nan_ok=True), name


def test_there_are_answers_that_differ_and_near_ties_explain_them():
    half = ROWS[ROWS["dtype"] == "bfloat16"]
    assert len(half) and (half["n_different"] > 0).all() and (half["n_located"] > 0).all()
    assert (half["near_ties"] == half["n_located"]).all(), "a difference that rounding does not explain"
    assert (ROWS.loc[ROWS["dtype"] == "float32", "n_different"] == 0).all()


@pytest.mark.parametrize("stem", ["agreement", "engines"])
def test_tables_say_what_made_them(stem):
    made_with = json.loads((TABLES / f"{stem}.json").read_text())
    assert {"date", "commit", "dirty", "lock_hashes", "versions", "hardware"} <= set(made_with)
    assert made_with["dirty"] is False


def test_speeds_lie_between_their_lowest_and_highest_round():
    engines = pd.read_csv(TABLES / "engines.csv")
    for engine in ("transformers", "vllm"):
        for unit in ("s", "cpu_s"):
            name = f"{engine}_tokens_per_{unit}"
            assert engines[name].between(engines[f"{name}_lowest"], engines[f"{name}_highest"]).all(), name
