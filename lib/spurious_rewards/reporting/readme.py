"""Fill the numbers of README.md and of pages in docs/ from the committed tables, between markers.

A block stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; everything between the two is made here.

    python -m spurious_rewards.reporting.readme     # rewrites these files
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from spurious_rewards.command_line import command
from spurious_rewards.errors import InputError, check_name
from spurious_rewards.reporting.collect import load, results_dir, saved_profiles
from spurious_rewards.reporting.overview import SCALES, answers, claim_views, gpu_checks, gpu_numbers, study
from spurious_rewards.reporting.provenance import CLAIM_PLACES, needs, sources
from spurious_rewards.storage.files import read_text, write_text
from spurious_rewards.storage.markdown import pipe_table
from spurious_rewards.storage.paths import code_root
from spurious_rewards.workflow.parameters import source_cells
from spurious_rewards.workflow.profiles import profile_names, read_profile

FILES = ("README.md", "docs/profiles.md")
"""Files with blocks, in the project's root."""
BLOCK = re.compile(r"(?s)(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)")


def filled(text: str, results: Path) -> str:
    """Fill every block of a text.

    Raises:
        InputError: a block has a name that is not known, or lacks its end.
    """
    if text.count("<!-- begin ") != len(BLOCK.findall(text)):
        raise InputError("A text has a marker `<!-- begin … -->` without its `<!-- end … -->`.")

    def fill(found: re.Match[str]) -> str:
        check_name("block of a page", found[2], BLOCKS)
        return f"{found[1]}{BLOCKS[found[2]](results).strip()}\n{found[3]}"

    return BLOCK.sub(fill, text)


def answer_block(results: Path) -> str:
    """Return the three sentences of the first screen."""
    profiles = [load(name, results) for name in saved_profiles(results)]
    return "\n".join(f"- {sentence}" for sentence in answers(results, profiles))


def figure_block(results: Path) -> str:
    """Link the figure of the first screen."""
    profiles = [load(name, results) for name in saved_profiles(results)]
    records = study(profiles)
    name = records.profile if records is not None else "micro"
    return (
        f"![Change of accuracy and of the share of code under a random reward, with and without the clip, by model]"
        f"(results/figures/{name}/clip_on_off.png)"
    )


def gpu_block(results: Path) -> str:
    """Say what GPUs were used for, and whether a model of the paper was run."""
    run = any(view.verdicts[SCALES[-1]] != "not run" for view in claim_views(results))
    models = "" if run else "Of the paper's own models nothing was run."
    return " ".join(filter(None, (gpu_numbers(results), gpu_checks(results), models)))


def claims_block(results: Path) -> str:
    """Return the claims with one verdict per scale, notebook and table."""
    rows = []
    for view in claim_views(results):
        notebook, _, table = CLAIM_PLACES[view.id]
        place = f"[{notebook[:2]}](notebooks/{notebook}.ipynb) → `{table}`"
        rows.append((f"{view.id} {view.says}", *(view.verdicts[scale] for scale in SCALES[:3]), place))
    return pipe_table(("claim", *SCALES[:3], "notebook → table"), rows)


def notebooks_block(results: Path) -> str:
    """List the notebooks with their question, the first sentence below the title, and micro's executed copies."""
    rows = []
    for path in sorted((results.parent / "notebooks").glob("*.ipynb")):
        text = re.sub(r"\s+", " ", source_cells(path)[0]["source"].split("\n\n")[1])
        question = re.split(r"(?<=[.?!])\s", text)[0]
        copy = results / "notebooks" / "micro" / path.name
        executed = f", [executed](results/notebooks/micro/{path.name})" if copy.is_file() else ""
        rows.append((f"[{path.stem}](notebooks/{path.name}){executed}", question))
    return pipe_table(("notebook", "question"), rows)


def profiles_block(results: Path) -> str:
    """Return the profiles with what they are, what they need and how long they took."""
    known = sources(results)
    rows = []
    for name in profile_names():
        profile = read_profile(name)
        time = known[name].time() if name in known else "**not run**"
        what = profile.description.split(". ")[0].rstrip(".")
        rows.append((f"`{name}`", what, time, ", ".join(needs(profile)) or "nothing"))
    return pipe_table(("profile", "what", "one core, minutes", "needs"), rows)


BLOCKS: dict[str, Callable[[Path], str]] = {
    "answer": answer_block,
    "figure": figure_block,
    "gpu": gpu_block,
    "claims": claims_block,
    "notebooks": notebooks_block,
    "profiles": profiles_block,
}


def rewrite() -> None:
    """Rewrite the numbers of README.md and of the pages in docs/."""
    root = code_root()
    if root is None:
        raise InputError("README.md is not there; run this in a checkout.")
    for path in (root / name for name in FILES):
        write_text(path, filled(read_text(path), results_dir()))


main = command(rewrite)


if __name__ == "__main__":
    sys.exit(main())
