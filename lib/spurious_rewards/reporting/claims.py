"""The paper's claims, row by row: what it says, what was measured here, and a verdict that follows from stated rules.

A verdict is computed from the records: `consistent` or `against` if the 95 % limits exclude 0 on that side, `undecided`
if they include it, `not run` if the records do not speak to the claim. The limits of an effect of training are over
seeds and problems (`crossed.effect`). Nothing is typed in by hand but the paper's words. What small models show is
no statement about Qwen2.5-Math-7B: the scale stands beside every number.

Usage: `claims_table([load("micro", results_dir())])`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from spurious_rewards.evaluation.crossed import effect_difference
from spurious_rewards.evaluation.records import code_advantage
from spurious_rewards.evaluation.statistics import Interval
from spurious_rewards.reporting import reasoning_tables
from spurious_rewards.reporting.collect import Records
from spurious_rewards.reporting.evidence import MODEL, MODELS, SETTING, Evidence
from spurious_rewards.reporting.mechanism_claims import agreed, mechanism_findings, sign

NOT_RUN = ("—", "not run")
NO_PYTHON = "_and_no_python"
WEAK_REWARDS = ("majority_vote", "one_shot", "incorrect", "format")
"""Of the paper's Fig 1; its one_shot is a single problem with ground truth."""
CODE_ADVANTAGE = {+1: ("Qwen/Qwen2.5-Math", "qwen-like"), -1: ("Qwen/Qwen2.5-7B", "allenai/OLMo-2", "llama-like")}
"""Where the paper finds code better (+1) or worse (-1) than language (Table 1), and the organisms built so."""
Finding = tuple[str, str]


@dataclass(frozen=True)
class Claim:
    """One claim of the paper; figures in `paper` are paper-reported."""

    id: str
    text: str
    paper: str
    where: str
    measure: Callable[[Evidence], Finding]
    per: str = SETTING
    """What it is measured in: each setting of a model, each model, or each setting of all models."""


def points(interval: Interval) -> str:
    """An interval of proportions in percentage points.

    >>> points(Interval(0.1, -0.02, 0.22, 2))
    '+10.0 [-2.0, +22.0]'
    """
    return f"{100 * interval.estimate:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"


def change(row: pd.Series, name: str) -> tuple[str, str]:
    """Write an arm's change from the base model, and its verdict."""
    found = _interval(row, f"{name}_change", row["n_seeds"])
    return found.text("points"), sign(found)


def _interval(row: pd.Series, name: str, n: int) -> Interval:
    return Interval(row[name], row[f"{name}_low"], row[f"{name}_high"], n)


def changes(evidence: Evidence, rewards: Sequence[str]) -> list[tuple[str, str, str]]:
    """(reward, text, verdict) of the change of greedy accuracy, for those of the rewards that were trained on."""
    found = [(reward, evidence.row_of(reward)) for reward in rewards]
    return [(reward, *change(row, "accuracy")) for reward, row in found if row is not None]


def listed(found: Sequence[tuple[str, str, str]], row: pd.Series) -> str:
    """These changes as text, with the sample size of the first one's row."""
    text = "; ".join(f"{reward.replace('_', ' ')} {text}" for reward, text, _ in found)
    return f"{text} ({row['n_seeds']} seeds, {row['n_problems']} problems)"


def random_reward_gain(evidence: Evidence) -> Finding:
    """C1: change of greedy accuracy under random reward with the clip, beside that under ground truth."""
    found = changes(evidence, ("random", "ground_truth"))
    if not found or found[0][0] != "random":
        return NOT_RUN
    row = evidence.row_of("random")
    return listed(found, row), found[0][2]


def weaker_rewards(evidence: Evidence) -> Finding:
    """C2: change of greedy accuracy under each weak reward: does it gain, as the paper's do?

    Verdicts are joint: those rewards whose limits exclude 0 must agree.
    """
    found = changes(evidence, WEAK_REWARDS)
    if not found:
        return NOT_RUN
    row = evidence.row_of(found[0][0])
    return listed(found, row), agreed(verdict for _, _, verdict in found)


