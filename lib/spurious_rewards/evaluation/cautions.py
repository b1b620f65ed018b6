r"""List the reasons why an evaluation's number may mean little, to be shown with it.

- few answers in a box, an answer tag or behind `####`, or many cut off at the length limit: the prompt or the limit
  failed, and accuracy measures that;
- nothing right, or nothing wrong: the extraction, the gold or the benchmark is at fault;
- the first problems of a benchmark whose order is not random;
- few problems: the limits of the accuracy are wider than most gains;
- a checkpoint in the middle of a training: if it was chosen for this very number, the number is too high;
- answers that repeat each other word for word;
- a grader that gave up on many answers, or could not read them.

Usage: `for sentence in cautions(run): print(sentence)`
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from spurious_rewards.data.specs import BENCHMARKS
from spurious_rewards.evaluation.records import read_rows, share, share_cut_off
from spurious_rewards.rewards.grading import undecided
from spurious_rewards.storage.runs import RunFolder

LEAST_MARKED = 0.5
"""Share of answers in a box or an answer tag below which the prompt is said to have failed."""
MOST_CUT_OFF = 0.1
"""Share of answers that ran into the length limit above which the limit is said to be too short."""
WIDE = 0.05
"""Half width of the accuracy's limits above which the number of problems is said to be small (5 points)."""


def cautions(run: RunFolder) -> list[str]:
    """List the reasons why the accuracy of a complete evaluation means less than it seems, one sentence each.

    Raises:
        InputError: the evaluation is not complete, or damaged.
    """
    config, manifest = run.config(), run.manifest()
    return [*manifest.get("warnings", []), *cautions_of(read_rows(run, "records.parquet")), *_of_choice(config)]


def marked(text: pd.Series) -> pd.Series:
    """Tell whether each answer says where its result is: in a box or in a closed answer tag."""
    return text.str.contains(r"\boxed", regex=False) | text.str.contains("</answer>", regex=False)


def cautions_of(records: pd.DataFrame) -> list[str]:
    """List the cautions that follow from an evaluation's records alone."""
    found = []
    in_box = (marked(records["text"]) | records["text"].str.contains("####", regex=False)).mean()
    cut = share_cut_off(records)
    parsed = records["extracted"].notna().mean()
    k = len(records) // max(records["problem_id"].nunique(), 1)
    every = pd.Series(True, index=records.index)
    right = records["correct"].astype(bool)
    accuracy = share(right, every, records["problem_id"], k)
    if in_box < LEAST_MARKED:
        found.append(
            f"Only {in_box:.0%} of the answers are in a box, an answer tag or behind #### ({parsed:.0%} hold an answer "
            "at all): the prompt failed, and the accuracy measures that."
        )
    if cut > MOST_CUT_OFF:
        found.append(f"{cut:.0%} of the answers were cut off at the length limit: allow longer ones.")
    if right.all() or not right.any():
        found.append(
            f"{'Every' if right.all() else 'No'} answer is right: look at a few texts and golds, since such a result "
            "is seldom the model's doing."
        )
    if (half := (accuracy.high - accuracy.low) / 2) > WIDE:
        found.append(
            f"{records['problem_id'].nunique()} problems leave the accuracy open by ±{100 * half:.0f} points: a gain "
            "of that size cannot be told from none."
        )
    if k > 1 and records.groupby("problem_id")["text"].nunique().max() == 1:
        found.append(f"The {k} answers to a problem are word for word the same throughout: rows may stand there twice.")
    return found + undecided(records["reason"])


def _of_choice(config: Mapping[str, Any]) -> list[str]:
    found = []
    n, spec = config.get("n_problems", 0), BENCHMARKS.get(config["benchmark"])
    if spec is not None and 0 < n < spec.n_rows and config.get("problem_order") == "first":
        found.append(
            f"These are the first {n} of {spec.n_rows} problems of {spec.name}, whose order is not random: use "
            "problem_order='shuffled', or all of them."
        )
    if config.get("checkpoint"):
        found.append(
            f"This is the checkpoint after update {config['checkpoint']}: if it was chosen because it does best here, "
            "its accuracy is too high; the end of the training is the result."
        )
    return found
