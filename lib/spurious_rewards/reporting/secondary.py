"""Say what secondary arms of a study show: other coins, steps, clips, checkpoints, ages, erring verifiers, controls.

None of them has a verdict but the coins. Every part is sentences of at most 40 words and three numbers, filled from the
study's tables; a part whose arms were not run with seeds enough is empty.

Usage: `secondary_parts(results, "decide")`
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from spurious_rewards.evaluation.crossed import SEEDS_FOR_A_VERDICT
from spurious_rewards.evaluation.verdicts import CONTRADICTED, SUPPORTED
from spurious_rewards.reporting.arms import CELL, FURTHER
from spurious_rewards.reporting.evidence import WITHIN
from spurious_rewards.reporting.overview import ending, ending_of
from spurious_rewards.reporting.pretraining import NEITHER, WHOLE, age_of, pretraining_of, regime_of
from spurious_rewards.reporting.protocol import Protocol, protocol_of
from spurious_rewards.reporting.verifier import NOISY
from spurious_rewards.reporting.words import (
    STEP,
    clip_words,
    is_default,
    seeds_words,
    setting_words,
    settings_in,
    settings_told,
)
from spurious_rewards.training.config import RunConfig

RANDOM = "random γ=0.5"
"""The random reward, as the names of arms have it."""
TOWARDS, AWAY = "towards code", "away from code"
BOTH = "two_sided"
"""The clip mode of the paper, whose runs are compared with those of `NEITHER`."""
FREE = (*WITHIN, *CELL, *FURTHER, STEP)
"""Columns of the clip's effect that are no setting of its own: the arm, the evaluation, and the step size."""
EMPTY: dict[str, tuple[str, ...]] = {
    "tests": ("claim",), "arms": ("arm",), "clip_activity": ("arm",), "clip_effect": ("reward", "n_seeds"),
    "verifier_quality": (), "recipes": ("reward",),
}  # fmt: skip
"""Tables of a study → the columns that are asked for even where it has no such table."""


def secondary_parts(results: Path, study: str) -> dict[str, list[str]]:
    """Collect the parts: what each is about → its sentences.

    Args:
        results: the folder of committed results.
        study: the profile whose arms they are.
    """
    protocol = protocol_of(study)
    tests, arms, activity, effects, verifiers, recipes = (_table(results, study, name) for name in EMPTY)
    parts = {
        "A larger step": _larger_step(effects, arms, activity, protocol),
        "Other ways to clip": _other_clips(effects, protocol),
        "Other checkpoints": _checkpoints(recipes, protocol),
        "The age of pretraining": _ages(arms, effects, protocol),
        "Other coins": _coins(tests, activity, effects, protocol),
        "A verifier with errors": _verifier(verifiers, effects),
        "One sign of the advantage": _signs(activity),
        "Controls": _controls(arms, effects),
    }
    return {part: list(sentences) for part, sentences in parts.items()}


def _table(results: Path, study: str, name: str) -> pd.DataFrame:
    """Read a table of a study; an empty one where the study has none."""
    path = results / "tables" / study / f"{name}.csv"
    return pd.read_csv(path) if path.is_file() else pd.DataFrame({column: [] for column in EMPTY[name]})


def _of_coin(effects: pd.DataFrame, protocol: Protocol, gamma: float = 0.5) -> list[dict[Any, Any]]:
    """Return the rows of a coin with seeds enough for limits that have the study's settings but for the step."""
    any_step = replace(protocol, settings={name: v for name, v in protocol.settings.items() if name != STEP})
    rows = _coin_rows(effects, protocol, gamma)
    return [row for row in rows if row["n_seeds"] >= SEEDS_FOR_A_VERDICT and any_step.counts(row)]


def _coin_rows(rows: pd.DataFrame, protocol: Protocol, gamma: float = 0.5) -> list[dict[Any, Any]]:
    """Return the rows of a coin in which every setting that the protocol does not name has its default."""
    rows = rows[rows["reward"].eq("random")]
    if "gamma" in rows:  # a column where it varies
        rows = rows[rows["gamma"].eq(gamma)]
    others = [one.name for one in fields(RunConfig) if one.name in rows and one.name not in (*FREE, *protocol.settings)]
    return [row for row in rows.to_dict("records") if all(is_default(name, row[name]) for name in others)]


