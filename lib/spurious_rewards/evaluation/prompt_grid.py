"""Find the prompt styles that a notebook's parameter names, and which of them a model can be given.

A style is refused where it needs a chat template that the tokenizer lacks, or where prompt and longest answer together
exceed the model's context: nothing is ever cut silently. A style that was asked for by name and is refused is an error;
with `all`, refused styles are left out and reported with the sentence that says why. `note_refused` keeps them as a run
of their own, so that a table of prompts can say later what it lacks, and why.

>>> named_styles("organism, lipsum")
['organism', 'lipsum']
>>> usable, refused = usable_styles("all", EvalConfig(n_problems=2))
>>> "organism" in usable, "exceeds the model's context of 256" in refused["lipsum"]
(True, True)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from spurious_rewards.data.problem import Problem
from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.config import EvalConfig
from spurious_rewards.evaluation.fit import check_fit, context_length, fitting
from spurious_rewards.evaluation.parts import problems_of
from spurious_rewards.models.prompts import PROMPT_STYLES, style_named
from spurious_rewards.models.registry import load_tokenizer
from spurious_rewards.storage.config import slug
from spurious_rewards.storage.runs import RunFolder

ALL = "all"
REFUSED = "refused_prompts"
"""Kind of run that `note_refused` makes."""


def named_styles(names: str) -> list[str]:
    """Read the styles in a text: one name, several separated by commas, or `all`.

    Raises:
        InputError: an unknown style, the same one twice, or none.
    """
    if names.strip() == ALL:
        return list(PROMPT_STYLES)
    styles = [name.strip() for name in names.split(",") if name.strip()]
    if not styles or len(set(styles)) < len(styles):
        raise InputError(
            f"prompt_style must name one prompt style or different ones separated by commas, or be "
            f"{ALL!r}, but it is {names!r}."
        )
    return [style_named(style).name for style in styles]


def usable_styles(names: str, cell: EvalConfig) -> tuple[list[str], dict[str, str]]:
    """Find the named styles that the cell's model can be given with the cell's problems, and why others cannot.

    Only `all` looks: what is asked for by name is returned as it is, and refused when it is evaluated.

    Args:
        names: as in `named_styles`.
        cell: model, problems and longest answer; its own prompt style does not matter.

    Returns:
        Usable styles in the order of `PROMPT_STYLES`, and style → sentence for the refused ones.

    Raises:
        InputError: as in `named_styles`; or the model or the problems cannot be loaded.
    """
    styles = named_styles(names)
    if names.strip() != ALL:
        return styles, {}
    problems = problems_of(cell, cell.benchmark)
    tokenizer, context = load_tokenizer(cell.model), context_length(cell.model)
    reasons = {style: refusal(style, problems, tokenizer, context, cell) for style in styles}
    refused = {style: sentence for style, sentence in reasons.items() if sentence}
    return [style for style in styles if style not in refused], refused


def note_refused(cell: EvalConfig, refused: Mapping[str, str]) -> list[RunFolder]:
    """Keep what `usable_styles` refused: a run of kind `refused_prompts`, or none where nothing was refused.

    Args:
        cell: as given to `usable_styles`.
        refused: style → sentence.
    """
    if not refused:
        return []
    config = cell.to_dict() | {"prompt_style": ALL}
    if not cell.leave_out_long:
        del config["leave_out_long"]  # the ids of such runs are older than the field
    known = {**config, "refused": dict(refused)}
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:10]
    run = RunFolder.open("-".join(("refused", cell.subject(), slug(cell.benchmark), digest)), known)
    with run.lock():
        if not run.complete:
            run.finish({"kind": REFUSED, "config": config, "refused": dict(refused)})
    return [run]


def refusal(style: str, problems: Sequence[Problem], tokenizer: Any, context: int | None, cell: EvalConfig) -> str:
    """Say in one sentence why these problems (or, with `leave_out_long`, any of them) cannot be asked; else nothing."""
    try:
        (fitting if cell.leave_out_long else check_fit)(style, problems, tokenizer, cell.max_new_tokens, context)
    except InputError as error:
        return str(error)
    return ""
