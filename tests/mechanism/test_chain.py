"""The exact chain, and the simulator against it."""

import math

import numpy as np
import pytest
import torch

from spurious_rewards.errors import InputError
from spurious_rewards.mechanism import bandit, chain
from spurious_rewards.mechanism.config import BanditConfig
from spurious_rewards.mechanism.identity import HINGE_MODES

TINY = {"prior": "0.65,0.35", "groups": 1, "group_size": 4, "updates": 4, "batches": 2, "order": "grouped",
        "step_size": 0.6}  # fmt: skip


def solved(**settings):
    return chain.solve(BanditConfig(**{**TINY, **settings}))


def test_one_rollout_pair_by_hand():
    # One group of two, one update, η = 1, γ = ½. Rewards differ with probability ½, then A = ±0.5/(√½ + 1e-4) = ±a.
    # Arms differ with probability 2pq; then the gradient of the mean surrogate in logit 1 is ±½·a·(q + p) = ±a/2.
    # Arms equal: the two terms cancel. So logit 1 moves by ±a/2 with probability ½·2pq, else not at all.
    p, a = 0.65, 0.5 / (math.sqrt(0.5) + 1e-4)
    found = chain.solve(BanditConfig(prior="0.65,0.35", groups=1, group_size=2, updates=1, batches=1, order="grouped",
                                     step_size=1.0))  # fmt: skip
    moves = found.logits[:, 0] - math.log(p)
    assert sorted(moves) == pytest.approx([-a / 2, 0, a / 2], abs=1e-12)
    assert dict(zip(np.sign(moves.round(9)), found.probability, strict=True)) == pytest.approx(
        {-1.0: 0.5 * p * (1 - p), 0.0: 1 - p * (1 - p), 1.0: 0.5 * p * (1 - p)})  # fmt: skip


@pytest.mark.parametrize("mode", HINGE_MODES)
def test_probabilities_sum_to_one(mode):
    assert solved(clip_mode=mode).probability.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 0.2])
def test_without_the_clip_the_log_odds_are_a_martingale_exactly(gamma):
    assert abs(chain.logit_change(solved(clip_mode="none", gamma=gamma))) < 1e-12


def test_with_the_clip_the_likelier_arm_gains_and_each_side_has_its_sign():
    change = {mode: chain.logit_change(solved(clip_mode=mode)) for mode in ("two_sided", "high_only", "low_only")}
    assert change["high_only"] > change["two_sided"] > 0 > change["low_only"]


def test_one_update_gives_no_clip_effect_exactly():
    both = [solved(clip_mode=mode, updates=1) for mode in ("two_sided", "none")]
    assert np.array_equal(both[0].logits, both[1].logits)


@pytest.mark.parametrize("mode", ["two_sided", "none", "high_only"])
def test_simulator_agrees_with_the_exact_solution(mode):
    exact = solved(clip_mode=mode)
    run = bandit.simulate(BanditConfig(**{**TINY, "clip_mode": mode, "seeds": 20_000}))
    prior = exact.config.probabilities()[0]
    policy = exact.policy()
    entropy = -(policy * np.log(policy)).sum(axis=1)
    wanted = {"change": exact.mean(policy[:, 0]) - prior, "logit_change": chain.logit_change(exact),
              "entropy_change": exact.mean(entropy) - run.trace["entropy"][0].mean()}  # fmt: skip
    for name, value in wanted.items():
        sample = run.per_seed[name]
        assert abs(sample.mean() - value) < 3.5 * sample.std(ddof=1) / math.sqrt(len(sample)), name
    up, down = chain.share_up(exact)
    assert (run.per_seed["change"] > 1e-12).mean() == pytest.approx(up, abs=3.5 * math.sqrt(up * (1 - up) / 20_000))
    assert (run.per_seed["change"] < -1e-12).mean() == pytest.approx(down, abs=3.5 * 0.5 / math.sqrt(20_000))


@pytest.mark.parametrize("mode", HINGE_MODES)
def test_simulator_fed_every_outcome_is_the_exact_solution(mode):
    config = BanditConfig(**{**TINY, "clip_mode": mode, "batches": 1, "step_size": 2.0})
    arms, rewards = chain.outcomes(config)
    prior = config.probabilities()
    weight = prior[arms].prod(axis=1) * 0.5**4
    logits = torch.tensor(np.log(prior)).repeat(len(arms), 1)
    bandit.update_on(logits, bandit.make_optimizer(logits, config), bandit.tally(arms, rewards, config), config)
    odds = (logits[:, 0] - logits[:, 1]).numpy() - math.log(0.65 / 0.35)
    assert weight @ odds == pytest.approx(chain.logit_change(chain.solve(config)), abs=1e-12)


@pytest.mark.parametrize("wrong", [{"optimizer": "adamw"}, {"order": "shuffled"}, {"whiten": True}, {"lift": 0.1},
                                   {"groups": 64}, {"batches": 9}])  # fmt: skip
def test_what_it_cannot_solve_is_refused(wrong):
    with pytest.raises(InputError):
        solved(**wrong)
