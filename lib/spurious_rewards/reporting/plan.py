"""Plan a profile before anything runs: GPUs, memory, disk, tokens, hours and cost of every run, in order of execution.

Formulas and assumptions stand in `training.footprint`. On GPUs the times are estimates that nobody here has measured;
take them as right within a third. With a budget, jobs are kept in the order in which they tell most: the untrained
model first, then seed 0 of each arm in the profile's order with its evaluations, then further seeds.

Usage: python -m spurious_rewards.reporting.plan paper [--card a100] [--price 2.5] [--budget 100]     # or: make plan
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spurious_rewards.command_line import command
from spurious_rewards.data.problem_sets import load_problems
from spurious_rewards.data.specs import SOURCES
from spurious_rewards.errors import InputError, check_name
from spurious_rewards.models.prompts import PROMPT_STYLES
from spurious_rewards.models.shape import Shape, shape_of
from spurious_rewards.storage.files import read_text
from spurious_rewards.storage.yaml_text import read_mapping
from spurious_rewards.training import footprint
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.footprint import CARDS, MEAN_SHARE, Card, generation_seconds
from spurious_rewards.training.launch import hardware_files
from spurious_rewards.workflow.parameters import notebook_parameters
from spurious_rewards.workflow.profiles import Profile, load_profile, notebook_path
from spurious_rewards.workflow.stages import Job

PRICE = 2.5
"""US dollars per GPU and hour: an assumption, near what clouds asked for an H100 in 2025 and 2026."""
START_HOURS = 0.05
"""Per GPU job: loading the model and compiling vLLM's graphs, three minutes (an assumption)."""


@dataclass(frozen=True)
class Entry:
    """Hold what one job takes; memory per GPU, or of the process where there is none, in 10^9 bytes."""

    job: Job
    gpus: int
    memory_gb: float
    disk_gb: float
    tokens: float  # generated
    hours: float
    writing_gb: float = 0.0  # disk of one checkpoint while it is written
    memory: str = ""  # what the memory is made of

    @property
    def gpu_hours(self) -> float:
        """Return GPUs × hours."""
        return self.gpus * self.hours


def plan(profile: Profile, card: Card) -> list[Entry]:
    """Compute the entry of every job, in the order in which they run."""
    return [_entry(job, profile, card) for job in profile.jobs]


def within_budget(entries: Sequence[Entry], gpu_hours: float) -> list[Entry]:
    """Keep the most informative jobs that fit into `gpu_hours`, with all jobs that they need.

    Seed 0 comes before seed 1, and within a seed the profile's order holds. Jobs that follow from all runs (the
    report) take no GPU and stay.
    """
    by_name = {entry.job.name: entry for entry in entries}

    def with_needs(entry: Entry, found: dict[str, Entry]) -> dict[str, Entry]:
        for name in entry.job.needs:
            if by_name[name].gpus:
                with_needs(by_name[name], found)
        found[entry.job.name] = entry
        return found

    def seed(entry: Entry) -> int:
        return max((int(one.job.parameters.get("seed", 0)) for one in with_needs(entry, {}).values()), default=0)

    collects_all = [entry for entry in entries if entry.gpus and len(entry.job.needs) > 10]
    order = sorted((entry for entry in entries if entry.gpus and entry not in collects_all), key=seed)
    kept: dict[str, Entry] = {entry.job.name: entry for entry in entries if not entry.gpus}
    used = 0.0
    for entry in [*order, *collects_all]:
        wanted = {name: one for name, one in with_needs(entry, {}).items() if name not in kept}
        cost = sum(one.gpu_hours for one in wanted.values())
        if entry not in collects_all and used + cost <= gpu_hours:
            kept |= wanted
            used += cost
        elif entry in collects_all and used + entry.gpu_hours <= gpu_hours:
            kept[entry.job.name] = entry
            used += entry.gpu_hours
    return [entry for entry in entries if entry.job.name in kept]


def table(entries: Sequence[Entry], price: float, card_name: str) -> str:
    """Write the plan as text: one line per job, then the sums of each stage and of all."""
    width = max(len(entry.job.name) for entry in entries)
    head = f"{'job':<{width}}  GPUs  memory GB  disk GB  Mtokens    hours  GPU-hours      USD"
    lines = [head, "-" * len(head), *(_line(entry.job.name, [entry], price, width) for entry in entries)]
    stages = list(dict.fromkeys(entry.job.stage for entry in entries))
    lines += ["-" * len(head)]
    for stage in stages:
        lines.append(_line(f"stage {stage}", [e for e in entries if e.job.stage == stage], price, width))
    lines.append(_line("all", entries, price, width))
    for stage in stages:
        largest = max((e for e in entries if e.job.stage == stage), key=lambda entry: entry.memory_gb)
        if largest.memory:
            lines.append(f"Memory of stage {stage}: {largest.memory}.")
    if (newest := max((entry.writing_gb for entry in entries), default=0.0)) >= 1:
        lines.append(f"While a run saves it takes up to {newest:.0f} GB more disk.")
    if sum(entry.gpu_hours for entry in entries):
        lines.append(
            f"Estimated for {card_name}; memory is per GPU, with the largest of a stage in its line; "
            f"{price:g} USD per GPU-hour is an assumption. Jobs of one GPU run side by side where there are several."
        )
    return "\n".join(lines)


