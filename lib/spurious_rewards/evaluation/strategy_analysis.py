"""Analyse what code reasoning has to do with a gain: Table 1's identity, and the switches of Fig 7 and Table 2.

- `strategy_figures`: one row of Table 1: how often code, how accurate with and without it, and whether two detectors
  agree.
- `consistency`: overall accuracy must equal freq · acc(code) + (1 − freq) · acc(language). The paper's row for
  Qwen2.5-Math-7B does not (it prints the language frequency, 35.0, in place of the language accuracy, 28.0).
- Switches: a problem answered with code before and with language after training is CL; CC, LC and LL likewise. The
  partial contribution of a subset d is C_d = Σ_{x∈d} (correct_after − correct_before) / Σ_{x} (correct_after −
  correct_before), averaged over rewards in Table 2.

>>> consistency(65.0, 60.9, 35.0, 49.4).language_accuracy_implied.__round__(1)
28.0
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.crossed import effect_mean
from spurious_rewards.evaluation.statistics import Interval, percentiles, resampled_sums, wilson

SWITCHES = ("CC", "CL", "LC", "LL")
"""First letter before, second after training: C code, L language."""

Counts = Mapping[str, Sequence[int]]
"""Switch → (problems, of these correct before, correct after)."""


@dataclass(frozen=True)
class Consistency:
    """Hold how far a row of Table 1 is from its identity, all numbers in per cent."""

    residual: float
    tolerance: float
    language_accuracy_implied: float

    @property
    def consistent(self) -> bool:
        """Tell whether rounding alone explains the residual."""
        return bool(abs(self.residual) <= self.tolerance)


def consistency(
    code_frequency: float, accuracy_code: float, accuracy_language: float, accuracy: float, rounding: float = 0.05
) -> Consistency:
    """Check freq · acc_code + (1 − freq) · acc_language = accuracy, in per cent.

    Args:
        code_frequency: share of answers with code.
        accuracy_code: accuracy of answers with code (any number if there are none).
        accuracy_language: accuracy of the others (any number if there are none).
        accuracy: overall accuracy.
        rounding: half a unit of the last printed digit, 0 for unrounded numbers; all four are rounded, so that the
            residual may reach rounding · (2 + |acc_code − acc_language| / 100).
    """
    f = code_frequency / 100
    code_part = f * accuracy_code if f > 0 else 0.0
    language_part = (1 - f) * accuracy_language if f < 1 else 0.0
    spread = abs(accuracy_code - accuracy_language) if 0 < f < 1 else 0.0
    return Consistency(
        residual=float(code_part + language_part - accuracy),
        tolerance=float(rounding * (2 + spread / 100) + 1e-9),
        language_accuracy_implied=float((accuracy - code_part) / (1 - f)) if f < 1 else float("nan"),
    )


# ------------------------------------------------------------------------------------------------ a row of Table 1


def strategy_figures(records: pd.DataFrame) -> dict[str, float]:
    """Compute frequency of code and accuracy by strategy of a set of answers, each with `_low` and `_high` (95 %).

    With one answer per problem the limits of the proportions are Wilson's; else (samples, or several training seeds
    together) they come from a bootstrap over problems, drawn once for all figures. `kappa` is Cohen's, between the
    paper's detector and the structural one: 1 is full agreement, 0 what chance gives, nan where both always say the
    same one thing. `identity_residual` (points) and `identity_holds` check Table 1's identity, which figures counted
    from one set of answers satisfy by construction: it bites on printed tables and on stored summaries
    (`with_identity`), not here. `code_after_answer` and `code_with_output` are there if the records have these columns.

    Args:
        records: columns problem_id, correct, uses_code, uses_code_structural.
    """
    code, structural, right = (records[name].astype(bool) for name in ("uses_code", "uses_code_structural", "correct"))
    marks = {"n": True, "code": code, "language": ~code, "right": right, "right_code": right & code}
    marks |= {"right_language": right & ~code, "structural": structural, "both": code & structural}
    counts = pd.DataFrame(marks).groupby(records["problem_id"].to_numpy(), sort=False).sum()
    total = counts.sum()
    drawn = pd.DataFrame(resampled_sums(counts.to_numpy(dtype=float)), columns=counts.columns)
    figures: dict[str, float] = {"n_problems": len(counts), "n_answers": int(total["n"])}
    figures |= {f"n_{name}": int(total[name]) for name in ("code", "language")}
    for name, top, bottom in (
        ("code", "code", "n"),
        ("accuracy", "right", "n"),
        ("accuracy_code", "right_code", "code"),
        ("accuracy_language", "right_language", "language"),
    ):
        if total["n"] == len(counts) or not total[bottom]:
            interval = wilson(int(total[top]), int(total[bottom]))
        else:
            able = drawn[drawn[bottom] > 0]
            limits = percentiles((able[top] / able[bottom]).to_numpy())
            interval = Interval(total[top] / total[bottom], *limits, len(counts))
        figures |= interval.columns(name)
    kappas = kappa(drawn)
    low, high = percentiles(kappas[np.isfinite(kappas)]) if np.isfinite(kappa(total)) else (np.nan, np.nan)
    check = _identity(figures)
    apart = [name for name in ("code_after_answer", "code_with_output") if name in records]
    return figures | {
        **{name: float(records[name].astype(bool).mean()) for name in apart},
        "code_structural": total["structural"] / total["n"],
        "detectors_agree": 1 - (total["code"] + total["structural"] - 2 * total["both"]) / total["n"],
        **Interval(float(kappa(total)), low, high, len(counts)).columns("kappa"),
        "identity_residual": round(check.residual, 9) + 0.0,
        "identity_holds": check.consistent,
    }


def kappa(counts: pd.Series | pd.DataFrame) -> np.ndarray:
    """Compute Cohen's kappa of two detectors from their counts `n`, `code`, `structural`, `both`.

    (p_o − p_e)/(1 − p_e), with p_o the share on which they agree and p_e what their frequencies give by chance.
    """
    n, one, two, both = (np.asarray(counts[name], dtype=float) for name in ("n", "code", "structural", "both"))
    observed = (n - one - two + 2 * both) / n
    expected = (one * two + (n - one) * (n - two)) / n**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected < 1, (observed - expected) / (1 - expected), np.nan)


def with_identity(summary: pd.DataFrame) -> pd.DataFrame:
    """Add `identity_residual` (points) and `identity_holds` to each cell of a summary of `evaluation.records`.

    Figures of one set of answers satisfy the identity by construction, whatever the number of samples. It can fail, and
    then means damage, where the columns come from two places: accuracy as stored when a cell was evaluated, frequency
    and accuracies by strategy from the records as they are now.
    """
    checks = list(map(_identity, summary.to_dict("records")))
    return summary.assign(
        identity_residual=[check.residual for check in checks], identity_holds=[check.consistent for check in checks]
    )


def _identity(row: Mapping[Any, float]) -> Consistency:
    names = ("code", "accuracy_code", "accuracy_language", "accuracy")
    return consistency(*(100 * float(row[name]) for name in names), rounding=0.0)


# ------------------------------------------------------------------------------------------------------- switches


def problem_switches(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Tabulate per problem `switch`, `before` and `after` (verdicts as 0/1), indexed by problem_id.

    Args:
        before: records of the untrained model, one sample per problem.
        after: records of the trained model on the same problems.

    Raises:
        InputError: several samples per problem, or other problems.
    """
    for name, frame in (("before", before), ("after", after)):
        if frame["problem_id"].duplicated().any():
            raise InputError(
                f"A strategy switch needs one answer per problem, but the records {name} training hold "
                "several samples: use a greedy evaluation."
            )
    one, two = before.set_index("problem_id"), after.set_index("problem_id")
    if set(one.index) != set(two.index):
        raise InputError("The evaluations before and after training were made on different problems.")
    two = two.loc[one.index]
    before_after = zip(one["uses_code"], two["uses_code"], strict=True)
    switch = [SWITCHES[2 * (not a) + (not b)] for a, b in before_after]
    verdicts = {"before": one["correct"].astype(int), "after": two["correct"].astype(int)}
    return pd.DataFrame({"switch": switch, **verdicts}, index=one.index)


