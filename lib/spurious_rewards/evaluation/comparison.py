"""Compare two evaluations: how much was gained, by which answers, and how much of it is mere form.

A gain is split by what an answer was before and after, for example unmarked (no box, no answer tag) and marked. With
one answer per problem each problem belongs to one of four pairs. With several, every answer before is paired with
every answer after, so that the four parts still add up to the gain:

    part(a, b) = mean over problems of P(a before) · P(right, b after) − P(b after) · P(right, a before)

Usage: `print(before_after(before, after).text())`
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.cautions import cautions, marked
from spurious_rewards.evaluation.published import published_sentence
from spurious_rewards.evaluation.records import compare, engine_versions, load_records, pass_curve, powers_of_two
from spurious_rewards.evaluation.records import summarise as figures_of
from spurious_rewards.evaluation.statistics import Interval, bootstrap_mean, bootstrap_ratio
from spurious_rewards.storage.runs import RunFolder

SPLITS = {"marked": ("without box", "boxed"), "uses_code": ("language", "code"), "cut_off": ("finished", "cut off")}
"""What an answer can be → the names of no and yes. A closed answer tag counts as a box."""
SHOWN = (
    "n_problems", "k", "accuracy", "pass_at_k", "boxed", "parsable", "code", "cut_off",
    "mean_tokens", "mean_characters",
)  # fmt: skip
"""Figures of both evaluations in the report."""
MUST_AGREE = ("benchmark", "prompt_style", "temperature", "top_p", "n_samples", "max_new_tokens", "engine", "dtype")
"""Fields of two evaluations that should be equal if only the model is to differ."""


@dataclass(frozen=True)
class BeforeAfter:
    """Hold the comparison of two evaluations on the same problems.

    Attributes:
        cells: one row per evaluation, figures of `records.summarise` and the mean length in characters.
        change: paired difference of accuracy, as `records.compare` gives it.
        boxed_change: the same under a grader that reads boxes and answer tags only.
        splits: what the gain consists of, see `split_of_gain`; one table for each of `SPLITS` that is known.
        passes: pass@k of both, empty for one answer per problem.
        warnings: sentences on what to beware of.
        published: what others measured for the model before; empty where nothing is known.
    """

    cells: pd.DataFrame
    change: dict[str, Any]
    boxed_change: dict[str, Any]
    splits: dict[str, pd.DataFrame]
    passes: pd.DataFrame
    warnings: list[str]
    published: str

    def verdict(self) -> str:
        """Say in one sentence what was gained, and whether it can be told from nothing."""
        gain = _gain(self.change)
        if gain.sign() == 0:
            return f"No change can be told from none: {gain.text('points')}, n = {gain.n} problems."
        return f"Accuracy {'rose' if gain.sign() > 0 else 'fell'} by {gain.text('points')}, n = {gain.n} problems."

    def parsability(self) -> str:
        """Say how much of the gain comes from answers that had no box before and have one after."""
        part = Interval.from_row(self.splits["marked"].set_index("pair").loc["without box → boxed"], "gain")
        gain = _gain(self.change)
        share = f" ({part.estimate / gain.estimate:.0%} of the change)" if gain.sign() > 0 else ""
        return (
            f"{part.text('points')} of it come from answers without a box before and with one after{share}. "
            f"A grader that reads boxes only would report {_gain(self.boxed_change).text('points')}."
        )

    def text(self) -> str:
        """Write the report for a terminal."""
        lines = [self.verdict(), self.parsability(), "", _table(self.cells[list(SHOWN)].astype(object).T)]
        if len(self.passes):
            lines += ["", "pass@k", _table(self.passes.set_index("k"))]
        for name, table in self.splits.items():
            heading = f"The change by {' or '.join(SPLITS[name])} (before → after)"
            lines += ["", heading, _table(table.set_index("pair"))]
        lines += ["", *(f"Beware: {sentence}" for sentence in self.warnings)]
        return "\n".join(lines).rstrip() + "\n"


def before_after(before: RunFolder, after: RunFolder) -> BeforeAfter:
    """Compare two complete evaluations on the problems that both have.

    Raises:
        InputError: they share no problem, or a problem has another gold in the other.
    """
    if before.run_id == after.run_id:
        raise InputError("Before and after are the same file: give two.")
    records = load_records([before, after])
    records = records.assign(marked=marked(records["text"]), cut_off=records["finish_reason"] == "length")
    one, two = (records[records["run_id"] == run.run_id] for run in (before, after))
    shared = set(one["problem_id"]) & set(two["problem_id"])
    if not shared:
        raise InputError(
            f"Before and after share no problem: {_some_ids(one)} there, {_some_ids(two)} here. Their prompts may "
            "differ; give the problem set that both come from, as in reference='math500'."
        )
    warnings = _differing_cells(before, after)
    for name, cell in (("before", one), ("after", two)):
        if left_out := cell["problem_id"].nunique() - len(shared):
            warnings.append(f"{left_out} problems are only in {name} and are left out.")
    one, two = (cell[cell["problem_id"].isin(shared)] for cell in (one, two))
    _check_golds(one, two)
    for name, run in (("before", before), ("after", after)):
        warnings += [f"{name}: {sentence}" for sentence in cautions(run)]
    both = pd.concat([one, two])
    strict = both.assign(correct=both["correct"] & both["marked"])
    known = [name for name in SPLITS if name != "cut_off" or both["finish_reason"].notna().all()]
    cells = pd.DataFrame(
        [figures_of(cell) | {"mean_characters": float(cell["text"].str.len().mean())} for cell in (one, two)],
        index=["before", "after"],
    )
    change = compare(both, before.run_id, after.run_id)
    if change["difference_low"] == change["difference_high"]:
        warnings.append(
            f"The change is the same on every problem, so its limits have no width: at n = {len(shared)}, up to "
            f"{min(100, 300 / len(shared)):.0f} % of the problems may differ without one being seen (rule of three)."
        )
    return BeforeAfter(
        cells=cells,
        change=change,
        boxed_change=compare(strict, before.run_id, after.run_id),
        splits={name: split_of_gain(one, two, name) for name in known},
        passes=_passes(one, two),
        warnings=warnings,
        published=published_sentence(before.config()["model"], before.config()["benchmark"]),
    )


def split_of_gain(before: pd.DataFrame, after: pd.DataFrame, column: str) -> pd.DataFrame:
    """Split a change of accuracy by what answers were before and after.

    Args:
        before, after: records on the same problems, each problem with at least one answer.
        column: true or false for each answer, a key of `SPLITS`.

    Returns:
        One row per pair: `share` of the pairs of answers, `accuracy_before` and `accuracy_after` within them, `gain` in
        accuracy of all problems, and `contribution`, the gain's part of the whole change, both with limits. The gains
        add up to the change; where its own limits include 0, contributions mean little.
    """
    names = SPLITS[column]
    parts = {}
    for when, records in (("before", before), ("after", after)):
        by_problem = records.groupby("problem_id", sort=True)
        for value, name in enumerate(names):
            is_so = records[column].astype(bool) == bool(value)
            parts[when, name] = is_so.groupby(records["problem_id"], sort=True).sum() / by_problem.size()
            right = (is_so & records["correct"].astype(bool)).groupby(records["problem_id"], sort=True).sum()
            parts[when, name, "right"] = right / by_problem.size()
    right: Any = {when: sum(parts[when, name, "right"] for name in names) for when in ("before", "after")}
    total_P = (right["after"] - right["before"]).to_numpy()
    rows = []
    for one, two in itertools.product(names, names):
        share_P = parts["before", one] * parts["after", two]
        before_P = parts["after", two] * parts["before", one, "right"]
        after_P = parts["before", one] * parts["after", two, "right"]
        gained_P, pairs = (after_P - before_P).to_numpy(), share_P.sum()
        gain, part = bootstrap_mean(gained_P), bootstrap_ratio(gained_P, total_P)
        row = {"pair": f"{one} → {two}", "share": float(share_P.mean())}
        for name, right_P in (("accuracy_before", before_P), ("accuracy_after", after_P)):
            row[name] = float(right_P.sum() / pairs) if pairs else float("nan")
        rows.append(row | gain.columns("gain") | part.columns("contribution"))
    return pd.DataFrame(rows)


def _passes(one: pd.DataFrame, two: pd.DataFrame) -> pd.DataFrame:
    """Compute pass@k of both for the numbers of samples that both have; empty below two samples."""
    least = min(int(cell.groupby("problem_id").size().min()) for cell in (one, two))
    if least < 2:
        return pd.DataFrame()
    curves = [pass_curve(cell, powers_of_two(least)).set_index("k").add_prefix(f"{name}_")
              for name, cell in (("before", one), ("after", two))]  # fmt: skip
    return pd.concat(curves, axis=1).reset_index()


def _differing_cells(before: RunFolder, after: RunFolder) -> list[str]:
    """Say what differs between two evaluations beside the model, in one sentence or none."""
    one, two = before.config(), after.config()
    named_by_file = all(_benchmark_is_file(config) for config in (one, two))
    names = [name for name in MUST_AGREE if one[name] != two[name] and not (name == "benchmark" and named_by_file)]
    found = [f"{name} ({one[name]} → {two[name]})" for name in names]
    versions = [engine_versions(run) for run in (before, after)]
    if all(versions) and versions[0] != versions[1]:
        found.append(f"version of the engine ({', '.join(versions[0])} → {', '.join(versions[1])})")
    return [f"Before and after differ in more than the model: {'; '.join(found)}."] if found else []


def _benchmark_is_file(config: Mapping[str, Any]) -> bool:
    """Tell whether an evaluation's benchmark is only the name of the file whose own golds it was graded by."""
    return "outputs" in config and config["benchmark"] == Path(config["outputs"]).stem


def _check_golds(one: pd.DataFrame, two: pd.DataFrame) -> None:
    golds = [cell.drop_duplicates("problem_id").set_index("problem_id")["gold"] for cell in (one, two)]
    different = golds[0][golds[0] != golds[1].reindex(golds[0].index)]
    if len(different):
        first = different.index[0]
        raise InputError(
            f"Problem {str(first)[:80]!r} has the gold {golds[0][first][:60]!r} before and {golds[1][first][:60]!r} "
            f"after ({len(different)} problems in all): the files answer different problems or ids were given anew; "
            "name an id that both share, or a reference."
        )


def _gain(change: Mapping[str, Any]) -> Interval:
    """Read the interval in a row of `records.compare`."""
    return Interval.from_row(change, "difference", change["n_problems"])


def _some_ids(records: pd.DataFrame) -> str:
    return ", ".join(repr(str(name)[:40]) for name in records["problem_id"].unique()[:2])


def _table(frame: pd.DataFrame) -> str:
    return frame.astype(object).to_string(float_format=lambda value: f"{value:.3f}")
