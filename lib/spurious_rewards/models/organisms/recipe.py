"""Recipes: what makes a model organism what it is. A checkpoint is a function of its recipe, seed included.

A recipe fixes how often a problem is answered with code (the *code prior*), how far that prior spreads over problems,
how often either strategy follows a wrong rule, the size of the network and its pretraining. `dial(prior)` gives the
qwen-like organism with another code prior, for dose-response curves.

Usage: ``python -m spurious_rewards.models.organisms build qwen-like-p30``; in code ``recipe_named("llama-like")``
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from spurious_rewards.errors import InputError, unknown_name
from spurious_rewards.storage.config import Config


@dataclass(frozen=True)
class Recipe(Config):
    """How an organism's corpus is written and how it is pretrained on it.

    Shares and probabilities are in [0, 1]; `prior_spread` is the standard deviation over problems of the logit of the
    code prior; `steps` counts optimizer updates, `batch_size` sequences per update.
    """

    name: str = field(default="qwen-like", metadata={"identity": False})
    seed: int = 0
    # The corpus
    code_prior: float = 0.65  # mean over problems; paper, Table 1: Qwen2.5-Math-7B uses code on 65.0 % of MATH-500
    prior_spread: float = 1.1
    code_error_rate: float = 0.0  # share of code answers whose printed value follows the wrong rule
    language_error: float = 1.0  # share of problems on which language follows the wrong rule
    no_box_rate: float = 0.07  # share of answers whose last number is not boxed
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

    def validate(self) -> None:
        """Raise `InputError` for shares outside [0, 1], sizes that are not positive, or heads not of dimension 64."""
        for name in ("code_prior", "code_error_rate", "language_error", "no_box_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"Recipe {self.name}: {name} must lie in [0, 1], but it is {getattr(self, name)}.")
        for name in (
            "hidden_size",
            "layers",
            "heads",
            "intermediate_size",
            "max_positions",
            "corpus_size",
            "steps",
            "batch_size",
        ):
            if getattr(self, name) < 1:
                raise InputError(f"Recipe {self.name}: {name} must be at least 1, but it is {getattr(self, name)}.")
        if self.hidden_size != 64 * self.heads:
            raise InputError(
                f"Recipe {self.name}: hidden_size {self.hidden_size} must be 64 * heads ({64 * self.heads}); "
                "vLLM needs heads of dimension 64."
            )


QWEN_LIKE = Recipe()
LLAMA_LIKE = replace(QWEN_LIKE, name="llama-like", code_prior=0.08, code_error_rate=1.0, language_error=0.8)
OLMO_LIKE = replace(QWEN_LIKE, name="olmo-like", code_prior=0.0, language_error=0.8)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (QWEN_LIKE, LLAMA_LIKE, OLMO_LIKE)}


def dial(prior: float) -> Recipe:
    """The qwen-like recipe with another mean code prior, named after it in per cent.

    >>> dial(0.3).name, dial(0.3).code_prior
    ('qwen-like-p30', 0.3)
    """
    return replace(QWEN_LIKE, name=f"qwen-like-p{round(100 * prior):02d}", code_prior=prior)


def recipe_named(name: str) -> Recipe:
    """The recipe of an organism's name: one of `RECIPES` or a setting of the dial such as ``qwen-like-p30``.

    Raises:
        InputError: no such organism.

    >>> recipe_named("qwen-like-p30") == dial(0.3)
    True
    """
    if name in RECIPES:
        return RECIPES[name]
    if match := re.fullmatch(r"qwen-like-p(\d\d|100)", name):
        return dial(int(match[1]) / 100)
    raise unknown_name("organism", name, [*RECIPES, "qwen-like-p30"])
