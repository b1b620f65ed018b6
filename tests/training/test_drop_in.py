"""`ClipGRPOTrainer` in anybody's TRL script: lines of docs/howto.md, stock TRL bit for bit, refused settings."""

import logging
import re

import pytest
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from spurious_rewards.errors import InputError
from spurious_rewards.models.registry import load
from spurious_rewards.storage.paths import code_root
from spurious_rewards.training.trainer import ClipGRPOTrainer

TIMES = re.compile("seconds|time|runtime|per_second|flos")


def uneven(completions, **_):
    """Reward of the scripts below: it differs within nearly every group."""
    return [len(text) % 7 / 6 for text in completions]


def script(trainer_class, folder, rewards=uneven, **changes):
    """The shape of TRL's own GRPO examples, with the class exchanged; returns what it logged and the weights.

    A rollout batch of 16 rollouts makes 4 updates, so the clip can act.
    """
    options = {name: changes.pop(name) for name in ("clip_mode", "fast", "diagnostics") if name in changes}
    training_args = GRPOConfig(
        **{
            "output_dir": str(folder),
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 1,
            "steps_per_generation": 4,
            "num_generations": 4,
            "max_completion_length": 24,
            "max_steps": 8,
            "learning_rate": 3e-3,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "bf16": False,
            **changes,
        }
    )
    model, tokenizer = load("qwen-like")
    dataset = Dataset.from_list([{"prompt": f"What is {i} + {i + 3}?\n"} for i in range(16)])
    trainer = trainer_class(
        model=model,
        args=training_args,
        reward_funcs=rewards,
        train_dataset=dataset,
        processing_class=tokenizer,
        **options,
    )
    trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    return rows, [p.detach().clone() for p in trainer.model.parameters()]


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return script(GRPOTrainer, tmp_path_factory.mktemp("stock"))


@pytest.mark.parametrize("diagnostics", [True, False])
def test_losses_are_those_of_stock_trl_to_the_last_bit(diagnostics, stock, tmp_path):
    """Mode two_sided without speed-ups: every number that TRL logs, and every weight; diagnostics change nothing."""
    rows, weights = script(ClipGRPOTrainer, tmp_path, fast=False, diagnostics=diagnostics)
    assert len(rows) == 8 and any(row["clip_ratio/region_mean"] > 0 for row in rows), "the clip acts"
    for ours, theirs in zip(rows, stock[0], strict=True):
        numbers = {name: value for name, value in theirs.items() if not TIMES.search(name)}
        assert len(numbers) > 10 and numbers == {name: ours[name] for name in numbers}
    assert all(torch.equal(a, b) for a, b in zip(weights, stock[1], strict=True))


def test_speed_ups_change_the_last_bits_only(stock, tmp_path):
    rows, _ = script(ClipGRPOTrainer, tmp_path)
    for ours, theirs in zip(rows[:4], stock[0][:4], strict=True):  # the first rollout batch: the same rollouts
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-4)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-2)
    assert rows[0]["ratio_max"] == 1 and rows[1]["ratio_max"] > 1


def test_diagnostics_are_among_what_is_reported_and_the_mode_acts(stock, tmp_path):
    """TRL hands `report_to` what it logs; without the clip its own clip ratio is 0 and the would-clip share is not."""
    rows, weights = script(ClipGRPOTrainer, tmp_path, clip_mode="none")
    assert all(row["clip_ratio/region_mean"] == 0 for row in rows)
    assert max(row["would_clip_high"] for row in rows) > 0 and max(row["kl_old"] for row in rows) > 0
    assert "code_frequency" in rows[0] and "code_frequency" not in rows[1] and "code_frequency" in rows[4]
    assert not all(torch.equal(a, b) for a, b in zip(weights, stock[1], strict=True))