def gain_depends_on_the_model(evidence: Evidence) -> Finding:
    """C3: the largest minus the smallest gain under random reward with the clip, over the models of a profile.

    The limits are widened for the choice of the extreme pair (Bonferroni over all pairs).
    """
    runs = evidence.records.runs
    if runs.empty or runs["model"].nunique() < 2:  # known without the table of arms and its bootstraps
        return NOT_RUN
    rows = evidence.rows_of("random")
    rows = rows[rows["gamma"] == 0.5]
    if rows["model"].nunique() < 2:
        return NOT_RUN
    rows = rows.drop_duplicates("model").sort_values("accuracy_change")
    low, high = (evidence.changes_S_P(row) for row in (rows.iloc[0], rows.iloc[-1]))
    n_pairs = len(rows) * (len(rows) - 1) // 2
    interval = effect_difference(high, low, 1 - 0.05 / n_pairs)
    gains = ", ".join(
        f"{row['model']} {points(_interval(row, 'accuracy_change', row['n_seeds']))}" for _, row in rows.iterrows()
    )
    return (
        f"random reward: {gains}; largest minus smallest {interval.text('points')} (limits for {n_pairs} pairs)",
        sign(interval),
    )


def clip_is_the_cause(evidence: Evidence) -> Finding:
    """C4: code frequency under random reward, clip on minus clip off, paired by seed (t interval)."""
    table = evidence.clip_effect
    if table.empty:
        return NOT_RUN
    table = table[(table["reward"] == "random") & (table["clip_mode"] == "two_sided")]
    table = table[table["gamma"] == 0.5] if "gamma" in table else table
    if table.empty:
        return NOT_RUN
    row = table.iloc[0]
    code, accuracy = (_interval(row, name, row["n_seeds"]) for name in ("code_difference", "accuracy_difference"))
    return (
        f"clip on minus off: code frequency {points(code)}, accuracy {points(accuracy)} points "
        f"({row['n_seeds']} paired seeds)"
    ), sign(code)


def code_is_amplified(evidence: Evidence) -> Finding:
    """C5: code frequency before and after training with random reward and the clip."""
    row = evidence.row_of("random")
    if row is None:
        return NOT_RUN
    text, verdict = change(row, "code")
    return f"code frequency {text}, to {100 * row['code']:.1f} %", verdict


def code_is_better(evidence: Evidence) -> Finding:
    """C6: the base model's accuracy with code minus without under the profile's own prompt, bootstrap over problems."""
    samples = evidence.records.samples
    base = samples[
        (samples["trained_run"] == "") & (samples["prompt_style"] == reasoning_tables.main_prompt(evidence.records))
    ]
    base = base[base["temperature"] > 0] if (base["temperature"] > 0).any() else base
    base = base[base["engine"] == base["engine"].iloc[0]]
    code, language = (base[base["uses_code"].astype(bool) == flag]["correct"].astype(bool) for flag in (True, False))
    if len(code) < 10 or len(language) < 10:
        return f"only {len(code)} code and {len(language)} language answers", "undecided"
    advantage, model = code_advantage(base), base["model"].iloc[0]
    [expected] = [side for side, names in CODE_ADVANTAGE.items() if model.startswith(names)] or [0]
    text = (
        f"with code {100 * code.mean():.1f} %, without {100 * language.mean():.1f} %: {points(advantage)} points "
        f"({len(code)} and {len(language)} answers)"
    )
    if not expected:
        return f"{text}; the paper says nothing of this model", "undecided"
    return text, sign(
        advantage if expected > 0 else Interval(-advantage.estimate, -advantage.high, -advantage.low, advantage.n)
    )


def gain_comes_from_switches(evidence: Evidence) -> Finding:
    """C7: share of the gain on language → code switches, mean of the clipped arms that gained; "most" is over one half.

    Arms that did not gain have nothing to share out; where none gained the claim is not touched.
    """
    table = evidence.contributions
    table = table[table["clip_mode"] == "two_sided"] if len(table) else table
    if table.empty:
        return NOT_RUN
    row = table.iloc[0]
    share = _interval(row, "LC", row["n_problems"])
    text = (
        f"language → code carries {share.text('%')} of a gain of "
        f"{points(_interval(row, 'gain', row['n_problems']))} points (arms that gained: {row['arms']}; "
        f"{row['n_problems']} problems)"
    )
    return text, sign(Interval(share.estimate - 0.5, share.low - 0.5, share.high - 0.5, share.n))


