"""The run configuration: the paper's numbers, the arithmetic of batches, and one clear error for each bad input."""

import dataclasses
import importlib
import json
import re

import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.rewards.registry import register, unregister
from spurious_rewards.storage.paths import code_root
from spurious_rewards.training.arguments import dry_run, settings
from spurious_rewards.training.config import RunConfig


def test_defaults_are_the_papers():
    config = RunConfig()
    plan = config.batch_plan(8)
    # 64 prompts × 16 rollouts = 1024; mini-batch 128 → 8 updates; 8 processes × 4 sequences × 4 accumulation = 128
    assert (plan.rollouts, plan.mini_batch, plan.gradient_accumulation) == (1024, 128, 4)
    assert plan.micro_steps_per_rollout_batch == 32
    values = settings(config, "folder", 8)
    assert (config.learning_rate, values["adam_beta1"], values["adam_beta2"]) == (5e-7, 0.9, 0.95)
    assert (config.epsilon_low, config.epsilon_high, values["beta"], config.temperature) == (0.2, 0.2, 0.0, 1.0)
    assert (config.max_completion_tokens, config.rollout_batches) == (3072, 300)


def test_trl_settings_leave_no_loss_default_open():
    values = settings(RunConfig(), "folder", 8)
    assert values["gradient_accumulation_steps"] % values["generation_batch_size"] != 0
    # the clip can bind: ga is no multiple of (steps per generation · iterations) = 1024 / (4·8) = 32
    assert values["gradient_accumulation_steps"] % 32 != 0
    assert values["max_steps"] == 300 * 8
    assert values["loss_type"] == "bnpo"
    assert (values["epsilon"], values["epsilon_high"]) == (0.2, 0.2)
    assert values["multi_objective_aggregation"] == "sum_then_normalize"
    json.dumps(values, allow_nan=False)
    assert settings(RunConfig(clip_mode="none"), "folder", 8) == values, "the arms differ in the clip mode alone"


@pytest.mark.parametrize(
    "change, words",
    [
        ({"reward": "randon"}, "did you mean 'random'"),
        ({"clip_mode": "nonee"}, "did you mean 'none'"),
        ({"gamma": 1.5}, r"gamma is a probability and must lie in \[0, 1\]"),
        ({"gamma": "0.5"}, "gamma must be float"),
        ({"learning_rate": float("nan")}, "finite"),
        ({"epsilon_low": 0.0}, "epsilon_low must lie in"),
        ({"epsilon_high": -0.2}, "epsilon_high must be above 0"),
        ({"updates_per_batch": 7}, "equal mini-batches"),
        ({"micro_batch": 3}, "choose a micro_batch that divides 128"),
        ({"updates_per_batch": 1, "micro_batch": 4}, "The clip is inert: with one update per rollout batch"),
        ({"learning_rate": 0.0}, "The clip is inert: with a learning rate of 0"),
        ({"clip_mode": "low_only", "epsilon_low": 1.0}, "inert: no ratio leaves the band of clip_mode low_only"),
        ({"epsilon_low": 1.0, "epsilon_high": 1e9}, "inert: no ratio leaves the band of clip_mode two_sided"),
        ({"clip_mode": "high_only", "epsilon_high": 1e9}, "inert: no ratio leaves the band of clip_mode high_only"),
        ({"clip_mode": "cispo", "epsilon_high": 1e9}, "inert: no ratio leaves the band of clip_mode cispo"),
        ({"clip_mode": "high_only", "epsilon_low": 0.1}, "high_only does not read epsilon_low, but it is set to 0.1"),
        ({"clip_mode": "log_symmetric", "epsilon_low": 0.1}, "log_symmetric does not read epsilon_low"),
        ({"clip_mode": "cispo", "epsilon_low": 0.1}, "cispo does not read epsilon_low"),
        ({"clip_mode": "low_only", "epsilon_high": 0.3}, "low_only does not read epsilon_high.*leave it at 0.2"),
        ({"reference_epsilon": 1.0}, "reference_epsilon must be below 1"),
        ({"reference_epsilon": 0.0}, "reference_epsilon must be above 0"),
        ({"reward": "majority_vote"}, "needs labels"),
        ({"reward": "format_and_incorrect"}, "Reward incorrect needs labels"),
        ({"engine": "vlm_server"}, "did you mean 'vllm_server'"),
        ({"optimizer": "adam"}, "did you mean 'adamw'"),
        ({"group_size": 1}, "group_size must be at least 2"),
        ({"clip_mode": "asymmetric"}, "Unknown clip_mode"),
        ({"trl": "epsilon: 0.3"}, "trl may not set epsilon: it follows from clip_mode"),
        ({"trl": "beta: 0.1, loss_type: grpo"}, "trl may not set loss_type: it follows from clip_mode"),
        ({"trl": "num_iterations: 2"}, "trl may not set num_iterations"),
        ({"trl": "steps_per_generation: 2"}, "it follows from prompts_per_batch, group_size, updates_per_batch"),
        ({"trl": "beta: [0.1"}, "Cannot read trl"),
        ({"false_positive": 0.1}, "false_positive is read by reward noisy_ground_truth alone"),
        ({"reward": "noisy_ground_truth", "false_negative": 1.1}, "false_negative is a share"),
        ({"reward": "ground_truth", "right_labels": 0.5}, "right_labels is read by reward incorrect alone"),
        ({"advantage_sign": "plus"}, "Unknown advantage_sign"),
        ({"seed": True}, "seed must be int"),
    ],
)
def test_bad_input_ends_with_one_sentence(change, words):
    with pytest.raises(InputError, match=words) as caught:
        RunConfig(**change)
    assert "\n" not in str(caught.value)


