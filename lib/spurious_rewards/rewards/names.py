"""The names of rewards and how they compose, without the code that computes them (importable in milliseconds).

A reward expression is a base name, `inverse_A` for 1 − A, or `A_and_B` for A·B (paper appendix, Fig 9 and 15).

>>> parse("format_and_no_python")
('and', ('format',), ('no_python',))
>>> parse("inverse_python")
('inverse', ('python',))
"""

from __future__ import annotations

from spurious_rewards.errors import InputError, unknown_name

BASE_REWARDS = [
    "ground_truth",
    "noisy_ground_truth",
    "majority_vote",
    "incorrect",
    "inverse",
    "format",
    "random",
    "python",
    "no_python",
    "no_repetition",
    "one_shot",
]
"""Names known before a user registers more."""

NEED_LABELS = ("majority_vote", "incorrect")


def parse(expression: str) -> tuple:
    """Parse a reward expression into ('name',), ('inverse', sub) or ('and', left, right).

    Raises:
        InputError: a part is not a registered reward.
    """
    if expression in BASE_REWARDS:
        return (expression,)
    if "_and_" in expression:
        left, right = expression.split("_and_", 1)
        return ("and", parse(left), parse(right))
    if expression.startswith("inverse_"):
        return ("inverse", parse(expression.removeprefix("inverse_")))
    raise unknown_name("reward", expression, BASE_REWARDS)


def leaves(tree: tuple) -> list[str]:
    """Base names of a parsed expression, left to right."""
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
