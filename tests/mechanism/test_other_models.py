"""The counterfactual of a model that is no organism: other architecture, other tokenizer, a vocabulary in chunks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from spurious_rewards.generation import shared_beginning
from spurious_rewards.generation.attention import NAME
from spurious_rewards.mechanism import counterfactual, probe_set
from spurious_rewards.mechanism.__main__ import main
from spurious_rewards.mechanism.code_tokens import CodeTokens
from spurious_rewards.mechanism.counterfactual_config import configs
from spurious_rewards.mechanism.effects import unpaired
from spurious_rewards.mechanism.probe_set import ProbeSet
from spurious_rewards.mechanism.replay import Arms
from spurious_rewards.models.registry import load

TEXTS = [
    "What is 12 + 34? Please reason step by step, and put your final answer within \\boxed{46}.",
    "```python\nprint(12 + 34)\n```",
    "Let's solve this using Python.",
    "python Python python",
] * 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random Llama of two layers with a byte-level tokenizer of its own, saved as a Transformers folder."""
    path = tmp_path_factory.mktemp("models") / "tiny-llama"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, special_tokens=["<end>"], show_progress=False),
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(fast) + 3,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=256,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
    )
    model.save_pretrained(path)
    fast.save_pretrained(path)
    return path


def test_two_pairs_from_the_command_line(folder, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "runs"))
    assert main(["counterfactual", "--model", str(folder), "--size", "tiny"]) == 0
    assert "2 pairs" in capsys.readouterr().out
    (config,) = configs("tiny", model=str(folder))
    assert config.prompt_style == "simplerl" and config.modes == ("none", "two_sided")
    records = counterfactual.PairRecords.of([counterfactual.run(config, progress=False)])
    assert unpaired(records.pairs) == [] and (records.pairs["motion"] > 0).all()
    assert records.pairs["code_exact"].between(0, 1).all() and records.pairs["kl"].gt(0).all()
    assert len(records.levels["code_logits"].iloc[0]) == config.probe_problems


def test_all_arms_attend_alike_where_query_heads_share_keys(folder):
    """Rollouts switch the model that makes them to another attention, which in bf16 rounds in its own way."""
    arms = Arms(replace(configs("tiny", model=str(folder))[0], bf16=True))
    arms.draw(0)
    assert {trainer.model.config._attn_implementation for trainer in arms.trainers.values()} == {NAME}


def test_a_vocabulary_that_is_not_held_gives_the_same_numbers(folder, monkeypatch):
    model, tokenizer = load(folder)
    (config,) = configs("tiny", model=str(folder))
    monkeypatch.setattr(probe_set, "ROWS_PER_PASS", 3)
    held = ProbeSet.sample(config, model, tokenizer)
    monkeypatch.setattr(probe_set, "HELD_NUMBERS", 0)
    chunked = ProbeSet.sample(config, model, tokenizer)
    assert held._held and not chunked._held and chunked.sha == held.sha
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1.05
    assert chunked.measure(model).scalars() == pytest.approx(held.measure(model).scalars(), rel=1e-5, nan_ok=True)


def test_a_beginning_that_is_read_once_gives_the_same_numbers(folder, monkeypatch):
    model, tokenizer = load(folder)
    marks = CodeTokens(tokenizer, len(tokenizer) + 3, "")
    ids = torch.randint(3, 300, (6, 90), generator=torch.Generator().manual_seed(0)).tolist()
    prompts = [ids[0][:70] + row[70 : 76 + i] for i, row in enumerate(ids[:3])]  # alike for 70 tokens
    rows = [(prompts[i // 2], row[76 : 80 + i]) for i, row in enumerate(ids)]
    probe = ProbeSet(rows, np.eye(3, 2, dtype=bool), marks, 1.0, model, depth=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1.05
    passes = []
    model.model.register_forward_pre_hook(
        lambda _, args, given: passes.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    once = probe.measure(model).scalars()
    monkeypatch.setattr(shared_beginning, "LEAST", 1000)
    whole = probe.measure(model).scalars()
    assert passes == [(1, 70), (6, 17), (1, 70), (3, 8), (6, 87), (3, 78)], "answers, then the tree of first tokens"
    assert once == pytest.approx(whole, rel=1e-4, abs=1e-7, nan_ok=True)


def test_code_tokens_of_a_tokenizer_that_splits_the_word(folder):
    _, tokenizer = load(folder)
    marks = CodeTokens(tokenizer, len(tokenizer) + 3, "")
    pieces = [tokenizer.convert_tokens_to_ids(letter) for letter in "Pytho"]
    n = tokenizer.convert_tokens_to_ids("n")
    assert marks.after(pieces)[n] and not marks.after(pieces[:4])[n] and not marks.after([*pieces, n]).any()
    assert not marks.after(pieces)[-3:].any()  # embeddings without a token


def test_an_organism_keeps_its_prompt_and_a_style_can_be_asked_for(folder):
    assert configs("tiny", model="qwen-like")[0].prompt_style == "organism"
    assert configs("tiny", model=str(folder), prompt_style="none")[0].prompt_style == "none"
