"""Generation over a problem set in parts that survive a kill: the common ground of evaluation and labelling.

The problems are sorted by prompt length, longest first, and cut into parts of one batch each. A finished part is a
parquet file, renamed into place; a restart computes the missing ones only. Which problems a part holds follows from the
configuration alone, so an interrupted job ends with the same rows as one that ran through. What the rows rest on
(problems, model files) is written down at the start and compared whenever the job is resumed or found finished.

Usage: `frame, facts = generate_in_parts(run, config, "qwen-like", problems, rows_of, dtypes)` inside `run.lock()`.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from spurious_rewards.data.problem import Problem
from spurious_rewards.data.problem_sets import load_problems
from spurious_rewards.data.sources import content_hash
from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.config import GenerationConfig
from spurious_rewards.generation.engine import Sample, create
from spurious_rewards.models.prompts import render
from spurious_rewards.models.registry import resolve
from spurious_rewards.workflow.files import read_json, sha256_file, write_json, write_parquet
from spurious_rewards.workflow.runs import RunFolder

RowsOf = Callable[[Problem, str, Sequence[Sample]], list[dict[str, Any]]]
"""(problem, rendered prompt, its samples) → rows of the result."""


def generate_in_parts(run: RunFolder, config: GenerationConfig, model: str, problems: Sequence[Problem],
                      rows_of: RowsOf, dtypes: Mapping[str, str],
                      progress: bool = True) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Generate `config.n_samples` answers to every problem and turn them into rows, keeping finished parts.

    Args:
        run: the locked folder of the job.
        config: prompt, decoding, engine, batch size.
        model: registry name or folder that is loaded.
        problems: in the order the rows shall have.
        rows_of: makes the rows of one problem, at least one.
        dtypes: pandas types of the columns that may be empty.
        progress: show a bar with rate and time left, in samples.

    Returns:
        All rows, in the order of the problems, and facts for the manifest (hashes, engines, counts).

    Raises:
        InputError: model or engine cannot be loaded, the context is too short, or the inputs changed since the start.
    """
    inputs = check_inputs(run, model, problems)
    engine = create(config.engine, model, config.batch_size, config.dtype)
    engines = _note_engine(run, engine.describe())
    prompts = [render(config.prompt_style, problem.problem, engine.tokenizer) for problem in problems]
    lengths = engine.prompt_lengths(prompts)
    parts = cut(lengths, max(1, config.batch_size // config.n_samples))
    files = [run.path(f"parts/part-{i:05d}.parquet") for i in range(len(parts))]
    missing = [i for i, file in enumerate(files) if not file.is_file()]
    done = len(problems) - sum(len(parts[i]) for i in missing)
    with tqdm(total=len(problems) * config.n_samples, initial=done * config.n_samples, unit="sample",
              desc=run.run_id.rsplit("-", 1)[0], mininterval=1.0, disable=not progress) as bar:
        for i in missing:
            generated = engine.generate([prompts[p] for p in parts[i]], config.sampling(),
                                        [problems[p].id for p in parts[i]], bar)
            rows = [{"_problem": p, "_tokens": sum(len(sample.token_ids) for sample in samples), **row}
                    for p, samples in zip(parts[i], generated, strict=True)
                    for row in rows_of(problems[p], prompts[p], samples)]
            write_parquet(files[i], pd.DataFrame(rows).astype(dict(dtypes)))
    frame = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    frame = frame.sort_values("_problem", kind="stable", ignore_index=True)
    facts = {**inputs, "engines": engines, "n_problems": len(problems),
             "prompt_tokens": sum(lengths) * config.n_samples,
             "completion_tokens": int(frame.drop_duplicates("_problem")["_tokens"].sum())}
    return frame.drop(columns=["_problem", "_tokens"]), facts


def problems_of(config: GenerationConfig, name: str) -> list[Problem]:
    """The problems of a problem set that a configuration asks for."""
    return load_problems(name, config.n_problems or None, config.problem_seed, order=config.problem_order)


def remove_parts(run: RunFolder) -> None:
    """Delete the parts of a complete job: its result file holds them."""
    if run.complete and run.path("parts").is_dir():
        shutil.rmtree(run.path("parts"))


def cut(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Indices in parts of `size`, longest first, equal lengths in their order.

    >>> cut([5, 9, 5, 7], 3)
    [[1, 3, 0], [2]]
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [order[start:start + size] for start in range(0, len(order), size)]


def check_inputs(run: RunFolder, model: str, problems: Sequence[Problem]) -> dict[str, str]:
    """Hashes of the problems and of the model's files; compared with those of the job's start if it has one.

    Raises:
        InputError: they differ, so that old and new rows would not belong together; or there are no problems.
    """
    if not problems:
        raise InputError("There are no problems to answer: choose another problem set or a larger n_problems.")
    inputs = {"data_hash": content_hash(problems), "model_hash": model_fingerprint(model)}
    if not run.path("inputs.json").is_file():
        write_json(run.path("inputs.json"), inputs)
    stored = read_json(run.path("inputs.json"))
    for name, what in (("data_hash", "problems"), ("model_hash", "model files")):
        if stored[name] != inputs[name]:
            raise InputError(f"The {what} have changed since {run.run_id} was started: delete {run.folder} to compute "
                             "it anew.")
    return inputs


def model_fingerprint(model: str) -> str:
    """SHA-256 over names and contents of a local model folder's files, or `hub id @ revision` for a hub model."""
    spec = resolve(model)
    folder = spec.folder()
    if not isinstance(folder, Path):
        return f"{folder}@{spec.revision}"
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in {".safetensors", ".bin", ".json", ".jinja", ".model", ".txt"}:
            digest.update(f"{file.name} {sha256_file(file)}\n".encode())
    return digest.hexdigest()


def _note_engine(run: RunFolder, description: dict[str, Any]) -> list[dict[str, Any]]:
    """All different engine descriptions of the job's sessions, this one included."""
    path = run.path("engines.json")
    seen = read_json(path) if path.is_file() else []
    if description not in seen:
        seen.append(description)
        write_json(path, seen)
    return seen
