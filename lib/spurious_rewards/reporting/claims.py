"""The paper's claims, row by row: what it says, what was measured here, and a verdict that follows from stated rules.

A verdict is computed from the records: `consistent` or `against` if the 95 % limits exclude 0 on that side, `undecided`
if they include it, `not run` if the records do not speak to the claim. For a change from the base model two intervals
must agree: over problems and seeds (bootstrap), and over seeds alone (Student's t), which two seeds make very wide.
Nothing is typed in by hand but the paper's words. What small models show is no statement about Qwen2.5-Math-7B: the
scale stands beside every number.

Usage: `claims_table([load("micro", results_dir())])`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import stats

from spurious_rewards.evaluation.records import code_advantage
from spurious_rewards.evaluation.statistics import Interval, hierarchical_difference
from spurious_rewards.reporting import reasoning_tables
from spurious_rewards.reporting.collect import Records
from spurious_rewards.reporting.mechanism_claims import mechanism_findings, sign
from spurious_rewards.reporting.tables import BASE, arms, at_the_end, cell_columns, clip_effect, matrix

NOT_RUN = ("—", "not run")
Finding = tuple[str, str]


class Evidence:
    """The records of a profile with the tables that the claims look at, each computed once and when first asked for."""

    def __init__(self, records: Records):
        self.records = records

    @cached_property
    def arms(self) -> pd.DataFrame:
        """Greedy rows of the table of arms."""
        return _greedy(arms(self.records))

    @cached_property
    def clip_effect(self) -> pd.DataFrame:
        """Greedy rows of the clip's effect, empty without an ablation."""
        table = clip_effect(self.records)
        return table if table.empty else _greedy(table)

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
        found = self.arms[self.arms["arm"].str.startswith("random" if reward == "random" else reward)
                          & self.arms["arm"].str.contains(f", {clip_mode}")]
        return found if "accuracy_change" in found else found.iloc[:0]

    def row_of(self, reward: str) -> pd.Series | None:
        """The first of these rows, None if there is none."""
        found = self.rows_of(reward)
        return None if found.empty else found.iloc[0]


@dataclass(frozen=True)
class Claim:
    """One claim of the paper; figures in `paper` are paper-reported."""

    id: str
    text: str
    paper: str
    where: str
    measure: Callable[[Evidence], Finding] | None = None


def points(interval: Interval) -> str:
    """An interval of proportions in percentage points.

    >>> points(Interval(0.1, -0.02, 0.22, 2))
    '+10.0 [-2.0, +22.0]'
    """
    return f"{100 * interval.estimate:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"


def _greedy(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["temperature"] == 0]


def change(row: pd.Series, name: str) -> tuple[str, str]:
    """Text and verdict of an arm's change from the base model; both intervals must agree on the side."""
    whole = _interval(row, f"{name}_change", row["n_seeds"])
    seeds = Interval(row[f"{name}_change"], row[f"{name}_change_seeds_low"], row[f"{name}_change_seeds_high"],
                     row["n_seeds"])
    text = f"{points(whole)} points, over seeds alone {points(seeds).split(' ', 1)[1]}"
    return text, sign(whole) if sign(whole) == sign(seeds) else "undecided"


def _interval(row: pd.Series, name: str, n: int) -> Interval:
    return Interval(row[name], row[f"{name}_low"], row[f"{name}_high"], n)


def random_reward_gain(evidence: Evidence) -> Finding:
    """C1: change of greedy accuracy under random reward with the clip, beside that under ground truth."""
    row, truth = evidence.row_of("random"), evidence.row_of("ground_truth")
    if row is None:
        return NOT_RUN
    text, verdict = change(row, "accuracy")
    beside = "" if truth is None else f"; ground truth {change(truth, 'accuracy')[0]}"
    return f"random {text}{beside} ({row['n_seeds']} seeds, {row['n_problems']} problems)", verdict


def weaker_rewards(evidence: Evidence) -> Finding:
    """C2: change of greedy accuracy under the format reward."""
    row = evidence.row_of("format")
    if row is None:
        return NOT_RUN
    text, verdict = change(row, "accuracy")
    return f"format {text} ({row['n_seeds']} seeds, {row['n_problems']} problems)", verdict


