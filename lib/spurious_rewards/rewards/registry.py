r"""The rewards of the paper, by name, as functions that TRL takes.

A reward function gets the texts of a rollout batch and returns one number per text:

    function(texts, problems, **options) -> list[float]

`problems` are dicts with `prompt_id`, `answer` (the label that training uses), `rollout_batch` and `sample`; `options`
carry the run's `gamma`, `seed`, `grader`, `false_positive` and `false_negative`. Registering one's own from a notebook
takes three lines:

>>> @register("short", range=(0, 1), source="my idea")
... def short(texts, problems, **options):
...     '''1 for a text of at most 20 characters.'''
...     return [float(len(text) <= 20) for text in texts]
>>> build("short_and_format").score([r"\boxed{4}", "four"], [{}, {}])
[1.0, 0.0]
>>> unregister("short")
"""

from __future__ import annotations

import hashlib
import inspect
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spurious_rewards.errors import InputError
from spurious_rewards.rewards.names import BASE_REWARDS, check_reward, leaves, parse

RewardFunction = Callable[..., list[float]]


@dataclass(frozen=True)
class RewardSpec:
    """One named reward: its function, the interval of its values, and where its definition comes from."""

    name: str
    function: RewardFunction
    range: tuple[float, float]
    source: str

    @property
    def definition(self) -> str:
        """First paragraph of the function's docstring."""
        return " ".join((self.function.__doc__ or "").strip().split("\n\n")[0].split())


REGISTRY: dict[str, RewardSpec] = {}


def register(name: str, range: tuple[float, float] = (0.0, 1.0), source: str = "user") -> Callable:
    """Decorate a reward function to make it known under `name` (also inside expressions).

    Raises:
        InputError: the name is taken, or contains `_and_` or starts with `inverse_`, which compose names.
    """
    if name in REGISTRY:
        raise InputError(f"A reward {name!r} is registered already; choose another name or unregister it first.")
    if "_and_" in name or name.startswith("inverse_"):
        raise InputError(f"Reward name {name!r} reads as a composition; avoid '_and_' and a leading 'inverse_'.")

    def add(function: RewardFunction) -> RewardFunction:
        REGISTRY[name] = RewardSpec(name, function, range, source)
        if name not in BASE_REWARDS:
            BASE_REWARDS.append(name)
        return function

    return add


def unregister(name: str) -> None:
    """Forget a reward that a user registered."""
    del REGISTRY[name]
    BASE_REWARDS.remove(name)


@register("ground_truth", source="paper §2, RLVR with verified answers")
def ground_truth(texts: Sequence[str], problems: Sequence[dict], *, grader: str = "robust", **_: Any) -> list[float]:
    """1 if the extracted answer is mathematically equal to the reference answer, else 0."""
    from spurious_rewards.rewards.grading import grade, undecided

    grades = [grade(text, problem["answer"], mode=grader) for text, problem in zip(texts, problems, strict=True)]
    for sentence in undecided(one.reason for one in grades):
        warnings.warn(sentence, stacklevel=2)
    return [float(one.correct) for one in grades]


@register("noisy_ground_truth", source="not in the paper: a verifier that errs at known rates")
def noisy_ground_truth(
    texts: Sequence[str],
    problems: Sequence[dict],
    *,
    grader: str = "robust",
    seed: int = 0,
    false_positive: float = 0.0,
    false_negative: float = 0.0,
    **_: Any,
) -> list[float]:
    """ground_truth by a verifier that pays for a wrong answer and withholds a right one's 1 at given probabilities.

    The draws are those of `random`: at false_positive = γ and false_negative = 1 − γ the two rewards are equal.
    """
    pay = (false_positive, 1.0 - false_negative)  # probability of reward 1 for a wrong and for a right answer
    right = ground_truth(texts, problems, grader=grader)
    return [
        float(uniform(seed, problem["rollout_batch"], problem["prompt_id"], problem["sample"]) < pay[int(correct)])
        for correct, problem in zip(right, problems, strict=True)
    ]