def _at_other_steps(effects: pd.DataFrame, protocol: Protocol) -> list[dict[Any, Any]]:
    """Return the rows of the fair coin with the clip at step sizes that are not the study's; none without settings."""
    own = protocol.settings.get(STEP, ())
    rows = _of_coin(effects, protocol) if own else []
    return [row for row in rows if row["clip_mode"] == BOTH and row.get(STEP) not in (None, *own)]


def at_other_steps(results: Path, study: str) -> Iterator[str]:
    """Say what the fair coin, and the clip, change in accuracy at step sizes that are not the study's.

    Arguments are those of `secondary_parts`.
    """
    protocol = protocol_of(study)
    effects, arms = (_table(results, study, name) for name in ("clip_effect", "arms"))
    for row in _at_other_steps(effects, protocol):
        yield from _both_ends(row, arms, protocol, "without a verdict, ")
        if not arm_row(arms, protocol, f"ground_truth, {BOTH}", row.get("model", ""), row[STEP]):
            yield "What true rewards teach in runs as long at that step size was not measured."


def _both_ends(row: dict[str, Any], arms: pd.DataFrame, protocol: Protocol, aside: str = "") -> Iterator[str]:
    """Say how accuracy changed with the clip and without it at a step size, and by how much the two differ.

    Args:
        row: of the clip's effect at that step size.
        arms: the table of arms.
        protocol: of the study.
        aside: what else is to be said of the step size.
    """
    rate, model = row[STEP], row.get("model", "")
    on, off = (arm_row(arms, protocol, f"{RANDOM}, {mode}", model, rate) for mode in (BOTH, NEITHER))
    if on and off:
        ends = [(arm["accuracy_change_low"], arm["accuracy_change_high"]) for arm in (on, off)]
        destroyed = ends[1][1] < -protocol.destruction  # the protocol has this word for runs without the clip
        yield (
            f"At {setting_words(STEP, rate)}, {aside}a random reward changed the accuracy of {model or 'the model'} by "
            f"{100 * on['accuracy_change']:+.1f} points with the clip, {ending(*ends[0], 'a gain', 'a loss')}, and by "
            f"{100 * off['accuracy_change']:+.1f} without it, "
            f"{ending(*ends[1], 'a gain', 'destruction' if destroyed else 'a loss')}."
        )
        limits = row["accuracy_difference_low"], row["accuracy_difference_high"]
        end = ending(*limits, "so runs end higher with the clip", "so runs end lower with the clip")
        yield (
            f"Between the two lie {100 * row['accuracy_difference']:+.1f} points in the same "
            f"{seeds_words(row['n_seeds'])}, {end}."
        )


def unfair_coins(results: Path, study: str) -> Iterator[str]:
    """Count the coins that are not fair and brought a gain, or a loss, by the protocol, and say more of each gain.

    Arguments are those of `secondary_parts`.
    """
    protocol = protocol_of(study)
    tests, activity, effects = (_table(results, study, name) for name in ("tests", "clip_activity", "clip_effect"))
    unfair = _unfair(tests, protocol)
    for model in dict.fromkeys(map(_model_of, unfair)):
        rows = [row for row in unfair if _model_of(row) == model]
        verdicts = [row["verdict"] for row in rows]
        yield (
            f"Of {len(verdicts)} coins that are not fair, each judged by itself, {verdicts.count(SUPPORTED) or 'none'} "
            f"brought {model} a gain and {verdicts.count(CONTRADICTED) or 'none'} a loss."
        )
        for row in rows:
            yield from _coin(row, activity, effects, protocol) if row["verdict"] == SUPPORTED else ()


def _larger_step(
    effects: pd.DataFrame, arms: pd.DataFrame, activity: pd.DataFrame, protocol: Protocol
) -> Iterator[str]:
    """Say what the fair coin does at step sizes that are not the study's, where the clip acts more often."""
    for row in _at_other_steps(effects, protocol):
        rate, model = row[STEP], row.get("model", "")
        whose = model or "the model"
        here, usual = (arm_row(activity, protocol, f"{RANDOM}, {BOTH}", model, step) for step in (rate, None))
        if here and usual:
            share, other = here["clip_fraction_later_mean"], usual["clip_fraction_later_mean"]
            yield (
                f"At {setting_words(STEP, rate)} the clip acts on {100 * share:.2g} % of {whose}'s tokens after the "
                f"first update of a rollout batch, {share / other:.1f} times the share at the study's own step."
            )
        yield from _both_ends(row, arms, protocol)
        yield f"Between their shares of code lie {100 * row['code_difference']:+.1f} points, {_side(row)}."


