"""The committed bandit map: complete, controls exact, and the numbers that the code still gives."""

from pathlib import Path

import pandas as pd
import pytest

from spurious_rewards.mechanism import summary, sweeps
from spurious_rewards.mechanism.bandit import simulate
from spurious_rewards.workflow.files import read_json, sha256_file

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def table():
    return pd.read_csv(RESULTS / "tables/mechanism/bandit_map.csv")


def test_tables_are_those_of_the_manifest():
    manifest = read_json(RESULTS / "manifests/mechanism/bandit_map.json")
    assert manifest["size"] == "committed"
    for name, digest in manifest["tables"].items():
        assert sha256_file(RESULTS / "tables/mechanism" / name) == digest, name


def test_every_cell_of_the_code_is_there_with_a_thousand_seeds(table):
    wanted = [(name, cell.digest()) for name in sweeps.SWEEPS for cell in sweeps.sweep_cells(name, "committed")]
    assert list(zip(table["sweep"], table["cell"], strict=True)) == wanted
    assert (table["n_seeds"] >= 1000).all()
    estimates = [name for name in table if f"{name}_ci_low" in table]
    for name in estimates:
        inside = table[name].between(table[f"{name}_ci_low"], table[f"{name}_ci_high"]) | table[name].isna()
        assert inside.all(), name


def test_controls_are_exact(table):
    one_update = table[(table["updates"] == 1) & table["paired_logit_change"].notna()]
    assert len(one_update) >= 4
    assert (one_update["paired_logit_change"] == 0).all() and (one_update["clip_fraction_high"] == 0).all()
    no_variance = table[table["gamma"].isin([0, 1])]
    assert len(no_variance) == 8 and (no_variance[["mean_change", "entropy_change", "motion_rms"]] == 0).all(axis=None)
    unclipped = table[table["clip_mode"] == "none"]
    assert (unclipped[["clip_fraction_high", "clip_fraction_low", "added_gradient"]] == 0).all(axis=None)
    clipped = table[(table["clip_mode"] == "two_sided") & (table["optimizer"] == "sgd") & (table["step_size"] == 2)]
    assert (clipped.loc[(clipped["updates"] == 8) & (clipped["gamma"] == 0.5), "clip_fraction_high"] > 0).any()


@pytest.mark.slow
def test_a_cell_computed_again_gives_the_committed_numbers(table):
    cells = {cell.digest(): cell for cell in sweeps.sweep_cells("step", "committed")}
    row = table[(table["clip_mode"] == "high_only") & (table["step_size"] == 2)].iloc[0]
    found = summary.summary(simulate(cells[row["cell"]]).per_seed)
    for name in ("share_up", "logit_change", "entropy_change", "clip_fraction_high", "motion_rms"):
        assert found[name] == pytest.approx(row[name], rel=1e-3), name
