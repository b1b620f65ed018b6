"""The rules of the study were committed before any of its runs."""

import json
import re
import subprocess
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from spurious_rewards.reporting.protocol import protocol_of
from spurious_rewards.reporting.training_claims import planned_tests

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


def test_rules_that_live_in_code_are_those_of_the_page():
    page = " ".join((ROOT / "docs" / "protocol.md").read_text().split())
    rules = protocol_of("decide")
    collapse = re.search(
        r"more than (\d+) % and fewer than (\d+) %, lost over (\d+) points of accuracy takes (\d+) seeds", page
    )
    share = round(100 * rules.collapse_share)
    expected = (share, 100 - share, round(100 * rules.collapse_loss), rules.collapse_seeds)
    assert collapse and tuple(map(int, collapse.groups())) == expected
    looks = re.search(r"judged at (\d+), (\d+) and (\d+) seeds", page)
    assert looks and tuple(map(int, looks.groups())) == rules.looks
    smallest = re.search(r"(\d+) points of accuracy and (\d+) points of code frequency", page)
    expected = tuple(round(100 * rules.smallest[name]) for name in ("accuracy", "code"))
    assert smallest and tuple(map(int, smallest.groups())) == expected
    assert f"else, or fewer than {rules.least} seeds" in page
    assert f"lies beyond {round(100 * rules.destruction)} points is called *destruction*" in page
    assert f"show {100 * rules.confidence:g} % limits" in page
    assert f"for the {planned_tests(rules)} tests that are planned" in page
    assert f"rest on these four, the models that the profile takes to {rules.most} seeds" in page
    assert len(rules.models) == 4 and "olmo-like-s1" in rules.models


def test_claims_of_the_study_rest_on_the_runs_that_count():
    """Runs of another length, or with noise in the reward, are secondary: no row of the claims is about them."""
    table = pd.read_csv(ROOT / "results" / "tables" / "claims.csv")
    own = table[table["profile"].eq("decide")]
    assert len(own) > 5 and not own["scale"].str.contains("rollout batches|errors|advantages").any()
