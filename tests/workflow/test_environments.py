"""The descriptions of the environment agree: pyproject, requirements, locks, conda, Docker, continuous integration."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from spurious_rewards.storage.paths import code_root
from spurious_rewards.workflow import doctor

ROOT = code_root()
LOCKS = ["cpu", "gpu", "vllm-cpu", "slurm", "deepspeed"]
# vLLM wants these older than the CPU lock has them.
OLDER_WITH_VLLM = {"numpy", "lark", "setuptools"}


def locked(name):
    """Requirement of each package of a lock, by name; a package may stand there once per Python version."""
    lines = (ROOT / "requirements" / f"{name}.lock.txt").read_text().splitlines()
    found = {}
    for line in lines:
        if not line.startswith((" ", "#")) and line:
            requirement = Requirement(line.rstrip(" \\"))
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def version(requirement):
    return str(requirement.specifier).removeprefix("==")


def asked(name):
    """Requirements of an .in file, those of the files that it includes among them."""
    found = []
    for line in (ROOT / "requirements" / f"{name}.in").read_text().splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("-r"):
            found += asked(line.split()[1].removesuffix(".in"))
        elif line and not line.startswith("-"):
            found.append(Requirement(line))
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_what_was_asked_for_and_a_hash_for_everything(name):
    lock = locked(name)
    for requirement in asked(name):
        found = lock[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version(one)) for one in found), requirement
    text = (ROOT / "requirements" / f"{name}.lock.txt").read_text()
    assert "sys_platform == 'never'" not in text and "://" not in text
    for entry in re.split(r"\n(?=\S)", text.strip()):
        assert "--hash=sha256:" in entry, entry


def test_locks_name_the_same_versions():
    cpu = locked("cpu")
    for name in ("gpu", "vllm-cpu", "slurm", "deepspeed"):
        different = {
            package
            for package, found in locked(name).items()
            if package in cpu and not {version(one) for one in found} & {version(one) for one in cpu[package]}
        }
        if name == "slurm":  # an environment of its own: only Snakemake itself has to agree
            different = {package for package in different if package.startswith("snakemake")}
        assert different <= (OLDER_WITH_VLLM if name != "deepspeed" else OLDER_WITH_VLLM | different), name
    gpu = locked("gpu")
    assert all(version(found[0]) == version(gpu[name][0]) for name, found in locked("deepspeed").items() if name in gpu)


def test_the_package_asks_for_what_the_locks_have():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name in ("cpu", "gpu"):
        assert {canonicalize_name(one) for one in project["dependencies"]} <= set(locked(name))
    pythons = SpecifierSet(project["requires-python"])
    offered = [one for one in ("3.10", "3.11", "3.12", "3.13", "3.14") if pythons.contains(one)]
    assert offered == ["3.11", "3.12", "3.13"]
    tests = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"]["test"]
    assert tests["strategy"]["matrix"]["python"] == offered
    for package, found in locked("cpu").items():  # one lock for all of them
        markers = [one.marker for one in found if one.marker and "python_full_version" in str(one.marker)]
        assert all(str(marker) for marker in markers), package


def test_conda_and_docker_install_the_gpu_lock():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert conda[-1]["pip"] == ["-r requirements/gpu.lock.txt"]  # no editable install: it has no hash
    assert {"python=3.11", "c-compiler"} <= set(conda[:-1])
    docker = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes -r requirements/gpu.lock.txt" in docker and "BASE=python:3.11-" in docker
    for needed in ("USER artifact", "HEALTHCHECK", '"tini"', "VOLUME /cache", "HF_TOKEN"):
        assert needed in docker
    assert "token=''" not in docker.replace('"', "'")  # JupyterLab asks for its token


def test_the_images_jupyter_asks_for_a_token(tmp_path):
    [command] = re.findall(r"^CMD (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[-1:]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    *make, flags = json.loads(command)
    flags = f"{flags.replace('0.0.0.0', '127.0.0.1')} --no-browser --ServerApp.port={port}"
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "JUPYTER"))}
    clean |= {name: str(tmp_path / name) for name in folders}
    with open(tmp_path / "log", "w") as log:
        command = [*make, flags, f"PY={sys.executable}"]
        process = subprocess.Popen(command, cwd=ROOT, env=clean, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 90
        while not (started := list((tmp_path / "JUPYTER_RUNTIME_DIR").glob("jpserver-*.json"))):
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        server = json.loads(started[0].read_text())
        address = f"http://127.0.0.1:{port}/api/contents"
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(address, timeout=20)
        assert len(server["token"]) >= 32
        assert urllib.request.urlopen(f"{address}?token={server['token']}", timeout=20).status == 200
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.fixture
def ci(tmp_path):
    """The script of continuous integration with a PATH on which `make` only says what it is asked for."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "dirname", "git"):
        (programs / name).symlink_to(shutil.which(name))
    scripts = {"make": f'echo "$@" >> {tmp_path}/made', "python3": f'exec {sys.executable} "$@"', "id": "echo 1000"}

    def run(*more):
        for name, text in (scripts | dict.fromkeys(more, "exit 0")).items():
            (programs / name).write_text(f"#!{programs}/bash\n{text}\n")
            (programs / name).chmod(0o755)
        clean = {name: value for name, value in os.environ.items() if name != "BROWSER_PATH"} | {"PATH": str(programs)}
        command = [str(programs / "bash"), str(ROOT / ".ci" / "run")]
        done = subprocess.run(command, env=clean, capture_output=True, text=True)
        return done, (tmp_path / "made").read_text().splitlines()

    return run


EVERYWHERE = ["test", "test-faults FAULTS=quick", "test-vllm"]
BROWSER, SLURM = ["test-browser", "test-jupyterlab"], ["test-slurm"]


def test_continuous_integration_runs_all_parts(ci):
    done, made = ci("chromium-headless-shell", "slurmctld")
    assert (done.returncode, made) == (0, EVERYWHERE + BROWSER + SLURM), done.stderr


@pytest.mark.parametrize(
    ("there", "parts", "sentence"),
    [
        ("slurmctld", SLURM, "No browser: the browser tests were not run."),
        ("chromium-headless-shell", BROWSER, "No Slurm: the tests of the cluster path were not run."),
    ],
)
def test_a_part_that_cannot_run_is_a_failure_at_the_end(ci, there, parts, sentence):
    done, made = ci(there)
    assert (done.returncode, made) == (1, EVERYWHERE + parts)
    assert done.stderr.splitlines()[-1] == sentence


def test_the_workflows_run_what_a_visitor_is_told_to_run():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"]
    ran = {step["run"].split(" PYTHON=")[0] for job in jobs.values() for step in job["steps"] if "run" in step}
    assert {
        "make lint",
        "make test",
        "make test-faults FAULTS=quick",
        "make test-browser",
        "make test-jupyterlab",
    } <= ran
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {line.split()[1] for line in ran if line.startswith("make ")} <= set(targets)


def test_an_old_driver_is_named(monkeypatch):
    machine = {"gpus": ["NVIDIA H100"], "gpu_memory_gb": 85.5, "gpu_driver": "535.161.08"}
    assert "TOO OLD: PyTorch of the lock is built for CUDA 13, which needs driver 580" in doctor._gpus(machine)
    assert doctor._gpus(machine | {"gpu_driver": "580.65.06"}) == "NVIDIA H100; 85.5 GB each, driver 580.65.06"
