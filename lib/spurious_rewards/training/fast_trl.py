"""Compute TRL's numbers in less time, behind one switch, and log π_old where the clip needs it.

`FastGRPOTrainer(..., fast=True)` changes how log-probabilities are computed, never what they are but for rounding:

- *log π_old in the micro-batches of the updates.* TRL computes it before it shuffles, in other batches of other widths,
  so that its ratio at the first update is 1 up to rounding only; in bf16 that is enough to clip tokens. Here the two
  computations are equal, and so the ratio is 1 to the last bit. In the first rollout batch of a run both are computed,
  and their difference is logged as the noise that the clip is spared (`clip_noise_floor`). From the second one on the
  micro-batches of the first update have no pass of their own: their loss, under the same weights, gives log π_old.
- *No padding that no row needs.* TRL pads every micro-batch to the longest row of the rollout batch (`trimmed`).
- *The head at completion positions only* (`CompletionHead`). On devices without Triton, TRL scores every position of a
  micro-batch, prompts and padding included, and throws that part away. Nothing of the head is copied: the forward that
  TRL has patched gets the hidden states of the labelled positions, through its argument `shift_labels`. On the
  organisms this saves about 8 % of an update.
- *What all rows begin with is read once* (`generation.shared_beginning`), if it is long: worked examples, say.

With `fast=False` the four are off and every tensor is what stock TRL computes, bit for bit.

While the hidden states are at hand, the mean top-1 probability of the policy, max_v π_θ(v), is computed from them
without another pass through the model: with the logit z_y and the log-probability of the sampled token known, one
projection and its maximum suffice, log max_v π = (max_v z_v − z_y)/T + log π(y). That projection costs about 1 % of an
update on the model organisms (`benchmarks/grpo_step.py`), so it can be switched off (`top1_prob`).

Usage: as `ClipGRPOTrainer`, which derives from it.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import DynamicCache
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import maybe_gather_lm_head_ctx

from spurious_rewards.generation.shared_beginning import after_beginning, can_share_beginning, n_alike
from spurious_rewards.training.diagnosed import DiagnosedGRPOTrainer
from spurious_rewards.training.vllm_rollouts import sampler_gap

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor
    from transformers import PreTrainedModel

TOKENS_PER_TILE = 1024
"""Rows of logits held at once for the maximum: 0.6 GB at a vocabulary of 152 000."""

_TRANSFORMED_LOGITS = (
    "final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling",
)  # fmt: skip


class FastGRPOTrainer(DiagnosedGRPOTrainer):
    """Train as `GRPOTrainer` does, with diagnostics and in less time (see the module).

    Args:
        fast: False leaves every tensor as stock TRL computes it.
        top1_prob: also log the mean top-1 probability (needs `fast` and `diagnostics`).
    """

    def __init__(self, *args: Any, fast: bool = True, top1_prob: bool = True, **kwargs: Any):
        self.fast, self._skip_old_logps = fast, False
        self._measure_noise = self._noise_measured = self._loss_follows = False
        self._open: list[Tensor] = []
        super().__init__(*args, **kwargs)
        if fast and not self._is_vlm:
            self.head = CompletionHead(
                below_adapter(self.model), self.temperature, self.diagnostics is not None and top1_prob
            )
            # Processes that share weights must run the same passes, and need not have batches that begin alike. A pass
            # that recomputes activations keeps no cache, and log π_old must be computed as the loss is.
            sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
            self.head.shares &= not (sharded or self.args.gradient_checkpointing)

    def _old_logps_wanted(self) -> bool:
        """Tell whether π_θ leaves π_old within a rollout batch: TRL's own condition for keeping log π_old."""
        generate_every = self.args.steps_per_generation * self.num_iterations
        return self.fast and self.model.training and self.args.gradient_accumulation_steps % generate_every != 0

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        first = self.state.global_step == 0 and self.diagnostics is not None
        self._measure_noise = first and not self._noise_measured and self._old_logps_wanted()
        compared_at_once = self.use_vllm and self.vllm_importance_sampling_correction  # with vLLM's own
        self._skip_old_logps = not (self._measure_noise or compared_at_once) and self._old_logps_wanted()
        return super()._generate_and_score_completions(inputs)

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        if self._skip_old_logps:  # TRL's own pass for log π_old, which comes first
            self._skip_old_logps = False
            if all(value is None for name, value in kwargs.items() if name != "batch_size"):  # text only
                return input_ids.new_zeros((len(input_ids), logits_to_keep), dtype=torch.float32), None, None
        result = super()._get_per_token_logps_and_entropies(
            model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
        )
        if self._open and kwargs.get("compute_entropy") and not self._replay:  # the loss, which reads log π_old next
            self._open.pop(0).copy_(result[0].detach())
        return result

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Do TRL's step, in which the loss follows on the preparation of its micro-batch."""
        self._loss_follows = True
        try:
            return super().training_step(*args, **kwargs)
        finally:
            self._loss_follows = False

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """Return TRL's next micro-batch; a new rollout batch is trimmed and gets log π_old in its micro-batches."""
        before = self._buffered_inputs
        with self.timed("rollouts"):
            inputs = super()._prepare_inputs(generation_batch)
            if not (self.fast and self.model.training) or self._buffered_inputs is before:
                return inputs
            self._buffered_inputs = [trimmed(micro) for micro in self._buffered_inputs]
            if self._old_logps_wanted() and not with_images(self._buffered_inputs[0]):
                elsewhere = [micro["old_per_token_logps"] for micro in self._buffered_inputs]
                wanted_now = self._measure_noise or self._buffered_inputs[0].get("sampling_per_token_logps") is not None
                n_soon = self.args.gradient_accumulation_steps if self._loss_follows and not wanted_now else 0
                first_update = self._buffered_inputs[:n_soon]
                self._open = [micro["old_per_token_logps"] for micro in first_update]
                with self.timed("old_logps"):
                    for micro in self._buffered_inputs[len(first_update) :]:
                        micro["old_per_token_logps"] = self.old_logps(micro)
                if self._measure_noise:
                    self._log_noise(elsewhere)
                self._check_sampler()
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def _check_sampler(self) -> None:
        """Stop if vLLM's log-probabilities of the new rollouts are not the trainer's; log how far they are apart."""
        if all(micro.get("sampling_per_token_logps") is not None for micro in self._buffered_inputs):
            pairs = [
                (micro["sampling_per_token_logps"][real], micro["old_per_token_logps"][real])
                for micro in self._buffered_inputs
                for real in (micro["completion_mask"].bool(),)
            ]
            self.log_column("sampler_logp_gap", sampler_gap(self.accelerator, pairs))

    def _log_noise(self, elsewhere: list[Float[Tensor, "batch tokens"]]) -> None:
        """Log how far log π of the same tokens and weights differs in TRL's batches: what a clip would see as ratio."""
        pairs = zip(self._buffered_inputs, elsewhere, strict=True)
        ratios = torch.cat(
            [(micro["old_per_token_logps"] - old).exp()[micro["completion_mask"].bool()] for micro, old in pairs]
        )
        outside = (ratios > 1 + self.reference.high) | (ratios < 1 - self.reference.low)
        counts = torch.stack([outside.sum(), torch.ones_like(outside).sum()]).float()
        n_outside, n_tokens = self.accelerator.reduce(counts, reduction="sum").tolist()
        if not n_tokens:  # every rollout is masked
            return
        largest = torch.cat([(ratios - 1).abs(), ratios.new_zeros(1)]).max()
        self.log_column("clip_noise_floor", n_outside / n_tokens)
        self.log_column("clip_noise_max", float(self.accelerator.gather(largest).max()))
        self._noise_measured = True

    def old_logps(self, micro: dict[str, Any]) -> Float[Tensor, "batch tokens"]:
        """Compute log π of the completion tokens of a micro-batch under the present weights."""
        with torch.no_grad(), disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs):
            return self._get_per_token_logps_and_entropies(
                self.model,
                torch.cat([micro["prompt_ids"], micro["completion_ids"]], dim=1),
                torch.cat([micro["prompt_mask"], micro["completion_mask"]], dim=1),
                micro["completion_ids"].size(1),
            )[0]


