"""The answer in words: what it says follows from the tables."""

import re
from itertools import chain

import pandas as pd
import pytest

from spurious_rewards.reporting.paragraph import MIND, PAIRS, WHY, paragraph
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
        ("C1", "qwen-like (profile toy)", "random reward", "change", -0.021, -0.03, -0.01, "undecided"),
        (
            "C4",
            "qwen-like (profile toy)",
            "random reward, with minus without clip",
            "paired",
            0.08,
            0.01,
            0.15,
            "supported",
        ),
        ("C4", "qwen-like (profile toy)", "random reward, without the clip", "change", -0.5, -0.6, -0.4, "destruction"),
        ("C1", "qwen-like-at10 (profile toy)", "random reward", "change", 0.9, 0.8, 1.0, "supported"),
    ]
    pd.DataFrame(tests, columns=["claim", "scale", "about", "effect", "estimate", "low", "high", "verdict"]).to_csv(
        tmp_path / "tables" / "toy" / "tests.csv"
    )
    pd.DataFrame(
        {
            "arm": [
                "random γ=0.5, two_sided, model=qwen-like, learning_rate=0.0001",
                "random γ=0.5, two_sided, model=qwen-like, learning_rate=3e-05",
                "random γ=0.5, none, model=qwen-like, learning_rate=3e-05",
            ],
            "clip_fraction_later_mean": [0.5, 0.0002, 0.0],
        }
    ).to_csv(tmp_path / "tables" / "toy" / "clip_activity.csv")
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
    assert [len(sentences) for sentences in parts.values()] == [1, 3, 2, 1, 4, 1]
    said = list(chain(*parts.values()))
    assert (said[0], said[1], said[-1]) == (WHY, PAIRS, MIND)
    assert said[2].endswith(
        "of one-token by +0.040, towards code; without any clip they move by +0.0070, too little to tell from chance."
    )
    assert "code of qwen-like by −0.0010, too little" in said[3] and said[3].endswith("by +0.010, towards code.")
    assert said[4].endswith("of qwen-like by −0.05 points, and by no more than 0.16 within the limits.")
    assert said[5].endswith("differ by +2.0 points (rollouts, paired by seed), which does not contradict that.")
    assert "step size 3e-5 merely wander, seeds end 4.2 points of code apart (standard deviation)" in said[6]
    assert said[6].endswith("they end 6.0 apart, as foretold.")
    assert said[7].endswith("by −2.1 points, a loss, but no verdict yet.")
    assert said[8] == "The clip acted on 0.02 % of its tokens."
    assert said[9].endswith("+8.0 points apart from that of its twin without the clip, towards code.")
    assert said[10] == "Without the clip, its accuracy changed by −50.0 points, a loss."
    assert len(said) == 12, "organisms of other ages and other models are not spoken of"


def test_what_runs_contradict_is_said(results):
    path = results / "tables" / "drift_in_training.csv"
    table = pd.read_csv(path)
    table.loc[table["part"].eq("added by the clip"), "measured_low"] = 0.01
    table.to_csv(path)
    assert paragraph(results, "toy")["Added up over a run"][1].endswith("which contradicts that.")


def test_without_tables_there_is_no_paragraph(tmp_path):
    assert paragraph(tmp_path, "toy") == {}


def test_the_committed_paragraph_can_be_read():
    said = list(chain(*paragraph(code_root() / "results", "decide").values()))
    assert len(said) >= 4
    for sentence in said:
        assert len(sentence.split()) <= 40 and len(re.findall(r"(?<![\w.-])[+−]?\d[\d.e−-]*", sentence)) <= 3, sentence
