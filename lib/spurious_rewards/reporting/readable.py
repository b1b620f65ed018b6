"""Write tables as readers see them: limits beside their value, units in the head, rounded to what limits support.

Which columns a page shows of a table stands in `COLUMNS`: at most ten, results among them; its CSV has all. Settings
that are the same in every row go to the caption.

Usage: `readable(pd.read_csv(path), "arms")` for a page, `in_words(table, ["arm", "accuracy"])` in a notebook.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from spurious_rewards.reporting.words import (
    NONE_USUAL,
    OPTIMIZER_WORDS,
    arm_words,
    clip_words,
    compact,
    p_words,
    reward_words,
    seeds_words,
    setting_words,
    settings_told,
    spoken,
    usual_settings,
    whole_arm,
)
from spurious_rewards.training.config import RunConfig

CELL = "arm benchmark prompt_style temperature model n_seeds n_problems"
PAIRS = "model optimizer learning_rate clip_mode quantity"
COLUMNS: dict[str, tuple[str, str]] = {
    "arms": (f"{CELL} engine k", "accuracy accuracy_change code code_change"),
    "behaviour": ("arm n_seeds first_batch last_batch",
                  "code_frequency code_frequency_seed_min code_frequency_seed_max reward_mean"),
    "checkpoints": (f"{CELL} rollout_batch", "accuracy code"),
    "clip_activity": ("arm n_seeds n_updates", "clip_fraction_update_1_max clip_fraction_later_mean "
                      "would_clip_high_later_mean would_clip_low_later_mean entropy_change kl_old_last_update_mean"),
    "clip_effect": ("model reward gamma learning_rate benchmark prompt_style temperature clip_mode n_seeds n_problems",
                    "accuracy_difference code_difference"),
    "contributions": ("clip_mode benchmark prompt_style temperature model setting n_arms n_seeds n_problems",
                      "CC CL LC LL gain"),
    "first_updates": ("model reward gamma learning_rate seed clip_modes", "equal"),
    "forced_code": ("model benchmark forced n_problems",
                    "difference p_holm accuracy accuracy_forced code_advantage n_code n_language"),
    "pass_at_k": ("arm benchmark prompt_style temperature n_seeds n_problems n_samples k", "pass_at_k"),
    "probe": ("model benchmark percent n_problems",
              "exact_match exact_match_numbers rouge_l accuracy exact_match_minus_clean"),
    "prompts": ("model benchmark prompt_style n_problems",
                "accuracy difference p_holm code parsable mean_tokens reason"),
    "runs": ("arm seed n_updates", "minutes tokens_per_second peak_memory_mb completion_tokens sessions commit"),
    "strategies": (f"{CELL} engine", "code accuracy accuracy_code accuracy_language"),
    "switches": (f"{CELL} switch", "frequency contribution total_gain"),
    "tests": ("claim scale about outcome n_seeds", "estimate p_adjusted seeds_to_decide verdict"),
    "verifier_quality": ("model benchmark clip_mode quality false_positive false_negative n_seeds n_problems",
                         "accuracy_change code_change"),
    "recipes": ("recipe reward gamma learning_rate clip_mode checkpoint n_seeds n_problems",
                "accuracy_change code_change accuracy_difference code_difference"),
    "antithetic": (PAIRS, "n_pairs change effect p_holm share_up"),
    "antithetic_smollm2": (PAIRS, "n_pairs change effect p_holm share_up"),
    "antithetic_smollm2_bf16": (PAIRS, "n_pairs change effect p_holm share_up"),
    "bandit_bins": ("optimizer step_size clip_mode p_low p_high",
                    "rollouts clipped_high clipped_low outside_high outside_low"),
    "bandit_map": ("sweep prior clip_mode epsilon gamma optimizer step_size updates", "share_up paired_logit_change"),
    "counterfactual": (PAIRS, "n_pairs change effect p_holm share_up"),
    "decision": ("model n_problems", "code first_token openings likeliest likeliest_code"),
    "dose_counterfactual": ("optimizer learning_rate quantity clip_mode model statistic n", "prior change effect"),
    "dose_response": ("optimizer learning_rate quantity clip_mode model statistic n", "prior change effect"),
    "drift": ("model optimizer learning_rate quantity part n_pairs", "value per_100"),
    "questions": ("question model setting clip_mode n", "effect unit p_holm"),
    "agreement": ("model benchmark dtype engine_a engine_b n", "accuracy_a accuracy_b agree same_text near_ties"),
    "engines": ("model benchmark batch_size n", "transformers_tokens_per_s vllm_tokens_per_s vllm_speedup "
                "accuracy_a accuracy_b agree"),
    "grpo_step": ("contestant", "cpu_seconds_per_rollout_batch cpu_seconds_100_batches 100_batches"),
    "real_model_trl": ("contestant", "cpu_seconds_per_rollout_batch ratio_to_trl generated_tokens_per_second"),
    "real_model_ways": ("way",
                        "cpu_seconds_per_rollout_batch seconds_generation mean_completion_tokens peak_memory_mb"),
    "scaling": ("varied size completion_tokens group_size",
                "cpu_seconds_per_update seconds_generation_per_update peak_memory_mb"),
    "clip_noise_floor": ("model precision device torch tokens", "mean_change max_change outside"),
    "task_search": ("task style", "n_problems k pass_1 pass_k boxed cut_off chosen"),
    "step_size_search": ("task learning_rate", "reward_first reward_last chosen"),
    "perplexity": ("arm seed benchmark", "problems reference_answers own_answers"),
    "grader_benchmark": ("outputs n_pairs grader cache", "pairs_per_second share_correct times_math_verify"),
}  # fmt: skip
"""Table → settings, of which those that vary are shown, and results, which are shown always; in the page's order."""
MOST_COLUMNS = 10
HEADS = {
    "prompt_style": "prompt",
    "temperature": "T",
    "learning_rate": "step size",
    "clip_mode": "clip",
    "n_seeds": "seeds",
    "n_problems": "problems",
    "n_answers": "answers",
    "n_updates": "updates",
    "k": "samples",
    "code": "share of code",
    "accuracy_change": "change of accuracy",
    "code_change": "change of code",
    "accuracy_difference": "accuracy, mode − without clip",
    "code_difference": "code, mode − without clip",
    "clip_fraction_later_mean": "clip fraction",
    "clip_fraction_update_1_max": "clip fraction, update 1",
    "would_clip_high_later_mean": "above the band",
    "would_clip_low_later_mean": "below the band",
    "mean_tokens": "tokens",
    "boxed": "with a box",
    "parsable": "with an answer",
    "accuracy_code": "right in code",
    "accuracy_language": "right in words",
    "accuracy_forced": "accuracy, forced code",
    "accuracy_before": "right before",
    "accuracy_after": "right after",
    "n_code": "answers in code",
    "n_language": "answers in words",
    "n_arms": "number of arms",
    "p_holm": "p (Holm)",
    "percent": "shown, %",
    "gamma": "γ",
    "peak_memory_mb": "memory, MB",
    "tokens_per_second": "tokens per second",
    "completion_tokens": "tokens",
    "dirty": "uncommitted changes",
    "about": "arm",
    "scale": "measured on",
    "estimate": "effect",
    "p_adjusted": "p",
    "seeds_to_decide": "seeds that would decide",
    "first_batch": "from rollout batch",
    "last_batch": "to rollout batch",
    "code_frequency": "share of code",
    "code_frequency_seed_min": "lowest seed",
    "code_frequency_seed_max": "highest seed",
    "reward_mean": "mean reward",
    "kl_old_last_update_mean": "KL to π_old, last update",
    "clip_modes": "clip modes",
    "equal": "equal losses",
    "CC": "code → code",
    "CL": "code → language",
    "LC": "language → code",
    "LL": "language → language",
    "difference": "change of accuracy",
    "code_advantage": "accuracy, code minus language",
    "exact_match_numbers": "exact match, with a number",
    "exact_match_minus_clean": "exact match, minus clean",
    "share_up": "gains, of all seeds",
    "paired_logit_change": "log-odds, minus without clip",
    "epsilon": "ε",
    "p_low": "probability from",
    "p_high": "probability to",
    "rouge_l": "ROUGE-L",
    "engine_a": "first engine",
    "engine_b": "second engine",
    "accuracy_a": "accuracy, first engine",
    "accuracy_b": "accuracy, second engine",
    "per_100": "over 100 rollout batches",
    "n_pairs": "pairs",
    "n": "n",
}
SHARES = (
    "accuracy", "code", "boxed", "parsable", "cut_off", "clip_fraction", "would_clip", "exact_match", "share",
    "code_frequency", "frequency", "pass_at",
)  # fmt: skip
"""Columns whose names begin so are proportions, shown in percent."""
DIFFERENCES = ("accuracy_change", "code_change", "difference", "gain", "minus_clean", "estimate", "code_advantage")
"""Columns whose names end so are differences of proportions, shown in points with their sign."""
P_VALUES = ("p_value", "p_holm", "p_adjusted")
HIDDEN = ("losses", "seeds", "accuracy_difference_per_seed", "code_difference_per_seed", "run_id")
"""Columns that only the CSV shows."""


