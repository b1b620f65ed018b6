"""Choose words, colours and symbols for readers: what an arm, a reward or a setting is called.

Tables and records keep the names of the configuration; figures, the page and the notebooks show these words. Colour
stands for the clip mode and the symbol for the reward, everywhere.

>>> reward_words("random", 0.5), clip_words("two_sided")
('random reward', 'with clip')
>>> arm_words("random γ=0.5, two_sided, model=qwen-like, learning_rate=0.0001")
'random reward, with clip'

Usage: `compact(table, {"arm": "arm", "accuracy": "accuracy"})` in a notebook.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import pandas as pd

from spurious_rewards.errors import InputError
from spurious_rewards.training.clip import MODES
from spurious_rewards.training.config import RunConfig

STEP = "learning_rate"
"""The setting that is told even where it has its default: another one changes every number."""
CLIP_WORDS = {name: mode.words for name, mode in MODES.items()}
CLIP_COLOURS = {name: mode.colour for name, mode in MODES.items()}
BASE_COLOUR = "#5f6b7a"
REWARD_WORDS = {
    "ground_truth": "true reward",
    "noisy_ground_truth": "verifier with errors",
    "majority_vote": "majority vote",
    "incorrect": "wrong labels",
    "one_shot": "one problem",
    "format": "format reward",
    "random": "random reward",
    "python": "Python reward",
    "no_python": "no-Python reward",
    "no_repetition": "no-repetition reward",
    "inverse": "inverted true reward",
}
REWARD_SYMBOLS = {
    "ground_truth": "circle",
    "random": "diamond",
    "majority_vote": "square",
    "incorrect": "x",
    "one_shot": "star",
    "format": "triangle-up",
    "python": "cross",
}
SETTING_WORDS = {
    "learning_rate": "step size",
    "updates_per_batch": "updates per batch",
    "group_size": "group",
    "gamma": "γ",
}
COUNTED = {"rollout_batches": "rollout batches", "advantage_sign": "advantages"}
"""Settings whose value stands before their name."""
OPTIMIZER_WORDS = {"sgd": "SGD", "adamw": "AdamW"}
PROFILE_TITLES = {
    "decide": "The study with a protocol",
    "engines": "Two engines compared",
    "micro": "The whole path in minutes",
    "organism": "Three organisms, every reward",
    "smollm": "SmolLM2, trained",
    "smollm-eval": "SmolLM2, untrained",
    "smollm-smoke": "SmolLM2, a short try",
}
NONE_USUAL: Mapping[str, Any] = MappingProxyType({})
"""No settings that are told elsewhere."""
MAX_COLUMNS = 8
"""Columns of a table that fit a notebook's page."""


def reward_words(reward: str, gamma: float | None = None) -> str:
    """Name a reward in words; γ of a random reward is told unless it is 0.5.

    >>> reward_words("random", 0.001), reward_words("format_and_no_python"), reward_words("inverse_short")
    ('random reward, γ = 0.001', 'format reward × no Python', 'inverted short')
    """
    parts = reward.split("_and_")
    if len(parts) > 1:
        first = reward_words(parts[0], gamma)
        return " × ".join([first, *("no Python" if part == "no_python" else reward_words(part) for part in parts[1:])])
    if reward not in REWARD_WORDS and reward.startswith("inverse_"):
        return f"inverted {reward_words(reward.removeprefix('inverse_'), gamma)}"
    words = REWARD_WORDS.get(reward, reward.replace("_", " "))
    return f"{words}, γ = {gamma:g}" if reward == "random" and gamma not in (None, 0.5) else words


def clip_words(mode: str) -> str:
    """Name a clip mode in words."""
    return CLIP_WORDS.get(mode, mode.replace("_", " "))


def clip_colour(mode: str) -> str:
    """Name the colour of a clip mode, as CSS."""
    return CLIP_COLOURS.get(mode, BASE_COLOUR)


def reward_symbol(reward: str) -> str:
    """Name the plotly symbol of a reward."""
    return REWARD_SYMBOLS.get(reward.split("_and_")[0], "circle-open")


def profile_title(name: str) -> str:
    """Name a profile in the menu and on its page.

    >>> profile_title("smollm-smoke"), profile_title("mine")
    ('SmolLM2, a short try', 'Profile mine')
    """
    return PROFILE_TITLES.get(name, f"Profile {name}")


