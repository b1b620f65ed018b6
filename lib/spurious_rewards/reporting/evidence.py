"""The records of a profile as the claims look at them: cut into parts that share model and setting, tables made once.

A profile may hold several models and several step sizes. A claim about training is measured in each part in which only
reward, γ and clip mode differ; a claim about an untrained model once per model; a claim about models over all of them.

Usage: `for part in Evidence(load("organism", results_dir())).parts(SETTING): part.rows_of("random")`
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np
import pandas as pd

from spurious_rewards.reporting import reasoning_tables
from spurious_rewards.reporting.arms import BASE, arm_name, at_the_end, cell_columns, changes
from spurious_rewards.reporting.collect import Records
from spurious_rewards.reporting.tables import arms, clip_effect

WITHIN = ("reward", "gamma", "clip_mode")
"""What differs between the arms of one part."""
SETTING, MODEL, MODELS = "setting", "model", "models"
"""Kinds of parts: one model and setting; one model; one setting of all models."""


class Evidence:
    """One part of a profile's records, with the tables that the claims look at, each computed when first asked for.

    Args:
        records: of the profile, or of a part of it.
        setting: what tells the part from others, as text; empty where there are no others.
    """

    def __init__(self, records: Records, setting: str = ""):
        self.records = records
        self.setting = setting

    @property
    def scale(self) -> str:
        """What the numbers were measured on."""
        models = ", ".join(sorted(self.records.samples["model"].unique()))
        return ", ".join(filter(None, [models, self.setting])) + f" (profile {self.records.profile})"

    def parts(self, kind: str) -> Iterator[Evidence]:
        """The parts of one kind, in the order of the records; models without training come last, one part each."""
        runs, samples = self.records.runs, self.records.samples
        settings = [name for name in self.records.arm_columns() if name not in (*WITHIN, "model")]
        several = kind != MODELS and samples["model"].nunique() > 1
        keys = [*(settings if kind != MODEL else []), *(["model"] if several else [])]
        trained = set()
        for key, group in runs.groupby(keys, sort=False) if keys and len(runs) else [((), runs)]:
            values = dict(zip(keys, key, strict=False))
            trained |= set(group["model"]) if len(group) else set()
            text = ", ".join(
                f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
                for name, value in values.items()
                if name != "model"
            )
            if len(group) or not several:
                yield self._part(group, set(group["model"]) if len(group) else set(samples["model"]), text)
        for model in dict.fromkeys(samples["model"]):
            if several and model not in trained:
                yield self._part(runs.iloc[:0], {model}, "")

    def _part(self, runs: pd.DataFrame, models: set[str], setting: str) -> Evidence:
        whole = self.records
        own = set(runs["run_id"]) if len(runs) else set()
        samples = whole.samples[
            whole.samples["trained_run"].isin(own)
            | ((whole.samples["trained_run"] == "") & whole.samples["model"].isin(models))
        ]
        metrics = whole.metrics[whole.metrics["run_id"].isin(own)] if len(whole.metrics) else whole.metrics
        return Evidence(replace(whole, runs=runs, metrics=metrics, samples=samples), setting)

    @cached_property
    def arms(self) -> pd.DataFrame:
        """Greedy rows of the table of arms, with the columns of `WITHIN` (and the model) of each arm."""
        table = greedy(arms(self.records))
        columns = self.records.arm_columns()
        known = {arm_name(row, columns): row for _, row in self.records.runs.iterrows()}
        for name in (*WITHIN, "model"):
            table = table.assign(**{name: [known[arm][name] if arm in known else None for arm in table["arm"]]})
        return table

    @cached_property
    def clip_effect(self) -> pd.DataFrame:
        """Greedy rows of the clip's effect, empty without an ablation."""
        table = clip_effect(self.records)
        return table if table.empty else greedy(table)

    @cached_property
    def contributions(self) -> pd.DataFrame:
        """Contributions of strategy switches, where arms gained."""
        return reasoning_tables.contributions(self.records)

    @cached_property
    def forced_code(self) -> pd.DataFrame:
        """Base models with and without the forced beginning."""
        return reasoning_tables.forced_code(self.records)

    @cached_property
    def prompts(self) -> pd.DataFrame:
        """Base models under every prompt."""
        return reasoning_tables.prompts(self.records)

    def rows_of(self, reward: str, clip_mode: str = "two_sided") -> pd.DataFrame:
        """The greedy rows of the arms with this reward and clip mode that have a base model beside them."""
        if "accuracy_change" not in self.arms:
            return self.arms.iloc[:0]
        return self.arms[(self.arms["reward"] == reward) & (self.arms["clip_mode"] == clip_mode)]

    def row_of(self, reward: str, gamma: float = 0.5) -> pd.Series | None:
        """The first of these rows (with that γ, for the random reward), None if there is none."""
        found = self.rows_of(reward)
        if reward == "random":
            found = found[found["gamma"] == gamma]
        return None if found.empty else found.iloc[0]

    def changes_S_P(self, row: pd.Series) -> np.ndarray:
        """Change of greedy correctness from the base model of an arm's row, shape (seeds, problems)."""
        samples = at_the_end(self.records)
        for name in cell_columns(self.records):
            samples = samples[samples[name] == row[name]]
        base = samples[samples["arm"] == BASE]
        return changes(samples[samples["arm"] == row["arm"]], base, "correct")


def greedy(table: pd.DataFrame) -> pd.DataFrame:
    """The rows at temperature 0."""
    return table[table["temperature"] == 0]
