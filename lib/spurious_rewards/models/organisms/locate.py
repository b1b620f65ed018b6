"""Find an organism's checkpoint: in the package for the embedded one, in the runs folder for the others.

Usage: ``AutoModelForCausalLM.from_pretrained(organism_folder("qwen-like"))``
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from spurious_rewards.errors import InputError
from spurious_rewards.models.organisms.recipe import RECIPES, grown, recipe_named
from spurious_rewards.storage.paths import runs_dir as default_runs_dir

EMBEDDED = Path(__file__).resolve().parents[1] / "embedded"


def is_checkpoint(folder: Path) -> bool:
    """Tell whether a folder holds a whole organism: weights and configuration."""
    return (folder / "model.safetensors").is_file() and (folder / "config.json").is_file()


def build_folder(name: str, runs_dir: str | Path | None = None) -> Path:
    """Return the folder where `build` puts an organism: ``runs/organisms/<name>``."""
    return Path(default_runs_dir() if runs_dir is None else runs_dir) / "organisms" / name


def is_built(name: str) -> bool:
    """Tell whether a name is that of an organism which the package lacks, so that each machine builds its own.

    >>> is_built("llama-like"), is_built("qwen-like"), is_built("HuggingFaceTB/SmolLM2-135M")
    (True, False, False)
    """
    try:
        recipe_named(name)
    except InputError:
        return False
    return not is_checkpoint(EMBEDDED / name)


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
    raise InputError(
        f"The organism {name!r} has not been built yet ({candidates[1]} has no weights): run `{build_command([name])}`."
    )


def build_command(names: Iterable[str]) -> str:
    """Write the shell command that builds organisms; empty if the package embeds them all.

    `make organisms` builds the four recipes with all their ages, of several pretraining seeds if asked; other priors
    are built one by one.

    Raises:
        InputError: no such organism.

    >>> build_command(["qwen-like", "llama-like-s2", "qwen-like-s3-at10"])
    'make organisms SEEDS=4'
    >>> build_command(["qwen-like-p10"])
    '.venv/bin/python -m spurious_rewards.models.organisms build qwen-like-p10'
    """
    missing = [recipe_named(name) for name in names if not is_checkpoint(EMBEDDED / name)]
    whole = {grown(recipe).name: recipe.seed for recipe in missing}
    standard = [seed for name, seed in whole.items() if name.removesuffix(f"-s{seed}") in RECIPES]
    others = [name for name, seed in whole.items() if name.removesuffix(f"-s{seed}") not in RECIPES]
    steps = ["make organisms" + (f" SEEDS={max(standard) + 1}" if max(standard) else "")] if standard else []
    build = ".venv/bin/python -m spurious_rewards.models.organisms build"
    if len(others) == 1:
        steps.append(f"{build} {others[0]}")
    elif others:
        steps.append(f"for name in {' '.join(others)}; do {build} $name; done")
    return " && ".join(steps)
