"""The replay of one rollout batch under every clip mode, by the trainers that a training run would use.

One `ClipGRPOTrainer` per clip mode. The first draws: rollouts, rewards, advantages, log π_old, shuffled and cut into
mini-batches, all by the trainer's own code under the checkpoint. Then each trainer starts from the checkpoint's weights
and the pair's optimizer state and makes the updates of a run on those mini-batches: its own loss, gradient-norm clip,
optimizer step. What an arm consumes is hashed as it is consumed, so that pairing is a fact of the records, and the
loss and the weights after the first update, where the clip cannot act yet, are a second witness: equal to the last bit
in every mode (`cispo`, whose loss is another function with the same gradient there: weights equal up to rounding).

Usage: `arms = Arms(config); draw = arms.draw(pair); facts = arms.replay("two_sided", draw)`, then probe `arms.model`.
"""

from __future__ import annotations

import copy
import hashlib
import tempfile
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from transformers.utils.logging import disable_progress_bar

from spurious_rewards.data.labelled import training_problems
from spurious_rewards.errors import InputError
from spurious_rewards.mechanism.counterfactual_config import CounterfactualConfig
from spurious_rewards.training.run import make_trainer

MiniBatch = dict[str, Any]
"""Tensors of the rollouts of one micro-batch, as the loss takes them; `B` rollouts, `P` prompt and `T` answer tokens:
prompt_ids, prompt_mask (B, P); completion_ids, completion_mask, old_per_token_logps (B, T); advantages (B,)."""


@dataclass(frozen=True)
class Draw:
    """What the arms of one pair share.

    Attributes:
        batches: the rollout batches, each cut into micro-batches in their order.
        rewards: of all rollouts, in the order they were drawn.
        state: the optimizer's state that every arm starts from.
    """

    batches: tuple[tuple[MiniBatch, ...], ...]
    rewards: Tensor
    state: dict[str, Any]