def test_a_misspelt_field_is_an_error():
    with pytest.raises(InputError, match="did you mean 'clip_mode'"):
        RunConfig.from_mapping({"clip_mod": "none"})


def test_eight_processes_that_do_not_divide():
    with pytest.raises(InputError, match="8 process"):
        RunConfig(prompts_per_batch=8, group_size=8).batch_plan(8)  # mini-batch 8 < 4 × 8


def test_inert_control_is_possible_when_asked_for():
    assert RunConfig(updates_per_batch=1, allow_inert_clip=True).batch_plan(8).gradient_accumulation == 32
    RunConfig(epsilon_low=1.0, epsilon_high=1e9, allow_inert_clip=True)
    RunConfig(clip_mode="high_only", epsilon_low=0.1, allow_inert_clip=True)  # modes side by side share their ε


@pytest.mark.parametrize(
    "change",
    [
        {"epsilon_low": 1.0},
        {"epsilon_high": 1e9},
        {"clip_mode": "none"},
        {"clip_mode": "none", "epsilon_low": 1.0, "epsilon_high": 1e9},
        {"clip_mode": "high_only", "epsilon_high": 0.28},
        {"clip_mode": "low_only", "epsilon_low": 0.1},
    ],
)
def test_a_band_with_one_exit_is_no_error(change):
    RunConfig(**change)


def test_a_reward_without_variance_is_a_note_and_no_error():
    """γ = 0 is the paper's own control (Fig 10); a compound with the random reward may vary all the same."""
    assert RunConfig(reward="random", gamma=0.0).notes() == [
        "With gamma 0 every rollout gets the same reward, so every advantage is 0 and nothing moves: a control."
    ]
    assert "gamma 1" in RunConfig(reward="random", gamma=1.0).notes()[0]
    for config in (RunConfig(reward="random"), RunConfig(gamma=0.0), RunConfig(reward="random_and_python", gamma=1.0)):
        assert config.notes() == []


def test_run_id_changes_with_what_matters_only():
    base = RunConfig()
    assert dataclasses.replace(base, save_every_batches=3).run_id() == base.run_id()
    assert dataclasses.replace(base, gradient_checkpointing=True).run_id() == base.run_id()
    assert base.digest() == "0cc94ee3e1", "runs that exist would not be found again"
    assert dataclasses.replace(base, seed=1).run_id() != base.run_id()
    assert (
        dataclasses.replace(base, reward="random", gamma=0.3)
        .run_id()
        .startswith("train-qwen2.5-math-7b-random0.3-two_sided-s0-")
    )


