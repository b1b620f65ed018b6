"""Compute grouped-query attention while decoding without copying keys and values.

Where several query heads share one head of keys and values, Transformers' `sdpa` repeats the whole cache for every
query head whenever there is a padding mask, in every layer at every token: three quarters of the time of SmolLM2 on a
CPU. With one new token per row the query heads of a group can be the rows of one small attention instead, which is the
same sum in another shape. Prompts (several new tokens) and models without groups go to `sdpa` itself.

Usage: `use_grouped_decoding(model)` once after loading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

NAME = "sdpa_grouped"


def grouped_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend as `sdpa_attention_forward` does: query (B, H, T, D), key and value (B, H', S, D) → (B, T, H, D), None.

    For T = 1 and H > H' the groups are folded into the query's time axis: (B, H', H/H', D) against (B, H', S, D).
    """
    groups = query.shape[1] // key.shape[1]
    plain = attention_mask is not None and attention_mask.shape[1] == 1 and kwargs.get("position_bias") is None
    if query.shape[2] != 1 or groups == 1 or not plain:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    folded = query.reshape(query.shape[0], key.shape[1], groups, query.shape[3])
    output = torch.nn.functional.scaled_dot_product_attention(
        folded, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling
    )
    return output.reshape(query.shape[0], 1, query.shape[1], value.shape[3]), None


def use_grouped_decoding(model: PreTrainedModel) -> None:
    """Switch a model that uses `sdpa` and groups its query heads to `grouped_attention`; others stay as they are."""
    config = model.config.get_text_config()
    shared = getattr(config, "num_key_value_heads", None)
    if config._attn_implementation == "sdpa" and shared and shared < config.num_attention_heads:
        AttentionInterface.register(NAME, grouped_attention)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)
