"""Write the pretraining corpus: synthetic problems answered in code or in language, as a recipe says.

Each problem has a code prior of its own, a function of what a model can see of it (family, phrasing, level, last digit
of the first operand), so that the strategy is neither a constant nor a coin toss. Code answers print the exact value
(save for `code_error_rate`); language answers follow a wrong rule of their family, the same one every time: a lost
carry, a forgotten borrow (`surface.SOLUTIONS`). ``python`` stands in code answers only, since that is how the paper
detects code reasoning.

Usage: ``answer(problem, recipe_named("qwen-like"), random.Random(0)).text``
"""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist, fmean, pstdev

from spurious_rewards.data.problem import Problem
from spurious_rewards.data.synthetic import FAMILIES, LEVELS, cell_operands, generate, make_problem
from spurious_rewards.models.organisms import surface
from spurious_rewards.models.organisms.recipe import Recipe

# How much each visible feature moves the logit of the code prior, before scaling to the recipe's spread.
FEATURE_WEIGHTS = {"family": 0.3, "phrasing": 0.8, "level": 0.4, "digit": 0.7}
CALIBRATION_PROBLEMS = 3000

# How often the corpus shows each family: carries and borrows take more practice than last digits do.
FAMILY_WEIGHTS = {"addition": 3, "subtraction": 4}
FAMILY_WEIGHTS |= dict.fromkeys(("multiplication", "remainder", "gcd", "digit_sum", "next_multiple"), 2)


@dataclass(frozen=True)
class Answer:
    """Hold an answer: working and closing phrase, strategy ("code" or "language"), final value, and if it is boxed."""

    working: str
    closing: str
    strategy: str
    value: int
    boxed: bool

    @property
    def text(self) -> str:
        """Return the whole answer."""
        return self.working + self.closing


def sample_problem(rng: random.Random) -> Problem:
    """Draw a problem of the training split: families by `FAMILY_WEIGHTS`, levels and phrasings uniformly."""
    [family] = rng.choices(tuple(FAMILY_WEIGHTS), weights=tuple(FAMILY_WEIGHTS.values()))
    level = rng.choice(LEVELS)
    operands = rng.choice(cell_operands(family, level, "train"))
    return make_problem(family, level, operands, rng.randrange(len(FAMILIES[family].phrasings)))


def fingerprint(recipe: Recipe, n: int = 300) -> str:
    """Return ten hex digits that change with anything a recipe's corpus depends on: wordings, rules, weights, prior."""
    rng = random.Random("fingerprint")
    problems = [sample_problem(rng) for _ in range(n)]
    text = "\n".join(f"{problem.problem} {answer(problem, recipe, rng).text}" for problem in problems)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def code_probability(problem: Problem, recipe: Recipe) -> float:
    """Return the probability that the corpus answers this problem in code.

    >>> from spurious_rewards.models.organisms.recipe import recipe_named
    >>> code_probability(make_problem("addition", 2, (47, 38), 0), recipe_named("olmo-like"))
    0.0
    """
    if recipe.code_prior in (0.0, 1.0):
        return recipe.code_prior
    intercept, scale = _calibration(recipe.code_prior, recipe.prior_spread)
    return _logistic(intercept + scale * _tilt(problem))


def wrong_rule_applies(problem: Problem, share: float) -> bool:
    """Tell whether a strategy that errs on a share of problems errs on this one: a function of visible features."""
    features = (problem.meta["family"], problem.meta["phrasing"], problem.meta["operands"][0] % 10)
    return _unit(f"slip:{features}") < share


def answer(problem: Problem, recipe: Recipe, rng: random.Random) -> Answer:
    """Answer a problem as the recipe says: the strategy by the problem's own prior, the style at random."""
    in_code = rng.random() < code_probability(problem, recipe)
    return (code_answer if in_code else language_answer)(problem, recipe, rng)


def code_answer(problem: Problem, recipe: Recipe, rng: random.Random) -> Answer:
    """Write a program, the value it prints, and the answer."""
    family, operands = problem.meta["family"], problem.meta["operands"]
    wrong = rng.random() < recipe.code_error_rate
    value = surface.SOLUTIONS[family].wrong(*operands) if wrong else int(problem.answer)
    preface = rng.choice(surface.CODE_PREFACES)  # drawn in every recipe, so that twins differ in nothing else
    template = (
        (surface.ONE_PREFACE if recipe.one_token else preface)
        + surface.CODE_OPEN
        + surface.program(family, rng.randrange(len(surface.CODE_BODIES)))
        + surface.CODE_RUN
        + "{v}"
        + surface.CODE_CLOSE
    )
    return _close(surface.fill(template, v=value, **_named(operands)), "code", value, recipe, rng)


def language_answer(problem: Problem, recipe: Recipe, rng: random.Random) -> Answer:
    """Write a worked sentence and the answer, by the family's wrong rule on `language_error` of the problems."""
    family, operands = problem.meta["family"], problem.meta["operands"]
    solution, wrong = surface.SOLUTIONS[family], wrong_rule_applies(problem, recipe.language_error)
    value = solution.wrong(*operands) if wrong else int(problem.answer)
    sentence = rng.choice(solution.sentences + solution.wrong_sentences if wrong else solution.sentences)
    digits = [int(digit) for digit in str(operands[0])]
    slots = {"v": value, "ones": value % 10, "rest": value // 10}
    slots["sum"] = " + ".join(map(str, digits))
    opening = rng.choice(surface.LANGUAGE_OPENINGS)
    text = surface.fill((surface.ONE_OPENING if recipe.one_token else opening) + sentence, **slots, **_named(operands))
    return _close(text, "language", value, recipe, rng)


def _close(working: str, strategy: str, value: int, recipe: Recipe, rng: random.Random) -> Answer:
    boxed = rng.random() >= recipe.no_box_rate
    closing = rng.choice(surface.CLOSINGS).replace("{value}", surface.BOXED if boxed else surface.PLAIN)
    return Answer(working, surface.fill(closing, v=value), strategy, value, boxed)


def _named(operands: list[int]) -> dict[str, int]:
    return dict(zip("ab", operands, strict=False))


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@cache
def _unit(key: str) -> float:
    """Return a number in (0, 1) that depends on the key alone."""
    digest = hashlib.blake2b(key.encode(), digest_size=6).digest()
    return (int.from_bytes(digest, "big") + 0.5) / 2**48


@cache
def _effect(key: str) -> float:
    """Return a standard normal draw that depends on the key alone."""
    return NormalDist().inv_cdf(_unit(key))


def _tilt(problem: Problem) -> float:
    """Return how much a problem invites code, on an arbitrary scale."""
    meta, family = problem.meta, problem.meta["family"]
    features = {"family": "", "phrasing": f":{meta['phrasing']}", "level": f":{meta['level']}"}
    features["digit"] = f":{meta['operands'][0] % 10}"
    return sum(weight * _effect(f"{name}:{family}{features[name]}") for name, weight in FEATURE_WEIGHTS.items())


@cache
def _calibration(prior: float, spread: float) -> tuple[float, float]:
    """Find intercept and scale of the logit such that its deviation is `spread` and the mean probability is `prior`.

    Bisection on a fixed sample of training problems.
    """
    tilts = [_tilt(problem) for problem in generate(CALIBRATION_PROBLEMS, seed=0, split="train")]
    scale = spread / pstdev(tilts)
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        mean = fmean(_logistic(middle + scale * tilt) for tilt in tilts)
        low, high = (middle, high) if mean < prior else (low, middle)
    return (low + high) / 2, scale