def gain_depends_on_the_model(evidence: Evidence) -> Finding:
    """C3: the largest minus the smallest gain under random reward with the clip, over the models of a profile.

    One arm per model: the first in the table, so that all share what else the profile varies. Two intervals must agree,
    over problems and seeds (bootstrap) and over seeds alone (Welch's t), both widened for the choice of the extreme
    pair (Bonferroni over all pairs).
    """
    rows = evidence.rows_of("random")
    if "model" not in rows or rows["model"].nunique() < 2:
        return NOT_RUN
    rows = rows.drop_duplicates("model").sort_values("accuracy_change")
    samples = at_the_end(evidence.records)
    for name in cell_columns(evidence.records):
        samples = samples if name == "model" else samples[samples[name] == rows[name].iloc[0]]

    def changes_S_P(model: str, arm: str) -> np.ndarray:
        own = samples[samples["model"] == model]
        return matrix(own[own["arm"] == arm], "correct") - matrix(own[own["arm"] == BASE], "correct")

    low, high = (changes_S_P(row["model"], row["arm"]) for row in (rows.iloc[0], rows.iloc[-1]))
    n_pairs = len(rows) * (len(rows) - 1) // 2
    confidence = 1 - 0.05 / n_pairs
    interval = hierarchical_difference(high, low, confidence=confidence)
    seeds = Interval(interval.estimate, -np.inf, np.inf, interval.n)
    if min(len(high), len(low)) > 1:
        limits = stats.ttest_ind(high.mean(axis=1), low.mean(axis=1), equal_var=False).confidence_interval(confidence)
        seeds = Interval(interval.estimate, float(limits.low), float(limits.high), interval.n)
    gains = ", ".join(f"{row.model} {points(_interval(pd.Series(row._asdict()), 'accuracy_change', row.n_seeds))}"
                      for row in rows.itertuples())
    return (f"random reward: {gains}; largest minus smallest {points(interval)} points, over seeds alone "
            f"{points(seeds).split(' ', 1)[1]} (limits for {n_pairs} pairs)",
            sign(interval) if sign(interval) == sign(seeds) else "undecided")


def clip_is_the_cause(evidence: Evidence) -> Finding:
    """C4: code frequency under random reward, clip on minus clip off, paired by seed (t interval)."""
    table = evidence.clip_effect
    if table.empty:
        return NOT_RUN
    table = table[(table["reward"] == "random") & (table["clip_mode"] == "two_sided")]
    if table.empty:
        return NOT_RUN
    row = table.iloc[0]
    code, accuracy = (_interval(row, name, row["n_seeds"]) for name in ("code_difference", "accuracy_difference"))
    return (f"clip on minus off: code frequency {points(code)}, accuracy {points(accuracy)} points "
            f"({row['n_seeds']} paired seeds)"), sign(code)


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
    base = samples[(samples["trained_run"] == "")
                   & (samples["prompt_style"] == reasoning_tables.main_prompt(evidence.records))]
    base = base[base["temperature"] > 0] if (base["temperature"] > 0).any() else base
    base = base[base["engine"] == base["engine"].iloc[0]]
    code, language = (base[base["uses_code"].astype(bool) == flag]["correct"].astype(bool) for flag in (True, False))
    if len(code) < 10 or len(language) < 10:
        return f"only {len(code)} code and {len(language)} language answers", "undecided"
    difference = code_advantage(base)
    return (f"with code {100 * code.mean():.1f} %, without {100 * language.mean():.1f} %: "
            f"{points(difference)} points ({len(code)} and {len(language)} answers)"), sign(difference)


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
    text = (f"language → code carries {share.percent()} % of a gain of "
            f"{points(_interval(row, 'gain', row['n_problems']))} points (arms that gained: {row['arms']}; "
            f"{row['n_problems']} problems)")
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
        verdicts.append("undecided" if "undecided" in signs or np.isnan(advantage.estimate) else
                        "consistent" if len(signs) == 1 else "against")
        texts.append(f"{row['model']} ({row['forced']} − {row['prompt_style']}): {points(effect)} points, where its "
                     f"code answers stand at {points(advantage)} to the others ({row['n_problems']} problems)")
    return "; ".join(texts), verdicts[0] if len(set(verdicts)) == 1 else "undecided"


