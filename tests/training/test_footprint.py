"""Arithmetic of memory, disk and time against hand computation and against what committed runs took."""

import json
from dataclasses import fields
from statistics import median

import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.models.shape import SHAPES, shape_from, shape_of
from spurious_rewards.storage.paths import code_root
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.footprint import CARDS, check_fits, disk_gb, generation_gb, memory_gb, seconds

PAPER = RunConfig(engine="vllm_colocate")
H100 = CARDS["h100"]


def test_parameters_by_hand():
    qwen = SHAPES["Qwen/Qwen2.5-Math-7B"]
    # a layer: queries and output 2 · 3584², keys and values 2 · 3584 · 512, feed-forward 3 · 3584 · 18944
    assert qwen.layer_parameters == 2 * 3584**2 + 2 * 3584 * 512 + 3 * 3584 * 18944
    assert qwen.parameters == 28 * qwen.layer_parameters + 2 * 152064 * 3584
    assert qwen.kv_bytes_per_token == 57_344  # 2 · 2 · 28 · 512
    smollm = shape_of("smollm2-135m-instruct")
    assert round(smollm.parameters / 1e6, 1) == 134.5  # the model's own card says 135M
    with pytest.raises(InputError, match="its config.json has no intermediate_size"):
        shape_from({"num_hidden_layers": 1, "hidden_size": 1, "num_attention_heads": 1, "vocab_size": 1})


def test_the_papers_run_on_eight_gpus_by_hand():
    parts = memory_gb(PAPER, 8, H100)
    n = shape_of(PAPER.model).parameters
    assert parts["state"] == pytest.approx(16 * n / 8 / 1e9, abs=0.01)  # 15.2
    assert parts["accumulation"] == pytest.approx(4 * n / 1e9, abs=0.01)  # fp32 gradients, whole on each GPU: 30.5
    tokens = 4 * (1024 + 3072)
    layer = tokens * (8 * 18944 + 31 * 3584)  # 262,656 bytes per token; 262,264 were counted once
    assert parts["activations"] == pytest.approx((28 * tokens * 4 * 3584 + layer) / 1e9, abs=0.01)  # 6.6 + 4.3
    assert parts["head"] == pytest.approx(8 * 152064 * 3584 / 1e9, abs=0.01)
    assert generation_gb(PAPER, 8, H100) == pytest.approx(12 * n / 8e9 + 0.3 * 85 + 4, abs=0.1)
    one = memory_gb(RunConfig(engine="vllm_colocate", lora_rank=16), 1, H100)
    adapter = (
        28 * 16 * (2 * (3584 + 3584) + 2 * (3584 + 512) + 3 * (3584 + 18944))
    )  # q and o; k and v; three of the MLP
    assert one["accumulation"] == one["casts"] == 0
    assert memory_gb(RunConfig(), 1, H100)["casts"] == pytest.approx(2 * n / 1e9, abs=0.01)
    assert one["state"] == pytest.approx((2 * n + 16 * adapter) / 1e9, abs=0.01)
    # 30 checkpoints: the newest 16 bytes per parameter, earlier ones 2, the model 4
    assert disk_gb(RunConfig(keep_checkpoints=0)) == pytest.approx(n * (16 + 29 * 2 + 4) / 1e9, abs=0.1)
    assert 5 < seconds(PAPER, 8, H100) / 3600 < 9  # a published log of the released code: 233.6 s per step on A100
    assert 0.5 < seconds(PAPER, 8, CARDS["a100"]) / 300 / 233.6 < 1.0


def test_what_does_not_fit_is_refused_with_the_numbers():
    check_fits(PAPER, 8, 85)
    with pytest.raises(InputError) as caught:
        check_fits(RunConfig(engine="vllm_colocate"), 1, 85)
    assert "An update of Qwen/Qwen2.5-Math-7B takes about 266 GB per GPU (state 122 GB), and 85 GB are there" in str(
        caught.value
    )
    assert "gradient_checkpointing: true, a smaller micro_batch, lora_rank 16 or more GPUs." in str(caught.value)


def committed(pattern):
    """Ratios of computed to measured memory and time of committed training runs on a CPU."""
    names = {field.name for field in fields(RunConfig)}
    memory, time = [], []
    for path in sorted((code_root() / "results" / "manifests").glob(pattern)):
        manifest = json.loads(path.read_text())
        config = RunConfig.from_mapping({k: v for k, v in manifest["config"].items() if k in names})
        prompt = {"qwen-like": 45, "smollm2-135m-instruct": 184}[config.model]  # mean tokens of their prompts
        rollouts = config.rollout_batches * config.prompts_per_batch * config.group_size
        memory.append(1000 * sum(memory_gb(config, 1, None, prompt).values()) / manifest["peak_memory_mb"])
        mean = manifest["completion_tokens"] / rollouts
        took = manifest.get("cpu_seconds", manifest["seconds"])  # of one process; on a busy machine up to double
        time.append(seconds(config, 1, None, prompt, mean) / took)
    assert memory, pattern
    return memory, time


@pytest.mark.parametrize("pattern", ["organism/train-qwen-like-*.json", "smollm-smoke/train-*.json"])
def test_within_a_quarter_of_what_committed_runs_took(pattern):
    """In the middle: some of the organisms' 75 runs were held up by other work, and took up to four times as long."""
    memory, time = committed(pattern)
    assert 0.75 <= median(memory) <= 1.25 and 0.75 <= median(time) <= 1.25
    assert all(0.65 <= ratio <= 1.25 for ratio in memory) and max(time) <= 1.25


def test_runs_beside_much_other_work():
    """Micro ran while ten processes shared two processors, which then do about half in a CPU second."""
    memory, time = committed("micro/train-*.json")
    assert all(0.75 <= ratio <= 1.25 for ratio in memory) and 0.4 <= min(time) and max(time) <= 1.25
