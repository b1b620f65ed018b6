"""Compute the tables of trained models from the records of a profile: arms, the clip's effect, its activity, the runs.

Proportions are in [0, 1]. `_low` and `_high` are 95 % limits over seeds and problems (`crossed.effect`; for a level
`crossed.level`). One seed allows no interval of a change: its limits are infinite.

Tables of arms hold the models at the end of training, in the evaluation cells in which trained models were evaluated.
The base model under further prompts and the models of earlier checkpoints have tables of their own
(`reporting.reasoning_tables`).

Usage: `arms(records)`
"""

from __future__ import annotations

import pandas as pd

from spurious_rewards.evaluation.crossed import effect, level
from spurious_rewards.evaluation.records import row_per_group
from spurious_rewards.evaluation.statistics import t_interval
from spurious_rewards.reporting import arms as names
from spurious_rewards.reporting.arms import BASE, arm_name, by_problem, cell_columns, matrix
from spurious_rewards.reporting.collect import Records, once
from spurious_rewards.reporting.evidence import WITHIN
from spurious_rewards.training.clip import MODES


@once
def arms(records: Records) -> pd.DataFrame:
    """Tabulate accuracy and code frequency of every arm and evaluation cell, with their change from the base model."""
    rows, columns = [], cell_columns(records)
    for cell, samples in names.at_the_end(records).groupby(columns, sort=False):
        base = samples[samples["arm"] == BASE]
        for arm, group in samples.groupby("arm", sort=False):
            row = {"arm": arm, **dict(zip(columns, cell, strict=True))}
            row["n_seeds"] = group.loc[group["trained_run"] != "", "trained_run"].nunique()
            row["n_problems"] = group["problem_id"].nunique()
            row["k"] = int(group.groupby(["trained_run", "problem_id"]).size().iloc[0])
            for name, column in (("accuracy", "correct"), ("code", "uses_code")):
                row |= level(matrix(group, column)).columns(name)
                if len(base) and arm != BASE:
                    row |= effect(names.changes(group, base, column)).cut(-1, 1).columns(f"{name}_change")
            rows.append(row | over_answers(group))
    return pd.DataFrame(rows)


def arm_rows(records: Records) -> pd.DataFrame:
    """Return the table of arms with the training configuration of each arm; the base models are left out."""
    table, columns = arms(records), records.arm_columns()
    table = table[table["arm"] != BASE]
    known = records.runs.assign(arm=[arm_name(row, columns) for _, row in records.runs.iterrows()])
    told = list(dict.fromkeys(["arm", "model", *WITHIN, *columns]))
    known = known[told].drop_duplicates("arm")
    return table.drop(columns=[name for name in told[1:] if name in table]).merge(known, on="arm")


def over_answers(group: pd.DataFrame) -> dict[str, float]:
    """Average further properties of the answers over all answers of all seeds of an arm."""
    code = group["uses_code"].astype(bool)
    return {
        "accuracy_code": group.loc[code, "correct"].mean(),
        "accuracy_language": group.loc[~code, "correct"].mean(),
        "accuracy_paper": group["correct_paper"].mean(),
        "boxed": group["boxed"].mean(),
        "parsable": names.parsable(group).mean(),
        "mean_tokens": group["n_tokens"].mean(),
        "cut_off": (group["finish_reason"] == "length").mean(),
    }


def clip_effect(records: Records) -> pd.DataFrame:
    """Tabulate each clip mode minus `none`, paired by seed and problem, per reward and evaluation cell.

    Runs of one seed share their problems, draws and first rollouts. Limits are over seeds and problems; the differences
    of the single seeds are listed beside them.
    """
    if records.runs.empty or records.runs["clip_mode"].nunique() < 2:
        return pd.DataFrame()
    others = [name for name in records.arm_columns() if name != "clip_mode"]
    # A field of both configurations (prompt_style, engine) is the evaluation's under `_cell`; the model is the same.
    own = [name for name in cell_columns(records) if name != "model" or name not in others]
    cell = [f"{name}_cell" if name in others else name for name in own]
    runs = records.runs[["run_id", *others, "clip_mode", "seed"]].rename(columns={"run_id": "trained_run"})
    samples = records.samples[records.samples["checkpoint"] == 0]
    samples = samples.merge(runs, on="trained_run", how="inner", suffixes=("_cell", ""))
    rows = []
    for key, group in samples.groupby([*others, *cell], sort=False, dropna=False):
        by_mode = {mode: runs.assign(trained_run=runs["seed"]) for mode, runs in group.groupby("clip_mode", sort=False)}
        for mode in by_mode if "none" in by_mode else ():
            seeds = sorted(set(by_mode[mode]["seed"]) & set(by_mode["none"]["seed"]))
            if mode == "none" or not seeds:
                continue
            row = {**dict(zip([*others, *cell], key, strict=True)), "clip_mode": mode, "n_seeds": len(seeds)}
            row |= {"n_problems": by_mode[mode]["problem_id"].nunique(), "seeds": " ".join(map(str, seeds))}
            for name, column in (("accuracy_difference", "correct"), ("code_difference", "uses_code")):
                on, off = (by_problem(by_mode[side], column).loc[seeds] for side in (mode, "none"))
                difference_S_P = (on - off).to_numpy()
                row |= effect(difference_S_P).cut(-1, 1).columns(name)
                row[f"{name}_per_seed"] = " ".join(f"{value:+.4f}" for value in difference_S_P.mean(axis=1))
            rows.append(row)
    return pd.DataFrame(rows)


