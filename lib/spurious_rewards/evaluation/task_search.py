"""Find a task on which a model can learn: pass@1 and pass@k on graded tasks under every prompt style, and one choice.

A reward teaches nothing where no rollout of a group is right, and little where nearly all are. The rule of `choose`: of
the (task, style) cells with pass@1 of 5 to 40 %, pass@k above 40 % and at most a quarter of the answers cut off, take
the one with the most room, pass@k − pass@1.

Each cell is an ordinary evaluation run of the task's test problems, so it is resumed, and its samples can be read.

Usage: ``python -m spurious_rewards.evaluation.task_search smollm2-135m-instruct --processes 8``
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from typing import Any

import pandas as pd

from spurious_rewards.command_line import command
from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.config import EvalConfig
from spurious_rewards.evaluation.evaluate import evaluate
from spurious_rewards.models.prompts import PROMPT_STYLES, answer_prefix

TASKS = ("sums", "synthetic_level1", "synthetic_level2", "synthetic_level3", "deepscaler_level1")
"""Graded from easy to hard; each has a test set of the same name with `_test`."""
PASS_1 = (0.05, 0.40)
MIN_PASS_K = 0.40
MAX_CUT_OFF = 0.25


def free_styles() -> list[str]:
    """List the names of the prompt styles that leave the beginning of the answer to the model."""
    return [name for name in PROMPT_STYLES if not answer_prefix(name)]


def measure(cells: Sequence[EvalConfig], processes: int = 1) -> pd.DataFrame:
    """Evaluate each cell, in processes of their own, and return one row per cell, in order.

    Returns:
        Columns task, style, n_problems, k, pass_1, pass_k (shares), parsable, boxed, cut_off (shares of answers),
        mean_tokens and note: why a cell has no numbers, "" for the others.
    """
    if processes == 1:
        return pd.DataFrame(map(_row, cells))
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        return pd.DataFrame(pool.map(_row, cells))


def choose(table: pd.DataFrame) -> pd.Series:
    """Return the row of `measure` that the rule picks; of equals the first.

    >>> rows = [("a", .5, .9, .0), ("b", .1, .5, .0), ("c", .2, .8, .1), ("d", .2, .9, .5), ("e", .2, .3, .0)]
    >>> choose(pd.DataFrame(rows, columns=["task", "pass_1", "pass_k", "cut_off"]))["task"]
    'c'

    Raises:
        InputError: no cell meets the rule.
    """
    fits = table["pass_1"].between(*PASS_1) & (table["pass_k"] > MIN_PASS_K) & (table["cut_off"] <= MAX_CUT_OFF)
    if not fits.any():
        raise InputError(
            f"No task has pass@1 in {PASS_1[0]:.0%}–{PASS_1[1]:.0%}, pass@k above {MIN_PASS_K:.0%} and at most "
            f"{MAX_CUT_OFF:.0%} of its answers cut off; add easier or harder tasks, or raise max_new_tokens."
        )
    best: Any = (table["pass_k"] - table["pass_1"])[fits].idxmax()
    return table.loc[best]


def _row(cell: EvalConfig) -> dict[str, Any]:
    row: dict[str, Any] = {"task": cell.benchmark.removesuffix("_test"), "style": cell.prompt_style}
    try:
        figures = evaluate(cell, progress=sys.stderr.isatty()).manifest()["summary"]
    except InputError as error:
        return row | {"note": str(error)}
    row |= {"n_problems": figures["n_problems"], "k": figures["k"]}
    row |= {"pass_1": figures["accuracy"], "pass_k": figures["pass_at_k"]}
    return row | {name: figures[name] for name in ("parsable", "boxed", "cut_off", "mean_tokens")} | {"note": ""}


def search(
    model: str,
    /,
    tasks: list[str] | tuple[str, ...] = TASKS,
    styles: list[str] | None = None,
    problems: int = 64,
    samples: int = 16,
    tokens: int = 96,
    dtype: str = "float32",
    batch: int = 256,
    processes: int = 1,
    csv: str = "",
) -> None:
    """Measure pass@1 and pass@k of a model on graded tasks under every prompt style, and choose one.

    Args:
        model: registry name or folder.
        tasks: problem sets that have a _test set.
        styles: prompt styles; without any, all that force nothing.
        problems: of each task.
        samples: per problem, the k of pass@k.
        tokens: longest answer.
        dtype: of the model's weights.
        batch: samples generated together.
        processes: that measure side by side.
        csv: file to write the table to.
    """
    shared = {"temperature": 1.0, "problem_order": "shuffled", "dtype": dtype, "batch_size": batch}
    sizes = {"n_samples": samples, "n_problems": problems, "max_new_tokens": tokens}
    cells = [
        EvalConfig(model=model, benchmark=f"{task}_test", prompt_style=style, **sizes, **shared)
        for task, style in product(tasks, styles or free_styles())
    ]
    table = measure(cells, processes)
    if csv:
        table.to_csv(csv, index=False, float_format="%.4f")
    print(table.drop(columns="note").to_string(index=False, float_format="%.3f"))
    for note in sorted({note for note in table["note"] if note}):
        print(note)
    chosen = choose(table)
    print(f"Chosen: task {chosen['task']}, prompt style {chosen['style']}.")


main = command(search)


if __name__ == "__main__":
    sys.exit(main())
