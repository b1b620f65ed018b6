"""The answer in words: what it says follows from the tables."""

import re
from itertools import chain

import pandas as pd
import pytest

from spurious_rewards.reporting.paragraph import MIND, WHY, paragraph
from spurious_rewards.storage.paths import code_root


@pytest.fixture
def results(tmp_path):
    (tmp_path / "tables" / "mechanism").mkdir(parents=True)
    (tmp_path / "tables" / "toy").mkdir()
    rows = [
        ("one-token", 3e-4, "two_sided", 0.04, 0.02, 0.06),
        ("one-token", 3e-4, "none", 0.007, -0.01, 0.03),
        ("qwen-like", 3e-4, "two_sided", -0.001, -0.01, 0.01),
        ("qwen-like", 3e-4, "none", 0.01, 0.001, 0.02),
        ("llama-like", 3e-4, "two_sided", 9.0, 8.0, 10.0),  # does not prefer code
    ]
    drift = pd.DataFrame(rows, columns=["model", "learning_rate", "part", "value", "value_low", "value_high"])
    drift.assign(quantity="code_logit").to_csv(tmp_path / "tables" / "mechanism" / "drift.csv")
    tests = [
        ("C1", "qwen-like (profile toy)", "random reward", "change", -0.021, -0.03, -0.01),
        ("C4", "qwen-like (profile toy)", "random reward, with minus without clip", "paired", 0.08, 0.01, 0.15),
        ("C4", "qwen-like (profile toy)", "random reward, without the clip", "change", -0.5, -0.6, -0.4),
        ("C1", "qwen-like-at10 (profile toy)", "random reward", "change", 0.9, 0.8, 1.0),
    ]
    pd.DataFrame(tests, columns=["claim", "scale", "about", "effect", "estimate", "low", "high"]).to_csv(
        tmp_path / "tables" / "toy" / "tests.csv"
    )
    spread = [("toy", "qwen-like", 3e-5, "spread, with clip", 0.042, 0.03, 0.05, 0.06, 0.049, 0.1)]
    spread += [("toy", "qwen-like", 3e-5, "added by the clip", -0.0005, -0.0016, 0.0006, 0.02, -0.08, 0.13)]
    spread += [("other", "qwen-like", 3e-5, "spread, with clip", 0.9, 0.9, 0.9, 0.9, 0.9, 0.9)]
    spread += [("toy", "qwen-like", 3e-4, "spread, with clip", 0.8, 0.8, 0.8, 0.8, 0.8, 0.8)]
    names = [f"{what}{end}" for what in ("predicted", "measured") for end in ("", "_low", "_high")]
    pd.DataFrame(spread, columns=["profile", "model", "learning_rate", "part", *names]).to_csv(
        tmp_path / "tables" / "drift_in_training.csv"
    )
    return tmp_path


def test_each_sentence_follows_from_its_table(results):
    parts = paragraph(results, "toy")
    assert [len(sentences) for sentences in parts.values()] == [1, 2, 1, 1, 2, 1]
    said = list(chain(*parts.values()))
    assert (said[0], said[-1]) == (WHY, MIND)
    assert "of one-token by +0.040 per rollout batch, towards code." in said[1], "the larger of the two organisms'"
    assert said[2] == "Without any clip the same rollouts move them by +0.0070, too little to tell from chance."
    assert said[3].endswith("of qwen-like by −0.05 points, within limits no further than 0.16.")
    assert "step size 3e-5 merely wander, seeds end 4.2 points of code apart (standard deviation)" in said[4]
    assert said[4].endswith("they end 6.0 apart, as foretold.")
    assert said[5].endswith("the accuracy of qwen-like by −2.1 points, a loss.")
    assert said[6].endswith("+8.0 points apart from that of its twin without the clip, so the clip favours code.")
    assert len(said) == 8, "organisms of other ages and other models are not spoken of"


def test_without_tables_there_is_no_paragraph(tmp_path):
    assert paragraph(tmp_path, "toy") == {}


def test_the_committed_paragraph_can_be_read():
    said = list(chain(*paragraph(code_root() / "results", "decide").values()))
    assert len(said) >= 4
    for sentence in said:
        assert len(sentence.split()) <= 40 and len(re.findall(r"(?<![\w.-])[+−]?\d[\d.e−-]*", sentence)) <= 3, sentence
