"""Parse the names of rewards and their compounds, without the code that computes them (imports in milliseconds).

A reward expression is a base name, `inverse_A` for the values of A turned upside down, or `A_and_B` for A·B (paper
appendix, Fig 9 and 15). A base name is one of this project's, one that was registered (`rewards.registry.register`), or
`module:function` for a function in a module of one's own.

>>> parse("format_and_no_python")
('and', ('format',), ('no_python',))
>>> parse("inverse_python")
('inverse', ('python',))
>>> leaves(parse("my_rewards:short_and_format"))
['my_rewards:short', 'format']
"""

from __future__ import annotations

import re

from spurious_rewards.errors import InputError, unknown_name

BASE_REWARDS = [
    "ground_truth", "noisy_ground_truth", "majority_vote", "incorrect", "inverse", "format", "random",
    "python", "no_python", "no_repetition", "one_shot",
]  # fmt: skip
"""Names known before a user registers more."""

NEED_LABELS = ("majority_vote", "incorrect")
_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_path(name: str) -> bool:
    """Tell whether a base name is `module:function`."""
    return _PATH.fullmatch(name) is not None


def parse(expression: str) -> tuple:
    """Parse a reward expression into ('name',), ('inverse', sub) or ('and', left, right).

    Raises:
        InputError: a part is neither a registered reward nor `module:function`.
    """
    if expression in BASE_REWARDS:
        return (expression,)
    if "_and_" in expression:
        left, right = expression.split("_and_", 1)
        return ("and", parse(left), parse(right))
    if expression.startswith("inverse_"):
        return ("inverse", parse(expression.removeprefix("inverse_")))
    if is_path(expression):
        return (expression,)
    error = unknown_name("reward", expression, BASE_REWARDS)
    raise InputError(f"{error} A reward of your own is named module:function, or registered before it is named.")


def leaves(tree: tuple) -> list[str]:
    """Return the base names of a parsed expression, left to right."""
    if tree[0] == "and":
        return leaves(tree[1]) + leaves(tree[2])
    if tree[0] == "inverse" and len(tree) == 2:
        return leaves(tree[1])
    return [tree[0]]


def check_reward(expression: str, gamma: float, labels: str) -> None:
    """Raise `InputError` unless the expression, its γ and its labels fit together."""
    names = leaves(parse(expression))
    if not 0 <= gamma <= 1:
        raise InputError(f"gamma is a probability and must lie in [0, 1], but it is {gamma}.")
    for name in names:
        if name in NEED_LABELS and not labels:
            raise InputError(
                f"Reward {name} needs labels: the folder of a majority-vote labelling run "
                "(see notebook 01_prepare_data)."
            )
