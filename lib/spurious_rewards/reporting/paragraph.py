"""Say the answer in words that a newcomer understands, each number filled from a committed table.

One paragraph in short; then what a random reward and the clip do in one rollout batch (`tables/mechanism/drift.csv`)
and over a whole run (the tests of the study with a protocol), what its further arms show (`secondary`), and what
rewards did to SmolLM2. Sentences whose tables are missing are left out; endings follow the 95 % limits and the verdict,
as on the first screen.

Usage: `paragraph(results, "decide")`
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from spurious_rewards.evaluation.verdicts import UNDECIDED
from spurious_rewards.reporting.figures import PREFER_CODE
from spurious_rewards.reporting.overview import CLIP_ON_OFF, DECISIVE, ending, ending_of, row_of_test
from spurious_rewards.reporting.protocol import protocol_of
from spurious_rewards.reporting.secondary import (
    AWAY,
    BOTH,
    NEITHER,
    RANDOM,
    TOWARDS,
    arm_row,
    at_other_steps,
    secondary_parts,
    unfair_coins,
)
from spurious_rewards.reporting.training_claims import WITHOUT
from spurious_rewards.reporting.words import STEP, seeds_words, setting_words, settings_in

WHY = (
    "With a coin for a reward an answer is pushed up as often as down, so only two things can leave a drift: noise, "
    "since equal pushes do not cancel to the last, and the clip."
)
PAIRS = (
    "One rollout batch is replayed with every coin as it fell and with every coin turned over, so that most of the "
    "noise cancels."
)
MIND = (
    "We would take the clip for the cause if code rose clearly more with it than without it, at a step size at which "
    "true rewards teach, in models that prefer code and not in others. Equal gains in both would speak against it. "
    "Where neither gains, runs do not say what the clip does to a gain."
)
SHORT = (
    "Which models a random reward helps",
    "What the clip does",
    "How much of the drift is the clip's",
    "What would change our minds",
)
"""Parts that are the answer in short; the others say step by step what was measured."""
TOO_WIDE = 4
"""Limits so many times wider than what they are to check say nothing about it."""
REAL, REAL_TASK = "smollm", "synthetic_level1"
"""Profile of the language model that nobody here made, and the task on which its arms were trained."""


def paragraph(results: Path, study: str) -> dict[str, list[str]]:
    """Collect the answer: what each part is about → its sentences, of at most 40 words and three numbers each.

    The parts of `SHORT` come first.

    Args:
        results: the folder of committed results.
        study: the profile whose tests speak about whole runs.
    """
    measured = {
        "One rollout batch": _one_batch(results),
        "Added up over a run": _added_up(results, study),
        "Chance": _wandering(results, study),
        "Whole runs": _whole_runs(results, study),
        **secondary_parts(results, study),
        "A language model": _language_model(results),
    }
    found = {part: list(sentences) for part, sentences in measured.items()}
    if not any(found.values()):
        return {}
    short = (_who_gains(results, study), _what_the_clip_does(results, study), _whose_drift(results, study))
    parts = dict(zip(SHORT, [*map(list, short), re.split(r"(?<=\.) ", MIND)], strict=True)) | found
    return {
        part: [re.sub(r"(?<=[\s\[])-(?=\d)", "−", one) for one in sentences]
        for part, sentences in parts.items()
        if sentences
    }


def _who_gains(results: Path, study: str) -> Iterator[str]:
    """Say which models a random reward helps, and which coins that are not fair."""
    models = _models(results, study)
    ends: dict[str, list[str]] = {}
    for model in models:
        row = row_of_test(results, study, "C1", model, "random reward")
        ends.setdefault(ending_of(row, "a gain", "a loss"), []).append(model)
    if ends:
        gained = len(ends.get("a gain", []))
        taught = all(_taught(results, study, model).endswith(", a gain.") for model in models)
        where = "at a step size at which true rewards teach each of them, " if taught else ""
        yield (
            f"In whole runs with the clip, {where}a random reward brought {gained or 'none'} of {len(models)} models "
            "a gain by the protocol."
        )
        words = "; ".join(f"for {' and '.join(models)}, {end}" for end, models in ends.items())
        yield f"The change of accuracy was: {words}."
    yield from unfair_coins(results, study)


def _what_the_clip_does(results: Path, study: str) -> Iterator[str]:
    """Say what the clip does in whole runs: to code at the study's step size, to accuracy at others."""
    models = [model for model in _models(results, study) if model in PREFER_CODE]
    own = [(model, row) for model in models if (row := row_of_test(results, study, "C4", model, CLIP_ON_OFF))]
    told = [f"of {model} by {_points(row)}, {ending_of(row, TOWARDS, AWAY)}" for model, row in own]
    if told:
        yield f"The clip moved the share of code {', and '.join(told)}."
    open_yet = [
        f"{row['seeds_to_decide']:.0f} for {model}"
        for model, row in own
        if row["verdict"] == UNDECIDED and pd.notna(row["seeds_to_decide"])
    ]
    if open_yet:
        yield f"Whether the clip moves code (C4) stays undecided there; seeds enough would be {' and '.join(open_yet)}."
    yield from at_other_steps(results, study)


