"""What the tools of the field call things: which field of a row is the problem, the gold, the answer.

A layout is a table: for each thing the paths at which a tool keeps it, the first one that is there counts. A path is
names joined by dots; a number picks an entry of a list, `*` takes all entries. Fields that a user names come first.

=======================  =============================================================================================
layout                   written by
=======================  =============================================================================================
lm-evaluation-harness    `lm_eval --log_samples`: `samples_<task>_<date>.jsonl`
lighteval                `details_<task>_<date>.parquet`, columns doc, model_response, metric
lighteval (to 0.9)       the same file before, columns full_prompt, predictions, gold
Qwen2.5-Math             `math_eval.py --save_outputs`; the answers are in `code`, whether they are code or not
verl                     `trainer.rollout_data_dir` and `validation_data_dir`: `<step>.jsonl`
TRL                      `log_completions`: `completions_<step>.parquet`; has no golds
OpenRLHF                 `batch_inference`: input, output, perhaps reward; has no golds
OpenAI batch             `vllm run-batch` and batch interfaces of its form; has neither problems nor golds
fields                   anything else, by the names that people use
=======================  =============================================================================================

>>> layout_of({"custom_id": "7", "response": {}}).name
'OpenAI batch'
>>> value_at({"a": [{"b": 1}, {"b": 2}]}, "a.*.b"), value_at({"a": 1}, "b") is MISSING
([1, 2], True)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spurious_rewards.errors import InputError, unknown_name

FIELDS = ("id", "problem", "prompt", "gold", "output", "sample", "finish", "tokens", "model", "step", "filter")
"""What a path can be given for. `finish` is the reason why an answer ended, `tokens` its length."""

IGNORED = "-"
"""As a path: the file's field of that kind is not read."""

Paths = Mapping[str, tuple[str, ...]]


class _Missing:
    """Stand for a field that a row does not have."""

    def __bool__(self) -> bool:
        return False


MISSING = _Missing()


@dataclass(frozen=True)
class Layout:
    """Describe the form of one tool's files.

    Attributes:
        name: of the tool.
        marks: columns that only this form has together.
        paths: field → paths, the first that is there counts.
    """

    name: str
    marks: frozenset[str]
    paths: Paths


def _layout(name: str, marks: str, **paths: str) -> Layout:
    return Layout(name, frozenset(marks.split()), {field: tuple(text.split()) for field, text in paths.items()})


_PROBLEM = "problem question Problem Question problem_text question_text query instruction problem_statement"
_GOLD = (
    "gold gold_answer gt gts ground_truth groundtruth gt_answer ground_truth_answer reference_answer reference "
    "expected_answer expected correct_answer true_answer gold_label gt_ans ref truth final_answer target answer Answer "
    "label solution reward_model.ground_truth"
)
_OUTPUT = (
    "output outputs completion completions response responses generation generations generated_text generated_texts "
    "model_output model_outputs model_response model_responses output_text raw_output raw_response full_output "
    "generated generated_answer llm_response assistant_response full_response raw reply gen gens samples sample_texts "
    "text texts resps content prediction predictions predicted model_prediction model_answer pred answer"
)
_ID = "id problem_id question_id unique_id doc_id idx index task_id example_id uid qid ID"
_MODEL = "model model_name model_id model_name_or_path"
_STEP = "step global_step global_steps training_step checkpoint"

