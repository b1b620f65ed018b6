"""The organism on the GPU: the CPU's tests beside it, the same updates as on the CPU, training, evaluation, pairing."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import random_models
import tiny
import torch

from spurious_rewards.evaluation.config import EvalConfig
from spurious_rewards.evaluation.evaluate import evaluate
from spurious_rewards.training.run import make_trainer, train

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session", autouse=True)
def cpu_tests(tmp_path_factory):
    """The tests of training and generation, started at once on the CPU cores that the checks leave idle."""
    if not torch.cuda.is_available():
        yield None
        return
    workers = max(1, min(8, (os.cpu_count() or 2) - 4))
    log = tmp_path_factory.mktemp("cpu") / "log"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", str(workers), "--dist", "loadfile"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with log.open("w") as output:
        started = subprocess.Popen(
            [*command, "tests/training", "tests/generation"], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    yield started, log
    started.kill()


def replay(mode, folder, name, cuda):
    """Run the worker; without `cuda` it sees no GPU."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} | ({} if cuda else {"CUDA_VISIBLE_DEVICES": ""})
    script = Path(__file__).with_name("organism_replay.py")
    done = subprocess.run(
        [sys.executable, str(script), mode, str(folder), name], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return torch.load(folder / f"{name}.pt") if mode == "replay" else None


def test_the_same_rollouts_give_the_cpus_updates(tmp_path, record):
    replay("draw", tmp_path, "drawn", cuda=False)
    with ThreadPoolExecutor() as pool:  # both at once
        started = [pool.submit(replay, "replay", tmp_path, name, cuda=name == "gpu") for name in ("cpu", "gpu")]
        cpu, gpu = (each.result() for each in started)
    assert cpu["device"] == "cpu" and gpu["device"].startswith("cuda") and len(cpu["losses"]) == 8
    first = abs(cpu["losses"][0] - gpu["losses"][0])
    apart = max((cpu["weights"][name] - gpu["weights"][name]).abs().max().item() for name in cpu["weights"])
    record("difference of the first loss", first)
    record("largest difference of a weight after 8 updates", apart)
    assert first < 1e-5 and apart < 1e-4


def test_training_and_evaluation_run_and_resume(record):
    run = train(tiny.config(rollout_batches=2, save_every_batches=1, engine="shared_prefix"), progress=False)
    metrics = pd.read_parquet(run.path("metrics.parquet"))
    first = metrics[metrics["update_in_batch"] == 1]
    assert (first["clip_fraction"] == 0).all() and first["ratio_max"].max() == pytest.approx(1, abs=1e-4)
    cell = evaluate(EvalConfig(n_problems=64, max_new_tokens=48, trained_run=run.run_id), progress=False)
    assert '"device": "cuda' in json.dumps(cell.manifest()), "the engine says where it ran"
    record("accuracy of the trained organism, 64 problems", cell.manifest()["summary"]["accuracy"])


def test_greedy_answers_are_the_cpus(tmp_path, record):
    here = evaluate(EvalConfig(n_problems=100, max_new_tokens=48), progress=False)
    code = (
        "from spurious_rewards.evaluation.config import EvalConfig\n"
        "from spurious_rewards.evaluation.evaluate import evaluate\n"
        "print(evaluate(EvalConfig(n_problems=100, max_new_tokens=48), progress=False).folder)"
    )
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "SPURIOUS_RUNS_DIR": str(tmp_path / "cpu")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    there = pd.read_parquet(Path(done.stdout.strip().splitlines()[-1]) / "records.parquet")
    same = (pd.read_parquet(here.path("records.parquet"))["text"] == there["text"]).mean()
    record("share of greedy answers equal to the CPU's", float(same))
    assert same >= 0.97


def test_the_paired_counterfactual_pairs_on_the_gpu(record):
    from spurious_rewards.mechanism import counterfactual
    from spurious_rewards.mechanism.counterfactual_config import CounterfactualConfig
    from spurious_rewards.mechanism.effects import unpaired

    config = CounterfactualConfig(
        n_train_problems=32,
        prompts_per_batch=2,
        group_size=8,
        updates_per_batch=4,
        micro_batch=4,
        max_completion_tokens=32,
        optimizer="sgd",
        learning_rate=1.0,
        warmup_batches=1,
        probe_problems=6,
        probe_samples=2,
        clip_modes="none,two_sided",
        min_pairs=2,
        max_pairs=2,
        pairs_per_part=1,
    )
    pairs = pd.read_parquet(counterfactual.run(config, progress=False).path("pairs.parquet"))
    assert unpaired(pairs) == [], "the arms of a pair start from the same weights and consume the same rollouts"
    record("distance of the arms after the first update", float(pairs["first_gap"].max()))
    assert pairs["first_gap"].max() < 1e-5


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_ratios_at_the_first_update_are_one(precision, tmp_path, monkeypatch, record):
    """A random model of 1.3 B parameters; the noise floor is what another batch composition would have made of them."""
    from clip_noise_floor import noise_floor

    monkeypatch.setattr("spurious_rewards.models.registry.load", lambda name, *a, **k: random_models.qwen("1.5B"))
    config = tiny.config(
        precision=precision, rollout_batches=1, max_completion_tokens=96, learning_rate=5e-7, save_every_batches=10
    )
    trainer = make_trainer(config, tiny.problems(), tmp_path)
    floor = noise_floor(trainer, n_prompts=4)
    for name, value in floor.items():
        record(f"{precision}, {name}", value)
    trainer.train()
    first = next(row for row in trainer.state.log_history if "loss" in row)
    record(f"{precision}, ratio_max at the first update", float(first["ratio_max"]))
    assert first["clip_ratio/region_mean"] == 0
    tolerance = (
        1e-3 if precision == "fp32" else 0.02
    )  # kernels of the pass with gradients may differ from those without
    assert abs(first["ratio_max"] - 1) < tolerance
    assert floor["outside"] == 0 or precision == "bf16"


def test_the_cpus_tests_passed_beside_it(cpu_tests, record):
    """Last of all: the other checks have given it time."""
    started, log = cpu_tests
    code = started.wait(timeout=100)
    lines = log.read_text().strip().splitlines()
    record("tests of training and generation on the CPU", lines[-1])
    told = [line for line in lines if line.startswith(("FAILED", "ERROR", "INTERNALERROR"))] or lines[-20:]
    assert code == 0, "\n".join(told)