def _other_clips(effects: pd.DataFrame, protocol: Protocol) -> Iterator[str]:
    """Say what each side of the clip by itself does to code, and a clip of the weight, at the study's step size."""
    own = protocol.settings.get(STEP, [])
    for row in _of_coin(effects, protocol) if own else ():
        if row["clip_mode"] != BOTH and row.get(STEP, own[0]) in own:
            yield (
                f"With the {clip_words(row['clip_mode'])}, the share of code of {row.get('model', 'the model')} "
                f"differs by {100 * row['code_difference']:+.1f} points from the same {seeds_words(row['n_seeds'])} "
                f"without any clip, {_side(row)}."
            )


def _checkpoints(recipes: pd.DataFrame, protocol: Protocol) -> Iterator[str]:
    """Say what the fair coin does in the mean of a recipe's checkpoints, and how far the checkpoints differ."""
    rows = [row for row in _coin_rows(recipes, protocol) if row["clip_mode"] == BOTH and protocol.counts(row)]
    for mean in rows:
        if mean["n_checkpoints"] < SEEDS_FOR_A_VERDICT:
            continue
        own = [row for row in rows if row["recipe"] == mean["recipe"] and row["n_checkpoints"] == 1]
        single = [row["accuracy_change"] for row in own]
        end = ending(mean["accuracy_change_low"], mean["accuracy_change_high"], "a gain", "a loss")
        yield (
            f"In the mean of {mean['n_checkpoints']} checkpoints of the recipe of {mean['recipe']}, pretrained from "
            f"different seeds, a random reward with the clip changed accuracy by {100 * mean['accuracy_change']:+.1f} "
            f"points, {end}."
        )
        yield (
            f"The single checkpoints changed by {100 * min(single):+.1f} to {100 * max(single):+.1f} points, with "
            f"{seeds_words(mean['n_seeds'])} of training or more each."
        )
        if pd.notna(mean.get("code_difference")):
            yield (
                "Against the same seeds without the clip, the mean differs by "
                f"{100 * mean['accuracy_difference']:+.1f} points of accuracy and "
                f"{100 * mean['code_difference']:+.1f} of code, {_side(mean)}."
            )


def _ages(arms: pd.DataFrame, effects: pd.DataFrame, protocol: Protocol) -> Iterator[str]:
    """Say what rewards teach a model at each age of its pretraining, and what the clip does there."""
    coins = [row for row in _of_coin(effects, protocol) if row["clip_mode"] == BOTH and protocol.counts(row)]
    clips = {row["model"]: row for row in coins if "model" in row}
    found = {}
    for model in {str(settings_in(arm).get("model", "")) for arm in arms["arm"].astype(str)}:
        rows = [arm_row(arms, protocol, f"{reward}, {BOTH}", model) for reward in ("ground_truth", RANDOM)]
        if all(row and row["n_seeds"] >= SEEDS_FOR_A_VERDICT for row in rows):
            found[model] = rows
    young = {pretraining_of(model) for model in found if age_of(model) < WHOLE}
    for model in sorted((one for one in found if pretraining_of(one) in young), key=lambda one: (age_of(one), one)):
        true, coin = found[model]
        before = true["accuracy"] - true["accuracy_change"]
        yield (
            f"At {age_of(model)} % of its pretraining {pretraining_of(model)} is right in {100 * before:.1f} % of its "
            f"answers and writes code in {100 * (true['code'] - true['code_change']):.1f} %."
        )
        told = [
            f"{100 * row['accuracy_change']:+.1f} points, "
            + ending(row["accuracy_change_low"], row["accuracy_change_high"], "a gain", "a loss")
            for row in (true, coin)
        ]
        yield f"There true rewards changed its accuracy by {told[0]}, and a random reward by {told[1]}."
        if regime := regime_of(true, coin, protocol.smallest["accuracy"]):
            yield f"In the words of arXiv 2610.01066 that age is {regime}."
        if clip := clips.get(model):
            yield (
                f"Against the same {seeds_words(clip['n_seeds'])} without the clip, the random reward's share of code "
                f"differs by {100 * clip['code_difference']:+.1f} points, {_side(clip)}."
            )