def _whose_drift(results: Path, study: str) -> Iterator[str]:
    """Say how much of the drift is the clip's, extrapolated from single rollout batches."""
    clip, none = (_foretold(results, study, part) for part in ("added by the clip", "without clip"))
    if clip and none:
        yield WHY
    for row, other in zip(clip, none, strict=False):
        yield (
            f"Extrapolated from single rollout batches, {row['model']}'s share of code would drift without any clip "
            f"by {100 * other['predicted']:+.2f} points over a run, {_foretells(other)}, and the clip would add "
            f"{100 * row['predicted']:+.2f}, {_foretells(row)}."
        )


def _foretells(row: dict[Any, Any]) -> str:
    return ending(row["predicted_low"], row["predicted_high"], TOWARDS, AWAY)


def _points(row: dict[str, Any]) -> str:
    return f"{100 * row['estimate']:+.1f} points"


def _models(results: Path, study: str) -> list[str]:
    """List the models whose whole runs were judged, those that prefer code first."""
    path = results / "tables" / study / "tests.csv"
    if not path.is_file():
        return []
    table = pd.read_csv(path)
    table = table[table["claim"].eq("C1") & table["about"].eq("random reward")]
    names = table["scale"].str.split(" (", regex=False).str[0].drop_duplicates()
    speaks = protocol_of(study).speaks
    own = [str(name) for name in names if speaks(str(name)) and ", " not in str(name)]  # a comma: a setting
    return sorted(own, key=lambda name: PREFER_CODE.index(name) if name in PREFER_CODE else len(PREFER_CODE))


def plain(value: float) -> str:
    """Write a number with its sign and two significant digits, never with an exponent.

    >>> plain(-7.8e-05), plain(0.0395), plain(0.0)
    ('-0.000078', '+0.040', '+0.0')
    """
    digits = 1 - math.floor(math.log10(abs(value))) if value else 1
    return f"{value:+.{max(digits, 0)}f}"


def _one_batch(results: Path) -> Iterator[str]:
    """Say what one rollout batch does to the log-odds of code, with the clip and without it, by step size."""
    path = results / "tables" / "mechanism" / "drift.csv"
    if not path.is_file():
        return
    table = pd.read_csv(path)
    table = table[table["quantity"].eq("code_logit") & table["model"].isin(PREFER_CODE)]
    if len(table):
        yield PAIRS
    for rate in sorted({table["learning_rate"].min(), table["learning_rate"].max()}) if len(table) else []:
        here = table[table["learning_rate"].eq(rate)].set_index(["model", "part"])
        for model in dict.fromkeys(here.index.get_level_values("model")):
            clip, none = here.loc[(model, "two_sided")], here.loc[(model, "none")]
            yield (
                f"At {setting_words('learning_rate', rate)} the clip alone moves the log-odds of code of {model} by "
                f"{plain(clip['value'])}, {ending(clip['value_low'], clip['value_high'], TOWARDS, AWAY)}; without any "
                f"clip they move by {plain(none['value'])}, "
                f"{ending(none['value_low'], none['value_high'], TOWARDS, AWAY)}."
            )


