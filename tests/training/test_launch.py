"""The command line, and the same run on two processes."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest
import tiny
import torch
import yaml
from safetensors.torch import load_file

from spurious_rewards.errors import InputError
from spurious_rewards.rewards.registry import uniform
from spurious_rewards.training import checkpoints
from spurious_rewards.training.advantages import group_advantages
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.launch import command, hardware_files, launch_run, main, read_config
from spurious_rewards.workflow.runs import RunFolder

# The worker of a two-process run: trains, checks that both processes hold the same weights, then takes the last
# checkpoint's mark and everything that came after away from a copy, and goes on there as after a crash.
WORKER = """
import json, os, shutil, sys
from pathlib import Path
import torch
import torch.distributed as dist
from spurious_rewards.training import run as module
from spurious_rewards.training.config import RunConfig

made = []
make = module.make_trainer
module.make_trainer = lambda *a: made.append(make(*a)) or made[-1]

def train(name):
    os.environ["SPURIOUS_RUNS_DIR"] = str(Path(sys.argv[2], name))
    run = module.train(RunConfig(**json.loads(sys.argv[1])), progress=False)
    dist.barrier()
    mine = torch.cat([p.detach().flatten() for p in made[-1].model.parameters()])
    other = mine.clone()
    dist.broadcast(other, src=0)
    assert dist.get_world_size() == 2 and torch.equal(mine, other), "the ranks have drifted apart"
    Path(sys.argv[2], f"same-{name}-{dist.get_rank()}").touch()
    return run

run = train("whole")
if dist.get_rank() == 0:
    copy = Path(sys.argv[2], "resumed", run.run_id)
    shutil.copytree(run.folder, copy)
    shutil.rmtree(copy / "model")
    for name in ("manifest.json", "metrics.parquet", "rollouts.parquet", "checkpoints/checkpoint-12/complete.json"):
        (copy / name).unlink()
dist.barrier()
train("resumed")
dist.destroy_process_group()
"""
CONFIG = {"rollout_batches": 3, "save_every_batches": 1, "micro_batch": 2, "n_train_problems": 12,
          "clip_projection": True, "whiten_advantages": False}


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """A run of two gloo processes, its resumed copy, and the folder of the worker's notes."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "worker.py").write_text(WORKER)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
         str(folder / "worker.py"), json.dumps({**tiny.SMALL, **CONFIG}), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, "\n".join(line for line in done.stderr.splitlines() if "Error" in line)
    return *(RunFolder(folder / name / tiny.config(**CONFIG).run_id()) for name in ("whole", "resumed")), folder


def test_two_processes_hold_the_same_weights_and_write_once(together):
    run, _, folder = together
    assert run.complete and run.manifest()["processes"] == 2
    assert len(list(folder.glob("same-whole-*"))) == 2
    metrics = pd.read_parquet(run.path("metrics.parquet"))
    assert metrics["update"].tolist() == list(range(1, 13))
    assert metrics["clip_fraction"].max() > 0 and metrics["clip_projection"].notna().all()
    newest = checkpoints.all_checkpoints(run.path("checkpoints"))[-1]
    assert {path.name for path in newest.glob("rng_state_*")} == {"rng_state_0.pth", "rng_state_1.pth"}


def test_two_processes_resume(together):
    """From the checkpoint before the last, the run ends in the same place to the last bit."""
    run, resumed, folder = together
    assert resumed.complete and len(list(folder.glob("same-resumed-*"))) == 2
    weights, again = (load_file(r.path("model/model.safetensors")) for r in (run, resumed))
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    for table in ("metrics", "rollouts"):
        one, other = (pd.read_parquet(r.path(f"{table}.parquet")) for r in (run, resumed))
        shared = [name for name in one if not name.startswith("seconds_")]
        pd.testing.assert_frame_equal(one[shared], other[shared], check_exact=True)


def test_groups_advantages_and_reward_draws_are_those_of_one_process(together):
    """A draw knows seed, batch, problem and sample index alone: the first process' half shows the very same ones."""
    run, _, _ = together
    rollouts = pd.read_parquet(run.path("rollouts.parquet"))
    assert len(rollouts) == 3 * 16 / 2, "rollouts.parquet samples the first process' share"
    for (batch, prompt), group in rollouts.groupby(["rollout_batch", "prompt_id"]):
        assert group["sample"].tolist() == [0, 1, 2, 3], "a group lies on one process, with its own sample indices"
        draws = [float(uniform(0, batch, prompt, sample) < 0.5) for sample in range(4)]
        assert group["reward"].tolist() == draws
        torch.testing.assert_close(torch.tensor(group["advantage"].to_numpy()).float(),
                                   group_advantages(torch.tensor([draws]))[0])


def test_configuration_from_file_and_changes(tmp_path):
    (tmp_path / "run.yaml").write_text("model: qwen-like\nlearning_rate: 5e-6\nreward: random\n")
    config = read_config(tmp_path / "run.yaml", ["seed=3", "gamma = 0.25", "labels="])
    assert (config.model, config.learning_rate, config.seed, config.gamma) == ("qwen-like", 5e-6, 3, 0.25)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    assert read_config(tmp_path / "config.json") == config


@pytest.mark.parametrize("arguments, words", [
    (["--config", "absent.yaml"], "no configuration file absent.yaml"),
    (["--set", "clip_mod=none"], "did you mean 'clip_mode'"),
    (["--set", "seed"], "--set takes name=value"),
    (["--set", "seed=x"], "seed must be int"),
])
def test_bad_command_lines_exit_with_2(arguments, words, capsys):
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert words in printed and printed.count("\n") == 1


def test_one_process_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "runs"))
    config = tiny.config(rollout_batches=1)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config.to_dict()))
    assert main(["--config", str(tmp_path / "run.yaml")]) == 0
    assert capsys.readouterr().out.strip().splitlines()[-1] == str(tmp_path / "runs" / config.run_id())
    assert launch_run(config, "cpu").complete, "a finished run is not launched again"


def test_commands_by_hardware():
    assert set(hardware_files()) == {"one_gpu", "eight_gpu_fsdp", "zero3", "cpu"}
    gpu = command("c.yaml", "eight_gpu_fsdp")
    assert gpu[1:4] == ["-m", "accelerate.commands.launch", "--config_file"] and gpu[-1] == "c.yaml"
    assert "torch.distributed.run" in command("c.yaml", "cpu"), "accelerate launch would start one process on a CPU"
    with pytest.raises(InputError, match="did you mean 'one_gpu'"):
        command("c.yaml", "one_gp")


@pytest.mark.parametrize("name", ["one_gpu", "eight_gpu_fsdp", "zero3", "cpu"])
def test_accelerate_reads_the_files(name):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(hardware_files()[name]))
    assert config.num_processes == {"one_gpu": 1, "cpu": 2}.get(name, 8)
    if config.num_processes == 8:
        assert RunConfig().batch_plan(8).gradient_accumulation == 4
