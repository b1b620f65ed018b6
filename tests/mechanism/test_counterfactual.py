"""The paired counterfactual: pairing proven, exact controls, resuming, the stopping rule, the committed records."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from spurious_rewards.errors import InputError
from spurious_rewards.mechanism import counterfactual
from spurious_rewards.mechanism.counterfactual_config import SETTINGS, CounterfactualConfig, configs
from spurious_rewards.mechanism.effects import entropy_half_width, unpaired
from spurious_rewards.mechanism.replay import Arms
from spurious_rewards.storage.files import read_json, sha256_file, write_json
from spurious_rewards.training.clip import surrogate

RESULTS = Path(__file__).parents[2] / "results"
SMALL = {
    "n_train_problems": 32,
    "prompts_per_batch": 2,
    "group_size": 8,
    "updates_per_batch": 4,
    "micro_batch": 4,
    "max_completion_tokens": 32,
    "optimizer": "sgd",
    "learning_rate": 1.0,
    "warmup_batches": 1,
    "probe_problems": 6,
    "probe_samples": 2,
    "clip_modes": "none,two_sided,cispo",
    "min_pairs": 2,
    "max_pairs": 2,
    "pairs_per_part": 1,
}


def config(**changes):
    return CounterfactualConfig(**{**SMALL, **changes})


def ends(arms, draw, modes):
    """Weights of each arm after its updates."""
    found = {}
    for mode in modes:
        arms.replay(mode, draw)
        found[mode] = torch.cat([p.detach().flatten().clone() for p in arms.model.parameters()])
    return found


@pytest.fixture(scope="module")
def arms():
    return Arms(config())


@pytest.fixture
def runs_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "runs"))
    return tmp_path


# Pairing


def test_arms_of_a_pair_share_everything_but_the_clip(arms):
    draws = [arms.draw(pair) for pair in range(2)]
    rows = [
        {
            **arms.replay(mode, draw),
            "clip_mode": mode,
            "pair": pair,
            "model": "m",
            "optimizer": "sgd",
            "learning_rate": 1.0,
        }
        for pair, draw in enumerate(draws)
        for mode in ("none", "two_sided", "cispo")
    ]
    frame = pd.DataFrame(rows)
    assert unpaired(frame) == []
    assert (frame.groupby("pair")["rollouts_sha"].nunique() == 1).all() and frame["rollouts_sha"].nunique() == 2
    assert frame["start_sha"].nunique() == 1  # SGD: the checkpoint, without any state
    by_mode = frame.set_index(["pair", "clip_mode"])
    assert by_mode.loc[(0, "none"), "first_loss"] == by_mode.loc[(0, "two_sided"), "first_loss"]  # to the last bit
    assert by_mode.loc[(0, "two_sided"), "first_gap"] == 0 and by_mode.loc[(0, "cispo"), "first_gap"] < 1e-5
    assert by_mode.loc[(0, "none"), "motion"] != by_mode.loc[(0, "two_sided"), "motion"]  # and then the clip acts
    assert by_mode.loc[(0, "two_sided"), "clipped"][0] == 0 < max(by_mode.loc[(0, "two_sided"), "clipped"])
    assert set(by_mode.loc[(0, "none"), "clipped"]) == {0.0}
    assert max(by_mode.loc[(0, "none"), "would_clip_high"]) > 0


def test_the_hash_sees_what_an_arm_consumes(arms):
    draw = arms.draw(0)
    before = arms.replay("none", draw)["rollouts_sha"]
    assert arms.replay("none", arms.draw(0))["rollouts_sha"] == before  # a function of (seed, pair)
    micro = draw.batches[0][1]
    micro["advantages"] = micro["advantages"].clone()
    micro["advantages"][0] += 1e-6
    assert arms.replay("none", draw)["rollouts_sha"] != before
    swapped = arms.draw(0)
    order = (swapped.batches[0][1], swapped.batches[0][0], *swapped.batches[0][2:])
    assert arms.replay("none", type(swapped)((order,), swapped.rewards, swapped.state))["rollouts_sha"] != before


def test_unpaired_arms_are_found():
    rows = pd.DataFrame(
        {
            "model": "m",
            "optimizer": "sgd",
            "learning_rate": 1.0,
            "pair": [0, 0, 1, 1, 2, 2],
            "clip_mode": ["none", "two_sided"] * 3,
            "start_sha": "s",
            "first_gap": [0, 0, 0, 1e-9, 0, 0],
            "rollouts_sha": ["a", "a", "b", "b", "c", "d"],
            "first_loss": [1.0, 1, 2, 2, 3, 3],
        }
    )
    assert unpaired(rows) == [1, 2]  # other weights after the first update; other rollouts
    assert unpaired(rows.assign(first_loss=[1.0, 1.1, 2, 2, 3, 3])) == [0, 1, 2]


def test_adamw_arms_share_a_warmed_state_of_their_own_pair():
    arms = Arms(config(optimizer="adamw", learning_rate=1e-3, clip_modes="none,two_sided"))
    draws = [arms.draw(pair) for pair in range(2)]
    facts = [[arms.replay(mode, draw) for mode in ("none", "two_sided")] for draw in draws]
    for pair in facts:
        assert len({arm["start_sha"] for arm in pair}) == len({arm["first_loss"] for arm in pair}) == 1
        assert pair[1]["first_gap"] == 0
    assert facts[0][0]["start_sha"] != facts[1][0]["start_sha"]
    state = next(iter(draws[0].state["state"].values()))
    assert state["step"] == 4 and state["exp_avg"].abs().sum() > 0  # four updates at learning rate 0
    assert draws[0].state["param_groups"][0]["lr"] == 1e-3
    again = arms.replay("none", draws[0])
    assert again == facts[0][0]  # the shared state is not changed by an arm


def test_replay_is_the_update_of_the_clip_objective(arms):
    """A loop of a few lines with `clip.surrogate` in place of TRL's loss ends at the same weights."""
    draw = arms.draw(1)
    expected = ends(arms, draw, ["two_sided"])["two_sided"]
    model = arms.trainers["two_sided"].model
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), arms.checkpoint, strict=True):
            parameter.copy_(value)
    for micro in draw.batches[0]:
        ids = torch.cat([micro["prompt_ids"], micro["completion_ids"]], dim=1)
        mask = torch.cat([micro["prompt_mask"], micro["completion_mask"]], dim=1)
        n = micro["completion_ids"].size(1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits[:, -n - 1 : -1]
        logp = logits.log_softmax(-1).gather(2, micro["completion_ids"].unsqueeze(2)).squeeze(2)
        log_ratio, advantage = logp - micro["old_per_token_logps"], micro["advantages"].unsqueeze(1)
        objective = surrogate(log_ratio, advantage, "two_sided", 0.2, 0.2)
        real = micro["completion_mask"]
        model.zero_grad()
        (-(objective * real).sum() / real.sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 1.0 * parameter.grad
    found = torch.cat([p.detach().flatten() for p in model.parameters()])
    start = torch.cat([w.flatten() for w in arms.checkpoint])
    assert (found - expected).norm() < 1e-3 * (expected - start).norm()
    model.zero_grad()


def test_a_later_rollout_batch_starts_at_ratio_one():
    arms = Arms(config(n_batches=2))
    draw = arms.draw(0)
    assert len(draw.batches) == 2 and len(draw.rewards) == 32
    facts = arms.replay("none", draw)
    share = np.add(facts["would_clip_high"], facts["would_clip_low"])
    assert share[0] == share[4] == 0 and share[1:4].max() > 0 and share[5:].max() > 0


# Controls, exact


def test_one_update_per_rollout_batch_makes_all_modes_equal():
    modes = ("none", "two_sided", "high_only", "low_only", "cispo")
    arms = Arms(config(updates_per_batch=1, micro_batch=16, clip_modes=",".join(modes)))
    weights = ends(arms, arms.draw(0), modes)
    for mode in ("two_sided", "high_only", "low_only"):
        assert torch.equal(weights["none"], weights[mode]), mode
    assert torch.allclose(weights["none"], weights["cispo"], atol=1e-5)
    assert not torch.equal(weights["none"], torch.cat([w.flatten() for w in arms.checkpoint]))


def test_unreachable_epsilon_equals_no_clip(arms):
    wide = Arms(config(epsilon_low=1.0, epsilon_high=1e9, clip_modes="none,two_sided"))
    weights = ends(wide, wide.draw(0), ["none", "two_sided"])
    assert torch.equal(weights["none"], weights["two_sided"])
    narrow = ends(arms, arms.draw(0), ["none", "two_sided"])
    assert torch.equal(narrow["none"], weights["none"]) and not torch.equal(narrow["two_sided"], weights["none"])


@pytest.mark.parametrize(("gamma", "optimizer"), [(0.0, "sgd"), (1.0, "adamw")])
def test_equal_rewards_move_nothing(gamma, optimizer):
    arms = Arms(config(gamma=gamma, optimizer=optimizer))
    facts = arms.replay("two_sided", arms.draw(0))
    assert facts["motion"] == 0 and facts["reward_mean"] == gamma and facts["n_tokens"] > 0


# Runs


def test_interrupted_run_ends_with_the_same_records(runs_dir, monkeypatch):
    setting = config(min_pairs=3, max_pairs=3, clip_modes="none,two_sided")
    whole = counterfactual.run(setting, progress=False)
    expected = pd.read_parquet(whole.path("pairs.parquet"))
    assert expected["pair"].tolist() == [0, 0, 1, 1, 2, 2] and whole.manifest()["n_pairs"] == 3

    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(runs_dir / "again"))
    replay, calls = Arms.replay, []

    def interrupted(self, mode, draw):
        calls.append(mode)
        if len(calls) == 4:  # the second arm of the second pair
            raise KeyboardInterrupt
        return replay(self, mode, draw)

    monkeypatch.setattr(Arms, "replay", interrupted)
    with pytest.raises(KeyboardInterrupt):
        counterfactual.run(setting, progress=False)
    run = counterfactual.run(setting, progress=False)
    assert len(calls) == 4 + 4 and run.complete and not list(run.path("parts").glob("*"))  # pairs 1 and 2 again
    pd.testing.assert_frame_equal(pd.read_parquet(run.path("pairs.parquet")), expected)
    pd.testing.assert_frame_equal(
        pd.read_parquet(run.path("problems.parquet")), pd.read_parquet(whole.path("problems.parquet"))
    )
    assert counterfactual.run(setting, progress=False).manifest() == run.manifest() and len(calls) == 8

    table = counterfactual.write_results("counterfactual", counterfactual.Records.of([run]), runs_dir / "out")
    manifest = read_json(runs_dir / "out/manifests/mechanism/counterfactual.json")
    for path, digest in manifest["files"].items():
        assert sha256_file(runs_dir / "out" / path) == digest
    row = table[(table["clip_mode"] == "two_sided") & (table["quantity"] == "entropy")].iloc[0]
    wide = expected.pivot(index="pair", columns="clip_mode", values="entropy")
    assert row["effect"] == pytest.approx((wide["two_sided"] - wide["none"]).mean())
    assert row["boot_low"] <= row["effect"] <= row["boot_high"]
    assert list(manifest["target_met"].values()) == [False]  # three pairs are no precision, and the table says so
    assert not table["target_met"].any()

    levels = pd.read_parquet(runs_dir / "out/records/mechanism/counterfactual_levels.parquet")
    mean = np.stack(levels["code_logits"].to_list()).mean(axis=1)
    logits = expected.set_index(["pair", "clip_mode"])["code_logit"]
    keys = pd.MultiIndex.from_frame(levels[["pair", "clip_mode"]])
    assert mean == pytest.approx(logits.loc[keys].to_numpy(), abs=1e-5)
    tilted = table[table["quantity"] == "code_tilt"].iloc[0]
    change = logits.unstack() - np.mean(run.manifest()["code_logits"])
    assert tilted["effect"] == pytest.approx(np.polyfit(change["none"], change["two_sided"], 1)[1], abs=1e-4)


def test_settings_that_are_not_run_again_are_kept(runs_dir):
    one, two = (config(clip_modes="none,two_sided", optimizer="sgd", learning_rate=step) for step in (0.5, 1.0))
    records = [counterfactual.Records.of([counterfactual.run(setting, progress=False)]) for setting in (one, two)]
    counterfactual.write_results("counterfactual", records[0].joined(records[1]), runs_dir / "out")
    older = counterfactual.Records.committed("counterfactual", runs_dir / "out")
    older.pairs["entropy"] += 100.0  # so that what is kept can be told
    both = records[1].joined(older)
    assert both.pairs.groupby("learning_rate")["entropy"].min().gt(99).to_dict() == {0.5: True, 1.0: False}
    assert both.checkpoints["learning_rate"].tolist() == [0.5, 1.0] and len(both.manifests) == 2
    assert len(both.levels) == len(both.pairs) == 2 * 2 * 2


def test_a_run_begun_from_another_checkpoint_is_refused(runs_dir, monkeypatch):
    setting = config(clip_modes="none,two_sided")
    monkeypatch.setattr(Arms, "replay", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        counterfactual.run(setting, progress=False)
    start = next((runs_dir / "runs").glob("*/start.json"))
    write_json(start, {**read_json(start), "checkpoint_sha": "0"})
    with pytest.raises(InputError, match="another checkpoint"):
        counterfactual.run(setting, progress=False)


def test_the_rule_stops_at_the_first_look_that_is_precise_enough(runs_dir, monkeypatch):
    base = {"clip_modes": "none,two_sided", "min_pairs": 2, "look_every": 1, "max_pairs": 4}
    widths = {2: 0.5, 3: 0.1, 4: 0.01}
    monkeypatch.setattr(counterfactual, "entropy_half_width", lambda pairs: widths[pairs["pair"].nunique()])
    easy = counterfactual.run(config(**base, relevant_effect=0.5), progress=False)  # target 0.2 · 0.5 = 0.1
    assert [look["pairs"] for look in easy.manifest()["looks"]] == [2, 3] and easy.manifest()["n_pairs"] == 3
    assert pd.read_parquet(easy.path("pairs.parquet"))["pair"].max() == 2
    assert read_json(easy.path("config.json"))["precision"] == 0.2  # the rule is written before the first pair


def test_half_width_by_hand():
    rows = pd.DataFrame(
        {
            "pair": [0, 0, 0, 1, 1, 1],
            "clip_mode": ["none", "cispo", "two_sided"] * 2,
            "entropy": [0.0, 9.0, 1.0, 1.0, 5.0, 4.0],
        }
    )
    # differences 1 and 3: s = √2, half width = 12.706 · √2 / √2
    assert entropy_half_width(rows) == pytest.approx(12.706, rel=1e-4)


def test_committed_size_is_the_map_of_the_organism_profile():
    settings = configs("committed")
    assert tuple((c.optimizer, c.learning_rate) for c in settings) == SETTINGS
    assert all(c.looks() == (200, 250, 300) and len(c.modes) == 5 for c in settings)
    assert len({c.run_id() for c in settings}) == 6
    assert [c.learning_rate for c in configs("committed", "sgd")] == [0.1, 0.3, 1.0]
    assert [c.setting() for c in configs("committed", "adamw 0.001, sgd 0.1")] == ["adamw 0.001", "sgd 0.1"]


def test_command_line_says_what_is_wrong_in_one_sentence(capsys):
    for arguments in (["--settings", "adamx"], ["--size", "big"], ["--settings", "sgd", "--out", "x"]):
        assert counterfactual.main(arguments) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    for changes in ({"clip_modes": "two_sided"}, {"min_pairs": 5, "max_pairs": 4}, {"precision": 0.0}):
        with pytest.raises(InputError):
            config(**changes)


# What is committed


@pytest.mark.skipif(not (RESULTS / "manifests/mechanism/counterfactual.json").is_file(), reason="not run yet")
def test_committed_table_follows_from_the_committed_records():
    manifest = read_json(RESULTS / "manifests/mechanism/counterfactual.json")
    for path, digest in manifest["files"].items():
        assert sha256_file(RESULTS / path) == digest, path
    records = counterfactual.Records.committed("counterfactual", RESULTS)
    pairs, checkpoints = records.pairs, records.checkpoints
    assert unpaired(pairs) == [] and manifest["stopping_rule"]["min_pairs"] == 200
    assert (checkpoints["n_pairs"] >= 200).all() and len(checkpoints) == 6
    counts = pairs.groupby(["optimizer", "learning_rate", "clip_mode"])["pair"].nunique()
    assert (counts >= 200).all() and len(counts) == 30
    assert (pairs.loc[pairs["clip_mode"] == "none", "clipped"].map(max) == 0).all()
    assert pairs.loc[pairs["clip_mode"] == "two_sided", "clipped"].map(max).max() > 0
    table = pd.read_csv(RESULTS / "tables/mechanism/counterfactual.csv")
    pd.testing.assert_frame_equal(records.effects(), table, rtol=1e-4, atol=1e-9, check_dtype=False)
    met = table.groupby(["optimizer", "learning_rate"])["target_met"].first()
    assert not met[("sgd", 0.3)] and not met[("sgd", 1.0)] and met[("adamw", 3e-4)]
    code = table[table["quantity"].eq("code") & table["clip_mode"].ne("none")]
    code = code.set_index(["optimizer", "learning_rate"])
    assert not code.loc["sgd"].loc[[0.3, 1.0], "reliable"].any() and code.loc["adamw", "reliable"].all()
