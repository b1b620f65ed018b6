"""Fixtures for all tests, and the check of shapes."""

import importlib.util
import typing

import pytest

SHAPED = (
    "spurious_rewards.training.clip",
    "spurious_rewards.training.advantages",
    "spurious_rewards.training.diagnostics",
)
"""Modules whose annotations (`Float[Tensor, "batch tokens"]`) hold in every call that a test makes."""


def check_shapes() -> None:
    """Import the modules of `SHAPED` so that each call checks kind, type of numbers and shape of its tensors.

    The modules import the names of their annotations under TYPE_CHECKING only, to start quickly: here it is true for
    as long as they are imported. What they import themselves is imported before, as ever.
    """
    from jaxtyping import install_import_hook

    ours = ("spurious_rewards.rewards.extraction", "spurious_rewards.rewards.strategy")
    for name in ("accelerate", "beartype", "torch", *ours):
        importlib.import_module(name)

    with install_import_hook(list(SHAPED), "beartype.beartype"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(typing, "TYPE_CHECKING", True)
        for name in SHAPED:
            importlib.import_module(name)


if importlib.util.find_spec("beartype"):  # else tests/test_shapes.py is skipped, and says so
    check_shapes()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project that is the working directory, with its own runs folder."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "profiles").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPURIOUS_RUNS_DIR", raising=False)
    return tmp_path
