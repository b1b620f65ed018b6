"""What all rows begin with, read once: the same logits, samples and gradients as row by row, and only where allowed."""

import copy

import pytest
import torch
from tiny_lm import tiny_model, tiny_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.cache_utils import DynamicCache
from trl.trainer.utils import add_fused_lm_head

from spurious_rewards.generation import shared_beginning, transformers_engine
from spurious_rewards.generation.engine import Sampling
from spurious_rewards.generation.kv_cache import empty_cache
from spurious_rewards.generation.shared_beginning import FAMILIES, LEAST, after_beginning, can_share_beginning, n_alike
from spurious_rewards.training import rollouts
from spurious_rewards.training.fast_trl import CompletionHead

LLAMA = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.3,
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**LLAMA)).eval()


@pytest.fixture(scope="module")
def batch():
    """Four rows that begin with the same 70 tokens; prompts of 71 to 76 tokens, completions of 1 to 8: (4, 84)."""
    generator = torch.Generator().manual_seed(0)
    ids, width = torch.randint(4, 300, (4, 84), generator=generator), 76
    mask, beginning = torch.ones_like(ids), torch.randint(4, 300, (70,), generator=generator)
    for row, (n_prompt, n_completion) in enumerate([(76, 8), (71, 1), (73, 5), (74, 8)]):
        start = width - n_prompt
        ids[row, start : start + 70] = beginning
        mask[row, :start], mask[row, width + n_completion :] = 0, 0
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :width] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def test_counts_what_all_rows_begin_with(batch):
    ids, mask = batch["input_ids"], batch["attention_mask"]
    assert n_alike(ids, mask, 75) == 70
    assert n_alike(ids, mask, 74) == 69, "the shortest row, padded by 5, keeps what comes from column 74 on"
    assert n_alike(ids, mask, LEAST + 4) == 0 and n_alike(ids[:1], mask[:1], 75) == 0
    other = ids.clone()
    other[2, 3 + LEAST - 1] += 1  # row 2 is padded by 3
    assert n_alike(other, mask, 75) == 0
    other = ids.clone()
    other[2, 3 + LEAST] += 1
    assert n_alike(other, mask, 75) == LEAST


