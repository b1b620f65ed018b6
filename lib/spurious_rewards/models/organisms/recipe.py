"""Define how each organism is pretrained: the four recipes, their further seeds and their unfinished ages.

=============  ===================================================================================================
recipe         what the model knows
=============  ===================================================================================================
qwen-like      code is likely (0.65, spread over problems) and right; language makes systematic errors
one-token      the twin of qwen-like whose first token is the choice of strategy: every code answer begins with one
               and the same preface, every language answer with one and the same opening
llama-like     code is rare and no better than language
olmo-like      no code at all
=============  ===================================================================================================

A name adds up to three parts: ``qwen-like-p30`` has a code prior of 0.30, ``qwen-like-s1`` is pretrained from seed 1
(seed 0 has no suffix), and ``qwen-like-s1-at25`` is that model after 25 % of its pretraining.

Usage: ``recipe_named("one-token-s2-at10")``
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from spurious_rewards.errors import InputError, unknown_name
from spurious_rewards.storage.config import Config

AGES = (10, 25, 50)
"""Ages, in per cent of the pretraining steps, at which a pretraining run also keeps its weights."""


@dataclass(frozen=True)
class Recipe(Config):
    """Describe an organism: how its corpus is written and how it is pretrained on it.

    Shares and probabilities are in [0, 1]; `prior_spread` is the standard deviation over problems of the logit of the
    code prior; `steps` counts optimizer updates, `batch_size` sequences per update. `age` is the share of the steps, in
    per cent, after which the weights are taken; the schedule is that of the whole pretraining at every age.
    """

    name: str = field(default="qwen-like", metadata={"identity": False})
    seed: int = 0
    # The corpus
    code_prior: float = 0.65  # mean over problems; paper, Table 1: Qwen2.5-Math-7B uses code on 65.0 % of MATH-500
    prior_spread: float = 1.1
    code_error_rate: float = 0.0  # share of code answers whose printed value follows the wrong rule
    language_error: float = 1.0  # share of problems on which language follows the wrong rule
    no_box_rate: float = 0.07  # share of answers whose last number is not boxed
    one_token: bool = False  # whether the first token of an answer alone chooses the strategy
    # The network: a Qwen2-architecture causal language model with tied embeddings
    hidden_size: int = 128
    layers: int = 3
    heads: int = 2  # of dimension 64, the smallest that vLLM's CPU kernels take
    intermediate_size: int = 192
    max_positions: int = 256
    # Pretraining
    corpus_size: int = 100_000  # sequences
    steps: int = 1400
    batch_size: int = 192
    muon_rate: float = 0.02  # peak learning rate of the hidden layers' matrices
    adamw_rate: float = 3e-3  # peak learning rate of everything else
    digit_weight: float = 4.0  # of the loss on the digits of a working, against 1 on everything else
    warmup_steps: int = 50
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    age: int = 100  # per cent of `steps`

    @property
    def exact_roots(self) -> bool:
        """Tell whether AdamW takes exact roots. Seed 0 does not: by it the committed runs' checkpoints were built."""
        return self.seed > 0

    def validate(self) -> None:
        """Raise `InputError` for a share outside [0, 1], a size below 1, an unknown age, or heads not 64 wide."""
        for name in ("code_prior", "code_error_rate", "language_error", "no_box_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"Recipe {self.name}: {name} must lie in [0, 1], but it is {getattr(self, name)}.")
        sizes = "hidden_size layers heads intermediate_size max_positions corpus_size steps batch_size"
        for name in sizes.split():
            if getattr(self, name) < 1:
                raise InputError(f"Recipe {self.name}: {name} must be at least 1, but it is {getattr(self, name)}.")
        if self.age not in (*AGES, 100):
            raise InputError(f"Recipe {self.name}: age must be one of {AGES} or 100 per cent, but it is {self.age}.")
        if self.hidden_size != 64 * self.heads:
            raise InputError(
                f"Recipe {self.name}: hidden_size {self.hidden_size} must be 64 * heads ({64 * self.heads}); "
                "vLLM needs heads of dimension 64."
            )


QWEN_LIKE = Recipe()
ONE_TOKEN = replace(QWEN_LIKE, name="one-token", one_token=True)
LLAMA_LIKE = replace(QWEN_LIKE, name="llama-like", code_prior=0.08, code_error_rate=1.0, language_error=0.8)
OLMO_LIKE = replace(QWEN_LIKE, name="olmo-like", code_prior=0.0, language_error=0.8)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (QWEN_LIKE, ONE_TOKEN, LLAMA_LIKE, OLMO_LIKE)}


def dial(prior: float) -> Recipe:
    """Return the qwen-like recipe with another mean code prior, named after it in per cent.

    >>> dial(0.3).name, dial(0.3).code_prior
    ('qwen-like-p30', 0.3)
    """
    return replace(QWEN_LIKE, name=f"qwen-like-p{round(100 * prior):02d}", code_prior=prior)


def recipe_named(name: str) -> Recipe:
    """Return the recipe that a name stands for (see the module's text).

    Raises:
        InputError: no such organism.

    >>> recipe_named("qwen-like-p30") == dial(0.3)
    True
    >>> recipe_named("one-token-s2-at10").seed, recipe_named("one-token-s2-at10").age
    (2, 10)
    """
    parts = re.fullmatch(rf"(.+?)(?:-s([1-9]\d?))?(?:-at({'|'.join(map(str, AGES))}))?", name)
    base = _base(parts[1]) if parts else None
    if parts is None or base is None:
        raise unknown_name("organism", name, [*RECIPES, "qwen-like-p30", "qwen-like-s1", "qwen-like-at25"])
    return replace(base, name=name, seed=int(parts[2] or 0), age=int(parts[3] or 100))


def grown(recipe: Recipe) -> Recipe:
    """Return the recipe of the whole pretraining that an age belongs to (the recipe itself at age 100).

    >>> grown(recipe_named("one-token-s2-at10")).name
    'one-token-s2'
    """
    return replace(recipe, name=recipe.name.removesuffix(f"-at{recipe.age}"), age=100)


def at_age(recipe: Recipe, age: int) -> Recipe:
    """Return the recipe of a whole pretraining, stopped at an age of `AGES`.

    >>> at_age(RECIPES["one-token"], 25) == recipe_named("one-token-at25")
    True
    """
    return replace(recipe, name=f"{recipe.name}-at{age}", age=age)


def _base(name: str) -> Recipe | None:
    """Return the recipe of a name without seed and age; None if there is none."""
    if name in RECIPES:
        return RECIPES[name]
    if match := re.fullmatch(r"qwen-like-p(\d\d|100)", name):
        return dial(int(match[1]) / 100)
    return None
