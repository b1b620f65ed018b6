r"""Provide the rewards of the paper, and a user's own, by name, as functions that TRL takes.

A reward function gets the texts of a rollout batch and returns one number per text:

    function(texts, problems, **options) -> list[float]

`problems` are dicts with `prompt_id`, `answer` (the label that training uses), `rollout_batch` and `sample`; `options`
carry the run's `gamma`, `seed`, `grader`, `false_positive` and `false_negative`. Values lie in the reward's range, 0 to
1 unless it declares another; a value outside is an error, never clipped.

A reward of one's own is a function in a module, named `reward="my_rewards:short"` in notebooks, profiles and compounds;
the module lies in the folder of the project or where Python finds it. Or it is registered in a cell, for this process:

>>> @register("short")
... def short(texts, problems, **options):
...     '''1 for a text of at most 20 characters.'''
...     return [float(len(text) <= 20) for text in texts]
>>> build("short_and_format").score([r"\boxed{4}", "four"], [{}, {}])
[1.0, 0.0]
>>> unregister("short")
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import math
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from spurious_rewards.errors import InputError
from spurious_rewards.rewards.names import BASE_REWARDS, check_reward, is_path, leaves, parse
from spurious_rewards.storage.paths import project_root

RewardFunction = Callable[..., list[float]]


@dataclass(frozen=True)
class RewardSpec:
    """Hold one named reward: its function, the interval of its values, and where its definition comes from."""

    name: str
    function: RewardFunction
    range: tuple[float, float]
    source: str

    @property
    def definition(self) -> str:
        """Return the first paragraph of the function's docstring."""
        return " ".join((self.function.__doc__ or "").strip().split("\n\n")[0].split())


REGISTRY: dict[str, RewardSpec] = {}
"""All registered rewards by name."""
_IMPORTED: dict[str, str] = {}
"""Hash of the file of each imported module, by name: an edited file is read again."""


def register(name: str, range: tuple[float, float] = (0.0, 1.0), source: str = "user") -> Callable:
    """Decorate a reward function to make it known under `name`, also inside expressions.

    Registering a name again replaces its function, with a printed notice if the source has changed.

    Args:
        name: of the reward.
        range: smallest and largest value it returns; others are refused. `inverse_` turns values around in it.
        source: where its definition comes from.

    Raises:
        InputError: the name is one of this project's, or reads as a composition or as a path; or an empty range.
    """
    if "_and_" in name or name.startswith("inverse_") or ":" in name:
        raise InputError(f"Reward name {name!r} reads as a composition; avoid '_and_', ':' and a leading 'inverse_'.")
    if not range[0] < range[1]:
        raise InputError(f"The range of reward {name} must be (smallest, largest) value, not {range}.")

    def add(function: RewardFunction) -> RewardFunction:
        old = REGISTRY.get(name)
        if old is not None and not _is_users(old):
            raise InputError(f"Reward {name} is one of this project's; register yours under another name.")
        REGISTRY[name] = RewardSpec(name, function, range, source)
        if old is not None and _hash_of(old) != _hash_of(REGISTRY[name]):
            print(f"Reward {name} was registered before and is replaced; runs with it get a new run id.")
        if name not in BASE_REWARDS:
            BASE_REWARDS.append(name)
        return function

    return add


def unregister(name: str) -> None:
    """Forget a reward that a user registered."""
    del REGISTRY[name]
    BASE_REWARDS.remove(name)


def spec_of(name: str) -> RewardSpec:
    """Return the reward of a base name; a `module:function` is imported, and again when its file has been edited.

    Raises:
        InputError: there is no such module or function.
    """
    if not is_path(name):
        return REGISTRY[name]
    module_name, function_name = name.split(":")
    function = getattr(_module(module_name, name), function_name, None)
    if not callable(function):
        raise InputError(f"Module {module_name} has no function {function_name}, which reward {name} names.")
    registered = [spec for spec in REGISTRY.values() if spec.function is function]
    return RewardSpec(name, function, registered[0].range if registered else (0.0, 1.0), module_name)


def _module(name: str, reward: str) -> ModuleType:
    """Import a user's module from the project's folder, the working directory or wherever Python looks."""
    folders = [str(folder) for folder in (project_root(), Path.cwd()) if folder]
    sys.path[:0] = folders
    # a cached file counts as current for the second in which it was written, which is too long for an edit
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        importlib.invalidate_caches()
        found = PathFinder.find_spec(name, folders)
        if name in _IMPORTED and found and found.origin != sys.modules[name].__file__:  # another project's
            del sys.modules[name], _IMPORTED[name]
        module = importlib.import_module(name)
        digest = _file_hash(module)
        if _IMPORTED.setdefault(name, digest) != digest:
            module, _IMPORTED[name] = importlib.reload(module), digest
    except (ImportError, SyntaxError) as error:
        where = " or ".join(dict.fromkeys(folders))
        raise InputError(
            f"Reward {reward} cannot be imported ({error}); its module is looked for in {where}."
        ) from error
    finally:
        del sys.path[: len(folders)]
        sys.dont_write_bytecode = kept
    return module


def _file_hash(module: ModuleType) -> str:
    return hashlib.sha256(Path(module.__file__ or "").read_bytes()).hexdigest()


def _is_users(spec: RewardSpec) -> bool:
    return spec.function.__module__ != __name__


