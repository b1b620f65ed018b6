"""The command line, and what a launch is given."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import yaml

from spurious_rewards.errors import InputError
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.training import launch
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.launch import command, hardware_files, launch_run, main, read_config


def test_configuration_from_file_and_changes(tmp_path):
    (tmp_path / "run.yaml").write_text("model: qwen-like\nlearning_rate: 5e-6\nreward: random\n")
    config = read_config(tmp_path / "run.yaml", ["seed=3", "gamma = 0.25", "labels="])
    assert (config.model, config.learning_rate, config.seed, config.gamma) == ("qwen-like", 5e-6, 3, 0.25)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    assert read_config(tmp_path / "config.json") == config


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--config", "absent.yaml"], "no configuration file absent.yaml"),
        (["--set", "clip_mod=none"], "did you mean 'clip_mode'"),
        (["--set", "seed"], "--set takes name=value"),
        (["--set", "seed=x"], "seed must be int"),
    ],
)
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
    assert capsys.readouterr().out == ""
    asked = tiny.config(rollout_batches=1, clip_projection=True)
    assert launch_run(asked, "cpu").run_id == config.run_id()
    printed = capsys.readouterr().out
    assert "is finished and was trained without clip_projection: metrics.parquet lacks" in printed
    assert printed.count("\n") == 1


def test_a_launch_gets_the_configuration_that_is_asked_for(tmp_path, monkeypatch):
    """config.json has what the run was begun with; options that do not change what is computed may differ now."""
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "runs"))
    RunFolder.open(tiny.config().run_id(), tiny.config())
    given = []

    def record(line, env):
        given.append(read_config(line[line.index("--config") + 1]))
        return SimpleNamespace(wait=lambda timeout: 3)

    monkeypatch.setattr(launch.subprocess, "Popen", record)
    asked = tiny.config(clip_projection=True, save_every_batches=1)
    with pytest.raises(InputError, match="on cpu failed: it ended with exit code 3, see its output"):
        launch_run(asked, "cpu")
    assert given == [asked]  # and a bar over rollout batches, with the time left, is shown
    run = RunFolder(tmp_path / "runs" / asked.run_id())
    assert RunConfig.from_mapping(run.config()) == tiny.config()
    assert [path.name for path in run.folder.iterdir()] == ["config.json"], "nothing is left behind"


def test_a_failed_launch_says_what_its_worker_said(tmp_path, monkeypatch):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "runs"))
    config = tiny.config(rollout_batches=1)
    run = RunFolder.open(config.run_id(), config)
    with run.lock(), pytest.raises(InputError) as caught:
        launch_run(config, "cpu", processes=1)
    sentence = f"The launch of {run.run_id} on cpu failed: Run {run.run_id} is in use by process {os.getpid()} on "
    assert str(caught.value).startswith(sentence)
    assert str(caught.value).endswith("Started again, it goes on from its last checkpoint.")
    assert not run.path(".launch-error").exists()


def test_hardware_files_are_found_outside_the_checkout(tmp_path, monkeypatch):
    here = hardware_files()
    monkeypatch.chdir(tmp_path)
    assert hardware_files() == here
    (tmp_path / "pyproject.toml").touch()  # a project of one's own, with a file of one's own
    (tmp_path / "profiles" / "accelerate").mkdir(parents=True)
    (tmp_path / "profiles" / "accelerate" / "mine.yaml").touch()
    assert set(hardware_files()) == {"mine"}


def test_commands_by_hardware():
    assert set(hardware_files()) == {"one_gpu", "eight_gpu_fsdp", "zero3", "cpu"}
    gpu = command("c.yaml", "eight_gpu_fsdp")
    assert gpu[1:4] == ["-m", "accelerate.commands.launch", "--config_file"] and gpu[-1] == "c.yaml"
    assert "torch.distributed.run" in command("c.yaml", "cpu"), "accelerate launch would start one process on a CPU"
    assert command("c.yaml", "zero3")[-3:] == ["c.yaml", "--set", "gradient_checkpointing=true"]
    with pytest.raises(InputError, match="did you mean 'one_gpu'"):
        command("c.yaml", "one_gp")


@pytest.mark.parametrize("name", ["one_gpu", "eight_gpu_fsdp", "zero3", "cpu"])
def test_accelerate_reads_the_files(name):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(hardware_files()[name]))
    assert config.num_processes == {"one_gpu": 1, "cpu": 2}.get(name, 8)
    if config.num_processes == 8:
        assert RunConfig().batch_plan(8).gradient_accumulation == 4
    if name == "eight_gpu_fsdp":
        assert config.fsdp_config["fsdp_activation_checkpointing"] is True


KERNEL = """
import json, sys
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.launch import launch_run
launch_run(RunConfig(**json.loads(sys.argv[1])), "one_gpu")
"""


def test_a_killed_kernel_takes_the_one_process_of_accelerates_launcher_with_it(tmp_path):
    """That process has no rank; it would go on training, and keep the GPU."""
    values = {**tiny.SMALL, "rollout_batches": 400, "save_every_batches": 400}
    kernel = subprocess.Popen(
        [sys.executable, "-c", KERNEL, json.dumps(values)],
        env={**os.environ, "SPURIOUS_RUNS_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 240
    while not (locks := list(tmp_path.glob("*/.lock"))) or not locks[0].read_text():  # the worker is at work
        assert kernel.poll() is None and time.monotonic() < until
        time.sleep(0.5)
    worker = json.loads(locks[0].read_text())["pid"]
    kernel.kill()
    kernel.wait()
    until = time.monotonic() + 30
    while Path(f"/proc/{worker}").exists() and "Z" not in Path(f"/proc/{worker}/stat").read_text().split()[2]:
        assert time.monotonic() < until, "the worker has outlived its kernel"
        time.sleep(0.2)
