"""Log diagnostics of every update, from numbers that the loss has computed anyway.

`DiagnosedGRPOTrainer` adds the columns of `training.diagnostics` to what TRL logs, so that they reach `report_to`: the
log-probabilities of the loss are captured on their way (no forward pass of its own), phases are timed, and on request
the signed clip gradient is taken (`training.clip_projection`). Nothing of it touches the trajectory.

Usage: as `ClipGRPOTrainer`, which derives from it and says what the clip is.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from spurious_rewards.training.clip import MODES, NEVER_HIGH, NEVER_LOW, ClipBand, ClipMode
from spurious_rewards.training.clip_projection import ClipProjection
from spurious_rewards.training.diagnostics import TokenBatch, UpdateDiagnostics, rollout_diagnostics
from spurious_rewards.training.vllm_rollouts import SeededGRPOTrainer

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from spurious_rewards.training.fast_trl import CompletionHead


class DiagnosedGRPOTrainer(SeededGRPOTrainer):
    """Train as `GRPOTrainer` does, and log diagnostics of rollouts, ratios, would-be clipping and time.

    Args:
        diagnostics: log ratios, would-clip fractions and their like for every update.
        clip_projection: also log the signed gradient of the clip term (one more backward pass).
        reference_epsilon: ε of the would-clip fraction, in every clip mode.

    Attributes:
        clip_mode, band: the arm's clip, set by `ClipGRPOTrainer`.
        own_columns: names of the logged metrics that are not TRL's.
        rollout_columns: of the last rollout batch, over all processes: text, reward, n_tokens, ended; lists.
    """

    clip_mode: ClipMode
    band: ClipBand
    head: CompletionHead | None = None

    def __init__(
        self, *args: Any, diagnostics: bool = True, clip_projection: bool = False, reference_epsilon: float = 0.2,
        **kwargs: Any,
    ):  # fmt: skip
        self.reference = ClipBand(reference_epsilon, reference_epsilon)
        self.diagnostics = UpdateDiagnostics(reference_epsilon) if diagnostics else None
        self.projection = ClipProjection() if clip_projection else None
        self.own_columns: set[str] = set()
        self.rollout_columns: dict[str, list[Any]] = {}
        self._losses: list[Tensor] = []
        self._captured: tuple[Tensor, Tensor, Any] | None = None
        self._replay = False
        self._seconds: dict[str, float] = defaultdict(float)
        self._step_ended = time.perf_counter()
        super().__init__(*args, **kwargs)
        self.add_callback(_UpdateTimes(self))

    # Rollouts: once per rollout batch

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        if self.projection is not None and self.model.training:
            self.projection.begin(self.model)
        output = super()._generate_and_score_completions(inputs)
        if self.model.training:
            self._log_rollouts(output)
        return output

    def _generate(self, prompts: list) -> tuple:
        with self.timed("generation"):
            return super()._generate(prompts)

    def _calculate_rewards(self, *args: Any) -> Tensor:
        with self.timed("rewards"):
            return super()._calculate_rewards(*args)

    def _log_rollouts(self, output: dict[str, Any]) -> None:
        n_all = len(output["completion_ids"]) * self.accelerator.num_processes
        texts = [text if isinstance(text, str) else text[-1]["content"] for text in list(self._logs["completion"])]
        parts = [list(self._logs["rewards"][name])[-n_all:] for name in self.reward_func_names]
        weights = self.reward_weights.tolist()
        rewards = [
            float(sum(w * part for w, part in zip(weights, row, strict=True) if not math.isnan(part)))
            for row in zip(*parts, strict=True)
        ]
        n_tokens = self.accelerator.gather(output["completion_mask"].sum(dim=1)).tolist()
        ends = torch.tensor(self.eos_token_ids, device=output["completion_ids"].device)
        is_end = torch.isin(output["completion_ids"], ends) & output["completion_mask"].bool()  # not the padding
        ended = self.accelerator.gather(is_end.any(dim=1)).tolist()
        self.rollout_columns = {"text": texts[-n_all:], "reward": rewards, "n_tokens": n_tokens, "ended": ended}
        summary = rollout_diagnostics(texts[-n_all:], rewards, n_tokens, ended, self.num_generations)
        for name, value in summary.items():
            self.log_column(name, value)

    # The loss: once per micro-batch

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Do TRL's step, and take the time that it does not spend on rollouts and forward pass as the backward pass."""
        parts = ("rollouts", "forward", "diagnostics")
        before, began = sum(self._seconds[name] for name in parts), time.perf_counter()
        result = super().training_step(*args, **kwargs)
        inside = sum(self._seconds[name] for name in parts) - before
        self._step_ended = time.perf_counter()
        self._seconds["backward"] += self._step_ended - began - inside
        return result

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, **kwargs
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        if self._replay:  # the loss is evaluated again on the same forward pass, for the clip projection
            return self._of_the_loss
        result = super()._get_per_token_logps_and_entropies(
            model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **kwargs
        )
        if compute_entropy:  # only the loss asks for entropies
            self._captured = result
        return result

    @property
    def _of_the_loss(self) -> tuple[Tensor, Tensor, Any]:
        if self._captured is None:
            raise RuntimeError("TRL's loss has not asked for log-probabilities and entropies in this micro-batch.")
        return self._captured

    def diagnose(self, model: Any, inputs: dict[str, Any], given: dict[str, Any], loss: Tensor) -> None:
        """Take in a micro-batch whose loss has just been computed; with an update's last one, log the update's columns.

        Args:
            model: that the loss was computed with.
            inputs: the micro-batch.
            given: what TRL's loss got in its place.
            loss: scalar.
        """
        if self.model.training:
            with self.timed("diagnostics"):
                self._diagnose(model, inputs, given, loss.detach())
        self._captured = None
        if self.head is not None:
            self.head.top1_logp = None

    def _diagnose(self, model: Any, inputs: dict[str, Any], given: dict[str, Any], loss: Tensor) -> None:
        self._losses.append(loss)
        if self.clip_mode.weight_only:
            self._log_weight_fractions(inputs)
        if self.projection is not None:
            self.projection.add(*self._with_and_without_clip(model, inputs, given))
        logps, entropies, _ = self._of_the_loss
        logps = logps.detach()
        if self.diagnostics is not None:
            old, top1 = inputs.get("old_per_token_logps", logps), self.head.top1_logp if self.head is not None else None
            rest = (inputs["advantages"], entropies.detach(), inputs["completion_mask"], top1)
            self.diagnostics.add(TokenBatch.of(logps, old, *rest))
        if not self.accelerator.sync_gradients:
            return
        total = self.accelerator.reduce(torch.stack(self._losses).sum(), reduction="mean")
        columns = {"surrogate_loss": float(total)}
        self._losses = []
        for part in (self.diagnostics, self.projection):
            columns |= part.take(self.accelerator) if part is not None else {}
        for name, value in columns.items():
            self.log_column(name, value)

    def _log_weight_fractions(self, inputs: dict[str, Any]) -> None:
        """Log the share of tokens whose weight is clipped, over all processes: TRL counts those with A > 0 only."""
        above = self._clipped(inputs, self.clip_mode, self.band).sum()
        counts = torch.stack([above, inputs["completion_mask"].sum()]).float()
        n_above, n_tokens = self.accelerator.reduce(counts, reduction="sum").tolist()
        for name, n in (("clip_fraction", n_above), ("clip_fraction_high", n_above), ("clip_fraction_low", 0)):
            self.log_column(name, n / max(n_tokens, 1))

    def _clipped(self, inputs: dict[str, Any], mode: ClipMode, band: ClipBand) -> Bool[Tensor, "batch tokens"]:
        """Return the tokens of a micro-batch that a clip acts on; the padding is never among them."""
        logps = self._of_the_loss[0].detach()
        old = inputs.get("old_per_token_logps")
        ratio = (logps - (logps if old is None else old)).exp()
        mask: Int[Tensor, "batch tokens"] = inputs["completion_mask"]
        return mode.acts_on(ratio, inputs["advantages"].unsqueeze(1), band) & mask.bool()

    def _with_and_without_clip(
        self, model: Any, inputs: dict[str, Any], given: dict[str, Any]
    ) -> list[Float[Tensor, ""]]:
        """Evaluate TRL's loss of this micro-batch with the arm's band (unclipped arms: the reference), and without one.

        Empty where the clip acts on no token of any process, so that the two are the same function. The processes
        decide together, since TRL's loss talks to the others.
        """
        kept = self.epsilon_low, self.epsilon_high, self._metrics
        if self.clip_mode.clips:
            acting, epsilons = self._clipped(inputs, self.clip_mode, self.band), kept[:2]
        else:
            acting = self._clipped(inputs, MODES["two_sided"], self.reference)
            given, epsilons = inputs, (self.reference.low, self.reference.high)
        if not self.accelerator.reduce(acting.sum(), reduction="sum"):
            return []
        self._replay, self._metrics = True, {"train": defaultdict(list)}
        losses = []
        for self.epsilon_low, self.epsilon_high in (epsilons, (NEVER_LOW, NEVER_HIGH)):
            losses.append(super()._compute_loss(model, given))
        self._replay = False
        self.epsilon_low, self.epsilon_high, self._metrics = kept
        return losses

    # Time and columns

    def log_update_times(self) -> None:
        """Log the seconds of the phases of the update that has just been made.

        The optimizer's are those since the last micro-step: clipping of the gradient's norm, and the step.
        """
        self._seconds["optimizer"] = time.perf_counter() - self._step_ended
        for name, seconds in self._seconds.items():
            self.log_column(f"seconds_{name}", seconds)
        self._seconds.clear()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the wall time of a `with` block to the phase `name` of this update."""
        began = time.perf_counter()
        yield
        self._seconds[name] += time.perf_counter() - began

    def log_column(self, name: str, value: float) -> None:
        """Log a number with this update, beside TRL's."""
        self.own_columns.add(name)
        self._metrics["train" if self.model.training else "eval"][name].append(value)


class _UpdateTimes(TrainerCallback):
    """Call `log_update_times` after every optimizer step."""

    def __init__(self, trainer: DiagnosedGRPOTrainer):
        self.trainer = trainer

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Log the phases of this update."""
        self.trainer.log_update_times()