def _line(name: str, entries: Sequence[Entry], price: float, width: int) -> str:
    gpu_hours = sum(entry.gpu_hours for entry in entries)
    return (
        f"{name:<{width}}  {max(e.gpus for e in entries):>4}  {max(e.memory_gb for e in entries):>9.1f}"
        f"  {sum(e.disk_gb for e in entries):>7.1f}  {sum(e.tokens for e in entries) / 1e6:>7.1f}"
        f"  {sum(e.hours for e in entries):>7.2f}  {gpu_hours:>9.1f}  {gpu_hours * price:>7.0f}"
    )


def _entry(job: Job, profile: Profile, card: Card) -> Entry:
    values = notebook_parameters(notebook_path(job.notebook)) | job.parameters
    gpus = job.resources["gpus"]
    on = card if gpus else None
    start = START_HOURS if gpus else 0.0
    if job.config.endswith(".RunConfig"):
        config = RunConfig.from_namespace(values, values.get("options", ""))
        processes = max(_processes(values["hardware"]), 1)
        parts = footprint.memory_gb(config, processes, on, 0 if gpus else 64)
        memory = sum(parts.values())
        sizes = " + ".join(f"{name} {size:.1f}" for name, size in parts.items() if size)
        made_of = f"update {sizes} = {memory:.1f}"
        if on and config.engine == "vllm_colocate":
            engine = config.vllm_gpu_memory * on.memory_gb
            while_generating = footprint.generation_gb(config, processes, on)
            weights = _weights_gb(config.model)
            made_of += f"; generation {while_generating:.1f}, of it vLLM {engine:.1f} with weights {weights:.1f}"
            made_of += f" and keys and values at most {max(engine - weights, 0):.1f}"
            memory = max(memory, while_generating)
        tokens = config.rollout_batches * config.prompts_per_batch * config.group_size
        tokens *= MEAN_SHARE * config.max_completion_tokens
        hours = start + footprint.seconds(config, processes, on) / 3600
        writing = 16 * shape_of(config.model).parameters / 1e9
        return Entry(job, gpus, memory, footprint.disk_gb(config), tokens, hours, writing, f"{made_of} GB")
    shape, answers, longest = _generation(job, values, profile)
    if not answers:
        return Entry(job, gpus, 0.0, 0.0, 0.0, job.resources["minutes"] / 60)
    mean = MEAN_SHARE * longest
    if on:
        hours = start + generation_seconds(shape, on, answers, mean, longest) / 3600
        memory = 0.9 * on.memory_gb  # vLLM takes what it is given; what the weights leave holds keys and values
    else:  # as the profile's author measured it: decoding on a CPU waits for memory, in ways that differ
        hours, memory = job.resources["minutes"] / 60, job.resources["memory_mb"] / 1000
    return Entry(job, gpus, memory, answers * mean * 5e-9, answers * mean, hours)


def _weights_gb(model: str) -> float:
    """Return the weights of a model in bf16, in 10^9 bytes."""
    return 2 * shape_of(model).parameters / 1e9


def _processes(hardware: str) -> int:
    """Return the processes that a training starts: those of accelerate's file, 1 in the notebook itself."""
    if not hardware:
        return 1
    return int(read_mapping(read_text(hardware_files()[hardware]), hardware)["num_processes"])


def _generation(job: Job, values: dict[str, Any], profile: Profile) -> tuple[Shape, float, int]:
    """Shape of the model, number of answers and longest answer of a job that only generates; 0 answers for none."""
    if "benchmark" in values:
        trained = str(values["trained"]).partition("/")[2]
        model = profile.job(trained).parameters["model"] if trained else values["model"]
        rows = values["n_problems"] or _n_problems(values["benchmark"])
        styles = len(PROMPT_STYLES) if values["prompt_style"] == "all" else len(str(values["prompt_style"]).split(","))
        return shape_of(model), rows * styles * (1 + values["n_samples"]), values["max_new_tokens"]
    if "label_problems" in values:
        answers = values["label_problems"] * values["label_samples"]
        return shape_of(values["label_model"]), answers, values["label_max_new_tokens"]
    if "probe_problems" in values:
        sets = len(str(values["probe_benchmarks"]).split(","))
        answers = 3 * values["probe_problems"] * sets  # three lengths of the beginning
        return shape_of(values["probe_model"]), answers, values["probe_max_new_tokens"]
    return shape_of("qwen-like"), 0, 0


def _n_problems(name: str) -> int:
    """Return the problems of a whole problem set; only the user's own files and the synthetic task are read for it."""
    return SOURCES[name].n_rows if name in SOURCES else len(load_problems(name))


def print_plan(profile: str, /, card: str = "h100", price: float = PRICE, budget: float = 0.0) -> None:
    """Print the plan of a profile.

    Args:
        profile: its name.
        card: GPU; an unknown name lists them.
        price: US dollars per GPU and hour.
        budget: GPU-hours; jobs are kept as long as they fit, and 0 keeps everything.
    """
    check_name("card", card, CARDS)
    if budget < 0 or price < 0:
        raise InputError("--budget and --price must not be negative.")
    entries = plan(load_profile(profile), CARDS[card])
    kept = within_budget(entries, budget) if budget else entries
    print(table(kept, price, card))
    too_big = [e.job.name for e in kept if e.gpus and e.memory_gb > CARDS[card].memory_gb]
    if too_big:
        print(f"Does not fit into {CARDS[card].memory_gb:g} GB: {', '.join(too_big)}.")
    left = [entry.job.name for entry in entries if entry not in kept]
    if left:
        print(f"Left out to stay within {budget:g} GPU-hours: {', '.join(left)}.")


main = command(print_plan)


if __name__ == "__main__":
    sys.exit(main())
