"""Sampling parameters, the engine registry, prompt encoding."""

import pytest
from tiny_lm import tiny_tokenizer

from spurious_rewards.errors import InputError
from spurious_rewards.generation import engine


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": 1.0, "top_p": 0.0}, "top_p"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"temperature": 1.0, "n_samples": 0}, "n_samples"),
        ({"temperature": 0.0, "n_samples": 8}, "8 equal samples"),
    ],
)
def test_sampling_that_cannot_work(fields, message):
    with pytest.raises(InputError, match=message):
        engine.Sampling(**fields)


def test_unknown_engine():
    with pytest.raises(InputError, match="did you mean 'transformers'.*known: transformers, vllm"):
        engine.create("transformer", "qwen-like")


def test_vllm_is_refused_only_where_the_package_is_missing(monkeypatch):
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="install the vllm extra"):
        engine.create("vllm", "qwen-like")
    engine.check_engine("transformers")
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: "found")
    engine.check_engine("vllm")


def test_every_engine_can_be_made_by_name():
    import importlib

    for module in engine.ENGINES.values():
        assert callable(importlib.import_module(module).from_model_name)


def test_one_beginning_of_sequence_token_and_only_one():
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_tokenizer()
    bos, bos_id = tokenizer.bos_token, tokenizer.bos_token_id
    plain = tokenizer("1+1", add_special_tokens=False)["input_ids"]
    tokenizer.backend_tokenizer.post_processor = None
    assert engine.encode(tokenizer, ["1+1", f"{bos}1+1"]) == [plain, [bos_id, *plain]]
    template = TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, bos_id)])
    tokenizer.backend_tokenizer.post_processor = template
    assert engine.encode(tokenizer, ["1+1", f"{bos}1+1"]) == [[bos_id, *plain], [bos_id, *plain]]


def test_importing_the_interface_does_not_import_torch():
    import subprocess
    import sys

    code = "import sys, spurious_rewards.generation.engine; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