class CompletionHead:
    """Wrap `model.forward(..., fused_lm_head=True)`; all other calls (generation) go through untouched.

    Attributes:
        top1: whether passes with gradients also compute the top-1 probability.
        top1_logp: log max_v π_θ(v) at the labelled tokens of the last such pass, in row order, (tokens,).
    """

    def __init__(self, model: PreTrainedModel, temperature: float, top1: bool):
        self.model, self.temperature = model, temperature
        config = model.config.get_text_config()
        # models that transform their logits after the projection (none of the paper's) get no top-1 probability
        self.top1 = top1 and all(getattr(config, name, None) is None for name in _TRANSFORMED_LOGITS)
        self.top1_logp: Float[Tensor, " tokens"] | None = None
        self.shares = can_share_beginning(model)
        self._labelled: Bool[Tensor, "batch positions"] | None = None
        self._hidden: Float[Tensor, "1 tokens width"] | None = None
        model.base_model.register_forward_hook(self._pick)
        model.forward = self._wrapped(model.forward)

    def _pick(self, module: Any, args: Any, output: Any) -> Any:
        if self._labelled is not None:
            self._hidden = output.last_hidden_state = output.last_hidden_state[:, :-1][self._labelled].unsqueeze(0)
        return output

    def _wrapped(self, forward: Any) -> Any:
        @functools.wraps(forward)  # `generate` checks its arguments against the signature
        def scored(*args: Any, **kwargs: Any) -> Any:
            if not kwargs.get("fused_lm_head") or kwargs.get("labels") is None:
                return forward(*args, **kwargs)
            labels_B_T = kwargs.pop("labels")[:, 1:]
            labelled_B_T = labels_B_T != -100
            if not labelled_B_T.any():  # TRL's head keeps such a micro-batch on the graph
                if self.top1 and torch.is_grad_enabled():
                    self.top1_logp = torch.zeros(0, device=labels_B_T.device)
                return forward(*args, labels=torch.nn.functional.pad(labels_B_T, (1, 0), value=-100), **kwargs)
            n_shared = self._read_beginning(kwargs, labelled_B_T) if self.shares else 0
            self._labelled = labelled_B_T[:, n_shared:]
            try:
                output = forward(*args, shift_labels=labels_B_T[labelled_B_T].unsqueeze(0), **kwargs)
            finally:
                self._labelled = None
            if self.top1 and torch.is_grad_enabled():
                self.top1_logp = self._top1(labels_B_T[labelled_B_T], output.log_probs.detach().squeeze(0).float())
            self._hidden = None
            for name in ("log_probs", "entropy"):
                tokens = getattr(output, name)
                whole = tokens.new_zeros(labelled_B_T.shape).masked_scatter(labelled_B_T, tokens.squeeze(0))
                setattr(output, name, whole)
            output.label_mask = labelled_B_T
            return output

        return scored

    def _read_beginning(self, kwargs: dict[str, Any], labelled_B_T: Bool[Tensor, "batch positions"]) -> int:
        """Read what all rows begin with, if that is worth it, and leave the rest in `kwargs`; return its length."""
        ids, mask = kwargs.get("input_ids"), kwargs.get("attention_mask")
        given = kwargs.get("past_key_values") is not None  # by PEFT's prefix tuning, say
        if ids is None or mask is None or given or self.model.is_gradient_checkpointing:
            return 0
        n = n_alike(ids, mask, int(labelled_B_T.any(dim=0).int().argmax()))
        if n:
            cache = DynamicCache(config=self.model.config)
            kwargs |= after_beginning(self.model.base_model, cache, ids, mask, n)
        return n

    @torch.no_grad()
    def _top1(self, labels: Int[Tensor, " tokens"], logp: Float[Tensor, " tokens"]) -> Float[Tensor, " tokens"]:
        if self._hidden is None:
            raise RuntimeError("The hidden states of this forward pass were not kept.")
        hidden = self._hidden.squeeze(0)
        lm_head: Any = self.model.get_output_embeddings()
        with maybe_gather_lm_head_ctx(lm_head.weight, lm_head.bias):
            weight, bias = (_whole(x) for x in (lm_head.weight, lm_head.bias))
            gaps = []
            for start in range(0, len(hidden), TOKENS_PER_TILE):
                tile = slice(start, start + TOKENS_PER_TILE)
                logits = torch.nn.functional.linear(hidden[tile], weight, bias)
                chosen = logits.gather(1, labels[tile].unsqueeze(1)).squeeze(1)
                gaps.append((logits.amax(dim=1) - chosen).float())
        return torch.cat(gaps) / self.temperature + logp


def below_adapter(model: Any) -> Any:
    """Return the model that LoRA has put its layers into, the same model without an adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _whole(parameter: Any) -> Any:
    """Return the full tensor of a parameter that FSDP 2 has sharded; any other as it is."""
    return parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter


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
    logps = (f"{policy}_per_token_logps" for policy in ("old", "ref", "sampling"))
    for name in ("completion_ids", "completion_mask", *logps, "importance_sampling_ratio"):
        if inputs.get(name) is not None:  # a correction per sequence is (B, 1) and stays so
            result[name] = inputs[name][:, :width]
    return result


def with_images(inputs: dict[str, Any]) -> bool:
    """Tell whether a micro-batch carries more than text."""
    return any(inputs.get(name) is not None for name in ("pixel_values", "token_type_ids", "mm_token_type_ids"))