def test_several_rewards_messages_and_other_averages(tmp_path):
    """Two reward functions, one of which does not apply to every rollout; conversational prompts; TRL's loss grpo."""

    def sometimes(completions, **_):
        return [None if i % 2 else 1.0 for i in range(len(completions))]

    rows, _ = script(ClipGRPOTrainer, tmp_path, rewards=[uneven, sometimes], loss_type="grpo", clip_mode="high_only")
    assert rows[0]["reward_mean"] == pytest.approx(rows[0]["reward"], abs=1e-6)
    rows, _ = script(ClipGRPOTrainer, tmp_path, loss_type="dapo", clip_mode="cispo")
    assert all(row["surrogate_loss"] == pytest.approx(row["loss"], abs=1e-5) for row in rows)


@pytest.mark.parametrize("clip_mode", ["two_sided", "cispo"])
@pytest.mark.parametrize("limit", [12, 40])
def test_rollouts_that_are_cut_off_can_be_masked(clip_mode, limit, tmp_path):
    """At 12 tokens all rollouts of every batch are masked; at 40 some, so that micro-batches of two are empty."""
    changes = {"max_completion_length": limit, "per_device_train_batch_size": 2, "steps_per_generation": 8}
    changes |= {"mask_truncated_completions": True, "gradient_accumulation_steps": 2, "loss_type": "dapo"}
    rows, _ = script(ClipGRPOTrainer, tmp_path, clip_mode=clip_mode, **changes)
    counted = [row for row in rows if row["n_tokens"]]
    assert all(0 < row["ratio_max"] and 0 < row["top1_prob"] <= 1 for row in counted)
    assert all("ratio_max" not in row and row["loss"] == 0 for row in rows if not row["n_tokens"])
    assert 0 < rows[0]["completions/clipped_ratio"] < 1 and counted if limit == 40 else not counted


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"clip_mode": "nonee"}, "did you mean 'none'"),
        ({"clip_mode": "cispo", "loss_type": "grpo"}, "clip_mode cispo works with loss_type bnpo, dapo, not grpo"),
        ({"clip_mode": "none", "loss_type": "sapo"}, "works with loss_type bnpo, dapo, grpo, dr_grpo, not sapo"),
        ({"importance_sampling_level": "sequence"}, "one ratio per token"),
        ({"delta": 2.0}, "one ratio per token"),
        ({"use_liger_kernel": True}, "set use_liger_kernel to False"),
        ({"epsilon": 1.5}, "epsilon_low must lie in"),
    ],
)
def test_what_no_clip_mode_is_defined_for_is_refused(changes, words, tmp_path):
    with pytest.raises(InputError, match=words):
        script(ClipGRPOTrainer, tmp_path, **changes)


def test_trls_defaults_under_which_no_clip_acts_are_named_and_the_callers_arguments_stay(tmp_path):
    model, tokenizer = load("qwen-like")
    args = GRPOConfig(str(tmp_path), num_generations=4, per_device_train_batch_size=4, report_to="none", use_cpu=True)
    data = Dataset.from_list([{"prompt": "1 + 1?"}])
    with pytest.warns(UserWarning, match="The clip cannot act"):
        trainer = ClipGRPOTrainer(model, uneven, args, data, processing_class=tokenizer, clip_mode="none")
    assert (args.epsilon, args.epsilon_high) == (0.2, None) and trainer.args.epsilon_high == 1e9


def test_the_lines_of_the_page_run_within_the_models_context(tmp_path, monkeypatch):
    """Exactly those lines, in an empty folder."""
    said = []
    handler = logging.Handler(logging.WARNING)
    monkeypatch.setattr(handler, "emit", lambda record: said.append(record.getMessage()))
    blocks = re.findall(r"```python\n(.*?)```", (code_root() / "docs/howto.md").read_text(encoding="utf-8"), re.DOTALL)
    (lines,) = [block for block in blocks if "ClipGRPOTrainer(" in block]
    assert len([line for line in lines.splitlines() if line.strip()]) <= 12
    monkeypatch.chdir(tmp_path)
    namespace = {}
    logging.getLogger("transformers").addHandler(handler)
    try:
        exec(lines, namespace)
    finally:
        logging.getLogger("transformers").removeHandler(handler)
    assert not [text for text in said if "maximum length" in text]
    rows = [row for row in namespace["trainer"].state.log_history if "loss" in row]
    assert rows and all("would_clip_high" in row for row in rows) and max(row["ratio_max"] for row in rows) > 1
