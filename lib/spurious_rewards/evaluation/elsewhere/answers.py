"""From the rows of a file to answers: one per problem and sample, as text, with the gold as text.

>>> rows = [{"question": "1 + 1?", "answer": 2, "outputs": ["2", "3"]}]
>>> [(a.problem, a.golds, a.text, a.sample) for a in answers_of(rows)[0]]
[('1 + 1?', ('2',), '2', 0), ('1 + 1?', ('2',), '3', 1)]
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from spurious_rewards.data.normalize import space_key
from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.elsewhere.files import Row
from spurious_rewards.evaluation.elsewhere.layouts import MISSING, given_fields, layout_of, mapping_of, value_at
from spurious_rewards.rewards.extraction import last_boxed

CUT_OFF = frozenset({"length", "max_tokens", "max_length", "truncated"})
"""Names that tools give to the end of an answer by its limit."""
_TEXT_KEYS = ("text", "content", "generated_text", "output", "completion", "response", "choices")


def style_of(text: str) -> str:
    """Find the answer style that a text itself shows: a closed answer tag is the R1 style."""
    return "r1" if "</answer>" in text else "boxed"


@dataclass(frozen=True)
class Answer:
    """Hold one answer of a file, not graded yet.

    Attributes:
        row: number of its row, from 1.
        key: what tells its problem from others: its id, else its text, else the prompt; empty if none is there.
        problem, prompt: texts, empty where the file has none.
        golds: reference answers, of which one is to be met; empty where the file has none.
        text: the answer.
        sample: number among the answers to its problem, from 0.
        finish: "length" if its limit ended it, "stop" if not, None if the file does not say.
        n_tokens: its length, None if the file does not say.
        model: name of the model, empty if the file does not say.
    """

    row: int
    key: str
    problem: str
    prompt: str
    golds: tuple[str, ...]
    text: str
    sample: int
    finish: str | None
    n_tokens: int | None
    model: str


def answers_of(
    rows: Sequence[Row], fields: str = "", select: str = "", n_samples: int = 0
) -> tuple[list[Answer], dict[str, Any]]:
    """Find all answers of the rows, problems in the order in which they come first.

    Args:
        rows: as `files.read_rows` gives them.
        fields: paths that the user names, as in `gold=meta.answer`.
        select: keeps rows whose field has a value, as in `step=100, model=mine`.
        n_samples: answers that were asked for per problem; 0 takes what there is.

    Returns:
        The answers, and what was found out: `layout`, `fields` (path of each), `rows`, `n_samples`.

    Raises:
        InputError: rows of several steps or models, missing answers, one id for two problems, or problems with
            different numbers of answers.
    """
    numbered = _selected(rows, select)
    first_row = numbered[0][1]
    layout = layout_of(first_row)
    for number, row in numbered if layout.name == "OpenAI batch" else []:
        _check_request(number, row)
    mapping = mapping_of(first_row, layout, given_fields(fields))
    notes = {"layout": layout.name, "fields": mapping}
    if "filter" in mapping:  # the same answers, graded once per filter
        first = value_at(first_row, mapping["filter"])
        numbered = [(number, row) for number, row in numbered if value_at(row, mapping["filter"]) == first]
    for field in ("step", "model"):
        _check_one(field, [_text(value_at(row, mapping[field])) for _, row in numbered] if field in mapping else [])
    found = [answer for number, row in numbered for answer in _answers_of_row(number, row, mapping)]
    found = _numbered_samples(found, "sample" in mapping)
    _check_problems(found)
    counts = _check_counts(found, n_samples)
    return found, {**notes, "rows": len(numbered), "n_samples": counts}


def _selected(rows: Sequence[Row], select: str) -> list[tuple[int, Row]]:
    """Keep the rows whose fields have the wanted values, compared as text, with their numbers in the file from 1."""
    kept = list(enumerate(rows, 1))
    for part in filter(None, (part.strip() for part in select.split(","))):
        path, equals, wanted = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise InputError(f"select must be parts like step=100 separated by commas, but one is {part!r}.")
        values = [_text(value_at(row, path)) for _, row in kept]
        kept = [row for row, value in zip(kept, values, strict=True) if value == wanted]
        if not kept:
            raise InputError(f"No row has {path} = {wanted}; found: {_some(values)}.")
    return kept


def _check_one(field: str, values: Sequence[str]) -> None:
    """Raise `InputError` if the answers come from several training steps or models."""
    different = list(dict.fromkeys(values))
    if len(different) > 1:
        raise InputError(
            f"The file holds answers of {len(different)} {field}s ({_some(different)}): choose one, as in "
            f"select='{field}={different[-1][:60]}'."
        )


def _check_request(number: int, row: Row) -> None:
    """Raise `InputError` if a row of a batch says that its request failed."""
    causes = [value_at(row, path) for path in ("error.message", "error", "response.body.error.message")]
    cause = next((text for value in causes if (text := _text(value))), "")
    status = value_at(row, "response.status_code")
    if cause or (isinstance(status, int) and status >= 400):
        raise InputError(f"Row {number} is a failed request ({cause[:150] or f'status {status}'}): ask for it again.")


def _answers_of_row(number: int, row: Row, mapping: Mapping[str, str]) -> list[Answer]:
    values = {field: value_at(row, path) for field, path in mapping.items()}
    if values["output"] is MISSING:
        raise InputError(f"Row {number} has no {mapping['output']!r}, where the first row has its answer.")
    if _holds_numbers(values["output"]):
        raise InputError(
            f"Row {number} holds numbers where its answer should be, such as log-likelihoods of choices: only "
            "generated texts can be graded."
        )
    texts = texts_in(values["output"])
    if not texts:
        raise InputError(f"Row {number} holds no answer: its {mapping['output']!r} is an empty list.")
    prompt, asked = _prompt(values.get("prompt", MISSING))
    problem = _text(values.get("problem", MISSING)) or asked
    golds = _golds(row, mapping, values.get("gold", MISSING))
    key = _text(values.get("id", MISSING)) or space_key(problem) or space_key(prompt)
    finish = _aligned(values.get("finish", MISSING), len(texts))
    tokens = _aligned(values.get("tokens", MISSING), len(texts))
    sample = bare_gold(values.get("sample", MISSING))
    first = int(sample) if re.fullmatch(r"-?\d{1,18}", sample) else 0
    return [
        Answer(
            number,
            key,
            problem,
            prompt,
            golds,
            text,
            first + index,
            None if not _text(finish[index]) else "length" if _text(finish[index]).lower() in CUT_OFF else "stop",
            int(tokens[index]) if isinstance(tokens[index], int | float) and math.isfinite(tokens[index]) else None,
            _text(values.get("model", MISSING)),
        )
        for index, text in enumerate(texts)
    ]


def texts_in(value: Any) -> list[str]:
    r"""Find the texts of answers in a field: one text, a list, a conversation, or objects that hold a text.

    >>> texts_in([["a", "b"]]), texts_in([{"role": "assistant", "content": "c"}])
    (['a', 'b'], ['c'])
    >>> texts_in([{"text": "d"}, {"text": "e"}])
    ['d', 'e']
    >>> texts_in('["f", "g"]'), texts_in("[1, 2]"), texts_in(None)
    (['f', 'g'], ['[1, 2]'], [''])
    """
    if isinstance(value, str):
        return _list_of_texts(value) or [value]
    if isinstance(value, Mapping):
        inner = next((value[name] for name in ("message", *_TEXT_KEYS) if name in value), None)
        if inner is None and "message" not in value and not set(_TEXT_KEYS) & set(value):
            raise InputError(
                f"An answer is an object without text ({', '.join(map(str, value))[:80]}): name its field."
            )
        return texts_in(inner)
    if isinstance(value, list):
        if value and all(isinstance(item, Mapping) and "role" in item for item in value):
            said = [item for item in value if item["role"] == "assistant"] or value
            return ["\n".join(_text(item.get("content")) for item in said)]
        return [text for item in value for text in texts_in(item)]
    return [_text(value)]


def _holds_numbers(value: Any) -> bool:
    """Tell whether a list holds numbers or truth values and no text, however deep."""
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(item, bool | int | float) or _holds_numbers(item) for item in value)


def _list_of_texts(text: str) -> list[str]:
    """Read a list of texts that was written as one text (CSV, old parquet files); empty for anything else."""
    stripped = text.strip()
    if not (stripped.startswith("[") and stripped.endswith("]")):
        return []
    for read in (json.loads, ast.literal_eval):
        try:
            with warnings.catch_warnings(action="ignore"):  # of Python's, on a text that is no list of it
                value = read(stripped)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return value
    return []


def _prompt(value: Any) -> tuple[str, str]:
    """Write a prompt as text, and find what the user said last in a conversation: the problem."""
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        asked = [_text(item.get("content")) for item in value if item.get("role") == "user"]
        said = [f"{_text(item.get('role'))}: {_text(item.get('content'))}" for item in value]
        return "\n".join(said), asked[-1] if asked else ""
    return _text(value), ""


def _golds(row: Row, mapping: Mapping[str, str], value: Any) -> tuple[str, ...]:
    """Find the reference answers of a row, each once."""
    if mapping.get("gold") == "doc.choices" and (chosen := value_at(row, "doc.gold_index")) is not MISSING:
        indices = chosen if isinstance(chosen, list) else [chosen]
        value = [value[index] for index in indices if isinstance(index, int) and 0 <= index < len(value)]
    if isinstance(value, str):
        value = _list_of_texts(value) or value
    values = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(gold for one in values if (gold := bare_gold(one))))


def bare_gold(value: Any) -> str:
    r"""Write a reference answer as text: a number as it is said, of a worked solution its box or what follows `####`.

    >>> bare_gold(142.0), bare_gold("3 + 4 = 7\n#### 7"), bare_gold({"target": 5}), bare_gold(None)
    ('142', '7', '5', '')
    >>> bare_gold(r"We see that $x = \boxed{\frac12}$.")
    '\\frac12'
    """
    if isinstance(value, Mapping):
        inner = next((value[name] for name in ("target", "answer", "ground_truth", "value") if name in value), None)
        return bare_gold(inner)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = _text(value).strip()
    if "####" in text:
        return text.rsplit("####", 1)[1].strip()
    return last_boxed(text) or text


def _aligned(value: Any, n: int) -> list[Any]:
    """Give each answer its value of a list of that length, or a single answer its single value; else None."""
    if isinstance(value, list) and len(value) == n:
        return value
    return [value if n == 1 and value is not MISSING and not isinstance(value, list) else None] * n


def _numbered_samples(found: list[Answer], given: bool) -> list[Answer]:
    """Count the samples of each problem; numbers that the file gives are kept.

    Raises:
        InputError: a number is given twice, or nothing tells problems apart.
    """
    if not any(answer.key for answer in found):
        return [replace(answer, key=f"row {answer.row}") for answer in found]
    seen: Counter[str] = Counter()
    numbered, pairs = [], set()
    for answer in found:
        if not answer.key:
            raise InputError(f"Row {answer.row} has no id, problem or prompt, where other rows have one.")
        sample = answer.sample if given else seen[answer.key]
        seen[answer.key] += 1
        if (answer.key, sample) in pairs:
            raise InputError(
                f"Row {answer.row} repeats sample {sample} of problem {answer.key[:80]!r}: remove one of the two, or "
                "take the field out of the file if it is no number of a sample."
            )
        pairs.add((answer.key, sample))
        numbered.append(replace(answer, sample=sample))
    order = {key: index for index, key in enumerate(dict.fromkeys(answer.key for answer in numbered))}
    return sorted(numbered, key=lambda answer: (order[answer.key], answer.sample))


def _check_problems(found: Sequence[Answer]) -> None:
    """Raise `InputError` if one id stands for two problems or for two golds."""
    first: dict[str, Answer] = {}
    for answer in found:
        other = first.setdefault(answer.key, answer)
        for what, one, two in (
            ("texts", space_key(other.problem), space_key(answer.problem)),
            ("golds", other.golds, answer.golds),
        ):
            if one != two:
                raise InputError(
                    f"Rows {other.row} and {answer.row} have the same id {answer.key[:80]!r} and different {what}: "
                    "give every problem an id of its own, or name another field, as in fields='id=NAME'."
                )


def _check_counts(found: Sequence[Answer], asked: int) -> int:
    """Count the answers per problem, which must be the same for all.

    Raises:
        InputError: problems differ in it, or there are not as many as were asked for.
    """
    counts = Counter(answer.key for answer in found)
    usual = asked or Counter(counts.values()).most_common(1)[0][0]
    odd = {key: n for key, n in counts.items() if n != usual}
    if odd:
        key, n = next(iter(odd.items()))
        wanted = f"{asked} were asked for" if asked else f"most have {usual}"
        raise InputError(
            f"{len(odd)} of {len(counts)} problems have another number of answers than the rest: {key[:80]!r} has {n}, "
            f"where {wanted}. Answers are missing or doubled; complete the file, or leave those problems out."
        )
    return usual


def _text(value: Any) -> str:
    if value is None or value is MISSING or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value if isinstance(value, str) else str(value)


def _some(values: Sequence[str]) -> str:
    different = list(dict.fromkeys(value[:40] for value in values))
    return ", ".join(different[:4]) + (f", … ({len(different)})" if len(different) > 4 else "")
