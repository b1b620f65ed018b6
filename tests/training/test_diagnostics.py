"""The columns of an update and of a rollout batch by hand arithmetic."""

import math
from collections import defaultdict
from types import SimpleNamespace

import pandas as pd
import pytest
import tiny
import torch

from spurious_rewards.training import callbacks
from spurious_rewards.training.callbacks import RunCallback
from spurious_rewards.training.clip import surrogate
from spurious_rewards.training.diagnostics import TokenBatch, UpdateDiagnostics, rollout_diagnostics, token_statistics
from spurious_rewards.training.fast_trl import trimmed
from spurious_rewards.training.run import make_trainer
from spurious_rewards.training.run_trainer import RunTrainer

# Six tokens, at least one in each bin of π_old (edges 0.1, 0.3, 0.5, 0.8333): π_old, R, A. The first is caught above
# (R > 1.2, A > 0); the second and fourth below (R < 0.8, A < 0); the third and the last have the other sign of A.
TOKENS = [
    (0.05, 1.50, 1.0),
    (0.20, 0.50, -2.0),
    (0.40, 1.30, -1.0),
    (0.60, 0.75, -0.5),
    (0.90, 1.05, 1.0),
    (0.95, 0.70, 1.0),
]
ENTROPY = [0.1, 0.2, 0.3, 0.4, 0.5, 0.9]
TOP1 = [0.5, 0.5, 0.6, 0.6, 0.9, 0.7]


@pytest.fixture(scope="module")
def batch():
    """The six tokens as vectors (6,)."""
    old, ratio, advantage = (torch.tensor(column) for column in zip(*TOKENS, strict=True))
    return TokenBatch((old * ratio).log(), old.log(), advantage, torch.tensor(ENTROPY), torch.tensor(TOP1).log())


@pytest.fixture(scope="module")
def columns(batch):
    diagnostics = UpdateDiagnostics(0.2)
    diagnostics.add(batch)
    return diagnostics.take()


def test_would_clip_and_its_signed_force(columns):
    assert columns["would_clip_high"] == pytest.approx(1 / 6)
    assert columns["would_clip_low"] == pytest.approx(2 / 6)
    assert columns["clip_force_high"] == pytest.approx(-1.5 / 6)  # −R·A = −1.5·1: taking it away pushes down
    assert columns["clip_force_low"] == pytest.approx(1.375 / 6)  # 0.5·2 + 0.75·0.5: taking it away pushes up


def test_bins_of_pi_old(columns):
    assert [columns[f"tokens_bin{i}"] for i in range(5)] == [1, 1, 1, 1, 2] and columns["n_tokens"] == 6
    assert [columns[f"would_clip_high_bin{i}"] for i in range(5)] == [1, 0, 0, 0, 0]
    assert [columns[f"would_clip_low_bin{i}"] for i in range(5)] == [0, 1, 0, 1, 0]


def test_a_bin_without_tokens_has_no_share():
    two = torch.tensor([0.2, 0.25]).log()
    found = token_statistics(two, two, torch.ones(2), torch.zeros(2), epsilon=0.2)
    assert found["tokens_bin1"] == 2 and found["tokens_bin0"] == 0
    assert "would_clip_high_bin1" in found and "would_clip_high_bin0" not in found and "top1_prob" not in found


def test_ratios(columns):
    # sorted: 0.5 0.7 0.75 1.05 1.3 1.5; a quantile q lies at position 5·q, between its neighbours by its fraction
    assert columns["ratio_q50"] == pytest.approx((0.75 + 1.05) / 2)
    assert columns["ratio_q01"] == pytest.approx(0.5 + 0.05 * 0.2)
    assert columns["ratio_q001"] == pytest.approx(0.5 + 0.005 * 0.2)
    assert columns["ratio_q99"] == pytest.approx(1.3 + 0.95 * 0.2)
    assert columns["ratio_q999"] == pytest.approx(1.3 + 0.995 * 0.2)
    assert columns["ratio_max"] == pytest.approx(1.5)


