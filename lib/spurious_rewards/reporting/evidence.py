"""Cut the records of a profile into parts that share model and setting, and lay out what the claims are judged by.

A profile may hold several models and several step sizes. A claim about training is measured in each part in which only
reward, γ and clip mode differ; a claim about an untrained model once per model; a claim about models over all of them.

Usage: `for part in Evidence(load("organism", results_dir())).parts(SETTING): part.changes(Arm("random"), "correct")`
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property

import pandas as pd

from spurious_rewards.reporting import reasoning_tables
from spurious_rewards.reporting.arms import BASE, at_the_end, by_problem, cell_columns, changes
from spurious_rewards.reporting.collect import Records
from spurious_rewards.reporting.protocol import Arm, Protocol, protocol_of
from spurious_rewards.reporting.words import STEP, is_default, settings_told

WITHIN = ("reward", "gamma", "clip_mode")
"""What differs between the arms of one part."""
SETTING, MODEL, MODELS = "setting", "model", "models"
"""Kinds of parts: one model and setting; one model; one setting of all models."""


def recipe_of(model: str) -> str:
    """Return the recipe of a model organism: its name without the seed of its pretraining.

    >>> recipe_of("qwen-like-s2"), recipe_of("qwen-like"), recipe_of("qwen-like-s1-at25")
    ('qwen-like', 'qwen-like', 'qwen-like-at25')
    """
    return re.sub(r"-s\d+(?=-at\d+$|$)", "", model)


class Evidence:
    """Hold one part of a profile's records, with the tables that the claims look at, each computed when asked for.

    Args:
        records: of the profile, or of a part of it.
        setting: what tells the part from others, in words; empty where there are no others.
        secondary: whether a field other than the step size differs from its default, or no claim rests on the model.
        protocol: says which models claims rest on.
    """

    def __init__(self, records: Records, setting: str = "", secondary: bool = False, protocol: Protocol | None = None):
        self.records = records
        self.protocol = protocol or Protocol()
        self.setting = setting
        self.secondary = secondary
        self._parts: dict[tuple[str, bool], list[Evidence]] = {}
        self._changes: dict[tuple[Arm, str], pd.DataFrame] = {}

    @property
    def scale(self) -> str:
        """Say what the numbers were measured on."""
        return self.scale_of(self.records.samples["model"].unique())

    @property
    def beside(self) -> bool:
        """Tell whether a study planned no model of the part to its last seed, so that no claim rests on it."""
        models = self.records.samples["model"].unique()
        return bool(self.protocol.models) and all(map(self.protocol.beside, models))

    def scale_of(self, models: Iterable[str]) -> str:
        """Say what numbers on some of the models were measured on."""
        return ", ".join(filter(None, [*sorted(models), self.setting])) + f" (profile {self.records.profile})"

    def parts(self, kind: str, recipes: bool = False) -> list[Evidence]:
        """Return the parts of one kind, in the order of the records; untrained models come last, one part each.

        Args:
            kind: `SETTING`, `MODEL` or `MODELS`.
            recipes: whether the checkpoints of one recipe are one model.
        """
        if (kind, recipes) not in self._parts:
            self._parts[kind, recipes] = list(self._cut(kind, recipes))
        return self._parts[kind, recipes]

    def _cut(self, kind: str, recipes: bool) -> Iterator[Evidence]:
        runs, samples = self.records.runs, self.records.samples
        name_of = recipe_of if recipes else str
        settings = [name for name in self.records.arm_columns() if name not in (*WITHIN, "model")]
        several = kind != MODELS and samples["model"].map(name_of).nunique() > 1
        keys = settings if kind != MODEL else []
        by = [*(runs[name] for name in keys), *([runs["model"].map(name_of)] if several else [])]
        trained = set()
        for key, group in runs.groupby(by, sort=False, dropna=False) if by and len(runs) else [((), runs)]:
            trained |= set(group["model"]) if len(group) else set()
            values = dict(zip(keys, key, strict=False))
            other = any(name != STEP and not is_default(name, value) for name, value in values.items())
            text = ", ".join(settings_told(values))
            models = set(group["model"]) if len(group) else set(samples["model"])
            if len(group) or not several:
                yield self._part(group, models, text, other or not any(map(self.protocol.speaks, models)))
        for model in dict.fromkeys(samples["model"]):
            if several and model not in trained:
                yield self._part(runs.iloc[:0], {model})

    def _part(self, runs: pd.DataFrame, models: set[str], setting: str = "", secondary: bool = False) -> Evidence:
        whole = self.records
        own = set(runs["run_id"]) if len(runs) else set()
        untrained = (whole.samples["trained_run"] == "") & whole.samples["model"].isin(models)
        samples = whole.samples[whole.samples["trained_run"].isin(own) | untrained]
        metrics = whole.metrics[whole.metrics["run_id"].isin(own)] if len(whole.metrics) else whole.metrics
        return Evidence(replace(whole, runs=runs, metrics=metrics, samples=samples), setting, secondary, self.protocol)

    @cached_property
    def answers(self) -> pd.DataFrame:
        """Return the greedy answers of base and finished models, in the first cell of the trained ones."""
        samples = at_the_end(self.records)
        samples = samples[samples["temperature"] == 0]
        trained = samples[samples["arm"] != BASE]
        for name in cell_columns(self.records) if len(trained) else ():
            if name != "model":
                samples = samples[samples[name] == trained[name].iloc[0]]
        return samples

    def runs_of(self, arm: Arm) -> pd.DataFrame:
        """Select the training runs of an arm; γ counts where the reward is random."""
        runs = self.records.runs
        if runs.empty:
            return runs
        found = (runs["reward"] == arm.reward) & (runs["clip_mode"] == arm.clip_mode)
        if "random" in arm.reward.split("_and_"):
            found &= runs["gamma"] == arm.gamma
        return runs[found]

    def changes(self, arm: Arm, column: str) -> pd.DataFrame:
        """Return the change of `column` from the base model: a row per (model, seed), a column per problem.

        Empty if no run of the arm was evaluated, or its base model was not.

        Raises:
            InputError: base and trained models were not evaluated on the same problems.
        """
        key = replace(arm, expect="gain"), column
        if key not in self._changes:
            self._changes[key] = self._changed(arm, column)
        return self._changes[key]

    def _changed(self, arm: Arm, column: str) -> pd.DataFrame:
        runs, found = self.runs_of(arm), []
        for model, own in runs.groupby("model", sort=False) if len(runs) else ():
            answers = self.answers[self.answers["model"] == model]
            after = answers[answers["trained_run"].isin(set(own["run_id"]))]
            before = answers[answers["trained_run"] == ""]
            if after.empty or before.empty:
                continue
            problems = by_problem(after, column)  # rows in the order of `changes`
            seeds = own.set_index("run_id")["seed"].reindex(problems.index)
            index = pd.MultiIndex.from_arrays([[model] * len(seeds), seeds], names=["model", "seed"])
            found.append(pd.DataFrame(changes(after, before, column), index, problems.columns).sort_index())
        return pd.concat(found) if found else pd.DataFrame()

    @cached_property
    def contributions(self) -> pd.DataFrame:
        """Return the contributions of strategy switches, where arms gained."""
        return reasoning_tables.contributions(self.records)

    @cached_property
    def forced_code(self) -> pd.DataFrame:
        """Compare base models with and without the forced beginning."""
        return reasoning_tables.forced_code(self.records)

    @cached_property
    def prompts(self) -> pd.DataFrame:
        """Compare base models under every prompt."""
        return reasoning_tables.prompts(self.records)


def without_checkpoints(records: Records) -> tuple[Records, str]:
    """Leave out the checkpoints that a study has beside its verdicts: (records, note on what was left out).

    All stay where none would be left.
    """
    models = records.runs["model"].unique()
    rest = [model for model in models if protocol_of(records.profile).beside(model)]
    if len(rest) in (0, len(models)):
        return records, ""
    runs = records.runs[~records.runs["model"].isin(rest)]
    samples, metrics = records.samples, records.metrics
    samples = samples[~samples["model"].isin(rest)]
    metrics = metrics[metrics["run_id"].isin(runs["run_id"])]
    words = f"; {len(rest)} more checkpoint{'s are' if len(rest) > 1 else ' is'} in the tables"
    return replace(records, runs=runs, samples=samples, metrics=metrics), words
