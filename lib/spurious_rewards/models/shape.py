"""Compute the size of a model from its configuration: parameters, bytes of keys and values, arithmetic per token.

The shapes of the models on the hub stand here, so that planning needs no network; they are those of the models' own
`config.json`. Attention's own arithmetic, a few percent at 4,096 tokens, is left out.

>>> round(shape_of("Qwen/Qwen2.5-Math-7B").parameters / 1e9, 2), round(shape_of("meta-llama/Llama-3.2-3B").parameters / 1e9, 2)
(7.62, 3.21)
>>> shape_of("qwen-like").layers
3
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spurious_rewards.errors import InputError
from spurious_rewards.models.registry import resolve
from spurious_rewards.storage.files import read_json


@dataclass(frozen=True)
class Shape:
    """Hold what memory and time depend on; widths in numbers of values."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool  # the head is the embedding, transposed
    head_width: int = 0  # 0: hidden / heads

    @property
    def kv_width(self) -> int:
        """Return the width of the keys of one token and layer."""
        return self.kv_heads * (self.head_width or self.hidden // self.heads)

    @property
    def layer_parameters(self) -> int:
        """Count the weights of one layer; biases and norms, under a thousandth, are left out."""
        queries = self.heads * (self.head_width or self.hidden // self.heads)
        return 2 * self.hidden * (queries + self.kv_width) + 3 * self.hidden * self.feed_forward

    @property
    def head_parameters(self) -> int:
        """Count the weights of the head, and so of the embedding."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """Count all weights."""
        return self.layers * self.layer_parameters + self.head_parameters * (1 if self.tied else 2)

    @property
    def flops_per_token(self) -> int:
        """Count the operations of one token's forward pass: two per weight that multiplies it."""
        return 2 * (self.layers * self.layer_parameters + self.head_parameters)

    @property
    def kv_bytes_per_token(self) -> int:
        """Return the bytes of the keys and values of one token in bf16."""
        return 2 * 2 * self.layers * self.kv_width


_QWEN_7B = Shape(28, 3584, 18944, 28, 4, 152064, False)
_QWEN_1_5B = Shape(28, 1536, 8960, 12, 2, 151936, True)
_LLAMA_8B = Shape(32, 4096, 14336, 32, 8, 128256, False)
_LLAMA_3B = Shape(28, 3072, 8192, 24, 8, 128256, True)
_OLMO_7B = Shape(32, 4096, 11008, 32, 32, 100352, False)
_SMOLLM2 = Shape(30, 576, 1536, 9, 3, 49152, True)
SHAPES = {
    "Qwen/Qwen2.5-Math-7B": _QWEN_7B,
    "Qwen/Qwen2.5-7B": _QWEN_7B,
    "Qwen/Qwen2.5-Math-1.5B": _QWEN_1_5B,
    "Qwen/Qwen2.5-1.5B": _QWEN_1_5B,
    "meta-llama/Llama-3.1-8B": _LLAMA_8B,
    "meta-llama/Llama-3.1-8B-Instruct": _LLAMA_8B,
    "meta-llama/Llama-3.2-3B": _LLAMA_3B,
    "meta-llama/Llama-3.2-3B-Instruct": _LLAMA_3B,
    "allenai/OLMo-2-1124-7B": _OLMO_7B,
    "allenai/OLMo-2-1124-7B-SFT": _OLMO_7B,
    "HuggingFaceTB/SmolLM2-135M-Instruct": _SMOLLM2,
    "smollm2-135m-instruct": _SMOLLM2,
}


def shape_of(model: str) -> Shape:
    """Find a model's shape: from the table above, or from the `config.json` of its folder.

    Raises:
        InputError: unknown model, or its folder is not there.
    """
    if model in SHAPES:
        return SHAPES[model]
    return shape_from(read_json(Path(resolve(model).folder()) / "config.json"))


def shape_from(config: Mapping[str, Any]) -> Shape:
    """Read the shape from the contents of a `config.json`.

    Raises:
        InputError: it does not describe a decoder of Llama's or Qwen's kind.

    >>> small = {"num_hidden_layers": 2, "hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2,
    ...          "vocab_size": 10}
    >>> shape_from(small).parameters  # 2 × (4 × 8 × 8 + 3 × 8 × 16) + 2 × 10 × 8
    1440
    """
    needed = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")
    if absent := [name for name in needed if name not in config]:
        raise InputError(f"The model's size cannot be told: its config.json has no {', '.join(absent)}.")
    layers, hidden, feed_forward, heads, vocabulary = (config[name] for name in needed)
    kv_heads, tied = config.get("num_key_value_heads") or heads, config.get("tie_word_embeddings", False)
    return Shape(layers, hidden, feed_forward, heads, kv_heads, vocabulary, tied, config.get("head_dim") or 0)
