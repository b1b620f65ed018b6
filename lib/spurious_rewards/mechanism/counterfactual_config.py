"""What defines a paired counterfactual, its stopping rule included, and the settings of the committed ones.

**The design.** From one checkpoint and one optimizer state, the same rollouts, rewards, advantages, log π_old and
mini-batch order are replayed under every clip mode for `n_batches` rollout batches. Nothing differs but the clip, so a
pair's difference to `none` is what the clip did. Pair i has its own problems, rollouts, reward coins and mini-batch
order, all a function of (seed, i); settings (optimizer, step size) of one model and seed share them.

**The optimizer's state.** AdamW's first updates from a fresh state are steps of ±learning rate in every weight,
whatever the gradient's size, which no later update of a run is. So each pair first warms its own moments:
`warmup_batches` rollout batches of updates at learning rate 0. The weights do not move, the ratio stays 1, hence no
clip mode could differ; all modes of the pair start from the state that is left. One state for all pairs would not do:
its first moment is the noise of a single draw and pushes every pair in the same direction (with AdamW 1e-3 and one
such state, `none` moved the code probability of six pairs by +0.18 [0.08, 0.28]), and what a clip does to that push
would pass for what it does in general. SGD has no state.

**The stopping rule**, stated here and written to the run's `config.json` before the first pair. The target is the
width of one interval: the 95 % t interval over pairs of `two_sided` − `none` in token entropy. Looks at `min_pairs`
pairs and every `look_every` after; the setting is done at the first look at which the half width is at most `precision`
times `relevant_effect`, or at `max_pairs`. `relevant_effect` is 0.01 nats per token and rollout batch: an organism's
rollouts have about 0.25 nats per token, so at that pace 25 rollout batches would use up their entropy; a fifth of it
would take 125. The rule looks at a width and never at the sign of an effect or at another quantity. The estimated width
is not independent of the estimate where differences are skewed, so a stopped sample is not exactly a fixed one; but
with three looks, 100 pairs apart at most, that moves an error rate little. A setting that ends at `max_pairs` without
its precision says so (`target_met`).

>>> config = CounterfactualConfig(optimizer="sgd", learning_rate=0.3)
>>> config.modes, config.target_half_width, config.looks()
(('none', 'two_sided', 'high_only', 'low_only', 'cispo'), 0.002, (200, 250, 300))
>>> CounterfactualConfig(clip_modes="two_sided,cispo")
Traceback (most recent call last):
    ...
spurious_rewards.errors.InputError: clip_modes must hold none, which the others are compared with, and at least ...
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from spurious_rewards.errors import InputError, unknown_name
from spurious_rewards.models.registry import resolve
from spurious_rewards.storage.config import Config, slug
from spurious_rewards.training.config import RunConfig

REFERENCE = "none"
"""The clip mode that the others are compared with."""
SETTINGS = (("adamw", 1e-4), ("adamw", 3e-4), ("adamw", 1e-3), ("sgd", 0.1), ("sgd", 0.3), ("sgd", 1.0))
"""Optimizers and step sizes of profiles/organism-map.yaml."""
MIDDLE = {"adamw": 3e-4, "sgd": 0.3}
"""The middle step of each optimizer in `SETTINGS`: what the dose–response runs at, and what a text names first. This
definition is later than the first runs (an earlier docstring called AdamW 1e-3 the middle), so no verdict rests on it:
tables, sentences and claims go over every setting that was measured."""


@dataclass(frozen=True)
class CounterfactualConfig(Config):
    """One setting of a paired counterfactual; fields named as in `RunConfig` mean the same."""

    model: str = "qwen-like"
    train_set: str = "synthetic"
    n_train_problems: int = 4096
    """More than the pairs use, so that no problem comes twice."""
    problem_seed: int = 0
    prompt_style: str = "organism"
    reward: str = "random"
    gamma: float = 0.5
    clip_modes: str = "none,two_sided,high_only,low_only,cispo"
    """Clip modes, joined by commas; `none` among them."""
    epsilon_low: float = 0.2
    epsilon_high: float = 0.2
    optimizer: str = "sgd"
    learning_rate: float = 0.3
    prompts_per_batch: int = 4
    group_size: int = 16
    updates_per_batch: int = 8
    micro_batch: int = 8
    n_batches: int = 1
    """Rollout batches replayed per pair. All are drawn from the checkpoint; π_old of a later one is each arm's own."""
    warmup_batches: int = 2
    """Rollout batches per pair at learning rate 0 that fill AdamW's moments."""
    max_prompt_tokens: int = 128
    max_completion_tokens: int = 64
    temperature: float = 1.0
    seed: int = 0

    probe_set: str = "synthetic_test"
    """Problem set on which the policies are compared; apart from the training problems."""
    probe_problems: int = 48
    probe_samples: int = 6
    """Answers per probe problem, sampled once from the checkpoint."""
    probe_seed: int = 0
    code_depth: int = 3
    """First tokens of an answer that decide in `code_tree` whether it is code; organisms decide with the second."""
    code_least: float = 3e-4
    """Probability from which on `code_tree` follows a beginning."""

    min_pairs: int = 200
    max_pairs: int = 300
    look_every: int = 50
    relevant_effect: float = 0.01
    """Nats of token entropy."""
    precision: float = 0.2
    """Half width wanted, as a share of `relevant_effect`."""

    pairs_per_part: int = field(default=10, metadata={"identity": False})
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
        self.check_at_least(
            {
                "n_batches": 1,
                "warmup_batches": 0,
                "probe_problems": 2,
                "probe_samples": 2,
                "code_depth": 1,
                "min_pairs": 2,
                "look_every": 1,
                "max_pairs": self.min_pairs,
                "pairs_per_part": 1,
            }
        )
        if self.target_half_width <= 0:
            raise InputError("relevant_effect and precision must be above 0.")

    @property
    def modes(self) -> tuple[str, ...]:
        """The clip modes, in order."""
        return tuple(self.clip_modes.split(","))

    @property
    def target_half_width(self) -> float:
        """Half width of the interval at which a setting is done, nats of token entropy."""
        return self.precision * self.relevant_effect

    @property
    def batches_per_pair(self) -> int:
        """Rollout batches of a pair: its warm-up (which SGD leaves out), then those that are replayed."""
        return self.warmup_batches + self.n_batches

    def looks(self) -> tuple[int, ...]:
        """Numbers of pairs at which the stopping rule looks."""
        return (*range(self.min_pairs, self.max_pairs, self.look_every), self.max_pairs)

    def run_config(self, mode: str) -> RunConfig:
        """The training run whose trainer replays `mode`; its rollout batches are the pairs', each with its warm-up."""
        return RunConfig(
            clip_mode=mode,
            precision="fp32",
            engine="shared_prefix",
            allow_inert_clip=True,
            top1_prob=False,
            rollouts_kept_per_batch=0,
            rollout_batches=self.max_pairs * self.batches_per_pair,
            **{
                name: getattr(self, name)
                for name in (
                    "model",
                    "train_set",
                    "n_train_problems",
                    "problem_seed",
                    "prompt_style",
                    "reward",
                    "gamma",
                    "epsilon_low",
                    "epsilon_high",
                    "optimizer",
                    "learning_rate",
                    "prompts_per_batch",
                    "group_size",
                    "updates_per_batch",
                    "micro_batch",
                    "max_prompt_tokens",
                    "max_completion_tokens",
                    "temperature",
                    "seed",
                )
            },
        )

    def setting(self) -> str:
        """Short readable name of optimizer and step size."""
        return f"{self.optimizer} {self.learning_rate:g}"

    def run_id(self) -> str:
        """Folder name of the run."""
        return f"counterfactual-{slug(self.model)}-{self.optimizer}{self.learning_rate:g}-{self.digest()}"


