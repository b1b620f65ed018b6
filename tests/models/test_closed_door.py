"""Folders of others: nothing in them is run, nobody is asked at the keyboard, and each refusal is one sentence."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "generation"))

from tiny_lm import save_tiny

from spurious_rewards.errors import InputError
from spurious_rewards.models.registry import load, load_config, load_tokenizer, resolve

CODE = "import pathlib\npathlib.Path({trace!r}).write_text('it ran')\n"


class Malicious:
    """Runs a command while it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.write_text, (self.trace, "it ran")


@pytest.fixture
def folder(tmp_path):
    return save_tiny(tmp_path / "model")


def with_code(folder, trace, file="config.json"):
    """Make the folder name classes of its own, in a module that leaves a trace when it is imported."""
    (folder / "modeling_own.py").write_text(CODE.format(trace=str(trace)))
    auto = {"AutoConfig": "modeling_own.C", "AutoModelForCausalLM": "modeling_own.M"}
    auto["AutoTokenizer"] = ["modeling_own.T", None]
    path = folder / file
    values = json.loads(path.read_text()) | {"auto_map": auto}
    if file == "config.json":
        values["model_type"] = "own"
    else:
        values["tokenizer_class"] = "T"
    path.write_text(json.dumps(values))


@pytest.mark.parametrize("read", [load, load_config])
def test_code_in_a_model_folder_is_not_run_and_not_asked_about(folder, tmp_path, read, monkeypatch):
    trace = tmp_path / "trace"
    with_code(folder, trace)
    monkeypatch.setattr("builtins.input", lambda *a: pytest.fail("asked at the keyboard"))
    with pytest.raises(InputError, match=r"wants to run code of its own .* never does"):
        read(folder)
    assert not trace.exists()


def test_code_of_a_tokenizer_is_not_run(folder, tmp_path, monkeypatch):
    trace = tmp_path / "trace"
    with_code(folder, trace, "tokenizer_config.json")
    monkeypatch.setattr("builtins.input", lambda *a: pytest.fail("asked at the keyboard"))
    try:
        load_tokenizer(folder)  # Transformers may know how to read tokenizer.json without the class
    except InputError as error:
        assert "code of its own" in str(error)
    assert not trace.exists()


def test_a_yes_on_standard_input_changes_nothing(folder, tmp_path):
    trace = tmp_path / "trace"
    with_code(folder, trace)
    code = f"from spurious_rewards.models.registry import load; load({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], input="y\n" * 20, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0 and "wants to run code of its own" in done.stderr and not trace.exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt", "pytorch_model.bin.index.json"])
def test_a_pickled_checkpoint_is_refused_with_the_way_to_convert_it(folder, tmp_path, name):
    trace = tmp_path / "trace"
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Malicious(trace)))
    for read in (resolve, load):
        with pytest.raises(InputError, match=r"pickled weights only .* save_pretrained\(new_folder\), which writes"):
            read(folder)
    assert not trace.exists()


def test_a_pickle_beside_safetensors_is_not_read(folder, tmp_path):
    trace = tmp_path / "trace"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Malicious(trace)))
    model, _ = load(folder)
    assert sum(p.numel() for p in model.parameters()) > 0 and not trace.exists()


def test_a_pickle_named_safetensors_is_one_sentence(folder, tmp_path):
    trace = tmp_path / "trace"
    (folder / "model.safetensors").write_bytes(pickle.dumps(Malicious(trace)))
    with pytest.raises(InputError, match="cannot be loaded"):
        load(folder)
    assert not trace.exists()


def test_the_pickle_of_these_tests_would_leave_a_trace(tmp_path):
    trace = tmp_path / "trace"
    pickle.loads(pickle.dumps(Malicious(trace)))
    assert trace.read_text() == "it ran", "the test above can fail"


def test_a_chat_template_cannot_leave_its_sandbox(folder):
    from spurious_rewards.models.chat_templates import chat_prompt

    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(InputError, match="rejects the messages"):
        chat_prompt(tokenizer, "x")


def test_a_model_without_an_end_token_is_one_sentence(folder):
    path = folder / "tokenizer_config.json"
    values = json.loads(path.read_text())
    values["eos_token"] = None
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match="names no end-of-text token, so no answer would ever end; set eos_token"):
        load_tokenizer(folder)