def _side(row: dict[str, Any]) -> str:
    """Say on which side of zero a difference in the share of code lies."""
    return ending(row["code_difference_low"], row["code_difference_high"], TOWARDS, AWAY)


def arm_row(table: pd.DataFrame, protocol: Protocol, arm: str, model: str, rate: float | None = None) -> dict[Any, Any]:
    """Find the row of an arm on a model, at the settings that the study's verdicts are about.

    Of several settings the one nearest the default is taken, and of these the smallest step size.

    Args:
        table: with a column `arm`.
        protocol: of the study.
        arm: reward and clip mode, as the names of arms begin.
        model: of the arm.
        rate: another step size than the study's.

    Returns:
        The row; empty if there is none.
    """
    protocol = replace(protocol, settings={**protocol.settings, STEP: [rate]}) if rate else protocol
    found = []
    for row in table.to_dict("records"):
        values = settings_in(row["arm"])
        if row["arm"].startswith(f"{arm}, ") and values.pop("model", "") == model:
            if protocol.counts(values):
                found.append((len(settings_told(values)), values.get(STEP, 0.0), row))
    return min(found, key=lambda one: one[:2])[2] if found else {}


def _coins(tests: pd.DataFrame, activity: pd.DataFrame, effects: pd.DataFrame, protocol: Protocol) -> Iterator[str]:
    """Say what coins taught that are not fair, where there are seeds enough for a verdict."""
    unfair = _unfair(tests, protocol)
    for row in unfair:
        yield from _coin(row, activity, effects, protocol)
    if unfair:
        yield "Each is judged by itself; one that was run with the clip only does not say what the clip did."


def _coin(row: dict[Any, Any], activity: pd.DataFrame, effects: pd.DataFrame, protocol: Protocol) -> Iterator[str]:
    """Say what a coin that is not fair changed, how often the clip acted there, and what it changed."""
    model, gamma = _model_of(row), float(row["about"].removeprefix("γ = "))
    yield (
        f"A coin that falls on the reward in {100 * gamma:g} % of cases changed the accuracy of {model} by "
        f"{100 * row['estimate']:+.1f} points in {seeds_words(row['n_seeds'])}, {ending_of(row, 'a gain', 'a loss')}."
    )
    own, fair = (arm_row(activity, protocol, f"random γ={value:g}, {BOTH}", model) for value in (gamma, 0.5))
    if own and fair:
        here, there = (f"{100 * one['clip_fraction_later_mean']:.1g} %" for one in (own, fair))
        yield f"There the clip acts on {here} of the tokens after the first update, with the fair coin on {there}."
    for pair in _of_coin(effects, protocol, gamma):
        if pair["clip_mode"] == BOTH and protocol.counts(pair) and pair.get("model", model) == model:
            limits = pair["accuracy_difference_low"], pair["accuracy_difference_high"]
            yield (
                f"Against the same {seeds_words(pair['n_seeds'])} without the clip, its accuracy differs by "
                f"{100 * pair['accuracy_difference']:+.1f} points, {ending(*limits, 'a gain', 'a loss')}."
            )


def _unfair(tests: pd.DataFrame, protocol: Protocol) -> list[dict[Any, Any]]:
    """Return the tests of coins that are not fair and may gain, where there are seeds enough for a verdict."""
    rows = tests[tests["claim"].eq("C9")]
    if rows.empty:
        return []
    rows = rows[rows["expect"].eq("gain") & rows["n_seeds"].ge(protocol.least) & rows["about"].ne("γ = 0.5")]
    return rows.to_dict("records")


def _model_of(row: dict[Any, Any]) -> str:
    """Read the model of a test."""
    return row["scale"].split(" (")[0]


