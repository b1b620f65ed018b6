"""Define the dose–response: organisms that differ in their code prior alone, and two instruments.

**Dose**: the code prior, a dial at pretraining (`models.organisms`): 0.1, 0.3, 0.5, 0.65, 0.9. The tables use the
*measured* code probability of each checkpoint, which is near the dial's.

**Runs**: short training runs under the random reward, one per (prior, setting, clip mode, seed), each evaluated on the
same problems with the same random numbers. Response: the change of the code frequency of sampled answers.

**Pairs**: the paired counterfactual of one rollout batch (`counterfactual`) at each prior: far less happens, but what
the clip did is isolated exactly.

**Settings**: AdamW 3e-4 and SGD 0.3, the middle step sizes of the counterfactual with one sign.

**Claim under test** (C4): the clip amplifies what is likely. Then its effect on the *log-odds* of code is below 0 under
one half and above 0 over it: a positive slope over the log-odds of the prior, and no effect at even odds. In code
*probability* the same signature comes from shrinkage alone: symmetric noise of variance v in the log-odds moves a
probability by p(1−p)(1−2p)·v/2 on average, down above one half and up below, and a clip that lets less of it through
has an effect of the opposite signs. In log-odds that noise has mean 0 at every prior, with a clip or without.

>>> config = DoseConfig()
>>> len(config.run_configs()), len(config.pair_configs())
(100, 10)
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from spurious_rewards.errors import InputError, check_name
from spurious_rewards.evaluation.config import EvalConfig
from spurious_rewards.mechanism.counterfactual_config import REFERENCE, CounterfactualConfig
from spurious_rewards.storage.config import Config
from spurious_rewards.training.clip import check_mode
from spurious_rewards.training.config import RunConfig


@dataclass(frozen=True)
class DoseConfig(Config):
    """Define a dose–response; fields named as in `RunConfig` mean the same."""

    models: str = "qwen-like-p10,qwen-like-p30,qwen-like-p50,qwen-like,qwen-like-p90"
    """Organisms, joined by commas; `qwen-like` has a prior of 0.65."""
    settings: str = "adamw 0.0003,sgd 0.3"
    """Optimizer and step size, joined by commas."""
    clip_modes: str = "none,two_sided,high_only,low_only"
    """Clip modes of the pairs, joined by commas; `none` among them."""
    run_clip_modes: str = "none,two_sided"
    """Clip modes of the runs; the one-sided modes are left to the pairs, which resolve them at a tenth of the cost."""
    n_seeds: int = 5
    gamma: float = 0.5
    prompts_per_batch: int = 8
    group_size: int = 16
    updates_per_batch: int = 8
    rollout_batches: int = 10
    """Short on purpose: SGD 0.3 without a clip stops writing answers at all within about 15."""
    max_completion_tokens: int = 64
    n_problems: int = 300
    """Problems of the evaluation, from synthetic_test."""
    n_samples: int = 2
    """Answers per problem, at temperature 1."""
    n_pairs: int = 30
    """Pairs of the counterfactual per prior and setting (no stopping rule here)."""

    def validate(self) -> None:
        """Raise `InputError` for values that cannot work."""
        for name in ("clip_modes", "run_clip_modes"):
            modes = getattr(self, name).split(",")
            for mode in modes:
                check_mode(mode)
            if REFERENCE not in modes or len(modes) < 2:
                raise InputError(f"{name} must hold none and at least one other, but they are {','.join(modes)!r}.")
        for text in self.settings.split(","):
            self._setting(text)
        self.check_at_least({"n_seeds": 2, "n_problems": 2, "n_samples": 1, "n_pairs": 2})
        self.run_configs()
        self.pair_configs()

    def names(self, only: str = "") -> list[str]:
        """List the organisms, or those of them that `only` names (joined by commas).

        Raises:
            InputError: `only` names another one.
        """
        known = self.models.split(",")
        for name in only.split(",") if only else ():
            check_name("model of the dose–response", name, known)
        return only.split(",") if only else known

    def run_configs(self, only: str = "") -> list[RunConfig]:
        """List the training runs: every model, setting, seed and clip mode, the modes of a comparison together."""
        shared = {field.name: getattr(self, field.name) for field in fields(RunConfig) if hasattr(self, field.name)}
        return [
            RunConfig(
                **shared, model=model, clip_mode=mode, seed=seed, optimizer=optimizer, learning_rate=step,
                train_set="synthetic", n_train_problems=1024, prompt_style="organism", reward="random",
                micro_batch=self.prompts_per_batch * self.group_size // self.updates_per_batch, max_prompt_tokens=128,
                precision="fp32", engine="shared_prefix", top1_prob=False, save_every_batches=self.rollout_batches,
                keep_checkpoints=1, rollouts_kept_per_batch=16,
            )
            for model in self.names(only)
            for optimizer, step in map(self._setting, self.settings.split(","))
            for seed in range(self.n_seeds)
            for mode in self.run_clip_modes.split(",")
        ]  # fmt: skip

    def eval_config(self, model: str, trained_run: str = "") -> EvalConfig:
        """Return the evaluation of an organism, or of a run that started from it, with the same random numbers."""
        return EvalConfig(
            model=model,
            trained_run=trained_run,
            benchmark="synthetic_test",
            temperature=1.0,
            n_problems=self.n_problems,
            n_samples=self.n_samples,
            max_new_tokens=self.max_completion_tokens,
        )

    def pair_configs(self, only: str = "") -> list[CounterfactualConfig]:
        """List the paired counterfactuals, with one sign each: every model and setting."""
        return [
            CounterfactualConfig(
                model=model, optimizer=optimizer, learning_rate=step, gamma=self.gamma, antithetic=False,
                clip_modes=self.clip_modes, probe_samples=6, code_depth=3, min_pairs=self.n_pairs,
                max_pairs=self.n_pairs, n_train_problems=1024, max_completion_tokens=self.max_completion_tokens,
            )
            for model in self.names(only)
            for optimizer, step in map(self._setting, self.settings.split(","))
        ]  # fmt: skip

    @staticmethod
    def _setting(text: str) -> tuple[str, float]:
        optimizer, _, step = text.strip().partition(" ")
        try:
            return optimizer, float(step)
        except ValueError:
            raise InputError(f"A setting is an optimizer and a step size, as in 'sgd 0.3', not {text!r}.") from None