def test_means_over_tokens(columns):
    # π_θ = π_old·R: 0.075 0.1 0.52 0.45 0.945 0.665, sum 2.755
    assert columns["mean_prob"] == pytest.approx(2.755 / 6)
    assert columns["token_entropy"] == pytest.approx(2.4 / 6)
    assert columns["top1_prob"] == pytest.approx(3.8 / 6)
    expected = sum(r * math.log(r) - r + 1 for _, r, _ in TOKENS) / 6  # every term is at least 0
    assert columns["kl_old"] == pytest.approx(expected, rel=1e-5) and expected > 0.05


def test_micro_batches_of_different_length_count_by_token(batch, columns):
    diagnostics = UpdateDiagnostics(0.2)
    for part in (slice(0, 1), slice(1, 6)):
        diagnostics.add(
            TokenBatch(
                *(getattr(batch, name)[part] for name in ("logp", "old_logp", "advantage", "entropy", "top1_logp"))
            )
        )
    assert diagnostics.take() == columns


def test_padding_is_left_out():
    logp = torch.tensor([[-1.0, -2.0, -99.0], [-3.0, -99.0, -99.0]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    tokens = TokenBatch.of(logp, logp - 0.5, torch.tensor([1.0, -1.0]), logp / 10, mask)
    assert tokens.logp.tolist() == [-1, -2, -3] and tokens.advantage.tolist() == [1, 1, -1]
    assert tokens.old_logp.tolist() == [-1.5, -2.5, -3.5]


def test_a_rollout_batch():
    texts = ["```python\nprint(1)\n``` \\boxed{1}", "\\boxed{2}", "no box", "in Python: \\boxed{3}"]
    found = rollout_diagnostics(texts, [1.0, 0.0, 1.0, 1.0], [4, 6, 10, 20], [True, True, False, True], group_size=2)
    assert found == {
        "reward_mean": 0.75,
        "reward_group_std": 0.25,  # groups (1, 0) and (1, 1): 0.5 and 0
        "zero_variance_share": 0.5,
        "code_frequency": 0.5,
        "box_rate": 0.75,
        "completion_tokens": 10.0,
        "ended_share": 0.75,
    }


def test_time_and_tokens_per_second_of_a_rollout_batch(monkeypatch):
    """4 × 4 rollouts of 10 tokens in 5 seconds are 32 tokens per second."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(callbacks.time, "perf_counter", lambda: clock.now)
    trainer = SimpleNamespace(
        own_columns={"completion_tokens", "reward_mean", "code_frequency"},
        take_rollouts=list,
        is_world_process_zero=lambda: True,
    )
    seen = []
    callback = RunCallback(tiny.config(), trainer, None, seen.append, progress=False)
    for update in range(1, 6):
        state = SimpleNamespace(global_step=update)
        callback.on_step_begin(None, state, None)
        clock.now += 1.25
        callback.on_step_end(None, state, None)
        callback.on_log(
            None,
            state,
            None,
            {
                "loss": 0.5,
                "grad_norm": 1.0,
                **({"completion_tokens": 10.0, "reward_mean": 0.5, "code_frequency": 0.5} if update % 4 == 1 else {}),
            },
        )
    metrics = callback.tables()[0]
    assert metrics["seconds_rollout_batch"].dropna().tolist() == [5.0]
    assert metrics["seconds_tokens_rate"].dropna().tolist() == [32.0]
    assert [len(frame) for frame in seen] == [4]


def test_the_optimizers_time_runs_from_the_last_micro_step(monkeypatch):
    trainer = RunTrainer.__new__(RunTrainer)
    trainer.own_columns, trainer._metrics = set(), {"train": defaultdict(list)}
    trainer.model, trainer._step_ended = SimpleNamespace(training=True), 10.0
    trainer._seconds = defaultdict(float, forward=1.0, backward=2.0, diagnostics=0.5)
    monkeypatch.setattr("spurious_rewards.training.diagnosed.time.perf_counter", lambda: 13.0)
    trainer.log_update_times()
    assert dict(trainer._metrics["train"]) == {
        "seconds_forward": [1.0],
        "seconds_backward": [2.0],
        "seconds_diagnostics": [0.5],
        "seconds_optimizer": [3.0],
    }
    assert not trainer._seconds, "the next update starts from zero"


@pytest.mark.parametrize("width", [6, 1])
def test_trimming_cuts_the_correction_per_token_and_keeps_that_per_sequence(width):
    inputs = {
        "prompt_ids": torch.arange(10).view(2, 5),
        "prompt_mask": torch.tensor([[0, 0, 0, 1, 1], [0, 0, 1, 1, 1]]),
        "completion_ids": torch.arange(12).view(2, 6),
        "completion_mask": torch.tensor([[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0]]),
        "old_per_token_logps": torch.arange(12.0).view(2, 6),
        "advantages": torch.tensor([1.0, 2.0]),
        "importance_sampling_ratio": torch.arange(2.0 * width).view(2, width),
    }
    result = trimmed(inputs)
    assert result["prompt_ids"].tolist() == [[2, 3, 4], [7, 8, 9]]
    for name in ("completion_ids", "completion_mask", "old_per_token_logps"):
        assert torch.equal(result[name], inputs[name][:, :4])
    expected = inputs["importance_sampling_ratio"]
    assert torch.equal(result["importance_sampling_ratio"], expected[:, :4] if width > 1 else expected)
    assert torch.equal(result["advantages"], inputs["advantages"])


@pytest.mark.parametrize("per", ["token", "sequence"])
def test_vllms_importance_correction_reaches_the_loss(per, tmp_path, monkeypatch):
    """The stock loss under our trimming, with vLLM's part of it switched on by hand: a token mean of −surrogate·w."""
    updates, widths = [], []

    class Corrected(RunTrainer):
        def _generate_and_score_completions(self, inputs):
            output = super()._generate_and_score_completions(inputs)
            shape = output["completion_mask"].shape if per == "token" else (len(output["completion_mask"]), 1)
            widths.append(shape[1])
            return {**output, "importance_sampling_ratio": torch.linspace(0.5, 1.5, shape[0] * shape[1]).view(shape)}

        def _compute_loss(self, model, inputs):
            self.use_vllm, self.vllm_importance_sampling_correction = True, True
            loss = super()._compute_loss(model, inputs)
            self.use_vllm = self.vllm_importance_sampling_correction = False
            mask, old, weight = (
                inputs[name] for name in ("completion_mask", "old_per_token_logps", "importance_sampling_ratio")
            )
            objective = surrogate(seen.pop() - old, inputs["advantages"].unsqueeze(1), "two_sided", 0.2, 0.2)
            expected = -(objective * weight * mask).sum() / mask.sum()
            torch.testing.assert_close(loss.detach(), expected, rtol=1e-6, atol=1e-7)
            updates.append(per == "sequence" or weight.size(1) == mask.size(1) < widths[-1])
            return loss

        def _diagnose(self, *args):
            seen.append(self._captured[0].detach())
            super()._diagnose(*args)

    seen = []
    monkeypatch.setattr("spurious_rewards.training.run_trainer.RunTrainer", Corrected)
    make_trainer(tiny.config(rollout_batches=2, max_completion_tokens=64), tiny.problems(), tmp_path).train()
    assert len(updates) == 8 and any(updates), "some micro-batch was trimmed, and its weights with it"


def test_fractions_of_a_cispo_run_are_those_of_its_tokens(tmp_path, monkeypatch):
    """cispo clips a weight whatever the sign of A."""
    taken = []
    add = UpdateDiagnostics.add
    monkeypatch.setattr(UpdateDiagnostics, "add", lambda self, tokens: (taken.append(tokens), add(self, tokens))[1])
    config = tiny.config(rollout_batches=1, clip_mode="cispo", micro_batch=2)
    trainer = make_trainer(config, tiny.problems(), tmp_path)
    callback = RunCallback(config, trainer, None, None, progress=False)
    trainer.add_callback(callback)
    trainer.args.save_strategy = "no"
    trainer.train()
    metrics, per_update = callback.tables()[0], len(taken) // 4
    assert metrics["clip_fraction"].iloc[0] == 0 and metrics["clip_fraction"].max() > 0
    for i, row in metrics.iterrows():
        parts = taken[i * per_update : (i + 1) * per_update]
        share = pd.Series([((t.logp - t.old_logp).exp() > 1.2).float().mean().item() for t in parts]).mean()
        assert row["clip_fraction"] == row["clip_fraction_high"] == pytest.approx(share)
        assert row["clip_fraction_low"] == 0