class Arms:
    """The trainers of one setting, at one checkpoint.

    Attributes:
        model: the policy of the mode replayed last.
        tokenizer: of the model.
    """

    def __init__(self, config: CounterfactualConfig):
        disable_progress_bar()  # of loading the weights, once per trainer
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
            trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
        self._no_state = copy.deepcopy(first.optimizer.state_dict())

    def checkpoint_hash(self) -> str:
        """SHA-256 (16 digits) of the checkpoint's weights."""
        return _hash(self.checkpoint)

    def draw(self, pair: int) -> Draw:
        """Rollouts, rewards, mini-batches and optimizer state of a pair: a function of (seed, pair) and checkpoint."""
        config, trainer = self.config, next(iter(self.trainers.values()))
        first = pair * config.batches_per_pair
        state = self._warmed(trainer, first) if config.optimizer == "adamw" else self._no_state
        drawn = [self._rollout_batch(trainer, first + config.warmup_batches + i) for i in range(config.n_batches)]
        return Draw(tuple(batches for batches, _ in drawn), torch.cat([rewards for _, rewards in drawn]), state)

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
        first: dict[str, Any] = {}
        for b, micro_batches in enumerate(draw.batches):
            old = [self._log_probs(trainer, micro) for micro in micro_batches] if b else [None] * len(micro_batches)
            for micro in micro_batches:
                seen += [
                    micro[name]
                    for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages")
                ]
                seen += [micro["old_per_token_logps"]] if b == 0 and "old_per_token_logps" in micro else []
            per_update = trainer.args.gradient_accumulation_steps
            for start in range(0, len(micro_batches), per_update):
                part = [
                    micro if logps is None else {**micro, "old_per_token_logps": logps}
                    for micro, logps in zip(
                        micro_batches[start : start + per_update], old[start : start + per_update], strict=True
                    )
                ]
                updates.append(self._update(trainer, part))
                if not first:
                    first = {"first_loss": updates[0]["loss"], "first_gap": self._first_gap(trainer.model, seen)}
        self._check_finite(trainer)
        return {
            "start_sha": start_sha,
            "rollouts_sha": _hash(seen),
            **first,
            **{name: [u[name] for u in updates] for name in ("would_clip_high", "would_clip_low", "clipped")},
            "ratio_max": max(u["ratio_max"] for u in updates),
            "grad_norm": fmean(u["grad_norm"] for u in updates),
            "reward_mean": float(draw.rewards.mean()),
            "n_tokens": sum(int(micro["completion_mask"].sum()) for batch in draw.batches for micro in batch),
            "motion": _distance(trainer.model, self.checkpoint),
        }

    # Parts

    def _warmed(self, trainer: Any, first: int) -> dict[str, Any]:
        """The optimizer state after warm-up on the rollout batches from `first`, at learning rate 0."""
        _load(trainer.model, self.checkpoint)
        trainer.optimizer.load_state_dict(copy.deepcopy(self._no_state))
        groups = trainer.optimizer.param_groups
        for group in groups:
            group["lr"] = 0.0
        per_update = trainer.args.gradient_accumulation_steps
        for i in range(first, first + self.config.warmup_batches):
            micro_batches, _ = self._rollout_batch(trainer, i)
            for start in range(0, len(micro_batches), per_update):
                self._update(trainer, list(micro_batches[start : start + per_update]))
        for group in groups:
            group["lr"] = self.config.learning_rate
        if _distance(trainer.model, self.checkpoint) != 0:
            raise RuntimeError("A learning rate of 0 moved the weights.")
        return copy.deepcopy(trainer.optimizer.state_dict())

    def _rollout_batch(self, trainer: Any, index: int) -> tuple[tuple[MiniBatch, ...], Tensor]:
        """Rollout batch `index` of the trainer's rows under the checkpoint, by the trainer's own `_prepare_inputs`."""
        _load(trainer.model, self.checkpoint)
        torch.manual_seed(_seed(self.config.seed, index))
        n, size = self.config.prompts_per_batch, self.config.group_size
        rows = [row for row in trainer.train_dataset[index * n : (index + 1) * n] for _ in range(size)]
        trainer._step, trainer._buffered_inputs = 0, None
        trainer._prepare_inputs(rows)
        micro_batches, trainer._buffered_inputs = trainer._buffered_inputs, None
        rewards = torch.tensor(list(trainer._logs["rewards"][trainer.reward_func_names[0]])[-n * size :])
        trainer._metrics["train"].clear()
        return tuple(micro_batches), rewards

    def _first_gap(self, model: torch.nn.Module, seen: list[Tensor]) -> float:
        """How far the weights after the first update lie from those of the first mode on the same rollouts."""
        key = _hash(seen)
        if key not in self._first_weights:
            self._first_weights = {key: [p.detach().clone() for p in model.parameters()]}
        return _distance(model, self._first_weights[key])

    def _log_probs(self, trainer: Any, micro: MiniBatch) -> Tensor:
        """log π of the arm's own policy, before the first update on a later rollout batch, (B, T)."""
        with torch.no_grad():
            return trainer._get_per_token_logps_and_entropies(
                trainer.model,
                torch.cat([micro["prompt_ids"], micro["completion_ids"]], dim=1),
                torch.cat([micro["prompt_mask"], micro["completion_mask"]], dim=1),
                micro["completion_ids"].size(1),
                len(micro["completion_ids"]),
            )[0]

    @staticmethod
    def _update(trainer: Any, micro_batches: list[MiniBatch]) -> dict[str, float]:
        """One optimizer update as `Trainer` makes it: loss, backward, gradient-norm clip, step."""
        losses = []
        for i, micro in enumerate(micro_batches):
            trainer.accelerator.gradient_state._set_sync_gradients(i == len(micro_batches) - 1)
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
    """The tensors of an optimizer's state, in a fixed order."""
    return [
        value
        for _, values in sorted(state["state"].items())
        for _, value in sorted(values.items())
        if isinstance(value, Tensor)
    ]


def _seed(seed: int, index: int) -> int:
    """63 bits for torch's generator, from the run's seed and the rollout batch."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\x1f{index}".encode(), digest_size=8).digest(), "big") >> 1


def _hash(tensors: list[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(str((tuple(tensor.shape), tensor.dtype)).encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
