"""Define one training run: a frozen configuration with the paper's defaults, and the arithmetic of its batches.

Each field says where its default comes from. "paper" is arXiv 2506.10947 (§2 and appendix, v1), "released code" the
code published with it, github.com/ruixin31/Rethink_RLVR at 7de70c2; `docs/deviations.md` lists where they differ and
what is done about it.

>>> config = RunConfig(reward="random", gamma=0.5)
>>> config.batch_plan(world_size=8)
BatchPlan(rollouts=1024, mini_batch=128, micro_batch=4, gradient_accumulation=4, micro_steps_per_rollout_batch=32)
>>> RunConfig(clip_mode="nonee")
Traceback (most recent call last):
    ...
spurious_rewards.errors.InputError: Unknown clip_mode 'nonee' (did you mean 'none'?); known: cispo, high_only, ...
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from spurious_rewards.errors import InputError, check_name
from spurious_rewards.rewards.names import check_reward, leaves, parse
from spurious_rewards.rewards.registry import Reward, build, source_hash
from spurious_rewards.storage.config import Config, slug
from spurious_rewards.storage.yaml_text import read_mapping
from spurious_rewards.training.clip import MODES, ClipBand, band

CHOICES = {
    "optimizer": ("adamw", "sgd"),
    "precision": ("fp32", "bf16"),
    "advantage_sign": ("both", "positive", "negative"),
    "engine": ("transformers", "shared_prefix", "vllm_colocate", "vllm_server"),
    "grader": ("robust", "paper"),
}
"""Fields of `RunConfig` that take one of a few words."""
LEAST = {
    0: "keep_checkpoints n_train_problems lora_rank rollouts_kept_per_batch seed problem_seed",
    1: "prompts_per_batch updates_per_batch rollout_batches micro_batch max_prompt_tokens max_completion_tokens "
    "save_every_batches vllm_tensor_parallel",
    2: "group_size",
}
"""Smallest value → the fields of `RunConfig` that it is the smallest value of."""

TRL_OWNED = {
    "clip_mode": (
        "epsilon", "epsilon_high", "loss_type", "num_iterations",
        "importance_sampling_level", "delta", "off_policy_mask_threshold",
    ),
    "prompts_per_batch, group_size, updates_per_batch and micro_batch": (
        "steps_per_generation", "generation_batch_size", "num_generations",
        "per_device_train_batch_size", "gradient_accumulation_steps",
    ),
    "rollout_batches": ("max_steps", "num_train_epochs", "shuffle_dataset", "dataloader_drop_last"),
    "save_every_batches": ("save_strategy", "save_steps", "save_total_limit", "output_dir"),
    "max_completion_tokens": ("max_completion_length", "vllm_max_model_length"),
    "temperature": ("temperature",),
    "optimizer": ("optim",),
    "learning_rate": ("learning_rate",),
    "precision": ("bf16", "fp16", "use_cpu"),
    "seed": ("seed", "data_seed"),
    "engine": ("use_vllm", "vllm_mode"),
    "vllm_gpu_memory": ("vllm_gpu_memory_utilization",),
    "vllm_tensor_parallel": ("vllm_tensor_parallel_size",),
    "gradient_checkpointing": ("gradient_checkpointing",),
    "diagnostics": ("logging_steps", "logging_strategy", "logging_nan_inf_filter"),
}  # fmt: skip
"""Fields of `GRPOConfig` that `RunConfig.trl` may not set, by the field of `RunConfig` that decides them."""

NOT_IN_RUN_ID = {"identity": False}  # changes where or how often something is written, never what is computed


@dataclass(frozen=True)
class BatchPlan:
    """Say how one rollout batch is cut up. All counts are sequences (rollouts) or steps, none is tokens."""

    rollouts: int
    """Rollouts per rollout batch over all processes: prompts_per_batch · group_size."""
    mini_batch: int
    """Rollouts per optimizer update over all processes."""
    micro_batch: int
    """Rollouts per forward pass of one process."""
    gradient_accumulation: int
    """Forward passes per update and process."""
    micro_steps_per_rollout_batch: int
    """Forward passes per rollout batch and process: TRL's `steps_per_generation`."""


