"""Judge the claims about training (C1–C5, C9, C10): one effect, one interval and one verdict per arm, by the protocol.

Each arm of each claim is a *test*: an effect over seeds and problems (`evaluation.crossed`), its p-value after Holm's
adjustment within the protocol's family, and a verdict (`evaluation.verdicts`). A claim that speaks of several arms gets
the verdict that theirs join to. C4 has a second row, about what happens without the clip: nothing, a gain, a loss or
destruction, of which the paper says nothing definite.

Usage: `claim_tests(records)`; `claim_rows(claim_tests(records))`
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from spurious_rewards.evaluation.crossed import SEEDS_FOR_A_VERDICT, Components, effect, effect_difference
from spurious_rewards.evaluation.significance import holm
from spurious_rewards.evaluation.statistics import Effect, Interval
from spurious_rewards.evaluation.verdicts import NOTHING, SUPPORTED, UNDECIDED, every, judge, level_at, what_happens
from spurious_rewards.reporting.collect import Records
from spurious_rewards.reporting.evidence import MODELS, SETTING, Evidence, recipe_of
from spurious_rewards.reporting.protocol import CONTEXT, OUTCOMES, Arm, Protocol, Rule, protocol_of
from spurious_rewards.reporting.words import p_words, reward_words, seeds_words

WITHOUT = "without the clip"
"""What the second row of C4 is about."""
COLLAPSED = "Some seeds collapsed and others did not"
NOTHING_TO_REMOVE = "The reward alone gains nothing that could be removed."
NO_GAIN = "No model gains, so there is no gain that could depend on the model."
WITHOUT_NUMBER = (COLLAPSED, NOTHING_TO_REMOVE, NO_GAIN)
"""Obstacles to a verdict for which a number of seeds that would decide makes no sense."""
MOST_INTERVALS = 4
"""Arms of a claim whose limits fit into one cell of a table."""


@dataclass(frozen=True)
class ClaimTest:
    """Hold the effect of one arm of a claim and what it takes to judge it; effects are in proportions."""

    claim: str
    about: str
    scale: str
    outcome: str
    kind: str
    effect: Effect
    expect: str
    smallest: float
    level: float
    n_problems: int
    n_pairs: int = 1
    """Pairs of models among which the largest difference was picked."""
    obstacle: str = ""
    """Why no verdict may be given, whatever the effect; empty if one may."""
    secondary: bool = False
    """Whether its part of the profile has another setting, or a model that no claim rests on."""
    decide: int | None = None
    """Seeds that would decide either way, beyond those there are; None if only more problems would."""

    @property
    def primary(self) -> bool:
        """Tell whether the test is the claim's own: not for context, not about its second part, not secondary."""
        return self.expect != CONTEXT and WITHOUT not in self.about and not self.secondary

    def p_value(self) -> float:
        """Return the p-value, widened for the choice among pairs."""
        return min(1.0, self.n_pairs * p) if np.isfinite(p := self.effect.p_value()) else p

    def shown(self, confidence: float) -> Interval:
        """Return the effect with its limits, widened for the choice among pairs."""
        return self.effect.at(1 - (1 - confidence) / self.n_pairs).cut(-1, 1)


def claim_tests(records: Records, protocol: Protocol | None = None) -> pd.DataFrame:
    """Tabulate every test of the claims about training: effect, limits, adjusted p-value, verdict and its reason.

    The limits have the protocol's confidence. A verdict at an early look asks for more (`confidence_of_verdict`).
    """
    protocol = protocol or protocol_of(records.profile)
    whole = Evidence(counted(records, protocol), protocol=protocol)
    found = [test for name, rule in protocol.claims.items() for test in _of_claim(name, rule, whole, protocol)]
    rows = []
    for test, p_value in zip(found, _adjusted(found, protocol), strict=True):
        verdict, why = _verdict(test, float(p_value), protocol)
        shown = test.shown(protocol.confidence)
        row: dict[str, object] = {name: getattr(test, name) for name in ("claim", "scale", "about", "outcome")}
        row |= {"effect": test.kind, "expect": test.expect, "estimate": test.effect.estimate}
        row |= {"low": shown.low, "high": shown.high, "confidence_of_verdict": 1 - test.level / test.n_pairs}
        row["n_seeds"] = test.effect.n
        row["n_planned"] = protocol.most if test.primary and test.claim in protocol.family else 0
        row |= {"n_problems": test.n_problems, "p_value": test.p_value(), "p_adjusted": p_value}
        open_yet = verdict == UNDECIDED and not test.obstacle.startswith(WITHOUT_NUMBER)
        rows.append(row | {"seeds_to_decide": test.decide if open_yet else None, "verdict": verdict, "why": why})
    table = pd.DataFrame(rows)
    return table.astype({"seeds_to_decide": "Int64"}) if len(table) else table


