"""Run the trainings and evaluations of a profile side by side in many processes, without notebooks; find task and step.

Notebooks and the workflow cost a process and half a minute each, and a machine lent for minutes has neither Jupyter nor
Snakemake. This program reads the same profile and makes the same runs: `make reproduce` finds them finished. Phases:

    tasks     measure the candidate tasks under every prompt style and choose one (`evaluation.task_search`)
    rates     train the stage `rates` and choose the step size: highest mean reward of its last five rollout batches.
              Processes that this leaves idle replay the antithetic pairs of --pairs on the chosen task meanwhile
    runs      train the stage `train`; evaluate base and trained models as the profile's other stages say; perplexities,
              with a .json that says where they come from. Processes that this leaves idle replay pairs, too
    pairs     the rest of the pairs, and each setting put together that has all of them
    pack      tables, and run folders without weights and checkpoints, as tar files of at most 15 MB

What was chosen replaces the profile's task, prompt style and step size, and is written to OUT/choice.json; the profile
has to be edited to these values before the runs are found again. Every phase resumes.

    python benchmarks/profile_runs.py smollm --phases tasks rates runs pairs pack --processes 14 --out OUT
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import tarfile
import time
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pandas as pd

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation import task_search
from spurious_rewards.evaluation.config import EvalConfig
from spurious_rewards.mechanism import counterfactual
from spurious_rewards.mechanism.counterfactual_config import CounterfactualConfig
from spurious_rewards.mechanism.counterfactual_config import configs as counterfactual_configs
from spurious_rewards.mechanism.probe_set import ProbeSet
from spurious_rewards.reporting.arms import BASE, arm_name
from spurious_rewards.storage.files import read_json, write_json
from spurious_rewards.storage.provenance import provenance
from spurious_rewards.storage.runs import RunFolder, all_runs
from spurious_rewards.training.config import RunConfig
from spurious_rewards.workflow.parameters import notebook_parameters
from spurious_rewards.workflow.profiles import Profile, load_profile, notebook_path

TAR_BYTES = 15_000_000
LAST_BATCHES = 5
N_TEXTS = 200


def parameters(job: Any, choice: dict[str, Any], profile: Profile) -> dict[str, Any]:
    """All parameters of a job's notebook, with the chosen task, prompt style and step size."""
    values = notebook_parameters(notebook_path(job.notebook)) | job.parameters
    planned = planned_task(profile)
    swaps = {planned: choice["task"], f"{planned}_test": f"{choice['task']}_test"}
    for name in {"train_set", "benchmark"} & values.keys():
        values[name] = swaps.get(values[name], values[name])
    values["prompt_style"] = choice["prompt_style"]
    if job.stage == "train":
        values["learning_rate"] = choice["learning_rate"]
    return values


def planned_task(profile: Profile) -> str:
    """The problem set that the profile's trainings use."""
    return next(job.parameters["train_set"] for job in profile.jobs if job.stage == "train")


def train_one(values: dict[str, Any], evaluations: list[dict[str, Any]]) -> dict[str, Any]:
    """Train one run, evaluate it in each way, and measure perplexities; the worker's work."""
    from spurious_rewards.training.run import train

    free_pairs()
    config = RunConfig.from_namespace(values, values.get("options", ""))
    run = train(config, progress=False)
    arm = {"arm": arm_name(pd.Series(config.to_dict()), []), "seed": config.seed}
    return arm | measure_model(run.run_id, config.model, str(run.path("model")), evaluations)


def measure_model(trained_run: str, model: str, folder: str, evaluations: list[dict[str, Any]]) -> dict[str, Any]:
    """Evaluate one model in each way and measure perplexities; `trained_run` is empty for the untrained one."""
    from spurious_rewards.evaluation.evaluate import evaluate
    from spurious_rewards.evaluation.study import cells

    free_pairs()
    whose = {"trained_run": trained_run, "model": model}
    runs = [evaluate(cell, progress=False) for values in evaluations for cell in cells(values | whose)]
    return {
        "run_id": trained_run,
        "evaluations": [run.run_id for run in runs],
        "perplexities": perplexities(folder, evaluations, runs),
    }


