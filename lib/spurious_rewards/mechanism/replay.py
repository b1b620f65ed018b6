"""Replay one rollout batch under every clip mode, by the trainers that a training run would use.

One `RunTrainer` per clip mode. The first draws: rollouts, rewards, advantages, log π_old, shuffled and cut into
mini-batches, all by the trainer's own code under the checkpoint. Then each trainer starts from the checkpoint's weights
and the pair's optimizer state and makes the updates of a run on those mini-batches: its own loss, gradient-norm clip,
optimizer step. What an arm consumes is hashed as it is consumed, so that pairing is a fact of the records, and the
loss and the weights after the first update, where the clip cannot act yet, are a second witness: equal to the last bit
in every mode (`cispo`, whose loss is another function with the same gradient there: weights equal up to rounding).

With a coin of γ = ½ as reward, a draw and its negative (`Draw.negated`: every coin turned over) are equally likely.
Replayed both, all that is odd in the advantages cancels in their mean exactly: what is left is drift.

Usage: `arms = Arms(config); draw = arms.draw(pair); facts = arms.replay("two_sided", draw)`, then probe `arms.model`.
"""

from __future__ import annotations

import copy
import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from transformers.utils.logging import disable_progress_bar

from spurious_rewards.data.labelled import training_problems
from spurious_rewards.errors import InputError
from spurious_rewards.generation.attention import use_grouped_attention
from spurious_rewards.mechanism.counterfactual_config import CounterfactualConfig
from spurious_rewards.training.run import make_trainer

CONSUMED = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages", "old_per_token_logps")
"""Tensors of a micro-batch that the loss depends on; they are hashed as an arm consumes them."""
MiniBatch = dict[str, Any]
"""Tensors of the rollouts of one micro-batch, as the loss takes them; `B` rollouts, `P` prompt and `T` answer tokens:
prompt_ids, prompt_mask (B, P); completion_ids, completion_mask, old_per_token_logps (B, T); advantages (B,)."""


@dataclass(frozen=True)
class Draw:
    """Hold what the arms of one pair share.

    Attributes:
        micro_batches: the rollout batch, cut into micro-batches in their order.
        rewards: of all rollouts, in the order they were drawn.
        state: the optimizer's state that every arm starts from.
    """

    micro_batches: tuple[MiniBatch, ...]
    rewards: Tensor
    state: dict[str, Any]

    def negated(self) -> Draw:
        """Return the draw in which every coin fell the other way, those of the warm-up included.

        Then rewards are 1 − r, advantages −A, and so are the gradients at ratio 1 that fill the optimizer's first
        moment; its second moment stays.
        """
        turned = copy.deepcopy(self.state)
        for values in turned["state"].values():
            if "exp_avg" in values:
                values["exp_avg"].neg_()
        micro_batches = tuple({**micro, "advantages": -micro["advantages"]} for micro in self.micro_batches)
        return Draw(micro_batches, 1 - self.rewards, turned)


