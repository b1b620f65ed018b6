"""Give each job GPUs of its own, by a lock per device; a job that asks for none sees none.

Snakemake counts GPUs but assigns none, and every program takes device 0 unless told otherwise. The locks belong to the
machine, not to a runs folder, so that two checkouts share the devices too. A scheduler's own choice
(CUDA_VISIBLE_DEVICES, as Slurm sets it) is kept: devices are taken from among those.

>>> with held(0) as locks:
...     os.environ["CUDA_VISIBLE_DEVICES"], locks
('', [])
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from spurious_rewards.errors import InputError, LockedError
from spurious_rewards.storage.locks import exclusive
from spurious_rewards.storage.provenance import visible_gpus

WAIT_SECONDS = 600.0
"""How long a job waits for a GPU that another process of ours still holds, before it gives up."""


@contextmanager
def held(count: int, wait_seconds: float = WAIT_SECONDS) -> Iterator[list[int]]:
    """Hold `count` GPUs and name them in CUDA_VISIBLE_DEVICES inside the `with` block.

    The block gets the descriptors of the locks: a child that inherits them keeps the devices taken while it lives.

    Args:
        count: number of GPUs; with 0 CUDA_VISIBLE_DEVICES is empty.
        wait_seconds: how long to wait for devices that are in use.

    Raises:
        InputError: the machine has fewer GPUs, or they stay in use.
    """
    before = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")}
    with ExitStack() as stack:
        names, locks = _taken(count, wait_seconds, stack) if count else ([], [])
        # CUDA numbers devices by speed unless told to number them as nvidia-smi does.
        os.environ.update({"CUDA_VISIBLE_DEVICES": ",".join(names), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
        try:
            yield locks
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def lock_folder() -> Path:
    """Find the folder of this user's GPU locks on this machine."""
    return Path(tempfile.gettempdir()) / f"spurious-rewards-gpus-{os.getuid()}"


def _taken(count: int, wait_seconds: float, stack: ExitStack) -> tuple[list[str], list[int]]:
    """Return names and lock descriptors of `count` free devices, entered into `stack`."""
    gpus = visible_gpus()
    if len(gpus) < count:
        raise InputError(
            f"This job needs {count} GPUs, and {len(gpus)} can be seen here; run it where there are enough."
        )
    until = time.monotonic() + wait_seconds
    while True:
        names, locks, busy = [], [], None
        attempt = ExitStack()
        for gpu in gpus:
            try:
                locks.append(attempt.enter_context(exclusive(lock_folder() / f"{gpu.uuid}.lock", f"GPU {gpu.index}")))
                names.append(gpu.index)
            except LockedError as error:
                busy = error
            if len(names) == count:
                stack.push(attempt)
                return names, locks
        attempt.close()
        if time.monotonic() > until:
            raise InputError(f"Only {len(names)} of {count} GPUs became free in {wait_seconds:.0f} s. {busy}") from busy
        time.sleep(1)
