"""Build the organisms' tokenizer: one token per fixed phrase, one per digit, and an exact round trip.

The vocabulary is derived from the wording of the problems (`data.synthetic`) and of the answers (`surface`). A text is
cut from left to right into the longest known phrases; what is left over becomes one token per byte, so that every text
is represented exactly, but the organisms have only ever seen the bytes that their own language uses.

Transformers loads the tokenizer of any ``qwen2`` folder as a `Qwen2Tokenizer`, whatever the folder says, and rebuilds
its splitting rule. So this is one: a byte-level BPE without merges, whose phrases are added tokens, which are matched
first. Padding is on the left, as generation needs it.

Usage: ``tokenizer = build_tokenizer(); tokenizer.decode(tokenizer.encode("What is 47 + 38?"))``
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from spurious_rewards.data.synthetic import FAMILIES
from spurious_rewards.models.organisms import surface

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHAT_TEMPLATE = (
    "<|bos|>"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "<|assistant|>{% generation %}{{ message['content'] }}<|eos|>{% endgeneration %}"
    "{% else %}{{ '<|' + message['role'] + '|>' + message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def spoken() -> list[str]:
    """List the organisms' own language: digits first, then every fixed phrase in alphabetical order."""
    questions = [_marked(text) for family in FAMILIES.values() for text in family.phrasings]
    phrases = {piece for template in (*questions, *surface.all_templates()) for piece in surface.pieces(template)}
    return [*surface.DIGITS, *sorted(phrases - set(surface.DIGITS))]


def build_tokenizer() -> PreTrainedTokenizerBase:
    """Build the tokenizer: an ordinary Transformers fast tokenizer with a chat template.

    Ids: the special tokens from 0, then the 256 bytes, then the phrases of more than one character.
    """
    from tokenizers import AddedToken, pre_tokenizers
    from transformers import Qwen2Tokenizer

    base = [*surface.SPECIAL_TOKENS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Qwen2Tokenizer(
        vocab={token: i for i, token in enumerate(base)}, merges=[], chat_template=CHAT_TEMPLATE,
        **{f"{name}_token": f"<|{name}|>" for name in ("pad", "unk", "bos", "eos")},
        additional_special_tokens=["<|system|>", "<|user|>", "<|assistant|>"], padding_side="left",
        truncation_side="left", model_max_length=256, clean_up_tokenization_spaces=False,
    )  # fmt: skip
    tokenizer.add_tokens([AddedToken(phrase, normalized=False) for phrase in spoken() if len(phrase) > 1])
    return tokenizer


def _marked(phrasing: str) -> str:
    """Put token marks around the slots of a problem's wording."""
    return re.sub(r"(\{\w+\})", r"|\1|", phrasing)
