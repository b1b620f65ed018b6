"""Add a clip mode: one row of the table; band, surrogate, TRL's settings and figures follow from it."""

import pytest
import torch

from spurious_rewards.training import clip
from spurious_rewards.training.config import RunConfig


@pytest.fixture
def wide(monkeypatch):
    """A clip whose upper exit alone is mirrored, as a row of the table."""
    row = clip.ClipMode("mirrored", "Both exits at ±log(1+ε_high).", "mirrored", "#000000", "epsilon_high", upper=True)
    monkeypatch.setitem(clip.MODES, row.name, row)


def test_add_clip_mode(wide):
    assert RunConfig(model="qwen-like", clip_mode="mirrored", allow_inert_clip=True).clip_mode == "mirrored"
    # ε = 0.25: the exits are 1.25 and 1/1.25 = 0.8
    limits = clip.band("mirrored", 0.2, 0.25)
    assert (round(limits.low, 12), limits.high) == (0.2, 0.25)
    assert clip.trl_settings("mirrored", 0.2, 0.25) == {"epsilon": limits.low, "epsilon_high": 0.25}
    # A = 1: min(R, clip(R)) is 0.5, 1, 1.25; A = -1: -max(R, clip(R)) is -0.8, -1, -2
    ratio = torch.tensor([0.5, 1.0, 2.0]).log()
    assert clip.surrogate(ratio, torch.tensor(1.0), "mirrored", 0.2, 0.25).tolist() == pytest.approx([0.5, 1, 1.25])
    assert clip.surrogate(ratio, torch.tensor(-1.0), "mirrored", 0.2, 0.25).tolist() == pytest.approx([-0.8, -1, -2])