@dataclass(frozen=True)
class RunConfig(Config):
    """Define a training run; equal configurations share a run folder."""

    model: str = "Qwen/Qwen2.5-Math-7B"
    """Registry name or folder (paper: Qwen2.5-Math-7B first, nine others beside it)."""
    train_set: str = "deepscaler_clean"
    """Problem set; paper: "DeepScaleR data". Deviation: cleaned of duplicates, contradictions and leaks."""
    n_train_problems: int = 0
    """Problems drawn from it; 0 takes all (about 40 000)."""
    problem_seed: int = 0
    """Seed for drawing the training problems; separate from `seed`, so that all seeds share problems and labels."""
    prompt_style: str = "qwen_default"
    """How a problem becomes a prompt; paper: the model's default system prompt and chat template."""

    reward: str = "ground_truth"
    """Reward: a name of `rewards.registry`, or `module:function`; `A_and_B` and `inverse_A` compose."""
    gamma: float = 0.5
    """Probability of reward 1 under the random reward (paper §4: 0.5 unless said otherwise)."""
    false_positive: float = 0.0
    """Probability that reward noisy_ground_truth pays for a wrong answer."""
    false_negative: float = 0.0
    """Probability that reward noisy_ground_truth withholds its 1 from a right answer."""
    labels: str = ""
    """Run id or folder of a majority-vote labelling, for the rewards majority_vote and incorrect."""
    right_labels: float = 0.0
    """Share of the problems of reward incorrect that keep their right answer; paper: 0, every label is wrong."""
    grader: str = "robust"
    """Grader of the math rewards: `robust`, or `paper` for the released verifier's behaviour."""

    clip_mode: str = "two_sided"
    """Clip mode, a row of `training.clip.MODES`; paper: PPO's two-sided clip, and one ablation without it."""
    epsilon_low: float = 0.2
    """Distance of the clip's lower exit from ratio 1; paper: 0.2."""
    epsilon_high: float = 0.2
    """Distance of the clip's upper exit from ratio 1; paper: 0.2."""
    reference_epsilon: float = 0.2
    """ε of the *would-clip* fraction that is logged in every arm, the unclipped ones included; below 1."""
    advantage_sign: str = "both"
    """Which advantages count: `both` (paper), or only those above 0 (`positive`) or below 0 (`negative`); the others
    are set to 0."""
    whiten_advantages: bool = False
    """Normalise advantages once more over the whole rollout batch, as the released code does and the paper does not."""

    prompts_per_batch: int = 64
    """Prompts per rollout batch; paper: "batch size 64"."""
    group_size: int = 16
    """Rollouts per prompt; paper: 16."""
    updates_per_batch: int = 8
    """Optimizer updates per rollout batch; paper: mini-batch 128 of 1024 rollouts, so 8. With 1 the clip is inert."""
    rollout_batches: int = 300
    """Length of the run; paper: 300 steps, a step being one rollout batch."""
    micro_batch: int = 4
    """Sequences per forward pass and process (released code: 4)."""
    temperature: float = 1.0
    """Temperature of the rollouts; paper: 1."""
    max_prompt_tokens: int = 1024
    """Longest prompt; problems with a longer one are left out (released code: 1024)."""
    max_completion_tokens: int = 3072
    """Longest rollout, in tokens; paper: 3072."""

    optimizer: str = "adamw"
    """Optimizer: `adamw` (paper), or `sgd` without momentum for the mechanism."""
    learning_rate: float = 5e-7
    """Step size of the optimizer, constant; paper: 5e-7."""
    precision: str = "bf16"
    """Precision: `fp32`, or `bf16` autocast over fp32 weights (a pure bf16 weight does not move at 5e-7)."""
    lora_rank: int = 0
    """Rank of a LoRA adapter (α = 2·rank, all linear layers) that is trained instead of all weights; 0, paper: none."""

    engine: str = "transformers"
    """Who writes the rollouts: `transformers` (TRL's own use of `generate`), `shared_prefix` (the same model, a prompt
    read once per group, see `training.rollouts`: faster where prompts are long or models tiny), or vLLM, which needs a
    GPU."""
    trl: str = ""
    """Further fields of TRL's `GRPOConfig` as YAML, for example `"beta: 0.01, max_grad_norm: 0.5"`; those that decide
    the clip, the batches or what else is a field here are refused."""
    seed: int = 0
    """Seeds the order of problems, sampling, mini-batch order and reward draws."""
    allow_inert_clip: bool = False
    """Accept numbers under which the clip cannot act (a control with one update per rollout batch, say), and an ε that
    the clip mode does not read (modes replayed side by side share their settings)."""

    diagnostics: bool = field(default=True, metadata=NOT_IN_RUN_ID)
    """Log ratios, would-clip fractions and their like for every update, see `training.diagnostics`."""
    top1_prob: bool = field(default=True, metadata=NOT_IN_RUN_ID)
    """Log the mean top-1 probability with the diagnostics; about 1 % of an update."""
    vllm_gpu_memory: float = field(default=0.3, metadata=NOT_IN_RUN_ID)
    """Share of each GPU's memory that colocated vLLM takes (TRL: 0.3)."""
    vllm_tensor_parallel: int = field(default=1, metadata=NOT_IN_RUN_ID)
    """GPUs per vLLM copy, colocated (TRL: 1)."""
    gradient_checkpointing: bool = field(default=False, metadata=NOT_IN_RUN_ID)
    """Keep only the input of each layer and compute the rest again in the backward pass: the same losses in less memory
    and about a third more time. `profiles/accelerate/` has the arithmetic for 7 B parameters. Where FSDP does it by its
    own means (fsdp_activation_checkpointing) this field changes nothing."""
    clip_projection: bool = field(default=False, metadata=NOT_IN_RUN_ID)
    """Also log the signed gradient of the clip term along the motion since the rollout batch began, see
    `training.clip_projection` (one more backward pass)."""
    save_every_batches: int = field(default=10, metadata=NOT_IN_RUN_ID)
    """Rollout batches between checkpoints."""
    keep_checkpoints: int = field(default=2, metadata=NOT_IN_RUN_ID)
    """How many of the newest checkpoints stay; 0 keeps all."""
    rollouts_kept_per_batch: int = field(default=64, metadata=NOT_IN_RUN_ID)
    """Rollouts per rollout batch that go into rollouts.parquet, whole groups first."""
    reward_source: str = ""
    """Hash of the source of a reward of one's own, filled in by itself: an edited reward is another run. Empty for the
    rewards of this project."""

    def validate(self) -> None:
        """Raise `InputError` for any value that cannot work, before a model is loaded."""
        check_reward(self.reward, self.gamma, self.labels)
        self._check_reward_dials()
        object.__setattr__(self, "reward_source", source_hash(self.reward))
        sorted_fields = sorted(self.trl_fields().items(), key=str)  # one spelling, one run id
        object.__setattr__(self, "trl", ", ".join(f"{name}: {json.dumps(value)}" for name, value in sorted_fields))
        limits = band(self.clip_mode, self.epsilon_low, self.epsilon_high)
        for name, known in CHOICES.items():
            check_name(name, getattr(self, name), known)
        for least, names in LEAST.items():
            self.check_at_least(dict.fromkeys(names.split(), least))
        for name in ("temperature", "reference_epsilon", "vllm_gpu_memory"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} must be above 0, but it is {getattr(self, name)}.")
        if self.reference_epsilon >= 1:
            raise InputError(
                f"reference_epsilon must be below 1, but it is {self.reference_epsilon}: no ratio falls "
                "below 0, so the lower would-clip fraction would always be 0."
            )
        if self.vllm_gpu_memory > 1:
            raise InputError(f"vllm_gpu_memory is a share of the GPU's memory, at most 1, not {self.vllm_gpu_memory}.")
        if self.learning_rate < 0:
            raise InputError(f"learning_rate must not be negative, but it is {self.learning_rate:g}.")
        if not self.allow_inert_clip:
            self._check_clip_acts(limits)
            self._check_ignored_epsilon()
        self.batch_plan(1)

    def reward_names(self) -> list[str]:
        """Return the base names in the reward expression, left to right."""
        return leaves(parse(self.reward))

    def reward_function(self) -> Reward:
        """Return the run's reward, bound to its options, as TRL takes it.

        Raises:
            InputError: a reward of one's own was edited after this configuration was made.
        """
        if source_hash(self.reward) != self.reward_source:
            raise InputError(f"Reward {self.reward} was edited after this run was configured; configure it again.")
        options = {name: getattr(self, name) for name in ("seed", "grader", "false_positive", "false_negative")}
        return build(self.reward, self.gamma, **options)

    def trl_fields(self) -> dict[str, Any]:
        """Parse `trl` into fields of `GRPOConfig`.

        Raises:
            InputError: not a YAML mapping, or a field that another field of `RunConfig` decides.
        """
        fields = read_mapping(f"{{{self.trl}}}", "trl")
        for owner, names in TRL_OWNED.items():
            for name in names:
                if name in fields:
                    raise InputError(f"trl may not set {name}: it follows from {owner}; change that instead.")
        return fields

    def _check_reward_dials(self) -> None:
        """Raise `InputError` for a dial out of its range, or one that the reward does not read."""
        names = self.reward_names()
        for dial, reader in (
            ("false_positive", "noisy_ground_truth"),
            ("false_negative", "noisy_ground_truth"),
            ("right_labels", "incorrect"),
        ):
            value = getattr(self, dial)
            if not 0 <= value <= 1:
                raise InputError(f"{dial} is a share and must lie in [0, 1], but it is {value:g}.")
            if value and reader not in names:
                raise InputError(f"{dial} is read by reward {reader} alone, not by {self.reward}; leave it at 0.")

    def _check_clip_acts(self, limits: ClipBand) -> None:
        """Raise `InputError` for numbers under which a clip mode could not differ from `none`."""
        wish = "or set allow_inert_clip if this is the control you want."
        if self.updates_per_batch == 1 or self.learning_rate == 0:
            cause = (
                "with one update per rollout batch π_θ equals π_old"
                if self.updates_per_batch == 1
                else "with a learning rate of 0 π_θ never leaves π_old"
            )
            raise InputError(
                f"The clip is inert: {cause}, so every clip_mode gives the same run. Use several "
                f"updates_per_batch (paper: 8), {wish}"
            )
        if limits.never_left and MODES[self.clip_mode].clips:
            raise InputError(
                f"The clip is inert: no ratio leaves the band of clip_mode {self.clip_mode} with "
                f"epsilon_low {self.epsilon_low:g} and epsilon_high {self.epsilon_high:g}. Use the "
                f"paper's 0.2, or clip_mode none, {wish}"
            )

    def _check_ignored_epsilon(self) -> None:
        """Raise `InputError` for an ε that the mode does not read: it would give equal runs different names."""
        name = MODES[self.clip_mode].ignored
        if name and getattr(self, name) != getattr(type(self), name):
            raise InputError(
                f"clip_mode {self.clip_mode} does not read {name}, but it is set to "
                f"{getattr(self, name):g}; leave it at {getattr(type(self), name):g}."
            )

    def notes(self) -> list[str]:
        """Return what a reader of this run's numbers should know, one sentence each, for screen and manifest."""
        if self.reward == "random" and self.gamma in (0, 1):
            return [
                f"With gamma {self.gamma:g} every rollout gets the same reward, so every advantage is 0 and "
                "nothing moves: a control."
            ]
        return []

    def batch_plan(self, world_size: int) -> BatchPlan:
        """Cut a rollout batch into mini-batches and micro-batches for `world_size` processes.

        Raises:
            InputError: the numbers do not divide; the message names them and one that works.
        """
        rollouts = self.prompts_per_batch * self.group_size
        if rollouts % self.updates_per_batch:
            raise InputError(
                f"{rollouts} rollouts (prompts_per_batch {self.prompts_per_batch} × group_size "
                f"{self.group_size}) cannot be cut into updates_per_batch {self.updates_per_batch} equal "
                "mini-batches; choose a divisor."
            )
        mini_batch = rollouts // self.updates_per_batch
        per_step = self.micro_batch * world_size
        if mini_batch % per_step:
            raise InputError(
                f"A mini-batch of {mini_batch} rollouts cannot be cut into micro_batch {self.micro_batch} "
                f"× {world_size} process(es); choose a micro_batch that divides "
                f"{mini_batch / world_size:g}."
            )
        return BatchPlan(rollouts, mini_batch, self.micro_batch, mini_batch // per_step, rollouts // per_step)

    def arm(self) -> str:
        """Return a short readable name of what distinguishes this run: reward, clip mode, seed."""
        dials = {
            "random": f"{self.gamma:g}",
            "noisy_ground_truth": f"{self.false_positive:g}_{self.false_negative:g}",
            "incorrect": f"{self.right_labels:g}" if self.right_labels else "",
        }
        sign = "" if self.advantage_sign == "both" else f"-{self.advantage_sign}"
        reward = self.reward.replace(":", ".")  # of module:function; a colon is no part of a folder's name
        return f"{reward}{dials.get(self.reward, '')}-{self.clip_mode}{sign}-s{self.seed}"

    def run_id(self) -> str:
        """Return the name of the run's folder: what a person looks for, then the digest of everything that matters."""
        return f"train-{slug(self.model)}-{self.arm()}-{self.digest()}"
