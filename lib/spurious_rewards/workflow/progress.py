"""Tell which jobs of a profile are done, running and failed, from the files that jobs leave.

The files are the jobs' own, so this holds on one machine and on a cluster alike.

>>> duration(83), duration(3900)
('1:23', '1:05:00')
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

from spurious_rewards.errors import InputError
from spurious_rewards.storage.files import read_json
from spurious_rewards.workflow.profiles import Profile
from spurious_rewards.workflow.stages import Job

PATIENCE_SECONDS = 10.0
"""After how long a loop shows a bar with its progress and the time left."""
QUIET_SECONDS = 60.0
"""Where the output is no terminal, how long nothing may be printed before a line says what is going on."""


class Progress:
    """Print one line per job that ends and, on a terminal, one line of what is going on."""

    def __init__(self, profile: Profile):
        self.open = [job for job in profile.jobs if not job.result_file.is_file()]
        self.failed: dict[str, str] = {}  # job name -> its one sentence
        self.n_to_do = len(self.open)
        self.minutes_to_do = sum(map(_minutes, self.open))  # as the profile expects them
        self.minutes_done = 0.0
        self.began = self.printed = time.monotonic()
        for job in self.open:  # what an earlier session left behind
            job.state_file.unlink(missing_ok=True)

    @property
    def n_ended(self) -> int:
        """Count the jobs of this session that are done or have failed."""
        return self.n_to_do - len(self.open) + len(self.failed)

    def poll(self) -> None:
        """Look at the files once and print what has changed."""
        for job in list(self.open):
            if job.result_file.is_file():
                self.open.remove(job)
                self.failed.pop(job.name, None)
                self.minutes_done += _minutes(job)
                self._say(f"[{self.n_ended}/{self.n_to_do}] {job.name}, {self._times()}")
            elif job.name not in self.failed and (state := read_state(job)).get("state") == "failed":
                self.failed[job.name] = state["sentence"]
                self._say(f"[{self.n_ended}/{self.n_to_do}] {job.name} failed: {state['sentence']}, {self._times()}")
        running = [job.name for job in self.open if read_state(job).get("state") == "running"]
        text = f"{self.n_ended}/{self.n_to_do} done, {self._times()}; running: {', '.join(running) or '-'}"
        if sys.stderr.isatty():
            line = f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}"
            print(line, end="", file=sys.stderr, flush=True)
        elif self.n_to_do and time.monotonic() - self.printed > QUIET_SECONDS:
            self._say(text)

    def clear(self) -> None:
        """Remove the line of what is going on."""
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _say(self, text: str) -> None:
        self.clear()
        print(text, flush=True)
        self.printed = time.monotonic()

    def _times(self) -> str:
        """Return the time elapsed and, once a job is finished, an estimate of what is left at the pace so far."""
        elapsed = time.monotonic() - self.began
        text = f"{duration(elapsed)} elapsed"
        if self.minutes_done and self.open:
            left = elapsed * max(self.minutes_to_do - self.minutes_done, 0) / self.minutes_done
            text += f", about {duration(left)} left"
        return text


def read_state(job: Job) -> dict[str, Any]:
    """Read a job's state file; empty where there is none, or a damaged one."""
    try:
        state = read_json(job.state_file)
    except (FileNotFoundError, InputError):
        return {}
    return state if isinstance(state, dict) else {}


def last_sentence(log: Path) -> str:
    """Read the last line of a job's log: what the executor said when it failed."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1] if lines else "no message"


def duration(seconds: float) -> str:
    """Write a time as minutes and seconds, with hours if there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _minutes(job: Job) -> float:
    return job.resources["minutes"] or 0.1
