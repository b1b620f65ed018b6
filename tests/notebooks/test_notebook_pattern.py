"""Each notebook opens with what one learns, its time and what to change first, and ends with things to try."""

import re

import pytest
from test_notebook_sources import NOTEBOOKS, cells


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_opening(path):
    opening = cells(path, "markdown")[0].source
    title, question, *lines = opening.split("\n\n")
    assert title.startswith(f"# {path.stem[:2]} · ") and "?" in question
    assert [re.match(r"\*\*(.+?)\*\*", line)[1] for line in lines] == ["You learn", "Time", "Change first"]
    assert re.search(r"\d+ (seconds|minutes?)|half a minute|a minute|(one|two|three|four|five|six) minutes?", lines[1])
    assert len(opening.split()) <= 130


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_things_to_try_at_the_end(path):
    last = cells(path, "markdown")[-1].source
    assert "## Change one thing" in last
    tries = re.split(r"\n- ", last.split("## Change one thing")[1])[1:]
    assert 2 <= len(tries) <= 3
    assert all("?" in one and "<summary>What to expect</summary>" in one for one in tries)
