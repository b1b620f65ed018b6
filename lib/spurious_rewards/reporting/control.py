"""The control report: how much of a gain would a coin, the format alone or another prompt have given?

Usage: `print(control_report(collect("control"), reward="ground_truth").answer())`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.cautions import cautions_of, marked
from spurious_rewards.evaluation.crossed import effect, effect_difference
from spurious_rewards.evaluation.published import published_sentence
from spurious_rewards.evaluation.statistics import Interval, bootstrap_mean, wilson
from spurious_rewards.reporting import reasoning_tables
from spurious_rewards.reporting.arms import by_problem, changes
from spurious_rewards.reporting.collect import Records
from spurious_rewards.reporting.words import clip_words, reward_words
from spurious_rewards.rewards.registry import build
from spurious_rewards.storage.yaml_text import read_mapping
from spurious_rewards.training.config import RunConfig

RULE = (
    "A gain is the change of accuracy under your own prompt, greedy, over seeds and problems.",
    "A control explains nothing of it if your gain is above the control's by the limits of their difference, and the "
    "control's own limits include 0 (a loss, if they lie below 0).",
    "It explains a part if your gain is above it and the control's own limits lie above 0.",
    "It explains as much if the limits of the difference include 0, and more if they lie below 0.",
    "Unless the limits of your gain lie above 0 there is no gain to explain. All limits are 95 %.",
    "Another prompt is the best of those tried on these very problems, so its accuracy is somewhat too high.",
)
"""How the verdicts on the controls come about, sentence by sentence."""
NO_GAIN, UNDECIDED = "no gain", "undecided"
WORDS = {
    "nothing": "would have given you nothing of it that could be measured",
    "a loss": "would have cost you accuracy",
    "a part": "would have given you a part of it",
    "as much": "cannot be told apart from it",
    "more": "would have given you more",
    NO_GAIN: "has nothing to explain",
    UNDECIDED: "is undecided: one seed allows no limits",
}
"""Verdict on a control → how a sentence goes on."""
CELL = ("model", "benchmark", "prompt_style", "max_new_tokens", "engine", "dtype")
ARM = ["reward", "gamma", "clip_mode"]
OF_A_REWARD = ("false_positive", "false_negative", "labels", "right_labels", "reward_source")
"""Fields of a training in which arms may differ besides, but not the runs of one arm."""
CLIPPED = "two_sided"
NEEDS_LABELS = ("majority_vote", "incorrect")
PARTS = (
    ("prompts", "the untrained model under every prompt", "a GPU above about half a billion parameters"),
    ("trainings", "your reward, ground truth, format and coin", "a GPU above about half a billion parameters"),
    ("probe", "can it finish problems that it should not know", "a GPU above about half a billion parameters"),
    ("verifier", "whom does your reward call wrong", "no GPU"),
    ("rule and page", "the tables and the answer", "no GPU"),
)
"""Parts of the report, what they find out, and what they need."""


@dataclass(frozen=True)
class Control:
    """Hold what the controls of one model say.

    Attributes:
        profile, model, reward: of the trainings.
        gain: change of accuracy by the user's reward with the clip.
        controls: one row per control: its gain, the user's gain minus it, the verdict by `RULE`.
        arms: one row per training arm: accuracy and form of the answers after it; the first is the untrained model.
        prompts, forced, probe: tables of the untrained model; empty where it was not asked.
        verifier: how often other verifiers and the user's reward disagree with the robust grader.
        disagreements: answers that the user's reward and the robust grader judge differently.
        warnings: sentences on what to beware of.
        published: what others measured for the untrained model.
    """

    profile: str
    model: str
    reward: str
    gain: Interval
    controls: pd.DataFrame
    arms: pd.DataFrame
    prompts: pd.DataFrame
    forced: pd.DataFrame
    probe: pd.DataFrame
    verifier: pd.DataFrame
    disagreements: pd.DataFrame
    warnings: list[str]
    published: str

    def answer(self) -> str:
        """Answer in one or two sentences: how much of the gain would a coin have given?"""
        mine = (
            f"{_capital(reward_words(self.reward))} changed the accuracy of {self.model} by {self.gain.text('points')}"
        )
        coin = self.controls[self.controls["control"] == _control_words("random", 0.5, CLIPPED)]
        if coin.empty:
            return f"{mine}. There is no training with a coin to compare it with."
        row = coin.iloc[0]
        his = Interval.from_row(row, "gain").text("points")
        if not np.isfinite(self.gain.low):
            return f"{mine}: one seed allows no limits, so nothing is decided. A coin changed it by {his}."
        if self.gain.low <= 0:
            return f"{mine}: no gain that could be explained. A coin changed it by {his}."
        share = f" ({row['gain'] / self.gain.estimate:.0%})" if row["verdict"] == "a part" else ""
        return f"{mine}. A coin {WORDS[row['verdict']]}{share}: {his}."

    def others(self) -> list[str]:
        """Say of every other control what it explains."""
        coin = _control_words("random", 0.5, CLIPPED)
        if self.gain.low <= 0:
            return []
        rows = self.controls[self.controls["control"] != coin]
        ends = [(_capital(row["control"]), WORDS[row["verdict"]]) for _, row in rows.iterrows()]
        return [f"{name}{',' if ',' in name else ''} {end}." for name, end in ends]


def control_report(records: Records, reward: str = "ground_truth", where: str = "") -> Control:
    """Compare the gain by a reward with what the controls of a profile gained.

    Args:
        records: of a profile with trainings of one model by `reward` and by at least one control.
        reward: the user's.
        where: fields of the training that choose among several settings, as in `model: qwen-like`.

    Raises:
        InputError: the profile has no such training, or trainings of several models or settings.
    """
    runs = _of_one_setting(records.runs, where)
    greedy = records.samples[(records.samples["temperature"] == 0) & (records.samples["checkpoint"] == 0)]
    trained = greedy[greedy["trained_run"].isin(runs["run_id"])]
    cells = trained[list(CELL)].drop_duplicates()
    if len(cells) != 1:
        raise InputError(
            f"The trainings of profile {records.profile} were evaluated in {len(cells)} different cells "
            f"({', '.join(CELL)}), greedy; the control report needs exactly one."
        )
    own = cells.iloc[0]
    untrained = greedy[(greedy["trained_run"] == "") & (greedy["model"] == own["model"])]
    untrained = untrained[(untrained["benchmark"] == own["benchmark"]) & (untrained["engine"] == own["engine"])]
    base = untrained[untrained["prompt_style"] == own["prompt_style"]]
    arms = {key: trained[trained["trained_run"].isin(group["run_id"])] for key, group in _arms(runs)}
    mine = next((samples for key, samples in arms.items() if key[0] == reward and key[2] == CLIPPED), None)
    if base.empty or mine is None or mine.empty:
        missing = "no greedy evaluation of the untrained model" if base.empty else f"no training with reward {reward!r}"
        raise InputError(f"Profile {records.profile} has {missing} under prompt {own['prompt_style']} and the clip.")
    mine_S_P = changes(mine, base, "correct")
    verifier, disagreements = verifiers(pd.concat([base, mine]), reward)
    return Control(
        profile=records.profile,
        model=str(own["model"]),
        reward=reward,
        gain=effect(mine_S_P),
        controls=_controls(arms, mine, base, untrained, reward),
        arms=_arm_rows(arms, base),
        prompts=reasoning_tables.prompts(records),
        forced=reasoning_tables.forced_code(records),
        probe=reasoning_tables.probe(records) if len(records.probes) else pd.DataFrame(),
        verifier=verifier,
        disagreements=disagreements,
        warnings=_warnings(base, mine, records, own),
        published=published_sentence(str(own["model"]), str(own["benchmark"])),
    )


def verdict(gain: Interval, difference: Interval) -> str:
    """Judge a control by `RULE`.

    Args:
        gain: of the control.
        difference: the user's gain minus the control's.

    >>> verdict(Interval(0.01, -0.02, 0.04, 3), Interval(0.10, 0.05, 0.15, 3))
    'nothing'
    >>> verdict(Interval(0.05, 0.02, 0.08, 3), Interval(0.10, 0.05, 0.15, 3))
    'a part'
    >>> verdict(Interval(0.05, 0.02, 0.08, 3), Interval(0.01, -0.02, 0.05, 3))
    'as much'
    """
    if difference.low > 0:
        return "a part" if gain.low > 0 else "a loss" if gain.high < 0 else "nothing"
    return "more" if difference.high < 0 else "as much"


def verifiers(samples: pd.DataFrame, reward: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hold verifiers against the robust grader, on answers before and after training.

    Args:
        samples: records with texts.
        reward: the user's, which is asked about the same texts; one that needs labels or is a draw is left out.

    Returns:
        One row per verifier: `n_right` and `called_wrong` (false negatives among them, with limits), `n_wrong` and
        `called_right` (false positives); and the answers on which the user's reward disagrees.
    """
    right = samples["correct"].astype(bool)
    judged = {
        "the paper's verifier": samples["correct_paper"].astype(bool),
        "robust, boxes and answer tags only": right & marked(samples["text"]),
    }
    if reward == "ground_truth" or not any(name in reward for name in (*NEEDS_LABELS, "random", "noisy")):
        problems = [
            {"prompt_id": row.problem_id, "answer": row.gold, "rollout_batch": 0, "sample": row.sample}
            for row in samples[["problem_id", "gold", "sample"]].itertuples()
        ]
        paid = np.array(build(reward, seed=0).score(list(samples["text"]), problems)) > 0.5
        judged[f"your reward: {reward}"] = pd.Series(paid, index=samples.index)
    rows = []
    for name, says in judged.items():
        wrongly, rightly = (
            wilson(int((~says & right).sum()), int(right.sum())),
            wilson(int((says & ~right).sum()), int((~right).sum())),
        )
        rows.append(
            {
                "verifier": name,
                "n_right": wrongly.n,
                **wrongly.columns("called_wrong"),
                "n_wrong": rightly.n,
                **rightly.columns("called_right"),
            }
        )
    last = list(judged.values())[-1]
    differing = samples[last != right]
    names = ["problem_id", "gold", "extracted", "correct", "reason", "text"]
    return pd.DataFrame(rows), differing[names].reset_index(drop=True)