@dataclass(frozen=True)
class Cell:
    """Hold one cell: its text, the number by which a column is sorted (None for text), and whether it is a verdict."""

    text: str
    sort: float | None = None
    verdict: bool = False


@dataclass(frozen=True)
class Table:
    """Hold a table for readers: heads, rows of cells, and what all rows share."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    constant: str
    usual: str = ""
    """Settings of trained arms that stand in a row only where it has others."""


def unit_of(name: str) -> str:
    """Name the unit of a column: `points` for differences of proportions, `%` for proportions, else nothing.

    >>> unit_of("accuracy_change"), unit_of("code"), unit_of("entropy_first")
    ('points', '%', '')
    """
    if name.endswith(DIFFERENCES):
        return "points"
    return "%" if name.startswith(SHARES) else ""


def interval_text(value: float, low: float, high: float, unit: str) -> str:
    """Write a value with its 95 % limits, rounded to what they support.

    >>> interval_text(0.02875, -0.01875, 0.0787, "points"), interval_text(0.5, float("nan"), float("nan"), "%")
    ('+2.9 [−1.9, +7.9]', '50.0')
    """
    scale = 100 if unit in ("%", "points") else 1
    known = [x for x in (low, high) if x is not None and math.isfinite(x)]
    width = scale * (high - low) if len(known) == 2 else 0.0
    digits = 1 if scale == 100 else 3
    if width > 0:
        digits = min(max(digits if scale == 100 else 0, 1 - math.floor(math.log10(width))), 6)
    form = f"{'+' if unit == 'points' else ''}.{digits}f"
    texts = [format(scale * x, form).replace("-", "−") for x in (value, *known)]
    return texts[0] if len(known) < 2 else f"{texts[0]} [{texts[1]}, {texts[2]}]"


def plain(name: str, value: Any) -> Cell:
    """Write one value of a column that has no limits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Cell("–")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        unit = unit_of(name)
        if name == "learning_rate":
            return Cell(setting_words(name, value).removeprefix("step size "), float(value))
        if name in P_VALUES and math.isfinite(value):
            return Cell(p_words(value).removeprefix("p ").removeprefix("= "), float(value))
        if isinstance(value, float) and unit and math.isfinite(value):
            digits = 1 if abs(value) >= 0.001 or value == 0 else 3
            return Cell(f"{100 * value:{'+' if unit == 'points' else ''}.{digits}f}".replace("-", "−"), 100 * value)
        text = f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if abs(value) < 1e3 else f"{value:,.0f}"
        return Cell(text.replace("-", "−") if not text.startswith("1e-") else text, float(value))
    text = str(value)
    if name == "arm":
        return Cell(arm_words(text))
    if name == "scale":
        return Cell(spoken(text.partition(" (profile ")[0]))  # whose page it is
    if name == "verdict":
        return Cell(text, verdict=True)
    if name == "clip_mode":
        return Cell(clip_words(text))
    if name == "switch":
        return Cell(HEADS.get(text, text))
    if name == "clip_modes":
        return Cell(", ".join(map(clip_words, text.split())))
    if name == "reward":
        return Cell(reward_words(text))
    if name == "optimizer":
        return Cell(OPTIMIZER_WORDS.get(text, text))
    return Cell(text[:10] if name == "commit" else spoken(text))


