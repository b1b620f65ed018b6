"""The pins are set on import, act, and can be switched off."""

import os
import subprocess
import sys

import pytest

from spurious_rewards.arithmetic import PINNED_DIGEST, PINS, VARIABLE, has_avx2

SHOW = "import spurious_rewards, torch; from spurious_rewards.arithmetic import state; print(*state().values())"
NEEDS_AVX2 = pytest.mark.skipif(not has_avx2(), reason="the pins are for x86-64 with AVX2 under Linux")


def shown(program: str = SHOW, **variables: str) -> list[str]:
    """What a fresh interpreter prints, of its arithmetic unless another program is given."""
    kept = {name: value for name, value in os.environ.items() if name not in (*PINS, VARIABLE)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=kept | variables, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@NEEDS_AVX2
def test_importing_the_package_pins():
    assert shown() == ["pinned", PINNED_DIGEST]
    assert shown(OMP_NUM_THREADS="2") == ["pinned", PINNED_DIGEST]


def test_pinned_arithmetic_attends_in_bf16():
    """A processor with AMX refuses prompts of this length unless oneDNN is kept from AMX, too."""
    attend = "print(*torch.nn.functional.scaled_dot_product_attention(q, q, q).shape)"
    program = f"import spurious_rewards, torch; q = torch.randn(1, 2, 200, 16).bfloat16(); {attend}"
    assert shown(program) == ["1", "2", "200", "16"]


@NEEDS_AVX2
def test_every_pin_is_set_and_none_replaces_the_users():
    show = f"import os, spurious_rewards; print(*(os.environ[name] for name in {tuple(PINS)}))"
    assert shown(show) == list(PINS.values())
    assert shown(show, ONEDNN_MAX_CPU_ISA="AVX2")[-1] == "AVX2"


def test_native_is_left_alone():
    state, digest = shown(**{VARIABLE: "native", "ATEN_CPU_CAPABILITY": "default"})
    assert state == "native" and digest != PINNED_DIGEST


def test_training_uses_the_fused_optimizer():
    """MKL's vectorised square root, which the unfused AdamW calls, rounds by processor even where it is pinned."""
    from spurious_rewards.training.arguments import settings
    from spurious_rewards.training.config import RunConfig

    assert settings(RunConfig(model="qwen-like"), "x", 8)["optim"] == "adamw_torch_fused"
