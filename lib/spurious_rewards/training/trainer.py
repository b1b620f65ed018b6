"""TRL's `GRPOTrainer` with the clip term as the one thing that can be changed, and with what a sceptic wants logged.

Nothing of TRL's loss is copied. Most clip modes are settings of the stock loss (`clip.trl_settings`); the two that are
not are reached by what the stock loss is given:

- `none_released` (−π_θ·A): the loss gets log π_old = 0, so its ratio is π_θ itself, and the unclipped band.
- `cispo`: TRL's own loss type, whose normaliser is replaced by the token count of the micro-batch, so that the
  averaging is `bnpo` as in every other mode.

Added beside that, without a forward pass of its own: the log-probabilities that the loss computes anyway are captured
for the diagnostics; on request the signed clip gradient (`training.clip_projection`); reward draws get the rollout's
index within its group; the optional second whitening of the released code.

log π_old is computed in the very micro-batches of the updates: TRL computes it before it shuffles, in other batches of
other widths, so that its ratio at the first update is 1 up to rounding only, which in bf16 is enough to clip tokens.

Left out, because it costs time and changes nothing: padding (TRL pads every mini-batch, and the pass for log π_old, to
the longest row of the rollout batch; here each is cut to its own longest), the head at prompt positions
(`training.head`), a collated copy of the whole rollout batch for every micro-batch, a model card per checkpoint.

Usage: `ClipGRPOTrainer(run=config, model=model, args=grpo_arguments(config, folder), ...)`; see `training.run`.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import set_seed
from trl import GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing

from spurious_rewards.training.advantages import whiten
from spurious_rewards.training.clip import NEVER_HIGH, NEVER_LOW
from spurious_rewards.training.clip_projection import ClipProjection
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.diagnostics import TokenBatch, UpdateDiagnostics, rollout_diagnostics
from spurious_rewards.training.head import CompletionHead
from spurious_rewards.training.rollouts import sample


class ClipGRPOTrainer(GRPOTrainer):
    """`GRPOTrainer` for one `RunConfig`; takes the same arguments and `run`.

    Attributes:
        rollouts: rows (dicts) of the rollouts kept since the last call of `take_rollouts`; on the first process only.
        own_columns: names of the metrics that are not TRL's.
    """

    def __init__(self, *args: Any, run: RunConfig, **kwargs: Any):
        self.run = run
        self.rollouts: list[dict[str, Any]] = []
        self.own_columns: set[str] = set()
        self._losses: list[torch.Tensor] = []
        self._captured: tuple[torch.Tensor, torch.Tensor, Any] | None = None
        self._replay = False
        self._seconds: dict[str, float] = defaultdict(float)
        self._step_ended = time.perf_counter()
        super().__init__(*args, **kwargs)
        set_seed(self.args.seed, device_specific=True)  # vLLM seeds all with the process number
        self._skip_old_logps = False
        self.data_collator, self.train_dataset = Rows, self.train_dataset.to_list()
        policy = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        self._head = CompletionHead(policy, self.temperature, run.diagnostics and run.top1_prob)
        self._diagnostics = UpdateDiagnostics(run.reference_epsilon)
        self._projection = ClipProjection() if run.clip_projection else None

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: a run folder has a manifest."""

    # Rollouts: once per rollout batch

    def _generate_and_score_completions(self, inputs: Rows) -> dict[str, Any]:
        start = self.accelerator.process_index * len(inputs)
        if self._projection is not None:
            self._projection.begin(self.model)
        inputs = [
            {**row, "sample": row["occurrence"] * self.num_generations + (start + i) % self.num_generations}
            for i, row in enumerate(inputs)
        ]
        self._skip_old_logps = self._old_logps_wanted() and not (
            self.use_vllm and self.vllm_importance_sampling_correction  # which compares them with vLLM's at once
        )
        output = super()._generate_and_score_completions(inputs)
        if self.run.whiten_advantages:
            output["advantages"] = self._whitened(output)
        if self.run.advantage_sign == "positive":
            output["advantages"] = output["advantages"].clamp(min=0)
        elif self.run.advantage_sign == "negative":
            output["advantages"] = output["advantages"].clamp(max=0)
        self._log_rollouts(inputs, output)
        return output

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """Return TRL's next micro-batch; a new rollout batch gets log π_old in the micro-batches of its updates.

        So π_θ/π_old at the first update is the quotient of two equal computations: 1 to the last bit, in bf16 too.
        """
        before = self._buffered_inputs
        with self._timed("rollouts"):
            inputs = super()._prepare_inputs(generation_batch)
            if not self.model.training or self._buffered_inputs is before:
                return inputs
            self._buffered_inputs = [trimmed(micro) for micro in self._buffered_inputs]
            if self._old_logps_wanted() and not with_images(self._buffered_inputs[0]):
                with self._timed("old_logps"):
                    for micro in self._buffered_inputs:
                        micro["old_per_token_logps"] = self._old_logps(micro)
        for name in ("generation", "rewards", "old_logps", "rollouts"):
            self._log(f"seconds_{name}", self._seconds[name])
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def _old_logps_wanted(self) -> bool:
        """Whether π_θ leaves π_old within a rollout batch: TRL's own condition for keeping log π_old."""
        generate_every = self.args.steps_per_generation * self.num_iterations
        return self.model.training and self.args.gradient_accumulation_steps % generate_every != 0

    def _old_logps(self, micro: dict[str, Any]) -> torch.Tensor:
        """log π of the completion tokens of a micro-batch under the present weights, (B, T)."""
        with torch.no_grad(), disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs):
            return self._get_per_token_logps_and_entropies(
                self.model,
                torch.cat([micro["prompt_ids"], micro["completion_ids"]], dim=1),
                torch.cat([micro["prompt_mask"], micro["completion_mask"]], dim=1),
                micro["completion_ids"].size(1),
            )[0]

    def _generate(self, prompts: list) -> tuple:
        with self._timed("generation"):
            return super()._generate(prompts)

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> tuple:
        if self.use_vllm and self.vllm_mode == "colocate":
            with self._vllm_stream():
                return super()._generate_single_turn(prompt_ids, *args, **kwargs)
        if self.run.engine != "shared_prefix":
            return super()._generate_single_turn(prompt_ids, *args, **kwargs)
        model = self.accelerator.unwrap_model(self.model_wrapped)
        return sample(
            model,
            prompt_ids,
            self.max_completion_length,
            self.temperature,
            self.eos_token_ids,
            self._tokenizer.pad_token_id,
        ), None

    @contextmanager
    def _vllm_stream(self) -> Iterator[None]:
        """Seed the generators that colocated vLLM draws from by run seed, update and engine, and put them back after.

        TRL seeds its engines by their number alone, so that every run would see one stream, and a resumed run its
        beginning again. The processes of a tensor-parallel engine must draw the same numbers, hence not the process.
        """
        engine = self.accelerator.process_index // self.args.vllm_tensor_parallel_size
        key = f"{self.args.seed}\x1f{self.state.global_step}\x1f{engine}".encode()
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1)
            yield

    def _calculate_rewards(self, *args: Any) -> torch.Tensor:
        with self._timed("rewards"):
            return super()._calculate_rewards(*args)

    def _whitened(self, output: dict[str, Any]) -> torch.Tensor:
        local = output["advantages"]
        n_tokens = output["completion_mask"].sum(dim=1).to(local.dtype)
        everywhere = whiten(self.accelerator.gather(local), self.accelerator.gather(n_tokens))
        rank = self.accelerator.process_index
        return everywhere[rank * len(local) : (rank + 1) * len(local)]

    def _log_rollouts(self, inputs: list[dict[str, Any]], output: dict[str, Any]) -> None:
        n_local, n_all = len(inputs), len(inputs) * self.accelerator.num_processes
        texts = list(self._logs["completion"])[-n_all:]
        rewards = list(self._logs["rewards"][self.reward_func_names[0]])[-n_all:]
        advantages = self.accelerator.gather(output["advantages"]).tolist()
        n_tokens = self.accelerator.gather(output["completion_mask"].sum(dim=1)).tolist()
        ends = torch.tensor(self.eos_token_ids, device=output["completion_ids"].device)
        is_end = torch.isin(output["completion_ids"], ends) & output["completion_mask"].bool()  # not the padding
        ended = self.accelerator.gather(is_end.any(dim=1)).tolist()
        summary = rollout_diagnostics(texts, rewards, n_tokens, ended, self.num_generations)
        for name, value in summary.items():
            self._log(name, value)
        if not self.accelerator.is_main_process:  # the others would collect them for nobody
            return
        keep = min(self.run.rollouts_kept_per_batch, n_local)
        for i in range(keep):
            row = inputs[i]  # the first process comes first in what is gathered
            self.rollouts.append(
                {
                    "rollout_batch": row["rollout_batch"],
                    "prompt_id": row["prompt_id"],
                    "sample": row["sample"],
                    "prompt": row["prompt"],
                    "text": texts[i],
                    "answer": row["answer"],
                    "reward": rewards[i],
                    "advantage": advantages[i],
                    "n_tokens": n_tokens[i],
                    "ended": bool(ended[i]),
                }
            )

    def take_rollouts(self) -> list[dict[str, Any]]:
        """Return the kept rollouts collected since the last call, and forget them."""
        rows, self.rollouts = self.rollouts, []
        return rows

    # The loss: once per micro-batch

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """TRL's, with the time that it does not spend on rollouts and forward pass taken as the backward pass."""
        parts = ("rollouts", "forward", "diagnostics")
        before, began = sum(self._seconds[name] for name in parts), time.perf_counter()
        result = super().training_step(*args, **kwargs)
        inside = sum(self._seconds[name] for name in parts) - before
        self._step_ended = time.perf_counter()
        self._seconds["backward"] += self._step_ended - began - inside
        return result

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, **kwargs
    ):
        if self._replay:  # the loss is evaluated again on the same forward pass, for the clip projection
            return self._captured
        if self._skip_old_logps and all(value is None for value in kwargs.values()):
            # TRL's own pass for log π_old: computed later, in micro-batches
            self._skip_old_logps = False
            return input_ids.new_zeros((len(input_ids), logits_to_keep), dtype=torch.float32), None, None
        result = super()._get_per_token_logps_and_entropies(
            model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **kwargs
        )
        if compute_entropy:  # only the loss asks for entropies
            self._captured = result
        return result

    def _compute_loss(self, model, inputs: dict[str, Any]) -> torch.Tensor:
        with self._timed("forward"):
            given = dict(inputs)
            if self.run.clip_mode == "none_released":
                given["old_per_token_logps"] = torch.zeros_like(inputs["completion_mask"], dtype=torch.float32)
            elif self.run.clip_mode == "cispo":
                steps_and_processes = self.args.steps_per_generation * self.accelerator.num_processes
                given["num_items_in_batch"] = inputs["completion_mask"].sum() * steps_and_processes
            loss = super()._compute_loss(model, given)
        if self.model.training:
            with self._timed("diagnostics"):
                self._diagnose(model, inputs, given, loss)
        self._captured = self._head.top1_logp = None
        return loss

    def _diagnose(self, model: Any, inputs: dict[str, Any], given: dict[str, Any], loss: torch.Tensor) -> None:
        self._losses.append(loss.detach())
        if self.run.clip_mode == "cispo":
            self._log_cispo_fractions(inputs)
        if self._projection is not None:
            self._projection.add(*self._with_and_without_clip(model, inputs, given))
        if self.run.diagnostics:
            logps, entropies, _ = self._captured
            logps = logps.detach()
            self._diagnostics.add(
                TokenBatch.of(
                    logps,
                    inputs.get("old_per_token_logps", logps),
                    inputs["advantages"],
                    entropies.detach(),
                    inputs["completion_mask"],
                    self._head.top1_logp,
                )
            )
        if not self.accelerator.sync_gradients:
            return
        loss = self.accelerator.reduce(torch.stack(self._losses).sum(), reduction="mean")
        columns = {"surrogate_loss": float(loss)}
        self._losses = []
        if self.run.diagnostics:
            columns |= self._diagnostics.take(self.accelerator)
        if self._projection is not None:
            columns |= self._projection.take(self.accelerator)
        for name, value in columns.items():
            self._log(name, value)

    def _log_cispo_fractions(self, inputs: dict[str, Any]) -> None:
        """Share of tokens whose weight is clipped, over all processes: TRL counts those with A > 0 only."""
        above = self._clipped(inputs, inputs, (NEVER_LOW, self.epsilon_high)).sum()
        counts = torch.stack([above, inputs["completion_mask"].sum()]).float()
        n_above, n_tokens = self.accelerator.reduce(counts, reduction="sum").tolist()
        for name, value in (
            ("clip_fraction", n_above / n_tokens),
            ("clip_fraction_high", n_above / n_tokens),
            ("clip_fraction_low", 0.0),
        ):
            self._log(name, value)

    def _clipped(self, inputs: dict[str, Any], given: dict[str, Any], band: tuple[float, float]) -> torch.Tensor:
        """Which tokens a clip at `band` (as TRL's two ε) acts on, (B, T) of bool; the padding is never among them."""
        mask, logps = inputs["completion_mask"], self._captured[0].detach()
        old = given.get("old_per_token_logps")
        ratio, advantage = (logps - (logps if old is None else old)).exp(), inputs["advantages"].unsqueeze(1)
        if self.run.clip_mode == "cispo":  # the bound is on the weight itself, whatever the sign of A
            return (ratio > band[1]) & mask.bool()
        outside = (ratio > 1 + band[1]) & (advantage > 0) | (ratio < 1 - band[0]) & (advantage < 0)
        return outside & mask.bool()

    def _with_and_without_clip(self, model: Any, inputs: dict[str, Any], given: dict[str, Any]) -> list[torch.Tensor]:
        """TRL's loss of this micro-batch with the arm's band (unclipped arms: the reference band), and without one.

        Empty where the clip acts on no token of any process, so that the two are the same function. The processes
        decide together, since TRL's loss talks to the others.
        """
        if self.run.clip_mode in ("none", "none_released"):
            given, band = inputs, (self.run.reference_epsilon, self.run.reference_epsilon)
        else:
            band = (self.epsilon_low, self.epsilon_high)
        if not self.accelerator.reduce(self._clipped(inputs, given, band).sum(), reduction="sum"):
            return []
        kept = self.epsilon_low, self.epsilon_high, self._metrics
        self._replay, self._metrics = True, {"train": defaultdict(list)}
        losses = []
        for self.epsilon_low, self.epsilon_high in (band, (NEVER_LOW, NEVER_HIGH)):
            losses.append(super()._compute_loss(model, given))
        self._replay = False
        self.epsilon_low, self.epsilon_high, self._metrics = kept
        return losses

    def log_update_times(self) -> None:
        """Log the seconds of the phases of the update that has just been made.

        The optimizer's are those since the last micro-step: clipping of the gradient's norm, and the step.
        """
        optimizer_seconds = time.perf_counter() - self._step_ended
        for name in ("forward", "backward", "diagnostics"):
            self._log(f"seconds_{name}", self._seconds[name])
        self._log("seconds_optimizer", optimizer_seconds)
        self._seconds.clear()

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._seconds[name] += time.perf_counter() - began

    def _log(self, name: str, value: float) -> None:
        self.own_columns.add(name)
        self._metrics["train" if self.model.training else "eval"][name].append(value)


