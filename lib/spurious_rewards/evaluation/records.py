"""Read the records of evaluations, and compute the figures of a cell: accuracy, strategy, length, with intervals.

Accuracies are proportions in [0, 1]. With one sample per problem the intervals are Wilson's; with k samples per problem
they come from a bootstrap over problems, because the samples of one problem are not independent. `n_problems`, `k`,
`n_code` and `n_language` say what they rest on.

Usage: `summary(load_records(eval_ids), by=["run_id"])`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation import statistics
from spurious_rewards.evaluation.significance import mcnemar, paired_permutation
from spurious_rewards.evaluation.statistics import Interval, bootstrap_mean, pass_at_k, wilson
from spurious_rewards.storage.files import read_parquet
from spurious_rewards.storage.runs import RunFolder

CELL_COLUMNS = (
    "model", "trained_run", "checkpoint", "benchmark", "prompt_style",
    "temperature", "top_p", "n_samples", "max_new_tokens", "engine", "dtype",
)  # fmt: skip
ARM_COLUMNS = {"reward": "reward", "gamma": "gamma", "clip_mode": "clip_mode", "seed": "train_seed"}
"""Fields of the training configuration that go with the records, and their column names."""


def load_records(runs: Iterable[str | RunFolder]) -> pd.DataFrame:
    """Read the records of complete evaluations, one below the other, with columns that say what each cell was.

    Added columns: `run_id`, `CELL_COLUMNS` from the evaluation's configuration, `ARM_COLUMNS` from that of the
    training run (null for an untrained model).

    Raises:
        InputError: an evaluation does not exist, is not complete or is damaged, or there is none.
    """
    frames = []
    for run in runs:
        folder = RunFolder.load(run) if isinstance(run, str) else run
        config = folder.config()
        cell = {"run_id": folder.run_id, **{name: config[name] for name in CELL_COLUMNS}}
        trained = RunFolder.load(config["trained_run"]).config() if config["trained_run"] else {}
        arm = {column: trained.get(name) for name, column in ARM_COLUMNS.items()}
        rows = read_rows(folder, "records.parquet")
        check_complete(folder, rows)
        frames.append(rows.assign(**cell, **arm))
    if not frames:
        raise InputError("There are no evaluations to load: run notebook 03_evaluate first.")
    frame = pd.concat(frames, ignore_index=True)
    dtypes = {"reward": "str", "clip_mode": "str", "gamma": "float64", "train_seed": "Int64", "batch": "Int64"}
    return frame.astype({name: dtype for name, dtype in dtypes.items() if name in frame})


def check_complete(run: RunFolder, rows: pd.DataFrame) -> None:
    """Check that an evaluation holds as many answers per problem as were asked for: avg@k of fewer is another number.

    Raises:
        InputError: answers are missing or doubled; the sentence names a problem.
    """
    asked = run.config()["n_samples"]
    found = rows.groupby("problem_id", sort=False).size()
    odd = found[found != asked]
    if len(odd):
        raise InputError(
            f"Evaluation {run.run_id} asked for {asked} answers per problem, and its records hold {odd.iloc[0]} of "
            f"problem {odd.index[0]}: they were changed; delete the folder {run.folder} and run again."
        )


def engine_versions(run: RunFolder) -> list[str]:
    """Name the engines that wrote an evaluation's answers, with their versions; none for outputs made elsewhere."""
    return sorted({f"{one.get('engine')} {one.get('engine_version')}" for one in run.manifest().get("engines", [])})


def check_one_version(runs: Iterable[RunFolder]) -> None:
    """Check that evaluations that are to be pooled were written by one version of each engine.

    Two versions answer differently from the first near-tie between two tokens on, greedy decoding included.

    Raises:
        InputError: there are two versions; the sentence names an evaluation of each.
    """
    first: dict[str, tuple[str, str]] = {}
    for run in runs:
        for name in engine_versions(run):
            engine = name.split(" ")[0]
            known, other = first.setdefault(engine, (name, run.run_id))
            if known != name:
                raise InputError(
                    f"Evaluation {other} was made with {known} and {run.run_id} with {name}: two versions are two "
                    "arms. Delete the folders of one version and run them again."
                )


def read_rows(run: RunFolder, name: str) -> pd.DataFrame:
    """Read the rows of a complete run's result file; its model may have been left on another machine.

    Raises:
        InputError: the run is not complete, or the file is missing, damaged or another one.
    """
    run.check_files(only=("config.json", name))
    return read_parquet(run.path(name), advice=f"delete the folder {run.folder} and run again")


