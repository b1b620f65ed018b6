"""Build organisms and measure their cards.

Usage: ``python -m spurious_rewards.models.organisms build one-token-s1``, ``… build-all --seeds 4``, ``… card FOLDER``
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from spurious_rewards.command_line import exit_code
from spurious_rewards.errors import InputError
from spurious_rewards.models.organisms.locate import EMBEDDED, build_folder, is_checkpoint
from spurious_rewards.models.organisms.recipe import AGES, RECIPES, Recipe, at_age, grown, recipe_named
from spurious_rewards.storage.files import read_json


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    top = argparse.ArgumentParser(prog="python -m spurious_rewards.models.organisms", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="pretrain one organism with its ages and measure their cards")
    build.add_argument(
        "name", help=f"one of {', '.join(RECIPES)}, with a seed such as qwen-like-s1, or a prior such as qwen-like-p30"
    )
    build.add_argument("--out", type=Path, help="folder of the checkpoint (default: runs/organisms/NAME)")
    build.add_argument("--force", action="store_true", help="build again even if it is already there")
    everything = commands.add_parser("build-all", help="build every recipe that is not there yet, seed by seed")
    everything.add_argument("--seeds", type=int, default=1, help="pretraining seeds 0 to N - 1 of each (default 1)")
    everything.add_argument("--force", action="store_true", help="build again what is already there")
    card = commands.add_parser("card", help="measure a checkpoint again and rewrite its card")
    card.add_argument("folder", type=Path)
    return top


def build(name: str, folder: Path, force: bool) -> None:
    """Pretrain an organism and its ages and write their cards, except those that the same recipe and corpus made.

    An age is built with the whole pretraining that it belongs to. An interrupted build goes on where it stopped.
    """
    named = recipe_named(name)
    recipe, folder = grown(named), folder.with_name(folder.name.removesuffix(f"-at{named.age}"))
    from spurious_rewards.models.organisms.card import write_card
    from spurious_rewards.models.organisms.pretrain import pretrain

    wanted = {folder: recipe, **{folder.with_name(f"{folder.name}-at{age}"): at_age(recipe, age) for age in AGES}}
    if force or not all(_made(place, model) for place, model in wanted.items()):
        pretrain(recipe, folder, AGES)
    elif all((place / "card.json").is_file() for place in wanted):
        print(f"{recipe.name}: already in {folder}")
    for place in wanted:
        if not (place / "card.json").is_file():
            _report(write_card(place), place)


def _made(folder: Path, recipe: Recipe) -> bool:
    """Tell whether the weights in a folder come from this recipe and corpus."""
    if not (is_checkpoint(folder) and (folder / "pretraining.json").is_file()):
        return False
    from spurious_rewards.models.organisms.corpus import fingerprint

    built = read_json(folder / "pretraining.json")
    return (built["recipe_digest"], built.get("corpus_fingerprint")) == (recipe.digest(), fingerprint(recipe))


def _report(card: dict, folder: Path) -> None:
    sampled = card["sampled_T1"]
    figures = ", ".join(f"{key} {sampled[key]['value']}" for key in sampled if isinstance(sampled[key], dict))
    print(f"{card['recipe']['name']}: {folder}\n  at T = 1: {figures}")


def seeded(n: int) -> list[str]:
    """List the names of all recipes with pretraining seeds 0 to n - 1, seed by seed.

    >>> seeded(2)[3:6]
    ['olmo-like', 'qwen-like-s1', 'one-token-s1']
    """
    if n < 1:
        raise InputError(f"--seeds must be at least 1, but it is {n}.")
    return [name + (f"-s{seed}" if seed else "") for seed in range(n) for name in RECIPES]


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code (2 on bad input, with one sentence on stderr)."""
    options = parser().parse_args(arguments)

    def program() -> None:
        if options.command == "build":
            build(options.name, options.out or build_folder(options.name), options.force)
        elif options.command == "build-all":
            for name in seeded(options.seeds):
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
