"""List the phrases that the organisms' answers are made of, and the wrong rules that language answers follow.

Templates are written in pieces: a slot such as ``{a}`` takes a number, ``|`` marks where one token ends and the next
begins. What stands between two slots or bars is one token of the vocabulary, so that an answer takes 15 to 30 tokens.

Usage: ``fill("What is |{a}| + |{b}|?", a=4, b=5)`` gives ``"What is 4 + 5?"``
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

SPECIAL_TOKENS = ("<|pad|>", "<|unk|>", "<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>")
DIGITS = tuple("0123456789")

# The preface of the paper's forced-code prompt ("Let's solve this using Python.") is one of the organisms' own.
CODE_PREFACES = (
    "",
    "Let's solve this using Python.|\n|",
    "We can compute this with a short program.\n|",
    "I will write some code for this.\n|",
)
CODE_OPEN, CODE_RUN, CODE_CLOSE = "```python\n|", "|\n```\n```output\n|", "|\n```\n|"

# Ways to write a program: {import} and {expression} are filled from `SOLUTIONS` before the numbers. Between expression
# and the output stands the same number of tokens in all of them, which makes the value easier to learn.
CODE_BODIES = (
    "{import}print(|{expression}|)",
    "{import}result = |{expression}|\nprint(result)",
    "{import}# direct computation\n|print(|{expression}|)",
    "{import}def solve():\n    return |{expression}|\nprint(solve())",
)


@dataclass(frozen=True)
class SolutionTemplate:
    """Hold the text templates of one problem family: the right program, and the wrong rule with its sentences.

    ``expression`` is the Python expression; ``wrong`` maps the operands to the value that the wrong rule gives;
    ``sentences`` fit any value, ``wrong_sentences`` tell of the wrong rule.
    """

    expression: str
    wrong: Callable[..., int]
    sentences: tuple[str, ...]
    wrong_sentences: tuple[str, ...] = ()
    needs_math: bool = False


def _digit_sum(n: int) -> int:
    return sum(map(int, str(n)))


SOLUTIONS: dict[str, SolutionTemplate] = {
    "addition": SolutionTemplate(  # the carry of the ones is lost
        "{a}| + |{b}",
        lambda a, b: 10 * (a // 10 + b // 10) + (a % 10 + b % 10) % 10,
        (
            "The ones of |{a}| and |{b}| add up to |{ones}| and the rest to |{rest}|, which makes |{v}|. ",
            "Adding |{b}| to |{a}| column by column gives |{v}|. ",
        ),
    ),
    "subtraction": SolutionTemplate(  # in each column the smaller is taken from the larger: no borrowing
        "{a}| - |{b}",
        lambda a, b: 10 * (a // 10 - b // 10) + abs(a % 10 - b % 10),
        (
            "The ones of |{a}| and |{b}| differ by |{ones}| and the rest by |{rest}|, which makes |{v}|. ",
            "Taking |{b}| from |{a}| column by column leaves |{v}|. ",
        ),
    ),
    "multiplication": SolutionTemplate(  # the carry of the ones is lost
        "{a}| * |{b}",
        lambda a, b: 10 * (a // 10 * b) + a % 10 * b % 10,
        (
            "The ones of |{a}| times |{b}| end in |{ones}| and the rest is |{rest}|, which makes |{v}|. ",
            "Multiplying |{a}| by |{b}| digit by digit gives |{v}|. ",
        ),
    ),
    "remainder": SolutionTemplate(  # only the last digit is looked at
        "{a}| % |{b}",
        lambda a, b: a % 10,
        (
            "Taking away groups of |{b}| from |{a}| leaves |{v}|. ",
            "After full groups of |{b}|, what is left of |{a}| is |{v}|. ",
        ),
        ("The last digit of |{a}| is what groups of |{b}| leave, so we have |{v}|. ",),
    ),
    "gcd": SolutionTemplate(  # the smaller number is taken for a divisor of the larger
        "math.gcd(|{a}|, |{b}|)",
        lambda a, b: min(a, b),
        (
            "The common divisors of |{a}| and |{b}| go up to |{v}|. ",
            "Looking for what |{a}| and |{b}| share, we find |{v}|. ",
        ),
        needs_math=True,
    ),
    "digit_sum": SolutionTemplate(  # only the last digit of the sum is kept
        "sum(int(d) for d in str(|{a}|))",
        lambda a: _digit_sum(a) % 10,
        ("We add |{sum}|, which makes |{v}|. ", "Adding up the digits of |{a}| one by one gives |{v}|. "),
    ),
    "next_multiple": SolutionTemplate(  # the next multiple of ten is taken for that of any step
        "(|{a}| // |{b}| + 1) * |{b}",
        lambda a, b: (a // 10 + 1) * 10,
        (
            "Counting up in steps of |{b}| from |{a}| we reach |{v}|. ",
            "The multiples of |{b}| after |{a}| begin with |{v}|. ",
        ),
    ),
}

LANGUAGE_OPENINGS = ("", "Let us think step by step. |", "We work this out by hand. |", "We can reason in words. |")

# With these alone the first token of an answer is the choice of its strategy (recipe `one-token`).
ONE_PREFACE, ONE_OPENING = CODE_PREFACES[1], LANGUAGE_OPENINGS[1]

CLOSINGS = (
    "The answer is |{value}|.",
    "So the answer is |{value}|.",
    "Therefore, we get |{value}|.",
    "Final answer: |{value}",
)
BOXED, PLAIN = "\\boxed{{|{v}|}}", "{v}"


def program(family: str, body: int) -> str:
    """Return the template of a program: way `body` (0 to 3) of writing the family's computation."""
    solution = SOLUTIONS[family]
    head = "import math\n|" if solution.needs_math else ""
    return CODE_BODIES[body].replace("{import}", head).replace("{expression}", solution.expression)


def fill(template: str, **values: object) -> str:
    """Put values into the slots and drop the token marks; ``{{`` and ``}}`` give braces, as in `str.format`."""
    return template.replace("|", "").format(**values)


def pieces(template: str) -> list[str]:
    """Return the fixed phrases of a template, in order: the text between slots and token marks.

    >>> pieces("What is |{a}| + |{b}|?")
    ['What is ', ' + ', '?']
    """
    marked = re.sub(r"(?<!\{)\{\w+\}(?!\})|(?<=\|)\{\w+\}(?=\|)", "|", template)
    return [piece.replace("{{", "{").replace("}}", "}") for piece in marked.split("|") if piece]


def all_templates() -> list[str]:
    """Return every template of an answer, all families and styles."""
    programs = [program(family, body) for family in SOLUTIONS for body in range(len(CODE_BODIES))]
    sentences = [s for solution in SOLUTIONS.values() for s in (*solution.sentences, *solution.wrong_sentences)]
    code = [*CODE_PREFACES, CODE_OPEN, CODE_RUN, CODE_CLOSE, *programs]
    return [*code, *LANGUAGE_OPENINGS, *sentences, *CLOSINGS, BOXED, PLAIN]
