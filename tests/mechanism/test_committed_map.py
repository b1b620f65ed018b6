"""The committed bandit map: complete, controls exact, and the numbers that the code still gives."""

from pathlib import Path

import pandas as pd
import pytest

from spurious_rewards.mechanism import summary, sweeps
from spurious_rewards.mechanism.bandit import simulate
from spurious_rewards.storage.files import read_json, sha256_file

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def table():
    return pd.read_csv(RESULTS / "tables/mechanism/bandit_map.csv")


def test_tables_are_those_of_the_manifest():
    for part in ("bandit_map", "bandit_bins"):
        manifest = read_json(RESULTS / f"manifests/mechanism/{part}.json")
        assert manifest["size"] == "committed" and f"{part}.csv" in manifest["tables"]
        for name, digest in manifest["tables"].items():
            assert sha256_file(RESULTS / "tables/mechanism" / name) == digest, name


def test_bins_with_their_intervals_add_up_to_the_map(table):
    """Σ over bins of rollouts · share = all rollouts · share of the cell; the two tables are of two runs."""
    bins = pd.read_csv(RESULTS / "tables/mechanism/bandit_bins.csv")
    assert set(bins["cell"]) == {cell.digest() for cell in sweeps.sweep_cells("base", "committed")}
    assert set(bins["cell"]) < set(table["cell"]) and bins["cell"].nunique() == 14
    cells = table.drop_duplicates("cell").set_index("cell")
    for name in ("clipped_high", "clipped_low", "outside_high", "outside_low"):
        inside = bins[name].between(bins[f"{name}_low"] - 1e-9, bins[f"{name}_high"] + 1e-9)
        assert inside.mean() > 0.99, name  # a bin that few seeds visit may miss its own estimate
        total = (bins[name] * bins["rollouts"]).groupby(bins["cell"]).sum()
        share = total / bins.groupby("cell")["rollouts"].sum()
        wanted = cells.loc[share.index, name.replace("clipped", "clip_fraction").replace("outside", "outside_fraction")]
        assert share.to_numpy() == pytest.approx(wanted.to_numpy(), rel=1e-2, abs=1e-6), name
    assert bins["seeds"].between(1, 1000).all() and (bins["clipped_high_high"] > bins["clipped_high_low"]).any()


def test_cispo_has_no_drift_under_sgd(table):
    """No hinge: the expected force is exactly 0, so the committed drift of log-odds includes 0 at every SGD step."""
    cells = table[(table["clip_mode"] == "cispo") & (table["optimizer"] == "sgd") & (table["sweep"] == "step")]
    assert len(cells) == 4 and (cells["clip_fraction_high"] > 0).all()
    low, high = cells["paired_logit_change_low"], cells["paired_logit_change_high"]
    assert ((low < 0) & (high > 0)).all()
    two_sided = table[(table["clip_mode"] == "two_sided") & (table["optimizer"] == "sgd") & (table["sweep"] == "step")]
    assert (two_sided["paired_logit_change_low"] > 0).all()  # the same intervals do see a hinge


def test_every_cell_of_the_code_is_there_with_a_thousand_seeds(table):
    wanted = [(name, cell.digest()) for name in sweeps.SWEEPS for cell in sweeps.sweep_cells(name, "committed")]
    assert list(zip(table["sweep"], table["cell"], strict=True)) == wanted
    assert (table["n_seeds"] >= 1000).all()
    estimates = [name for name in table if f"{name}_low" in table]
    for name in estimates:
        inside = table[name].between(table[f"{name}_low"], table[f"{name}_high"]) | table[name].isna()
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