def perplexities(folder: str, evaluations: list[dict[str, Any]], runs: list[RunFolder]) -> list[dict[str, Any]]:
    """Perplexity of problems and of reference answers behind the prompt, and of the model's own greedy answers.

    One row per benchmark.
    """
    import torch

    from spurious_rewards.data.problem_sets import load_problems
    from spurious_rewards.evaluation.perplexity import perplexity
    from spurious_rewards.models.prompts import render
    from spurious_rewards.models.registry import load

    model, tokenizer = load(folder)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    found: dict[str, dict[str, Any]] = {}
    for values in evaluations:
        name = values["benchmark"]
        n = min(N_TEXTS, values["n_problems"] or N_TEXTS)
        problems = load_problems(name, n, order="first")
        prompts = [render(values["prompt_style"], problem.problem, tokenizer) for problem in problems]
        answers = [f"The answer is \\boxed{{{problem.answer}}}." for problem in problems]
        found[name] = {
            "benchmark": name,
            "problems": perplexity(model, tokenizer, [problem.problem for problem in problems]),
            "reference_answers": perplexity(model, tokenizer, answers, prompts),
        }
    for run in runs:
        records = pd.read_parquet(run.path("records.parquet"))
        config = run.config()
        if config["temperature"] == 0:
            per_token = records["logprob"].sum() / max(1, records["n_tokens"].sum())
            found[config["benchmark"]]["own_answers"] = math.exp(-per_token)
    return list(found.values())


class Workers:
    """Processes that stay alive between phases, so that the libraries are imported once each."""

    def __init__(self, processes: int, seconds: float):
        self.pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))
        self.end = time.monotonic() + seconds

    def __call__(self, work: Iterable[tuple], what: str, beside: Iterable[tuple] = ()) -> list[Any]:
        """Call (function, *arguments) each in one of the processes; failures are printed and left out.

        Calls of `beside` are made by processes that are idle until all work is done; the rest of them is dropped.
        """
        began, results = time.monotonic(), []
        futures = [self.pool.submit(*call) for call in work]
        others = [self.pool.submit(*call) for call in beside]
        for future in self._before_the_end(futures, what):
            try:
                results.append(future.result())
            except Exception as error:  # one failed run must not cost the others
                shown = str(error) if isinstance(error, InputError) else traceback.format_exc()
                print(f"{what}: {shown}", flush=True)
            print(f"{what}: {len(results)} of {len(futures)} after {time.monotonic() - began:.0f} s", flush=True)
        for other in others:
            if not other.cancel() and other.done() and (error := other.exception()):
                print(f"beside {what}: {error!r}", flush=True)
        if others:
            print(f"beside {what}: {sum(other.done() and not other.cancelled() for other in others)} calls", flush=True)
        return results

    def _before_the_end(self, futures: list[Future], what: str) -> Iterator[Future]:
        """Yield futures as they finish; when the time is over, drop the rest."""
        try:
            yield from as_completed(futures, timeout=max(0.1, self.end - time.monotonic()))
        except TimeoutError:
            print(f"{what}: the time is over; what is finished is kept.", flush=True)
            self.stop()

    def stop(self) -> None:
        """End all processes, whatever they do."""
        running = list((self.pool._processes or {}).values())  # None once it has been stopped
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in running:
            process.kill()


def tasks(options: argparse.Namespace, workers: Workers, model: str, choice: dict[str, Any]) -> None:
    """Phase `tasks`: the table, and the choice of task and prompt style."""
    cells = [
        EvalConfig(
            model=model, benchmark=f"{task}_test", prompt_style=style, temperature=1.0, n_samples=16,
            n_problems=options.problems, problem_order="shuffled", max_new_tokens=options.tokens,
            batch_size=256,
        )
        for task in options.tasks for style in options.styles or task_search.free_styles()
    ]  # fmt: skip
    rows = workers([(task_search.measure, [cell]) for cell in cells], "tasks")
    table = pd.concat(rows).sort_values(["task", "style"], ignore_index=True)
    table.to_csv(options.out / "tasks.csv", index=False, float_format="%.4f")
    print(table.drop(columns="note").to_string(index=False, float_format="%.3f"), flush=True)
    chosen = task_search.choose(table)
    choice |= {"task": chosen["task"], "prompt_style": chosen["style"]}


_PAIRS: dict[str, Any] = {}
"""Trainers and probe set of the setting whose pairs this process replays."""


