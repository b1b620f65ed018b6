"""The bandit simulator: its arithmetic with given outcomes, its controls, its command line."""

import itertools
import json

import numpy as np
import pytest
import torch

from spurious_rewards.errors import InputError
from spurious_rewards.mechanism import bandit
from spurious_rewards.mechanism.__main__ import main
from spurious_rewards.mechanism.chain import replay
from spurious_rewards.mechanism.config import PRIORS, BanditConfig
from spurious_rewards.mechanism.identity import HINGE_MODES
from spurious_rewards.training import clip
from spurious_rewards.training.advantages import group_advantages, whiten

SMALL = {"groups": 4, "group_size": 4, "updates": 4, "seeds": 40, "batches": 5, "step_size": 1.0}


def outcomes(seeds, config, seed=0):
    """Arbitrary arms and rewards [S, P·G] and logits [S, K]."""
    rng = np.random.default_rng(seed)
    arms = rng.integers(0, len(config.probabilities()), (seeds, config.rollouts), dtype=np.uint8)
    rewards = rng.integers(0, 2, (seeds, config.rollouts), dtype=np.uint8)
    return arms, rewards, rng.normal(size=(seeds, len(config.probabilities())))


def final(**settings):
    """Probabilities after the last batch."""
    return bandit.simulate(BanditConfig(**{**SMALL, **settings})).probabilities


@pytest.mark.parametrize("mode", HINGE_MODES)
@pytest.mark.parametrize("prior", ["0.65,0.35", "0.5,0.3,0.2"])
def test_given_outcomes_equal_the_rollout_by_rollout_loop(mode, prior):
    config = BanditConfig(**{**SMALL, "prior": prior, "clip_mode": mode, "order": "grouped", "step_size": 2.0})
    arms, rewards, start = outcomes(200, config)
    logits = torch.from_numpy(start.copy())
    found = bandit.update_on(logits, bandit.make_optimizer(logits, config), bandit.tally(arms, rewards, config), config)
    assert np.abs(logits.numpy() - replay(start, arms, rewards, config)).max() < 1e-12
    clips = found["clipped_high"].sum() + found["clipped_low"].sum()
    assert (clips > 0) == (mode != "none")  # else the comparison would not see the clip


@pytest.mark.parametrize("mode", clip.MODES)
def test_given_outcomes_equal_torch_on_single_rollouts_with_adamw(mode):
    config = BanditConfig(**{**SMALL, "clip_mode": mode, "order": "grouped", "optimizer": "adamw", "step_size": 0.2})
    arms, rewards, start = outcomes(3, config)
    logits = torch.from_numpy(start.copy())
    bandit.update_on(logits, bandit.make_optimizer(logits, config), bandit.tally(arms, rewards, config), config)
    for seed in range(3):
        theta = torch.from_numpy(start[seed].copy()).requires_grad_()
        adamw = torch.optim.AdamW([theta], lr=0.2, betas=(0.9, 0.95), weight_decay=0.0)
        old = torch.log_softmax(theta, dim=0).detach()
        grouped = torch.from_numpy(rewards[seed].astype(float)).view(4, 4)
        for part, advantage in zip(arms[seed].reshape(4, 4), group_advantages(grouped), strict=True):
            index = torch.from_numpy(part.astype(np.int64))
            logp = torch.log_softmax(theta, dim=0)[index]
            loss = -clip.surrogate(logp - old[index], advantage, mode, *config.epsilons, logp=logp).mean()
            adamw.zero_grad()
            loss.backward()
            adamw.step()
        assert (logits[seed] - theta.detach()).abs().max() < 1e-9


@pytest.mark.parametrize("mode", clip.MODES)
def test_surrogate_is_homogeneous_in_the_advantage(mode):
    # what allows `tally` to add up rollouts: s(R, 3a) = 3·s(R, a) for either sign of a
    log_ratio = torch.linspace(-1, 1, 41, dtype=torch.float64)
    for advantage in (0.7, -0.7):
        one, three = (clip.surrogate(log_ratio, torch.tensor(k * advantage, dtype=torch.float64), mode, 0.2, 0.28,
                                     logp=log_ratio - 1) for k in (1, 3))  # fmt: skip
        assert (three - 3 * one).abs().max() < 1e-14


