"""How often the interval of an effect misses: the simulation against whole experiments, and the committed table."""

import numpy as np
import pandas as pd
import pytest

from spurious_rewards.evaluation import coverage
from spurious_rewards.evaluation.crossed import SEEDS_FOR_A_VERDICT, effect
from spurious_rewards.evaluation.statistics import wilson
from spurious_rewards.storage.files import read_json
from spurious_rewards.storage.paths import code_root

RESULTS = code_root() / "results"


@pytest.fixture(scope="module")
def committed():
    return pd.read_csv(RESULTS / "tables" / "statistics" / "coverage.csv")


def test_the_simulation_draws_what_whole_experiments_would_give():
    rng = np.random.default_rng(5)
    n_seeds, n_problems, n = 4, 60, 1500
    misses, widths = 0, []
    for _ in range(n):
        problem = rng.choice([-1, 0, 1], n_problems, p=[0.38**2 / 2, 1 - 0.38**2, 0.38**2 / 2])
        values = rng.normal(0, 0.06, (n_seeds, 1)) + problem + rng.normal(0, 0.25, (n_seeds, n_problems))
        found = effect(values)
        misses += found.sign() != 0
        widths.append(found.high - found.low)
    row = coverage.simulate("arm", 0.06, 0.38, n_seeds, n_problems, 20_000, np.random.default_rng(6))
    whole = wilson(misses, n, 0.999)
    assert whole.low <= row["false_positives"] <= whole.high
    assert row["half_width"] == pytest.approx(100 * np.median(widths) / 2, rel=0.05)


def test_the_simulation_can_find_a_method_wanting(monkeypatch):
    """Seeds alone, when problems differ and seeds do not, miss most of the time: the number would show it."""
    row = coverage.simulate("arm", 0.0, 0.38, 16, 400, 4000, np.random.default_rng(0))
    assert row["over_seeds_alone"] > 0.5 and row["false_positives"] < 0.07
    monkeypatch.setattr(coverage, "combined", lambda seeds, problems, shared: (problems[0] / 4, problems[1]))
    assert coverage.simulate("arm", 0.0, 0.38, 16, 400, 4000, np.random.default_rng(0))["false_positives"] > 0.25


def test_committed_coverage_is_as_promised(committed):
    normal = committed[(committed["design"] != "collapse") & (committed["n_seeds"] >= SEEDS_FOR_A_VERDICT)]
    varies = (normal["seed_sd"] > 0) | (normal["problem_sd"] > 0)
    assert (normal["false_positives"] <= 0.07).all() and (normal.loc[varies, "false_positives"] >= 0.03).all()
    assert (normal["false_equivalence"] <= 0.06).all()
    looks = normal[varies & normal["n_seeds"].isin(coverage.LOOKS)]
    assert set(looks["n_seeds"]) == {8, 16, 32} and looks["seed_sd"].max() == 37
    assert (looks["at_look"] <= 1.3 * looks["look_level"] + 0.0006).all()
    assert committed.loc[~committed["n_seeds"].isin(coverage.LOOKS), "at_look"].isna().all()
    assert committed["n_simulations"].min() >= 10_000
    assert {400, 4000} == set(committed["n_problems"]) and {3, 40} <= set(committed["n_seeds"])


def test_committed_coverage_is_that_of_the_simulation(committed):
    cells = list(enumerate(committed.to_dict("records")))
    for i, row in cells[:: len(cells) // 6]:
        sizes = [row["seed_sd"] / 100, row["problem_sd"] / 100, row["n_seeds"], row["n_problems"], row["n_simulations"]]
        again = coverage.simulate(row["design"], *sizes, np.random.default_rng([0, i]))
        assert again.pop("design") == row.pop("design")
        assert again == pytest.approx(row, rel=1e-5, nan_ok=True)


def test_committed_coverage_has_a_manifest():
    manifest = read_json(RESULTS / "manifests" / "statistics" / "coverage.json")
    assert manifest["config"]["n_simulations"] == coverage.SIMULATIONS and len(manifest["commit"]) == 40
