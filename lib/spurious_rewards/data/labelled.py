"""Load the training set of a reward: the plain problems, or those relabelled by a majority vote (paper §2).

- `majority_vote`: every problem that got a label, with the label in place of its answer.
- `incorrect`: only the problems whose label is wrong (by the robust grader), with that wrong label. The prompt set
  differs from the others': that is the paper's definition. `right_labels` gives a share of them the right answer back.
- `one_shot`: a single problem.

The reference answer stays in `meta["gold"]`. Usage: `training_problems("synthetic", 4096, 0, ["ground_truth"])`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from spurious_rewards.data.problem import Problem
from spurious_rewards.errors import InputError
from spurious_rewards.storage.files import read_parquet
from spurious_rewards.storage.runs import RunFolder

LABEL_COLUMNS = ("problem_id", "label", "label_correct")


def load_labels(labels: str | Path) -> pd.DataFrame:
    """Load the labels.parquet of a labelling run: problem_id, label (None without any answer), label_correct, ….

    Args:
        labels: folder or run id of the labelling.

    Raises:
        InputError: there is no complete labelling.
    """
    folder = Path(labels)
    if folder.name == str(labels) and not folder.is_dir():
        folder = RunFolder.load(str(labels)).folder
    if not (folder / "labels.parquet").is_file() or not (folder / "manifest.json").is_file():
        raise InputError(
            f"{folder} holds no complete majority-vote labelling (labels.parquet and manifest.json); "
            "make one with notebook 01_prepare_data (label_samples above 0) and give its folder."
        )
    return read_parquet(folder / "labels.parquet", LABEL_COLUMNS, "delete this folder and label again")


def relabelled(problems: Iterable[Problem], labels: pd.DataFrame, only_wrong: bool) -> list[Problem]:
    """Return problems with the majority label as answer; with `only_wrong` the subset whose label is wrong.

    Problems none of whose samples had an answer are left out.

    Raises:
        InputError: the labelling does not cover every problem: it was made for other ones.
    """
    problems = list(problems)
    missing = {problem.id for problem in problems} - set(labels["problem_id"])
    if missing:
        raise InputError(
            f"{len(missing)} of {len(problems)} problems have no row in the labelling (first: "
            f"{min(missing)}); label the same train_set, number of problems and problem_seed as the run."
        )
    table = labels.dropna(subset=["label"]).set_index("problem_id")
    if only_wrong:
        table = table[~table["label_correct"].astype(bool)]
    label = table["label"].to_dict()
    return [
        dataclasses.replace(problem, answer=label[problem.id], meta={**problem.meta, "gold": problem.answer})
        for problem in problems
        if problem.id in label
    ]


def keep_right(problems: Sequence[Problem], share: float, seed: int) -> list[Problem]:
    """Give a share of relabelled problems their right answer back: round(share · n) of them, drawn by a hash.

    A larger share keeps the problems of a smaller one.

    Args:
        problems: with the right answer in `meta["gold"]`.
        share: in [0, 1].
        seed: of the draw.
    """
    order = sorted(problems, key=lambda p: hashlib.blake2b(f"{seed}\x1f{p.id}".encode(), digest_size=8).digest())
    right = {problem.id for problem in order[: round(share * len(order))]}
    return [dataclasses.replace(p, answer=p.meta["gold"]) if p.id in right else p for p in problems]


def training_problems(
    train_set: str, n: int, seed: int, rewards: Sequence[str], labels: str = "", right_labels: float = 0.0
) -> list[Problem]:
    """Return the problems a run trains on.

    Args:
        train_set: name of a problem set.
        n: how many are drawn from it (0: all), before relabelling.
        seed: of the draw (a run's `problem_seed`).
        rewards: base names in the run's reward expression; majority_vote, incorrect and one_shot change the problems.
        labels: folder or run id of a labelling, for majority_vote and incorrect.
        right_labels: share of the problems of reward incorrect that keep their right answer.

    Raises:
        InputError: missing data or labels, or no problem left.
    """
    from spurious_rewards.data.problem_sets import load_problems

    wrong = "incorrect" in rewards
    problems = load_problems(train_set, n or None, seed)
    if wrong or "majority_vote" in rewards:
        problems = relabelled(problems, load_labels(labels), only_wrong=wrong)
    if wrong and right_labels:
        problems = keep_right(problems, right_labels, seed)
    if "one_shot" in rewards:
        problems = problems[:1]
    if not problems:
        raise InputError(
            f"No problem of {train_set} is left for reward {', '.join(rewards)}: the labelling in {labels} has no "
            f"{'wrong ' if wrong else ''}label; label more problems."
        )
    return problems