def _of_one_setting(runs: pd.DataFrame, where: str) -> pd.DataFrame:
    """Choose the trainings that `where` names, which may differ in reward, γ, clip and seed alone."""
    if runs.empty:
        raise InputError("The control report needs trainings, and this profile has none.")
    for name, value in read_mapping(f"{{{where}}}", "where").items():
        if name not in runs:
            raise InputError(f"where names {name!r}, which is no field of a training.")
        runs = runs[runs[name] == value]
    silent = (*ARM, *OF_A_REWARD, "seed", "allow_inert_clip")
    agree = [name for name in RunConfig().identity() if name in runs and name not in silent]
    several = [name for name in agree if runs[name].astype(str).nunique() > 1]
    of_arms = runs.groupby(ARM)
    several += [name for name in OF_A_REWARD if name in runs and of_arms[name].nunique().gt(1).any()]
    if runs.empty or several:
        cause = f"differ in {', '.join(several)}" if several else "do not include one such"
        raise InputError(
            f"The trainings {cause}: choose one setting, as in where='model: qwen-like, learning_rate: 0.0001'."
        )
    return runs


def _arms(runs: pd.DataFrame) -> list[tuple[tuple[str, float, str], pd.DataFrame]]:
    groups: Any = runs.groupby(ARM, sort=False)
    return list(groups)