def check_no_duplicates(samples: pd.DataFrame, cell_columns: Sequence[str]) -> None:
    """Check that no answer is counted twice: per trained model, cell, problem and sample there is one row.

    Two evaluations of one cell may differ in what is no column of a table (batch size, sampling seed, number or order
    of the problems); taken together they would pass for independent answers.

    Args:
        samples: records of `load_records` or of a profile.
        cell_columns: what tells cells apart, besides `trained_run` and `checkpoint`.

    Raises:
        InputError: there are two rows; the sentence names the two evaluations.
    """
    keys = list(dict.fromkeys(["trained_run", "checkpoint", *cell_columns, "problem_id", "sample"]))
    twice = samples[samples.duplicated(keys, keep=False)]
    if twice.empty:
        return
    first = twice.iloc[0]
    same = (twice[keys] == first[keys]).all(axis=1) | (twice.index == twice.index[0])
    names = list(dict.fromkeys(twice.loc[same, "run_id"]))
    both = " and ".join(names[:2]) if len(names) > 1 else f"{names[0]} twice"
    raise InputError(
        f"Problem {first['problem_id']} would be counted twice: {both} answer it in the same cell "
        f"({', '.join(f'{name}={first[name]}' for name in cell_columns)}); keep one of the two."
    )


def summary(records: pd.DataFrame, by: Sequence[str] = ("run_id",)) -> pd.DataFrame:
    """Summarise each group of records (a cell, or a kind of problem within one); columns as in `summarise`."""
    return row_per_group(records, by, summarise)


def row_per_group(
    frame: pd.DataFrame, by: Sequence[str], figures: Callable[[pd.DataFrame], Mapping[str, Any]], **options: Any
) -> pd.DataFrame:
    """Return a table with a row per group: the values of `by`, then what `figures` makes of the group's rows.

    Args:
        frame: rows to group, in whose order the groups come.
        by: columns; groups with missing values count.
        figures: rows of a group → further columns.
        options: of `DataFrame.groupby`, in place of these defaults.
    """
    groups = frame.groupby(list(by), **{"sort": False, "dropna": False, **options}) if len(frame) else ()
    return pd.DataFrame([{**dict(zip(by, key, strict=True)), **figures(group)} for key, group in groups])


def summarise(records: pd.DataFrame) -> dict[str, Any]:
    """Compute the figures of one cell: accuracy, strategy, form and length, each share with limits.

    `accuracy` is pass@1 (one sample) or avg@k, by the robust grader; `accuracy_paper` by the paper's; `pass_at_k` is
    the unbiased estimate at k = samples per problem. `accuracy_code` and `accuracy_language` are the accuracies of
    answers with and without code reasoning. Each of these comes with `_low` and `_high` (95 %). `parsable` is the share
    of answers in which an answer was found, `boxed` the share with a box, `detectors_agree` how often the two detectors
    say the same.
    """
    if records.empty:
        raise InputError("There are no records to summarise.")
    by_problem = records.groupby("problem_id", sort=False)
    samples = by_problem.size()
    if samples.nunique() != 1:
        raise InputError(
            f"The problems of one cell have between {samples.min()} and {samples.max()} samples: group "
            "the records by run_id."
        )
    k = int(samples.iloc[0])
    code = records["uses_code"].astype(bool)
    every = pd.Series(True, index=records.index)
    figures: dict[str, Any] = {"n_problems": len(samples), "k": k}
    for name, event, given in (
        ("accuracy", records["correct"], every),
        ("accuracy_paper", records["correct_paper"], every),
        ("code", code, every),
        ("accuracy_code", records["correct"], code),
        ("accuracy_language", records["correct"], ~code),
        ("parsable", records["extracted"].notna(), every),
    ):
        figures |= share(event.astype(bool), given, records["problem_id"], k).columns(name)
    solved = (
        share(records["correct"].astype(bool), every, records["problem_id"], k)
        if k == 1
        else bootstrap_mean(pass_at_k(k, by_problem["correct"].sum().to_numpy(), k))
    )
    return figures | {
        "n_code": int(code.sum()),
        "n_language": int((~code).sum()),
        **solved.columns("pass_at_k"),
        "code_structural": float(records["uses_code_structural"].mean()),
        "detectors_agree": float((code == records["uses_code_structural"]).mean()),
        "boxed": float(records["text"].str.contains(r"\boxed{", regex=False).mean()),
        "mean_tokens": float(records["n_tokens"].mean()),
        "cut_off": share_cut_off(records),
    }