def forcing_follows_accuracy(evidence: Evidence) -> Finding:
    """C8: does forcing code move accuracy to the side on which the model's own code answers stand?

    Per model, in the twin prompt without the forced beginning: consistent if the effect of forcing and the accuracy of
    code minus language have the same sign, against if they have opposite ones, each with 95 % limits that exclude 0;
    undecided otherwise, and over several models unless all agree. The profile's own prompt is looked at where it has a
    forced twin, else the first pair.
    """
    table, own = evidence.forced_code, reasoning_tables.main_prompt(evidence.records)
    if table.empty:
        return NOT_RUN
    table = table.assign(foreign=table["prompt_style"] != own).sort_values("foreign", kind="stable")
    texts, verdicts = [], []
    for row in table.drop_duplicates(["model", "benchmark"]).to_dict("records"):
        samples = evidence.records.samples
        twin = samples[(samples["trained_run"] == "") & (samples["temperature"] == 0)]
        for name in ("prompt_style", *reasoning_tables.SUBJECT):
            twin = twin[twin[name] == row[name]]
        effect = Interval(row["difference"], row["difference_low"], row["difference_high"], row["n_problems"])
        advantage = code_advantage(twin)
        signs = {sign(effect), sign(advantage)}
        verdicts.append(
            "undecided"
            if "undecided" in signs or np.isnan(advantage.estimate)
            else "consistent"
            if len(signs) == 1
            else "against"
        )
        beside = (
            "which answers all in one strategy by itself"
            if np.isnan(advantage.estimate)
            else f"where its code answers stand at {points(advantage)} to the others"
        )
        texts.append(
            f"{row['model']} ({row['forced']} − {row['prompt_style']}): {points(effect)} points, {beside} "
            f"({row['n_problems']} problems)"
        )
    return "; ".join(texts), verdicts[0] if len(set(verdicts)) == 1 else "undecided"


def gamma_matters(evidence: Evidence) -> Finding:
    """C9: change of greedy accuracy under random reward with the clip for every γ that was trained on.

    Consistent if each γ above 0 gains and γ = 0 does not, against if one above 0 loses, undecided otherwise.
    """
    rows = evidence.rows_of("random")
    if rows.empty or rows["gamma"].nunique() < 2:
        return NOT_RUN
    found = {row["gamma"]: change(row, "accuracy") for _, row in rows.sort_values("gamma").iterrows()}
    code = {row["gamma"]: _interval(row, "code_change", row["n_seeds"]) for _, row in rows.iterrows()}
    text = "; ".join(f"γ = {gamma:g}: {text}, code {points(code[gamma])}" for gamma, (text, _) in found.items())
    verdicts = {verdict for gamma, (_, verdict) in found.items() if gamma > 0}
    verdict = (
        "against"
        if "against" in verdicts
        else "undecided"
        if verdicts != {"consistent"} or found.get(0.0, ("", ""))[1] == "consistent"
        else "consistent"
    )
    return f"{text} ({rows['n_seeds'].min()} seeds, {rows['n_problems'].min()} problems)", verdict


def compounds_remove_the_gain(evidence: Evidence) -> Finding:
    """C10: gain of each reward minus its gain when multiplied with "no Python", where the reward alone gains.

    The claim is about gains that code carried: a reward without a gain (by `change`) leaves it untouched.
    """
    texts, verdicts = [], []
    rewards = evidence.records.runs["reward"].unique() if len(evidence.records.runs) else []
    for name in (name for name in rewards if name.endswith(NO_PYTHON)):
        alone, compound = evidence.row_of(name.removesuffix(NO_PYTHON)), evidence.row_of(name)
        if alone is None or compound is None:
            continue
        interval = effect_difference(evidence.changes_S_P(alone), evidence.changes_S_P(compound))
        gained = change(alone, "accuracy")[1]
        texts.append(
            f"{alone['reward'].replace('_', ' ')} {points(_interval(alone, 'accuracy_change', 1))}, without "
            f"Python {points(_interval(compound, 'accuracy_change', 1))} (code "
            f"{100 * compound['code']:.0f} % of answers), difference {interval.text('points')}"
        )
        verdicts.append(sign(interval) if gained == "consistent" else "undecided")
    if not texts:
        return NOT_RUN
    return "; ".join(texts), agreed(verdicts)


