"""Find an organism's checkpoint: in the package for the embedded one, in the runs folder for the others.

Usage: ``AutoModelForCausalLM.from_pretrained(organism_folder("qwen-like"))``
"""

from __future__ import annotations

from pathlib import Path

from spurious_rewards.errors import InputError
from spurious_rewards.models.organisms.recipe import RECIPES, recipe_named
from spurious_rewards.storage.paths import runs_dir as default_runs_dir

EMBEDDED = Path(__file__).resolve().parents[1] / "embedded"


def is_checkpoint(folder: Path) -> bool:
    """Tell whether a folder holds a whole organism: weights and configuration."""
    return (folder / "model.safetensors").is_file() and (folder / "config.json").is_file()


def build_folder(name: str, runs_dir: str | Path | None = None) -> Path:
    """Return the folder where `build` puts an organism: ``runs/organisms/<name>``."""
    return Path(default_runs_dir() if runs_dir is None else runs_dir) / "organisms" / name


def organism_folder(name: str, runs_dir: str | Path | None = None) -> Path:
    """Return the checkpoint folder of an organism; an embedded one wins over one of that name that was built here.

    Raises:
        InputError: no such organism, or it has not been built yet.

    >>> organism_folder("qwen-like").name
    'qwen-like'
    """
    recipe_named(name)
    candidates = (EMBEDDED / name, build_folder(name, runs_dir))
    for folder in candidates:
        if is_checkpoint(folder):
            return folder
    command = "make organisms" if name in RECIPES else f"python -m spurious_rewards.models.organisms build {name}"
    raise InputError(f"The organism {name!r} has not been built yet ({candidates[1]} has no weights): run `{command}`.")