def replay_pairs(config: CounterfactualConfig, first: int) -> None:
    """Compute the pairs of one part in the run folder of its setting; `mechanism counterfactual` puts them together."""
    from spurious_rewards.mechanism.replay import Arms

    folder = RunFolder.open(config.run_id(), config)
    if _PAIRS.get("config") != config:
        _PAIRS.clear()
        arms = Arms(config)
        _PAIRS.update(config=config, arms=arms, probe=ProbeSet.sample(config, arms.model, arms.tokenizer))
    numbers = range(first, min(first + config.pairs_per_part, config.max_pairs))
    counterfactual.compute_part(folder, config, _PAIRS["arms"], _PAIRS["probe"], numbers)


def put_together(config: CounterfactualConfig) -> None:
    """Finish the run of a setting all of whose pairs are computed."""
    free_pairs()
    counterfactual.run(config, progress=False)


def settings_of(sizes: list[str], choice: dict[str, Any]) -> list[CounterfactualConfig]:
    """List the settings of these sizes of the counterfactual, on the chosen task.

    Raises:
        InputError: a setting may end before its last pair, so that its parts cannot be cut in advance.
    """
    swaps = {"train_set": choice["task"], "probe_set": f"{choice['task']}_test", "prompt_style": choice["prompt_style"]}
    settings = [replace(config, **swaps) for size in sizes for config in counterfactual_configs(size)]
    for config in settings:
        if config.min_pairs < config.max_pairs:
            raise InputError(f"{config.setting()} may end before pair {config.max_pairs}: run it by `mechanism`.")
    return settings


def pairs_of(settings: list[CounterfactualConfig]) -> list[tuple]:
    """List the calls that compute the pairs of settings, part by part."""
    return [
        (replay_pairs, config, first)
        for config in settings
        for first in range(0, config.max_pairs, config.pairs_per_part)
    ]


def pairs(options: argparse.Namespace, workers: Workers, choice: dict[str, Any]) -> None:
    """Phase `pairs`: what the phases before left of the pairs, then each whole setting put together."""
    settings = settings_of(options.pairs, choice)
    workers(pairs_of(settings), "pairs")
    whole = [config for config in settings if len(_computed(config)) == len(pairs_of([config]))]
    workers([(put_together, config) for config in whole], "settings")


def _computed(config: CounterfactualConfig) -> list[Path]:
    return sorted(RunFolder.open(config.run_id(), config).path("parts").glob("pairs-*.parquet"))


def free_pairs() -> None:
    """Let go of the trainers of the pairs, whose memory a training needs."""
    import gc

    import torch

    if _PAIRS:
        _PAIRS.clear()
        gc.collect()
        torch.cuda.empty_cache()


def rates(options: argparse.Namespace, workers: Workers, profile: Profile, choice: dict[str, Any]) -> None:
    """Phase `rates`: ground truth at each step size, and the choice among them; beside it, pairs."""
    from spurious_rewards.training.run import train

    work = [parameters(job, choice, profile) for job in profile.jobs if job.stage == "rates"]
    configs = [RunConfig.from_namespace(values, values.get("options", "")) for values in work]
    workers([(train, config, None, False) for config in configs], "rates", pairs_of(settings_of(options.pairs, choice)))
    rows = []
    for config in configs:
        run = RunFolder.open(config.run_id(), config)
        row = {"learning_rate": config.learning_rate, "run_id": run.run_id, "finished": run.complete}
        if run.complete:
            metrics = pd.read_parquet(run.path("metrics.parquet"))
            reward = metrics[metrics["update_in_batch"] == 1].set_index("rollout_batch")["reward_mean"]
            row |= {
                "reward_first": reward.iloc[:LAST_BATCHES].mean(),
                "reward_last": reward.iloc[-LAST_BATCHES:].mean(),
            }
        rows.append(row)
    table = pd.DataFrame(rows)
    table.to_csv(options.out / "rates.csv", index=False)
    print(table.to_string(index=False), flush=True)
    if "reward_last" not in table or table["reward_last"].isna().all():
        raise InputError("No step size ended without divergence; try smaller ones.")
    choice["learning_rate"] = float(table.loc[table["reward_last"].idxmax(), "learning_rate"])