def test_tally_by_hand():
    # One group of 4 with rewards 1 0 0 0 on arms 0 0 1 1: mean ¼, std (ddof 1) ½, A = ¾/0.5001 and −¼/0.5001.
    # Mini-batch 0 has the first two rollouts (A⁺ and A⁻, both arm 0), mini-batch 1 two A⁻ on arm 1.
    config = BanditConfig(groups=1, group_size=4, updates=2, order="grouped")
    found = bandit.tally(np.array([[0, 0, 1, 1]]), np.array([[1, 0, 0, 0]]), config)
    high, low = 0.75 / 0.5001, -0.25 / 0.5001
    assert found.weights[0].flatten().tolist() == pytest.approx([low, 0, high, 0, 0, 2 * low, 0, 0])
    assert found.counts[0].flatten().tolist() == [1, 0, 1, 0, 0, 2, 0, 0]
    same = bandit.tally(np.array([[0, 0, 1, 1]]), np.array([[1, 1, 1, 1]]), config)
    assert same.weights.abs().sum() == 0 and same.counts.sum() == 0


def test_tally_conserves_rollouts_when_shuffled():
    config = BanditConfig(**{**SMALL, "prior": "zipf"})
    arms, rewards, _ = outcomes(30, config)
    dealt = bandit.tally(arms, rewards, config, np.random.default_rng(1))
    kept = bandit.tally(arms, rewards, BanditConfig(**{**config.to_dict(), "order": "grouped"}))
    assert torch.allclose(dealt.weights.sum(1), kept.weights.sum(1))
    assert torch.equal(dealt.counts.sum(1), kept.counts.sum(1))
    assert not torch.allclose(dealt.weights, kept.weights)


def test_whitening_is_the_released_codes_on_every_rollout():
    config = BanditConfig(**{**SMALL, "updates": 1, "whiten": True})
    arms, rewards, _ = outcomes(5, config)
    found = bandit.tally(arms, rewards, config, np.random.default_rng(0)).weights
    for seed in range(5):
        grouped = torch.from_numpy(rewards[seed].astype(float)).view(4, 4)
        value = whiten(group_advantages(grouped).flatten(), torch.ones(16, dtype=torch.float64)).numpy()
        for sign, arm in itertools.product((0, 1), (0, 1)):
            chosen = (arms[seed] == arm) & (rewards[seed] == sign)
            assert float(found[seed, 0, sign, arm]) == pytest.approx(value[chosen].sum(), abs=1e-12)


def test_draws_follow_the_policy_and_the_coin():
    config = BanditConfig(prior="0.5,0.3,0.2", gamma=0.3, lift=0.4, lifted_arm=2)
    arms, rewards = bandit.draw(np.random.default_rng(0), np.tile(config.probabilities(), (200, 1)), config)
    share = np.bincount(arms.ravel()) / arms.size
    assert share == pytest.approx([0.5, 0.3, 0.2], abs=0.005)  # 3 s.e. of 204 800 draws: 0.003
    assert [rewards[arms == a].mean() for a in range(3)] == pytest.approx([0.3, 0.3, 0.7], abs=0.01)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_one_update_per_rollout_batch_makes_every_clip_mode_equal(optimizer):
    unclipped = final(clip_mode="none", updates=1, optimizer=optimizer)
    for mode in (*HINGE_MODES, "cispo"):
        assert np.array_equal(final(clip_mode=mode, updates=1, optimizer=optimizer), unclipped), mode
    assert not np.array_equal(final(clip_mode="two_sided"), final(clip_mode="none"))


@pytest.mark.parametrize("mode", ["two_sided", "high_only"])
def test_a_huge_epsilon_is_no_clip(mode):
    wide = final(clip_mode="high_only", epsilon=1.0, epsilon_high=1e6)
    assert np.array_equal(wide, final(clip_mode="none"))
    if mode == "two_sided":
        assert np.array_equal(final(clip_mode=mode, epsilon=1.0, epsilon_high=1e6), wide)


@pytest.mark.parametrize("gamma", [0.0, 1.0])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("whiten", [False, True])
def test_no_reward_variance_no_update(gamma, optimizer, whiten):
    moved = bandit.simulate(BanditConfig(**{**SMALL, "gamma": gamma, "optimizer": optimizer, "whiten": whiten}))
    assert np.array_equal(moved.trace["top"][-1], moved.trace["top"][0])


def test_the_log_odds_drift_with_the_clip_and_not_without():
    settings = {"step_size": 0.7, "groups": 8, "group_size": 16, "batches": 20, "seeds": 1000}
    drift = {}
    for mode in ("none", "cispo", "high_only", "low_only"):
        change = bandit.simulate(BanditConfig(clip_mode=mode, **settings)).per_seed["logit_change"]
        drift[mode] = change.mean() / (change.std(ddof=1) / len(change) ** 0.5)  # in standard errors
    # unclipped SGD is a martingale in the logits: E[R·A·∇log π] = E[A]·… = 0, also within a group
    assert abs(drift["none"]) < 4 and abs(drift["cispo"]) < 4
    assert drift["high_only"] > 8 and drift["low_only"] < -4


