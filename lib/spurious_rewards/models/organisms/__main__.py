"""Build organisms and measure their cards.

Usage: ``python -m spurious_rewards.models.organisms build llama-like``, ``… build-all``, ``… card FOLDER``
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from spurious_rewards.command_line import exit_code
from spurious_rewards.errors import InputError
from spurious_rewards.models.organisms.locate import EMBEDDED, build_folder, is_checkpoint
from spurious_rewards.models.organisms.recipe import RECIPES, Recipe, recipe_named
from spurious_rewards.storage.files import read_json


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m spurious_rewards.models.organisms", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="pretrain one organism and measure its card")
    build.add_argument("name", help=f"one of {', '.join(RECIPES)}, or a setting of the dial such as qwen-like-p30")
    build.add_argument("--out", type=Path, help="folder of the checkpoint (default: runs/organisms/NAME)")
    build.add_argument("--force", action="store_true", help="build again even if it is already there")
    everything = commands.add_parser("build-all", help="build every named organism that is not there yet")
    everything.add_argument("--force", action="store_true", help="build again what is already there")
    card = commands.add_parser("card", help="measure a checkpoint again and rewrite its card")
    card.add_argument("folder", type=Path)
    return top


def build(name: str, folder: Path, force: bool) -> None:
    """Pretrain an organism into a folder and write its card, unless the same recipe and corpus made what is there."""
    recipe = recipe_named(name)
    if not force and _holds(folder, recipe):
        print(f"{name}: already in {folder}")
        return
    from spurious_rewards.models.organisms.card import write_card
    from spurious_rewards.models.organisms.pretrain import pretrain

    _report(write_card(pretrain(recipe, folder)), folder)


def _holds(folder: Path, recipe: Recipe) -> bool:
    if not (is_checkpoint(folder) and (folder / "card.json").is_file()):
        return False
    from spurious_rewards.models.organisms.corpus import fingerprint

    built = read_json(folder / "pretraining.json")
    return (built["recipe_digest"], built.get("corpus_fingerprint")) == (recipe.digest(), fingerprint(recipe))


def _report(card: dict, folder: Path) -> None:
    sampled = card["sampled_T1"]
    figures = ", ".join(f"{key} {sampled[key]['value']}" for key in sampled if isinstance(sampled[key], dict))
    print(f"{card['recipe']['name']}: {folder}\n  at T = 1: {figures}")


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code (2 on bad input, with one sentence on stderr)."""
    options = parser().parse_args(arguments)

    def program() -> None:
        if options.command == "build":
            build(options.name, options.out or build_folder(options.name), options.force)
        elif options.command == "build-all":
            for name in RECIPES:
                build(name, build_folder(name), options.force)
        else:
            if not is_checkpoint(options.folder) or not (options.folder / "recipe.json").is_file():
                raise InputError(
                    f"{options.folder} holds no organism (weights, config.json and recipe.json): "
                    f"build one first, or name its folder, for example {EMBEDDED / 'qwen-like'}."
                )
            from spurious_rewards.models.organisms.card import write_card

            _report(write_card(options.folder), options.folder)

    return exit_code(program)


if __name__ == "__main__":
    sys.exit(main())