LAYOUTS = (
    _layout(
        "lm-evaluation-harness",
        "doc_id doc resps",
        id="doc_id",
        problem="doc.problem doc.question doc.Problem doc.Question doc.query",
        prompt="arguments.gen_args_0.arg_0 arguments.0.0",
        gold="target",
        output="resps",
        filter="filter",
    ),
    _layout(
        "lighteval",
        "doc model_response",
        id="doc.id",
        problem="doc.specific.problem doc.specific.question",
        prompt="doc.query",
        gold="doc.choices",
        output="model_response.text",
    ),
    _layout(
        "lighteval (to 0.9)",
        "full_prompt predictions gold",
        prompt="full_prompt example",
        gold="gold",
        output="predictions",
    ),
    _layout("Qwen2.5-Math", "idx gt code pred", id="idx", problem="question", gold="gt", output="code"),
    _layout("verl", "input output score step", prompt="input", gold="gts ground_truth", output="output", step="step"),
    _layout(
        "TRL",
        "prompt completion step advantage",
        prompt="prompt",
        gold="gold ground_truth answer solution",
        output="completion",
        step="step",
    ),
    _layout(
        "OpenAI batch",
        "custom_id response",
        id="custom_id",
        output="response.body.choices.*.message.content response.body.choices.*.text "
        "response.choices.*.message.content",
        finish="response.body.choices.*.finish_reason response.choices.*.finish_reason",
        tokens="response.body.usage.completion_tokens",
        model="response.body.model",
    ),
    _layout(
        "OpenRLHF", "input output", id=_ID, problem=_PROBLEM, prompt="input", gold=_GOLD, output="output", model=_MODEL
    ),
)
GENERIC = _layout(
    "fields",
    "",
    id=_ID,
    problem=_PROBLEM,
    prompt="prompt input messages full_prompt context",
    gold=_GOLD,
    output=_OUTPUT,
    sample="sample sample_id sample_idx sample_index rollout_id attempt",
    finish="finish_reason stop_reason finish_reasons",
    tokens="n_tokens num_tokens completion_tokens output_tokens response_length",
    model=_MODEL,
    step=_STEP,
)
"""For files of no known tool. `answer` is the gold, and the output only where another field holds the gold."""


def layout_of(row: Mapping[str, Any]) -> Layout:
    """Recognise the tool that wrote a row by its columns; `GENERIC` where none is recognised."""
    return next((layout for layout in LAYOUTS if layout.marks <= set(row)), GENERIC)


def given_fields(text: str) -> dict[str, str]:
    """Read the paths that a user names, as in `gold=meta.answer, output=generated`; `step=-` leaves a field out.

    Raises:
        InputError: a part is not `field=path`, or its field is unknown.
    """
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        field, equals, path = (piece.strip() for piece in part.partition("="))
        if not equals or not path:
            raise InputError(f"fields must be parts like gold=answer separated by commas, but one is {part!r}.")
        if field not in FIELDS:
            raise unknown_name("field", field, FIELDS)
        found[field] = path
    return found


def mapping_of(row: Mapping[str, Any], layout: Layout, given: Mapping[str, str]) -> dict[str, str]:
    """Find the path of each field by a file's first row: the user's, else the layout's first that is there.

    Raises:
        InputError: a path that the user names is not there, or no field holds answers.
    """
    for field, path in given.items():
        if path != IGNORED and value_at(row, path) is MISSING:
            raise InputError(f"The first row has no {path!r}, named for {field}; it has {_names(row)}.")
    found = dict(given)
    for field in FIELDS:
        taken = set(found.values())
        paths = (path for path in layout.paths.get(field, ()) if path not in taken)
        if field not in found and (path := next((p for p in paths if value_at(row, p) is not MISSING), None)):
            found[field] = path
    if found.get("output", IGNORED) == IGNORED:
        raise InputError(
            f"No field of the first row is known to hold the model's answer; it has {_names(row)}. Name it, as in "
            "fields='output=NAME'."
        )
    return {field: found[field] for field in FIELDS if found.get(field, IGNORED) != IGNORED}


def value_at(row: Any, path: str) -> Any:
    """Find the value at a path, or `MISSING`; a name that holds dots itself is found too."""
    if isinstance(row, Mapping) and path in row:
        return row[path]
    value = row
    names = path.split(".")
    for position, name in enumerate(names):
        if name == "*":
            if not isinstance(value, list):
                return MISSING
            rest = ".".join(names[position + 1 :])
            found = [value_at(item, rest) if rest else item for item in value]
            return MISSING if not found or any(item is MISSING for item in found) else found
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return MISSING
    return value


def _names(row: Mapping[str, Any]) -> str:
    """List the names of a row's fields for a message, at most twenty of them, each as short text."""
    names = [str(name)[:40] for name in row]
    return ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
