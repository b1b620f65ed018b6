"""Loops of more than ten seconds show how far they are and how long they will take; shorter ones print nothing."""

import re
import time

import pandas as pd
import pytest

from spurious_rewards.evaluation import coverage, rescore
from spurious_rewards.evaluation.elsewhere import outputs
from spurious_rewards.mechanism import decision, sweeps
from spurious_rewards.reporting import report, verify
from spurious_rewards.rewards import cases

MODULES = (cases, rescore, coverage, outputs, sweeps, decision, report, verify)
BAR = re.compile(r"\d+%\|.*\| \d+/\d+ \[\d\d:\d\d<[\d:?]+")


def judged(n):
    cases.run([{"right": True}] * n, lambda case: not time.sleep(0.05), "right")


def test_a_long_loop_tells_its_progress_and_a_short_one_is_quiet(monkeypatch, capsys):
    judged(3)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(cases, "PATIENCE_SECONDS", 0.1)
    judged(20)
    assert BAR.search(capsys.readouterr().err)


def test_stored_answers_that_are_graded_again_tell_their_progress(monkeypatch, capsys):
    monkeypatch.setattr(rescore, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(rescore, "_best", lambda stored, grader: time.sleep(0.05) or ("1", stored))

    class Stored:
        problem, sample, correct, extracted, reason, text = "p", 0, None, None, "", "1"

    assert isinstance(rescore.rescore([Stored()] * 20), pd.DataFrame)
    assert BAR.search(capsys.readouterr().err)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_patience_is_ten_seconds_everywhere(module):
    assert module.PATIENCE_SECONDS == 10 and hasattr(module, "tqdm")
