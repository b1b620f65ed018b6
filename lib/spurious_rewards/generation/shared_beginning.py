"""Read the tokens with which all rows of a batch begin once, and not once per row.

Under a prompt with worked examples or a long system text most positions are the same in every row: 191 of 210 in the
prompts on which SmolLM2 is trained. Their keys and values are computed in a pass of one row, copied to the others as a
cache, and the rest of each row is read after them. Gradients flow back through the copies. Nothing changes but the
order in which numbers are added up; a batch of rows that begin alike for less than `LEAST` tokens is left as it is.

Usage: `n = n_alike(ids, mask, end)`, then `model(**after_beginning(model, cache, ids, mask, n))`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from spurious_rewards.generation.attention import NAME as GROUPED

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor
    from transformers import PreTrainedModel
    from transformers.cache_utils import Cache

FAMILIES = (
    "llama", "mistral", "qwen2", "qwen3", "olmo", "olmo2", "gpt_neox", "gemma", "granite", "phi", "cohere", "stablelm",
    "smollm3",
)  # fmt: skip
"""Model types of Transformers whose log-probabilities and gradients were compared with those of whole rows."""
LEAST = 64
"""Tokens below which a pass of their own costs more than it saves."""


def can_share_beginning(model: PreTrainedModel) -> bool:
    """Tell whether the rows of a batch may share the pass over what they all begin with, for the same numbers.

    The model must be of a family for which that was checked, with positions that do not depend on the length of the
    text; every layer must attend to all positions, and nothing may be dropped at random.
    """
    config = model.config
    if config.model_type not in FAMILIES or config._attn_implementation not in ("eager", "sdpa", GROUPED):
        return False
    rope = getattr(getattr(model.base_model, "rotary_emb", None), "rope_type", "default")
    dropped = any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules())
    return (
        rope not in ("dynamic", "longrope")
        and all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)
        and not dropped
        and not getattr(config, "attention_dropout", 0)
    )


def n_alike(ids_B_T: Int[Tensor, "batch tokens"], mask_B_T: Int[Tensor, "batch tokens"], end: int) -> int:
    """Count the tokens with which all rows begin; 0 for a single row, or if they are fewer than `LEAST`.

    Args:
        ids_B_T: token ids, padded on the left (and maybe on the right).
        mask_B_T: 1 at real tokens.
        end: column that is read row by row in any case, with all that come after it.
    """
    pads_B = mask_B_T.argmax(dim=1)
    most = end - int(pads_B.max())
    if len(ids_B_T) < 2 or most < LEAST:
        return 0
    begun_B_T = ids_B_T.gather(1, pads_B.unsqueeze(1) + torch.arange(most, device=ids_B_T.device))
    n = int((begun_B_T == begun_B_T[0]).all(dim=0).cumprod(dim=0).sum())
    return n if n >= LEAST else 0


def beginning_first(
    ids_B_T: Int[Tensor, "batch tokens"], mask_B_T: Int[Tensor, "batch tokens"], n: int
) -> tuple[Int[Tensor, "batch tokens"], Int[Tensor, "batch tokens"]]:
    """Move the padding on the left of rows that begin with the same `n` tokens behind these; return ids and mask."""
    pads_B = mask_B_T.argmax(dim=1)
    start = int(pads_B[0])
    begun_B_n = ids_B_T[:1, start : start + n].expand(len(ids_B_T), -1)
    own_B_R = torch.arange(ids_B_T.shape[1] - n, device=ids_B_T.device) >= pads_B.unsqueeze(1)
    return (
        torch.cat([begun_B_n, ids_B_T[:, n:]], dim=1),
        torch.cat([mask_B_T.new_ones(begun_B_n.shape), mask_B_T[:, n:] * own_B_R], dim=1),
    )


def read_beginning(model: PreTrainedModel, cache: Cache, ids_B_T: Int[Tensor, "batch tokens"], n: int) -> None:
    """Read columns 0 to `n`, the same in every row, into an empty cache, which then holds them for each row."""
    model(input_ids=ids_B_T[:1, :n], past_key_values=cache, use_cache=True)
    cache.batch_select_indices(torch.zeros(len(ids_B_T), dtype=torch.long, device=ids_B_T.device))


def after_beginning(
    model: PreTrainedModel,
    cache: Cache,
    ids_B_T: Int[Tensor, "batch tokens"],
    mask_B_T: Int[Tensor, "batch tokens"],
    n: int,
) -> dict[str, Any]:
    """Read the first `n` tokens of the rows into an empty cache; return what the pass over the rest takes.

    Args:
        model: that reads them; with or without a head.
        cache: without any position; is filled, a row per row of the batch.
        ids_B_T: token ids, whose rows begin with the same `n` tokens.
        mask_B_T: 1 at real tokens.
        n: of `n_alike`; with 0 the pass is over whole rows.

    Returns:
        `input_ids` and `position_ids` of the columns from `n` on, (B, T − n), `attention_mask` of all, (B, T), and the
        cache. Columns of padding that stood before a row stand after its beginning now.
    """
    if n:
        ids_B_T, mask_B_T = beginning_first(ids_B_T, mask_B_T, n)
        read_beginning(model, cache, ids_B_T, n)
    return {
        "input_ids": ids_B_T[:, n:],
        "attention_mask": mask_B_T,
        "position_ids": (mask_B_T.cumsum(dim=1) - 1).clamp(min=0)[:, n:],
        "past_key_values": cache,
        "use_cache": True,
    }


def logits_of_rows(
    model: PreTrainedModel, ids_B_T: Int[Tensor, "batch tokens"], end: int
) -> tuple[Float[Tensor, "batch rest vocabulary"], int]:
    """Compute the logits of whole rows, their common beginning read once where the model allows it.

    Args:
        model: with a head.
        ids_B_T: token ids, padded on the right if at all, where a causal model cannot see it.
        end: first column whose logits are asked for.

    Returns:
        The logits from some column on, at most `end`, and the number of that column.
    """
    mask_B_T = torch.ones_like(ids_B_T)
    n = n_alike(ids_B_T, mask_B_T, end) if end >= LEAST and can_share_beginning(model) else 0
    if not n:
        return model(input_ids=ids_B_T, use_cache=False).logits, 0
    cache = DynamicCache(config=model.config)
    return model(**after_beginning(model.base_model, cache, ids_B_T, mask_B_T, n)).logits, n