class Rows:
    """The rows of a rollout batch as one object, which passes through collation and device placement untouched.

    TRL hands the rows of the whole rollout batch to every micro-step and reads them in the first one only; as a list of
    dicts they would be walked through each time.
    """

    def __init__(self, rows: list[dict[str, Any]]):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __contains__(self, name: object) -> bool:  # Trainer asks for "labels" and "input_ids"
        return False


def trimmed(inputs: dict[str, Any]) -> dict[str, Any]:
    """Cut the padding that no row of this micro-batch needs: prompts on the left, completions on the right.

    Shapes: prompt_* (B, P) → (B, P'), completion_* and per-token log-probs (B, T) → (B, T'). Values of real tokens are
    untouched. Batches with images or tools are returned as they are: they carry other arrays of the same length.
    """
    if with_images(inputs) or "tool_mask" in inputs:
        return inputs
    width = max(int(inputs["completion_mask"].sum(dim=1).max()), 1)
    prompt_width = max(int(inputs["prompt_mask"].sum(dim=1).max()), 1)
    result = dict(inputs)
    for name in ("prompt_ids", "prompt_mask"):
        result[name] = inputs[name][:, -prompt_width:]
    for name in (
        "completion_ids",
        "completion_mask",
        "old_per_token_logps",
        "ref_per_token_logps",
        "sampling_per_token_logps",
        "importance_sampling_ratio",
    ):
        if inputs.get(name) is not None:  # a correction per sequence is (B, 1) and stays so
            result[name] = inputs[name][:, :width]
    return result


def with_images(inputs: dict[str, Any]) -> bool:
    """Whether a micro-batch carries more than text."""
    return any(inputs.get(name) is not None for name in ("pixel_values", "token_type_ids", "mm_token_type_ids"))