def lipsum_helps(evidence: Evidence) -> Finding:
    """C11: accuracy under the lipsum prompt minus the profile's own, paired by problem."""
    table = evidence.prompts
    table = table[table["prompt_style"] == "lipsum"] if len(table) else table
    if table.empty:
        return NOT_RUN
    row = table.iloc[0]
    effect = _interval(row, "difference", row["n_problems"])
    return (f"{row['model']}, {row['benchmark']}: lipsum minus {reasoning_tables.main_prompt(evidence.records)} "
            f"{points(effect)} points ({row['n_problems']} problems)"), sign(effect)


CLAIMS = (
    Claim("C1", "GRPO with random rewards raises accuracy",
          "Qwen2.5-Math-7B, MATH-500: random +21.4, ground truth +29.1 points (v1, v2)", "Fig 1", random_reward_gain),
    Claim("C2", "Weak rewards lie in between",
          "majority vote +27.1, one-shot +26.0, incorrect +24.1, format +13.8 (v1, v2)", "Fig 1", weaker_rewards),
    Claim("C3", "The gain is model dependent", "Llama3 and OLMo2 gain little or lose (v0, v1)", "Fig 3",
          gain_depends_on_the_model),
    Claim("C4", "The clip term is the cause: it amplifies high-prior behaviour under a reward without information",
          "without the clip, no robust gain (v1)", "Figs 11–13", clip_is_the_cause),
    Claim("C5", "The amplified behaviour is code reasoning", "65.0 % → above 90 % (95.6 % peak) (v0, v1)", "Fig 6",
          code_is_amplified),
    Claim("C6", "Code answers are more accurate than language answers for Qwen2.5-Math",
          "60.9 % with code; Table 1 prints 35.0 % without, which is the language frequency: the identity gives 28.0 %",
          "Table 1", code_is_better),
    Claim("C7", "Most of the gain comes from questions that switch from language to code",
          "58.3 % of the gain (v0, v1)", "Fig 7, Table 2", gain_comes_from_switches),
    Claim("C8", "Forcing code helps only where code is better", "Qwen2.5-Math up, others down (v0, v1)", "Table 3",
          forcing_follows_accuracy),
    Claim("C9", "Random reward works for γ in {0.7, 0.5, 0.3, 0.001}, not for 0", "curves (v0)", "Fig 10"),
    Claim("C10", "'No Python' compounds remove the gain where code carried it", "curves (v0)", "Figs 9, 15"),
    Claim("C11", "Even a lipsum prompt raises accuracy", "49.4 → 68.8 (v1)", "Table 5", lipsum_helps),
)


def claims_table(all_records: Sequence[Records], mechanism: Mapping[str, pd.DataFrame] | None = None) -> pd.DataFrame:
    """One row per claim and what speaks to it, a profile or a table of the mechanism; otherwise one row `not run`.

    Args:
        all_records: of the profiles.
        mechanism: from `mechanism_claims.mechanism_tables`.
    """
    alone = mechanism_findings(mechanism or {})
    rows, gathered = [], [Evidence(records) for records in all_records]
    for claim in CLAIMS:
        found = list(alone.get(claim.id, []))
        for evidence in gathered:
            records = evidence.records
            measured, verdict = claim.measure(evidence) if claim.measure else NOT_RUN
            if verdict != "not run":
                model = ", ".join(sorted(records.samples["model"].unique()))
                found.append({"scale": f"{model} (profile {records.profile})", "measured": measured,
                              "verdict": verdict})
        for finding in found or [{"scale": "—", "measured": NOT_RUN[0], "verdict": NOT_RUN[1]}]:
            rows.append({"claim": claim.id, "says": claim.text, "paper-reported": f"{claim.paper}, {claim.where}",
                         **finding})
    return pd.DataFrame(rows)
