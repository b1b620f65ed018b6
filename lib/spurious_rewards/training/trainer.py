"""Train with TRL's `GRPOTrainer` and a clip of one's choice, in any training script.

    trainer = ClipGRPOTrainer(
        model="Qwen/Qwen2.5-Math-1.5B",
        reward_funcs=my_reward,
        args=GRPOConfig(steps_per_generation=8, gradient_accumulation_steps=1),
        train_dataset=dataset,
        clip_mode="none",
    )
    trainer.train()

Nothing of TRL's loss is copied. Most clip modes are settings of the stock loss (`clip.trl_settings`); the two that are
not are reached by what the stock loss is given:

- a mode that drops π_old (−π_θ·A): the loss gets log π_old = 0, so its ratio is π_θ itself, and the unclipped band.
- a mode that clips the weight: TRL's own loss type cispo, whose normaliser is replaced by the token count of the
  micro-batch where the averaging is `bnpo`, so that it is that of every other mode.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from trl import GRPOConfig

from spurious_rewards.errors import InputError
from spurious_rewards.training.clip import band, check_mode, trl_settings
from spurious_rewards.training.fast_trl import FastGRPOTrainer

AVERAGING = {False: ("bnpo", "dapo", "grpo", "dr_grpo"), True: ("bnpo", "dapo")}
"""TRL's loss types that are the clipped surrogate, by whether the clip mode clips the weight."""


class ClipGRPOTrainer(FastGRPOTrainer):
    """Train as `GRPOTrainer` does, with a clip mode and diagnostics; takes its arguments and these.

    Args:
        model: as in TRL.
        reward_funcs: as in TRL.
        args: a `GRPOConfig`, left as it is; its `epsilon` and `epsilon_high` are the ε of the clip mode.
        clip_mode: one of `clip.MODES`.
        diagnostics: log the columns of `training.diagnostics`, also to `report_to`.
        reference_epsilon: ε of the would-clip fractions, which are logged in every mode.
        clip_projection: also log the signed gradient of the clip term, see `training.clip_projection`.
        fast: False leaves every tensor as stock TRL computes it, see `training.fast_trl`.

    Attributes:
        clip_mode: the row of `clip.MODES`.
        band: the interval of ratios that keep their gradient (or weight).

    Raises:
        InputError: unknown mode, an ε out of range, or a loss without a ratio per token that could be clipped.
    """

    def __init__(
        self,
        model: Any,
        reward_funcs: Any = None,
        args: Any = None,
        *more: Any,
        clip_mode: str = "two_sided",
        **kwargs: Any,
    ):
        args = copy.copy(args) if args is not None else GRPOConfig("trainer_output")
        high = args.epsilon if args.epsilon_high is None else args.epsilon_high
        self.clip_mode, self.band = check_mode(clip_mode), band(clip_mode, args.epsilon, high)
        self.averaging = args.loss_type
        self._check(args)
        for name, value in trl_settings(clip_mode, args.epsilon, high).items():
            setattr(args, name, value)
        super().__init__(model, reward_funcs, args, *more, **kwargs)

    def _check(self, args: Any) -> None:
        """Raise `InputError` for a loss that the clip modes are not defined for; warn where no clip could act."""
        known = AVERAGING[self.clip_mode.weight_only]
        if args.loss_type not in known:
            raise InputError(
                f"clip_mode {self.clip_mode.name} works with loss_type {', '.join(known)}, not {args.loss_type}."
            )
        if args.use_liger_kernel:
            raise InputError("Liger's loss hands out no log-probability per token: set use_liger_kernel to False.")
        if args.importance_sampling_level != "token" or args.delta is not None:
            raise InputError(
                "The clip modes are of one ratio per token: set importance_sampling_level to token and delta to None."
            )
        if args.gradient_accumulation_steps % (args.steps_per_generation * args.num_iterations) == 0:
            warnings.warn(
                "The clip cannot act: with one update per rollout batch every ratio is 1 (TRL's defaults). Choose "
                "gradient_accumulation_steps below steps_per_generation.",
                stacklevel=3,
            )

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        given = dict(inputs)
        if not self.clip_mode.keeps_old:
            given["old_per_token_logps"] = torch.zeros_like(inputs["completion_mask"], dtype=torch.float32)
        elif self.clip_mode.weight_only and self.averaging == "bnpo":
            steps_and_processes = self.args.steps_per_generation * self.accelerator.num_processes
            given["num_items_in_batch"] = inputs["completion_mask"].sum() * steps_and_processes
        with self.timed("forward"):
            loss = super()._compute_loss(model, given)
        self.diagnose(model, inputs, given, loss)
        return loss
