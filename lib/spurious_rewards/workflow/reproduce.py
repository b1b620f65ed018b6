"""Run everything a profile holds by one command: checks first, then the DAG, with progress, and safe to interrupt.

Finished jobs are kept whatever happens; the same command again does what is missing, and nothing if nothing is.

Usage: python -m spurious_rewards.workflow.reproduce micro [--cores 2] [--dry-run]
       python -m spurious_rewards.workflow.reproduce paper --cluster profiles/slurm

Exit code 0: all jobs are done; 1: some failed; 2: bad input, nothing ran; 130: interrupted.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from spurious_rewards.command_line import command
from spurious_rewards.errors import InputError, NotebookError
from spurious_rewards.storage.locks import exclusive, sign
from spurious_rewards.storage.paths import code_root, project_root, runs_dir
from spurious_rewards.storage.provenance import hardware
from spurious_rewards.workflow.jobs import copy_notebooks, forget_outdated
from spurious_rewards.workflow.network import data_downloaded, hub_reachable
from spurious_rewards.workflow.processes import bound, make_ready
from spurious_rewards.workflow.profiles import Profile, load_profile, table
from spurious_rewards.workflow.progress import Progress, duration, last_sentence, read_state
from spurious_rewards.workflow.stages import profile_folder

STOP_SECONDS = (8, 2, 2)
"""How long an interrupted Snakemake may take to stop its notebooks, after each of SIGINT, SIGTERM and SIGKILL."""


def run(
    profile: str, /, cores: int = 0, dry_run: bool = False, cluster: Path | None = None, snakemake: str = sys.executable
) -> None:
    """Run all jobs of a profile that are not done.

    Args:
        profile: name of a file in profiles/, without .yaml.
        cores: of this machine; 0 takes all usable ones.
        dry_run: check everything and print the jobs; nothing runs.
        cluster: folder of a Snakemake profile, as profiles/slurm; jobs run there.
        snakemake: Python that has Snakemake and the cluster's plugin.
    """
    for request in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(request) != signal.SIG_IGN:  # nohup stays nohup
            signal.signal(request, signal.default_int_handler)
    make_ready()
    reproduce(profile, cores or hardware()["cores"], dry_run, cluster, snakemake)


main = command(run)


def reproduce(
    name: str, cores: int, dry_run: bool = False, cluster: Path | None = None, snakemake: str = sys.executable
) -> None:
    """Run all jobs of profile `name` that are not done, `cores` at a time.

    Args:
        name: the profile.
        cores: of this machine; on a cluster its own limits hold.
        dry_run: only check, and print the jobs.
        cluster: folder of a Snakemake profile that sends the jobs elsewhere.
        snakemake: the Python that runs Snakemake; jobs run with this process's Python.

    Raises:
        InputError: something is wrong that can be seen before anything runs.
        NotebookError: jobs failed; the message names each with its sentence and its log.
    """
    began = time.monotonic()
    if cores < 1:
        raise InputError(f"--cores must be at least 1, but it is {cores}.")
    if cluster is not None and not (cluster / "config.yaml").is_file():
        raise InputError(f"There is no Snakemake profile {cluster / 'config.yaml'}; give a folder like profiles/slurm.")
    profile = load_profile(name)
    missing = missing_requirements(profile, here=cluster is None)
    if dry_run:
        print(table(profile))
        print("\n".join(f"To run it here: {sentence}" for sentence in missing) or "This machine can run it.")
        return
    if missing:
        raise InputError(" ".join(missing))
    with exclusive(runs_dir() / ".reproduce.lock", "This checkout's runs folder") as lock:
        for job in forget_outdated(profile):
            print(
                f"Job {job.name} was done, but it has changed, or its files are not those that it wrote; it runs again."
            )
        done_before = sum(job.result_file.is_file() for job in profile.jobs)
        where = f"cluster {cluster}" if cluster else f"{cores} cores"
        print(f"Profile {name}: {len(profile.jobs)} jobs, {done_before} done before, {where}.", flush=True)
        status = _run_snakemake(profile, _command(profile, cores, cluster, snakemake), lock)
    unfinished = [job for job in profile.jobs if not job.result_file.is_file()]
    if status or unfinished:
        raise NotebookError(_failures(profile, len(profile.jobs) - len(unfinished)))
    print(f"All {len(profile.jobs)} jobs of profile {name} are done ({duration(time.monotonic() - began)}).")
    for output in dict.fromkeys(output for job in profile.jobs for output in job.outputs):
        print(f"Written: {project_root() / output}")
    if (project_root() / "profiles" / f"{name}.yaml").is_file():  # a personal profile leaves results/ alone
        copy_notebooks(profile, project_root() / "results" / "notebooks" / name)
    print(f"Executed notebooks: {profile_folder(name) / 'notebooks'}")


def missing_requirements(profile: Profile, here: bool = True) -> list[str]:
    """List what this machine lacks to run the profile, one sentence each; empty if it can.

    `gpu` asks for a GPU that nvidia-smi lists. `data` asks for a folder in `SPURIOUS_DATA_DIR`, or for
    the hub, or for data downloaded from it before. Memory and GPUs count only if the jobs run `here`, not on a
    cluster.
    """
    machine = hardware()
    try:
        runs_dir().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return [f"{runs_dir()} cannot be made ({error.strerror}); set SPURIOUS_RUNS_DIR to one that can be written."]
    sentences = []
    if here and "gpu" in profile.requires and not machine["gpus"]:
        sentences.append(f"Profile {profile.name} needs a GPU, and nvidia-smi lists none; run it where there is one.")
    folder = os.environ.get("SPURIOUS_DATA_DIR")
    if "data" in profile.requires and folder and not Path(folder).is_dir():
        sentences.append(f"SPURIOUS_DATA_DIR is {folder}, which is no folder; correct it, or unset it to use the hub.")
    if "data" in profile.requires and not folder and not data_downloaded() and not hub_reachable():
        sentences.append(
            f"Profile {profile.name} needs data that are not here, and the Hugging Face hub cannot be reached; set "
            "SPURIOUS_DATA_DIR to a folder that holds them (make doctor), or run where the hub can be reached."
        )
    for resource, have, unit in (("memory_mb", machine["memory_gb"] * 1000, "MB of memory"),
                                 ("gpus", len(machine["gpus"]), "GPUs")):  # fmt: skip
        largest = max(profile.jobs, key=lambda job, resource=resource: job.resources[resource])
        if here and (need := largest.resources[resource]) > have and (have or "gpu" not in profile.requires):
            sentences.append(f"Job {largest.name} needs {need} {unit}, and this machine has {have:.0f}.")
    free_gb = shutil.disk_usage(runs_dir()).free / 1e9
    if free_gb < profile.disk_gb:
        sentences.append(
            f"Profile {profile.name} needs {profile.disk_gb:g} GB of disk, and {runs_dir()} has {free_gb:.1f} GB free; "
            "free some, or set SPURIOUS_RUNS_DIR to a folder on a larger disk."
        )
    if not os.access(runs_dir(), os.W_OK):
        sentences.append(f"{runs_dir()} is not writable; set SPURIOUS_RUNS_DIR to a folder that is.")
    return sentences


def _command(profile: Profile, cores: int, cluster: Path | None, snakemake: str) -> list[str]:
    root = code_root()
    if root is None:
        raise InputError("The Snakefile is not there; install the package from a checkout (pip install -e .).")
    machine = hardware()
    command = [
        snakemake, "-m", "snakemake", "--snakefile", str(root / "Snakefile"), "--directory", str(project_root()),
        "--keep-going",
        # What is out of date was decided by content in `forget_outdated`. Snakemake wants at least one rule of its own;
        # this one never holds, as no job has a software environment.
        "--rerun-triggers", "software-env",
        # A result file is renamed into place when all is done: one that exists is whole, even if its job was stopped
        # before Snakemake took note of its end.
        "--ignore-incomplete",
        "--nolock",  # our own lock vanishes with its process; Snakemake's would have to be removed by hand
        "--config", f"profile={profile.name}", f"python={sys.executable}",
    ]  # fmt: skip
    if cluster:
        return [*command, "--workflow-profile", str(cluster.resolve())]
    limits = [f"mem_mb={int(machine['memory_gb'] * 1000)}", f"gpu={len(machine['gpus'])}"]
    return [*command, "--cores", str(cores), "--resources", *limits]


def _run_snakemake(profile: Profile, command: list[str], lock: int) -> int:
    """Run the DAG, show progress, and return Snakemake's exit code; on Ctrl-C stop everything it started."""
    log = profile_folder(profile.name) / "snakemake.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    progress = Progress(profile)
    lib = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join([lib, *filter(None, [os.environ.get("PYTHONPATH")])])
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            bound(command), stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=project_root(),
            env={**os.environ, "PYTHONPATH": paths},  # Snakemake may be that of another environment
            start_new_session=True,  # a process group of its own, which we stop as a whole
            pass_fds=[lock],  # the lock stays while Snakemake lives, even if this process is killed
        )  # fmt: skip
    sign(lock, process.pid)
    try:
        while True:
            try:
                status = process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                progress.poll()
                continue
            progress.poll()
            return status
    except KeyboardInterrupt:
        progress.clear()
        print("\nStopping the running notebooks ...", file=sys.stderr, flush=True)
        _stop(process)
        done = sum(job.result_file.is_file() for job in profile.jobs)
        print(f"Run the same command again: {done} finished jobs of {len(profile.jobs)} are kept.", file=sys.stderr)
        raise
    finally:
        progress.clear()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End Snakemake and all it started, gently first; further Ctrl-C make it no faster and no messier."""
    previous = {request: signal.signal(request, signal.SIG_IGN) for request in (signal.SIGINT, signal.SIGTERM)}
    for request, seconds in zip((signal.SIGINT, signal.SIGTERM, signal.SIGKILL), STOP_SECONDS, strict=True):
        try:
            os.killpg(process.pid, request)
            process.wait(seconds)
            break
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            break
    for request, handler in previous.items():
        signal.signal(request, handler)


def _failures(profile: Profile, done: int) -> str:
    """Name what failed, each with its one sentence and its log."""
    failed = []
    for job in profile.jobs:
        ready = all(profile.job(name).result_file.is_file() for name in job.needs)
        if not job.result_file.is_file() and ready and (job.log_file.is_file() or job.state_file.is_file()):
            sentence = read_state(job).get("sentence") or last_sentence(job.log_file)
            failed.append(f"  {job.name}: {sentence}\n    log: {job.log_file}")
    log = profile_folder(profile.name) / "snakemake.log"
    head = f"Not all jobs of profile {profile.name} are done: {done} of {len(profile.jobs)}."
    tail = "Run the same command again when the cause is mended; finished jobs are kept."
    return "\n".join([head, *(failed or [f"  Snakemake stopped; see {log}"]), tail])


if __name__ == "__main__":
    sys.exit(main())
