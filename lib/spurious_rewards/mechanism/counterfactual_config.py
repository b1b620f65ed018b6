"""Define a paired counterfactual, its stopping rule included, and the settings of the committed ones.

**The design.** From one checkpoint and one optimizer state, the same rollouts, rewards, advantages, log π_old and
mini-batch order of one rollout batch are replayed under every clip mode. Nothing differs but the clip, so a pair's
difference to `none` is what the clip did. Pair i has its own problems, rollouts, reward coins and mini-batch order, all
a function of (seed, i); settings (optimizer, step size) of one model and seed share them.

**Antithetic pairs.** With γ = ½ a coin and its reverse are equally likely, so advantages and their negatives are. An
`antithetic` pair is replayed with both, the optimizer's first moment negated too, and the mean of the two is taken.
Everything odd in the advantages, which is nearly all of the noise, cancels exactly; what is left is drift.

**The optimizer's state.** AdamW's first updates from a fresh state are steps of ±learning rate in every weight,
whatever the gradient's size, which no later update of a run is. So each pair first warms its own moments:
`warmup_batches` rollout batches of updates at learning rate 0. The weights do not move, the ratio stays 1, hence no
clip mode could differ; all modes of the pair start from the state that is left. One state shared by all pairs would
push every pair in the same direction: its first moment is the noise of a single draw. SGD has no state.

**The stopping rule** is written to the run's `config.json` before the first pair. It looks at the half width of the
95 % t interval over pairs of `two_sided` − `none` in `target_quantity`, at `min_pairs` pairs and every `look_every`
after. A setting is done at the first look at which it is at most `target_half_width`, or at `max_pairs`; it then says
whether the target was met. The rule looks at a width, never at the sign of an effect.

>>> config = CounterfactualConfig(learning_rate=1e-4)
>>> config.modes, config.target_half_width, config.looks()[:3]
(('none', 'two_sided', 'high_only', 'low_only'), 0.001, (20, 40, 60))
>>> CounterfactualConfig(clip_modes="two_sided,cispo")
Traceback (most recent call last):
    ...
spurious_rewards.errors.InputError: clip_modes must hold none, which the others are compared with, and at least ...
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from spurious_rewards.errors import InputError, check_name, unknown_name
from spurious_rewards.models.registry import resolve
from spurious_rewards.storage.config import Config, slug
from spurious_rewards.training.config import RunConfig

REFERENCE = "none"
"""The clip mode that the others are compared with."""
TARGETS = ("code_logit", "entropy")
"""Quantities that the stopping rule can look at: log-odds of code, nats of token entropy."""


@dataclass(frozen=True)
class CounterfactualConfig(Config):
    """Define one setting of a paired counterfactual; fields named as in `RunConfig` mean the same."""

    model: str = "qwen-like"
    train_set: str = "synthetic"
    n_train_problems: int = 4096
    """More than the pairs use, so that no problem comes twice."""
    problem_seed: int = 0
    prompt_style: str = "organism"
    reward: str = "random"
    gamma: float = 0.5
    antithetic: bool = True
    """Whether each pair is replayed with its advantages and with their negatives; needs reward random, γ = 0.5."""
    clip_modes: str = "none,two_sided,high_only,low_only"
    """Clip modes, joined by commas; `none` among them."""
    epsilon_low: float = 0.2
    epsilon_high: float = 0.2
    optimizer: str = "adamw"
    learning_rate: float = 1e-4
    prompts_per_batch: int = 4
    group_size: int = 16
    updates_per_batch: int = 8
    micro_batch: int = 8
    warmup_batches: int = 2
    """Rollout batches per pair at learning rate 0 that fill AdamW's moments."""
    max_prompt_tokens: int = 128
    max_completion_tokens: int = 64
    temperature: float = 1.0
    bf16: bool = False
    """Whether forward passes of rollouts and updates run in bf16, as a run's on a GPU do; weights stay in fp32."""
    seed: int = 0

    probe_set: str = "synthetic_test"
    """Problem set on which the policies are compared; apart from the training problems."""
    probe_problems: int = 48
    probe_samples: int = 2
    """Answers per probe problem, sampled once from the checkpoint; entropy and accuracy rest on them, code does not."""
    probe_seed: int = 0
    code_depth: int = 2
    """First tokens of an answer that decide in `code_tree` whether it is code; organisms decide with the second."""
    code_least: float = 3e-4
    """Probability from which on `code_tree` follows a beginning."""

    min_pairs: int = 20
    max_pairs: int = 200
    look_every: int = 20
    target_quantity: str = "code_logit"
    """What the stopping rule looks at, one of `TARGETS`."""
    target_half_width: float = 0.001
    """Half width of the interval at which a setting is done, in the unit of `target_quantity`."""

    pairs_per_part: int = field(default=5, metadata={"identity": False})
    """Pairs between two files of the run folder: the unit of resuming."""

    def validate(self) -> None:
        """Raise `InputError` for values that cannot work."""
        for mode in self.modes:
            self.run_config(mode)  # checks reward, clip mode, optimizer and batches
        if REFERENCE not in self.modes or len(set(self.modes)) != len(self.modes) or len(self.modes) < 2:
            raise InputError(
                "clip_modes must hold none, which the others are compared with, and at least one other, "
                f"each once, but they are {self.clip_modes!r}."
            )
        self.check_at_least({"warmup_batches": 0, "probe_problems": 2, "probe_samples": 2, "code_depth": 1})
        self.check_at_least({"min_pairs": 2, "look_every": 1, "max_pairs": self.min_pairs, "pairs_per_part": 1})
        if self.target_half_width <= 0:
            raise InputError(f"target_half_width must be above 0, but it is {self.target_half_width}.")
        check_name("target quantity", self.target_quantity, TARGETS)
        if self.antithetic and (self.reward, self.gamma) != ("random", 0.5):
            raise InputError(
                f"Antithetic pairs need reward random with gamma 0.5, for which advantages and their negatives are "
                f"equally likely, but reward is {self.reward} and gamma {self.gamma}; set antithetic to False."
            )

    @property
    def modes(self) -> tuple[str, ...]:
        """List the clip modes, in order."""
        return tuple(self.clip_modes.split(","))

    @property
    def batches_per_pair(self) -> int:
        """Count the rollout batches of a pair: its warm-up (which SGD leaves out) and the one that is replayed."""
        return self.warmup_batches + 1

    @property
    def signs(self) -> tuple[int, ...]:
        """List the signs of the advantages that a pair is replayed with."""
        return (1, -1) if self.antithetic else (1,)

    def looks(self) -> tuple[int, ...]:
        """Return the numbers of pairs at which the stopping rule looks."""
        return (*range(self.min_pairs, self.max_pairs, self.look_every), self.max_pairs)

    def run_config(self, mode: str) -> RunConfig:
        """Return the training run whose trainer replays `mode`; its rollout batches are the pairs' and warm-ups."""
        shared = {field.name: getattr(self, field.name) for field in fields(RunConfig) if hasattr(self, field.name)}
        return RunConfig(
            **shared, clip_mode=mode, precision="bf16" if self.bf16 else "fp32", engine="shared_prefix",
            allow_inert_clip=True, top1_prob=False, rollouts_kept_per_batch=0,
            rollout_batches=self.max_pairs * self.batches_per_pair,
        )  # fmt: skip

    def identity(self) -> dict[str, Any]:
        """Return the fields that change what is computed; `bf16` only where it is set, so that older ids stay."""
        found = super().identity()
        if not self.bf16:
            del found["bf16"]
        return found

    def setting(self) -> str:
        """Return a short readable name of optimizer and step size."""
        return f"{self.optimizer} {self.learning_rate:g}"

    def run_id(self) -> str:
        """Return the folder name of the run."""
        return f"counterfactual-{slug(self.model)}-{self.optimizer}{self.learning_rate:g}-{self.digest()}"


