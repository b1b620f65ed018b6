"""Compute one evaluation cell: generate answers, grade them with both graders, detect the strategy of each.

    runs/<eval_id>/config.json       the cell
                   records.parquet   the records, see RECORD_COLUMNS
                   manifest.json     last: provenance, hashes of problems and model, engine, summary

A cell can stop at any moment and goes on where it stopped (`evaluation.parts`); one whose manifest exists is not
computed again, but problems, model files and prompt are compared with those it was made from.

Usage: `run = evaluate(EvalConfig(model="qwen-like", n_problems=200)); records = load_records([run.run_id])`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from spurious_rewards.data.problem import Problem
from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.config import EvalConfig
from spurious_rewards.evaluation.fit import context_length, fitting
from spurious_rewards.evaluation.parts import computed, problems_of
from spurious_rewards.evaluation.records import jsonable, summarise
from spurious_rewards.generation.engine import Sample
from spurious_rewards.models.prompts import answer_format, answer_prefix
from spurious_rewards.models.registry import load_tokenizer
from spurious_rewards.rewards.grading import grade
from spurious_rewards.rewards.strategy import strategy, uses_code
from spurious_rewards.storage.files import write_parquet
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.training.checkpoints import MARKER, all_checkpoints

RECORD_COLUMNS = {
    "problem_id": "id within the problem set",
    "sample": "index of the sample, from 0",
    "seed": "sampling seed of the cell",
    "prompt": "rendered prompt, exactly as fed to the model, with the forced beginning of the answer if there is one",
    "text": "the answer: what it was forced to begin with, then the generated text without special tokens",
    "n_tokens": "generated tokens, the end-of-sequence token included",
    "logprob": "sum of the sampled tokens' log-probabilities (temperature 1, nats)",
    "finish_reason": "stop, or length if max_new_tokens cut it",
    "extracted": "final answer found by the robust grader, null if none",
    "gold": "reference answer",
    "correct": "verdict of the robust grader",
    "reason": "its reason code",
    "correct_paper": "verdict of the paper's grader",
    "extracted_paper": "the answer that one found",
    "uses_code": "code reasoning by the paper's detector",
    "uses_code_structural": "code reasoning by the structural detector, which stops at the first answer",
    "code_after_answer": "code behind the first answer: the text runs on",
    "code_with_output": "the code is followed by an output block: a tool executed it, or the model made the output up",
    "family": "kind of problem where the set knows one",
    "level": "difficulty where the set knows one",
    "batch": "number of the batch in which it was generated, from 0; answers of one batch share their rounding",
}
DTYPES = {"extracted": "str", "extracted_paper": "str", "family": "str", "level": "Int64"}


def evaluate(config: EvalConfig, progress: bool = True) -> RunFolder:
    """Compute one cell, or return it if it is there.

    Args:
        config: the cell.
        progress: show a bar with rate and time left.

    Raises:
        InputError: unknown model, benchmark, prompt style or engine; context overflow; another process computes the
            cell; or its problems, model files or prompt have changed since it was started.
    """
    model = evaluated_model(config)
    problems, warnings = asked_problems(config, model)

    def rows_of(problem: Problem, prompt: str, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        return [record(problem, prompt, index, sample, config) for index, sample in enumerate(samples)]

    def finish(run: RunFolder, frame: pd.DataFrame, facts: dict[str, Any]) -> None:
        write_parquet(run.path("records.parquet"), frame[list(RECORD_COLUMNS)])
        what = {"kind": "evaluation", "config": config.to_dict(), "seed": config.seed, "n_records": len(frame)}
        run.finish({**what, **facts, "warnings": warnings, "summary": jsonable(summarise(frame))})

    return computed(config.eval_id(), config, model, problems, rows_of, DTYPES, finish, progress)


def asked_problems(config: EvalConfig, model: str) -> tuple[list[Problem], list[str]]:
    """Return the problems that a cell asks, and a sentence on those that `leave_out_long` leaves out.

    Raises:
        InputError: unknown benchmark, or none of its problems fits the context.
    """
    problems = problems_of(config, config.benchmark)
    if not config.leave_out_long:
        return problems, []
    room = (load_tokenizer(model), config.max_new_tokens, context_length(model))
    kept = fitting(config.prompt_style, problems, *room)
    if len(kept) == len(problems):
        return problems, []
    left_out = [problem.id for problem in problems if problem not in kept]
    return kept, [
        f"{len(left_out)} of {len(problems)} problems do not fit the model's context and are left out "
        f"({', '.join(left_out[:3])}{', …' if len(left_out) > 3 else ''}): the accuracy is that of the shorter ones."
    ]


def evaluated_model(config: EvalConfig) -> str:
    """Find the weights that a cell evaluates: a registry name or a folder.

    Raises:
        InputError: the training run is missing, not complete, of another model or damaged, or the checkpoint does not
            exist.
    """
    if not config.trained_run:
        return config.model
    trained = RunFolder.load(config.trained_run)
    base = trained.config()["model"]
    if base != config.model:
        raise InputError(f"Run {config.trained_run} trained {base!r}, not {config.model!r}: set model={base!r}.")
    if config.checkpoint == 0:
        trained.check_files(thorough=True)
        return str(trained.path("model"))
    found = (path for path in all_checkpoints(trained.path("checkpoints")) if (path / MARKER).is_file())
    whole = {int(path.name.rsplit("-", 1)[-1]): path for path in found}
    if config.checkpoint not in whole:
        raise InputError(
            f"Run {config.trained_run} has no checkpoint after update {config.checkpoint}; it has "
            f"{', '.join(map(str, whole)) or 'none'} (keep_checkpoints=0 keeps all while training)."
        )
    return str(whole[config.checkpoint])


def record(problem: Problem, prompt: str, index: int, sample: Sample, config: EvalConfig) -> dict[str, Any]:
    """Make the record of one sample, keys as in `RECORD_COLUMNS` but for `batch`, which the generation adds."""
    text = answer_prefix(config.prompt_style) + sample.text
    level = problem.meta.get("level")
    row = {"problem_id": problem.id, "sample": index, "seed": config.seed, "prompt": prompt, "text": text}
    row |= {"n_tokens": len(sample.token_ids), "logprob": float(sample.logprobs.sum(dtype="float64"))}
    row |= {"finish_reason": sample.finish_reason}
    row |= verdicts(text, problem.answer, answer_format(config.prompt_style))
    row["family"] = problem.meta.get("family", problem.meta.get("subject"))
    return row | {"level": pd.NA if level is None else int(level)}


def verdicts(text: str, gold: str, style: str) -> dict[str, Any]:
    """Grade one answer with both graders and look for code with both detectors: the columns from extracted to code.

    Args:
        text: the answer, with what it was forced to begin with.
        gold: reference answer.
        style: answer style, one of `rewards.extraction.STYLES`.
    """
    robust = grade(text, gold, mode="robust", style=style)
    paper = grade(text, gold, mode="paper", style=style)
    structural = strategy(text)
    found = {"extracted": robust.extracted, "gold": gold, "correct": robust.correct, "reason": robust.reason}
    found |= {"correct_paper": paper.correct, "extracted_paper": paper.extracted}
    found |= {"uses_code": uses_code(text), "uses_code_structural": structural.code}
    return found | {"code_after_answer": structural.code_after_answer, "code_with_output": structural.with_output}
