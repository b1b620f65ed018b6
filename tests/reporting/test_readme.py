"""README.md: its numbers are those of the tables, its sentences are short, its links and commands exist."""

import re

import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.reporting.readme import BLOCK, BLOCKS, filled
from spurious_rewards.storage.paths import code_root

ROOT = code_root()
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_numbers_are_those_of_the_tables():
    assert filled(TEXT, ROOT / "results") == TEXT, "run python -m spurious_rewards.reporting.readme"
    assert {name for _, name, _ in BLOCK.findall(TEXT)} == set(BLOCKS)


def test_outside_of_the_blocks_stands_no_result():
    """Percentages, points and limits come from tables alone."""
    prose = BLOCK.sub("", re.sub(r"(?s)```.*?```", "", TEXT))
    assert not re.findall(r"\d\s*%|\d points|\[[−+-]?\d[^\]]*\](?!\()", prose)


def test_sentences_are_short():
    prose = re.sub(r"(?s)```.*?```|<!--.*?-->|`[^`]*`", "", TEXT)
    blocks = re.split(r"\n\s*\n|\n(?=[|#-])", prose)
    for block in blocks:
        if block.startswith("|"):
            continue
        text = re.sub(r"\]\([^)]*\)", "]", re.sub(r"\s+", " ", block))
        for sentence in re.split(r"(?<=[.!?:;])\s+", text):
            assert len(sentence.split()) <= 40, sentence
            assert len(re.findall(r"(?<![\w.])\d[\d.,]*", re.sub(r"\[[^\]]*\]", "", sentence))) <= 3, sentence


def test_links_and_make_targets_exist():
    for link in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert link.startswith("http") or (ROOT / link).exists(), link
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?m)(?:^|`)make ([a-z][a-z-]+)", TEXT)) <= targets


def test_a_block_without_end_or_of_an_unknown_name_is_an_error():
    with pytest.raises(InputError, match="without its"):
        filled("<!-- begin answer -->\n", ROOT / "results")
    with pytest.raises(InputError, match="did you mean 'claims'"):
        filled("<!-- begin claim -->\nold\n<!-- end claim -->", ROOT / "results")
