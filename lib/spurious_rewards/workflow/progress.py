"""Snakemake's output, reduced to one line per finished job and, on a terminal, one line of what is going on.

The words looked for are those of the pinned Snakemake; were they to change, progress would be silent and all else work.

>>> duration(83), duration(3900)
('1:23', '1:05:00')
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from pathlib import Path

from spurious_rewards.workflow.profiles import Profile


class Progress:
    """Follows a Snakemake process by the lines it prints."""

    def __init__(self, profile: Profile):
        self.jobs = {job.name: job for job in profile.jobs}
        self.began = time.monotonic()
        self.weights_to_do = 0.0  # expected minutes of the jobs of this session that are not finished yet
        self.weights_done = 0.0
        self.n_to_do = 0
        self.n_done = 0
        self.names: dict[str, str] = {}  # Snakemake's job number -> our job name
        self.running: list[str] = []
        self._number = ""
        self._in_error = False  # between Snakemake's "Error in rule" and the job number below it

    def feed(self, line: str) -> None:
        """Take one line of Snakemake's output."""
        stage_weights = {job.stage: self._weight(job.name) for job in self.jobs.values()}
        if found := re.match(r"(\w+) +(\d+)$", line):  # the table of jobs to do, one line per stage
            stage, count = found[1], int(found[2])
            if stage in stage_weights and not self.n_done and not self.running:
                self.n_to_do += count
                self.weights_to_do += count * stage_weights[stage]
        elif line.startswith("Error in rule"):
            self._in_error = True
        elif found := re.match(r" +jobid: (\d+)", line):
            self._number = found[1]
            if self._in_error:
                self._in_error = False
                self._ended(self.names.get(found[1], ""), failed=True)
        elif found := re.match(r" +wildcards: job=(\S+)", line):
            self.names[self._number] = found[1]
            if found[1] in self.jobs and found[1] not in self.running:
                self.running.append(found[1])
        elif found := re.match(r"Finished jobid: (\d+)", line):
            self._ended(self.names.get(found[1], ""))
        self.tick()

    def tick(self) -> None:
        """On a terminal, redraw the line of what is going on."""
        if not sys.stdout.isatty() or not self.n_to_do:
            return
        text = f"{self.n_done}/{self.n_to_do} done, {self._times()}; running: {', '.join(self.running) or '-'}"
        print(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)

    def clear(self) -> None:
        """Remove that line."""
        if sys.stdout.isatty():
            print("\r\x1b[K", end="", flush=True)

    def _ended(self, name: str, failed: bool = False) -> None:
        if name not in self.running:
            return
        self.running.remove(name)
        self.n_done += 1
        self.weights_done += self._weight(name)
        self.clear()
        outcome = f" failed: {last_sentence(self.jobs[name].log_file)}" if failed else ""
        print(f"[{self.n_done}/{self.n_to_do}] {name}{outcome}, {self._times()}", flush=True)

    def _times(self) -> str:
        """Time elapsed and, once a job is finished, an estimate of what is left at the pace so far."""
        elapsed = time.monotonic() - self.began
        text = f"{duration(elapsed)} elapsed"
        if self.weights_done and self.n_to_do > self.n_done:
            left = elapsed * max(self.weights_to_do - self.weights_done, 0) / self.weights_done
            text += f", about {duration(left)} left"
        return text

    def _weight(self, name: str) -> float:
        return self.jobs[name].resources["minutes"] or 0.1


def last_sentence(log: Path) -> str:
    """The last line of a job's log: what the executor said when it failed."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1] if lines else "no message"


def duration(seconds: float) -> str:
    """Minutes and seconds, with hours if there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
