r"""Run math-verify in a process of its own: started by `worker_client`, killable, memory-limited, dies with its parent.

math-verify's own time-outs are signals and work in the main thread of a process only, and some inputs hold the
interpreter for minutes or take gigabytes. So it runs here: this process imports it once and then forks one child per
connection that the client hands over its standard input (a Unix socket). A child answers JSON lines

    {"gold": "…", "prediction": "…"}  →  {"equal": true}  or  {"error": "memory" | "unparsable" | "engine_error"}
    {"expression": "…"}               →  the same, for "sympy simplifies it to zero"

under three limits set before anything is parsed. The kernel terminates it after `cpu_seconds` of its own work, or
`seconds` after the request arrived, whichever comes first (`setitimer` with the default action, which needs no
cooperation of the interpreter). Its address space may grow by at most `megabytes`. A killed child costs the client one
fork, not another import. End of file on standard input ends this process, end of file on a connection ends the child.

Usage: `python -m spurious_rewards.rewards.grader.worker CPU_SECONDS SECONDS MEGABYTES`, a Unix socket as standard input
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import socket
import sys
from typing import Any

_PRECISE = 30  # significant digits of the check on math-verify's rounding
_RELATIVE = 1e-6  # a decimal must agree with an exact value to this; math-verify rounds to six decimals instead


def main(cpu_seconds: float, seconds: float, megabytes: int) -> None:
    """Import math-verify, then fork a child for every connection received on standard input."""
    logging.disable(logging.CRITICAL)
    _verify(r"\frac{x+1}{2}", "0.5x+0.5")  # fills parser and regex caches that all children share
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the kernel
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt in the notebook is not meant for us
    control = socket.socket(fileno=os.dup(0))
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            os.close(0)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _serve(socket.socket(fileno=descriptors[0]), cpu_seconds, seconds, megabytes)
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _serve(connection: socket.socket, cpu_seconds: float, seconds: float, megabytes: int) -> None:
    """Answer requests until the client closes the connection."""
    limit = _address_space() + megabytes * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, signal.SIG_DFL)
    with connection, connection.makefile("rb") as requests:
        connection.sendall(b'{"ready": true}\n')
        for line in requests:
            signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
            signal.setitimer(signal.ITIMER_REAL, seconds)
            answer = _answer(json.loads(line))
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.setitimer(signal.ITIMER_PROF, 0)
            connection.sendall(json.dumps(answer).encode() + b"\n")
            if "error" in answer:
                return  # start afresh after a failure: memory and caches may be in any state


def _address_space() -> int:
    """Return the bytes of virtual memory this process uses now."""
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            return int(stream.read().split()[0]) * resource.getpagesize()
    except OSError:  # not Linux
        return 1 << 30


def _answer(request: dict[str, str]) -> dict[str, Any]:
    try:
        if "expression" in request:
            return {"equal": _is_zero(request["expression"])}
        return _verify(request["gold"], request["prediction"])
    except MemoryError:
        return {"error": "memory"}
    except Exception:  # anything a computer algebra system may raise; the pair is undecidable, the reason is recorded
        return {"error": "engine_error"}


def _verify(gold: str, prediction: str) -> dict[str, Any]:
    """math-verify's verdict, with the gold boxed, and without equalities that exist only by its rounding."""
    from math_verify import parse, verify

    parsed_gold, parsed_prediction = (parse(rf"\boxed{{{text}}}", parsing_timeout=None) for text in (gold, prediction))
    if not parsed_gold or not parsed_prediction:
        return {"error": "unparsable"}
    equal = verify(parsed_gold, parsed_prediction, timeout_seconds=None, allow_set_relation_comp=True)
    return {"equal": bool(equal) and not _differ(parsed_gold[0], parsed_prediction[0])}


def _is_zero(expression: str) -> bool:
    from sympy import simplify
    from sympy.parsing.sympy_parser import implicit_multiplication_application, parse_expr, standard_transformations

    transformations = (*standard_transformations, implicit_multiplication_application)
    return bool(simplify(parse_expr(expression.replace("^", "**"), transformations=transformations)) == 0)


def _differ(a: Any, b: Any) -> bool:
    """Tell whether two constants that math-verify calls equal differ when compared relative to their size."""
    from sympy import Expr, Float

    if not (isinstance(a, Expr) and isinstance(b, Expr)) or a.free_symbols or b.free_symbols:
        return False
    size = max(abs(a.evalf(_PRECISE)), abs(b.evalf(_PRECISE)))
    if not size.is_Float and not size.is_Rational:
        return False
    if size == 0:
        return False
    tolerance = _RELATIVE if a.has(Float) or b.has(Float) else 1e-15
    return bool(abs((a - b).evalf(_PRECISE)) / size > tolerance)


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
