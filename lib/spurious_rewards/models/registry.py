"""Resolve and load models by name: organisms, SmolLM2, the paper's ten models on the hub, or a local folder.

Hub revisions are the commits that public projects of 2025 and 2026 pin for these models. They were not checked against
the hub, which was not reachable from the machine that wrote this, and none of the ten has been run by us.

>>> resolve("qwen-like").task
'synthetic'
>>> resolve("Qwen/Qwen2.5-Math-7B").revision[:8]
'b101308f'

Usage: ``model, tokenizer = load("qwen-like")``
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spurious_rewards.errors import InputError, check_name, unknown_name
from spurious_rewards.models.downloads import snapshot
from spurious_rewards.models.smollm2 import NAME as SMOLLM2

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

KINDS = ("organism", "hub", "wheel", "path")
DTYPES = ("float32", "bfloat16", "float16", "auto")
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")
PICKLED_WEIGHTS = ("*.bin", "*.bin.index.json", "*.pt", "*.pth", "*.ckpt", "*.pkl")
"""Weights in formats that can run code while they are read; never loaded."""
CLOSED = {"trust_remote_code": False}
"""For every `from_pretrained`: code in a model folder is not run, and nobody is asked at the keyboard whether to."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.jinja", "tokenizer.model")
"""What is downloaded of a model; some folders also hold the same weights in a second format."""


@dataclass(frozen=True)
class ModelSpec:
    """Hold a model that can be loaded.

    Attributes:
        name: registry name, hub id or folder.
        kind: "organism" (built by this project), "wheel" (from PyPI), "hub", or "path" (a local Transformers folder).
        revision: the hub commit; None for everything that is not on the hub.
        task: "synthetic" for organisms, "math" for models that know language; "any" for a folder, which does not say.
        chat_template: whether the tokenizer is known to bring one; None where only the tokenizer can tell.
        licence: of the weights.
    """

    name: str
    kind: str
    revision: str | None = None
    task: str = "math"
    chat_template: bool | None = None
    licence: str = ""

    def folder(self) -> str | Path:
        """Return what to pass to `from_pretrained`: a folder, or the hub id (then with `revision`).

        Raises:
            InputError: the organism is not built, SmolLM2 cannot be prepared, or the folder is not a model.
        """
        if self.kind == "hub":
            return self.name
        if self.kind == "organism":
            from spurious_rewards.models.organisms.locate import organism_folder

            return organism_folder(self.name)
        if self.kind == "wheel":
            from spurious_rewards.models.smollm2 import smollm2_folder

            return smollm2_folder()
        return checked_folder(self.name)


_APACHE, _LLAMA31, _LLAMA32 = "Apache-2.0", "Llama 3.1 Community License", "Llama 3.2 Community License"

MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec("qwen-like", "organism", task="synthetic", chat_template=True, licence=_APACHE),
        ModelSpec("one-token", "organism", task="synthetic", chat_template=True, licence=_APACHE),
        ModelSpec("llama-like", "organism", task="synthetic", chat_template=True, licence=_APACHE),
        ModelSpec("olmo-like", "organism", task="synthetic", chat_template=True, licence=_APACHE),
        ModelSpec(SMOLLM2, "wheel", chat_template=True, licence=_APACHE),
        ModelSpec("HuggingFaceTB/SmolLM2-135M-Instruct", "hub", "12fd25f77366fa6b3b4b768ec3050bf629380bac",
                  chat_template=True, licence=_APACHE),
        # The paper's ten (Fig. 3). Qwen2.5 base models bring a chat template; Llama and OLMo base models do not.
        ModelSpec("Qwen/Qwen2.5-Math-7B", "hub", "b101308fe89651ea5ce025f25317fea6fc07e96e",
                  chat_template=True, licence=_APACHE),
        ModelSpec("Qwen/Qwen2.5-Math-1.5B", "hub", "4a83ca6e4526a4f2da3aa259ec36c259f66b2ab2",
                  chat_template=True, licence=_APACHE),
        ModelSpec("Qwen/Qwen2.5-7B", "hub", "d149729398750b98c0af14eb82c78cfe92750796",
                  chat_template=True, licence=_APACHE),
        ModelSpec("Qwen/Qwen2.5-1.5B", "hub", "8faed761d45a263340a0528343f099c05c9a4323",
                  chat_template=True, licence=_APACHE),
        ModelSpec("meta-llama/Llama-3.1-8B", "hub", "d04e592bb4f6aa9cfee91e2e20afa771667e1d4b",
                  chat_template=False, licence=_LLAMA31),
        ModelSpec("meta-llama/Llama-3.1-8B-Instruct", "hub", "0e9e39f249a16976918f6564b8830bc894c89659",
                  chat_template=True, licence=_LLAMA31),
        ModelSpec("meta-llama/Llama-3.2-3B", "hub", "13afe5124825b4f3751f836b40dafda64c1ed062",
                  chat_template=False, licence=_LLAMA32),
        ModelSpec("meta-llama/Llama-3.2-3B-Instruct", "hub", "0cb88a4f764b7a12671c53f0838cd831a0843b95",
                  chat_template=True, licence=_LLAMA32),
        ModelSpec("allenai/OLMo-2-1124-7B", "hub", "7df9a82518afdecae4e8c026b27adccc8c1f0032",
                  chat_template=False, licence=_APACHE),
        ModelSpec("allenai/OLMo-2-1124-7B-SFT", "hub", "1de02c0175118a9de5854aec80a1f970e701e928",
                  chat_template=True, licence=_APACHE),
    )
}  # fmt: skip


def resolve(name: str | Path) -> ModelSpec:
    """Return the model of that name.

    Args:
        name: a name in `MODELS`; an organism of a prior dial ("qwen-like-p30", see `models.organisms`); or the path of
            a local Transformers folder: anything that exists, is absolute, starts with "." or "~", or has two slashes.

    Raises:
        InputError: unknown name, with the nearest known one; or a path without a model in it.
    """
    text = str(name)
    if text in MODELS:
        return MODELS[text]
    path = Path(text).expanduser()
    if path.exists() or path.is_absolute() or text.startswith((".", "~")) or text.count("/") > 1:
        return ModelSpec(str(checked_folder(path)), "path", task="any")
    if is_organism(text):
        return ModelSpec(text, "organism", task="synthetic", chat_template=True, licence=_APACHE)
    error = unknown_name("model", text, MODELS)
    raise InputError(f"{error} Or give the path of a local model folder.")