def configs(
    size: str, only: str = "", model: str = "", prompt_style: str = "", max_pairs: int = 0
) -> list[CounterfactualConfig]:
    """List the settings of one size.

    Args:
        size: a name in `SIZES`.
        only: keeps the settings whose name begins so, for example `adamw` or `"adamw 0.0001"`, joined by commas.
        model: registry names or folders, joined by commas; empty for the models of the size.
        prompt_style: empty for the size's, else for `organism`, and for `simplerl` if a model is not an organism.
        max_pairs: ends the settings earlier than the size does; 0: as the size says.

    Raises:
        InputError: unknown size, model or prompt style, or no such setting.
    """
    check_name("size", size, SIZES)
    values = dict(SIZES[size])
    if max_pairs:
        least = values.get("min_pairs", CounterfactualConfig.min_pairs)
        values |= {"max_pairs": max_pairs, "min_pairs": min(max_pairs, least)}
    settings, models = values.pop("settings"), values.pop("models", ("qwen-like",))
    found = []
    for name in model.split(",") if model else models:
        style = "organism" if resolve(name).kind == "organism" else "simplerl"
        own = {"prompt_style": style, **values, **({"prompt_style": prompt_style} if prompt_style else {})}
        found += [
            CounterfactualConfig(model=name, optimizer=optimizer, learning_rate=step, **own)
            for optimizer, step in settings
        ]
    if only:
        wanted = [name.strip() for name in only.split(",")]
        for name in wanted:
            if not any(config.setting().startswith(name) for config in found):
                raise unknown_name("setting", name, [config.setting() for config in found])
        found = [config for config in found if config.setting().startswith(tuple(wanted))]
    return found