def _verifier(table: pd.DataFrame, effects: pd.DataFrame) -> Iterator[str]:
    """Say what verifiers that err alike both ways teach, next to a coin on both sides, and what the clip adds there."""
    if table.empty:
        return
    enough = table["n_seeds"].ge(SEEDS_FOR_A_VERDICT) & table["quality"].lt(1)
    both_ways = table[enough & table["false_positive"].eq(table["false_negative"])]
    table = both_ways[both_ways["clip_mode"].eq(BOTH)]
    for (model, _), rows in table.groupby(["model", "benchmark"], sort=False):
        right, wrong = rows[rows["quality"] > 0], rows[rows["quality"] < 0]
        near = pd.concat([right.nsmallest(1, "quality"), rows[rows["quality"].eq(0)], wrong.nlargest(1, "quality")])
        for row in near.to_dict("records"):
            tail = ending(row["accuracy_change_low"], row["accuracy_change_high"], "a gain", "a loss")
            yield (
                f"With a verifier wrong in {100 * row['false_positive']:.0f} % of its verdicts, "
                f"{row['rollout_batches']} rollout batches with the clip changed the accuracy of {model} by "
                f"{100 * row['accuracy_change']:+.1f} points, {tail}."
            )
    for (model, _), rows in both_ways.groupby(["model", "benchmark"], sort=False):
        gains = rows[rows["accuracy_change_low"].gt(0)].groupby("clip_mode")["false_positive"].max()
        if {BOTH, NEITHER} <= set(rows["clip_mode"]) and len(gains):
            worst = [f"in {100 * gains[mode]:.0f} %" if mode in gains else "in none" for mode in (BOTH, NEITHER)]
            yield (
                f"The worst verifier that still brings {model} a gain, by 95 % limits, is wrong {worst[0]} of its "
                f"verdicts with the clip, and {worst[1]} without it."
            )
    effects = effects[effects["reward"].eq(NOISY)]
    if len(effects):
        effects = effects[effects["clip_mode"].eq(BOTH) & effects["n_seeds"].ge(SEEDS_FOR_A_VERDICT)]
    if len(effects) and len(table):
        low, high = effects["accuracy_difference_low"], effects["accuracy_difference_high"]
        told = effects[low.gt(0) | high.lt(0)]
        yield (
            "Against the same seeds without the clip, the 95 % limits of the difference in accuracy, not adjusted, "
            f"leave out zero at {len(told)} of {len(effects)} such verifiers."
        )
        if len(told):
            largest = max(told["accuracy_difference"], key=abs)
            yield f"The largest of the differences that do so is {100 * largest:+.1f} points."
        yield (
            f"These runs have {seeds_words(int(table['n_seeds'].min()), int(table['n_seeds'].max()))} each and are "
            "short; no verdict rests on them."
        )


def _signs(activity: pd.DataFrame) -> Iterator[str]:
    """Say what advantages of one sign do to the entropy of the rollouts, with the clip and without it."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in activity.to_dict("records"):
        values = settings_in(row["arm"])
        if row["arm"].startswith(RANDOM) and (sign := values.get("advantage_sign", "both")) != "both":
            found.setdefault((str(values.get("model", "")), str(sign)), {})[row["arm"].split(", ")[1]] = row
    for (model, sign), modes in found.items():
        if {BOTH, NEITHER} <= set(modes):
            changes = {mode: modes[mode]["entropy_change"] for mode in (BOTH, NEITHER)}
            tails = [
                ending(modes[mode]["entropy_change_low"], modes[mode]["entropy_change_high"], "a rise", "a fall")
                for mode in changes
            ]
            yield (
                f"With {sign} advantages alone the entropy of {model}'s rollouts changed by "
                f"{changes[BOTH]:+.3f} nats with the clip, {tails[0]}, and by {changes[NEITHER]:+.3f} without "
                f"it, {tails[1]}."
            )


def _controls(arms: pd.DataFrame, effects: pd.DataFrame) -> Iterator[str]:
    """Say what happened where nothing can: with the same reward for all rollouts, and with one update per batch."""
    for gamma, what in ((0, "never"), (1, "always")):
        rows = arms[arms["arm"].astype(str).str.startswith(f"random γ={gamma}, {BOTH}")]
        for row in rows[:1].to_dict("records"):
            yield (
                f"A coin that {what} falls on the reward (γ = {gamma}) changed accuracy by "
                f"{100 * row['accuracy_change']:+.1f} points in {seeds_words(row['n_seeds'])}."
            )
    if "updates_per_batch" in effects:
        one = effects[effects["updates_per_batch"].eq(1) & effects["clip_mode"].eq(BOTH)]
        for row in one[:1].to_dict("records"):
            yield (
                "With one update per rollout batch, where no ratio leaves one, runs with and without the clip differ "
                f"by {100 * row['accuracy_difference']:+.1f} points of accuracy and "
                f"{100 * row['code_difference']:+.1f} of code in {seeds_words(row['n_seeds'])}."
            )