def checked_folder(folder: str | Path) -> Path:
    """Return the folder, if it holds configuration, weights and tokenizer.

    Raises:
        InputError: it is missing, is a file, lacks one of the three, or has its weights in a format that can run code.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise InputError(f"There is no model folder {path}; give a registry name or a folder with a model in it.")
    if (path / "adapter_config.json").is_file() and not (path / "config.json").is_file():
        raise InputError(f"Model folder {path} holds a PEFT adapter only; merge it into its base model and save that.")
    pickled = sorted(file.name for pattern in PICKLED_WEIGHTS for file in path.glob(pattern))
    if pickled and not any((path / file).is_file() for file in WEIGHT_FILES):
        raise InputError(
            f"Model folder {path} has pickled weights only ({pickled[0]}), and a pickle can run code when it is read; "
            "if you trust its source, convert it elsewhere: AutoModelForCausalLM.from_pretrained(folder) of "
            "Transformers, then save_pretrained(new_folder), which writes safetensors."
        )
    for wanted, files in (
        ("configuration", ("config.json",)),
        ("weights", WEIGHT_FILES),
        ("tokenizer", TOKENIZER_FILES),
    ):
        if not any((path / file).is_file() for file in files):
            raise InputError(
                f"Model folder {path} has no {wanted} ({' or '.join(files)}): the checkpoint is incomplete; give a "
                "whole one, or run again what was to write it."
            )
    return path


def fetch(name: str | Path, weights: bool = True) -> Path:
    """Find the folder of a model; one of the hub is downloaded at its pinned revision if it is not there yet.

    Everything that loads the model gets this folder, so that vLLM, Transformers and TRL see the same files. Without a
    connection only an earlier download counts, so that failing is quick.

    Args:
        name: as in `resolve`.
        weights: compare downloaded weights with the hashes that the hub announced; small files are compared always.

    Raises:
        InputError: as `ModelSpec.folder`, the hub cannot be reached, or a file is not the one it announced.
    """
    spec = resolve(name)
    if spec.kind != "hub":
        return Path(spec.folder())
    try:
        return snapshot(spec.name, spec.revision, HUB_FILES, weights)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise _unloadable(spec, error) from error


def load(name: str | Path, dtype: str = "float32") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model (in evaluation mode, on the CPU) and its tokenizer.

    Args:
        name: as in `resolve`.
        dtype: one of `DTYPES`; "auto" takes the checkpoint's.

    Raises:
        InputError: unknown name or dtype, incomplete or damaged folder, hub not reachable, or a tokenizer with more
            tokens than the model has embeddings.
    """
    check_name("dtype", dtype, DTYPES)
    spec = resolve(name)
    folder = fetch(name)
    tokenizer = load_tokenizer(name)

    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    kind = dtype if dtype == "auto" else getattr(torch, dtype)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=kind, output_loading_info=True, use_safetensors=True, **CLOSED
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _unloadable(spec, error) from error
    model, info = loaded
    if missing := sorted(info["missing_keys"]):  # Transformers would only warn, and fill them with random numbers
        raise InputError(
            f"The checkpoint of {spec.name} lacks {len(missing)} of the model's weights ({missing[0]}, …): it is "
            "damaged or of another architecture; make it again."
        )
    weight = model.get_input_embeddings().weight
    embeddings = getattr(weight, "ds_shape", weight.shape)[0]  # ZeRO-3 leaves an empty tensor and the shape beside it
    if len(tokenizer) > embeddings:
        raise InputError(
            f"The tokenizer of {spec.name} has {len(tokenizer)} tokens, but the model only {embeddings} embeddings: "
            "they do not belong together; give the folder that both were saved to."
        )
    return model.eval(), tokenizer


def n_parameters(model: torch.nn.Module) -> int:
    """Count the weights, also of a model that ZeRO-3 has cut up as it was loaded: its tensors are empty then."""
    return sum(getattr(p, "ds_numel", p.numel()) for p in model.parameters())


def load_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer alone; without a padding token it pads with the end-of-text token.

    Raises:
        InputError: as in `load`, or the tokenizer has no end-of-text token.
    """
    from transformers import AutoTokenizer

    spec, folder = resolve(name), fetch(name, weights=False)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **CLOSED)
    except (OSError, ValueError, KeyError) as error:
        raise _unloadable(spec, error) from error
    if tokenizer.eos_token is None:
        raise InputError(
            f"The tokenizer of {spec.name} names no end-of-text token, so no answer would ever end; set eos_token in "
            "its tokenizer_config.json to the token that ends an answer."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_config(name: str | Path) -> PretrainedConfig:
    """Load the configuration alone.

    Raises:
        InputError: as in `load`.
    """
    from transformers import AutoConfig

    spec, folder = resolve(name), fetch(name, weights=False)
    try:
        return AutoConfig.from_pretrained(folder, **CLOSED)
    except (OSError, ValueError, KeyError) as error:
        raise _unloadable(spec, error) from error


def is_organism(name: str) -> bool:
    """Tell whether a name is that of an organism, built or not."""
    from spurious_rewards.models.organisms.recipe import recipe_named

    try:
        recipe_named(name)
    except InputError:
        return False
    return True


def _unloadable(spec: ModelSpec, error: Exception) -> InputError:
    lines = str(error).strip().splitlines()
    cause = (lines[0] if lines else type(error).__name__)[:200].rstrip(".")
    if "trust_remote_code" in str(error):
        return InputError(
            f"Model {spec.name} wants to run code of its own (auto_map in its configuration), which this project never "
            "does; use a model whose architecture Transformers knows."
        )
    if spec.kind == "hub":
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        return InputError(
            f"Model {spec.name} cannot be loaded from the Hugging Face hub{offline}: {cause}; give this machine access "
            "to the hub (and a token for gated models), or give the path of a local copy."
        )
    return InputError(f"Model {spec.name} cannot be loaded: {cause}; the checkpoint is damaged, make it again.")