def setting_words(name: str, value: Any) -> str:
    """Name a setting and its value in words.

    >>> setting_words("learning_rate", 3e-4), setting_words("rollout_batches", 30.0)
    ('step size 3e-4', '30 rollout batches')
    """
    text = f"{value:g}".replace("e-0", "e-") if isinstance(value, float) else str(value)
    if name in COUNTED:
        return f"{text} {COUNTED[name]}"
    if name == STEP and isinstance(value, float) and value > 0:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        text = f"{float(mantissa):g}e{int(exponent)}" if value < 0.01 else f"{value:g}"
    return f"{SETTING_WORDS.get(name, name.replace('_', ' '))} {text}"


def settings_told(values: Mapping[str, object]) -> list[str]:
    """Write fields of a run in words: its step size, and what differs from the default.

    >>> settings_told({"learning_rate": 3e-5, "updates_per_batch": 8}), settings_told({"updates_per_batch": 1})
    (['step size 3e-5'], ['updates per batch 1'])
    >>> settings_told({"false_positive": 0.4, "false_negative": 0.4}), settings_told({"false_negative": 0.4})
    (['40 % errors'], ['false negative 0.4'])
    >>> settings_told({"false_positive": 0.4, "false_negative": 0.3})
    ['false positive 0.4', 'false negative 0.3']
    """
    told: dict[str, Any] = {
        name: value for name, value in values.items() if name == STEP or not is_default(name, value)
    }
    errors = []
    if "false_positive" in told and told["false_positive"] == told.get("false_negative"):
        errors = [f"{100 * told.pop('false_positive'):g} % errors"]
        del told["false_negative"]
    return errors + [setting_words(name, value) for name, value in told.items()]


def is_default(name: str, value: object) -> bool:
    """Tell whether a field of a run has the value that it has where nothing else is asked for.

    >>> is_default("updates_per_batch", 8.0), is_default("updates_per_batch", 1)
    (True, False)
    """
    return _defaults().get(name) == value


@cache
def _defaults() -> dict[str, Any]:
    """Return the fields of a run where nothing else is asked for, made once: long lists ask for each row."""
    return RunConfig().to_dict()


def seeds_words(low: int, high: int | None = None) -> str:
    """Say how many seeds an arm has, or arms have that differ in it.

    >>> seeds_words(3, 5), seeds_words(1, 1), seeds_words(2)
    ('3 to 5 seeds', '1 seed', '2 seeds')
    """
    return f"{low} to {high} seeds" if high not in (None, low) else f"{low} seed{'s' if low != 1 else ''}"


def p_words(p_value: float) -> str:
    """Write a p-value.

    >>> p_words(3e-52), p_words(0.0312)
    ('p < 0.001', 'p = 0.031')
    """
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


def arm_words(arm: str) -> str:
    """Name an arm of the tables (`random γ=0.5, two_sided, …`) by reward and clip mode alone.

    >>> arm_words("base model"), arm_words("random γ=0 and other")
    ('before training', 'random γ=0 and other')
    """
    if arm == "base model":
        return "before training"
    parts = arm.split(", ")
    if len(parts) < 2 or parts[1] not in CLIP_WORDS:
        return arm
    reward, _, gamma = parts[0].partition(" γ=")
    return f"{reward_words(reward, float(gamma) if gamma else None)}, {clip_words(parts[1])}"


def setting_of_arm(arm: str, usual: Mapping[str, Any] = NONE_USUAL) -> str:
    """Name in words what an arm's name holds beside reward and clip mode: its model, and the settings that are told.

    Args:
        arm: its name in the tables.
        usual: settings that are told elsewhere, see `usual_settings`; left out where the arm has the same.

    >>> setting_of_arm("random γ=0.5, two_sided, model=qwen-like, learning_rate=0.0001"), setting_of_arm("base model")
    ('qwen-like, step size 1e-4', '')
    """
    values = {name: value for name, value in settings_in(arm).items() if (name, value) not in usual.items()}
    model = [str(values.pop("model"))] if "model" in values else []
    return ", ".join([*model, *settings_told(values)])


