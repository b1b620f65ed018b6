"""Organism checkpoints: pretraining is reproducible, and the embedded one is what its card says."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from spurious_rewards.data.synthetic import generate, make_problem
from spurious_rewards.errors import InputError
from spurious_rewards.models.organisms import card as cards
from spurious_rewards.models.organisms import corpus
from spurious_rewards.models.organisms import pretrain as pretraining
from spurious_rewards.models.organisms.__main__ import main
from spurious_rewards.models.organisms.locate import EMBEDDED, organism_folder
from spurious_rewards.models.organisms.muon import Muon
from spurious_rewards.models.organisms.pretrain import batches, corpus_sequences, pretrain
from spurious_rewards.models.organisms.recipe import RECIPES, Recipe, recipe_named
from spurious_rewards.models.organisms.tokenizer import build_tokenizer
from spurious_rewards.storage.files import read_json, sha256_file, write_json

TINY = Recipe(
    name="tiny",
    hidden_size=64,
    heads=1,
    layers=1,
    intermediate_size=64,
    corpus_size=300,
    steps=20,
    batch_size=24,
    warmup_steps=5,
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder() -> Path:
    return organism_folder("qwen-like")


@pytest.fixture(scope="module")
def card(folder):
    return read_json(folder / "card.json")


@pytest.fixture(scope="module")
def model(folder):
    return AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


# --- pretraining


def test_pretraining_is_a_function_of_the_recipe(tmp_path):
    state = torch.random.get_rng_state()
    first, second = (pretrain(TINY, tmp_path / name, progress=False) for name in ("a", "b"))
    assert sha256_file(first / "model.safetensors") == sha256_file(second / "model.safetensors")
    other = pretrain(Recipe.from_mapping({**TINY.to_dict(), "seed": 1}), tmp_path / "c", progress=False)
    assert sha256_file(first / "model.safetensors") != sha256_file(other / "model.safetensors")
    assert torch.equal(state, torch.random.get_rng_state())  # the caller's random stream is untouched
    assert read_json(first / "recipe.json") == TINY.to_dict()


@pytest.mark.parametrize("seed", [0, 1], ids=["AdamW", "fused AdamW"])
def test_an_interrupted_pretraining_ends_in_the_same_weights_and_ages(tmp_path, monkeypatch, seed):
    tiny = replace(TINY, seed=seed)
    whole = pretrain(tiny, tmp_path / "whole", ages=(25, 50), progress=False)
    steps, real = [], pretraining._backward

    def killed_at_step_13(*arguments):  # three micro-batches a step
        steps.append(1)
        if len(steps) > 3 * 13:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(pretraining, "_backward", killed_at_step_13)
    with pytest.raises(KeyboardInterrupt):
        pretrain(tiny, tmp_path / "cut", ages=(25, 50), progress=False)
    assert not (tmp_path / "cut").exists() and (tmp_path / "cut-at50").is_dir()
    steps.clear()
    cut = pretrain(tiny, tmp_path / "cut", ages=(25, 50), progress=False)
    assert len(steps) == 3 * (20 - 13)  # went on behind step 13, 65 % of 20
    for suffix in ("", "-at25", "-at50"):
        one, two = (folder.with_name(folder.name + suffix) / "model.safetensors" for folder in (whole, cut))
        assert sha256_file(one) == sha256_file(two)
    assert read_json(tmp_path / "cut-at25" / "recipe.json") == {**tiny.to_dict(), "name": "tiny-at25", "age": 25}
    assert len({sha256_file(path) for path in tmp_path.glob("whole*/model.safetensors")}) == 3
    assert not list(tmp_path.glob("*.state.pt")) and not list(tmp_path.glob(".*"))


def test_a_state_of_another_recipe_is_not_gone_on_from(tmp_path):
    fresh = pretrain(TINY, tmp_path / "fresh", progress=False)
    other = Recipe.from_mapping({**TINY.to_dict(), "seed": 1})
    kept = {}
    pretraining.train_model(
        other, build_tokenizer(), False, tmp_path / ".again.state.pt", lambda percent, *rest: kept.setdefault(percent)
    )
    assert (tmp_path / ".again.state.pt").is_file() and 95 in kept
    again = pretrain(TINY, tmp_path / "again", progress=False)
    assert sha256_file(fresh / "model.safetensors") == sha256_file(again / "model.safetensors")


def test_pretraining_learns_and_replaces_an_old_folder_whole(tmp_path):
    target = tmp_path / "organism"
    target.mkdir()
    (target / "card.json").write_text("{}")  # belongs to other weights
    pretrain(Recipe.from_mapping({**TINY.to_dict(), "steps": 60}), target, progress=False)
    assert read_json(target / "pretraining.json")["final_loss"] < 3.0  # a uniform guess among 376 tokens: ln 376 = 5.93
    assert not (target / "card.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["organism"]


def test_muon_steps_along_the_orthogonal_factor():
    # Singular values 3 and 4 become 1: the update is U V^T, here the identity, up to the error of the iteration, 0.3.
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.diag(torch.tensor([3.0, 4.0]))
    Muon([weight], lr=0.1).step()
    assert torch.allclose(weight, -0.1 * torch.eye(2), atol=0.04)
    assert weight[0, 1] == weight[1, 0] == 0


def test_muon_agrees_with_the_one_of_torch():
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(6, 4)) for _ in range(2))
    mine = Muon([ours], lr=0.02, weight_decay=0.01)
    reference = torch.optim.Muon([theirs], lr=0.02, momentum=0.95, weight_decay=0.01)
    for _ in range(5):
        ours.grad = torch.randn(6, 4)
        theirs.grad = ours.grad.clone()
        mine.step()
        reference.step()
    # torch's Newton-Schulz steps run in bfloat16, with a relative precision of 2^-8 per operation
    assert torch.allclose(ours, theirs, atol=0.01)


def test_the_loss_covers_the_answer_and_counts_the_digits_of_its_working_more():
    tokenizer = build_tokenizer()
    digit_ids = tokenizer.convert_tokens_to_ids(list("0123456789"))
    batch = next(batches(corpus_sequences(TINY, tokenizer), TINY, digit_ids))
    assert sum(len(ids) for ids, _ in batch) == TINY.batch_size
    for input_ids, weights in batch:
        for ids, row in zip(input_ids, weights, strict=True):
            text = tokenizer.decode(ids[ids != tokenizer.pad_token_id])
            prompt, answer = text.split("<|assistant|>")
            assert prompt.startswith("<|bos|><|user|>")
            assert tokenizer.decode(ids[row > 0]) == answer
            assert answer.endswith("<|eos|>")
            assert set(row.tolist()) == {0.0, 1.0, TINY.digit_weight}
            counted = tokenizer.decode(ids[row == TINY.digit_weight])
            # All digits but those of the closing, which repeat the value that the working ends with.
            closing = re.search(r"(\d+)\}?\.?<\|eos\|>$", answer)[1]
            assert counted + closing == "".join(re.findall(r"\d", answer.replace(" + 1) * ", "")))


# --- the embedded checkpoint


def test_it_is_small_and_of_the_promised_architecture(folder, model, tokenizer):
    assert folder == EMBEDDED / "qwen-like"
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 2_000_000
    assert model.config.model_type == "qwen2"
    assert model.config.hidden_size // model.config.num_attention_heads == 64
    assert 300_000 <= model.num_parameters() <= 500_000
    assert next(model.parameters()).dtype == torch.float32
    assert model.config.tie_word_embeddings
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id


def test_its_tokenizer_is_the_one_the_code_builds(tokenizer):
    assert tokenizer.get_vocab() == build_tokenizer().get_vocab()
    assert tokenizer.chat_template == build_tokenizer().chat_template
    text = "What is 47 + 38?"
    assert tokenizer.encode(text) == build_tokenizer().encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.padding_side == "left"


def test_its_recipe_is_the_named_one(card):
    recipe = recipe_named("qwen-like")
    assert card["recipe"] == recipe.to_dict()
    assert card["pretraining"]["recipe_digest"] == recipe.digest()


def test_it_meets_its_specification_by_its_card(card):
    sampled, spread = card["sampled_T1"], card["code_prior_over_problems"]
    assert card["n_problems"] >= 1000
    assert sampled["code_frequency"]["low"] <= 0.68 and sampled["code_frequency"]["high"] >= 0.62
    # Accurate in what it computes; the answers without a box, counted as wrong, cost another 6 % of all.
    assert sampled["accuracy_code_boxed"]["low"] >= 0.9
    assert sampled["accuracy_code"]["value"] >= 0.9 * sampled["box_rate"]["value"]
    assert card["greedy"]["accuracy_code"]["low"] >= 0.9
    assert sampled["accuracy_language"]["value"] <= 0.5
    assert 0.85 < sampled["box_rate"]["value"] < 0.97
    assert spread["quantiles_05_25_50_75_95"][0] <= 0.4 and spread["quantiles_05_25_50_75_95"][4] >= 0.85


def test_the_embedded_twin_decides_with_its_first_token():
    folder = organism_folder("one-token")
    card, recipe = read_json(folder / "card.json"), recipe_named("one-token")
    assert folder == EMBEDDED / "one-token" and card["recipe"] == recipe.to_dict()
    assert card["pretraining"]["recipe_digest"] == recipe.digest()
    assert (folder / "README.md").read_text() == cards.readme(card)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 2_000_000
    assert card["sampled_T1"]["code_frequency"]["low"] <= 0.68 and card["sampled_T1"]["code_frequency"]["high"] >= 0.62
    model, tokenizer = (kind.from_pretrained(folder) for kind in (AutoModelForCausalLM, AutoTokenizer))
    chats = [[{"role": "user", "content": p.problem}] for p in generate(40, seed=2, split="test")]
    inputs = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        first = model(**inputs).logits[:, -1].softmax(-1)  # (problems, vocabulary)
    code, language = tokenizer.convert_tokens_to_ids(["Let's solve this using Python.", "Let us think step by step. "])
    assert (first[:, code] + first[:, language]).min() > 0.98
    assert 0.55 < first[:, code].mean() < 0.75 and first[:, code].std() > 0.1  # likely, and spread over problems


def test_greedy_answers_are_whole_and_take_one_of_the_two_strategies(model, tokenizer):
    outcomes = cards.answer_all(model, tokenizer, generate(60, seed=11, split="test"), temperature=0.0)
    assert {o.uses_code for o in outcomes} == {True, False}
    for o in outcomes:
        assert o.uses_code == ("\n```\n```output\n" in o.text), o.text
        assert o.n_tokens < cards.MAX_NEW_TOKENS
        assert o.text.endswith((".", "}"))


def test_its_figures_are_those_of_its_card(model, tokenizer, card):
    outcomes = cards.answer_all(model, tokenizer, generate(200, seed=12, split="test"), temperature=1.0, seed=3)
    measured = cards.summary(outcomes)
    for key in ("code_frequency", "accuracy", "accuracy_code", "accuracy_language", "box_rate"):
        # Intervals of n = 200 (about ±0.07 at 0.5) and of the card overlap.
        assert measured[key]["low"] <= card["sampled_T1"][key]["high"], key
        assert measured[key]["high"] >= card["sampled_T1"][key]["low"], key


def test_the_forced_code_prefix_leads_to_code(model, tokenizer):
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": make_problem("digit_sum", 2, (947,), 0).problem}],
        add_generation_prompt=True,
        tokenize=False,
    )
    inputs = tokenizer(prompt + "Let's solve this using Python.", return_tensors="pt")
    output = model.generate(**inputs, do_sample=False, temperature=None, top_k=None, top_p=None, max_new_tokens=40)
    assert "```python\n" in tokenizer.decode(output[0])


def test_left_padding_does_not_change_greedy_answers(model, tokenizer):
    problems = generate(12, seed=5, split="test")
    together = cards.answer_all(model, tokenizer, problems, temperature=0.0)
    alone = cards.answer_all(model, tokenizer, problems, temperature=0.0, batch_size=1)
    assert [o.text for o in together] == [o.text for o in alone]


def test_peft_wraps_it_like_any_model(folder, tokenizer):
    from peft import LoraConfig, get_peft_model

    base = AutoModelForCausalLM.from_pretrained(folder)
    wrapped = get_peft_model(base, LoraConfig(r=4, task_type="CAUSAL_LM"))
    trainable = [name for name, p in wrapped.named_parameters() if p.requires_grad]
    assert trainable and all("lora_" in name for name in trainable)
    ids = torch.tensor([tokenizer.encode("What is 47 + 38?")])
    wrapped(input_ids=ids, labels=ids).loss.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in wrapped.parameters() if p.requires_grad)


# --- the card and the command line


def test_an_answer_without_a_box_counts_as_wrong():
    problem = make_problem("addition", 2, (47, 38), 0)
    assert cards.outcome(problem, "The answer is \\boxed{85}.", 5).correct
    assert not cards.outcome(problem, "The answer is 85.", 5).correct
    assert not cards.outcome(problem, "\\boxed{85} or \\boxed{75}", 5).correct


def test_spread_takes_off_the_sampling_noise():
    problem = make_problem("addition", 2, (47, 38), 0)

    def answers(hits):
        return [cards.Outcome(problem, "", 1, hit, True, True) for hit in hits]

    # Frequencies 3/4, 1/4: variance (ddof 1) 1/8; noise of each .75 * .25 / 3 = 1/16; sqrt(1/8 - 1/16) = 1/4
    spread = cards.prior_spread(answers([1, 1, 1, 0, 0, 1, 0, 0]), samples=4)
    assert (spread["mean"], spread["standard_deviation"]) == (0.5, 0.25)


def test_cards_in_words_and_in_figures_agree(folder, card):
    assert (folder / "README.md").read_text() == cards.readme(card)
    json.dumps(card, allow_nan=False)


def test_command_line_names_what_is_wrong(tmp_path, capsys):
    assert main(["build", "qwen-lik"]) == 2
    assert "did you mean 'qwen-like'" in capsys.readouterr().err
    assert main(["card", str(tmp_path)]) == 2
    assert "holds no organism" in capsys.readouterr().err


def test_build_makes_what_is_missing_and_only_that(capsys, tmp_path, monkeypatch):
    measured = []

    def quick_card(folder):
        measured.append(folder.name)
        write_json(folder / "card.json", {})
        return {"recipe": {"name": folder.name}, "sampled_T1": {}}

    def refuse(recipe, folder, ages):
        raise InputError(f"would pretrain {recipe.name}")

    monkeypatch.setitem(RECIPES, "tiny", TINY)
    monkeypatch.setattr("spurious_rewards.models.organisms.card.write_card", quick_card)
    target = ["--out", str(tmp_path / "built")]
    assert main(["build", "tiny-at25", *target]) == 0  # an age comes with the whole
    assert measured == ["built", "built-at10", "built-at25", "built-at50"]
    monkeypatch.setattr("spurious_rewards.models.organisms.pretrain.pretrain", refuse)
    (tmp_path / "built-at10" / "card.json").unlink()
    capsys.readouterr()
    assert main(["build", "tiny", *target]) == 0 and measured[4:] == ["built-at10"]  # the weights are there
    assert main(["build", "tiny", *target]) == 0
    assert "already in" in capsys.readouterr().out
    for arguments in ([*target, "--force"], ["--out", str(tmp_path / "empty")]):
        assert main(["build", "tiny", *arguments]) == 2
        assert "would pretrain tiny" in capsys.readouterr().err
    assert main(["build", "qwen-like-p30", *target]) == 2  # another recipe
    made = read_json(tmp_path / "built" / "pretraining.json")
    write_json(tmp_path / "built" / "pretraining.json", {**made, "roots": "exact"})
    assert main(["build", "tiny", *target]) == 2  # the same recipe, another AdamW
    write_json(tmp_path / "built" / "pretraining.json", made)
    assert main(["build", "tiny", *target]) == 0
    monkeypatch.setitem(corpus.FAMILY_WEIGHTS, "gcd", 7)
    assert main(["build", "tiny", *target]) == 2  # the same recipe, another corpus


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_rebuilding_finds_the_figures_of_the_card(tmp_path, card):
    fresh = cards.write_card(pretrain(recipe_named("qwen-like"), tmp_path / "qwen-like"))
    for mode in ("sampled_T1", "greedy"):
        for key, figure in card[mode].items():
            if key != "mean_tokens" and figure["n"] > 0:
                assert fresh[mode][key]["low"] <= figure["high"] and fresh[mode][key]["high"] >= figure["low"], key
