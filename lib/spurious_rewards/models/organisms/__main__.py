"""Build organisms and measure their cards.

Usage: ``python -m spurious_rewards.models.organisms build one-token-s1``, ``… build-all --seeds 4``, ``… card FOLDER``
"""

from __future__ import annotations

import sys
from pathlib import Path

from spurious_rewards.command_line import command
from spurious_rewards.errors import InputError
from spurious_rewards.models.organisms.locate import EMBEDDED, build_folder, is_checkpoint
from spurious_rewards.models.organisms.recipe import AGES, RECIPES, Recipe, at_age, grown, recipe_named
from spurious_rewards.storage.files import read_json


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
    same = (built["recipe_digest"], built.get("corpus_fingerprint")) == (recipe.digest(), fingerprint(recipe))
    return same and ("roots" in built) == recipe.exact_roots


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


def build_one(name: str, /, out: Path | None = None, force: bool = False) -> None:
    """Pretrain one organism with its ages and measure their cards.

    Args:
        name: of a recipe, with a seed such as qwen-like-s1, or a prior such as qwen-like-p30.
        out: folder of the checkpoint; without one, runs/organisms/NAME.
        force: build again even if it is already there.
    """
    build(name, out or build_folder(name), force)


def build_all(seeds: int = 1, force: bool = False) -> None:
    """Build every recipe that is not there yet, seed by seed.

    Args:
        seeds: pretraining seeds 0 to N - 1 of each.
        force: build again what is already there.
    """
    for name in seeded(seeds):
        build(name, build_folder(name), force)


def measure_card(folder: Path, /) -> None:
    """Measure a checkpoint again and rewrite its card.

    Args:
        folder: of the checkpoint.
    """
    if not is_checkpoint(folder) or not (folder / "recipe.json").is_file():
        raise InputError(
            f"{folder} holds no organism (weights, config.json and recipe.json): "
            f"build one first, or name its folder, for example {EMBEDDED / 'qwen-like'}."
        )
    from spurious_rewards.models.organisms.card import write_card

    _report(write_card(folder), folder)


def ready() -> None:
    """Build organisms and measure their cards."""


main = command(ready, build=build_one, build_all=build_all, card=measure_card)


if __name__ == "__main__":
    sys.exit(main())
