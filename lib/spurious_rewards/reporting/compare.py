"""Compare your results with the committed ones: how many numbers agree, and which runs are your own.

`results/expected/<profile>.json` keeps the committed tables of a profile and the hashes of its manifests; only
`--accept` rewrites it, so `make reproduce` can replace everything else in `results/` and still be compared.

    python -m spurious_rewards.reporting.compare micro             # the comparison
    python -m spurious_rewards.reporting.compare micro --accept    # these results are the committed ones from now on
"""

from __future__ import annotations

import io
import sys
from dataclasses import astuple, dataclass
from pathlib import Path

import pandas as pd

from spurious_rewards.command_line import command
from spurious_rewards.errors import InputError
from spurious_rewards.reporting.collect import results_dir
from spurious_rewards.reporting.words import whole_arm
from spurious_rewards.storage.files import read_json, sha256_file, write_json

TOLERANCE = 1e-6
"""Relative difference up to which a number counts as equal within tolerance: rounding of another processor's sums."""
COST = ("runs",)
"""Tables of times and memory, which no two runs share."""
HEADLINES = (("accuracy_change", "accuracy"), ("code_change", "share of code"))


@dataclass(frozen=True)
class Counts:
    """Say how many numbers of a profile's tables are equal to the committed ones.

    Attributes:
        equal: to the last bit.
        near: within `TOLERANCE`.
        other: further off.
        missing: in one of the two only.
    """

    equal: int = 0
    near: int = 0
    other: int = 0
    missing: int = 0


def expected_path(profile: str, results: Path) -> Path:
    """Return the file that keeps what is committed of a profile."""
    return results / "expected" / f"{profile}.json"


def accept(profile: str, results: Path) -> Path:
    """Keep the present tables and manifests of a profile as the committed ones.

    Raises:
        InputError: the profile has no tables.
    """
    paths = _tables(profile, results)
    tables = {path.stem: path.read_text(encoding="utf-8") for path in paths if path.stem not in COST}
    manifests = {path.stem: sha256_file(path) for path in sorted((results / "manifests" / profile).glob("*.json"))}
    write_json(path := expected_path(profile, results), {"manifests": manifests, "tables": tables})
    return path


def _tables(profile: str, results: Path) -> list[Path]:
    found = sorted((results / "tables" / profile).glob("*.csv"))
    if not found:
        raise InputError(
            f"{results} holds no tables of profile {profile}; run `make reproduce PROFILE={profile}` first."
        )
    return found


def committed_manifests(profile: str, results: Path) -> dict[str, str]:
    """Run id → hash of its committed manifest; empty where nothing was accepted."""
    path = expected_path(profile, results)
    return dict(read_json(path)["manifests"]) if path.is_file() else {}


def is_yours(manifest: Path, committed: dict[str, str]) -> bool:
    """Tell whether a manifest is not the committed one of its run; False where nothing was accepted to compare with."""
    return bool(committed) and committed.get(manifest.stem) != sha256_file(manifest)


def count(mine: pd.DataFrame, theirs: pd.DataFrame) -> Counts:
    """Compare two tables number by number; rows are matched by the values of their text columns.

    A column of numbers that only one table has is missing in each of that table's rows.

    >>> a = pd.DataFrame({"arm": ["x", "y"], "v": [1.0, 2.0]}); b = pd.DataFrame({"arm": ["y", "z"], "v": [2.1, 3.0]})
    >>> count(a, b)
    Counts(equal=0, near=0, other=1, missing=2)
    """
    numbers = [name for name in mine.select_dtypes("number") if name in theirs.select_dtypes("number")]
    words = [name for name in theirs.select_dtypes(exclude="number") if name in mine.select_dtypes(exclude="number")]

    alone = sum(len(table.select_dtypes("number").columns.difference(numbers)) * len(table) for table in (mine, theirs))

    def keyed(table: pd.DataFrame) -> pd.DataFrame:
        nth = table.groupby(words, dropna=False).cumcount() if words else range(len(table))
        return table[words + numbers].assign(nth=nth)

    mine, theirs = keyed(mine), keyed(theirs)
    both = mine.merge(theirs, on=[*words, "nth"], how="outer", suffixes=("_mine", "_theirs"), indicator=True)
    absent = (both["_merge"] != "both").to_numpy()[:, None]
    a, b = (both[[f"{name}_{side}" for name in numbers]].to_numpy() for side in ("mine", "theirs"))
    same = (a == b) | (pd.isna(a) & pd.isna(b))
    close = abs(a - b) <= TOLERANCE * abs(b)
    kinds = (same & ~absent, close & ~same & ~absent, ~close & ~same & ~absent)
    return Counts(*(int(kind.sum()) for kind in kinds), missing=int(absent.sum()) * len(numbers) + alone)