def _controls(
    arms: Mapping[tuple[str, float, str], pd.DataFrame],
    mine: pd.DataFrame,
    base: pd.DataFrame,
    untrained: pd.DataFrame,
    reward: str,
) -> pd.DataFrame:
    """Tabulate the controls: every other arm, and the best other prompt without any training."""
    mine_S_P = changes(mine, base, "correct")
    rows = []
    for (name, gamma, mode), samples in arms.items():
        if samples.empty or (name == reward and mode == CLIPPED):
            continue
        control_S_P = changes(samples, base, "correct")
        same_seeds = set(mine["train_seed"]) == set(samples["train_seed"]) and len(mine_S_P) == len(control_S_P)
        difference = (
            effect(_by_seed(mine, base) - _by_seed(samples, base))
            if same_seeds
            else effect_difference(mine_S_P, control_S_P)
        )
        gain = effect(control_S_P)
        rows.append(_control_row(_control_words(name, gamma, mode), len(control_S_P), gain, difference))
    others = untrained[untrained["prompt_style"] != base["prompt_style"].iloc[0]]
    if len(others):
        best = others.groupby("prompt_style", sort=False)["correct"].mean().idxmax()
        change_1_P = changes(others[others["prompt_style"] == best], base, "correct")
        label = f"prompt {best} without training, the best of {others['prompt_style'].nunique()}"
        rows.append(_control_row(label, 0, bootstrap_mean(change_1_P[0]), effect(mine_S_P - change_1_P)))
    table = pd.DataFrame(rows)
    gain = effect(mine_S_P)
    if gain.low <= 0 and len(table):
        table["verdict"] = NO_GAIN if np.isfinite(gain.low) else UNDECIDED
    return table


