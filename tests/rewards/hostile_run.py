"""Grades the hostile inputs in an interpreter of their own and prints one JSON line: verdicts, times, peak memory.

Peak memory is that of this process and all below it (shared pages counted once). A test process has the libraries and
leavings of the tests before it in its memory; here there is nothing but the grader.

Usage: `python tests/rewards/hostile_run.py THREADS` (1 grades in the main thread; more grade every input twice)
"""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
from hostile_inputs import HOSTILE

from spurious_rewards.rewards.grader import worker_client
from spurious_rewards.rewards.grading import grade


class PeakMemory:
    """Peak of the memory of this process and all below it, sampled while active."""

    def __enter__(self) -> PeakMemory:
        self.bytes, self.active = 0, True
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.active = False
        self.thread.join()

    def watch(self) -> None:
        me = psutil.Process()
        while self.active:
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
            self.bytes = max(self.bytes, total)
            time.sleep(0.1)


def timed(case: tuple[str, str]) -> dict[str, object]:
    started = time.perf_counter()
    result = grade(*case)
    return {"seconds": time.perf_counter() - started, "correct": result.correct, "reason": result.reason}


def main(threads: int) -> None:
    worker_client.warm_up()
    with PeakMemory() as peak:
        if threads == 1:
            rows = [timed(case) for case in HOSTILE]
        else:
            with ThreadPoolExecutor(threads) as pool:
                rows = list(pool.map(timed, HOSTILE * 2))
    alive = grade(r"\boxed{y-3=2x}", "y=2x+3").correct  # interpreter and worker
    print(json.dumps({"rows": rows, "alive": alive, "peak_bytes": peak.bytes}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
