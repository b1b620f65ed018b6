"""README.md and the pages it leads to: numbers from the tables, short sentences, links and commands that exist."""

import json
import re

import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.elsewhere.layouts import FIELDS, GENERIC, LAYOUTS
from spurious_rewards.reporting.readme import BLOCK, BLOCKS, FILES, filled
from spurious_rewards.storage.paths import code_root

ROOT = code_root()
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in (*FILES, "docs/howto.md")}
pages = pytest.mark.parametrize("name", TEXTS)


def test_the_numbers_are_those_of_the_tables():
    found = set()
    for name in FILES:
        assert filled(TEXTS[name], ROOT / "results") == TEXTS[name], "run python -m spurious_rewards.reporting.readme"
        found |= {block for _, block, _ in BLOCK.findall(TEXTS[name])}
    assert found == set(BLOCKS)


def test_the_first_page_is_short():
    assert len(TEXTS["README.md"].encode()) <= 8200


@pages
def test_outside_of_the_blocks_stands_no_result(name):
    """Percentages, points and limits come from tables alone."""
    prose = BLOCK.sub("", re.sub(r"(?s)```.*?```", "", TEXTS[name]))
    assert not re.findall(r"\d\s*%|\d points|\[[−+-]?\d[^\]]*\](?!\()", prose)


@pages
def test_sentences_are_short(name):
    prose = re.sub(r"(?s)```.*?```|<!--.*?-->|`[^`]*`", "", TEXTS[name])
    blocks = re.split(r"\n\s*\n|\n(?=[|#-])", prose)
    for block in blocks:
        if block.startswith("|"):
            continue
        text = re.sub(r"\]\([^)]*\)", "]", re.sub(r"\s+", " ", block))
        for sentence in re.split(r"(?<=[.!?:;])\s+", text):
            assert len(sentence.split()) <= 40, sentence
            assert len(re.findall(r"(?<![\w.])\d[\d.,]*", re.sub(r"\[[^\]]*\]", "", sentence))) <= 3, sentence


@pages
def test_links_and_make_targets_exist(name):
    for link, _, anchor in re.findall(r"\]\(([^)#]+)(#([^)]+))?\)", TEXTS[name]):
        target = (ROOT / name).parent / link
        assert link.startswith("http") or target.exists(), link
        if anchor:
            heads = re.findall(r"(?m)^#+ (.+)$", target.read_text(encoding="utf-8"))
            assert anchor in {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}, anchor
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?m)(?:^|`)make ([a-z][a-z-]+)", TEXTS[name])) <= targets


def test_the_fields_of_ones_own_outputs_are_those_that_are_found():
    section = TEXTS["docs/howto.md"].partition("## Your own outputs\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    assert len(lines) >= 8
    for line in lines:
        fields, names = (re.findall(r"`(\w+)`", cell) for cell in line.strip("| ").split(" | "))
        assert fields and set(fields) <= set(FIELDS)
        assert names and set(names) <= {name for field in fields for name in GENERIC.paths[field]}
    assert all(layout.name.partition(" (")[0] in section for layout in LAYOUTS)


def test_commands_have_one_form():
    for name in (*TEXTS, "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.findall(r"(?m)(?:^|`)python -m", text), name


def test_the_minutes_of_an_organism_are_those_of_the_cards():
    cards = (ROOT / "lib" / "spurious_rewards" / "models" / "embedded").glob("*/card.json")
    seconds = [json.loads(path.read_text())["pretraining"]["cpu_seconds"] for path in cards]
    texts = [
        (ROOT / name).read_text(encoding="utf-8") for name in ("docs/howto.md", "Makefile", "profiles/organism.yaml")
    ]
    said = [int(number) for text in texts for number in re.findall(r"about (\d+)\s+minutes of one core each", text)]
    assert len(said) == 3 and len(set(said)) == 1
    assert said[0] == pytest.approx(sum(seconds) / len(seconds) / 60, rel=0.2)


def test_a_block_without_end_or_of_an_unknown_name_is_an_error():
    with pytest.raises(InputError, match="without its"):
        filled("<!-- begin answer -->\n", ROOT / "results")
    with pytest.raises(InputError, match="did you mean 'claims'"):
        filled("<!-- begin claim -->\nold\n<!-- end claim -->", ROOT / "results")