def _hash_of(spec: RewardSpec) -> str:
    """Hash the source of a user's reward: its whole module if it is named by path, since it may call what is there."""
    if is_path(spec.name):
        return _file_hash(sys.modules[spec.name.split(":")[0]])
    try:
        return hashlib.sha256(inspect.getsource(spec.function).encode()).hexdigest()
    except (OSError, TypeError):
        raise InputError(
            f"Reward {spec.name} has no source that Python can find, so an edited version could not be told from "
            "this one; define it with `def` in a notebook cell or in a module."
        ) from None


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
    texts: Sequence[str], problems: Sequence[dict], *, grader: str = "robust", seed: int = 0,
    false_positive: float = 0.0, false_negative: float = 0.0, **_: Any,
) -> list[float]:  # fmt: skip
    """ground_truth by a verifier that pays for a wrong answer and withholds a right one's 1 at given probabilities.

    The draws are those of `random`: at false_positive = γ and false_negative = 1 − γ the two rewards are equal.
    """
    pay = (false_positive, 1.0 - false_negative)  # probability of reward 1 for a wrong and for a right answer
    right = ground_truth(texts, problems, grader=grader)
    return [float(draw < pay[int(correct)]) for draw, correct in zip(draws(seed, problems), right, strict=True)]


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
    return [float(draw < gamma) for draw in draws(seed, problems)]


def draws(seed: int, problems: Sequence[dict]) -> list[float]:
    """Draw one number in [0, 1) for each rollout, by `uniform`."""
    return [uniform(seed, one["rollout_batch"], one["prompt_id"], one["sample"]) for one in problems]


def uniform(seed: int, rollout_batch: int, prompt_id: str, sample: int) -> float:
    """Return a uniform number in [0, 1) with 53 random bits, from the BLAKE2b hash of its arguments."""
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
    """Hold a reward expression bound to the options of a run; what TRL calls.

    Attributes:
        expression: as in `RunConfig.reward`.
        tree: the expression, parsed.
        specs: of its base names.
        options: what the reward functions get beside texts and problems.
    """

    expression: str
    tree: tuple
    specs: Mapping[str, RewardSpec]
    options: Mapping[str, Any]

    @property
    def __name__(self) -> str:  # TRL names its metrics by it
        return self.expression

    def score(self, texts: Sequence[str], problems: Sequence[dict]) -> list[float]:
        """Return one reward per text.

        Raises:
            InputError: a function returned another number of values than it got texts, a value that is no number, or
                one outside its declared range.
        """
        return self._evaluate(self.tree, list(texts), list(problems))

    def _evaluate(self, tree: tuple, texts: list[str], problems: list[dict]) -> list[float]:
        if tree[0] == "and":
            left, right = (self._evaluate(part, texts, problems) for part in tree[1:])
            return [a * b for a, b in zip(left, right, strict=True)]
        if len(tree) == 2:
            low, high = self.specs[leaves(tree)[0]].range
            return [low + high - value for value in self._evaluate(tree[1], texts, problems)]
        spec = self.specs[tree[0]]
        return checked(spec, spec.function(texts, problems, **self.options), len(texts))

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float]:
        """Score as TRL asks: `completions` and the columns of the training set, one entry per rollout."""
        texts = [item if isinstance(item, str) else item[-1]["content"] for item in completions]
        names = ("prompt_id", "answer", "rollout_batch", "sample")
        problems = [dict(zip(names, row, strict=True)) for row in zip(*(columns[name] for name in names), strict=True)]
        return self.score(texts, problems)


def checked(spec: RewardSpec, values: Any, n_expected: int) -> list[float]:
    """Return what a reward function gave back as floats.

    Args:
        spec: the reward.
        values: returned by its function.
        n_expected: number of texts.

    Raises:
        InputError: not one finite number per text, within the reward's range; the message says what it was instead.
    """
    if not isinstance(values, (list, tuple)) and not hasattr(values, "tolist"):
        raise InputError(
            f"Reward {spec.name} returned {type(values).__name__}, not a list of {n_expected} numbers; "
            "it must return one number per text."
        )
    values = list(values if isinstance(values, (list, tuple)) else values.tolist())
    if len(values) != n_expected:
        raise InputError(
            f"Reward {spec.name} returned {len(values)} values for {n_expected} texts; "
            "it must return exactly one number per text."
        )
    low, high = spec.range
    for position, value in enumerate(values):
        if not isinstance(value, (bool, int, float)) or not math.isfinite(value):
            raise InputError(
                f"Reward {spec.name} returned {value!r} for text {position}; it must return a finite number "
                "(0 for a text it cannot judge)."
            )
        if not low <= value <= high:
            raise InputError(
                f"Reward {spec.name} returned {value!r} for text {position}, outside its range {low:g} to {high:g}; "
                f'register it with the range it has, as in @register("name", range=({min(low, value):g}, '
                f"{max(high, value):g}))."
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
    tree = parse(expression)
    return Reward(expression, tree, {name: spec_of(name) for name in leaves(tree)}, {"gamma": gamma, **options})


def source_hash(expression: str) -> str:
    """Hash the source of a user's own rewards in an expression; empty for the rewards of this project.

    Returns:
        Ten hex digits of a SHA-256 over them, in the order of the expression: of a registered function's own source,
        and of the whole module of `module:function`.

    Raises:
        InputError: a module cannot be imported, or Python cannot find the source of a function.
    """
    hashes = [_hash_of(spec) for spec in map(spec_of, leaves(parse(expression))) if _is_users(spec)]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:10] if hashes else ""


def known_elsewhere(expression: str) -> None:
    """Raise `InputError` for a reward that only this process knows, which another could not build."""
    for name in leaves(parse(expression)):
        if not is_path(name) and _is_users(spec_of(name)):
            raise InputError(
                f"Reward {name} is registered in this process alone, but the run trains in processes of its own: move "
                f"the function into a module, say my_rewards.py, and set reward to my_rewards:{name}."
            )