def share_cut_off(records: pd.DataFrame) -> float:
    """Compute the share of answers that the length limit ended; nan if no answer says how it ended."""
    known = records["finish_reason"].notna()
    return float((records.loc[known, "finish_reason"] == "length").mean()) if known.any() else math.nan


def share(event: pd.Series, given: pd.Series, problem: pd.Series, k: int) -> Interval:
    """Estimate the share of `event` among the records `given`: Wilson for k = 1, else a bootstrap over problems."""
    if k == 1:
        return wilson(int((event & given).sum()), int(given.sum()))
    return statistics.bootstrap_ratio(*_per_problem(event, given, problem))


def code_advantage(records: pd.DataFrame) -> Interval:
    """Estimate the accuracy of answers with code minus that of those without, with a bootstrap over problems."""
    code, correct = records["uses_code"].astype(bool), records["correct"].astype(bool)
    return statistics.bootstrap_ratio_difference(
        _per_problem(correct, code, records["problem_id"]), _per_problem(correct, ~code, records["problem_id"])
    )


def _per_problem(event: pd.Series, given: pd.Series, problem: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Count, per problem, the `given` records with the event, and all `given` records."""
    counts = pd.DataFrame({"hits": event & given, "given": given}).groupby(problem.to_numpy(), sort=False).sum()
    return counts["hits"].to_numpy(), counts["given"].to_numpy()


def correct_matrix(records: pd.DataFrame, arms: Sequence[str]) -> np.ndarray:
    """Compute the share of correct samples, shape (arms, problems); arms are run ids in the given order.

    Raises:
        InputError: the runs were not evaluated on the same problems.
    """
    records = records[records["run_id"].isin(arms)]
    table = records.pivot_table(index="run_id", columns="problem_id", values="correct", aggfunc="mean", sort=False)
    missing = [arm for arm in arms if arm not in table.index]
    if missing or table.loc[list(arms)].isna().to_numpy().any():
        raise InputError(
            f"These runs cannot be compared problem by problem: "
            f"{'no records of ' + missing[0] if missing else 'their problems differ'}."
        )
    return table.loc[list(arms)].to_numpy(dtype=float)


def compare(records: pd.DataFrame, before: str, after: str) -> dict[str, Any]:
    """Compare two evaluations problem by problem: difference of accuracy, its limits, and a test.

    `won` and `lost` count the problems on which `after` does better and worse. The interval is a bootstrap over
    problems; the test is McNemar's exact one where both have one sample per problem, else a sign-flip permutation of
    the problems' differences (also where all samples of each problem happen to agree).
    """
    one_P, two_P = correct_matrix(records, [before, after])
    interval = bootstrap_mean(two_P - one_P)
    binary = not records[records["run_id"].isin((before, after))].duplicated(["run_id", "problem_id"]).any()
    test = mcnemar(one_P, two_P) if binary else paired_permutation(one_P, two_P)
    row = {"before": before, "after": after, "n_problems": interval.n, **interval.columns("difference")}
    row |= {"won": int((two_P > one_P).sum()), "lost": int((two_P < one_P).sum()), "p_value": test.p_value}
    return row | {"test": "McNemar, exact" if binary else "paired permutation"}


def pass_curve(records: pd.DataFrame, ks: Sequence[int]) -> pd.DataFrame:
    """Estimate pass@k of one cell for each k, unbiased: columns k, pass_at_k, low, high (bootstrap over problems).

    Raises:
        InputError: a k below 1 or above the number of samples per problem.
    """
    by_problem = records.groupby("problem_id", sort=False)["correct"]
    n_P, correct_P = by_problem.size().to_numpy(), by_problem.sum().to_numpy()
    curve = pd.DataFrame([{"k": k, **bootstrap_mean(pass_at_k(n_P, correct_P, k)).columns("pass_at_k")} for k in ks])
    return curve.rename(columns={"pass_at_k_low": "low", "pass_at_k_high": "high"})


def powers_of_two(n: int) -> list[int]:
    """List 1, 2, 4, … up to n.

    >>> powers_of_two(6), powers_of_two(8)
    ([1, 2, 4], [1, 2, 4, 8])
    """
    return [2**i for i in range(n.bit_length()) if 2**i <= n]


def jsonable(figures: dict[str, Any]) -> dict[str, Any]:
    """Replace numbers that do not exist by None, as strict JSON wants it."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in figures.items()}
