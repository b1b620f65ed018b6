"""Compute the tables of the code-reasoning analysis from the records of a profile; no function touches a file.

================  =====================================================================================================
`strategies`      Table 1: code frequency and accuracy by strategy of every arm and cell, two detectors, the identity
`pass_at_k`       unbiased pass@k of sampled cells for k = 1, 2, 4, …
`switches`        Fig 7: what the problems that switch strategy contribute to each arm's gain
`contributions`   Table 2: these contributions averaged over the rewards that gained
`behaviour`       Fig 6: code frequency and reward over training, in five spans, from the rollouts
`checkpoints`     the same from evaluated checkpoints, where a profile evaluates any
`forced_code`     Table 3: the base model with a forced "Let's solve this using Python." against the same prompt without
`prompts`         Table 5: the base model under every prompt style against the profile's own, and the styles refused
`probe`           completion of problems from their beginnings, against that of freshly generated ones (contamination)
================  =====================================================================================================

Proportions are in [0, 1], `_low` and `_high` are 95 % limits; p-values carry Holm's correction within one table of a
model, benchmark and engine. What the paper reports stands beside them in `reporting.paper_tables`.

Usage: `strategies(available("micro"))`
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd

from spurious_rewards.evaluation import strategy_analysis as analysis
from spurious_rewards.evaluation.crossed import level
from spurious_rewards.evaluation.prompt_grid import REFUSED
from spurious_rewards.evaluation.records import (
    check_no_duplicates,
    code_advantage,
    compare,
    powers_of_two,
    row_per_group,
    share,
)
from spurious_rewards.evaluation.significance import holm
from spurious_rewards.evaluation.statistics import pass_at_k
from spurious_rewards.evaluation.strategy_analysis import SWITCHES, contribution_intervals, strategy_figures
from spurious_rewards.models.prompts import PROMPT_STYLES, unforced
from spurious_rewards.reporting.arms import BASE, arm_name, at_the_end, cell_columns, matrix, parsable, with_arms
from spurious_rewards.reporting.collect import Records, once
from spurious_rewards.reporting.probe_tables import probe
from spurious_rewards.reporting.words import setting_of_arm, settings_in

SUBJECT = ("model", "benchmark", "engine", "dtype", "max_new_tokens")
SPANS = 5
SwitchTables = dict[tuple, list[pd.DataFrame]]
"""Arm, clip mode and cell → its problems' switches, a table per seed."""


def tables(records: Records) -> dict[str, pd.DataFrame]:
    """Compute every table of this module: name → table, without rows where the profile did not run what it takes."""
    return {
        "strategies": strategies(records),
        "pass_at_k": pass_curves(records),
        "switches": switches(records),
        "contributions": contributions(records),
        "behaviour": behaviour(records),
        "checkpoints": checkpoints(records),
        "forced_code": forced_code(records),
        "prompts": with_refused(prompts(records), records),
        "probe": probe(records),
    }


def or_reason(table: pd.DataFrame, needs: str) -> pd.DataFrame | str:
    """Return the table, or for an empty one a sentence that says what would have to be run."""
    return table if len(table) else f"Nothing to show for this profile: it takes {needs}."


def main_prompt(records: Records) -> str:
    """Return the profile's own prompt style: that of its trained models' evaluations, else of its first evaluation."""
    trained = records.samples[records.samples["trained_run"] != ""]
    return str((trained if len(trained) else records.samples)["prompt_style"].iloc[0])


# ------------------------------------------------------------------------------------------------ Table 1 and Fig 7


@once
def strategies(records: Records) -> pd.DataFrame:
    """Tabulate code and accuracy by strategy per arm and cell, seeds of an arm together (limits over problems)."""
    samples = with_arms(records)
    return row_per_group(
        samples[samples["checkpoint"] == 0],
        ["arm", *cell_columns(records)],
        lambda group: {"n_seeds": group["trained_run"].nunique(), **strategy_figures(group)},
    )


def stored_summaries(records: Records) -> pd.DataFrame:
    """Check Table 1's identity between two sources: accuracy from the manifests, the rest from the records.

    One row per evaluation with `identity_residual` (points) and `identity_holds`; a False means that records or
    manifests are not those of the evaluation, or were changed after it.
    """
    rows = []
    for run_id, answers in records.samples.groupby("run_id", sort=False):
        figures = strategy_figures(answers)
        own = {name: figures[name] for name in ("code", "accuracy_code", "accuracy_language")}
        rows.append({"run_id": run_id, **own, "accuracy": records.manifests[run_id]["summary"]["accuracy"]})
    return analysis.with_identity(pd.DataFrame(rows))