def switch_counts(table: pd.DataFrame) -> dict[str, tuple[int, int, int]]:
    """Count as Fig 7 does, from `problem_switches`: switch → (n, correct before, correct after)."""
    rows = {d: table[table["switch"] == d] for d in SWITCHES}
    return {d: (len(own), int(own["before"].sum()), int(own["after"].sum())) for d, own in rows.items()}


def switch_contributions(counts: Counts) -> pd.DataFrame:
    """Tabulate each switch: n, frequency, accuracy before and after, gain, contribution; all but n in per cent.

    `gain` is in points of overall accuracy, so the gains add up to the total one. `contribution` is null where the
    total gain is zero, and may be negative.
    """
    check_counts(counts)
    total = sum(counts[d][0] for d in SWITCHES)
    total_gain = sum(counts[d][2] - counts[d][1] for d in SWITCHES)
    rows = []
    for d in SWITCHES:
        n, correct_before, correct_after = counts[d]
        gained = correct_after - correct_before
        row = {"switch": d, "n": n, "frequency": 100 * n / total}
        row["accuracy_before"] = 100 * correct_before / n if n else np.nan
        row["accuracy_after"] = 100 * correct_after / n if n else np.nan
        row["gain"] = 100 * gained / total
        rows.append(row | {"contribution": 100 * gained / total_gain if total_gain else np.nan})
    return pd.DataFrame(rows)


