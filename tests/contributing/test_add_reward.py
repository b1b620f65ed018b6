"""Add a reward: a function in a module of one's own, named in the configuration of a run."""

from spurious_rewards.rewards.registry import build
from spurious_rewards.training.config import RunConfig

MODULE = '''
"""Rewards of my own."""


def short(texts, problems, **options):
    """Pay for a text of at most 20 characters."""
    return [float(len(text) <= 20) for text in texts]
'''


def test_add_reward(tmp_path, monkeypatch):
    (tmp_path / "rewards_of_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    config = RunConfig(model="qwen-like", reward="rewards_of_mine:short", precision="fp32")
    assert config.reward_source  # the function's source is part of the run's identity
    reward = build(config.reward)
    assert reward.score(["four", "a text of more than twenty characters"], [{}, {}]) == [1.0, 0.0]
