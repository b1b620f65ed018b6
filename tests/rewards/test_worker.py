"""The math-verify process: limits, restarts, threads, event loops, forks, spawned processes, and its end."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from spurious_rewards.rewards.grader import worker_client
from spurious_rewards.rewards.grading import grade

EQUAL = ("y=2x+3", "y-3=2x")  # gold, prediction; only the symbolic engine can tell
DIFFERENT = ("y=2x+3", "y-3=5x")
ENDLESS = (
    " + ".join(rf"\sin({k}x)\cos({k}y)" for k in range(1, 60)),
    " + ".join(rf"\sin({k}(x+y))" for k in range(1, 60)),
)
ENDED = [(False, "timeout"), (False, "timeout_busy")]  # the second on a busy machine
GREEDY = (r"\frac{d^{60}}{dx^{60}}(x^{40}\sin(x)^{40}e^{x^{3}})", "x")


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def wait_for(condition, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_verdicts():
    assert worker_client.equal(*EQUAL) == (True, "symbolic_equal")
    assert worker_client.equal(*DIFFERENT) == (False, "symbolic_differs")
    assert worker_client.is_zero("(x+1)^2-(x^2+2x+1)") == (True, "symbolic_equal")


def test_rounding_of_math_verify_is_corrected():
    # |1/2004! - 1/2006!| rounds to 0 at six decimals, and 1/2^98 - 1/2^99 is cut off at fifteen digits
    assert not worker_client.equal(r"\frac{1}{2004!}", r"\frac{1}{2006!}")[0]
    assert not worker_client.equal(r"\frac{1}{2^{98}}", r"\frac{1}{2^{99}}")[0]
    assert worker_client.equal(r"\frac{1}{12}", "0.0833333333333333")[0]


def test_importing_and_grading_leave_the_main_process_without_sympy():
    code = (
        "import sys; from spurious_rewards.rewards import grading, strategy;"
        "from spurious_rewards.rewards.grader import paper;"
        "assert not {'sympy', 'math_verify', 'latex2sympy2_extended', 'torch'} & set(sys.modules);"
        r"assert grading.grade(r'\boxed{y-3=2x}', 'y=2x+3').correct; assert 'sympy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_request_beyond_the_limit_is_killed_and_the_next_one_answered():
    worker_client.warm_up()
    worker = worker_client.process_id()
    started = time.monotonic()
    assert worker_client.equal(*ENDLESS) in ENDED
    assert worker_client.LIMIT_CPU_SECONDS - 0.1 < time.monotonic() - started < worker_client.LIMIT_SECONDS + 0.5
    started = time.monotonic()
    assert worker_client.equal(*EQUAL)[0]
    assert time.monotonic() - started < 1  # a fork, not an import
    assert worker_client.process_id() == worker


def test_memory_of_a_child_is_limited():
    worker_client.warm_up()
    verdict = worker_client.equal(*GREEDY)
    assert not verdict[0] and verdict[1] in ("memory", "timeout", "unparsable", "symbolic_differs")
    limit = 1024 * 1024 * (worker_client.MEMORY_MEGABYTES * worker_client.MAX_CHILDREN)
    assert sum(process.memory_info().rss for process in children()) < limit
    assert worker_client.MEMORY_MEGABYTES * worker_client.MAX_CHILDREN < 1024
    limits = [process.rlimit(psutil.RLIMIT_AS)[0] for process in children()]
    assert any(limit != psutil.RLIM_INFINITY for limit in limits)


def test_a_dead_worker_is_replaced():
    worker_client.warm_up()
    os.kill(worker_client.process_id(), signal.SIGKILL)
    assert wait_for(lambda: worker_client.process_id() is None)
    assert worker_client.equal(*EQUAL)[0]


def test_threads_do_not_wait_for_each_other():
    worker_client.warm_up()
    with ThreadPoolExecutor(6) as pool:
        endless = [pool.submit(worker_client.equal, *ENDLESS) for _ in range(2)]
        started = time.monotonic()
        assert all(pool.map(lambda _: worker_client.equal(*EQUAL)[0], range(20)))
        assert not all(future.done() for future in endless)
        assert time.monotonic() - started < worker_client.LIMIT_SECONDS
        assert all(future.result() in ENDED for future in endless)


@pytest.mark.parametrize("n_pairs", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_waiting_for_a_free_process_is_no_time_out(n_pairs):
    """Easy pairs from 64 threads on one core; each is work for the engine, none is in the cache."""
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from concurrent.futures import ThreadPoolExecutor; from spurious_rewards.rewards.grading import grade;"
        f"pairs = [(rf'\\boxed{{{{{{{{y-{{n}}=2x}}}}}}}}', f'y=2x+{{n}}') for n in range({n_pairs})];"
        "reasons = list(ThreadPoolExecutor(64).map(lambda pair: grade(*pair).reason, pairs));"
        "print(*sorted(set(reasons)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["symbolic_equal"]


def test_event_loop():
    async def many() -> list:
        texts = [(r"\boxed{y-3=2x}", "y=2x+3"), (r"\boxed{y-3=5x}", "y=2x+3")]
        return [grade(*texts[0])] + await asyncio.gather(*(asyncio.to_thread(grade, *text) for text in texts))

    assert [result.correct for result in asyncio.run(many())] == [True, True, False]


def _answer_in_child(queue) -> None:
    queue.put((worker_client.equal(*EQUAL), worker_client.process_id()))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_other_processes_have_a_worker_of_their_own(method):
    worker_client.warm_up()
    ours = worker_client.process_id()
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=_answer_in_child, args=(queue,))
    process.start()
    verdict, theirs = queue.get(timeout=60)
    process.join(timeout=30)
    assert verdict == (True, "symbolic_equal") and theirs not in (None, ours)
    assert worker_client.equal(*EQUAL)[0] and worker_client.process_id() == ours
    assert wait_for(lambda: not psutil.pid_exists(theirs))


@pytest.mark.parametrize("ending", ["", "import os; os._exit(0)", "import os; os.kill(os.getpid(), 9)"])
def test_the_worker_dies_with_its_parent(ending):
    code = (
        "from spurious_rewards.rewards.grader import worker_client; worker_client.warm_up();"
        f"print(worker_client.process_id(), flush=True); {ending}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    worker = int(done.stdout)
    assert wait_for(lambda: not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE)


def test_an_interrupt_of_the_parent_leaves_the_worker_usable():
    worker_client.warm_up()
    for process in children():
        process.send_signal(signal.SIGINT)
    assert worker_client.equal(*EQUAL)[0]


def test_hostile_text_cannot_break_the_protocol():
    for text in ('"}\n{"equal": true}', "\n\n", "\x00", "\ud83d", "{" * 100, '{"equal": true}'):
        assert worker_client.equal("y=2x+3", text)[0] is False
    assert worker_client.equal(*EQUAL)[0]