def _added_up(results: Path, study: str) -> Iterator[str]:
    """Say how far the clip alone would take a run at the smallest step size, as one rollout batch foretells it."""
    for row in _foretold(results, study, "added by the clip"):
        limit = max(abs(row["predicted_low"]), abs(row["predicted_high"]))
        yield (
            "If every rollout batch pulled like the first, the clip alone would move the share of code of "
            f"{row['model']} by {100 * row['predicted']:+.2f} points, and by no more than {100 * limit:.2f} within the "
            "limits."
        )
        low, high = row["measured_low"], row["measured_high"]
        inside = low <= row["predicted"] <= high
        said = "agrees with" if inside else "contradicts"
        said = "is too noisy to check" if inside and high - low > TOO_WIDE * 2 * limit else said
        yield (
            f"Sampled rollouts of whole runs with and without the clip differ by {100 * row['measured']:+.1f} points "
            f"in their share of code [{100 * low:+.1f}, {100 * high:+.1f}], paired by seed, which {said} that."
        )


def _wandering(results: Path, study: str) -> Iterator[str]:
    """Say how far chance throws runs apart at the smallest step size, and whether one rollout batch foretells it."""
    for row in _foretold(results, study, "spread, with clip"):
        low, high = row["measured_low"], row["measured_high"]
        alike = row["predicted_low"] <= high and low <= row["predicted_high"]
        said = "agrees with that" if alike else f"is {'more' if low > row['predicted_high'] else 'less'} than that"
        yield (
            f"If runs of {row['model']} at {setting_words('learning_rate', row['learning_rate'])} merely wander as "
            f"single rollout batches do, their ends have a standard deviation of {100 * row['predicted']:.1f} points "
            f"of code over seeds; it is {100 * row['measured']:.1f}, which {said}."
        )


def _language_model(results: Path) -> Iterator[str]:
    """Say what the rewards did to SmolLM2, which nobody here made, on the task on which it can learn."""
    paths = [results / "tables" / REAL / f"{name}.csv" for name in ("tests", "arms")]
    if not all(path.is_file() for path in paths):
        return
    tests, arms = map(pd.read_csv, paths)
    here = arms[arms["benchmark"].eq(f"{REAL_TASK}_test") & arms["temperature"].eq(0)]
    bases = here[here["arm"].eq("base model")].to_dict("records")
    tests = tests[tests["scale"].str.contains(f"train set {REAL_TASK}[, ]")]
    tests = tests[tests["outcome"].eq("accuracy")].set_index("about")
    if "random reward" not in tests.index or not bases:
        return
    base = bases[0]
    code = f"{100 * base['code']:.1f} % of its answers are code" if base["code"] else "none of its answers is code"
    yield (
        f"SmolLM2-135M, which nobody here made, solves {100 * base['accuracy']:.1f} % of the easiest problems of the "
        f"clean task before training, and {code}."
    )
    for about, what in (
        ("true reward", "With true rewards"),
        ("random reward", "With a random reward and the clip"),
        (f"random reward, {WITHOUT}", "With a random reward and no clip"),
        ("format reward", "With a reward for the format alone"),
    ):
        for row in tests.loc[[about]].to_dict("records") if about in tests.index else ():
            judged = ending(row["low"], row["high"], "a gain", "a loss")
            yield (
                f"{what} its accuracy changed by {100 * row['estimate']:+.1f} points in {seeds_words(row['n_seeds'])}, "
                f"{judged if row['n_seeds'] > 1 else 'which has no limits over seeds'}."
            )
    for row in here[here["arm"].str.startswith("python, ")].to_dict("records"):
        yield (
            f"Rewarded for code alone it writes code in {100 * row['code']:.0f} % of its answers, and "
            f"{100 * row['accuracy']:.1f} % are right."
        )
    if "model" not in here:  # a column of tables with several
        yield "Whether a gain depends on the model (C3) one model cannot say; no second one was trained on this task."
    yield from _pairs_of_smollm2(results)