def configs(size: str, only: str = "", model: str = "", prompt_style: str = "") -> list[CounterfactualConfig]:
    """The settings of one size.

    Args:
        size: a name in `SIZES`.
        only: keeps the settings whose name begins so, for example `sgd` or `"adamw 0.001"`; several joined by commas.
        model: a registry name or a folder; empty for the organism of the defaults.
        prompt_style: empty for `organism`, and for `simplerl` if `model` is not an organism.

    Raises:
        InputError: unknown size, model or prompt style, or no such setting.
    """
    if size not in SIZES:
        raise unknown_name("size", size, SIZES)
    values = dict(SIZES[size])
    if model:
        kind = resolve(model).kind
        values |= {"model": model, "prompt_style": "organism" if kind == "organism" else "simplerl"}
    if prompt_style:
        values["prompt_style"] = prompt_style
    found = [
        CounterfactualConfig(optimizer=optimizer, learning_rate=step, **values)
        for optimizer, step in values.pop("settings", SETTINGS)
    ]
    if only:
        wanted = [name.strip() for name in only.split(",")]
        for name in wanted:
            if not any(config.setting().startswith(name) for config in found):
                raise unknown_name("setting", name, [config.setting() for config in found])
        found = [config for config in found if config.setting().startswith(tuple(wanted))]
    return found


SIZES: dict[str, dict[str, Any]] = {
    "committed": {},
    "notebook": {"settings": (("sgd", 0.3), ("adamw", 1e-3)), "min_pairs": 6, "max_pairs": 6, "n_train_problems": 64},
    "tiny": {
        "settings": (("sgd", 0.1),),
        "clip_modes": "none,two_sided",
        "min_pairs": 2,
        "max_pairs": 2,
        "n_train_problems": 16,
        "prompts_per_batch": 2,
        "group_size": 4,
        "updates_per_batch": 4,
        "micro_batch": 2,
        "max_completion_tokens": 48,
        "probe_problems": 4,
        "probe_samples": 2,
        "code_depth": 1,
    },
}
"""Fields by which a size differs from the defaults of `CounterfactualConfig`. `notebook`: two settings at which a few
pairs show something; `tiny`: does it work at all with this model."""