def readable(table: pd.DataFrame, name: str = "") -> Table:
    """Turn a table of `results/tables` into what the page shows.

    Args:
        table: as it was read.
        name: of the table; without one its first ten columns are shown.
    """
    usual: dict[str, Any] = {}
    if {"estimate", "low", "high"} <= set(table):
        table = table.rename(columns={"low": "estimate_low", "high": "estimate_high"})
    if "arm" in table and table["arm"].map(arm_words).nunique() < table["arm"].nunique():
        usual = usual_settings(table["arm"])
        table = _with_whole_arms(table, usual)
        table = table.drop(columns=[column for column in ("model", "learning_rate") if column in table])
    if name in COLUMNS:
        table = _with_settings(table, " ".join(COLUMNS[name]).split())
    limits = {name for column in table for name in (f"{column}_low", f"{column}_high")} & set(table)
    settings, results = (words.split() for words in COLUMNS.get(name, ("", "")))
    known = [str(column) for column in table if column not in limits and column not in HIDDEN]
    columns = [column for column in [*settings, *results] if column in known] if name else known
    fixed = settings if name else [column for column in columns if f"{column}_low" not in table]
    if len(table) < 2:  # one row shares all with itself: the first setting stays, to name it
        fixed = [column for column in settings if column in columns][1:]
    same = [column for column in columns if column in fixed and table[column].nunique(dropna=False) == 1]
    constant = "; ".join(
        f"{HEADS.get(name, name.replace('_', ' '))}: {plain(name, table[name].iloc[0]).text}" for name in same
    )
    shown = [column for column in columns if column not in same][:MOST_COLUMNS]
    return Table(_heads(shown), _rows(table, shown), constant, spoken(", ".join(settings_told(usual))))