def settings_in(arm: str) -> dict[str, Any]:
    """Read what an arm's name holds beside reward and clip mode: the model and settings in which arms differ.

    >>> settings_in("random γ=0.5, two_sided, model=qwen-like, updates_per_batch=8, whiten_advantages=False")
    {'model': 'qwen-like', 'updates_per_batch': 8.0, 'whiten_advantages': False}
    """
    parts = [part.split("=", 1) for part in arm.split(", ")[2:] if "=" in part]
    return {name: {"True": True, "False": False}.get(value, number(value)) for name, value in parts}


def usual_settings(arms: Iterable[str]) -> dict[str, Any]:
    """Find the settings that are told of every trained arm and have the same value in most: told once, they suffice.

    Shares of a verifier's errors are never among them: two of them are told by one word.

    >>> long = "random γ=0.5, none, rollout_batches=100, learning_rate=3e-05"
    >>> usual_settings([long, long.replace("none", "two_sided"), long.replace("100", "30"), "base model"])
    {'rollout_batches': 100.0, 'learning_rate': 3e-05}
    """
    named = [settings_in(arm) for arm in dict.fromkeys(arms) if arm != "base model"]
    shared = [name for name in named[0] if all(name in one for one in named)] if len(named) > 1 else []
    usual = {}
    for name in shared:
        if name in ("model", "false_positive", "false_negative"):
            continue
        values = [one[name] for one in named]
        value, n = Counter(values).most_common(1)[0]
        if 2 * n > len(named) and (name == STEP or not any(is_default(name, one) for one in values)):
            usual[name] = value
    return usual


def whole_arm(arm: str, model: object = "", usual: Mapping[str, Any] = NONE_USUAL) -> str:
    """Name an arm by reward, clip mode, model and the settings that are told.

    Args:
        arm: its name in the tables.
        model: what was evaluated, for arms whose name holds no model.
        usual: settings that are told elsewhere, as of `setting_of_arm`.

    >>> whole_arm("random γ=0.5, none, model=qwen-like, updates_per_batch=1"), whole_arm("base model", "qwen-like")
    ('random reward, without clip, qwen-like, updates per batch 1', 'before training, qwen-like')
    """
    own = "" if "model" in settings_in(arm) or not isinstance(model, str) else model
    return ", ".join(filter(None, [arm_words(arm), own, setting_of_arm(arm, usual)]))


def spoken(text: str) -> str:
    """Write a text of the tables in words: its arms in brackets, its optimizers and names with underscores.

    >>> spoken("bandit, sgd 2, two_arms"), spoken("pairs, adamw 3e-05"), spoken("a gain (ground_truth, two_sided)")
    ('bandit, SGD, step size 2, two arms', 'pairs, AdamW, step size 3e-5', 'a gain (true reward, with clip)')
    """
    text = re.sub(r"\(([^()]+)\)", lambda match: f"({arm_words(match[1])})", text)
    text = re.sub(
        r"\b(sgd|adamw) ([\d.]+(?:e-?\d+)?)",
        lambda match: f"{OPTIMIZER_WORDS[match[1]]}, {setting_words('learning_rate', float(match[2]))}",
        text,
    )
    return re.sub(r"(?<=[a-z0-9])_(?=[a-z0-9])", " ", text)


def number(text: str) -> float | str:
    """Read a number where a text is one.

    >>> number("1e-4"), number("qwen-like")
    (0.0001, 'qwen-like')
    """
    try:
        return float(text)
    except ValueError:
        return text


def compact(table: pd.DataFrame, columns: Mapping[str, str], digits: int = 3) -> pd.DataFrame:
    """Select, name and round the columns of a table for a notebook.

    Args:
        table: any table.
        columns: column → its name in words; those that the table lacks are left out.
        digits: decimal places of fractions; step sizes are written in full.

    Raises:
        InputError: more than eight columns, which no page of a notebook holds.
    """
    if len(columns) > MAX_COLUMNS:
        raise InputError(f"A notebook's table holds at most {MAX_COLUMNS} columns; {len(columns)} were asked for.")
    shown = table[[name for name in columns if name in table]]
    if "learning_rate" in shown:  # 3e-5 is not 0.0000
        shown = shown.assign(learning_rate=shown["learning_rate"].map("{:g}".format))
    return shown.round(digits).rename(columns=dict(columns)).reset_index(drop=True)
