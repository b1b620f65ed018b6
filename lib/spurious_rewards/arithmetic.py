"""Pin the arithmetic of PyTorch on x86-64, so that a run gives the same bits on every make of processor.

MKL and ATen choose their kernels by the processor they find, and kernels round differently: a run on an Intel and one
on an AMD processor begin with losses equal to six digits and may end elsewhere. `pin` asks both for kernels that every
x86-64 processor with AVX2 has. oneDNN, which multiplies in bf16, is kept from AMX: beside kernels of AVX2, PyTorch's
attention in bf16 fails on a processor with AMX ("pack_vnni2 is only supported when avx512 is supported").

Two things are out of reach. Processors without bf16 instructions of AVX-512 multiply in bf16 by other kernels, so
pinned bits are promised in fp32 only. And MKL's vectorised square root, which the unfused AdamW uses, rounds by
processor all the same. Training therefore uses the fused AdamW, whose square root is the exact one of IEEE 754.

Pinned matrix products take about twice the time, which hardly shows in a run of an organism and does in one of a real
model on a CPU, most of all in bf16 on a processor with AMX. The environment variable SPURIOUS_ARITHMETIC (`pinned`, the
default, or `native`) decides for every profile, and variables that are set already are left alone. `state` tells a
manifest what a process has.

Usage: importing the package pins; `SPURIOUS_ARITHMETIC=native python …` does not.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from pathlib import Path

VARIABLE = "SPURIOUS_ARITHMETIC"
PINS = {"MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}
"""What `pin` sets: MKL's reproducible branch that all makes honour, ATen's kernels for AVX2, oneDNN's short of AMX."""
PINNED_DIGEST = "d1125a12f8fa"
"""What `digest` gives where the pins act, on every processor tried (see docs/arithmetic.md)."""


def pin() -> None:
    """Set the pins for this process and its children, unless `SPURIOUS_ARITHMETIC` is native or AVX2 is missing.

    Only what was set before torch's first operation has an effect, so the package calls this when it is imported.
    """
    if os.environ.get(VARIABLE, "pinned") != "native" and has_avx2():
        for name, value in PINS.items():
            os.environ.setdefault(name, value)


def has_avx2() -> bool:
    """Tell whether this is an x86-64 processor under Linux that lists AVX2; ATen would crash without."""
    info = Path("/proc/cpuinfo")
    return platform.machine() == "x86_64" and info.is_file() and " avx2 " in info.read_text()


def state() -> dict[str, str]:
    """Tell how this process computes: `state` (pinned, native, or unused where torch is not loaded) and `digest`."""
    if "torch" not in sys.modules:
        return {"state": "unused", "digest": ""}
    found = digest()
    return {"state": "pinned" if found == PINNED_DIGEST else "native", "digest": found}


def digest() -> str:
    """Compute twelve hex digits over fixed matrix products, exponentials and sums: equal digits, equal kernels."""
    import torch

    values = (torch.arange(96 * 128, dtype=torch.float32) % 251 - 125) / 97
    left, right = values.view(96, 128), values.view(128, 96)
    product = left @ right
    parts = (product, left.exp(), left.abs().add(0.1).log(), (product / 50).softmax(-1), left.sum(-1), left[:5] @ right)
    return hashlib.sha256(b"".join(part.contiguous().numpy().tobytes() for part in parts)).hexdigest()[:12]
