"""TRL's `GRPOTrainer` with the clip term as the one thing that can be changed, and with what a sceptic wants logged.

Nothing of TRL's loss is copied. Most clip modes are settings of the stock loss (`clip.trl_settings`); the two that are
not are reached by what the stock loss is given:

- `none_released` (−π_θ·A): the loss gets log π_old = 0, so its ratio is π_θ itself, and the unclipped band.
- `cispo`: TRL's own loss type, whose normaliser is replaced by the token count of the micro-batch, so that the
  averaging is `bnpo` as in every other mode.

Added beside that, without a forward pass of its own: the log-probabilities that the loss computes anyway are captured
for the diagnostics; mini-batches are trimmed to their own longest row (TRL pads all to the longest of the rollout
batch); reward draws get the rollout's index within its group; the optional second whitening of the released code.

Usage: `ClipGRPOTrainer(run=config, model=model, args=grpo_arguments(config, folder), ...)`; see `training.run`.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from trl import GRPOTrainer

from spurious_rewards.training.advantages import whiten
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.diagnostics import TokenBatch, UpdateDiagnostics, rollout_diagnostics


class ClipGRPOTrainer(GRPOTrainer):
    """`GRPOTrainer` for one `RunConfig`; takes the same arguments and `run`.

    Attributes:
        rollouts: rows (dicts) of the rollouts kept since the last call of `take_rollouts`.
        own_columns: names of the metrics that are not TRL's.
    """

    def __init__(self, *args: Any, run: RunConfig, **kwargs: Any):
        self.run = run
        self.rollouts: list[dict[str, Any]] = []
        self.own_columns: set[str] = set()
        self._loss = 0.0
        self._captured: tuple[torch.Tensor, torch.Tensor] | None = None
        super().__init__(*args, **kwargs)
        self._diagnostics = UpdateDiagnostics(run.reference_epsilon)

    # Rollouts: once per rollout batch

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        start = self.accelerator.process_index * len(inputs)
        inputs = [{**row, "sample": row["occurrence"] * self.num_generations + (start + i) % self.num_generations}
                  for i, row in enumerate(inputs)]
        self._seconds = {"generation": 0.0, "rewards": 0.0}
        began = time.perf_counter()
        output = super()._generate_and_score_completions(inputs)
        if self.run.whiten_advantages:
            output["advantages"] = self._whitened(output)
        total = time.perf_counter() - began
        self._log_rollouts(inputs, output, {**self._seconds, "old_logps": total - sum(self._seconds.values())})
        return output

    def _generate(self, prompts: list) -> tuple:
        began = time.perf_counter()
        result = super()._generate(prompts)
        self._seconds["generation"] += time.perf_counter() - began
        return result

    def _calculate_rewards(self, *args: Any) -> torch.Tensor:
        began = time.perf_counter()
        result = super()._calculate_rewards(*args)
        self._seconds["rewards"] += time.perf_counter() - began
        return result

    def _whitened(self, output: dict[str, Any]) -> torch.Tensor:
        local = output["advantages"]
        n_tokens = output["completion_mask"].sum(dim=1).to(local.dtype)
        everywhere = whiten(self.accelerator.gather(local), self.accelerator.gather(n_tokens))
        rank = self.accelerator.process_index
        return everywhere[rank * len(local) : (rank + 1) * len(local)]

    def _log_rollouts(self, inputs: list[dict[str, Any]], output: dict[str, Any], seconds: dict[str, float]) -> None:
        n_local, n_all = len(inputs), len(inputs) * self.accelerator.num_processes
        texts = list(self._logs["completion"])[-n_all:]
        rewards = list(self._logs["rewards"][self.reward_func_names[0]])[-n_all:]
        advantages = self.accelerator.gather(output["advantages"]).tolist()
        n_tokens = self.accelerator.gather(output["completion_mask"].sum(dim=1)).tolist()
        ended = self.accelerator.gather((output["completion_ids"] == self._tokenizer.eos_token_id).any(dim=1)).tolist()
        summary = rollout_diagnostics(texts, rewards, n_tokens, ended, self.num_generations)
        for name, value in {**summary, **{f"seconds_{k}": v for k, v in seconds.items()}}.items():
            self._log(name, value)
        keep = min(self.run.rollouts_kept_per_batch, n_local)
        for i in range(keep):
            row, j = inputs[i], self.accelerator.process_index * n_local + i
            self.rollouts.append({
                "rollout_batch": row["rollout_batch"], "prompt_id": row["prompt_id"], "sample": row["sample"],
                "prompt": row["prompt"], "text": texts[j], "answer": row["answer"], "reward": rewards[j],
                "advantage": advantages[j], "n_tokens": n_tokens[j], "ended": bool(ended[j]),
            })

    def take_rollouts(self) -> list[dict[str, Any]]:
        """Return the kept rollouts collected since the last call, and forget them."""
        rows, self.rollouts = self.rollouts, []
        return rows

    # The loss: once per micro-batch

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, **kwargs):
        logps, entropies, aux = super()._get_per_token_logps_and_entropies(
            model, input_ids, attention_mask, logits_to_keep, **kwargs
        )
        if entropies is not None:  # only the loss asks for entropies; the pass for π_old does not
            self._captured = (logps, entropies)
        return logps, entropies, aux

    def _compute_loss(self, model, inputs: dict[str, Any]) -> torch.Tensor:
        inputs = trimmed(inputs)
        given = dict(inputs)
        if self.run.clip_mode == "none_released":
            given["old_per_token_logps"] = torch.zeros_like(inputs["old_per_token_logps"])
        elif self.run.clip_mode == "cispo":
            steps_and_processes = self.args.steps_per_generation * self.accelerator.num_processes
            given["num_items_in_batch"] = inputs["completion_mask"].sum() * steps_and_processes
        loss = super()._compute_loss(model, given)
        if self.model.training:
            self._loss += loss.item()
            logps, entropies = self._captured
            old = inputs.get("old_per_token_logps")
            self._diagnostics.add(TokenBatch.of(
                logps.detach(), logps.detach() if old is None else old, inputs["advantages"], entropies.detach(),
                inputs["completion_mask"]))
            if self.accelerator.sync_gradients:
                for name, value in self._diagnostics.take(self.accelerator).items():
                    self._log(name, value)
                self._log("surrogate_loss", self._loss)
                self._loss = 0.0
        self._captured = None
        return loss

    def _log(self, name: str, value: float) -> None:
        self.own_columns.add(name)
        self._metrics["train" if self.model.training else "eval"][name].append(value)


def trimmed(inputs: dict[str, Any]) -> dict[str, Any]:
    """Cut the padding that no row of this micro-batch needs: prompts on the left, completions on the right.

    Shapes: prompt_* (B, P) → (B, P'), completion_* and per-token log-probs (B, T) → (B, T'). Values of real tokens are
    untouched. Batches with images or tools are returned as they are: they carry other arrays of the same length.
    """
    if any(name in inputs for name in ("pixel_values", "tool_mask", "token_type_ids", "mm_token_type_ids")):
        return inputs
    width = max(int(inputs["completion_mask"].sum(dim=1).max()), 1)
    prompt_width = max(int(inputs["prompt_mask"].sum(dim=1).max()), 1)
    result = dict(inputs)
    for name in ("prompt_ids", "prompt_mask"):
        result[name] = inputs[name][:, -prompt_width:]
    for name in ("completion_ids", "completion_mask", "old_per_token_logps", "ref_per_token_logps",
                 "sampling_per_token_logps", "importance_sampling_ratio"):
        if inputs.get(name) is not None and inputs[name].dim() == 2 and inputs[name].size(1) > 1:
            result[name] = inputs[name][:, :width]
    return result
