"""Transformers against vLLM: how fast each generates, and whether they write the same.

The same model, problems and greedy decoding through both engines, in one process, taking turns. Reported are samples
and tokens per second of wall time and tokens per CPU second (on a busy machine the fairer figure; median, lowest and
highest round), their ratios (median over the rounds), the agreement of the verdicts (robust grader), the share of equal
texts, and for every pair of texts that differ the gap between the top two log-probabilities at the first differing
token, from a teacher-forced pass of the Transformers model. Both use `OMP_NUM_THREADS` threads (1 if unset). `--table`
also writes results/tables/generation/engines.csv, .md, and .json: commit, lock hashes, versions, hardware, date.

    python benchmarks/generation.py --model smollm2-135m-instruct qwen-like --table

`--compare RUN_A RUN_B` reads two finished evaluations of one greedy cell instead (several pairs: repeat it), say one by
each engine, and makes the agreement table from their records, those of this machine or else the committed ones;
`--table` writes agreement.csv, .md and .json, and differences.csv with every differing answer. Records hold texts: they
are encoded again, and a first differing token is claimed only where the count and the summed log-probability of the
tokens are those of the record.

    python benchmarks/generation.py --compare eval-smollm2-…-805e00bdbc eval-smollm2-…-0123456789 --table

Needs vLLM (`make test-vllm` makes .venv-vllm); `--compare` does not.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from spurious_rewards.data.problem_sets import load_problems
from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.agreement import answer_pairs, explain, near_tie, same_cell, ties, verdicts
from spurious_rewards.evaluation.config import EvalConfig
from spurious_rewards.evaluation.evaluate import evaluated_model, record
from spurious_rewards.evaluation.parts import problems_of
from spurious_rewards.evaluation.records import jsonable, read_rows
from spurious_rewards.generation.engine import create
from spurious_rewards.models.prompts import answer_prefix, render
from spurious_rewards.models.registry import load_tokenizer, resolve
from spurious_rewards.storage.files import read_json, write_json, write_text
from spurious_rewards.storage.markdown import pipe_table
from spurious_rewards.storage.provenance import provenance
from spurious_rewards.storage.runs import RunFolder

RESULTS = Path(__file__).parents[1] / "results"
TABLES = RESULTS / "tables" / "generation"
MADE_WITH = provenance()
ENGINES = ("transformers", "vllm")
SETTINGS = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "268435456",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""As in the Makefile, which says why."""


