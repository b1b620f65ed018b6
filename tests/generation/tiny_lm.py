"""A tiny Qwen2-architecture model with random weights and the organisms' tokenizer: real generation in milliseconds."""

from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from spurious_rewards.models.organisms.tokenizer import build_tokenizer as tiny_tokenizer

__all__ = ["save_tiny", "tiny_model", "tiny_tokenizer"]


def tiny_model(seed: int = 0, context: int = 128) -> Qwen2ForCausalLM:
    torch.manual_seed(seed)
    tokenizer = tiny_tokenizer()
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=context,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        tie_word_embeddings=True,
        initializer_range=0.1,
    )
    return Qwen2ForCausalLM(config).eval()


def save_tiny(folder: Path, seed: int = 0, context: int = 128) -> Path:
    tiny_model(seed, context).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