def pass_curves(records: Records) -> pd.DataFrame:
    """Tabulate unbiased pass@k of every arm in every sampled cell, for k = 1, 2, 4, … up to the samples per problem."""
    samples, columns, rows = at_the_end(records), cell_columns(records), []
    for key, group in samples[samples["temperature"] > 0].groupby(["arm", *columns], sort=False):
        counts = group.groupby(["trained_run", "problem_id"])["correct"].agg(["size", "sum"])
        for k in powers_of_two(int(counts["size"].min())):
            solved = pd.Series(pass_at_k(counts["size"].to_numpy(), counts["sum"].to_numpy(int), k), counts.index)
            values_S_P = solved.unstack().to_numpy()
            sizes = {"n_seeds": len(values_S_P), "n_problems": values_S_P.shape[1]}
            sizes |= {"n_samples": int(counts["size"].min()), "k": k}
            row = dict(zip(["arm", *columns], key, strict=True))
            rows.append(row | sizes | level(values_S_P).columns("pass_at_k"))
    return pd.DataFrame(rows)


@once
def switch_tables(records: Records) -> SwitchTables:
    """Map (arm, clip mode, cell …) to its problems' switches against the base model, a table per seed; greedy only."""
    if records.runs.empty:
        return {}
    columns, found = cell_columns(records), {}
    samples, clip_modes = at_the_end(records), records.runs.set_index("run_id")["clip_mode"]
    for cell, group in samples[samples["temperature"] == 0].groupby(columns, sort=False):
        base = group[group["arm"] == BASE]
        for arm, seeds in group[group["arm"] != BASE].groupby("arm", sort=False) if len(base) else ():
            tables = [analysis.problem_switches(base, run) for _, run in seeds.groupby("trained_run", sort=False)]
            found[(arm, clip_modes[seeds["trained_run"].iloc[0]], *cell)] = tables
    return found


@once
def switches(records: Records) -> pd.DataFrame:
    """Tabulate per arm and switch (CC, CL, LC, LL): how many, right before and after, share of the arm's gain.

    `n` counts (problem, seed) pairs. `gain` is in accuracy of all problems, so the four add up to `total_gain`;
    `contribution` is the share C_d of it: above 1 or below 0 where switches work against each other, and of little
    meaning where the limits of `total_gain` include 0.
    """
    rows = []
    for key, tables in switch_tables(records).items():
        intervals = contribution_intervals([tables])
        shared = dict(zip(["arm", "clip_mode", *cell_columns(records)], key, strict=True))
        shared |= {"n_seeds": len(tables), "n_problems": len(tables[0])}
        counted = analysis.switch_contributions(analysis.switch_counts(pd.concat(tables)))
        for row in counted.to_dict("records"):
            shares = {name: row[name] / 100 for name in ("frequency", "accuracy_before", "accuracy_after", "gain")}
            limits = intervals[row["switch"]].columns("contribution") | intervals["gain"].columns("total_gain")
            rows.append({**shared, "switch": row["switch"], "n": row["n"], **shares, **limits})
    return pd.DataFrame(rows).drop(columns="clip_mode", errors="ignore")


def contributions(records: Records) -> pd.DataFrame:
    """Average contributions over the arms of a clip mode and setting that gained: limits of their total gain above 0.

    The paper averages five rewards that all gained; an arm that lost or stood still has no gain to share out. Rows
    exist only where at least one arm gained.
    """
    columns, groups = cell_columns(records), {}
    for (arm, clip_mode, *cell), tables in switch_tables(records).items():
        if contribution_intervals([tables])["gain"].low > 0:
            setting = setting_of_arm(arm, {"model": settings_in(arm).get("model")})
            groups.setdefault((clip_mode, *cell, setting), {})[arm] = tables
    rows = []
    for key, gained in groups.items():
        intervals = contribution_intervals(list(gained.values()))
        row = {
            **dict(zip(["clip_mode", *columns, "setting"], key, strict=True)),
            "n_arms": len(gained),
            "arms": "; ".join(gained),
        }
        row["n_seeds"] = min(len(tables) for tables in gained.values())
        row["n_problems"] = len(next(iter(gained.values()))[0])
        rows.append(row | {k: v for d in (*SWITCHES, "gain") for k, v in intervals[d].columns(d).items()})
    table = pd.DataFrame(rows)
    return table if len(table) and table["setting"].any() else table.drop(columns="setting", errors="ignore")