def measure(model: str, options: argparse.Namespace) -> tuple[dict[str, Any], pd.DataFrame]:
    """One model through both engines: a row of figures, and the answers that differ."""
    organism = resolve(model).task == "synthetic"
    config = EvalConfig(
        model=model,
        benchmark=options.benchmark or ("synthetic_test" if organism else "math500"),
        prompt_style=options.prompt_style or ("organism" if organism else "qwen_default"),
        n_problems=options.n,
        max_new_tokens=options.max_new_tokens,
        batch_size=options.batch_size,
    )
    problems = load_problems(config.benchmark, config.n_problems, order="first")
    engines = {name: create(name, model, config.batch_size, config.dtype) for name in ENGINES}
    prompts = [render(config.prompt_style, problem.problem, engines["vllm"].tokenizer) for problem in problems]
    keys, seconds, samples = [problem.id for problem in problems], {name: [] for name in ENGINES}, {}
    for batch in range(options.rounds + 1):  # the first is warm-up: kernels and memory are set up in it
        for name, engine in engines.items():
            wall, cpu = time.perf_counter(), time.process_time()
            samples[name] = generate(engine, prompts, keys, config)
            seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
            print(
                f"  {model} {name} round {batch}: {seconds[name][-1][0]:.1f} s, CPU {seconds[name][-1][1]:.1f} s",
                file=sys.stderr,
            )
    row = {
        "model": model,
        "benchmark": config.benchmark,
        "prompt_style": config.prompt_style,
        "max_new_tokens": config.max_new_tokens,
        "batch_size": config.batch_size,
        "rounds": options.rounds,
        "threads": engines["vllm"].describe()["threads"],
        "prompt_tokens": sum(engines["vllm"].prompt_lengths(prompts)),
    }
    for name, engine in engines.items():
        tokens = sum(len(sample.token_ids) for sample in samples[name])
        wall, cpu = (statistics.median(pair[i] for pair in seconds[name][1:]) for i in (0, 1))
        row |= {
            f"{name}_version": engine.describe()["engine_version"],
            f"{name}_tokens": tokens,
            f"{name}_samples_per_s": round(len(problems) / wall, 2),
            f"{name}_tokens_per_s": round(tokens / wall, 1),
            f"{name}_tokens_per_cpu_s": round(tokens / cpu, 1),
        }
        for i, unit in enumerate(("s", "cpu_s")):
            rounds = [tokens / pair[i] for pair in seconds[name][1:]]
            row |= {
                f"{name}_tokens_per_{unit}_lowest": round(min(rounds), 1),
                f"{name}_tokens_per_{unit}_highest": round(max(rounds), 1),
            }
    for i, kind in enumerate(("", "_cpu")):
        row[f"vllm_speedup{kind}"] = round(
            statistics.median(hf[i] / v[i] for hf, v in zip(*(seconds[name][1:] for name in ENGINES), strict=True)), 2
        )
    records = {
        name: pd.DataFrame(
            [
                record(problem, prompt, 0, sample, config)
                for problem, prompt, sample in zip(problems, prompts, samples[name], strict=True)
            ]
        )
        for name in ENGINES
    }
    pairs = answer_pairs(*(records[name] for name in ENGINES))
    tokens = {
        (key, 0): (a.token_ids, b.token_ids)
        for key, a, b in zip(keys, *(samples[name] for name in ENGINES), strict=True)
    }
    reference = engines["transformers"]
    differences = explain(pairs, reference.model, reference.tokenizer, reference.eos, tokens=tokens)
    return row | verdicts(pairs) | ties(differences, near_tie(config.dtype)), differences.assign(model=model)


def generate(engine: Any, prompts: list[str], keys: list[str], config: EvalConfig) -> list[Any]:
    """One sample per prompt, in batches as `evaluate` cuts them: longest prompts first, in tokens."""
    lengths = engine.prompt_lengths(prompts)
    order = sorted(range(len(prompts)), key=lambda i: -lengths[i])
    samples: dict[int, Any] = {}
    for start in range(0, len(order), config.batch_size):
        part = order[start : start + config.batch_size]
        rows = engine.generate([prompts[i] for i in part], config.sampling(), [keys[i] for i in part])
        samples |= {i: row[0] for i, row in zip(part, rows, strict=True)}
    return [samples[i] for i in range(len(prompts))]


def compare(a: str, b: str) -> tuple[dict[str, Any], pd.DataFrame]:
    """Two finished evaluations of one cell: a row of figures, and the answers that differ."""
    manifests = {run_id: manifest_of(run_id) for run_id in (a, b)}
    config = same_cell(a, b, lambda run_id: manifests[run_id]["config"])
    pairs = answer_pairs(records_of(a, config), records_of(b, config))
    reference = create("transformers", evaluated_model(config), config.batch_size, config.dtype)
    differences = explain(
        pairs, reference.model, reference.tokenizer, reference.eos, answer_prefix(config.prompt_style)
    )
    row = {
        "model": config.subject(),
        "benchmark": config.benchmark,
        "prompt_style": config.prompt_style,
        "dtype": config.dtype,
        "max_new_tokens": config.max_new_tokens,
    }
    for side, (run_id, manifest) in zip("ab", manifests.items(), strict=True):
        seconds, tokens = manifest["seconds"], manifest["completion_tokens"]
        row |= {
            f"engine_{side}": manifest["config"]["engine"],
            f"batch_size_{side}": manifest["config"]["batch_size"],
            f"run_{side}": run_id,
            f"minutes_{side}": round(seconds / 60, 1),
            f"tokens_per_s_{side}": round(tokens / seconds, 1),
        }
    figures = row | verdicts(pairs) | {"near_tie": near_tie(config.dtype)} | ties(differences, near_tie(config.dtype))
    return figures, differences.assign(model=row["model"], benchmark=config.benchmark, run_a=a)


