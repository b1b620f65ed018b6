"""Bad input ends with one sentence, and before any update."""

import json

import pytest
import tiny
import torch
import transformers

from spurious_rewards.data.labelled import training_problems
from spurious_rewards.errors import InputError
from spurious_rewards.models.prompts import render
from spurious_rewards.models.registry import load, n_parameters
from spurious_rewards.rewards.registry import register, unregister
from spurious_rewards.training.arguments import check_report_to, dry_run, grpo_arguments, settings
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.run import make_trainer, train


@pytest.fixture(autouse=True)
def runs_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "runs"))


@pytest.mark.parametrize(
    "values, words",
    [
        (lambda n: [None] * n, "returned None for text 0"),
        (lambda n: [1.0] * (n - 1) + [float("nan")], "returned nan for text 15"),
        (lambda n: [1.0] * (n + 1), "returned 17 values for 16 texts"),
        (lambda n: 1.0, "returned float, not a list of 16 numbers"),
    ],
)
def test_a_broken_reward_stops_before_the_first_update(values, words, tmp_path):
    register("broken")(lambda texts, problems, **options: values(len(texts)))
    try:
        config = tiny.config(reward="broken")
        with pytest.raises(InputError, match=f"Reward broken {words}"):
            train(config, progress=False)
    finally:
        unregister("broken")
    assert not list((tmp_path / "runs").glob("*/checkpoints/checkpoint-*"))


def test_prompts_above_the_limit():
    with pytest.raises(InputError, match="longer than max_prompt_tokens 2"):
        train(tiny.config(max_prompt_tokens=2), progress=False)


def test_problems_above_the_limit_are_counted_and_named(capsys):
    """Prompts of the organism have 12 to 19 tokens or so; a limit at their median leaves some out."""
    _, tokenizer = load("qwen-like")
    everything = tiny.config(rollout_batches=1)
    pool = training_problems("synthetic", 64, 0, ["random"])
    lengths = sorted(len(tokenizer(render("organism", p.problem, tokenizer))["input_ids"]) for p in pool)
    limit = lengths[32]
    kept = sum(n <= limit for n in lengths)
    assert 0 < kept < 64
    manifest = train(tiny.config(rollout_batches=1, max_prompt_tokens=limit), progress=False).manifest()
    sentence = f"{64 - kept} of 64 problems are left out: their prompts are longer than max_prompt_tokens {limit}."
    assert capsys.readouterr().out == sentence + "\n"
    assert (manifest["n_train_problems"], manifest["n_train_problems_too_long"]) == (kept, 64 - kept)
    assert manifest["notes"] == [sentence]
    manifest = train(everything, progress=False).manifest()
    assert (manifest["n_train_problems"], manifest["n_train_problems_too_long"], manifest["notes"]) == (64, 0, [])
    assert capsys.readouterr().out == ""


def test_a_tokenizer_of_another_model(tmp_path):
    model, tokenizer = load("qwen-like")
    n = model.config.vocab_size
    tokenizer.add_tokens([f"<extra {i}>" for i in range(n + 10 - len(tokenizer))])
    model.save_pretrained(tmp_path / "mixed")
    tokenizer.save_pretrained(tmp_path / "mixed")
    with pytest.raises(InputError, match=f"has {n + 10} tokens, but the model only {n} embeddings"):
        make_trainer(tiny.config(model=str(tmp_path / "mixed")), tiny.problems(), tmp_path)


def test_weights_that_zero3_has_cut_up(tmp_path, monkeypatch):
    """Under zero.Init a parameter is empty, with its shape and size in ds_shape and ds_numel; imitated here."""
    whole = transformers.AutoModelForCausalLM.from_pretrained

    def cut_up(*args, **kwargs):
        model, info = whole(*args, **kwargs)
        for parameter in model.parameters():
            parameter.ds_shape, parameter.ds_numel = parameter.shape, parameter.numel()
            parameter.data = torch.empty(0)
        return model, info

    n = n_parameters(load("qwen-like")[0])
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", cut_up)
    model, tokenizer = load("qwen-like")
    assert sum(p.numel() for p in model.parameters()) == 0 and n_parameters(model) == n > 400_000
    size = model.config.vocab_size
    tokenizer.add_tokens([f"<extra {i}>" for i in range(size + 1 - len(tokenizer))])
    monkeypatch.setattr("spurious_rewards.models.registry.load_tokenizer", lambda name: tokenizer)
    with pytest.raises(InputError, match=f"has {size + 1} tokens, but the model only {size} embeddings"):
        load("qwen-like")


def test_the_reference_model_is_that_of_the_pinned_revision():
    """TRL builds it from the model's name; LoRA has none, and only the hub has revisions."""
    values = settings(RunConfig(trl="beta: 0.01"), "folder", 8)
    assert values["model_init_kwargs"] == {"revision": "b101308fe89651ea5ce025f25317fea6fc07e96e"}
    assert dry_run(RunConfig(trl="beta: 0.01"), processes=8).model_init_kwargs == values["model_init_kwargs"]
    for config in (RunConfig(), RunConfig(trl="beta: 0.01", lora_rank=8), tiny.config(trl="beta: 0.01")):
        assert "model_init_kwargs" not in settings(config, "folder", 1)


def test_processes_that_do_not_divide(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(InputError, match=r"3 process\(es\)"):
        grpo_arguments(tiny.config(), "folder")


@pytest.mark.parametrize("name", ["trackio", "wandb", "tensorboard"])
def test_a_logger_that_is_not_installed(name, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(InputError, match=f"needs the package {name}, which is not installed"):
        train(tiny.config(trl=f"report_to: {name}"), progress=False)


def test_no_logger_needs_no_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    check_report_to("none")


@pytest.mark.parametrize("engine", ["transformers", "vllm_colocate", "vllm_server"])
def test_the_papers_settings_hold_on_eight_gpus_for_every_engine(engine):
    arguments = dry_run(RunConfig(engine=engine), processes=8)
    # 1024 rollouts / (4 sequences × 8 processes) = 32 micro-steps per rollout batch, 4 per update
    assert (arguments.steps_per_generation, arguments.gradient_accumulation_steps) == (32, 4)
    assert arguments.generation_batch_size == 1024
    assert arguments.use_vllm == (engine != "transformers")
    if arguments.use_vllm:
        assert (arguments.vllm_mode, arguments.vllm_importance_sampling_correction) == (engine[5:], False)
        assert arguments.vllm_max_model_length == 1024 + 3072


def test_vllm_importance_correction_is_a_matter_of_trl():
    trl = "vllm_importance_sampling_correction: true, vllm_importance_sampling_clip_max: 2.0"
    arguments = dry_run(RunConfig(engine="vllm_colocate", trl=trl), processes=8)
    assert arguments.vllm_importance_sampling_correction and arguments.vllm_importance_sampling_clip_max == 2


def test_a_dry_run_refuses_what_does_not_divide():
    with pytest.raises(InputError, match=r"7 process\(es\)"):
        dry_run(RunConfig(), processes=7)
    with pytest.raises(InputError, match="at most 1"):
        RunConfig(vllm_gpu_memory=30.0)


def test_settings_are_plain_json():
    for engine in ("transformers", "vllm_colocate", "vllm_server"):
        json.dumps(settings(RunConfig(engine=engine), "folder", 8), allow_nan=False)