# ----------------------------------------------------------------------------------------------- Fig 6: over training


def behaviour(records: Records) -> pd.DataFrame:
    """Tabulate code frequency and mean reward of the rollouts per arm and fifth of training (mean, range of seeds)."""
    if records.metrics.empty:
        return pd.DataFrame()
    rows, columns = [], records.arm_columns()
    first = records.metrics[records.metrics["update_in_batch"] == 1]
    for _, seeds in records.runs.groupby(columns, sort=False):
        metrics = first[first["run_id"].isin(seeds["run_id"])]
        n_batches = int(metrics["rollout_batch"].max()) + 1
        edges = np.unique(np.linspace(0, n_batches, min(SPANS, n_batches) + 1).round().astype(int))
        for start, end in pairwise(edges):
            span = metrics[(metrics["rollout_batch"] >= start) & (metrics["rollout_batch"] < end)]
            row = {"arm": arm_name(seeds.iloc[0], columns), "n_seeds": len(seeds)}
            row |= {"first_batch": int(start) + 1, "last_batch": int(end)}
            for name in ("code_frequency", "reward_mean"):
                by_seed = span.groupby("run_id")[name].mean()
                row |= {name: by_seed.mean(), f"{name}_seed_min": by_seed.min(), f"{name}_seed_max": by_seed.max()}
            rows.append(row)
    return pd.DataFrame(rows)


def checkpoints(records: Records) -> pd.DataFrame:
    """Tabulate accuracy and code of the models evaluated along training, base and end included, by rollout batch.

    Only runs count that have every checkpoint of their arm, so that all its points are of the same seeds. Limits over
    seeds and problems (`crossed.level`). Without an evaluated checkpoint the table is empty.
    """
    points = evaluated_points(records)
    if points.empty or not (points["checkpoint"] > 0).any():
        return pd.DataFrame()

    def figures(group: pd.DataFrame) -> dict[str, float]:
        row = {"n_seeds": group["trained_run"].nunique(), "n_problems": group["problem_id"].nunique()}
        row |= level(matrix(group, "correct")).columns("accuracy")
        return row | level(matrix(group, "uses_code")).columns("code")

    cell = ["arm", *cell_columns(records)]
    keys = [*cell, "rollout_batch"]
    along = points[points["checkpoint"] > 0]
    wanted = along[cell].drop_duplicates()
    evaluated = along.groupby([*cell, "trained_run"], sort=False)["checkpoint"].nunique()
    complete = evaluated[evaluated.eq(evaluated.groupby(cell).transform("max"))].reset_index()[[*cell, "trained_run"]]
    base = points.loc[points["trained_run"].eq(""), [*cell, "trained_run"]].drop_duplicates()
    points = points.merge(pd.concat([complete, base]), on=[*cell, "trained_run"])
    return row_per_group(points.merge(wanted, on=cell), keys, figures).sort_values(keys, ignore_index=True)


def evaluated_points(records: Records) -> pd.DataFrame:
    """Return the samples with `arm` and `rollout_batch`; the base model's appear at batch 0 of every arm."""
    samples = with_arms(records)
    if records.runs.empty:
        return samples.iloc[:0].assign(rollout_batch=0)
    runs = records.runs.set_index("run_id")
    trained = samples[samples["arm"] != BASE]
    updates = trained["checkpoint"].where(trained["checkpoint"] > 0, trained["trained_run"].map(runs["n_updates"]))
    batches = updates / trained["trained_run"].map(runs["updates_per_batch"])
    trained = trained.assign(rollout_batch=batches.astype(int))
    base = samples[samples["arm"] == BASE].assign(rollout_batch=0)
    keys = ["arm", "model"]
    starts = [
        base[base["model"] == model].assign(arm=arm)
        for arm, model in trained[keys].drop_duplicates().itertuples(index=False)
    ]
    return pd.concat([*starts, trained], ignore_index=True)


# ------------------------------------------------------------------------------------------- Tables 3 and 5: prompts


def base_cells(records: Records) -> list[tuple[dict[str, object], dict[str, pd.DataFrame]]]:
    """List the greedy evaluations of untrained models: what they share (`SUBJECT`), and prompt style → records."""
    samples = records.samples
    base = samples[(samples["trained_run"] == "") & (samples["temperature"] == 0)]
    check_no_duplicates(base, [*SUBJECT, "prompt_style"])
    found = []
    for key, cell in base.groupby(list(SUBJECT), sort=False):
        by_style = {str(style): group for style, group in cell.groupby("prompt_style", sort=False)}
        found.append((dict(zip(SUBJECT, key, strict=True)), by_style))
    return found