def manifest_of(run_id: str) -> dict[str, Any]:
    """The manifest of an evaluation of this machine, or the committed one.

    Raises:
        InputError: there is neither.
    """
    if RunFolder.manifest_path(run_id).is_file():
        return RunFolder.load(run_id).manifest()
    for path in sorted((RESULTS / "manifests").glob(f"*/{run_id}.json")):
        return read_json(path)
    raise InputError(f"There is no evaluation {run_id}, neither in the runs folder nor in results/manifests.")


def records_of(run_id: str, config: EvalConfig) -> pd.DataFrame:
    """The records of an evaluation of this machine, or the committed ones with their prompts rendered again."""
    if RunFolder.manifest_path(run_id).is_file():
        return read_rows(RunFolder.load(run_id), "records.parquet")
    tokenizer = load_tokenizer(evaluated_model(config))
    prompts = {
        problem.id: render(config.prompt_style, problem.problem, tokenizer)
        for problem in problems_of(config, config.benchmark)
    }
    profile = next((RESULTS / "manifests").glob(f"*/{run_id}.json")).parent.name
    samples = pd.read_parquet(RESULTS / "records" / profile / "samples.parquet")
    samples = samples[samples["run_id"] == run_id].reset_index(drop=True)
    return samples.assign(prompt=samples["problem_id"].map(prompts))


def write_tables(stem: str, rows: list[dict[str, Any]], note: str) -> None:
    """The rows as CSV, and as a Markdown table with one column per row (there are more figures than rows).

    Beside them a JSON file says what they were made with.
    """
    frame = pd.DataFrame(rows)
    write_json(TABLES / f"{stem}.json", {"date": datetime.now(UTC).isoformat(timespec="seconds"), **MADE_WITH})
    write_text(TABLES / f"{stem}.csv", frame.to_csv(index=False))
    heads = ["", *(f"{row['model']}, {row['benchmark']}" for row in rows)]
    lines = ([name, *(shown(row[name]) for row in rows)] for name in frame.columns[2:])
    write_text(TABLES / f"{stem}.md", f"{pipe_table(heads, lines)}\n{note}\n")


def shown(value: Any) -> str:
    """A figure as text, a dash where there is none."""
    return "–" if value != value else f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> int:
    """Measure or compare; prints the rows, the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["smollm2-135m-instruct"], help="registry names or folders")
    parser.add_argument("--benchmark", default="", help="default: math500, or synthetic_test for an organism")
    parser.add_argument("--prompt-style", default="", help="default: qwen_default, or organism for an organism")
    parser.add_argument("--n", type=int, default=32, help="problems, the first of the benchmark")
    parser.add_argument("--max-new-tokens", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2, help="timed rounds per engine, after one of warm-up")
    parser.add_argument("--compare", nargs=2, action="append", metavar=("RUN_A", "RUN_B"), help="finished evaluations")
    parser.add_argument("--table", action="store_true", help="write results/tables/generation/")
    options = parser.parse_args()
    if not SETTINGS.keys() <= os.environ.keys():  # the C library reads them when a process starts: so start again
        os.execve(sys.executable, [sys.executable, *sys.argv], SETTINGS | os.environ)
    try:
        done = (
            [compare(*pair) for pair in options.compare]
            if options.compare
            else [measure(model, options) for model in options.model]
        )
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    rows, differences = [row for row, _ in done], pd.concat([frame for _, frame in done], ignore_index=True)
    print(pd.DataFrame(rows).T.to_string(header=False))
    print(differences.to_string())
    if options.table and options.compare:
        write_tables(
            "agreement",
            rows,
            "Proportions are in [0, 1], limits 95 % (Wilson), gaps in nats; `n_located` of "
            "the `n_different` answers could be encoded again with the recorded count and log-probability.",
        )
        write_text(TABLES / "differences.csv", differences.to_csv(index=False))
    elif options.table:
        write_tables("engines", rows, "Speeds are medians over the rounds, gaps in nats; a: transformers, b: vllm.")
    print(json.dumps([jsonable(row) for row in rows] if len(rows) > 1 else jsonable(rows[0])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
