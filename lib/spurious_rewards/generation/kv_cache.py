"""Allocate a key-value cache once, for generation with Transformers.

The library's own cache grows by concatenation: every token copies everything so far and asks the allocator for a new
block per layer. On a CPU with a model of 135 M parameters that costs more than the model (`benchmarks/generation.py`).

Usage: `model.generate(..., past_key_values=empty_cache(model, capacity=prompt_width + max_new_tokens))`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class BufferedLayer(DynamicLayer):
    """Hold keys and values of one attention layer in a buffer with room for `capacity` positions.

    Under autocast they are kept as attention reads them; else all of them would be cast again at every token.
    """

    def __init__(self, capacity: int):
        super().__init__()
        self.capacity, self.length = capacity, 0
        self.buffers: list[torch.Tensor] = []  # keys, values: (rows, heads, capacity, width)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new positions and return all so far, as views."""
        if not self.buffers:
            self.is_initialized = True
            kind = key_states.device.type
            dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else key_states.dtype
            self.buffers = [
                x.new_empty((*x.shape[:2], self.capacity, x.shape[3]), dtype=dtype) for x in (key_states, value_states)
            ]
        end = self.length + key_states.shape[2]
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, self.length : end] = states
        self.length = end
        self.keys, self.values = (buffer[:, :, :end] for buffer in self.buffers)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Return the positions so far."""
        return self.length

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows, in this order; a row may appear several times."""
        for i, buffer in enumerate(self.buffers):
            kept = buffer.new_empty((len(indices), *buffer.shape[1:]))
            kept[:, :, : self.length] = buffer[indices, :, : self.length]
            self.buffers[i] = kept
        self.keys, self.values = (buffer[:, :, : self.length] for buffer in self.buffers)


def empty_cache(model: PreTrainedModel, capacity: int) -> Cache:
    """Make a cache for `capacity` positions; models with sliding windows or other caches get Transformers' own."""
    config = model.config.get_text_config()
    if set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}:
        return Cache(layers=[BufferedLayer(capacity) for _ in range(config.num_hidden_layers)])
    return DynamicCache(config=config)