@pytest.mark.parametrize(
    "change",
    [
        {"trl": "beta: 0.01"},
        {"advantage_sign": "positive"},
        {"reward": "noisy_ground_truth", "false_positive": 0.2},
        {"reward": "incorrect", "labels": "a", "right_labels": 0.2},
    ],
)
def test_what_changes_the_numbers_changes_the_run_id(change):
    plain = {name: value for name, value in change.items() if name in ("reward", "labels")}
    assert RunConfig(**change).digest() != RunConfig(**plain).digest()


def test_arms_name_the_dials_that_distinguish_them():
    noisy = RunConfig(reward="noisy_ground_truth", false_positive=0.2, false_negative=0.1, clip_mode="none")
    assert noisy.arm() == "noisy_ground_truth0.2_0.1-none-s0"
    assert RunConfig(advantage_sign="negative").arm() == "ground_truth-two_sided-negative-s0"
    assert RunConfig(reward="incorrect", labels="a", right_labels=0.3).arm() == "incorrect0.3-two_sided-s0"
    assert RunConfig(reward="incorrect", labels="a").arm() == "incorrect-two_sided-s0"


def test_trl_fields_reach_grpo_config_in_one_spelling():
    config = RunConfig(trl="max_grad_norm: 0.5,   beta: 1e-2")
    assert config.trl == "beta: 0.01, max_grad_norm: 0.5"
    assert config.digest() == RunConfig(trl="beta: 0.01, max_grad_norm: 0.5").digest()
    assert RunConfig.from_mapping(config.to_dict()) == config, "config.json of a run folder is read back"
    values = settings(config, "folder", 8)
    assert (values["beta"], values["max_grad_norm"]) == (0.01, 0.5)
    assert dry_run(config, processes=8).max_grad_norm == 0.5
    with pytest.raises(InputError, match=r"Unknown field of GRPOConfig in trl 'max_grad_nrm' \(did you mean"):
        dry_run(RunConfig(trl="max_grad_nrm: 0.5"), processes=8)
    with pytest.raises(InputError, match="TRL refuses these settings"):
        dry_run(RunConfig(trl="lr_scheduler_type: sometimes"), processes=8)


def test_an_edited_reward_is_another_run(tmp_path, monkeypatch):
    """The hash is that of the function's source; rewards of this project have none, so their runs keep their names."""
    assert RunConfig(reward="format_and_no_python").reward_source == ""
    monkeypatch.syspath_prepend(tmp_path)
    hashes = []
    for limit in (20, 20, 30):
        name = f"rewards_of_mine_{len(hashes)}"
        text = f"def short(texts, problems, **options):\n    return [float(len(t) <= {limit}) for t in texts]\n"
        (tmp_path / f"{name}.py").write_text(text)
        register("short")(importlib.import_module(name).short)
        config = RunConfig(reward="short_and_format")
        hashes.append(config.reward_source)
        assert dataclasses.replace(config, reward="format").reward_source == ""
        assert config.digest() != RunConfig(reward="format").digest()
        unregister("short")
    assert hashes[0] == hashes[1] != hashes[2] and len(hashes[0]) == 10


def test_from_namespace_takes_options_and_refuses_doubles():
    config = RunConfig.from_namespace({"seed": 3, "unrelated": object()}, "temperature: 0.7, whiten_advantages: true")
    assert (config.seed, config.temperature, config.whiten_advantages) == (3, 0.7, True)
    with pytest.raises(InputError, match="seed is a parameter"):
        RunConfig.from_namespace({"seed": 3}, "seed: 4")


def test_vllm_is_refused_without_a_gpu():
    import torch

    from spurious_rewards.training.arguments import grpo_arguments

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError, match="needs a GPU"):
        grpo_arguments(RunConfig(engine="vllm_colocate"), "folder")
    assert settings(RunConfig(engine="vllm_server"), "folder", 8)["vllm_mode"] == "server"


def test_the_list_of_deviations_has_the_values_that_a_run_is_given():
    config = RunConfig(trl="")
    given = {**settings(config, "folder", 8), **config.to_dict()}
    text = (code_root() / "docs" / "deviations.md").read_text(encoding="utf-8")
    named = dict(re.findall(r"`(\w+) = ([^`]+)`", text))
    assert len(named) >= 15
    assert {name: str(given[name]) for name in named} == named
