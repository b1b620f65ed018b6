"""Run one job of a profile, and tell which finished jobs are out of date.

A job's result file is written last. It holds everything that the job was defined by: parameters, source cells of its
notebook, and the results of the jobs that came first, by content. That is the only rule for what is out of date: times
of files do not matter. While a job runs or after it failed, a small state file says so.

Usage: python -m spurious_rewards.workflow.jobs micro train-random-two_sided-seed0 [--verbose]
"""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import json
import os
import shutil
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spurious_rewards.command_line import command
from spurious_rewards.errors import InputError, NotebookError
from spurious_rewards.storage.files import atomic_path, read_json, sha256_file, write_json
from spurious_rewards.storage.paths import project_root
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.workflow import gpus
from spurious_rewards.workflow.notebook import execute
from spurious_rewards.workflow.parameters import notebook_parameters, source_digest
from spurious_rewards.workflow.processes import die_with_parent, make_ready
from spurious_rewards.workflow.profiles import Profile, job_result, load_profile, notebook_path
from spurious_rewards.workflow.stages import Job

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def run_job(job: Job, verbose: bool = False) -> None:
    """Execute the job's notebook on GPUs of its own, write its result file, and print what it did in five lines.

    Raises:
        InputError: a job that it needs is not done, or bad input in the notebook.
        NotebookError: the notebook failed.
    """
    began = time.monotonic()
    for name in job.needs:
        job_result(f"{job.profile}/{name}")
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(job.resources["threads"])
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else each fork of a kernel prints a warning
    as_planned = identity(job)
    outputs = [project_root() / output for output in job.outputs]
    state = {"state": "running", "since": _now(), "host": socket.gethostname(), "pid": os.getpid()}
    write_json(job.state_file, state)
    try:
        with gpus.held(job.resources["gpus"]) as locks:
            devices = os.environ["CUDA_VISIBLE_DEVICES"]
            done = execute(notebook_path(job.notebook), job.output_notebook, job.parameters, outputs, verbose, locks)
    except (InputError, NotebookError) as error:
        with contextlib.suppress(InputError):  # a full disk: the sentence below matters more
            write_json(job.state_file, state | {"state": "failed", "sentence": str(error)})
        raise
    except BaseException:
        job.state_file.unlink(missing_ok=True)
        raise
    for name in job.needs:  # Snakemake refuses a result older than these, as after a clock was set back
        file = job.result_file.with_name(f"{name}.json")
        if file.stat().st_mtime > time.time():
            os.utime(file)
    write_json(job.result_file, as_planned | {"run_ids": done.run_ids, "files": written(job)})
    job.state_file.unlink(missing_ok=True)
    print("\n".join(_report(job, done.run_ids, time.monotonic() - began, devices)), flush=True)


def _report(job: Job, run_ids: list[str], seconds: float, devices: str) -> list[str]:
    """Say what a finished job did: five lines for its log."""
    manifests = {run_id: RunFolder.load(run_id).manifest() for run_id in run_ids}
    peak_mb = max((manifest["peak_memory_mb"] for manifest in manifests.values()), default=0)
    shown = ", ".join(
        f"{run_id} ({manifest.get('kind', 'run')}, {manifest['seconds']:.0f} s of computing)"
        for run_id, manifest in manifests.items()
    )
    parameters = ", ".join(f"{name}={value}" for name, value in job.parameters.items())
    return [
        f"Done: {job.name} ({job.notebook}) in {seconds:.0f} s, ended {_now()}.",
        f"Parameters: {parameters or 'the defaults of the notebook'}.",
        f"Runs: {shown or 'none'}.",
        f"Used: {job.resources['threads']} thread(s), GPU {devices or 'none'}, {peak_mb:.0f} MB at most in its runs.",
        f"Written: {', '.join([str(job.output_notebook), *job.outputs])}.",
    ]


def identity(job: Job) -> dict[str, Any]:
    """Collect everything that defines a job before it runs; a job done with another identity runs again.

    A needed job that is not done has the digest "".
    """
    path = notebook_path(job.notebook)
    needed = {name: job.result_file.with_name(f"{name}.json") for name in job.needs}
    return {
        "profile": job.profile, "job": job.name, "stage": job.stage, "notebook": job.notebook,
        "notebook_digest": source_digest(path), "parameters": notebook_parameters(path) | job.parameters,
        "needs": {name: _digest(read_json(file)) if file.is_file() else "" for name, file in needed.items()},
    }  # fmt: skip


def forget_outdated(profile: Profile) -> list[Job]:
    """Remove the result files of jobs that are not done as the profile wants them; return these jobs.

    A job is done only while the manifests of its runs exist and its executed notebook and declared outputs are those
    that it wrote, and only with the source cells, parameters and results of earlier jobs that it has now.

    Raises:
        InputError: a table of a finished run is missing, damaged or another one.
    """
    outdated = []
    for job in profile.jobs:
        if not job.result_file.is_file():
            continue
        try:
            result = job_result(job.reference)
            runs = [RunFolder(RunFolder.manifest_path(run_id).parent) for run_id in result["run_ids"]]
        except (InputError, KeyError, TypeError):  # damaged
            result, runs = {}, []
        for run in runs:
            if run.complete:
                run.check_files()
        whole = all(run.complete for run in runs)
        if not whole or result != identity(job) | {"run_ids": result.get("run_ids"), "files": written(job)}:
            job.result_file.unlink()
            outdated.append(job)
    return outdated


def written(job: Job) -> dict[str, str]:
    """Hash what a job writes beside its runs, by name; a file that is not there has the hash ""."""
    paths = {job.output_notebook.name: job.output_notebook} | {name: project_root() / name for name in job.outputs}
    return {name: sha256_file(path) if path.is_file() else "" for name, path in paths.items()}


def copy_notebooks(profile: Profile, folder: Path) -> list[Path]:
    """Copy the executed notebooks that a reader would open, the first of each kind, and return the copies.

    A copy that is there already and equal is not written again. A notebook that writes files of its own (`outputs`) is
    left out: what it shows is in them, and changes with every profile that is run.
    """
    copied: dict[str, Path] = {}
    for job in profile.jobs:
        if job.notebook not in copied and not job.outputs and job.output_notebook.is_file():
            copied[job.notebook] = target = folder / f"{job.notebook}.ipynb"
            if target.is_file() and filecmp.cmp(job.output_notebook, target, shallow=False):
                continue
            with atomic_path(target) as temporary:
                shutil.copyfile(job.output_notebook, temporary)
    return list(copied.values())


def _digest(result: dict[str, Any]) -> str:
    """Shorten what a job ended with; not its files, in which a notebook has the times of its cells."""
    result = {name: value for name, value in result.items() if name != "files"}
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()[:16]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def run(profile: str, job: str, /, verbose: bool = False) -> None:
    """Run one job; it ends when the process that started it does.

    Args:
        profile: its name.
        job: its name in the profile.
        verbose: show what the notebook prints.
    """
    die_with_parent()
    make_ready()
    run_job(load_profile(profile).job(job), verbose)


main = command(run)


if __name__ == "__main__":
    sys.exit(main())