def lipsum_helps(evidence: Evidence) -> Finding:
    """C11: accuracy under the lipsum prompt minus the profile's own, paired by problem."""
    table = evidence.prompts
    table = table[table["prompt_style"] == "lipsum"] if len(table) else table
    if table.empty:
        return NOT_RUN
    row = table.iloc[0]
    effect = _interval(row, "difference", row["n_problems"])
    return (
        f"{row['model']}, {row['benchmark']}: lipsum minus {reasoning_tables.main_prompt(evidence.records)} "
        f"{points(effect)} points ({row['n_problems']} problems)"
    ), sign(effect)


CLAIMS = (
    Claim(
        "C1",
        "GRPO with random rewards raises accuracy",
        "Qwen2.5-Math-7B, MATH-500: random +21.4, ground truth +29.1 points (v1, v2)",
        "Fig 1",
        random_reward_gain,
    ),
    Claim(
        "C2",
        "Weak rewards lie in between",
        "majority vote +27.1, one-shot +26.0, incorrect +24.1, format +13.8 (v1, v2)",
        "Fig 1",
        weaker_rewards,
    ),
    Claim(
        "C3",
        "The gain is model dependent",
        "Llama3 and OLMo2 gain little or lose (v0, v1)",
        "Fig 3",
        gain_depends_on_the_model,
        MODELS,
    ),
    Claim(
        "C4",
        "The clip term is the cause: it amplifies high-prior behaviour under a reward without information",
        "without the clip, no robust gain (v1)",
        "Figs 11–13",
        clip_is_the_cause,
    ),
    Claim(
        "C5",
        "The amplified behaviour is code reasoning",
        "65.0 % → above 90 % (95.6 % peak) (v0, v1)",
        "Fig 6",
        code_is_amplified,
    ),
    Claim(
        "C6",
        "Code answers are more accurate than language answers for Qwen2.5-Math, less for other families",
        "60.9 % with code; Table 1 prints 35.0 % without, which is the language frequency: the identity gives 28.0 %",
        "Table 1",
        code_is_better,
        MODEL,
    ),
    Claim(
        "C7",
        "Most of the gain comes from questions that switch from language to code",
        "58.3 % of the gain (v0, v1)",
        "Fig 7, Table 2",
        gain_comes_from_switches,
    ),
    Claim(
        "C8",
        "Forcing code helps only where code is better",
        "Qwen2.5-Math up, others down (v0, v1)",
        "Table 3",
        forcing_follows_accuracy,
        MODEL,
    ),
    Claim(
        "C9", "Random reward works for every γ above 0, even 0.001, and not for 0", "curves (v0)", "Fig 10", gamma_matters
    ),
    Claim(
        "C10",
        "'No Python' compounds remove the gain where code carried it",
        "curves (v0)",
        "Figs 9, 15",
        compounds_remove_the_gain,
    ),
    Claim("C11", "Even a lipsum prompt raises accuracy", "49.4 → 68.8 (v1)", "Table 5", lipsum_helps, MODEL),
)


def claims_table(all_records: Sequence[Records], mechanism: Mapping[str, pd.DataFrame] | None = None) -> pd.DataFrame:
    """One row per claim and what speaks to it, a part of a profile or a table of the mechanism; else one `not run`.

    Args:
        all_records: of the profiles.
        mechanism: from `mechanism_claims.mechanism_tables`.
    """
    alone = mechanism_findings(mechanism or {})
    whole = [Evidence(records) for records in all_records]
    parts = {kind: [part for evidence in whole for part in evidence.parts(kind)] for kind in (SETTING, MODEL, MODELS)}
    rows = []
    for claim in CLAIMS:
        found = list(alone.get(claim.id, []))
        for part in parts[claim.per]:
            measured, verdict = claim.measure(part)
            if verdict != "not run":
                found.append({"scale": part.scale, "measured": measured, "verdict": verdict})
        for finding in found or [{"scale": "—", "measured": NOT_RUN[0], "verdict": NOT_RUN[1]}]:
            rows.append(
                {"claim": claim.id, "says": claim.text, "paper-reported": f"{claim.paper}, {claim.where}", **finding}
            )
    return pd.DataFrame(rows)
