"""Define one evaluation: a model (or a checkpoint of a training run) on problems, under a prompt and a decoding.

The batch size belongs to the identity: floating-point kernels round differently in another batch, and a near-tie
between two tokens can then fall the other way, greedy decoding included. So does the engine.

The paper's settings: greedy pass@1 on MATH-500; temperature 0.6, 8 samples for avg@8 on AMC, AIME24 and AIME25; at most
3072 new tokens. The defaults are those of the embedded organism on the clean task.

>>> EvalConfig(benchmark="amc", temperature=0.6, n_samples=8).eval_id()
'eval-qwen-like-amc-organism-t0.6-k8-...'
>>> EvalConfig(n_samples=8)
Traceback (most recent call last):
    ...
spurious_rewards.errors.InputError: Greedy decoding gives 8 equal samples: set n_samples to 1 or a temperature above 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from spurious_rewards.errors import InputError, check_name
from spurious_rewards.generation.engine import Sampling, check_engine_name
from spurious_rewards.models.prompts import style_named
from spurious_rewards.storage.config import Config, slug

ORDERS = ("first", "shuffled")
LATER = ("batch_invariant", "leave_out_long")
"""Fields that came after the first committed evaluations, whose ids must stay."""
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class GenerationConfig(Config):
    """Hold the fields that evaluation and majority-vote labelling share: who answers what, and how."""

    model: str = "qwen-like"
    """Registry name or folder of the model; with `trained_run` the model that run started from."""
    prompt_style: str = "organism"
    """How a problem becomes a prompt, see `models.prompts`."""
    temperature: float = 0.0
    """Sampling temperature; 0 is greedy."""
    top_p: float = 1.0
    """Nucleus sampling: smallest total probability of the tokens that are kept; 1 keeps all (paper)."""
    n_samples: int = 1
    """Samples per problem: the k of avg@k, pass@k, or of the vote."""
    max_new_tokens: int = 96
    """Longest answer (paper: 3072); a longer one is cut and counts with finish reason "length"."""
    seed: int = 0
    """Seed of the sampling, mixed with the problem and the sample's number."""
    n_problems: int = 0
    """How many problems; 0 takes all of a benchmark."""
    problem_seed: int = 0
    """Seed of the problems: of the synthetic task's own draw, and of the permutation under order `shuffled`."""
    problem_order: str = "first"
    """Whether `n_problems` are the `first` of a benchmark or come from a permutation (`shuffled`)."""
    engine: str = "transformers"
    """Generation engine."""
    dtype: str = "float32"
    """Weights and activations of the model."""
    batch_size: int = 256
    """Samples generated together; also the unit of resuming."""
    batch_invariant: bool = False
    """Kernels whose result does not depend on the batch (vLLM on recent GPUs); part of the identity only if true."""

    def identity(self) -> dict[str, Any]:
        """Return the fields that change what is computed; `LATER` only where they are on, as before there were such.

        >>> "batch_invariant" in EvalConfig().identity()
        False
        """
        return {name: value for name, value in super().identity().items() if name not in LATER or value}

    def validate(self) -> None:
        """Raise `InputError` for values that cannot work, before anything is loaded."""
        self.sampling()
        check_engine_name(self.engine, self.batch_invariant)
        style_named(self.prompt_style)
        check_name("dtype", self.dtype, DTYPES)
        check_name("problem_order", self.problem_order, ORDERS)
        self.check_at_least({"n_problems": 0, "problem_seed": 0, "seed": 0, "batch_size": 1})

    def sampling(self) -> Sampling:
        """Return the decoding parameters for the engine."""
        return Sampling(self.temperature, self.top_p, self.max_new_tokens, self.n_samples, self.seed)

    def decoding(self) -> str:
        """Name the decoding briefly: `greedy`, or temperature and k as in `t0.6-k8`."""
        return "greedy" if self.temperature == 0 else f"t{self.temperature:g}-k{self.n_samples}"


@dataclass(frozen=True)
class EvalConfig(GenerationConfig):
    """Describe one cell: a model or checkpoint, a benchmark, a prompt and a decoding."""

    trained_run: str = ""
    """Run id of a training run whose model is evaluated; empty for the model itself."""
    checkpoint: int = 0
    """Optimizer update of the checkpoint to evaluate; 0 is the end of training."""
    benchmark: str = "synthetic_test"
    """Problem set, see `data.problem_sets`."""
    leave_out_long: bool = False
    """Leave out problems whose prompt and longest answer exceed the model's context, in place of an error; part of the
    identity only if true."""

    def validate(self) -> None:
        """Raise `InputError` for values that cannot work, before anything is loaded."""
        super().validate()
        if self.checkpoint < 0 or (self.checkpoint and not self.trained_run):
            raise InputError(
                f"checkpoint={self.checkpoint} needs trained_run, and counts optimizer updates from 1 "
                "(0: the end of training)."
            )

    def subject(self) -> str:
        """Name briefly what is evaluated: the model, or the training run's arm and checkpoint."""
        if not self.trained_run:
            return slug(self.model)
        arm = re.sub(r"^train-|-[0-9a-f]{10}$", "", self.trained_run)
        return slug(arm) + (f"-u{self.checkpoint}" if self.checkpoint else "")

    def eval_id(self) -> str:
        """Name the folder of the evaluation's run."""
        parts = (self.subject(), slug(self.benchmark), slug(self.prompt_style), self.decoding(), self.digest())
        return "eval-" + "-".join(parts)