_SMOLLM2: dict[str, Any] = {
    "settings": (("adamw", 1e-5), ("adamw", 3e-5)), "models": ("smollm2-135m-instruct",),
    "clip_modes": "none,two_sided", "train_set": "synthetic_level1", "probe_set": "synthetic_level1_test",
    "prompt_style": "worked_examples", "n_train_problems": 1000, "max_prompt_tokens": 512,
    "min_pairs": 6, "max_pairs": 6, "target_quantity": "entropy", "pairs_per_part": 1,
    "code_depth": 1,  # its first tokens do not choose the strategy: P(code) is beyond the bound of the log-odds
}  # fmt: skip
SIZES: dict[str, dict[str, Any]] = {
    "smollm2": _SMOLLM2,
    "smollm2-bf16": {**_SMOLLM2, "settings": (("adamw", 1e-5),), "bf16": True},
    "antithetic": {
        "settings": (("adamw", 3e-5), ("adamw", 1e-4), ("adamw", 3e-4)),
        "models": ("qwen-like", "one-token", "llama-like"),
    },
    "one-sign": {
        "settings": (("adamw", 1e-4), ("adamw", 3e-4), ("adamw", 1e-3), ("sgd", 0.1), ("sgd", 0.3), ("sgd", 1.0)),
        "antithetic": False, "clip_modes": "none,two_sided,high_only,low_only,cispo", "probe_samples": 6,
        "code_depth": 3, "min_pairs": 200, "max_pairs": 300, "look_every": 50, "target_quantity": "entropy",
        "target_half_width": 0.002,
    },
    "notebook": {
        "settings": (("adamw", 1e-4), ("adamw", 3e-4)), "min_pairs": 6, "max_pairs": 6, "n_train_problems": 128,
    },
    "tiny": {
        "settings": (("adamw", 1e-4),), "clip_modes": "none,two_sided", "min_pairs": 2, "max_pairs": 2,
        "n_train_problems": 24, "prompts_per_batch": 2, "group_size": 4, "updates_per_batch": 4, "micro_batch": 2,
        "max_completion_tokens": 48, "probe_problems": 4, "code_depth": 1,
    },
}  # fmt: skip
"""Fields by which a size differs from the defaults, with its settings and models. `antithetic` and `one-sign` are the
committed ones, `smollm2` and `smollm2-bf16` those of a model that nobody here made; `notebook` has a few pairs; `tiny`
asks whether it works at all with a model."""
TABLES = {"one-sign": "counterfactual", "smollm2": "antithetic_smollm2", "smollm2-bf16": "antithetic_smollm2_bf16"}
"""Size → its table in results/tables/mechanism, where that has another name."""