def comparison(profile: str, results: Path) -> str:
    """Write the answer of a profile beside the committed one, and how many of its numbers agree, for a terminal.

    Raises:
        InputError: the profile has no tables, or nothing of it was ever committed.
    """
    path, folder = expected_path(profile, results), results / "tables" / profile
    if not path.is_file():
        raise InputError(f"Nothing of profile {profile} is committed to compare with; {path} is missing.")
    _tables(profile, results)
    expected, counts = read_json(path), []
    for name, text in expected["tables"].items():
        theirs = pd.read_csv(io.StringIO(text))
        mine = pd.read_csv(folder / f"{name}.csv") if (folder / f"{name}.csv").is_file() else theirs.iloc[:0]
        counts.append(astuple(count(mine, theirs)))
    lines = [f"Profile {profile}: your run against the committed one", *answer_lines(folder, expected["tables"])]
    equal, near, other, missing = map(sum, zip((0, 0, 0, 0), *counts, strict=True))
    lines += [
        "",
        f"  {equal + near + other + missing} numbers in {len(expected['tables'])} tables:",
        f"  {equal:7} equal to the last bit",
        f"  {near:7} within {TOLERANCE:g} of the committed value",
        f"  {other:7} further off" + (": look whether the limits overlap" if other else ""),
        f"  {missing:7} in one of the two only",
    ]
    return "\n".join(lines)


def answer_lines(folder: Path, tables: dict[str, str]) -> list[str]:
    """List, per arm, the change of accuracy and of code in points, yours and the committed one."""
    if "arms" not in tables or not (folder / "arms.csv").is_file():
        return []
    keys = ["arm", "benchmark", "prompt_style", "temperature"]
    mine, theirs = pd.read_csv(folder / "arms.csv"), pd.read_csv(io.StringIO(tables["arms"]))
    names = [name for name, _ in HEADLINES if name in mine and name in theirs]
    if not names:
        return []
    both = mine[mine["temperature"] == 0].merge(theirs[[*keys, *names]], on=keys, suffixes=("", "_committed"))
    both = both[both[names[0]].notna()]
    rows = both.to_dict("records")
    arms = [whole_arm(row["arm"], row.get("model")) for row in rows]
    width = max([*map(len, arms), 24])
    lines = ["", f"  {'change in points, greedy':{width}} {'accuracy':>16} {'share of code':>16}"]
    for arm, row in zip(arms, rows, strict=True):
        cells = [f"{100 * row[name]:+.1f} ({100 * row[f'{name}_committed']:+.1f})" for name in names]
        lines.append(f"  {arm:{width}} " + " ".join(f"{cell:>16}" for cell in cells))
    return [*lines, "  (in brackets: committed)"]


def compare(profile: str, /, accept_: bool = False, if_committed: bool = False, results: Path | None = None) -> None:
    """Compare the runs of a profile with the committed ones.

    Args:
        profile: its name.
        accept_: keep the present results as the committed ones instead.
        if_committed: say nothing where there is nothing to compare with.
        results: folder of the results; without one, this project's.
    """
    results = results or results_dir()
    if accept_:
        print(f"Written: {accept(profile, results)}")
    elif expected_path(profile, results).is_file() or not if_committed:
        print(comparison(profile, results))


main = command(compare)


if __name__ == "__main__":
    sys.exit(main())
