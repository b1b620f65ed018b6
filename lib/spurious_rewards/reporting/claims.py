"""Judge the paper's claims: one row per claim and scale, with what was measured here and a verdict by stated rules.

Claims about training are judged by the profile's protocol (`training_claims`), those about untrained models and about
strategy switches here, from the interval of one number each; the mechanism's tables speak for themselves
(`mechanism_claims`). Nothing is typed in by hand but the paper's words. What small models show is no statement about
Qwen2.5-Math-7B: the scale stands beside every number.

Usage: `claims_table([load("micro", results_dir())])`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from spurious_rewards.evaluation.crossed import SEEDS_FOR_A_VERDICT
from spurious_rewards.evaluation.records import code_advantage
from spurious_rewards.evaluation.statistics import Interval
from spurious_rewards.evaluation.verdicts import CONTRADICTED, NOT_RUN, SUPPORTED, UNDECIDED, judge
from spurious_rewards.reporting import reasoning_tables
from spurious_rewards.reporting.collect import Records
from spurious_rewards.reporting.evidence import MODEL, SETTING, Evidence
from spurious_rewards.reporting.mechanism_claims import mechanism_findings
from spurious_rewards.reporting.protocol import protocol_of
from spurious_rewards.reporting.training_claims import WITHOUT, claim_rows, claim_tests, counted
from spurious_rewards.reporting.words import seeds_words

CODE_ADVANTAGE = {+1: ("Qwen/Qwen2.5-Math", "qwen-like"), -1: ("Qwen/Qwen2.5-7B", "allenai/OLMo-2", "llama-like")}
"""Where the paper finds code better (+1) or worse (-1) than language (Table 1), and the organisms built so."""
LEAST_ANSWERS = 10
"""Answers in code and in language below which neither accuracy says much."""
COLUMNS = (
    "claim", "says", "paper", "where", "scale", "profile", "table", "outcome", "estimate", "low", "high", "unit", "n",
    "n_seeds", "measured", "verdict", "why",
)  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """State one claim of the paper; figures in `paper` are paper-reported."""

    id: str
    text: str
    paper: str
    where: str


CLAIMS = (
    Claim(
        "C1",
        "GRPO with random rewards raises accuracy",
        "Qwen2.5-Math-7B, MATH-500: random +21.4, ground truth +29.1 points (v1, v2)",
        "Fig 1",
    ),
    Claim(
        "C2",
        "Weak rewards lie in between",
        "majority vote +27.1, one-shot +26.0, incorrect +24.1, format +13.8 (v1, v2)",
        "Fig 1",
    ),
    Claim("C3", "The gain is model dependent", "Llama3 and OLMo2 gain little or lose (v0, v1)", "Fig 3"),
    Claim(
        "C4",
        "The clip term is the cause: it amplifies high-prior behaviour under a reward without information",
        "without the clip, no robust gain (v1)",
        "Figs 11–13",
    ),
    Claim("C5", "The amplified behaviour is code reasoning", "65.0 % → above 90 % (95.6 % peak) (v0, v1)", "Fig 6"),
    Claim(
        "C6",
        "Code answers are more accurate than language answers for Qwen2.5-Math, less for other families",
        "60.9 % with code; Table 1 prints 35.0 % without, which is the language frequency: the identity gives 28.0 %",
        "Table 1",
    ),
    Claim(
        "C7",
        "Most of the gain comes from questions that switch from language to code",
        "58.3 % of the gain (v0, v1)",
        "Fig 7, Table 2",
    ),
    Claim("C8", "Forcing code helps only where code is better", "Qwen2.5-Math up, others down (v0, v1)", "Table 3"),
    Claim("C9", "Random reward works for every γ above 0, even 0.001, and not for 0", "curves (v0)", "Fig 10"),
    Claim("C10", "'No Python' compounds remove the gain where code carried it", "curves (v0)", "Figs 9, 15"),
    Claim("C11", "Even a lipsum prompt raises accuracy", "49.4 → 68.8 (v1)", "Table 5"),
)
PARTS = {WITHOUT: "What a random reward does to accuracy without the clip"}
"""What the second row of a claim is about; it has a word for what happens in place of a verdict."""


def claims_table(
    all_records: Sequence[Records],
    mechanism: Mapping[str, pd.DataFrame] | None = None,
    tested: Mapping[str, pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """Return one row per claim and what speaks to it, a part of a profile or a table of the mechanism; else `not run`.

    Args:
        all_records: of the profiles.
        mechanism: from `mechanism_claims.mechanism_tables`.
        tested: profile → its table of tests, where that is known already (`training_claims.claim_tests`).
    """
    tested = tested or {}
    found: dict[str, list[dict[str, Any]]] = {claim.id: [] for claim in CLAIMS}
    for row in mechanism_findings(mechanism or {}):
        found[row["claim"]].append({"profile": "mechanism", **row})
    for records in all_records:
        protocol = protocol_of(records.profile)
        whole = Evidence(counted(records, protocol), protocol=protocol)
        table = tested[records.profile] if records.profile in tested else claim_tests(records)
        rows = [{"table": "tests", **row} for row in claim_rows(table)]
        for claim, (kind, measure) in MEASURED.items():
            parts = ((part, measure(part)) for part in whole.parts(kind) if not part.beside)
            rows += [{"claim": claim, "scale": part.scale, **row} for part, row in parts if row is not None]
        for row in rows:
            found[str(row["claim"])].append({"profile": records.profile, **row})
    rows = [
        {"claim": claim.id, "says": claim.text, "paper": claim.paper, "where": claim.where}
        | {key: value for key, value in row.items() if key not in ("claim", "part")}
        | ({"says": PARTS[row["part"]]} if row.get("part") else {})
        for claim in CLAIMS
        for row in found[claim.id] or [{"scale": "—", "measured": "—", "verdict": NOT_RUN}]
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    texts = [name for name in COLUMNS if name not in ("estimate", "low", "high", "n_seeds")]
    return table.fillna(dict.fromkeys(texts, "")).astype({"n_seeds": "Int64"})


def finding(
    interval: Interval, unit: str, n: str, measured: str, verdict: str, why: str, **more: str
) -> dict[str, Any]:
    """Build the columns of one row from its number and words."""
    limits = {"estimate": interval.estimate, "low": interval.low, "high": interval.high}
    return {**limits, "unit": unit, "n": n, "measured": measured, "verdict": verdict, "why": why, **more}


def side(interval: Interval, of: str = "0") -> str:
    """Say where a whole interval lies, as the reason of a verdict."""
    words = {1: f"The 95 % interval lies above {of}.", -1: f"The 95 % interval lies below {of}."}
    return words.get(interval.sign(), f"The 95 % interval includes {of}.")


def code_is_better(evidence: Evidence) -> dict[str, Any] | None:
    """C6: subtract the base model's accuracy without code from that with code, under the profile's own prompt."""
    samples = evidence.records.samples
    own = samples["prompt_style"] == reasoning_tables.main_prompt(evidence.records)
    base = samples[(samples["trained_run"] == "") & own]
    base = base[base["temperature"] > 0] if (base["temperature"] > 0).any() else base
    if base.empty:
        return None
    model = base["model"].iloc[0]
    [expected] = [sign for sign, names in CODE_ADVANTAGE.items() if model.startswith(names)] or [0]
    if not expected or not evidence.protocol.speaks(model):  # the paper says nothing of it, or it is beside its recipe
        return None
    base = base[base["engine"] == base["engine"].iloc[0]]
    code, language = (base[base["uses_code"].astype(bool) == flag]["correct"].astype(bool) for flag in (True, False))
    n = f"{len(code)} answers with and {len(language)} without code"
    shared = {"outcome": "accuracy", "table": "strategies"}
    if min(len(code), len(language)) < LEAST_ANSWERS:
        missing = Interval(np.nan, np.nan, np.nan, 0)
        why = f"Fewer than {LEAST_ANSWERS} answers of one kind."
        return finding(missing, "points", n, n, UNDECIDED, why, **shared)
    advantage = code_advantage(base)
    text = (
        f"with code {100 * code.mean():.1f} %, without {100 * language.mean():.1f} %: {advantage.text('points')} ({n})"
    )
    verdict = judge(advantage, expect="gain" if expected > 0 else "loss")
    return finding(advantage, "points", n, text, verdict, side(advantage), **shared)


def gain_comes_from_switches(evidence: Evidence) -> dict[str, Any] | None:
    """C7: average the share of the gain on language → code switches over clipped arms that gained; most is over half.

    Arms that did not gain have nothing to share out; where none gained the claim is not touched.
    """
    table = evidence.contributions
    table = table[table["clip_mode"] == "two_sided"] if len(table) else table
    if table.empty:
        return None
    row = table.iloc[0]
    share, gain = (Interval.from_row(row, name, row["n_seeds"]) for name in ("LC", "gain"))
    over_half = share.shifted(-0.5)
    verdict, why = judge(over_half), side(over_half, "one half")
    if row["n_seeds"] < SEEDS_FOR_A_VERDICT:
        verdict, why = UNDECIDED, f"{row['n_seeds']} seeds; a verdict takes {SEEDS_FOR_A_VERDICT}."
    text = f"language → code carries {share.text('%')} of a gain of {gain.text('points')} ({row['arms']})"
    n = f"{row['n_arms']} arms × {seeds_words(row['n_seeds'])} × {row['n_problems']} problems"
    return finding(share, "%", n, text, verdict, why, table="contributions") | {"n_seeds": row["n_seeds"]}


def forcing_follows_accuracy(evidence: Evidence) -> dict[str, Any] | None:
    """C8: see whether forcing code moves accuracy to the side on which the model's own code answers stand.

    Measured in the twin prompt without the forced beginning: supported if the effect of forcing and the accuracy of
    code minus language have the same sign, contradicted if they have opposite ones, each with limits that exclude 0.
    The profile's own prompt is looked at where it has a forced twin, else the first pair.
    """
    table, own = evidence.forced_code, reasoning_tables.main_prompt(evidence.records)
    if table.empty:
        return None
    row = table.assign(foreign=table["prompt_style"] != own).sort_values("foreign", kind="stable").iloc[0]
    effect = Interval.from_row(row, "difference", row["n_problems"])
    advantage = Interval.from_row(row, "code_advantage", row["n_problems"])
    signs = (effect.sign(), advantage.sign())
    if 0 in signs or np.isnan(advantage.estimate):
        verdict, why = UNDECIDED, "One of the two intervals includes 0, or the model answers in one strategy only."
    elif signs[0] == signs[1]:
        verdict, why = SUPPORTED, "Both intervals lie on the same side of 0."
    else:
        verdict, why = CONTRADICTED, "The two intervals lie on opposite sides of 0."
    beside = (
        "all its answers use one strategy"
        if np.isnan(advantage.estimate)
        else f"its own code answers stand at {advantage.text('points')} to the others"
    )
    text = f"forced ({row['forced']}) minus not: {effect.text('points')}; {beside}"
    n = f"{row['n_problems']} problems"
    return finding(effect, "points", n, text, verdict, why, outcome="accuracy", table="forced_code")


def lipsum_helps(evidence: Evidence) -> dict[str, Any] | None:
    """C11: subtract accuracy under the profile's own prompt from that under the lipsum prompt, paired by problem."""
    table = evidence.prompts
    table = table[table["prompt_style"] == "lipsum"] if len(table) else table
    if table.empty:
        return None
    row = table.iloc[0]
    effect = Interval.from_row(row, "difference", row["n_problems"])
    text = (
        f"lipsum minus {reasoning_tables.main_prompt(evidence.records)}: {effect.text('points')} ({row['benchmark']})"
    )
    n = f"{row['n_problems']} problems"
    return finding(effect, "points", n, text, judge(effect), side(effect), outcome="accuracy", table="prompts")


MEASURED: dict[str, tuple[str, Callable[[Evidence], dict[str, Any] | None]]] = {
    "C6": (MODEL, code_is_better),
    "C7": (SETTING, gain_comes_from_switches),
    "C8": (MODEL, forcing_follows_accuracy),
    "C11": (MODEL, lipsum_helps),
}
"""Claim → kind of part it is measured in, and how."""
