"""The signed gradient of the clip term, and that looking at it changes nothing."""

from types import SimpleNamespace

import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import load_file

from spurious_rewards.training.clip import surrogate
from spurious_rewards.training.clip_projection import ClipProjection
from spurious_rewards.training.run import make_trainer, train
from spurious_rewards.training.run_trainer import RunTrainer

ONE_PROCESS = SimpleNamespace(num_processes=1)


@pytest.fixture(autouse=True)
def runs_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "runs"))


def test_by_hand():
    model = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.0]]))
    probe = ClipProjection()
    probe.begin(model)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[4.0, 4.0]]))  # moved by d = (3, 4), ‖d‖ = 5
    weight = model.weight
    # two micro-batches: L = 2w₀ and L₀ = 0, then L = 0 and L₀ = w₁: h = −(2, 0) + (0, 1) = (−2, 1)
    probe.add(2 * weight[0, 0], 0 * weight.sum())
    probe.add(0 * weight.sum(), weight[0, 1])
    columns = probe.take(ONE_PROCESS)
    # ⟨h, d⟩ = −6 + 4 = −2, so −2/5; ‖h‖ = √5
    assert columns["clip_projection"] == pytest.approx(-0.4)
    assert columns["clip_gradient_norm"] == pytest.approx(5**0.5)
    assert columns["clip_cosine"] == pytest.approx(-0.4 / 5**0.5)
    assert columns["motion_norm"] == pytest.approx(5.0)
    probe.begin(model)
    probe.add(2 * weight[0, 0], 0 * weight.sum())
    assert probe.take(ONE_PROCESS)["clip_projection"] == 0, "before any motion it is 0 by definition"
    probe.add()  # the clip acts on no token of the only micro-batch: h = 0
    assert set(probe.take(ONE_PROCESS).values()) == {0.0}


@pytest.mark.parametrize("mode", ["two_sided", "none", "cispo"])
def test_the_trajectory_is_the_same_to_the_last_bit(mode, tmp_path, monkeypatch):
    weights, metrics = [], []
    for asked in (False, True):
        monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / str(asked)))
        run = train(
            tiny.config(clip_mode=mode, clip_projection=asked, rollout_batches=2, micro_batch=2), progress=False
        )
        weights.append(load_file(run.path("model/model.safetensors")))
        metrics.append(pd.read_parquet(run.path("metrics.parquet")))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    shared = [name for name in metrics[0] if not name.startswith("seconds_")]
    pd.testing.assert_frame_equal(metrics[0][shared], metrics[1][shared], check_exact=True)
    assert "clip_projection" not in metrics[0]
    first = metrics[1]["update_in_batch"] == 1
    columns = ["clip_gradient_norm", "clip_projection", "clip_cosine", "motion_norm"]
    assert (metrics[1].loc[first, columns] == 0).all().all(), "nothing is clipped at ratio 1, nothing has moved"
    assert metrics[1].loc[~first, "clip_gradient_norm"].max() > 0 and (metrics[1].loc[~first, "motion_norm"] > 0).all()
    assert metrics[1]["clip_cosine"].abs().max() <= 1 + 1e-6


@pytest.mark.parametrize("changes", [{}, {"clip_mode": "none"}, {"clip_mode": "cispo"}, {"trl": "beta: 0.02"}])
def test_micro_batches_without_a_clipped_token_are_left_out_rightly(changes, tmp_path, monkeypatch):
    """Computed in every micro-batch, the columns are the same up to rounding; left out are the first ones at least."""
    found, counts = [], []
    clipped = RunTrainer._clipped
    for everywhere in (False, True):
        monkeypatch.setattr(
            RunTrainer,
            "_clipped",
            lambda self, inputs, mode, band, all_=everywhere: (
                counts.append(bool(clipped(self, inputs, mode, band).any())),
                torch.ones_like(inputs["completion_mask"]) if all_ else clipped(self, inputs, mode, band),
            )[1],
        )
        trainer = make_trainer(
            tiny.config(clip_projection=True, rollout_batches=2, micro_batch=2, **changes), tiny.problems(), tmp_path
        )
        trainer.train()
        found.append(pd.DataFrame(trainer.state.log_history)[["clip_gradient_norm", "clip_projection", "motion_norm"]])
    pd.testing.assert_frame_equal(*found, rtol=1e-4, atol=1e-6)
    assert 2 <= counts.count(False) < len(counts) and found[0]["clip_gradient_norm"].max() > 0


@pytest.mark.parametrize(
    "mode, probed",
    [("two_sided", "two_sided"), ("high_only", "high_only"), ("none", "two_sided"), ("none_released", "two_sided")],
)
def test_the_two_losses_are_those_of_the_pure_function(mode, probed, tmp_path, monkeypatch):
    """Their difference is that of the token means of −surrogate, with the arm's clip or the would-be one."""
    seen = []

    class Checked(RunTrainer):
        def _with_and_without_clip(self, model, inputs, given):
            losses = super()._with_and_without_clip(model, inputs, given)
            if not losses:
                seen.append(0.0)
                return losses
            log_ratio, mask = self._captured[0] - inputs["old_per_token_logps"], inputs["completion_mask"]
            advantage = inputs["advantages"].unsqueeze(1)
            for loss, name in zip(losses, (probed, "none"), strict=True):
                expected = -(surrogate(log_ratio, advantage, name) * mask).sum() / mask.sum()
                torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-7)
            seen.append((losses[0] - losses[1]).item())
            return losses

    monkeypatch.setattr("spurious_rewards.training.run_trainer.RunTrainer", Checked)
    make_trainer(
        tiny.config(clip_mode=mode, clip_projection=True, rollout_batches=1), tiny.problems(), tmp_path
    ).train()
    assert len(seen) == 4 and seen[0] == 0
    assert max(seen) > 0, "the clip only ever lowers the objective, so it raises the loss"
    assert min(seen) >= -1e-7