class Arms:
    """Hold the trainers of one setting, at one checkpoint.

    Attributes:
        model: the policy of the mode replayed last.
        tokenizer: of the model.
    """

    def __init__(self, config: CounterfactualConfig):
        disable_progress_bar()  # of loading the weights, once per trainer
        _repeat_exactly()
        self.config = config
        problems = training_problems(config.train_set, config.n_train_problems, config.problem_seed, [config.reward])
        self.trainers = {
            mode: make_trainer(config.run_config(mode), problems, tempfile.gettempdir()) for mode in config.modes
        }
        first = next(iter(self.trainers.values()))
        self.model, self.tokenizer = first.model, first.processing_class
        self.checkpoint = [p.detach().clone() for p in first.model.parameters()]
        self._first_weights: dict[str, list[Tensor]] = {}
        for trainer in self.trainers.values():
            trainer.create_optimizer()
            trainer.model.train()
            use_grouped_attention(trainer.model)  # rollouts switch the first; in bf16 the others would round otherwise
            trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
        self._no_state = copy.deepcopy(first.optimizer.state_dict())

    def checkpoint_hash(self) -> str:
        """Return the SHA-256 (16 digits) of the checkpoint's weights."""
        return _hash(self.checkpoint)

    def draw(self, pair: int) -> Draw:
        """Draw rollouts, rewards, mini-batches and optimizer state of a pair, by (seed, pair, checkpoint)."""
        config, trainer = self.config, next(iter(self.trainers.values()))
        first = pair * config.batches_per_pair
        state = self._warmed(trainer, first) if config.optimizer == "adamw" else self._no_state
        return Draw(*self._rollout_batch(trainer, first + config.warmup_batches), state)

    def replay(self, mode: str, draw: Draw) -> dict[str, Any]:
        """Make the updates of one arm on `draw`, from the checkpoint; `model` is then the arm's policy.

        Returns:
            start_sha: hash of weights and optimizer state before the first update. rollouts_sha: hash of what the arm
            consumed. first_loss: loss of the first update. first_gap: distance of the weights after it to those of
            the mode that `draw` was replayed with first. would_clip_high, would_clip_low: share of tokens beyond the
            reference ε in the clipped direction, and clipped: share whose gradient the mode removed (for cispo: whose
            weight it clipped with A > 0); one number per update. ratio_max: largest ratio of all updates. grad_norm:
            mean over updates, before clipping. reward_mean; n_tokens: answer tokens. motion: ‖θ − θ_checkpoint‖.

        Raises:
            InputError: the policy diverged.
        """
        trainer = self.trainers[mode]
        self.model = trainer.model
        _load(trainer.model, self.checkpoint)
        trainer.optimizer.load_state_dict(copy.deepcopy(draw.state))
        start_sha = _hash(list(trainer.model.parameters()) + _moments(trainer.optimizer.state_dict()))
        updates: list[dict[str, float]] = []
        seen = [draw.rewards]
        for micro in draw.micro_batches:
            seen += [micro[name] for name in CONSUMED if name in micro]
        first: dict[str, Any] = {}
        per_update = trainer.args.gradient_accumulation_steps
        for start in range(0, len(draw.micro_batches), per_update):
            updates.append(self._update(trainer, draw.micro_batches[start : start + per_update]))
            if not first:
                first = {"first_loss": updates[0]["loss"], "first_gap": self._first_gap(trainer.model, seen)}
        self._check_finite(trainer)
        facts = {"start_sha": start_sha, "rollouts_sha": _hash(seen), **first}
        facts |= {name: [u[name] for u in updates] for name in ("would_clip_high", "would_clip_low", "clipped")}
        facts["ratio_max"] = max(u["ratio_max"] for u in updates)
        facts["grad_norm"] = fmean(u["grad_norm"] for u in updates)
        facts["reward_mean"] = float(draw.rewards.mean())
        facts["n_tokens"] = sum(int(micro["completion_mask"].sum()) for micro in draw.micro_batches)
        return facts | {"motion": _distance(trainer.model, self.checkpoint)}

    def weights(self) -> list[Tensor]:
        """Return a copy of the weights of `model`, the arm replayed last."""
        return [p.detach().clone() for p in self.model.parameters()]

    def mirror(self, one: list[Tensor], other: list[Tensor]) -> Iterator[None]:
        """Set `model` to the checkpoint plus, then minus, half the difference of two arms' weights.

        What a quantity does on average at these two places is the work of its curvature alone: the motion between
        them has no direction.
        """
        for sign in (0.5, -0.5):
            moved = [w + sign * (a - b) for w, a, b in zip(self.checkpoint, one, other, strict=True)]
            _load(self.model, moved)
            yield

    # Parts

    def _warmed(self, trainer: Any, first: int) -> dict[str, Any]:
        """Return the optimizer state after warm-up on the rollout batches from `first`, at learning rate 0."""
        _load(trainer.model, self.checkpoint)
        trainer.optimizer.load_state_dict(copy.deepcopy(self._no_state))
        groups = trainer.optimizer.param_groups
        for group in groups:
            group["lr"] = 0.0
        per_update = trainer.args.gradient_accumulation_steps
        for i in range(first, first + self.config.warmup_batches):
            micro_batches, _ = self._rollout_batch(trainer, i)
            for start in range(0, len(micro_batches), per_update):
                self._update(trainer, micro_batches[start : start + per_update])
        for group in groups:
            group["lr"] = self.config.learning_rate
        if _distance(trainer.model, self.checkpoint) != 0:
            raise RuntimeError("A learning rate of 0 moved the weights.")
        return copy.deepcopy(trainer.optimizer.state_dict())

    def _rollout_batch(self, trainer: Any, index: int) -> tuple[tuple[MiniBatch, ...], Tensor]:
        """Draw rollout batch `index` of the trainer's rows under the checkpoint, by the trainer's `_prepare_inputs`."""
        _load(trainer.model, self.checkpoint)
        torch.manual_seed(_seed(self.config.seed, index))
        n, size = self.config.prompts_per_batch, self.config.group_size
        rows = [row for row in trainer.train_dataset[index * n : (index + 1) * n] for _ in range(size)]
        trainer._step, trainer._buffered_inputs = 0, None
        with trainer.accelerator.autocast():
            trainer._prepare_inputs(rows)
        micro_batches, trainer._buffered_inputs = trainer._buffered_inputs, None
        rewards = torch.tensor(list(trainer._logs["rewards"][trainer.reward_func_names[0]])[-n * size :])
        trainer._metrics["train"].clear()
        return tuple(micro_batches), rewards

    def _first_gap(self, model: torch.nn.Module, seen: list[Tensor]) -> float:
        """Return how far the weights after the first update lie from those of the first mode on these rollouts."""
        key = _hash(seen)
        if key not in self._first_weights:
            self._first_weights = {key: [p.detach().clone() for p in model.parameters()]}
        return _distance(model, self._first_weights[key])

    @staticmethod
    def _update(trainer: Any, micro_batches: Sequence[MiniBatch]) -> dict[str, float]:
        """Make one optimizer update as `Trainer` makes it: loss, backward, gradient-norm clip, step."""
        losses = []
        for i, micro in enumerate(micro_batches):
            trainer.accelerator.gradient_state._set_sync_gradients(i == len(micro_batches) - 1)
            with trainer.accelerator.autocast():
                loss = trainer._compute_loss(trainer.model, micro)
            loss.backward()
            losses.append(loss.item())
        norm = torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), trainer.args.max_grad_norm)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        metrics = trainer._metrics["train"]
        clipped = metrics["cispo_clip_ratio"] or metrics["clip_ratio/region_mean"]
        found = {name: metrics[name][-1] for name in ("would_clip_high", "would_clip_low", "ratio_max")}
        metrics.clear()
        return {**found, "clipped": fmean(clipped), "loss": sum(losses), "grad_norm": float(norm)}

    def _check_finite(self, trainer: Any) -> None:
        if not all(torch.isfinite(p).all() for p in trainer.model.parameters()):
            raise InputError(
                f"The policy diverged under clip mode {trainer.run.clip_mode}: its weights are not finite;"
                f" lower learning_rate ({self.config.learning_rate:g})."
            )


def _load(model: torch.nn.Module, weights: list[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), weights, strict=True):
            parameter.copy_(value)


def _distance(model: torch.nn.Module, weights: list[Tensor]) -> float:
    with torch.no_grad():
        squares = [(p - w).square().sum(dtype=torch.float64) for p, w in zip(model.parameters(), weights, strict=True)]
    return float(torch.stack(squares).sum().sqrt())


def _moments(state: dict[str, Any]) -> list[Tensor]:
    """List the tensors of an optimizer's state, in a fixed order."""
    return [
        value
        for _, values in sorted(state["state"].items())
        for _, value in sorted(values.items())
        if isinstance(value, Tensor)
    ]


def _seed(seed: int, index: int) -> int:
    """Return 63 bits for torch's generator, from the run's seed and the rollout batch."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\x1f{index}".encode(), digest_size=8).digest(), "big") >> 1


def _repeat_exactly() -> None:
    """Have a GPU add in a fixed order: by default two replays of the same updates differ in their last bits there."""
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)


def _hash(tensors: list[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(str((tuple(tensor.shape), tensor.dtype)).encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
