"""The pages to play with: cells of the bandit by hand, the record of a rollout batch, answers as data."""

import dataclasses
import json

import pandas as pd
import pytest

from spurious_rewards.reporting import bandit_grid, rollout_record
from spurious_rewards.reporting.answers import answers, script
from spurious_rewards.storage.paths import code_root

RESULTS = code_root() / "results"
CELL = {"prior": 0.65, "gamma": 0.5, "epsilon": 0.2, "step_size": 2.0, "updates": 4}


def test_one_update_makes_the_clip_inert_and_several_do_not():
    once = {**CELL, "updates": 1}
    assert bandit_grid.exact(once, "two_sided") == bandit_grid.exact(once, "none")
    assert bandit_grid.exact(CELL, "two_sided") > bandit_grid.exact(CELL, "none") + 0.01


def test_cells_reach_the_page_under_the_positions_of_the_sliders():
    rows = [
        {**CELL, "clip_mode": mode, "share": share, "share_low": share - 0.1, "share_high": share + 0.1,
         "exact_change": exact}
        for mode, share, exact in (("two_sided", 0.8, 0.2), ("none", 0.5, 0.0))
    ]  # fmt: skip
    rows = [{**row, "updates": 8} for row in rows]
    cells = bandit_grid.data(pd.DataFrame(rows))["cells"]
    # prior 0.65 is position 1, γ = 0.5 position 1, ε = 0.2 position 1, step 2 position 2, 8 updates position 2
    assert cells == {"1,1,1,2,2": {"exact": [0.2, 0.0], "clip": [0.8, 0.7, 0.9], "none": [0.5, 0.4, 0.6]}}


def test_the_committed_grid_is_whole():
    table = pd.read_csv(RESULTS / "tables" / "mechanism" / "bandit_grid.csv")
    n_cells = 4 * 2 * 3 * 4 * 3
    assert len(table) == 2 * n_cells and len(bandit_grid.data(table)["cells"]) == n_cells
    some = table[(table["prior"] == 0.65) & (table["updates"] == 8) & (table["step_size"] == 2)].iloc[0]
    cell = {name: float(some[name]) for name in bandit_grid.AXES}
    assert bandit_grid.exact(cell, some["clip_mode"]) == pytest.approx(some["exact_change"], abs=1e-6)
    once = table[table["updates"] == 1].pivot_table(
        index=["prior", "gamma", "epsilon", "step_size"], columns="clip_mode", values="share"
    )
    assert (once["two_sided"] == once["none"]).all(), "with one update per batch the clip does nothing"


def test_the_committed_rollout_batch_is_consistent():
    record = json.loads((RESULTS / "records" / "rollouts" / "rollouts.json").read_text(encoding="utf-8"))
    assert len(record["groups"]) == 4 and record["updates"] == 8
    outside = {mode: 0 for mode in record["modes"]}
    for group in record["groups"]:
        assert len(group["rollouts"]) == 16
        assert sum(rollout["advantage"] for rollout in group["rollouts"]) == pytest.approx(0, abs=0.01)
        for rollout in group["rollouts"]:
            for mode, steps in rollout["ratios"].items():
                assert len(steps) == 9 and set(steps[0]) == {100}, "before the first update every ratio is 1"
                assert {len(step) for step in steps} == {len(rollout["tokens"])}
                outside[mode] += sum(abs(ratio - 100) > 20 for ratio in steps[-1])
            same = (rollout["ratios"]["two_sided"][1], rollout["ratios"]["none"][1])
            assert same[0] == same[1], "the first update is the same with and without clip"
    assert all(n > 0 for n in outside.values()), "the page shows tokens that have left the band"


def test_a_record_of_a_small_batch():
    config = dataclasses.replace(rollout_record.configuration(), prompts_per_batch=1, group_size=8, updates_per_batch=2,
                                 micro_batch=4, warmup_batches=0)  # fmt: skip
    record = rollout_record.record(config)
    [group] = record["groups"]
    assert len(group["rollouts"]) == 8 and group["gold"] and group["problem"] in "".join(group["problem"])
    assert all(len(rollout["ratios"]["none"]) == 3 for rollout in group["rollouts"])
    moved = [ratio for rollout in group["rollouts"] for ratio in rollout["ratios"]["none"][2]]
    assert set(moved) != {100}, "two updates move some token"


def test_answers_share_equal_texts_and_name_the_trained_model(records):
    samples = records.samples.assign(text="the same")
    data = answers([dataclasses.replace(records, samples=samples)])
    assert data["texts"] == ["the same"] and len(data["problems"]) == 4
    assert data["models"] == [
        "qwen-like before training (toy)",
        "qwen-like after random reward, with clip (toy)",
        "qwen-like after random reward, without clip (toy)",
    ]
    assert len(data["rows"]) == 12, "one seed per arm, and the base model"
    assert sum(row[3] for row in data["rows"] if row[1] == 1) == 3, "the verdicts of the first seed with clip"


def test_no_text_can_end_the_script():
    text = script("DATA", {"a": "</script><!--", "b": "é"})
    assert "<" not in text and json.loads(text[len("window.DATA = ") : -2]) == {"a": "</script><!--", "b": "é"}
