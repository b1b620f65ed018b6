r"""Start a training run from the command line, on one process or many: the same run folder as from the notebook.

One device:            python -m spurious_rewards.training.launch --config run.yaml --set seed=1
Several GPUs:          accelerate launch --config_file profiles/accelerate/eight_gpu_fsdp.yaml \
                           -m spurious_rewards.training.launch --config run.yaml
Two processes on CPU:  torchrun --nproc_per_node 2 -m spurious_rewards.training.launch --config run.yaml

`--config` takes YAML or JSON with fields of `RunConfig`, or the `config.json` of a run folder. A run that was
interrupted after its first checkpoint, in the notebook or here, goes on with the same number of processes only: each
process has random generators of its own, and another number is refused with a sentence. On a CPU `accelerate launch`
silently starts a single process, so `command` uses torchrun there.

Usage: `launch_run(config, hardware="eight_gpu_fsdp")` from a notebook, which waits and returns the finished run.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd

from spurious_rewards import command_line
from spurious_rewards.errors import InputError, check_name
from spurious_rewards.rewards.registry import known_elsewhere
from spurious_rewards.storage.files import read_text, write_text
from spurious_rewards.storage.paths import code_root, project_root
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.storage.yaml_text import read_mapping
from spurious_rewards.training.config import RunConfig
from spurious_rewards.workflow.processes import bound, die_with_parent

MODULE = "spurious_rewards.training.launch"
ERROR_FILE = "SPURIOUS_ERROR_FILE"
"""Environment variable with the file in which a worker leaves its one sentence for `launch_run`."""
OnBatch = Callable[[pd.DataFrame], None]


def read_config(path: str | Path | None, changes: Sequence[str] = ()) -> RunConfig:
    """Read the configuration in a YAML or JSON file, with `name=value` changes on top (values are YAML).

    Raises:
        InputError: no such file, not a mapping, an unknown or mistyped field, or a change without `=`.
    """
    values = {}
    if path is not None:
        if not Path(path).is_file():
            raise InputError(f"There is no configuration file {path}; give YAML or JSON with fields of RunConfig.")
        values = read_mapping(Path(path).read_text(encoding="utf-8"), str(path))
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise InputError(f"--set takes name=value, not {change!r}.")
        values |= read_mapping(f"{name.strip()}: {value}" if value else f"{name.strip()}: ''", f"--set {change}")
    return RunConfig.from_mapping(values)


def hardware_files() -> dict[str, Path]:
    """Find Accelerate's configuration files by hardware: profiles/accelerate/*.yaml here, else the code's."""
    for root in (project_root(), code_root()):
        if root and (files := sorted((root / "profiles" / "accelerate").glob("*.yaml"))):
            return {path.stem: path for path in files}
    return {}


def command(config_file: str | Path, hardware: str, processes: int = 0) -> list[str]:
    """Return the command line that trains the configuration in `config_file` on that hardware.

    Args:
        config_file: YAML or JSON.
        hardware: a name in `hardware_files()`; "cpu" uses torchrun, the others `accelerate launch`.
        processes: number of processes; 0 takes the file's (2 on a CPU).

    Raises:
        InputError: unknown hardware.
    """
    files = hardware_files()
    check_name("hardware", hardware, files)
    if hardware == "cpu":
        start = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes or 2)]
    else:
        count = ["--num_processes", str(processes)] if processes else []
        start = ["-m", "accelerate.commands.launch", "--config_file", str(files[hardware]), *count]
    # FSDP's file recomputes activations by itself, DeepSpeed's cannot
    changes = ["--set", "gradient_checkpointing=true"] if hardware == "zero3" else []
    return [sys.executable, *start, "-m", MODULE, "--progress", "--config", str(config_file), *changes]


def launch_run(config: RunConfig, hardware: str, processes: int = 0, on_batch: OnBatch | None = None) -> RunFolder:
    """Train in processes of their own and wait; a finished run returns at once.

    The processes show a bar over rollout batches, and `on_batch` gets the metrics so far whenever one is done.

    The processes get `config` as it is asked for here; `config.json` has what the run was begun with, and the two may
    differ in fields that do not change what is computed.

    Raises:
        InputError: unknown hardware, a reward that only this process knows, or the launch failed; its own output says
            why.
    """
    known_elsewhere(config.reward)
    run = RunFolder.open(config.run_id(), config)
    if run.complete:
        from spurious_rewards.training.run import report_missing_columns

        report_missing_columns(run, config)
    else:
        sentence = run.path(".launch-error")
        sentence.unlink(missing_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=run.folder, prefix=".launch-", suffix=".json") as asked:
            json.dump(config.to_dict(), asked)
            asked.flush()
            # SIGTERM to the launcher, which stops its workers: a killed kernel leaves no process on a GPU.
            start = bound(command(asked.name, hardware, processes), signal.SIGTERM)
            process = subprocess.Popen(start, env={**os.environ, ERROR_FILE: str(sentence)})
            code = _wait(process, run, on_batch)
        if code or not run.complete:
            told = sentence.is_file()
            cause = read_text(sentence) if told else f"it ended with exit code {code}, see its output above."
            sentence.unlink(missing_ok=True)
            raise InputError(
                f"The launch of {run.run_id} on {hardware} failed: {cause} Started again, it goes on from its last "
                "checkpoint."
            )
    return run


def _wait(process: subprocess.Popen, run: RunFolder, on_batch: OnBatch | None) -> int:
    """Wait for a launch, hand on the metrics that it leaves after every rollout batch, and return its exit code."""
    from spurious_rewards.training.run import PARTIAL

    partial, seen = run.path(PARTIAL), 0.0
    try:
        while True:
            try:
                return process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                with suppress(FileNotFoundError):  # none yet, or the run has just been finished
                    if on_batch is not None and (changed := partial.stat().st_mtime) > seen:
                        metrics, seen = pd.read_parquet(partial), changed
                        on_batch(metrics)
    except BaseException:  # an interrupted cell leaves nothing running
        process.terminate()
        process.wait()
        raise


def launch(config: str | None = None, set_: list[str] | None = None, progress: bool = False) -> None:
    """Train one run and print its folder.

    Args:
        config: YAML or JSON file with fields of RunConfig.
        set_: NAME=VALUE changes a field.
        progress: show a bar over rollout batches.
    """
    # A worker whose launcher may be killed: torchrun's has a rank, the one process of accelerate's has none.
    if "RANK" in os.environ or ERROR_FILE in os.environ:
        die_with_parent(signal.SIGKILL)
    try:
        wanted = read_config(config, set_ or ())

        from spurious_rewards.training.run import is_main_process, train

        run = train(wanted, progress=progress)
    except InputError as error:
        if path := os.environ.get(ERROR_FILE):
            write_text(path, str(error))
        raise
    if is_main_process():
        print(run.folder)


main = command_line.command(launch)


if __name__ == "__main__":
    sys.exit(main())
