"""Sweeps: resumable cells, tidy tables, intervals."""

import numpy as np
import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.mechanism import bandit, summary, sweeps
from spurious_rewards.mechanism.__main__ import main
from spurious_rewards.mechanism.config import BanditConfig


@pytest.fixture
def small(monkeypatch, tmp_path):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setitem(sweeps.SIZES, "notebook", {"groups": 2, "group_size": 8, "batches": 2, "seeds": 20})
    return tmp_path


def test_every_sweep_has_at_least_a_thousand_seeds_and_the_controls():
    for size in sweeps.SIZES:
        for name in sweeps.SWEEPS:
            assert all(config.seeds >= 1000 for config in sweeps.sweep_cells(name, size))
        assert any(config.updates == 1 for config in sweeps.sweep_cells("updates", size))
        assert {0.0, 1.0, 0.001} <= {config.gamma for config in sweeps.sweep_cells("gamma", size)}


def test_table_has_a_row_per_cell_with_intervals_and_paired_effects(small):
    table = sweeps.run_sweep("gamma", "notebook", small)
    assert len(table) == len(sweeps.sweep_cells("gamma", "notebook"))
    assert table["share_up"].between(table["share_up_low"], table["share_up_high"]).all()
    clipped = table["clip_mode"] == "two_sided"
    assert table.loc[clipped, "paired_logit_change"].notna().all()
    assert table.loc[~clipped, "paired_logit_change"].isna().all()
    none = table[~clipped].set_index(["optimizer", "gamma"])["logit_change"]
    both = table[clipped].set_index(["optimizer", "gamma"])
    assert (both["logit_change"] - none).to_numpy() == pytest.approx(both["paired_logit_change"].to_numpy())


def test_finished_cells_are_not_computed_again(small, monkeypatch):
    calls = []
    simulate = bandit.simulate

    def interrupted(config):
        calls.append(config)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return simulate(config)

    monkeypatch.setattr(sweeps, "simulate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweeps.run_map("notebook", ["updates"])
    table, bins, run = sweeps.run_map("notebook", ["updates"])
    cells = sweeps.sweep_cells("updates", "notebook")
    assert len(calls) == len(cells) + 1  # the interrupted one twice, all others once
    assert run.complete and len(table) == len(cells) and set(bins["cell"]) == set(table["cell"])
    again, _, _ = sweeps.run_map("notebook", ["updates"])
    assert len(calls) == len(cells) + 1
    pd.testing.assert_frame_equal(table, again)


def test_command_line_writes_tables_and_manifest(small, capsys, monkeypatch):
    monkeypatch.setattr(sweeps, "SWEEPS", {"motion": sweeps.motion_sweep})
    assert main(["map", "--size", "notebook", "--out", str(small / "results")]) == 0
    table = pd.read_csv(small / "results/tables/mechanism/bandit_map.csv")
    assert list(table["updates"]) == [8, 8, 8, 8, 1, 1, 1, 1] and (table["n_seeds"] == 20).all()
    assert (small / "results/manifests/mechanism/bandit_map.json").is_file()
    monkeypatch.setattr(sweeps.clip, "MODES", {name: sweeps.clip.MODES[name] for name in ("none", "two_sided")})
    assert main(["map", "--size", "notebook", "--out", str(small / "bins"), "--only-bins"]) == 0
    assert set(pd.read_csv(small / "bins/tables/mechanism/bandit_bins.csv")["clip_mode"]) == {"none", "two_sided"}
    assert not (small / "bins/tables/mechanism/bandit_map.csv").exists()
    assert main(["map", "--size", "huge"]) == 2
    assert "known: committed, notebook" in capsys.readouterr().err


def test_motion_sweep_has_equal_first_order_motion():
    many = [c for c in sweeps.sweep_cells("motion", "notebook") if c.updates > 1]
    one = [c for c in sweeps.sweep_cells("motion", "notebook") if c.updates == 1]
    assert [c.step_size * c.updates for c in many] == [c.step_size for c in one]


def test_summary_by_hand():
    names = [*summary.MEANS.values(), "motion_squared"]
    per_seed = {name: np.zeros(4) for name in names}
    per_seed |= {"change": np.array([0.1, 0.2, -0.1, 0.0]), "motion_squared": np.full(4, 4.0)}
    found = summary.summary(per_seed)
    assert (found["share_up"], found["share_down"], found["motion_rms"]) == (0.5, 0.25, 2.0)
    # Wilson for 2 of 4: ½ ± z·√(pq/n + z²/4n²)/(1 + z²/n) = 1.96·√(0.0625 + 0.06003)/1.96036 = 0.34998
    assert [found["share_up_low"], found["share_up_high"]] == pytest.approx([0.15, 0.85], abs=1e-3)
    # mean 0.05, sd 0.1291, t(0.975, 3) = 3.182: half width 3.182·0.1291/2 = 0.2054
    assert [found["mean_change_low"], found["mean_change_high"]] == pytest.approx(
        [0.05 - 0.2054, 0.05 + 0.2054], abs=1e-4
    )
    assert found["median_change"] == pytest.approx(0.05)


def test_median_interval_is_made_of_order_statistics():
    # n = 100, 95 %: the 40th and the 61st smallest value
    per_seed = {name: np.zeros(100) for name in (*summary.MEANS.values(), "motion_squared")}
    found = summary.summary({**per_seed, "change": np.arange(1.0, 101.0)})
    limits = [found["median_change" + end] for end in ("", "_low", "_high")]
    assert limits == [50.5, 40.0, 61.0]


def test_traces_and_bins_cover_the_run():
    result = bandit.simulate(BanditConfig(groups=2, group_size=8, batches=3, seeds=10))
    table = summary.traces(result)
    assert table.groupby("quantity")["batch"].max().to_dict() == {"entropy": 3, "top": 3}
    bins = summary.by_probability(result)
    assert bins["rollouts"].sum() == pytest.approx(10 * 3 * 16) and bins["clipped_high"].between(0, 1).all()
    assert (bins["clipped_low_low"] <= bins["clipped_low"]).all() and bins["seeds"].max() == 10


def test_shares_by_probability_are_ratios_of_sums_over_seeds():
    """Two seeds in one bin: 1 of 10 and 9 of 30 rollouts clipped. Ratio of sums 10/40; resamples 1/10, 10/40, 9/30."""
    result = bandit.simulate(BanditConfig(groups=2, group_size=8, batches=1, seeds=2))
    for name in result.bins:
        result.bins[name] = np.zeros((2, 9))
    result.bins["rollouts"][:, 3], result.bins["clipped_high"][:, 3] = (10, 30), (1, 9)
    (row,) = summary.by_probability(result).to_dict("records")
    assert (row["clipped_high"], row["rollouts"], row["seeds"]) == (0.25, 40, 2)
    assert (row["clipped_high_low"], row["clipped_high_high"]) == pytest.approx((0.1, 0.3))
    assert row["p_low"] == 0.1 and row["clipped_low"] == row["clipped_low_high"] == 0


def test_pairs_need_equal_seeds():
    with pytest.raises(InputError, match="same seeds"):
        summary.paired_differences({"change": np.zeros(3)}, {"change": np.zeros(4)})
    with pytest.raises(InputError, match="did you mean 'gamma'"):
        sweeps.sweep_cells("gama", "notebook")
