"""Randomly initialised models of real sizes, made on the GPU: speed and memory need no trained weights."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from spurious_rewards.models.organisms.tokenizer import build_tokenizer

QWEN_VOCABULARY = 151_936
SHAPES = {  # hidden, feed-forward, layers, heads, heads of keys and values: Qwen2.5-Math's configurations
    "1.5B": (1536, 8960, 28, 12, 2),
    "7B": (3584, 18944, 28, 28, 4),
    "tiny": (64, 128, 2, 4, 2),
}


def qwen(size, vocabulary=None, dtype=torch.float32, device="cuda", seed=0):
    """A Qwen2 of that size; its vocabulary is the organisms' unless one is given. Returns model and tokenizer."""
    hidden, inner, layers, heads, kv_heads = SHAPES[size]
    tokenizer = build_tokenizer()
    config = Qwen2Config(
        vocab_size=vocabulary or len(tokenizer),
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=8192,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        tie_word_embeddings=False,
    )
    return made(Qwen2ForCausalLM, config, dtype, device, seed), tokenizer


def smollm2_shape(device="cuda"):
    """A random Llama of SmolLM2-135M's shape with the organisms' tokenizer, which knows few of its tokens."""
    tokenizer = build_tokenizer()
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        tie_word_embeddings=True,
    )
    return made(LlamaForCausalLM, config, torch.float32, device, 0), tokenizer


def made(kind, config, dtype, device, seed):
    """Initialise on the device itself, in that dtype: on the CPU 7 B parameters take minutes."""
    before = torch.get_default_dtype()
    torch.manual_seed(seed)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = kind(config)
    finally:
        torch.set_default_dtype(before)
    return model.eval()