def _by_seed(samples: pd.DataFrame, base: pd.DataFrame) -> np.ndarray:
    """Compute changes per seed and problem, seeds in their order, so that two arms can be paired by seed."""
    seeds = samples.drop_duplicates("trained_run").set_index("trained_run")["train_seed"]
    order = np.argsort([seeds[run] for run in by_problem(samples, "correct").index], kind="stable")
    return changes(samples, base, "correct")[order]


def _control_row(control: str, n_seeds: int, gain: Interval, difference: Interval) -> dict[str, Any]:
    return {
        "control": control,
        "n_seeds": n_seeds,
        **gain.columns("gain"),
        **difference.columns("yours_minus_it"),
        "verdict": verdict(gain, difference),
    }


def _control_words(reward: str, gamma: float, mode: str) -> str:
    """Name a training as a control, in words.

    >>> _control_words("random", 0.5, "two_sided"), _control_words("format", 0.5, "none")
    ('a coin, with clip', 'format reward, without clip')
    """
    name = "a coin" if reward == "random" and gamma == 0.5 else reward_words(reward, gamma)
    return f"{name}, {clip_words(mode)}"


def _arm_rows(arms: Mapping[tuple[str, float, str], pd.DataFrame], base: pd.DataFrame) -> pd.DataFrame:
    """Tabulate accuracy and form of the answers of every arm, the untrained model first."""
    rows = []
    named = [("before training", base)] + [(_control_words(*key), group) for key, group in arms.items()]
    for name, samples in named:
        if samples.empty:
            continue
        rows.append(
            {
                "arm": name,
                "n_seeds": samples.loc[samples["trained_run"] != "", "trained_run"].nunique(),
                "accuracy": float(samples["correct"].mean()),
                "boxed": float(samples["boxed"].mean()),
                "parsable": float(samples["extracted"].notna().mean()),
                "cut_off": float((samples["finish_reason"] == "length").mean()),
                "code": float(samples["uses_code"].mean()),
                "mean_tokens": float(samples["n_tokens"].mean()),
            }
        )
    return pd.DataFrame(rows)


def _warnings(base: pd.DataFrame, mine: pd.DataFrame, records: Records, own: pd.Series) -> list[str]:
    found = [f"Before training: {sentence}" for sentence in cautions_of(base)]
    found += [f"After training: {sentence}" for sentence in cautions_of(mine.assign(
        problem_id=mine["trained_run"] + " " + mine["problem_id"].astype(str)))]  # fmt: skip
    seeds = mine["trained_run"].nunique()
    if seeds < 4:
        found.append(f"{seeds} seed{'s' if seeds > 1 else ''}: below about four, limits over seeds are a guess.")
    return found


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
