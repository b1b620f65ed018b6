r"""Render problems as prompts in one of several styles.

===============  ====================================================================================================
style            what it is and where its wording comes from
===============  ====================================================================================================
qwen_default     chat template, system message "Please reason step by step, and put your final answer within
                 \boxed{}." (Qwen2.5-Math's evaluation code; the paper's default)
math_problem     "Math Problem: {problem}", raw text (the paper's prompt table)
simplerl         the problem, newline, "Please reason step by step, …" (SimpleRL-Zoo's "qwen-boxed": in a chat template
                 its system message is "You are a helpful assistant.")
sober            "Solve the following math problem efficiently and clearly. The last line …" (LightEval's math query,
                 which "A Sober Look at Progress in Language Model Reasoning" uses)
lipsum           LaTeX placeholder text, then the problem, raw text. The paper prints its wording only as a figure that
                 was not readable to us: these are the first sentences that the LaTeX package `lipsum` produces, and
                 that the problem follows them is our choice
python_prefix    as qwen_default, and the answer begins with "Let's solve this using Python." (paper, forced code)
r1               <think>/<answer> template for base models. Three sources describe it three ways; this is the one of the
                 released evaluation script (`BASE_MODEL_PROMPT`), which opens the <think> tag itself
none             the raw problem (the paper's majority-vote labels)
worked_examples  chat template; four easy problems with short boxed solutions as earlier turns before the problem:
                 ours, for small models that solve nothing without
organism         chat template, the problem as the only message: what the model organisms were pretrained on
organism_python  as organism, and the answer begins with "Let's solve this using Python.", a preface the organisms know
===============  ====================================================================================================

The paper does not say whether its other prompts were wrapped in a chat template. Here `math_problem` and `lipsum` never
are; `simplerl` and `sober` are where the tokenizer has one, as in the projects they come from.

>>> render("math_problem", "What is 1 + 1?", tokenizer=None)
'Math Problem: What is 1 + 1?'
>>> answer_prefix("python_prefix"), answer_prefix("none")
("Let's solve this using Python.", '')
>>> _ = register_style("shout", "SOLVE: {problem}")
>>> render("shout", "1 + 1", tokenizer=None)
'SOLVE: 1 + 1'
>>> del PROMPT_STYLES["shout"]
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spurious_rewards.errors import InputError, check_name
from spurious_rewards.models.chat_templates import chat_prompt, has_chat_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SLOT = "{problem}"
CHAT_MODES = ("always", "never", "if available")
ANSWER_FORMATS = ("boxed", "r1")
BOXED_INSTRUCTION = r"Please reason step by step, and put your final answer within \boxed{}."
PYTHON_PREFIX = "Let's solve this using Python."
SOBER_INSTRUCTION = (
    "Solve the following math problem efficiently and clearly. The last line of your response should be of the "
    r"following format: 'Therefore, the final answer is: $\boxed{ANSWER}$. I hope it is correct' (without quotes) "
    "where ANSWER is just the final number or expression that solves the problem. Think step by step before answering."
)
LIPSUM = (
    "Lorem ipsum dolor sit amet, consectetuer adipiscing elit. Ut purus elit, vestibulum ut, placerat ac, adipiscing "
    "vitae, felis. Curabitur dictum gravida mauris. Nam arcu libero, nonummy eget, consectetuer id, vulputate a, "
    "magna. Donec vehicula augue eu neque. Pellentesque habitant morbi tristique senectus et netus et malesuada fames "
    "ac turpis egestas. Mauris ut leo. Cras viverra metus rhoncus sem."
)
WORKED_EXAMPLES = (  # single digits: no operands of the clean task, which begins at 10
    ("What is 7 + 6?", r"7 + 6 = 13. The answer is \boxed{13}."),
    ("A shelf holds 9 books and 3 of them are taken away. How many are left?", r"9 - 3 = 6. The answer is \boxed{6}."),
    ("Find 8 times 3.", r"8 * 3 = 24. The answer is \boxed{24}."),
    ("What is the remainder when 9 is divided by 4?", r"9 = 2 * 4 + 1. The answer is \boxed{1}."),
)
R1_TEMPLATE = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The assistant "
    "first thinks about the reasoning process in the mind and then provides the user with the answer. The reasoning "
    "process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., <think> "
    "reasoning process here </think> <answer> answer here </answer>.\n\n<|user|>\n{problem}\n<|assistant|>\n<think>"
)


@dataclass(frozen=True)
class PromptStyle:
    """Say how a problem becomes a prompt.

    Attributes:
        name: as in configurations.
        template: the user's message (in a chat) or the whole prompt (raw), with one `{problem}`.
        chat: "always" (an error without a chat template), "never", or "if available".
        system: the system message in a chat; None leaves it to the chat template.
        prefix: text that the answer is forced to begin with.
        answer_format: how the answer is to be read by the grader: "boxed", or "r1" (<answer> tags).
        examples: (problem, solution) pairs that stand before the problem as earlier turns of the chat.
    """

    name: str
    template: str
    chat: str = "never"
    system: str | None = None
    prefix: str = ""
    answer_format: str = "boxed"
    examples: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        check_name("chat mode", self.chat, CHAT_MODES)
        check_name("answer format", self.answer_format, ANSWER_FORMATS)
        if self.template.count(SLOT) != 1:
            raise InputError(
                f"The template of prompt style {self.name!r} has {self.template.count(SLOT)} slots for the problem "
                f"instead of one; write {SLOT} where the problem belongs."
            )


PROMPT_STYLES: dict[str, PromptStyle] = {
    style.name: style
    for style in (
        PromptStyle("qwen_default", SLOT, chat="always", system=BOXED_INSTRUCTION),
        PromptStyle("math_problem", f"Math Problem: {SLOT}"),
        PromptStyle("simplerl", f"{SLOT}\n{BOXED_INSTRUCTION}", chat="if available",
                    system="You are a helpful assistant."),
        PromptStyle("sober", f"{SOBER_INSTRUCTION}\n\n{SLOT}", chat="if available"),
        PromptStyle("lipsum", f"{LIPSUM}\n\n{SLOT}"),
        PromptStyle("python_prefix", SLOT, chat="always", system=BOXED_INSTRUCTION, prefix=PYTHON_PREFIX),
        PromptStyle("r1", R1_TEMPLATE, answer_format="r1"),
        PromptStyle("none", SLOT),
        PromptStyle("worked_examples", SLOT, chat="always", examples=WORKED_EXAMPLES),
        PromptStyle("organism", SLOT, chat="always"),
        PromptStyle("organism_python", SLOT, chat="always", prefix=PYTHON_PREFIX),
    )
}  # fmt: skip


def render(style: str, problem: str, tokenizer: PreTrainedTokenizerBase | None) -> str:
    """Return the prompt text, including the forced beginning of the answer if the style has one.

    Tokenize it in the ordinary way (with special tokens); it holds no beginning-of-text token that the tokenizer adds.
    A caller that judges the answer's text must put `answer_prefix(style)` before what the model wrote.

    Args:
        style: a name in `PROMPT_STYLES`.
        problem: the problem's text.
        tokenizer: the model's; None does for styles that never use a chat template.

    Raises:
        InputError: unknown style, or the style needs a chat template and the tokenizer has none.
    """
    chosen = style_named(style)
    body = chosen.template.replace(SLOT, problem)
    available = tokenizer is not None and has_chat_template(tokenizer)
    if chosen.chat == "always" and tokenizer is None:
        raise InputError(f"Prompt style {style!r} needs the model's tokenizer for its chat template; none was given.")
    if chosen.chat == "always" or (chosen.chat == "if available" and available):
        body = chat_prompt(tokenizer, body, chosen.system, chosen.examples)
    return body + chosen.prefix


def answer_prefix(style: str) -> str:
    """Return what the answer is forced to begin with; empty for most styles."""
    return style_named(style).prefix


def unforced(style: str) -> str | None:
    """Return the style that differs from this one only in not forcing the answer's beginning; None if there is none.

    >>> unforced("python_prefix"), unforced("organism_python"), unforced("none")
    ('qwen_default', 'organism', None)
    """
    free = replace(style_named(style), prefix="")
    same = (name for name, one in PROMPT_STYLES.items() if replace(one, name=style) == free and name != style)
    return next(same, None) if style_named(style).prefix else None


def answer_format(style: str) -> str:
    """Tell how the grader must read an answer to this prompt: "boxed" or "r1"."""
    return style_named(style).answer_format


def register_style(
    name: str,
    template: str,
    chat: str = "never",
    system: str | None = None,
    prefix: str = "",
    answer_format: str = "boxed",
) -> PromptStyle:
    """Add a prompt style of one's own; it can then be named like the built-in ones.

    Registering the same style again is allowed (a notebook cell run twice), another one under a taken name is not.

    Raises:
        InputError: the name is taken, the template has no or several `{problem}`, or a mode is unknown.
    """
    style = PromptStyle(name, template, chat, system, prefix, answer_format)
    if PROMPT_STYLES.get(name, style) != style:
        raise InputError(f"There is already another prompt style {name!r}; choose another name.")
    PROMPT_STYLES[name] = style
    return style


def style_named(name: str) -> PromptStyle:
    """Return the style of that name.

    Raises:
        InputError: there is none.
    """
    check_name("prompt style", name, PROMPT_STYLES)
    return PROMPT_STYLES[name]