def planned_tests(protocol: Protocol) -> int:
    """Count the tests of the family that a profile plans: one per model and arm, of a spread one over all models."""
    rules = [rule for name, rule in protocol.claims.items() if name in protocol.family]
    arms = [1 if rule.effect == "spread" else sum(arm.expect != CONTEXT for arm in rule.arms) for rule in rules]
    return sum(n if rule.effect == "spread" else n * len(protocol.models) for n, rule in zip(arms, rules, strict=True))


def _adjusted(found: list[ClaimTest], protocol: Protocol) -> np.ndarray:
    """Return the p-values of the tests, those of the family adjusted by Holm over all its planned tests.

    A look has a level of its own, so a p-value of the family counts as p · (1 − confidence) / level: a test rejects
    where the adjusted value lies below 1 − confidence. Planned tests that were not run, or that may not be judged
    yet, count as p = 1.
    """
    adjusted = np.array([test.p_value() for test in found])
    family = np.array([_of_family(test, protocol) and not test.obstacle for test in found], bool)
    levels = np.array([test.level for test in found])
    own = np.minimum(1.0, adjusted[family] * (1 - protocol.confidence) / levels[family])
    others = np.ones(max(0, planned_tests(protocol) - len(own)))
    adjusted[family] = holm(np.concatenate([own, others]))[: len(own)]
    return adjusted


def _of_family(test: ClaimTest, protocol: Protocol) -> bool:
    """Tell whether a test is adjusted together with others."""
    return test.primary and test.claim in protocol.family


