"""docs/security.md: every test and command that a row names exists, and runs where the page says."""

import re

import pytest

from spurious_rewards.storage.paths import code_root

ROOT = code_root()
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
HEADS = (["what", "what happens", "test"], ["machine", "test"])
MARKS = ("slow", "vllm", "slurm", "browser", "jupyterlab", "gpu")


def cited():
    """(row, file, part of a test's name, commands of the row); "same" is the file of the row before."""
    file = None
    for row in (row for row in ROWS if row not in HEADS):
        commands = re.findall(r"`(make [^`]+)`", row[-1])
        for citation in row[-1].split("; "):
            first, *names = re.findall(r"`((?!make )[^`]+)`", citation)
            if citation.startswith("part "):
                file, names = "tests/faults/faults.py", [first]
            elif citation.startswith("same"):
                names = [first, *names]
            else:
                file = first
            yield from ((row[0], file, name, commands) for name in names or [""])


@pytest.mark.parametrize(("row", "file", "name", "commands"), cited())
def test_the_test_of_each_row_exists_and_runs_where_the_page_says(row, file, name, commands):
    assert file and name, "a row names a file and a part of a test's name"
    text = (ROOT / file).read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {command.removeprefix("make ") for command in commands} <= set(targets)
    if file == "tests/faults/faults.py":
        assert f'"{name}"' in text.partition("PARTS = ")[2].partition("\n")[0] and commands == ["make test-faults"]
        return
    tests = re.findall(rf"((?:^@.*\n(?:^ .*\n|^\).*\n)*)*)^def test_\w*{name}\w*\(", text, re.MULTILINE)
    assert tests, f"no test of {file} has {name} in its name"
    wanted = {
        mark for mark in MARKS for one in tests if f"mark.{mark}" in one or f"pytestmark = pytest.mark.{mark}" in text
    }
    assert {f"make test-{mark}" for mark in wanted} <= set(commands)


def test_other_files_that_the_page_names_exist():
    paths = [word for word in re.findall(r"`([^`]+)`", PAGE) if "/" in word and " " not in word and "://" not in word]
    links = re.findall(r"\]\(\.\./([^)]+)\)", PAGE)
    assert len(paths) > 20 and links
    assert all((ROOT / path).exists() for path in (*paths, *links) if not path.startswith("/dev")), paths