def forced_code(records: Records) -> pd.DataFrame:
    """Compare, per model, answers with the forced beginning to answers under the same prompt without it, by problem.

    A forced style is compared with its own twin (`models.prompts.unforced`), so that nothing else differs.
    `code_advantage` is the twin's accuracy with code minus without (limits: bootstrap over problems): where it is
    positive, forcing code should help.
    """
    rows = []
    for subject, by_style in base_cells(records):
        for forced in by_style:
            twin = unforced(forced) if forced in PROMPT_STYLES else None
            if twin not in by_style:
                continue
            one, two = by_style[twin], by_style[forced]
            figures = strategy_figures(one)
            row = {**subject, "prompt_style": twin, "forced": forced, **accuracy_difference(one, two)}
            row |= {"accuracy": figures["accuracy"], "accuracy_forced": float(two["correct"].mean())}
            row |= {"code": figures["code"], "code_forced": float(two["uses_code"].mean())}
            row |= {name: figures[name] for name in ("accuracy_code", "accuracy_language")}
            row |= code_advantage(one).columns("code_advantage")
            rows.append(row | {name: figures[name] for name in ("n_code", "n_language")})
    return corrected(pd.DataFrame(rows))


def prompts(records: Records) -> pd.DataFrame:
    """Tabulate accuracy, parsable answers and code per model and prompt style, with the difference to the own prompt.

    Rows exist only where a model was evaluated under more than one prompt; the own prompt comes first.
    """
    rows, own = [], main_prompt(records)
    for subject, by_style in base_cells(records):
        if own not in by_style or len(by_style) < 2:
            continue
        for style in sorted(by_style, key=lambda name: (name != own, list(by_style).index(name))):
            cell = by_style[style]
            every = pd.Series(True, index=cell.index)
            row = {**subject, "prompt_style": style, "n_problems": len(cell)}
            events = {"accuracy": cell["correct"], "code": cell["uses_code"], "parsable": parsable(cell)}
            for name, event in events.items():
                row |= share(event.astype(bool), every, cell["problem_id"], 1).columns(name)
            row |= {"boxed": cell["boxed"].mean(), "mean_tokens": cell["n_tokens"].mean()}
            row["cut_off"] = (cell["finish_reason"] == "length").mean()
            rows.append(row | (accuracy_difference(by_style[own], cell) if style != own else {}))
    return corrected(pd.DataFrame(rows))


def with_refused(table: pd.DataFrame, records: Records) -> pd.DataFrame:
    """Add to the rows of `prompts` the styles that a model could not be given, with the `reason`."""
    refusals = [manifest for manifest in records.manifests.values() if manifest.get("kind") == REFUSED]
    parts, found = [], False
    for key, rows in table.groupby(list(SUBJECT), sort=False) if len(table) else ():
        subject = dict(zip(SUBJECT, key, strict=True))
        own = [manifest["refused"] for manifest in refusals if subject.items() <= manifest["config"].items()]
        refused = {style: why for one in own for style, why in one.items() if style not in set(rows["prompt_style"])}
        more = [subject | {"prompt_style": style, "n_problems": 0, "reason": why} for style, why in refused.items()]
        parts += [rows, *(pd.DataFrame([row]) for row in more)]
        found = found or bool(refused)
    return pd.concat(parts, ignore_index=True) if found else table


def accuracy_difference(one: pd.DataFrame, two: pd.DataFrame) -> dict[str, object]:
    """Subtract accuracy of one from two on the same problems: limits (bootstrap), won and lost, McNemar's p-value."""
    both = pd.concat([one.assign(run_id="one"), two.assign(run_id="two")])
    found = compare(both, "one", "two")
    return {name: value for name, value in found.items() if name not in ("before", "after", "test")}


def corrected(table: pd.DataFrame) -> pd.DataFrame:
    """Add `p_holm`: Holm's correction over the rows of one model, benchmark and engine."""
    if table.empty or "p_value" not in table:
        return table
    adjusted = pd.Series(np.nan, index=table.index)
    for _, rows in table[table["p_value"].notna()].groupby(list(SUBJECT), sort=False):
        adjusted[rows.index] = holm(rows["p_value"])
    return table.assign(p_holm=adjusted).astype({"won": "Int64", "lost": "Int64"})
