"""The paired counterfactual: pairing proven, exact controls, resuming, the stopping rule, the committed records."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from spurious_rewards.errors import InputError
from spurious_rewards.mechanism import counterfactual
from spurious_rewards.mechanism.__main__ import main
from spurious_rewards.mechanism.code_tree import logit
from spurious_rewards.mechanism.counterfactual_config import CounterfactualConfig, configs
from spurious_rewards.mechanism.effects import half_width, over_signs, unpaired
from spurious_rewards.mechanism.replay import Arms, _hash, _repeat_exactly
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
    "antithetic": False,
    "target_quantity": "entropy",
    "target_half_width": 0.002,
    "code_depth": 3,
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


@pytest.fixture(scope="module")
def adam():
    return Arms(config(optimizer="adamw", learning_rate=1e-3, clip_modes="none,two_sided"))


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
    micro = draw.micro_batches[1]
    micro["advantages"] = micro["advantages"].clone()
    micro["advantages"][0] += 1e-6
    assert arms.replay("none", draw)["rollouts_sha"] != before
    swapped = arms.draw(0)
    order = (swapped.micro_batches[1], swapped.micro_batches[0], *swapped.micro_batches[2:])
    assert arms.replay("none", type(swapped)(order, swapped.rewards, swapped.state))["rollouts_sha"] != before


def test_the_hash_takes_half_precision_and_is_of_the_bytes():
    values = torch.tensor([1.0, -2.0])
    assert _hash([values.bfloat16()]) == _hash([values.bfloat16().clone()]) != _hash([-values.bfloat16()])
    assert _hash([values]) != _hash([values.view(1, 2)])


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


def test_adamw_arms_share_a_warmed_state_of_their_own_pair(adam):
    arms = adam
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
    for micro in draw.micro_batches:
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


# Antithetic pairs


def parameters(arms):
    return torch.cat([p.detach().flatten().double() for p in arms.model.parameters()])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_odd_statistic_cancels_to_rounding(optimizer):
    """With one update the weights move by exactly opposite steps: anything odd in the step sums to 0."""
    arms = Arms(
        config(
            optimizer=optimizer, learning_rate=1e-3, updates_per_batch=1, micro_batch=16, clip_modes="none,two_sided"
        )
    )
    start = torch.cat([w.flatten().double() for w in arms.checkpoint])
    direction = torch.randn(len(start), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    draw = arms.draw(0)
    steps = []
    for signed in (draw, draw.negated()):
        arms.replay("none", signed)
        steps.append(parameters(arms) - start)
    odd = [float(direction @ step) ** 3 for step in steps]
    assert abs(odd[0]) > 0 and abs(odd[0] + odd[1]) < 1e-4 * abs(odd[0])
    assert (steps[0] + steps[1]).norm() < 1e-5 * steps[0].norm() + 1e-7 * start.norm()


def test_what_is_left_of_a_pair_is_of_second_order(adam):
    """Half the step size leaves a quarter of the drift in the weights, where one sign alone leaves a half."""
    start = torch.cat([w.flatten().double() for w in adam.checkpoint])
    draw, left, alone = adam.draw(0), [], []
    for step in (2e-4, 1e-4):
        for group in draw.state["param_groups"]:
            group["lr"] = step
        moved = []
        for signed in (draw, draw.negated()):
            adam.replay("none", signed)
            moved.append(parameters(adam) - start)
        left.append(float((moved[0] + moved[1]).norm()))
        alone.append(float(moved[0].norm()))
    assert alone[0] / alone[1] == pytest.approx(2, rel=0.1)
    assert left[0] / left[1] == pytest.approx(4, rel=0.25)


def test_the_negative_of_a_draw_turns_every_coin(arms, adam):
    draw = arms.draw(0)
    turned = draw.negated()
    assert torch.equal(turned.rewards, 1 - draw.rewards)
    for one, other in zip(draw.micro_batches, turned.micro_batches, strict=True):
        assert torch.equal(one["advantages"], -other["advantages"])
        assert one["completion_ids"] is other["completion_ids"]
    again = turned.negated()
    assert arms.replay("none", again) == arms.replay("none", draw)
    warmed = adam.draw(0)
    opposite, same = warmed.negated().state["state"][0], warmed.state["state"][0]
    assert torch.equal(opposite["exp_avg"], -same["exp_avg"]) and same["exp_avg"].abs().sum() > 0
    assert torch.equal(opposite["exp_avg_sq"], same["exp_avg_sq"]) and opposite["step"] == same["step"]


def test_antithetic_run_averages_over_the_signs_and_keeps_the_noise(runs_dir):
    setting = config(
        antithetic=True,
        optimizer="adamw",
        learning_rate=3e-4,
        clip_modes="none,two_sided",
        min_pairs=3,
        max_pairs=3,
        code_depth=2,
    )
    run = counterfactual.run(setting, progress=False)
    records = counterfactual.PairRecords.of([run])
    pairs, table = records.pairs, records.effects()
    assert len(pairs) == 3 * 2 * 2 and unpaired(pairs) == []
    assert (pairs.groupby("pair")["start_sha"].nunique() == 2).all()  # the moments of the two signs differ
    by_arm = pairs.set_index(["pair", "sign", "clip_mode"])
    mean = by_arm["code_logit"].groupby(["pair", "clip_mode"]).mean().unstack()
    row = table[table["clip_mode"].eq("two_sided") & table["quantity"].eq("code_logit")].iloc[0]
    assert row["effect"] == pytest.approx((mean["two_sided"] - mean["none"]).mean(), abs=1e-6)
    assert row["n_pairs"] == 3 and not table["quantity"].str.contains("tilt").any()
    # What one sign does is mostly noise, and it is gone from the mean.
    start = records.checkpoints["code_logit"].iloc[0]
    assert (
        by_arm["code_logit"].xs("none", level="clip_mode").sub(start).abs().mean()
        > 3 * (mean["none"] - start).abs().mean()
    )
    levels = records.levels.set_index(["pair", "clip_mode"])
    half = by_arm["code_logit"].unstack("sign")
    noise = levels["code_noise"].map(np.mean)
    assert noise.to_numpy() == pytest.approx(
        ((half[1] - half[-1]) / 2).loc[levels.index].to_numpy(), rel=0.02, abs=1e-5
    )
    curvature = table[table["quantity"].eq("curvature_code_logit")]
    assert curvature["clip_mode"].tolist() == ["none"] and curvature["change"].notna().all()
    counterfactual.write_results("antithetic", records, runs_dir / "out")
    again = counterfactual.PairRecords.committed("antithetic", runs_dir / "out").effects()
    pd.testing.assert_frame_equal(table, again, rtol=1e-5)
    drift = pd.read_csv(runs_dir / "out/tables/mechanism/drift.csv").set_index(["quantity", "part"])["value"]
    assert drift["code_logit", "none"] == pytest.approx((mean["none"] - start).mean(), abs=1e-5)
    assert drift["code_logit", "two_sided"] == pytest.approx(row["effect"], abs=1e-5)
    assert drift["code_logit", "curvature"] == pytest.approx(curvature["change"].iloc[0], abs=1e-5)
    never = [np.full(4, logit(np.array(0.0)), dtype=np.float32)]
    of_words = replace(records, checkpoints=records.checkpoints.assign(code_logits=never))
    assert set(records.tables("t")) == {"t", "t_drift"} and set(of_words.tables("t")) == {"t"}, (
        "no code, no drift of it"
    )


def test_arms_that_do_not_consume_the_same_end_the_run_at_their_first_pair(runs_dir, monkeypatch):
    real, drawn = Arms.replay, []

    def other_loss(self, mode, draw):
        drawn.append(mode)
        facts = real(self, mode, draw)
        return facts | ({"first_loss": facts["first_loss"] + 0.1} if mode == "two_sided" else {})

    monkeypatch.setattr(Arms, "replay", other_loss)
    with pytest.raises(InputError, match="arms of pair 0 did not start alike"):
        counterfactual.run(configs("tiny")[0], progress=False)
    assert drawn == ["none", "two_sided"] * 2, "both signs of one pair, and no other pair"


@pytest.mark.skipif(not (RESULTS / "manifests/mechanism/antithetic.json").is_file(), reason="not run yet")
def test_committed_antithetic_tables_follow_from_their_records():
    manifest = read_json(RESULTS / "manifests/mechanism/antithetic.json")
    for path, digest in manifest["files"].items():
        assert sha256_file(RESULTS / path) == digest, path
    records = counterfactual.PairRecords.committed("antithetic", RESULTS)
    assert unpaired(records.pairs) == [] and set(records.pairs["sign"]) == {1, -1}
    assert (records.pairs.loc[records.pairs["clip_mode"] == "none", "clipped"].map(max) == 0).all()
    for name, table in records.tables("antithetic").items():
        committed = pd.read_csv(RESULTS / f"tables/mechanism/{name}.csv")
        pd.testing.assert_frame_equal(table, committed, rtol=1e-4, atol=1e-9, check_dtype=False)


def test_bf16_replays_differ_by_its_rounding_and_keep_pairing(runs_dir):
    """The updates run under autocast: arms still start alike, and the ids of fp32 settings are what they were."""
    fp32 = replace(configs("tiny")[0], max_pairs=2)
    bf16 = replace(fp32, bf16=True)
    assert fp32.run_id() != bf16.run_id() and "bf16" not in fp32.identity()
    one, two = (
        pd.read_parquet(counterfactual.run(config, progress=False).path("pairs.parquet")) for config in (fp32, bf16)
    )
    assert (two["first_gap"] == 0).all() and two.groupby(["pair", "sign"])["rollouts_sha"].nunique().eq(1).all()
    assert (one["first_loss"] != two["first_loss"]).any()


def test_antithetic_pairs_need_a_fair_coin():
    for changes in ({"gamma": 0.3}, {"reward": "ground_truth"}):
        with pytest.raises(InputError, match="random with gamma 0.5"):
            config(antithetic=True, **changes)


def test_means_over_signs_come_before_means_over_pairs():
    rows = pd.DataFrame(
        {
            "model": "m",
            "optimizer": "sgd",
            "learning_rate": 1.0,
            "pair": [0, 0, 1, 1] * 2,
            "sign": [1, -1] * 4,
            "clip_mode": ["none"] * 4 + ["two_sided"] * 4,
            "code": 0.5,
            "entropy": [1.0, 3.0, 2.0, 2.0, 2.0, 4.0, 5.0, 1.0],
        }
    )
    assert over_signs(rows)["entropy"].tolist() == [2.0, 2.0, 3.0, 3.0]
    # effects 1 and 1 in both pairs: no width, although the signs differ by up to 4
    assert half_width(rows, "entropy") == 0


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


def test_one_update_per_rollout_batch_makes_the_clip_of_an_antithetic_run_exactly_nothing(runs_dir):
    setting = config(
        antithetic=True,
        optimizer="adamw",
        learning_rate=3e-4,
        updates_per_batch=1,
        micro_batch=16,
        clip_modes="none,two_sided,high_only,low_only",
        code_depth=1,
    )
    table = counterfactual.PairRecords.of([counterfactual.run(setting, progress=False)]).effects()
    effects = table[table["clip_mode"].ne("none") & table["effect"].notna()]
    assert set(effects["clip_mode"]) == {"two_sided", "high_only", "low_only"} and (effects["effect"] == 0).all()
    assert table.loc[table["clip_mode"].eq("none") & table["quantity"].eq("code_logit"), "change"].iloc[0] != 0


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

    table = counterfactual.write_results("counterfactual", counterfactual.PairRecords.of([run]), runs_dir / "out")
    manifest = read_json(runs_dir / "out/manifests/mechanism/counterfactual.json")
    for path, digest in manifest["files"].items():
        assert sha256_file(runs_dir / "out" / path) == digest
    row = table[(table["clip_mode"] == "two_sided") & (table["quantity"] == "entropy")].iloc[0]
    wide = expected.pivot(index="pair", columns="clip_mode", values="entropy")
    assert row["effect"] == pytest.approx((wide["two_sided"] - wide["none"]).mean())
    assert row["effect_low"] <= row["effect"] <= row["effect_high"]
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
    records = [counterfactual.PairRecords.of([counterfactual.run(setting, progress=False)]) for setting in (one, two)]
    counterfactual.write_results("counterfactual", records[0].joined(records[1]), runs_dir / "out")
    older = counterfactual.PairRecords.committed("counterfactual", runs_dir / "out")
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
    monkeypatch.setattr(counterfactual, "half_width", lambda pairs, quantity: widths[pairs["pair"].nunique()])
    easy = counterfactual.run(config(**base, target_half_width=0.1), progress=False)
    assert [look["pairs"] for look in easy.manifest()["looks"]] == [2, 3] and easy.manifest()["n_pairs"] == 3
    assert pd.read_parquet(easy.path("pairs.parquet"))["pair"].max() == 2
    assert read_json(easy.path("config.json"))["target_half_width"] == 0.1  # the rule is written before the first pair


def test_half_width_by_hand():
    rows = pd.DataFrame(
        {
            "pair": [0, 0, 0, 1, 1, 1],
            "clip_mode": ["none", "cispo", "two_sided"] * 2,
            "entropy": [0.0, 9.0, 1.0, 1.0, 5.0, 4.0],
        }
    )
    # differences 1 and 3: s = √2, half width = 12.706 · √2 / √2
    assert half_width(rows, "entropy") == pytest.approx(12.706, rel=1e-4)


def test_committed_sizes():
    settings = configs("one-sign")
    assert [c.setting() for c in settings][::2] == ["adamw 0.0001", "adamw 0.001", "sgd 0.3"] and len(settings) == 6
    assert all(c.looks() == (200, 250, 300) and len(c.modes) == 5 and c.signs == (1,) for c in settings)
    assert len({c.run_id() for c in settings}) == 6
    assert [c.learning_rate for c in configs("one-sign", "sgd")] == [0.1, 0.3, 1.0]
    assert [c.setting() for c in configs("one-sign", "adamw 0.001, sgd 0.1")] == ["adamw 0.001", "sgd 0.1"]
    both = configs("antithetic")
    assert len(both) == 9 and {c.model for c in both} == {"qwen-like", "one-token", "llama-like"}
    assert all(c.signs == (1, -1) for c in both)
    assert [c.model for c in configs("antithetic", "adamw 0.0003", model="one-token,qwen-like")] == [
        "one-token",
        "qwen-like",
    ]


def test_command_line_says_what_is_wrong_in_one_sentence(capsys):
    for arguments in (["--settings", "adamx"], ["--size", "big"], ["--model", "qwen-lik"]):
        assert main(["counterfactual", *arguments]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    for changes in ({"clip_modes": "two_sided"}, {"min_pairs": 5, "max_pairs": 4}, {"target_half_width": 0.0}):
        with pytest.raises(InputError):
            config(**changes)


# What is committed


@pytest.mark.skipif(not (RESULTS / "manifests/mechanism/counterfactual.json").is_file(), reason="not run yet")
def test_committed_table_follows_from_the_committed_records():
    manifest = read_json(RESULTS / "manifests/mechanism/counterfactual.json")
    for path, digest in manifest["files"].items():
        assert sha256_file(RESULTS / path) == digest, path
    records = counterfactual.PairRecords.committed("counterfactual", RESULTS)
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


def test_replays_on_a_gpu_add_in_a_fixed_order(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        _repeat_exactly()
        assert torch.are_deterministic_algorithms_enabled() and os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