def clip_activity(records: Records) -> pd.DataFrame:
    """Tabulate per arm where the clip acts, and entropy and reward at both ends of training (means over seeds).

    `entropy_change`, last minus first rollout batch, has 95 % limits over seeds.
    """
    if records.metrics.empty:
        return pd.DataFrame()
    columns = records.arm_columns()
    later_means = "clip_fraction would_clip_high would_clip_low clip_force_high clip_force_low".split()
    rows = []
    for _, seeds in records.runs.groupby(columns, sort=False):
        metrics = records.metrics[records.metrics["run_id"].isin(seeds["run_id"])]
        first, later = metrics[metrics["update_in_batch"] == 1], metrics[metrics["update_in_batch"] > 1]
        last = metrics[metrics["update_in_batch"] == metrics["update_in_batch"].max()]
        row = {"arm": arm_name(seeds.iloc[0], columns), "n_seeds": len(seeds)}
        row["n_updates"] = int(seeds["n_updates"].sum())  # compact records keep two of each rollout batch
        row["clip_fraction_update_1_max"] = first["clip_fraction"].max()
        row |= {f"{name}_later_mean": later[name].mean() for name in later_means}
        row["kl_old_last_update_mean"] = last["kl_old"].mean()
        for name in ("entropy", "code_frequency", "reward_mean"):
            of_runs = first.groupby("run_id")[name]
            row |= {f"{name}_first": of_runs.nth(0).mean(), f"{name}_last": of_runs.nth(-1).mean()}
        entropy = first.groupby("run_id")["entropy"].agg(["first", "last"])
        row |= t_interval(entropy["last"] - entropy["first"]).columns("entropy_change")
        rows.append(row)
    return pd.DataFrame(rows)


def first_updates(records: Records) -> pd.DataFrame:
    """Compare the losses of the first update between arms that differ in the clip mode alone.

    Such arms have the same rollouts there, so the losses, written as hexadecimal floats, must agree to the last bit.
    There is nothing to compare in seeds trained with one clip mode alone, between a GPU and a CPU or other arithmetic,
    and with modes whose loss is another expression, as CISPO's is: these are left out.
    """
    if records.metrics.empty:
        return pd.DataFrame()
    first = records.metrics[records.metrics["update"] == 1].set_index("run_id")["surrogate_loss"]

    def compared(group: pd.DataFrame) -> dict[str, object]:
        losses = {row["clip_mode"]: float(first[row["run_id"]]) for _, row in group.iterrows()}
        written = " ".join(value.hex() for value in losses.values())
        return {"clip_modes": " ".join(losses), "losses": written, "equal": len(set(losses.values())) == 1}

    def device(run_id: str) -> str:
        manifest = records.manifests[run_id]
        return f"{manifest.get('hardware', {}).get('gpus')} {manifest.get('arithmetic', {}).get('digest')}"

    others = [*(name for name in records.arm_columns() if name != "clip_mode"), "seed"]
    runs = records.runs[records.runs["clip_mode"].map(lambda mode: MODES[mode].hinge)]
    alike = [*(runs[name] for name in others), runs["run_id"].map(device)]
    several = runs.groupby(alike, sort=False, dropna=False)["clip_mode"].transform("nunique") > 1
    return row_per_group(runs[several], others, compared)


def runs(records: Records) -> pd.DataFrame:
    """Tabulate what each training run cost, and the commit it came from."""
    if records.runs.empty:
        return pd.DataFrame()
    rate = records.metrics.groupby("run_id")["seconds_tokens_rate"].median()
    table = records.runs.assign(
        arm=[arm_name(row, records.arm_columns()) for _, row in records.runs.iterrows()],
        minutes=(records.runs["seconds"] / 60).round(2),
        tokens_per_second=records.runs["run_id"].map(rate).round(0),
    )
    shown = "run_id arm seed n_updates completion_tokens minutes tokens_per_second peak_memory_mb sessions commit dirty"
    return table[shown.split()]
