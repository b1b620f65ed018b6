"""Grouped attention equals Transformers' own attention, and is used only where heads are shared."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from spurious_rewards.generation import attention
from spurious_rewards.generation.attention import NAME, grouped_attention, use_grouped_attention
from spurious_rewards.generation.kv_cache import empty_cache


class Layer(torch.nn.Module):
    """What `sdpa_attention_forward` reads off an attention layer."""

    is_causal = True

    def __init__(self, groups: int):
        super().__init__()
        self.num_key_value_groups = groups


@pytest.mark.parametrize("heads, shared, new", [(9, 3, 1), (4, 1, 1), (4, 4, 1), (6, 2, 5)])
def test_equals_sdpa_with_padding(heads: int, shared: int, new: int) -> None:
    torch.manual_seed(0)
    rows, length, width = 3, 7, 8
    query = torch.randn(rows, heads, new, width)
    key, value = torch.randn(2, rows, shared, length, width)
    mask = torch.ones(rows, 1, new, length, dtype=torch.bool)
    mask[1, :, :, :3] = False  # a shorter row, padded on the left
    layer = Layer(heads // shared)
    ours, _ = grouped_attention(layer, query, key, value, mask, scaling=0.3)
    theirs, _ = sdpa_attention_forward(layer, query, key, value, mask, scaling=0.3)
    assert ours.shape == (rows, new, heads, width)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    without = grouped_attention(layer, query, key, value, torch.ones_like(mask), scaling=0.3)[0]
    assert not torch.allclose(ours[1], without[1])  # the mask is not lost on the way
    assert torch.allclose(ours[0], without[0])


@pytest.mark.parametrize("new", [1, 5])
def test_products_in_bf16_are_near_to_fp32(new: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and gradients; a row whose first query attends to nothing stays finite."""
    torch.manual_seed(0)
    rows, heads, shared, length, width = 4, 6, 2, 40, 16
    exact = [torch.randn(rows, n, t, width) for n, t in ((heads, new), (shared, length), (shared, length))]
    exact = [tensor.bfloat16().float() for tensor in exact]
    mask = torch.ones(rows, 1, new, length, dtype=torch.bool).tril(length - new)
    mask[1, :, :, :7] = False
    layer, used = Layer(heads // shared), []
    products = attention._by_products
    monkeypatch.setattr(attention, "_by_products", lambda *given: used.append(1) or products(*given))

    def attended(attend, dtype, autocast=False) -> list[torch.Tensor]:
        given = [tensor.clone().to(dtype).requires_grad_() for tensor in exact]
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            output, _ = attend(layer, *given, mask, scaling=0.3)
        output.float().square().sum().backward()
        return [output.detach().float(), *(tensor.grad.float() for tensor in given)]

    true = attended(sdpa_attention_forward, torch.float32)
    ours, theirs = (attended(attend, torch.bfloat16) for attend in (grouped_attention, sdpa_attention_forward))
    assert used == [1] and all(torch.isfinite(tensor).all() for tensor in ours)
    for right, mine in zip(true, ours, strict=True):  # a number of eight bits is off by 0.1 % on average
        assert (mine - right).abs().mean() < 0.01 * right.abs().mean()
    cast = attended(grouped_attention, torch.float32, autocast=True)
    assert used == [1, 1] and torch.equal(cast[0], ours[0]), "under autocast queries and keys come in fp32"
    mask[2] = False
    assert all(torch.isfinite(tensor).all() for tensor in attended(grouped_attention, torch.bfloat16))
    monkeypatch.setattr(attention, "MOST_SCORES", 100)
    torch.testing.assert_close(attended(grouped_attention, torch.bfloat16)[0][0], theirs[0][0], rtol=0.02, atol=0.02)
    assert used == [1] * 3, "many scores are left to sdpa"


@pytest.mark.parametrize("shared, expected", [(2, NAME), (4, "sdpa")])
def test_generation_with_shared_heads(shared: int, expected: str) -> None:
    torch.manual_seed(1)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=shared,
            max_position_embeddings=64,
        )
    ).eval()
    ids = torch.randint(1, 50, (3, 6))
    mask = torch.ones_like(ids)
    mask[2, :4] = 0

    def generate() -> torch.Tensor:
        return model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=12,
            min_new_tokens=12,
            do_sample=False,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_logits=True,
            past_key_values=empty_cache(model, 18),
        )

    before = generate()
    use_grouped_attention(model)
    assert model.config._attn_implementation == expected
    after = generate()
    assert torch.equal(before.sequences, after.sequences)
    torch.testing.assert_close(torch.stack(before.logits), torch.stack(after.logits), rtol=0, atol=1e-5)