def test_an_informative_reward_wins():
    moved = bandit.simulate(BanditConfig(**{**SMALL, "gamma": 0.2, "lift": 0.6, "lifted_arm": 1, "batches": 30}))
    assert moved.probabilities[:, 1].mean() > 0.9


def test_equal_configurations_give_equal_results_and_seeds_differ(monkeypatch):
    first, again = final(), final()
    assert np.array_equal(first, again)
    assert len(np.unique(first[:, 0])) == SMALL["seeds"]
    assert not np.array_equal(first, final(seed=1))
    monkeypatch.setattr(bandit, "CHUNK", 16)  # later chunks have streams of their own
    assert len(np.unique(final()[:, 0])) == SMALL["seeds"]


def test_gradient_norm_is_limited_per_seed():
    config = BanditConfig(**{**SMALL, "updates": 1, "max_grad_norm": 0.01})
    arms, rewards, start = outcomes(50, config)
    logits = torch.from_numpy(start.copy())
    bandit.update_on(logits, bandit.make_optimizer(logits, config), bandit.tally(arms, rewards, config,
                     np.random.default_rng(0)), config)  # fmt: skip
    moved = (logits - torch.from_numpy(start)).norm(dim=1)
    assert moved.max() <= 0.01 and (moved > 0.0099).any()


def test_diagnostics_tell_modes_apart():
    clipped, free = (bandit.simulate(BanditConfig(**{**SMALL, "clip_mode": m})) for m in ("two_sided", "none"))
    assert clipped.per_seed["clipped_high"].mean() > 0 and clipped.per_seed["clipped_low"].mean() > 0
    assert np.array_equal(clipped.per_seed["clipped_high"], clipped.per_seed["outside_high"])
    assert free.per_seed["clipped_high"].sum() == free.per_seed["clipped_low"].sum() == 0
    assert free.per_seed["outside_high"].mean() > 0 and free.per_seed["added"].any() == np.False_
    assert clipped.bins["rollouts"].sum() == pytest.approx(40 * 5 * 16)
    # each rollout is in one mini-batch: the bins add up to the number of clipped rollouts of each seed
    assert clipped.bins["clipped_high"].sum(axis=1) / (5 * 16) == pytest.approx(clipped.per_seed["clipped_high"])


@pytest.mark.parametrize("wrong", [
    {"prior": "0.5,0.6"}, {"prior": "0.5,0.5"}, {"prior": "1.0"}, {"prior": "two-arms"}, {"prior": "0.7,-0.1,0.4"},
    {"clip_mode": "two"}, {"optimizer": "adam"}, {"order": "random"}, {"epsilon": 0.0}, {"epsilon": 1.5},
    {"gamma": 1.1}, {"gamma": 0.8, "lift": 0.3}, {"updates": 7}, {"updates": 0}, {"seeds": 1}, {"step_size": 0.0},
    {"group_size": 1}, {"scale": "mad"}, {"lifted_arm": 2}, {"max_grad_norm": -1.0}, {"step_size": "fast"},
])  # fmt: skip
def test_wrong_settings(wrong):
    with pytest.raises(InputError):
        BanditConfig(**wrong)


def test_every_named_prior_is_a_distribution_with_one_likeliest_arm():
    for name in PRIORS:
        prior = BanditConfig(prior=name).probabilities()
        assert prior.sum() == pytest.approx(1, abs=1e-12) and (prior == prior.max()).sum() == 1


def test_command_line(capsys):
    arguments = ("--prior 0.65,0.35 --clip-mode two_sided --optimizer sgd --step-size 2 --groups 8 --group-size 16 "
                 "--updates 8 --batches 5 --seeds 50 --epsilon 0.2 --gamma 0.5")  # fmt: skip
    assert main(["bandit", *arguments.split()]) == 0
    line = capsys.readouterr().out
    found = json.loads(line)
    assert line.count("\n") == 1
    for name in ("share_up", "mean_change", "median_change", "entropy_change", "clip_fraction_high",
                 "clip_fraction_low"):  # fmt: skip
        low, high = found[name + "_low"], found[name + "_high"]
        assert low <= found[name] <= high
    assert (found["n_seeds"], found["clip_mode"], found["step_size"]) == (50, "two_sided", 2.0)


def test_command_line_explains_bad_input(capsys):
    assert main(["bandit", "--clip-mode", "twosided"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "did you mean 'two_sided'" in captured.err
