"""The protocol of a study: what it may say, what is refused, and that verdicts follow it."""

import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.reporting import protocol as pr
from spurious_rewards.reporting.protocol import Arm, Protocol
from spurious_rewards.storage.yaml_text import read_mapping
from spurious_rewards.workflow.profiles import KEYS

TEXT = """
confidence: 0.95
smallest: {accuracy: 0.02}
destruction: 0.3
seeds: {least: 8, most: 32}
collapse: {loss: 0.25, share: 0.1, seeds: 24}
per: recipe
settings: {learning_rate: 0.0001, updates_per_batch: [8]}
family: [C1, C4]
claims:
  C1: {outcome: accuracy, effect: change, arms: [{reward: random}, {reward: ground_truth, expect: context}]}
  C4: {outcome: code, effect: paired, arms: [{reward: random, gamma: 0.3}], against: {clip_mode: none}}
"""


def read(text=TEXT):
    return Protocol.from_mapping(read_mapping(text, "demo"))


def test_what_is_written_is_read():
    found = read()
    assert found.smallest == {"accuracy": 0.02, "code": 0.05}, "what is left out keeps its default"
    assert (found.least, found.looks, found.collapse_loss, found.collapse_seeds) == (8, (8, 16, 32), 0.25, 24)
    assert found.settings == {"learning_rate": (0.0001,), "updates_per_batch": (8,)}
    rule = found.claims["C4"]
    assert rule.arms == (Arm("random", 0.3),) and rule.arms[0].but(rule.against) == Arm("random", 0.3, "none")
    assert Arm("format").but({"suffix": "_and_no_python"}) == Arm("format_and_no_python")
    assert set(found.claims) == {"C1", "C4"}


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("destruction: 0.3", "destruktion: 0.3", "'destruktion' .did you mean 'destruction'"),
        ("smallest: {accuracy: 0.02}", "smallest: {acuracy: 0.02}", "did you mean 'accuracy'"),
        ("destruction: 0.3", "destruction: 30", "must lie between 0 and 1"),
        ("least: 8", "least: 3", "at least 4 seeds"),
        ("most: 32", "most: 24", "doubled"),
        ("most: 32", "most: 4", "doubled"),
        ("per: recipe", "per: seed", "Unknown per of"),
        ("family: [C1, C4]", "family: [C1, C12]", "Unknown family"),
        ("outcome: code", "outcome: tokens", "Unknown outcome"),
        ("effect: paired", "effect: pared", "did you mean 'paired'"),
        (", against: {clip_mode: none}", "", "both need it"),
        ("expect: context", "expect: growth", "Unknown expect"),
        ("{reward: random, gamma: 0.3}", "{gamma: 0.3}", "lacks reward"),
        ("  C4:", "  C44:", "Unknown key in claims of protocol 'C44'"),
    ],
)
def test_what_makes_no_sense_is_refused(old, new, message):
    assert old in TEXT
    with pytest.raises(InputError, match=message):
        read(TEXT.replace(old, new))


def test_looks():
    found = read()
    assert found.looks == (8, 16, 32) and Protocol().looks == ()
    assert found.look(7, "C1")[0] == 0
    assert found.look(15, "C1") == (8, pytest.approx(0.0000885, rel=1e-2))
    assert found.look(40, "C4") == (32, pytest.approx(0.0444, abs=1e-4))
    assert found.look(15, "C2") == (15, pytest.approx(0.05)), "no claim of the family"
    assert Protocol().look(5, "C1") == (5, pytest.approx(0.05))


def test_the_study_that_decides_can_be_read():
    found = pr.protocol_of("decide")
    assert found.looks == (8, 16, 32) and {"C1", "C3", "C4", "C5", "C9", "C10"} <= set(found.claims)


def test_a_profile_may_carry_one(tmp_path, monkeypatch):
    monkeypatch.setattr(pr, "project_root", lambda: tmp_path)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mine.yaml").write_text("protocol:\n  destruction: 0.5\nstages: {}\n")
    assert pr.protocol_of("mine").destruction == 0.5 and pr.protocol_of("mine").family == pr.PRIMARY
    assert pr.protocol_of("not-here") == Protocol()
    assert "protocol" in KEYS