@register("majority_vote", source="paper §2: labels are the mode of 64 samples of the untrained model")
def majority_vote(texts: Sequence[str], problems: Sequence[dict], **options: Any) -> list[float]:
    """1 if the answer equals the majority-vote label; the training set carries that label as its answer."""
    return ground_truth(texts, problems, **options)


@register("incorrect", source="paper §2: only problems whose majority label is wrong, rewarded for that label")
def incorrect(texts: Sequence[str], problems: Sequence[dict], **options: Any) -> list[float]:
    """1 if the answer equals a wrong label; the training set is the subset whose majority label is wrong."""
    return ground_truth(texts, problems, **options)


@register("inverse", source="not in the paper (often confused with its 'incorrect')")
def inverse(texts: Sequence[str], problems: Sequence[dict], **options: Any) -> list[float]:
    """1 − ground_truth on the full training set: everything is rewarded except the right answer."""
    return [1.0 - value for value in ground_truth(texts, problems, **options)]


@register("one_shot", source="paper Table 1 (Wang et al. 2025): ground truth on a training set of one problem")
def one_shot(texts: Sequence[str], problems: Sequence[dict], **options: Any) -> list[float]:
    """ground_truth; the training set is a single problem, repeated."""
    return ground_truth(texts, problems, **options)


_FILLED_BOX = re.compile(r"\\boxed\s*\{[\s{]*[^\s{}]")


@register("format", source="paper §2: a non-empty box, whatever is in it")
def format_reward(texts: Sequence[str], problems: Sequence[dict], **_: Any) -> list[float]:
    r"""1 if the text holds at least one non-empty `\boxed{}`, else 0."""
    return [float(_FILLED_BOX.search(text) is not None) for text in texts]


@register("random", source="paper §2 and §4: Bernoulli(γ) per rollout, independent of its text")
def random_reward(
    texts: Sequence[str], problems: Sequence[dict], *, gamma: float = 0.5, seed: int = 0, **_: Any
) -> list[float]:
    """1 with probability γ, else 0, a pure function of (seed, rollout batch, problem, sample index).

    The draw is a hash, not a generator's state: arms of an ablation that share a seed see the same draws, a resumed
    run sees those of an uninterrupted one, and the text plays no part.
    """
    return [
        float(uniform(seed, problem["rollout_batch"], problem["prompt_id"], problem["sample"]) < gamma)
        for problem in problems
    ]


def uniform(seed: int, rollout_batch: int, prompt_id: str, sample: int) -> float:
    """A uniform number in [0, 1) with 53 random bits, from the BLAKE2b hash of its arguments."""
    key = f"{seed}\x1f{rollout_batch}\x1f{prompt_id}\x1f{sample}".encode()
    return (int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 11) * 2.0**-53


@register("python", source="paper §5, Fig 8: rewarding the word 'python'")
def python_reward(texts: Sequence[str], problems: Sequence[dict], **_: Any) -> list[float]:
    """1 if the text contains the string "python" in any case, else 0."""
    from spurious_rewards.rewards.strategy import uses_code

    return [float(uses_code(text)) for text in texts]


@register("no_python", source="paper Fig 9 and 15: compound rewards with 'no Python'")
def no_python(texts: Sequence[str], problems: Sequence[dict], **options: Any) -> list[float]:
    """1 − python."""
    return [1.0 - value for value in python_reward(texts, problems, **options)]


_REPEATED = re.compile(r"(.{10,256}?)\1{9}", re.DOTALL)


@register("no_repetition", source="paper appendix: 'no repetition' reward")
def no_repetition(texts: Sequence[str], problems: Sequence[dict], **_: Any) -> list[float]:
    """1 unless a substring of 10 to 256 characters stands ten or more times in a row."""
    return [float(_REPEATED.search(text) is None) for text in texts]