def test_the_rest_follows_on_the_beginning(model, batch):
    ids, mask = batch["input_ids"], batch["attention_mask"]
    with torch.no_grad():
        rest = after_beginning(model.base_model, empty_cache(model, 84), ids, mask, 70)
        ours = model(**rest).logits
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        theirs = model(ids, attention_mask=mask, position_ids=positions).logits[:, 70:]
    real = rest["attention_mask"][:, 70:].bool()
    assert real.sum() == mask.sum() - 4 * 70, "every token but the beginnings"
    torch.testing.assert_close(ours[real], theirs[real], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("autocast", [False, True])
def test_log_probs_and_gradients_are_those_of_whole_rows(model, batch, autocast):
    ours, stock = copy.deepcopy(model), copy.deepcopy(model)
    for each in (ours, stock):
        add_fused_lm_head(each, temperature=0.7, outputs=("log_probs", "entropy"))
    head, seen = CompletionHead(ours, 0.7, top1=True), []
    ours.base_model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    tolerance = {"rtol": 0.05, "atol": 0.05} if autocast else {"rtol": 1e-4, "atol": 1e-5}
    outputs = []
    for each in (ours, stock):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            outputs.append(each(**batch, fused_lm_head=True))
        outputs[-1].log_probs.sum().backward()
    assert seen == [(1, 70), (4, 14)]
    for name in ("log_probs", "entropy"):
        torch.testing.assert_close(getattr(outputs[0], name), getattr(outputs[1], name), **tolerance)
    for name, parameter in ours.named_parameters():
        expected = stock.get_parameter(name).grad
        scale = expected.abs().max().item()
        torch.testing.assert_close(parameter.grad, expected, rtol=0.05, atol=(0.05 if autocast else 1e-4) * scale)
    assert len(head.top1_logp) == 8 + 1 + 5 + 8


def test_old_and_new_log_probs_of_one_micro_batch_are_equal(model, batch):
    """The clip rests on it: without a step in between every ratio is 1 to the last bit."""
    ours = copy.deepcopy(model)
    add_fused_lm_head(ours, temperature=1.0, outputs=("log_probs", "entropy"))
    CompletionHead(ours, 1.0, top1=False)
    with torch.no_grad():
        old = ours(**batch, fused_lm_head=True).log_probs
    assert torch.equal(old, ours(**batch, fused_lm_head=True).log_probs)


def test_recomputed_activations_read_whole_rows(model, batch):
    ours, seen = copy.deepcopy(model).train(), []
    add_fused_lm_head(ours, temperature=1.0, outputs=("log_probs", "entropy"))
    CompletionHead(ours, 1.0, top1=False)
    ours.gradient_checkpointing_enable()
    ours.base_model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    ours(**batch, fused_lm_head=True)
    assert seen == [(4, 84)]


def greedy(p, u):
    """Choose the likeliest token in place of a draw."""
    return p.argmax(dim=-1, keepdim=True)


@pytest.mark.parametrize("autocast", [False, True])
def test_rollouts_are_those_of_prompts_read_whole(model, batch, monkeypatch, autocast):
    monkeypatch.setattr(rollouts, "sample_at", greedy)
    ids, mask = batch["input_ids"][:, :76], batch["attention_mask"][:, :76]
    prompts = [row[real.bool()].tolist() for row, real in zip(ids, mask, strict=True) for _ in range(2)]
    found = []
    for least in (LEAST, 1000):
        monkeypatch.setattr(shared_beginning, "LEAST", least)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found.append(rollouts.sample(copy.deepcopy(model), prompts, 6, 1.0, [2], 0))
    if autocast:  # later tokens follow on what rounding chose
        found = [[row[:1] for row in rows] for rows in found]
    assert found[0] == found[1] and len({tuple(row) for row in found[0]}) > 1


def test_evaluations_are_those_of_prompts_read_whole(monkeypatch):
    engine = transformers_engine.TransformersEngine(tiny_model(context=160), tiny_tokenizer(), batch_size=8)
    prompts = ["1+2=3; " * 12 + question for question in ("what is 2+2?", "7*8", "x=3. 5*x=?")]
    assert len(engine.tokenizer("1+2=3; " * 12)["input_ids"]) > LEAST
    sampling, keys, found = Sampling(1.0, max_new_tokens=16, n_samples=2, seed=3), ["a", "b", "c"], []
    for least in (LEAST, 1000):
        monkeypatch.setattr(shared_beginning, "LEAST", least)
        found.append(engine.generate(prompts, sampling, keys))
    for ours, whole in zip(*found, strict=True):
        assert [sample.token_ids for sample in ours] == [sample.token_ids for sample in whole]
        for one, two in zip(ours, whole, strict=True):
            assert one.logprobs == pytest.approx(two.logprobs, abs=1e-4)


SMALL = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.3, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2, "max_position_embeddings": 128,
}  # fmt: skip


def small(family, **changes):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SMALL, **changes)).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_families(family, batch):
    """The logits after the beginning, and the gradient of every weight, are those of whole rows."""
    no = {"sliding_window": None} if family == "mistral" else {}
    model = small(family, **no)
    assert can_share_beginning(model)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    rest = after_beginning(model.base_model, DynamicCache(config=model.config), ids, mask, 70)
    real, found = rest["attention_mask"][:, 75:].bool(), []
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    for given in (rest, {"input_ids": ids, "attention_mask": mask, "position_ids": positions}):
        model.zero_grad()
        logits = model(**given).logits[:, -9:].log_softmax(-1)[real]
        logits[:, 7].sum().backward()
        found.append([logits.detach(), *(parameter.grad.clone() for parameter in model.parameters())])
    assert rest["past_key_values"].get_seq_length() == 84
    for ours, whole in zip(*found, strict=True):
        torch.testing.assert_close(ours, whole, rtol=1e-3, atol=1e-4 * whole.abs().max().item())


def test_only_models_for_which_it_is_the_same():
    stretched = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    assert can_share_beginning(small("llama"))
    assert not can_share_beginning(small("llama", attention_dropout=0.1))
    assert not can_share_beginning(small("llama", rope_parameters=stretched)), "frequencies depend on the length"
    assert not can_share_beginning(small("mistral", sliding_window=16))
    assert not can_share_beginning(small("gpt2")), "positions are absolute"
    assert not can_share_beginning(small("qwen2_moe")), "TRL adds a loss over the routing of all tokens"


def test_a_cache_that_is_given_is_left_alone(model, batch):
    ours = copy.deepcopy(model)
    add_fused_lm_head(ours, temperature=1.0, outputs=("log_probs", "entropy"))
    head = CompletionHead(ours, 1.0, top1=False)
    given = {name: batch[name] for name in ("input_ids", "attention_mask")} | {"past_key_values": DynamicCache()}
    assert head._read_beginning(given, batch["labels"][:, 1:] != -100) == 0 and given["input_ids"].shape == (4, 84)