def runs(options: argparse.Namespace, workers: Workers, profile: Profile, model: str, choice: dict[str, Any]) -> None:
    """Phase `runs`: all arms, their evaluations and perplexities, and the untrained model's."""
    by_stage: dict[str, list[dict[str, Any]]] = {}
    for job in profile.jobs:
        by_stage.setdefault(job.stage, []).append(parameters(job, choice, profile))
    evaluations = [
        {name: value for name, value in values[0].items() if name != "trained"}
        for stage, values in by_stage.items()
        if str(values[0].get("trained", "")).startswith(f"{profile.name}/train-")
    ]
    base = [values for stage in by_stage if stage.startswith("base") for values in by_stage[stage]]
    work = [(train_one, values, evaluations) for values in by_stage["train"]]
    work.append((measure_model, "", model, model, base))
    rows = workers(work, "runs", pairs_of(settings_of(options.pairs, choice)))
    rows = [{"arm": BASE, "seed": pd.NA} | row for row in rows]
    table = pd.DataFrame([
        {"arm": row["arm"], "seed": row["seed"], **measured, "run_id": row["run_id"]}
        for row in sorted(rows, key=lambda row: (row["run_id"] != "", row["arm"], row["seed"]))
        for measured in row["perplexities"]
    ])  # fmt: skip
    table.to_csv(options.out / "perplexity.csv", index=False, float_format="%.4f")
    evaluated = sorted({run_id for row in rows for run_id in (row["run_id"], *row["evaluations"]) if run_id})
    write_json(options.out / "perplexity.json", {"kind": "perplexity", **provenance(), "runs": evaluated})
    print(table.to_string(index=False, float_format="%.2f"), flush=True)
    print(summary().to_string(index=False, float_format="%.3f"), flush=True)


def summary() -> pd.DataFrame:
    """One row per finished evaluation."""
    rows = []
    for run in all_runs():
        if run.complete and run.manifest().get("kind") == "evaluation" and run.config()["trained_run"]:
            config, figures = run.config(), run.manifest()["summary"]
            row = {"run": config["trained_run"][-50:], "benchmark": config["benchmark"], "t": config["temperature"]}
            rows.append(row | {name: figures[name] for name in ("accuracy", "boxed", "parsable", "code", "cut_off")})
    return pd.DataFrame(rows)


def pack(out: Path) -> None:
    """Phase `pack`: each run folder without weights and checkpoints, spread over tar files of at most `TAR_BYTES`."""
    number, archive, size = 0, None, 0
    for run in all_runs():
        skipped = {run.path("model"), run.path("checkpoints")}
        files = [
            path
            for path in sorted(run.folder.rglob("*"))
            if path.is_file() and not skipped & set(path.parents) and not path.name.startswith(".")
        ]
        needed = sum(path.stat().st_size for path in files)
        if archive is None or size + needed > TAR_BYTES:
            if archive is not None:
                archive.close()
            archive, size, number = tarfile.open(out / f"runs{number}.tar.gz", "w:gz"), 0, number + 1
        size += needed
        for path in files:
            archive.add(path, arcname=str(path.relative_to(run.folder.parent)))
    if archive is not None:
        archive.close()
    print(f"{number} archives in {out}", flush=True)


def main() -> None:
    """Run the phases in their order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile")
    parser.add_argument("--phases", nargs="+", default=["tasks", "rates", "runs", "pairs", "pack"])
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=1e9, help="time for all phases but the last, pack")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=list(task_search.TASKS))
    parser.add_argument("--styles", nargs="+", help="default: all that leave the answer's beginning to the model")
    parser.add_argument("--pairs", nargs="*", default=["smollm2", "smollm2-bf16"], help="sizes of the counterfactual")
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    profile = load_profile(options.profile)
    planned = next(job.parameters for job in profile.jobs if job.stage == "train")
    choice = {"task": planned["train_set"], **{name: planned[name] for name in ("prompt_style", "learning_rate")}}
    file = options.out / "choice.json"
    if file.is_file():
        choice |= read_json(file)
    workers, model = Workers(options.processes, options.seconds), planned["model"]
    phases = {
        "tasks": lambda: tasks(options, workers, model, choice),
        "rates": lambda: rates(options, workers, profile, choice),
        "runs": lambda: runs(options, workers, profile, model, choice),
        "pairs": lambda: pairs(options, workers, choice),
        "pack": lambda: pack(options.out),
    }
    for phase in options.phases:
        if phase not in phases:
            parser.error(f"unknown phase {phase}; known: {', '.join(phases)}")
        try:
            phases[phase]()
        except InputError as error:  # nothing fits the rule: the profile's own choice stays
            print(error, flush=True)
        except Exception:  # the time is over, or a phase had nothing to work on: go on to what can still be done
            print(f"{phase}: {traceback.format_exc()}", flush=True)
        write_json(file, choice)
        print(f"{phase} done: {json.dumps(choice)}", flush=True)
    workers.stop()


if __name__ == "__main__":
    main()
