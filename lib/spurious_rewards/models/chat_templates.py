"""Apply a tokenizer's chat template, with clear errors and without a doubled beginning-of-text token.

Usage: ``text = chat_prompt(tokenizer, user="What is 1 + 1?", system="Be brief.")``
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from spurious_rewards.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def has_chat_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Tell whether the tokenizer brings a chat template."""
    return bool(getattr(tokenizer, "chat_template", None))


def chat_prompt(
    tokenizer: PreTrainedTokenizerBase, user: str, system: str | None = None, examples: Iterable[tuple[str, str]] = ()
) -> str:
    """Return the text up to where the assistant begins to answer.

    A beginning-of-text token that the template writes *and* the tokenizer adds by itself (Llama 3) is left out of the
    text, so that tokenizing it in the ordinary way gives that token once.

    Args:
        tokenizer: with a chat template.
        user: the user's message.
        system: the system message; None leaves the choice to the template (Qwen2.5-Math's and SmolLM2's write one).
        examples: (user's message, assistant's answer) pairs that were said before.

    Raises:
        InputError: the tokenizer has no chat template, or the template rejects the messages.
    """
    from jinja2 import TemplateError

    if not has_chat_template(tokenizer):
        raise InputError(
            f"The tokenizer {tokenizer.name_or_path or type(tokenizer).__name__} has no chat template, but the prompt "
            'style needs one; choose a style without ("r1", "math_problem", "none") or a model that was tuned to chat.'
        )
    messages = [] if system is None else [{"role": "system", "content": system}]
    for asked, answered in examples:
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    messages.append({"role": "user", "content": user})
    try:
        text: Any = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise InputError(
            f"The chat template of {tokenizer.name_or_path} rejects the messages ({error}); choose a prompt style "
            "without a system message."
        ) from error
    bos = tokenizer.bos_token
    if bos and text.startswith(bos) and tokenizer("x").input_ids[:1] == [tokenizer.bos_token_id]:
        text = text.removeprefix(bos)
    return text
