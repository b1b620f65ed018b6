"""The language-model head where it is needed: completion positions only, and the top-1 probability on the way.

On devices without Triton, TRL scores every position of a micro-batch, prompts and padding included, and throws that
part away; with Triton it picks the labelled positions first. `CompletionHead` does the latter everywhere: it wraps the
forward that TRL has patched and hands TRL's own head the hidden states of the labelled positions, through its argument
`shift_labels`. Nothing of the head is copied. On the organisms this saves about 8 % of an update.

While the hidden states are at hand, the mean top-1 probability of the policy, max_v π_θ(v), is computed from them
without another pass through the model: with the logit z_y and the log-probability of the sampled token known, one
projection and its maximum suffice, log max_v π = (max_v z_v − z_y)/T + log π(y). That projection costs about 1 % of an
update on the model organisms (`benchmarks/grpo_step.py`), so it can be switched off.

Usage: `head = CompletionHead(model, temperature, top1=True)`; after a pass with gradients read `head.top1_logp`.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from trl.trainer.utils import maybe_gather_lm_head_ctx

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor
    from transformers import PreTrainedModel

TOKENS_PER_TILE = 1024
"""Rows of logits held at once for the maximum: 0.6 GB at a vocabulary of 152 000."""

_TRANSFORMED_LOGITS = (
    "final_logit_softcapping",
    "logit_scale",
    "output_multiplier",
    "lm_head_multiplier",
    "logits_scaling",
)


class CompletionHead:
    """Wraps `model.forward(..., fused_lm_head=True)`; all other calls (generation) go through untouched.

    Attributes:
        top1: whether passes with gradients also compute the top-1 probability.
        top1_logp: log max_v π_θ(v) at the labelled tokens of the last such pass, in row order, (tokens,).
    """

    def __init__(self, model: PreTrainedModel, temperature: float, top1: bool):
        self.model, self.temperature = model, temperature
        config = model.config.get_text_config()
        # models that bend their logits behind the projection (none of the paper's) get no top-1 probability
        self.top1 = top1 and all(getattr(config, name, None) is None for name in _TRANSFORMED_LOGITS)
        self.top1_logp: Float[Tensor, " tokens"] | None = None
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
                return forward(*args, labels=torch.nn.functional.pad(labels_B_T, (1, 0), value=-100), **kwargs)
            self._labelled = labelled_B_T
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

    @torch.no_grad()
    def _top1(self, labels: Int[Tensor, " tokens"], logp: Float[Tensor, " tokens"]) -> Float[Tensor, " tokens"]:
        hidden = self._hidden.squeeze(0)
        lm_head = self.model.get_output_embeddings()
        with maybe_gather_lm_head_ctx(lm_head.weight, lm_head.bias):
            weight, bias = (_whole(x) for x in (lm_head.weight, lm_head.bias))
            gaps = []
            for start in range(0, len(hidden), TOKENS_PER_TILE):
                tile = slice(start, start + TOKENS_PER_TILE)
                logits = torch.nn.functional.linear(hidden[tile], weight, bias)
                chosen = logits.gather(1, labels[tile].unsqueeze(1)).squeeze(1)
                gaps.append((logits.amax(dim=1) - chosen).float())
        return torch.cat(gaps) / self.temperature + logp


def _whole(parameter: Any) -> Any:
    """The full tensor of a parameter that FSDP2 has sharded; any other as it is."""
    return parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
