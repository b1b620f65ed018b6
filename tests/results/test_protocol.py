"""The rules of the study were committed before any of its runs."""

import json
import subprocess
from datetime import datetime
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MANIFESTS = sorted((ROOT / "results" / "manifests" / "decide").glob("*.json"))
RULES = "/^protocol:/,/^stages:/:profiles/decide.yaml"


def last_change() -> datetime:
    """When the rules were last committed, from git's history of their lines."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "log", "-s", "--format=%cI", "-L", RULES], capture_output=True, text=True, check=False
    )
    if done.returncode or not done.stdout.strip():
        pytest.skip("no history here: a downloaded archive, or a shallow clone")
    return datetime.fromisoformat(done.stdout.split()[0])


@pytest.mark.skipif(not MANIFESTS, reason="no run of the study is committed yet")
def test_the_rules_are_older_than_every_run_of_the_study():
    rules = last_change()
    started = {path.stem: datetime.fromisoformat(json.loads(path.read_text())["started"]) for path in MANIFESTS}
    early = sorted(run_id for run_id, when in started.items() if when < rules)
    assert not early, f"{len(early)} runs began before the rules were committed ({rules}): {early[:3]}"