def _with_whole_arms(table: pd.DataFrame, usual: Mapping[str, Any] = NONE_USUAL) -> pd.DataFrame:
    """Return the table with arms named in full, but for the usual settings."""
    models = table["model"] if "model" in table else [""] * len(table)
    return table.assign(arm=[whole_arm(arm, model, usual) for arm, model in zip(table["arm"], models, strict=True)])


def _with_settings(table: pd.DataFrame, shown: Sequence[str]) -> pd.DataFrame:
    """Return a table of settings with those that have no column among the shown ones told beside the reward."""
    own = (*shown, "model", "reward", "gamma", "clip_mode", "seed", "prompt_style")
    fields = [name for name in RunConfig().identity() if name in table and name not in own]
    if "reward" not in table or not fields:
        return table
    words = [
        ", ".join([reward_words(row["reward"]), *settings_told({name: row[name] for name in fields})])
        for row in table.to_dict("records")
    ]
    return table.assign(reward=words)


def in_words(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Make the table of a notebook: chosen columns as text, with their limits beside them and units in the head.

    Args:
        table: of proportions in [0, 1], with limits in `_low` and `_high`.
        columns: to show, limits not counted; those that the table lacks are left out.

    Raises:
        InputError: more than eight columns, which no page of a notebook holds.
    """
    names = list(compact(table, dict(zip(columns, columns, strict=True))))
    if "arm" in names and table["arm"].map(arm_words).nunique() < table["arm"].nunique():
        table = _with_whole_arms(table)
    table = _with_settings(table, columns)
    texts = [[cell.text for cell in row] for row in _rows(table, names)]
    return pd.DataFrame(texts, columns=list(_heads(names)))


def _head(name: str) -> str:
    return HEADS.get(name, name.replace("_", " "))


def _heads(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(", ".join(filter(None, (_head(name), unit_of(name)))) for name in names)


def _rows(table: pd.DataFrame, names: Sequence[str]) -> tuple[tuple[Cell, ...], ...]:
    rows = []
    for row in table.to_dict("records"):
        cells = []
        for name in names:
            if f"{name}_low" in row and isinstance(row[name], float) and math.isfinite(row[name]):
                low, high = row[f"{name}_low"], row[f"{name}_high"]
                if unit_of(name) and high - low > 1:  # wider than all that a proportion can change by in one direction
                    low = high = math.nan
                text = interval_text(row[name], low, high, unit_of(name))
                n, checkpoints = row.get("n_seeds"), row.get("n_checkpoints", 1)
                units = f"{checkpoints} checkpoints" if checkpoints > 1 else seeds_words(n) if n else ""
                seeds = f" ({units}: no interval)" if math.isnan(low) and units else ""
                cells.append(Cell(text + seeds, row[name]))
            else:
                cells.append(plain(name, row[name]))
        rows.append(tuple(cells))
    return tuple(rows)
