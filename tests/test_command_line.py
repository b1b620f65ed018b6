"""A function's parameters as a command line."""

from pathlib import Path

import pytest

from spurious_rewards.command_line import command
from spurious_rewards.errors import InputError, NotebookError

CALLS = []


def copy(
    source: Path, target: str = "here", /, max_pairs: int = 3, all_: bool = False, name: list[str] | None = None
) -> None:
    """Copy a thing.

    Args:
        source: what to copy, 100 %
            of it.
        max_pairs: at most so many.
    """
    CALLS.append((source, target, max_pairs, all_, name))


def move(*paths: str, out: str) -> None:
    """Move things."""
    if not paths:
        raise InputError("Nothing to move.")
    CALLS.append((paths, out))


def start() -> None:
    """Do both."""
    CALLS.append("start")


@pytest.fixture(autouse=True)
def forget():
    CALLS.clear()


def test_words_options_flags_and_lists():
    main = command(copy)
    assert main(["a"]) == main(["a", "b", "--max-pairs", "5", "--all", "--name", "x", "y", "--name", "z"]) == 0
    assert CALLS == [(Path("a"), "here", 3, False, None), (Path("a"), "b", 5, True, ["x", "y", "z"])]


def test_help_comes_from_the_docstring(capsys):
    with pytest.raises(SystemExit) as ended:
        command(copy)(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0 and f"usage: python -m {__name__}" in said and "Copy a thing." in said
    assert "what to copy, 100 % of it." in said and "at most so many. (default: 3)" in said


@pytest.mark.parametrize("arguments", [[], ["a", "--max-pairs", "many"], ["a", "--unknown"]])
def test_a_wrong_call_ends_with_2(arguments):
    with pytest.raises(SystemExit) as ended:
        command(copy)(arguments)
    assert ended.value.code == 2 and not CALLS


def test_subcommands_run_the_common_part_first(capsys):
    main = command(start, copy=copy, move_all=move)
    assert main(["move-all", "a", "b", "--out", "c"]) == 0
    assert CALLS == ["start", (("a", "b"), "c")]
    assert main(["move-all", "--out", "c"]) == 2
    assert capsys.readouterr().err == "Nothing to move.\n"
    with pytest.raises(SystemExit):
        main(["move-all", "a"])  # --out has no default, so it must be given


def test_a_notebook_that_failed_is_1_and_an_interruption_130():
    def fails() -> None:
        raise NotebookError("cell 3")

    def interrupted() -> None:
        raise KeyboardInterrupt

    assert (command(fails)([]), command(interrupted)([])) == (1, 130)


def test_control_characters_are_shown_and_not_obeyed(capsys):
    def says() -> None:
        print("a\tb\nc\x1b]0;owned\x07\x9b2J\r\u202eé")
        raise InputError("No \x1b[2J here.")

    assert command(says)([]) == 2
    said = capsys.readouterr()
    assert said.out == "a\tb\nc\\x1b]0;owned\\x07\\x9b2J\\r\\u202eé\n"
    assert said.err == "No \\x1b[2J here.\n"
