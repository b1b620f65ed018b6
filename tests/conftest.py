"""Fixtures for all tests."""

import pytest


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project that is the working directory, with its own runs folder."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "profiles").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPURIOUS_RUNS_DIR", raising=False)
    return tmp_path