@dataclass(frozen=True)
class Reward:
    """A reward expression bound to the options of a run; what TRL calls."""

    expression: str
    options: Mapping[str, Any]

    @property
    def __name__(self) -> str:  # TRL names its metrics by it
        return self.expression

    def score(self, texts: Sequence[str], problems: Sequence[dict]) -> list[float]:
        """One reward per text.

        Raises:
            InputError: a function returned another number of values than it got texts, or a value that is no number.
        """
        return self._evaluate(parse(self.expression), list(texts), list(problems))

    def _evaluate(self, tree: tuple, texts: list[str], problems: list[dict]) -> list[float]:
        if tree[0] == "and":
            return [
                a * b
                for a, b in zip(
                    self._evaluate(tree[1], texts, problems), self._evaluate(tree[2], texts, problems), strict=True
                )
            ]
        if len(tree) == 2:
            return [1.0 - value for value in self._evaluate(tree[1], texts, problems)]
        values = REGISTRY[tree[0]].function(texts, problems, **self.options)
        return checked(tree[0], values, len(texts))

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float]:
        """TRL's signature: `completions` and the columns of the training set, one entry per rollout."""
        texts = [item if isinstance(item, str) else item[-1]["content"] for item in completions]
        names = ("prompt_id", "answer", "rollout_batch", "sample")
        problems = [dict(zip(names, row, strict=True)) for row in zip(*(columns[name] for name in names), strict=True)]
        return self.score(texts, problems)


def checked(name: str, values: Any, n_expected: int) -> list[float]:
    """Return the values of reward `name` as finite floats, or raise `InputError` saying what it returned instead."""
    if not isinstance(values, (list, tuple)) and not hasattr(values, "tolist"):
        raise InputError(
            f"Reward {name} returned {type(values).__name__}, not a list of {n_expected} numbers; "
            "it must return one number per text."
        )
    values = list(values.tolist() if hasattr(values, "tolist") else values)
    if len(values) != n_expected:
        raise InputError(
            f"Reward {name} returned {len(values)} values for {n_expected} texts; "
            "it must return exactly one number per text."
        )
    for position, value in enumerate(values):
        if isinstance(value, bool) or (isinstance(value, (int, float)) and math.isfinite(value)):
            continue
        raise InputError(
            f"Reward {name} returned {value!r} for text {position}; it must return a finite number "
            "(0 for a text it cannot judge)."
        )
    return [float(value) for value in values]


def build(expression: str, gamma: float = 0.5, labels: str = "given", **options: Any) -> Reward:
    """Return the reward of an expression such as `format_and_no_python`, ready for `GRPOTrainer(reward_funcs=[...])`.

    Args:
        expression: names of rewards, composed.
        gamma: probability of reward 1 under the random reward.
        labels: of the run; empty is refused for rewards that need a labelling.
        options: what the reward functions read beside it: seed, grader, false_positive, false_negative.

    Raises:
        InputError: unknown name, γ outside [0, 1], missing labels.
    """
    check_reward(expression, gamma, labels)
    return Reward(expression, {"gamma": gamma, **options})


def source_hash(expression: str) -> str:
    """Hash the source of a user's own rewards in an expression; empty for the rewards of this project.

    Returns:
        Ten hex digits of the SHA-256 of their functions' source text, in the order of the expression.

    Raises:
        InputError: Python cannot find the source of a function.
    """
    specs = [REGISTRY[name] for name in leaves(parse(expression)) if REGISTRY[name].function.__module__ != __name__]
    digest = hashlib.sha256()
    for spec in specs:
        try:
            digest.update(inspect.getsource(spec.function).encode())
        except (OSError, TypeError):
            raise InputError(
                f"Reward {spec.name} has no source that Python can find, so an edited version could not be told from "
                "this one; define it with `def` in a notebook cell or in a module."
            ) from None
    return digest.hexdigest()[:10] if specs else ""
