"""Generate answers over a problem set in parts that survive a kill; evaluation, labels and probes build on it.

The problems are sorted by prompt length, longest first, and cut into parts of one batch each. A finished part is a
parquet file, renamed into place; a restart computes the missing ones only. Which problems a part holds follows from the
configuration alone, so an interrupted job ends with the same rows as one that ran through. What the rows rest on
(problems, model files, prompt) is written down at the start and compared whenever the job is resumed or found finished.
Column `batch` is the number of the part in which a row was made: what was generated together, and may have rounded
together.

Usage: `run = computed(run_id, config, "qwen-like", problems, rows_of, dtypes, finish, progress=True)`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from spurious_rewards.data.problem import Problem
from spurious_rewards.data.problem_sets import load_problems
from spurious_rewards.data.sources import content_hash
from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.config import GenerationConfig
from spurious_rewards.evaluation.fit import check_fit, context_length
from spurious_rewards.generation.engine import Sample, check_engine, create
from spurious_rewards.models.prompts import render, style_named
from spurious_rewards.models.registry import load_tokenizer, resolve
from spurious_rewards.storage.files import read_json, sha256_file, write_json, write_parquet
from spurious_rewards.storage.runs import RunFolder

RowsOf = Callable[[Problem, str, Sequence[Sample]], list[dict[str, Any]]]
"""(problem, rendered prompt, its samples) → rows of the result."""


def generate_in_parts(
    run: RunFolder, config: GenerationConfig, model: str, problems: Sequence[Problem], rows_of: RowsOf,
    dtypes: Mapping[str, str], progress: bool = True,
) -> tuple[pd.DataFrame, dict[str, Any]]:  # fmt: skip
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
    inputs = check_inputs(run, config, model, problems)
    engine = create(config.engine, model, config.batch_size, config.dtype, config.batch_invariant)
    engines = _note_engine(run, engine.describe())
    prompts = [render(config.prompt_style, problem.problem, engine.tokenizer) for problem in problems]
    lengths = engine.prompt_lengths(prompts)
    parts = cut(lengths, max(1, config.batch_size // config.n_samples))
    files = [run.path(f"parts/part-{i:05d}.parquet") for i in range(len(parts))]
    names = [f"{run.run_id} {i}" for i in range(len(parts))]
    frames = {i: frame for i, file in enumerate(files) if (frame := read_part(file, names[i])) is not None}
    done = sum(len(parts[i]) for i in frames)
    counts = {"total": len(problems) * config.n_samples, "initial": done * config.n_samples, "unit": "sample"}
    with tqdm(**counts, desc=run.run_id.rsplit("-", 1)[0], mininterval=1.0, disable=not progress) as bar:
        for i in (i for i in range(len(parts)) if i not in frames):
            generated = engine.generate(
                [prompts[p] for p in parts[i]], config.sampling(), [problems[p].id for p in parts[i]], bar
            )
            rows = [
                {"_part": names[i], "_problem": p, "_tokens": sum(len(sample.token_ids) for sample in samples), **row}
                for p, samples in zip(parts[i], generated, strict=True)
                for row in rows_of(problems[p], prompts[p], samples)
            ]
            write_parquet(files[i], pd.DataFrame(rows).astype(dict(dtypes)))
            run.keep_time()
            frames[i] = pd.read_parquet(files[i])
    frame = pd.concat([frames[i].assign(batch=i) for i in range(len(parts))], ignore_index=True)
    frame = frame.sort_values("_problem", kind="stable", ignore_index=True)
    facts = {
        **inputs,
        "engines": engines,
        "n_problems": len(problems),
        "prompt_tokens": sum(lengths) * config.n_samples,
        "completion_tokens": int(frame.drop_duplicates("_problem")["_tokens"].sum()),
    }
    return frame.drop(columns=["_part", "_problem", "_tokens"]), facts


def opened(run_id: str, config: GenerationConfig, model: str, problems: Sequence[Problem]) -> RunFolder:
    """Open the folder of a job; make a new one only after all checks that do not need the loaded model.

    Args:
        run_id: the folder's name.
        config: what the job does.
        model: registry name or folder of what is loaded.
        problems: what is asked.

    Raises:
        InputError: there are no problems, the model cannot be found, the engine is not installed, a prompt does not fit
            the context; or a finished job was made from other problems, model files or another prompt.
    """
    if not problems:
        raise InputError("There are no problems to answer: choose another problem set or a larger n_problems.")
    if not RunFolder.manifest_path(run_id).is_file():
        check_engine(config.engine)
        check_fit(config.prompt_style, problems, load_tokenizer(model), config.max_new_tokens, context_length(model))
    run = RunFolder.open(run_id, config)
    if run.complete:
        check_inputs(run, config, model, problems)
    return run


def computed(
    run_id: str, config: GenerationConfig, model: str, problems: Sequence[Problem], rows_of: RowsOf,
    dtypes: Mapping[str, str], finish: Callable[[RunFolder, pd.DataFrame, dict[str, Any]], None], progress: bool,
) -> RunFolder:  # fmt: skip
    """Return a finished job, or generate its rows under a lock and have `finish` write its result and manifest.

    Arguments and errors are those of `opened` and `generate_in_parts`; `finish` gets the folder, rows and facts.
    """
    run = opened(run_id, config, model, problems)
    if not run.complete:
        with run.lock():
            if not run.complete:
                finish(run, *generate_in_parts(run, config, model, problems, rows_of, dtypes, progress))
            remove_parts(run)
    return run


def remove_parts(run: RunFolder) -> None:
    """Delete the parts of a complete job: its result file holds them."""
    shutil.rmtree(run.path("parts"), ignore_errors=True)


def problems_of(config: GenerationConfig, name: str) -> list[Problem]:
    """Load the problems of a problem set that a configuration asks for."""
    return load_problems(name, config.n_problems or None, config.problem_seed, order=config.problem_order)


def cut(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Cut indices into parts of `size`, longest first, equal lengths in their order.

    >>> cut([5, 9, 5, 7], 3)
    [[1, 3, 0], [2]]
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [order[start : start + size] for start in range(0, len(order), size)]


INPUTS = {
    "data_hash": "The problems have",
    "model_hash": "The model files have",
    "prompt_hash": "The wording of prompt style {style!r} has",
}
"""Keys of `inputs.json`, and how a message begins that says one has changed."""


def check_inputs(run: RunFolder, config: GenerationConfig, model: str, problems: Sequence[Problem]) -> dict[str, str]:
    """Hash problems, model files and prompt style, and compare them with those of the job's start if it has one.

    A job that was started before a hash existed is not compared in it.

    Raises:
        InputError: they differ, so that old and new rows would not belong together.
    """
    inputs = {
        "data_hash": content_hash(problems),
        "model_hash": model_fingerprint(model),
        "prompt_hash": prompt_fingerprint(config.prompt_style),
    }
    if not run.path("inputs.json").is_file() and not run.complete:
        write_json(run.path("inputs.json"), inputs)
    stored = _stored(run, "inputs.json", dict) if run.path("inputs.json").is_file() else run.manifest()
    for name, what in INPUTS.items():
        if name in stored and stored[name] != inputs[name]:
            raise InputError(
                f"{what.format(style=config.prompt_style)} changed since {run.run_id} was started: delete "
                f"{run.folder} to compute it anew."
            )
    return inputs


def prompt_fingerprint(style: str) -> str:
    """Hash everything that a prompt style is (SHA-256); the chat template is one of the model's files."""
    described = {name: value for name, value in asdict(style_named(style)).items() if name != "examples" or value}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def model_fingerprint(model: str) -> str:
    """Hash names and contents of a model folder's files (SHA-256); name a hub model by `hub id @ revision`."""
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
    """Note this session's engine and return all different ones of the job."""
    path = run.path("engines.json")
    seen = _stored(run, path.name, list) if path.is_file() else []
    if description not in seen:
        seen.append(description)
        write_json(path, seen)
    return seen


def read_part(file: Path, name: str) -> pd.DataFrame | None:
    """Read the rows of a finished part; None if there is none, or it is damaged or another one: it is computed again.

    Args:
        file: where it is.
        name: its run and number, which each of its rows has in `_part`.
    """
    try:
        frame = pd.read_parquet(file)
    except (OSError, ValueError):  # pyarrow's errors are of these kinds
        return None
    return frame if "_part" in frame and (frame["_part"] == name).all() else None


def _stored(run: RunFolder, name: str, kind: type) -> Any:
    """Read a JSON file of the job, which must hold a list or a mapping."""
    advice = f"delete the folder {run.folder} and run again"
    value = read_json(run.path(name), advice)
    if not isinstance(value, kind):
        raise InputError(f"{run.path(name)} is not the file that belongs there: {advice}.")
    return value