def _pairs_of_smollm2(results: Path) -> Iterator[str]:
    """Say what one rollout batch of coins does to SmolLM2's answers in each precision, and what the clip adds."""
    for name, precision in (("antithetic_smollm2", "single precision"), ("antithetic_smollm2_bf16", "bf16")):
        path = results / "tables" / "mechanism" / f"{name}.csv"
        table = pd.read_csv(path) if path.is_file() else pd.DataFrame({"quantity": []})
        table = table[table["quantity"].isin(["entropy", "clipped"])]
        for rate, rows in table.groupby("learning_rate") if len(table) else ():
            arms = {(row["quantity"], row["clip_mode"]): row for row in rows.to_dict("records")}
            if not {("entropy", NEITHER), ("entropy", BOTH), ("clipped", BOTH)} <= set(arms):
                continue
            none, clip = arms["entropy", NEITHER], arms["entropy", BOTH]
            share = arms["clipped", BOTH]["change"]
            yield (
                f"At {setting_words(STEP, rate)} in {precision}, one rollout batch, replayed with its coins as they "
                f"fell and turned over, moves the entropy of its tokens by {plain(none['change'])} nats without "
                f"clip, {ending(none['change_low'], none['change_high'], 'a rise', 'a fall')}."
            )
            said = ending(clip["effect_low"], clip["effect_high"], "a rise", "a fall")
            yield (
                f"There the clip acts on {100 * share:.2g} % of tokens, the mean over all updates, and adds "
                f"{plain(clip['effect'])} nats in {none['n_pairs']} such pairs, {said}."
            )


def _foretold(results: Path, study: str, part: str) -> list[dict[Any, Any]]:
    """Return the rows of one part of the table of drift and training, at the smallest step size of the study."""
    path = results / "tables" / "drift_in_training.csv"
    if not path.is_file():
        return []
    table = pd.read_csv(path)
    here = table[table["model"].isin(PREFER_CODE)]
    here = here[here["profile"].eq(DECISIVE if DECISIVE in set(here["profile"]) else study)]
    here = here[here["learning_rate"].eq(here["learning_rate"].min()) & here["part"].eq(part)]
    return here.to_dict("records")


def _activity(results: Path, study: str, model: str) -> str:
    """Say on how many tokens the clip acted in the arm with random reward; empty if that is not known."""
    path = results / "tables" / study / "clip_activity.csv"
    row = arm_row(pd.read_csv(path), protocol_of(study), f"{RANDOM}, {BOTH}", model) if path.is_file() else {}
    if not row:
        return ""
    share = 100 * row["clip_fraction_later_mean"]
    return f"After the first update of a rollout batch the clip acted on {share:.2g} % of the tokens."


def _taught(results: Path, study: str, model: str) -> str:
    """Say what true rewards do in runs of the same settings; empty without the seeds that a verdict takes."""
    path = results / "tables" / study / "arms.csv"
    table = pd.read_csv(path) if path.is_file() else pd.DataFrame()
    protocol = protocol_of(study)
    row, other = (arm_row(table, protocol, f"{reward}, {BOTH}", model) for reward in ("ground_truth", RANDOM))
    if not row or settings_in(row["arm"]) != settings_in(other.get("arm", "")):
        return ""
    if row["n_seeds"] < protocol.least:
        return ""
    tail = ending(row["accuracy_change_low"], row["accuracy_change_high"], "a gain", "a loss")
    return (
        f"With the clip and true rewards, runs as long changed its accuracy by {100 * row['accuracy_change']:+.1f} "
        f"points in {seeds_words(row['n_seeds'])}, {tail}."
    )


def _whole_runs(results: Path, study: str) -> Iterator[str]:
    """Say what whole runs of the study do to accuracy, and the clip to code, model by model."""
    for model in _models(results, study):
        if row := row_of_test(results, study, "C1", model, "random reward"):
            whose = model if model in PREFER_CODE else f"{model}, which does not prefer code,"
            yield (
                f"Over whole runs with the clip, a random reward changed the accuracy of {whose} by "
                f"{100 * row['estimate']:+.1f} points in {seeds_words(row['n_seeds'])}, "
                f"{ending_of(row, 'a gain', 'a loss')}."
            )
            if acted := _activity(results, study, model):
                yield acted
        if row := row_of_test(results, study, "C4", model, CLIP_ON_OFF):
            yield (
                f"In {seeds_words(row['n_seeds'])} that were run without the clip too, the share of code in its greedy "
                f"answers differs by {_points(row)}, with minus without, {ending_of(row, TOWARDS, AWAY)}."
            )
        if row := row_of_test(results, study, "C4", model, f"random reward, {WITHOUT}"):
            tail = ending_of(row, "a gain", "a loss")
            yield f"Without the clip, its accuracy changed by {100 * row['estimate']:+.1f} points, {tail}."
        if taught := _taught(results, study, model):
            yield taught