def mean_contributions(counts_by_reward: Mapping[str, Counts]) -> tuple[pd.Series, float]:
    """Average contributions over rewards as Table 2 does (per cent, by switch), with the mean total gain in points."""
    if not counts_by_reward:
        raise InputError("Contributions are averaged over rewards, but there is none.")
    tables = [switch_contributions(counts) for counts in counts_by_reward.values()]
    mean = pd.concat([table.set_index("switch")["contribution"] for table in tables], axis=1).mean(axis=1, skipna=False)
    return mean.loc[list(SWITCHES)], float(np.mean([table["gain"].sum() for table in tables]))


def contribution_intervals(arms: Sequence[Sequence[pd.DataFrame]]) -> dict[str, Interval]:
    """Estimate the contribution C_d of each switch (a proportion), and `gain`, with limits over seeds and problems.

    C_d is a ratio, the gain g_d by switch d over the whole gain g. Its limits are those of its linear part: `crossed`
    on the values C_d + (g_d − C_d g)/mean(g), whose mean is C_d. Where the limits of `gain` hold 0 they mean little.

    Args:
        arms: per arm its tables of `problem_switches`, one per training seed. Of several arms the mean is taken, as in
            Table 2, and their seeds count as different.

    Raises:
        InputError: there is no arm, an arm did not change at all, or the problems differ.
    """
    tables = [table for seeds in arms for table in seeds]
    if not tables or any(set(table.index) != set(tables[0].index) for table in tables):
        raise InputError(
            "Contributions are averaged over rewards that were evaluated on the same problems: give at "
            "least one, and leave out those with other problems."
        )
    by_switch: dict[str, list[np.ndarray]] = {name: [] for name in (*SWITCHES, "gain")}
    for seeds in arms:
        gained = [table.sort_index() for table in seeds]
        total_S_P = np.array([table["after"] - table["before"] for table in gained], dtype=float)
        mean = total_S_P.mean()
        if mean == 0 and len(arms) > 1:
            raise InputError("A reward without any gain or loss has no contributions: leave it out of the mean.")
        by_switch["gain"].append(total_S_P)
        for d in SWITCHES:
            gain_S_P = np.where([table["switch"] == d for table in gained], total_S_P, 0.0)
            share = gain_S_P.mean() / mean if mean else 0.0
            by_switch[d].append(share + (gain_S_P - share * total_S_P) / mean if mean else np.zeros_like(total_S_P))
    found: dict[str, Interval] = {name: effect_mean(values) for name, values in by_switch.items()}
    if not any(values.mean() for values in by_switch["gain"]):
        nothing = Interval(np.nan, np.nan, np.nan, found["gain"].n)
        found |= dict.fromkeys(SWITCHES, nothing)
    return found


def check_counts(counts: Counts) -> None:
    """Raise `InputError` unless there are counts for the four switches with correct ≤ n."""
    if set(counts) != set(SWITCHES):
        raise InputError(f"Switch counts need exactly the keys {', '.join(SWITCHES)}, not {', '.join(sorted(counts))}.")
    for d, (n, correct_before, correct_after) in counts.items():
        if not (0 <= correct_before <= n and 0 <= correct_after <= n):
            raise InputError(
                f"Switch {d} has {n} problems, so it cannot have {correct_before} correct before and "
                f"{correct_after} after."
            )
    if not sum(counts[d][0] for d in SWITCHES):
        raise InputError("There are no problems in the switch counts.")
