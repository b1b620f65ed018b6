"""Train what a `RunConfig` says: `ClipGRPOTrainer` with what a run adds to it.

A run adds the number of each rollout within its group (reward draws depend on it), the released code's second whitening
and advantages of one sign, rollouts with a shared prefix, and the rollouts that are kept for rollouts.parquet.

Usage: `RunTrainer(run=config, model=model, args=grpo_arguments(config, folder), ...)`; see `training.run`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from trl.models.utils import disable_gradient_checkpointing

from spurious_rewards.training.advantages import of_sign, whiten
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.fast_trl import below_adapter
from spurious_rewards.training.rollouts import sample
from spurious_rewards.training.trainer import ClipGRPOTrainer

OPTIONS = ("clip_mode", "diagnostics", "top1_prob", "clip_projection", "reference_epsilon")
"""Fields of `RunConfig` that `ClipGRPOTrainer` takes under the same names."""


class RunTrainer(ClipGRPOTrainer):
    """Train one `RunConfig`; takes the arguments of `ClipGRPOTrainer`, and `run`.

    Attributes:
        n_problems: problems of the data that fit into the prompt, set by `training.run`.
        rollouts: rows (dicts) of the rollouts kept since the last call of `take_rollouts`; on the first process only.
    """

    n_problems: int
    train_dataset: Any

    def __init__(self, *args: Any, run: RunConfig, **kwargs: Any):
        self.run = run
        self.rollouts: list[dict[str, Any]] = []
        options = {name: getattr(run, name) for name in OPTIONS}
        super().__init__(*args, **options, **kwargs)
        self.data_collator, self.train_dataset = Rows, self.train_dataset.to_list()

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write none: a run folder has a manifest."""

    def _generate_and_score_completions(self, inputs: Rows) -> dict[str, Any]:
        start = self.accelerator.process_index * len(inputs)
        rows = [
            {**row, "sample": row["occurrence"] * self.num_generations + (start + i) % self.num_generations}
            for i, row in enumerate(inputs)
        ]
        output = super()._generate_and_score_completions(rows)
        if self.run.whiten_advantages:
            output["advantages"] = self._whitened(output)
        output["advantages"] = of_sign(output["advantages"], self.run.advantage_sign)
        self._keep(rows, self.accelerator.gather(output["advantages"]).tolist())
        return output

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> tuple:
        if self.run.engine != "shared_prefix":
            return super()._generate_single_turn(prompt_ids, *args, **kwargs)
        model, pad = below_adapter(self.accelerator.unwrap_model(self.model_wrapped)), self._tokenizer.pad_token_id
        # Transformers keeps no cache while it recomputes activations; inside one autocast each weight is cast once
        recompute = disable_gradient_checkpointing(model, self.args.gradient_checkpointing_kwargs)
        with recompute, self.accelerator.autocast():
            return sample(
                model, prompt_ids, self.max_completion_length, self.temperature, self.eos_token_ids, pad
            ), None

    def _whitened(self, output: dict[str, Any]) -> torch.Tensor:
        local = output["advantages"]
        n_tokens = output["completion_mask"].sum(dim=1).to(local.dtype)
        everywhere = whiten(self.accelerator.gather(local), self.accelerator.gather(n_tokens))
        rank = self.accelerator.process_index
        return everywhere[rank * len(local) : (rank + 1) * len(local)]

    def _keep(self, rows: list[dict[str, Any]], advantages: list[float]) -> None:
        """Keep the first rollouts of this process, which come first in what is gathered; on the first process only."""
        if not self.accelerator.is_main_process:
            return
        for i, row in enumerate(rows[: self.run.rollouts_kept_per_batch]):
            columns = {name: values[i] for name, values in self.rollout_columns.items()}
            kept = {name: row[name] for name in ("rollout_batch", "prompt_id", "sample", "prompt")}
            kept |= {"text": columns["text"], "answer": row["answer"], "reward": columns["reward"]}
            kept |= {"advantage": advantages[i], "n_tokens": columns["n_tokens"], "ended": bool(columns["ended"])}
            self.rollouts.append(kept)

    def take_rollouts(self) -> list[dict[str, Any]]:
        """Return the kept rollouts collected since the last call, and forget them."""
        rows, self.rollouts = self.rollouts, []
        return rows


class Rows:
    """Hold the rows of a rollout batch as one object, which passes through collation and device placement untouched.

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