def claim_rows(table: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Yield one row per claim and scale from the table of tests: the arms' effects in words, the joint verdict.

    The estimate is that of the first arm that decides the verdict, and `n_seeds` the fewest seeds of those that do.
    """
    if table.empty:
        return
    second = table["about"].str.contains(WITHOUT, regex=False)
    for (claim, scale, without), group in table.groupby(["claim", "scale", second], sort=False):
        own = group[group["expect"] != CONTEXT]
        if own.empty:
            continue
        verdict = every(own["verdict"])
        decisive = own[own["verdict"] == verdict] if verdict in set(own["verdict"]) else own
        row = decisive.iloc[0]
        fewest, most = int(own["n_seeds"].min()), int(own["n_seeds"].max())
        seeds = f"{fewest} of {row['n_planned']} seeds" if row["n_planned"] else seeds_words(fewest, most)
        intervals = [Interval(r["estimate"], r["low"], r["high"], r["n_seeds"]) for r in group.to_dict("records")]
        named = list(zip(group["about"], intervals, strict=True))
        if len(group) <= MOST_INTERVALS:
            effects = "; ".join(f"{about} {i.text('points')}" for about, i in named)
        else:
            effects = ", ".join(f"{about} {100 * i.estimate:+.1f}" for about, i in named) + " points"
            effects += "; limits are in the table of tests"
        yield {
            "claim": claim,
            "part": WITHOUT if without else "",
            "scale": scale,
            "outcome": row["outcome"],
            **{name: row[name] for name in ("estimate", "low", "high")},
            "unit": "points",
            "n": f"{seeds} × {own['n_problems'].min()} problems",
            "n_seeds": decisive["n_seeds"].min(),
            "measured": f"{row['outcome']}: {effects}",
            "verdict": verdict,
            "why": _why(row, own),
        }


def _why(row: pd.Series, own: pd.DataFrame) -> str:
    """Give the reason of the arm that decides, and how the others ended."""
    others = own[own["about"] != row["about"]]
    if others.empty:
        return row["why"]
    ended = ", ".join(f"{about} {verdict}" for about, verdict in zip(others["about"], others["verdict"], strict=True))
    return f"{row['about']}: {row['why']} Beside it: {ended}."


def counted(records: Records, protocol: Protocol) -> Records:
    """Return the records of the runs that count for verdicts, and of the untrained models."""
    runs = records.runs
    count = pd.Series([protocol.counts(run) for run in runs.to_dict("records")], runs.index, bool)
    if count.all():
        return records
    runs = runs[count]
    own = set(runs["run_id"])
    samples = records.samples[records.samples["trained_run"].isin(own | {""})]
    return replace(records, runs=runs, samples=samples)


def _of_claim(name: str, rule: Rule, whole: Evidence, protocol: Protocol) -> Iterator[ClaimTest]:
    """Return the tests of one claim in every part of a profile that speaks to it."""
    kind = MODELS if rule.effect == "spread" else SETTING
    updates = whole.records.runs["updates_per_batch"] if len(whole.records.runs) else pd.Series(dtype=int)
    controls = updates.nunique() > 1  # next to others, runs in which no ratio leaves one: there no clip can act
    for part in whole.parts(kind, recipes=protocol.per == "recipe"):
        runs = part.records.runs
        if runs.empty or part.beside or (controls and runs["updates_per_batch"].eq(1).all()):
            continue
        found = {arm: test for arm in rule.arms if (test := _test(name, rule, arm, part, protocol)) is not None}
        if len(found) == 1 < len(rule.arms) and any(arm.expect == "nothing" for arm in rule.arms):
            continue  # a claim about arms that work and one that does not needs more than one of them
        for arm, test in found.items():
            yield test
            if name == "C4":
                other = replace(arm.but(rule.against), expect="nothing")
                without = _test(name, Rule("accuracy", "change", (other,)), other, part, protocol)
                if without is not None:
                    yield replace(without, about=f"{reward_words(arm.reward, arm.gamma)}, {WITHOUT}")


def _test(name: str, rule: Rule, arm: Arm, part: Evidence, protocol: Protocol) -> ClaimTest | None:
    """Return one arm's test in one part, or None if the part holds no such arm."""
    column = OUTCOMES[rule.outcome]
    groups = [_units(part.changes(arm, column), protocol)]
    about, scale, n_pairs, obstacle = reward_words(arm.reward, arm.gamma), part.scale, 1, ""
    by_model: dict[str, pd.DataFrame] = {}
    if len({other.gamma for other in rule.arms}) > 1:
        about = f"γ = {arm.gamma:g}"
    if groups[0].empty:
        return None
    if rule.effect in ("paired", "apart"):
        other = _units(part.changes(arm.but(rule.against), column), protocol)
        if other.empty:
            return None
        if rule.effect == "paired":
            common = groups[0].index.intersection(other.index, sort=True)
            groups = [groups[0].loc[common] - other.loc[common]]
            about = f"{about}, with minus without clip" if rule.against == {"clip_mode": "none"} else about
        else:
            groups.append(other)
            beside = arm.but(rule.against)
            about = f"{about} minus {reward_words(beside.reward, beside.gamma)}"
    elif rule.effect == "spread":
        key = recipe_of if protocol.per == "recipe" else str
        names = groups[0].index.get_level_values("model").map(key)
        by_model = {
            str(name): rows for name, rows in groups[0].groupby(names, sort=False) if protocol.speaks(str(name))
        }
        if len(by_model) < 2:
            return None
        n_pairs = math.comb(len(by_model), 2)
        groups, scale = list(by_model.values()), part.scale_of(by_model)
    n_units = min(map(len, groups))
    looked = protocol.per == "model" and arm.expect != CONTEXT
    used, level = protocol.look(n_units, name) if looked else (n_units, 1 - protocol.confidence)
    least, unit = (protocol.least, "seeds") if protocol.per == "model" else (SEEDS_FOR_A_VERDICT, "checkpoints")
    apart = rule.effect == "apart"
    enough = len(groups[0]) >= protocol.collapse_seeds
    settled = apart and (enough or not _mixed(part, arm, replace(rule, against={}), protocol))
    gain = effect(groups[0].to_numpy()) if settled else None
    if n_units < least:
        obstacle = f"{n_units} {unit if n_units > 1 else unit[:-1]}; a verdict takes {least}."
    elif gain and judge(gain, protocol.smallest[rule.outcome], level=level) != SUPPORTED:
        obstacle = NOTHING_TO_REMOVE
    elif _mixed(part, arm, rule, protocol) and n_units < protocol.collapse_seeds:
        obstacle = f"{COLLAPSED}; such an arm takes {protocol.collapse_seeds} seeds."
    elif rule.effect == "spread" and protocol.per == "model" and (missing := set(protocol.models) - set(by_model)):
        obstacle = f"It takes all planned models; not run: {', '.join(sorted(missing))}."
    arrays = [group.to_numpy()[: None if apart else used or n_units] for group in groups]
    if rule.effect == "spread":  # picked among the seeds that count at this look
        order = sorted(zip(arrays, by_model, strict=True), key=lambda one: one[0].mean())
        arrays = [order[-1][0], order[0][0]]
        about = f"{about}, {order[-1][1]} minus {order[0][1]}"
    found = effect(*arrays) if len(arrays) == 1 else effect_difference(*arrays)
    if rule.effect == "spread" and not obstacle:
        between = judge(found, protocol.smallest[rule.outcome], level=level, n_pairs=n_pairs)
        if between != NOTHING and judge(effect(arrays[0]), protocol.smallest[rule.outcome], level=level) != SUPPORTED:
            obstacle = NO_GAIN
    parts = [Components.of(array) for array in arrays if min(array.shape) > 1]
    decide = None
    if len(parts) == len(arrays):
        problems = parts[0] if len(parts) == 1 else Components.of_difference(*arrays)
        asked = _level_in_the_end(name, protocol) if looked else 1 - protocol.confidence
        decide = problems.seeds_to_decide(protocol.smallest[rule.outcome], arrays[0].shape[1], asked)
        further = [look for look in protocol.looks if look > found.n] if looked and name in protocol.family else []
        decide = decide and max(decide, least, min(further, default=found.n + 1))
    return ClaimTest(
        claim=name, about=about, scale=scale, outcome=rule.outcome, kind=rule.effect, effect=found,
        expect=arm.expect, smallest=protocol.smallest[rule.outcome], level=level, n_problems=arrays[0].shape[1],
        n_pairs=n_pairs, secondary=part.secondary, obstacle=obstacle, decide=decide,
    )  # fmt: skip


def _level_in_the_end(claim: str, protocol: Protocol) -> float:
    """Return the level of the first step of Holm at the last look, for claims of the family; else the plain one."""
    level = 1 - protocol.confidence
    if claim not in protocol.family or not protocol.most:
        return level
    return level_at(protocol.most, protocol.looks, level) / max(1, planned_tests(protocol))


def _units(changes: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return a row per unit: per seed, or per pretraining checkpoint where the protocol is about recipes."""
    if protocol.per == "recipe" and len(changes):
        return changes.groupby(level="model").mean()
    return changes


def _mixed(part: Evidence, arm: Arm, rule: Rule, protocol: Protocol) -> bool:
    """Tell whether some but not all seeds of an arm, or of the one it is compared with, lost much accuracy."""
    for one in [arm, *([arm.but(rule.against)] if rule.against else [])]:
        changes = part.changes(one, OUTCOMES["accuracy"])
        for model, seeds in changes.groupby(level="model") if len(changes) else ():
            if rule.effect == "spread" and not protocol.speaks(str(model)):
                continue
            share = float((seeds.mean(axis=1) < -protocol.collapse_loss).mean())
            if protocol.collapse_share < share < 1 - protocol.collapse_share:
                return True
    return False


def _verdict(test: ClaimTest, p_value: float, protocol: Protocol) -> tuple[str, str]:
    """Return the verdict on one arm and the reason in at most 30 words; neither for an arm beside the claim's."""
    if test.expect == CONTEXT:
        return "", ""
    if test.obstacle:
        return UNDECIDED, test.obstacle
    more = f"About {test.decide} seeds would decide." if test.decide else "Seeds alone would not decide."
    bound = f"±{100 * test.smallest:g} points"
    family = _of_family(test, protocol)
    at_look = p_value * test.level / (1 - protocol.confidence) if family else p_value
    if WITHOUT in test.about:
        happens = what_happens(test.effect, test.smallest, protocol.destruction, test.level)
    else:
        happens = judge(test.effect, test.smallest, test.expect, at_look, test.level, test.n_pairs)
    if happens in (NOTHING, "nothing") or (happens == SUPPORTED and test.expect == "nothing"):
        return happens, f"The {100 * (1 - 2 * test.level / test.n_pairs):.4g} % interval lies within {bound}."
    if happens != UNDECIDED:
        side = "above" if test.effect.estimate > 0 else "below"
        small = f"; its estimate is within {bound}" if abs(test.effect.estimate) < test.smallest else ""
        return happens, f"The effect lies {side} 0 ({'adjusted ' if family else ''}{p_words(p_value)}){small}."
    shown = test.shown(protocol.confidence)
    if family and not shown.low <= 0 <= shown.high:
        tests = planned_tests(protocol)
        return UNDECIDED, (
            f"The {100 * protocol.confidence:g} % limits exclude 0, but not after adjustment for "
            f"{f'{tests} tests and ' if tests else ''}the looks. {more}"
        )
    early = test.level < 1 - protocol.confidence and test.effect.n < protocol.most
    look = ", at an early look" if early else ""
    return UNDECIDED, f"The effect is told neither from 0 nor from {bound}{look}. {more}"
