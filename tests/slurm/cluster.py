"""A real Slurm of one node on this machine: munge, controller and daemon, with two GPUs that are only names."""

import os
import shutil
import socket
import stat
import subprocess
import time
from pathlib import Path

CONFIG = Path("/etc/slurm/slurm.conf")
"""The only place where commands inside a job look: Snakemake's executor clears Slurm's variables."""
GRES = CONFIG.with_name("gres.conf")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")


def missing() -> str:
    """Why no cluster can be started here, or nothing."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} not found (Debian: apt install slurmctld slurmd slurm-client munge)"
    if os.getuid() != 0:
        return "Slurm's daemons need root"
    return f"{CONFIG} exists: this machine has a Slurm of its own" if CONFIG.exists() else ""


class Cluster:
    """Starts in seconds; `stop` ends what was started and removes the configuration."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.processes: list[subprocess.Popen] = []

    def start(self) -> None:
        host = socket.gethostname().split(".")[0]
        for name in ("state", "spool", "munge"):
            (self.folder / name).mkdir(parents=True)
        for index in range(2):
            os.mknod(self.folder / f"gpu{index}", stat.S_IFCHR | 0o600, os.makedev(1, 3))  # /dev/null by another name
        memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 - 500
        GRES.write_text(f"NodeName={host} Name=gpu File={self.folder}/gpu[0-1]\n")
        CONFIG.write_text(
            f"ClusterName=test\nSlurmctldHost={host}(127.0.0.1)\nSlurmUser=root\nAuthType=auth/munge\n"
            f"AuthInfo=socket={self.folder}/munge/socket\nStateSaveLocation={self.folder}/state\n"
            f"SlurmdSpoolDir={self.folder}/spool\nSlurmctldPidFile={self.folder}/slurmctld.pid\n"
            f"SlurmdPidFile={self.folder}/slurmd.pid\nProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\n"
            "MpiDefault=none\nReturnToService=2\nSelectType=select/cons_tres\nSelectTypeParameters=CR_CPU_Memory\n"
            "GresTypes=gpu\nKillWait=10\n"
            f"NodeName={host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} RealMemory={memory_mb} "
            "Gres=gpu:2 State=UNKNOWN\n"
            "PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"
        )
        key = self.folder / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        munge = self.folder / "munge"
        self._run("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge}/socket",
                  f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed")  # fmt: skip
        self._until(lambda: (munge / "socket").exists())
        self._run("slurmctld", "-D")
        self._run("slurmd", "-D")
        self._until(lambda: "idle" in self.output("sinfo", "--noheader", "--format=%t"))

    def stop(self) -> None:
        subprocess.run(["scancel", f"--user={os.environ.get('USER', 'root')}"], check=False, capture_output=True)
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        CONFIG.unlink(missing_ok=True)
        GRES.unlink(missing_ok=True)

    def output(self, *command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def _run(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.log").open("w") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))

    def _until(self, condition, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                logs = "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))
                raise TimeoutError(f"Slurm did not start.\n{logs}")
            time.sleep(0.2)
