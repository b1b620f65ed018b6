r"""Ask the math-verify process, from any thread, notebook, event loop, forked or spawned process.

`equal(gold, prediction)` starts the worker process on first use (about a second), keeps up to `MAX_CHILDREN`
connections to it and gives every request a child of its own. More threads than that wait their turn, as long as it
takes: time counts from the start of work, never of waiting. A child is killed after `LIMIT_CPU_SECONDS` of work, so
that a verdict does not depend on what else the machine does, and in any case after `LIMIT_SECONDS`.

A forked copy of this process drops the inherited connections and starts a worker of its own when it needs one. The
worker is a module run by `sys.executable`: it needs nothing that was defined in a notebook.

>>> equal(r"\sqrt{50}", r"5\sqrt{2}"), equal(r"x+1", "x+2")
((True, 'symbolic_equal'), (False, 'symbolic_differs'))

Usage: `from spurious_rewards.rewards.grader.worker_client import equal`
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

LIMIT_CPU_SECONDS = 2.0  # a child is killed after so much work on one request
LIMIT_SECONDS = 4.0  # and this long after it received the request, on a machine that gives it less than half a core
START_SECONDS = 180.0  # patience for the import of math-verify on a busy machine
MAX_CHILDREN = 8  # times MEMORY_MEGABYTES stays below a gigabyte
MEMORY_MEGABYTES = 96  # that a child may allocate on top of the imported libraries


@dataclass
class _Connection:
    """Hold one child of the worker process."""

    socket: socket.socket
    buffer: bytes = b""
    ready: bool = False

    def read_line(self, seconds: float) -> bytes | None:
        """Return the next line, b"" if the child is gone, None if nothing came in time."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                return None
            except OSError:
                return b""
            if not data:
                return b""
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line


@dataclass
class _Worker:
    """Hold the worker process and the idle connections to it."""

    process: subprocess.Popen[bytes] | None = None
    control: socket.socket | None = None
    idle: list[_Connection] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    free: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(MAX_CHILDREN))

    def connect(self) -> _Connection:
        """Return an idle connection or a new one, starting the process if it is not running."""
        with self.lock:
            if self.process is None or self.process.poll() is not None:
                self._start()
            elif self.idle:
                return self.idle.pop()
            ours, theirs = socket.socketpair()
            with theirs:
                socket.send_fds(self.control, [b"c"], [theirs.fileno()])
            return _Connection(ours)

    def _start(self) -> None:
        self.close()
        self.control, theirs = socket.socketpair()
        path = os.pathsep.join(filter(None, [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]))
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        limits = (LIMIT_CPU_SECONDS, LIMIT_SECONDS, MEMORY_MEGABYTES)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.worker", *map(str, limits)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
            )

    def close(self) -> None:
        """Close our ends of all sockets; the process and its children end by themselves."""
        for connection in self.idle:
            connection.socket.close()
        self.idle.clear()
        if self.control is not None:
            self.control.close()
            self.control = None
        if self.process is not None:
            try:
                self.process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                self.process.kill()
            self.process = None


_worker = _Worker()


def _forget_in_child() -> None:
    """After a fork: leave the parent's worker to the parent."""
    global _worker
    inherited, _worker = _worker, _Worker()
    for connection in inherited.idle:
        connection.socket.close()
    if inherited.control is not None:
        inherited.control.close()


os.register_at_fork(after_in_child=_forget_in_child)
atexit.register(lambda: _worker.close())


def warm_up() -> None:
    """Start the worker now and wait until it answers."""
    equal("x", "x+0")


def process_id() -> int | None:
    """Return the process id of the worker, None while it is not running."""
    process = _worker.process
    return process.pid if process is not None and process.poll() is None else None


def equal(gold: str, prediction: str) -> tuple[bool, str]:
    """Ask whether math-verify takes two answers for equal; return that and the reason code, never raise."""
    return _request({"gold": gold, "prediction": prediction})


def is_zero(expression: str) -> tuple[bool, str]:
    """Ask whether sympy parses a plain-text expression and simplifies it to zero (paper mode); never raise."""
    return _request({"expression": expression})


def _request(content: dict[str, str]) -> tuple[bool, str]:
    worker = _worker
    with worker.free:
        return _ask(worker, json.dumps(content).encode() + b"\n")


def _ask(worker: _Worker, request: bytes) -> tuple[bool, str]:
    for _ in range(2):  # a second attempt if the worker process itself was gone
        try:
            connection = worker.connect()
            if not connection.ready:
                connection.ready = connection.read_line(START_SECONDS) not in (None, b"")
            if not connection.ready:
                raise OSError("the worker did not start")
            started = time.monotonic()
            connection.socket.settimeout(LIMIT_SECONDS)
            connection.socket.sendall(request)
        except OSError:
            continue
        line = connection.read_line(LIMIT_SECONDS + 0.5)
        if line:
            return _verdict(worker, connection, json.loads(line))
        connection.socket.close()
        seconds = time.monotonic() - started
        if seconds > 0.95 * LIMIT_SECONDS:
            return False, "timeout_busy"
        return False, "timeout" if seconds > 0.95 * LIMIT_CPU_SECONDS else "worker_died"
    return False, "worker_failed"


def _verdict(worker: _Worker, connection: _Connection, answer: dict[str, object]) -> tuple[bool, str]:
    if "error" in answer:
        connection.socket.close()
        return False, str(answer["error"])
    with worker.lock:
        worker.idle.append(connection)
    return (True, "symbolic_equal") if answer["equal"] else (False, "symbolic_differs")
