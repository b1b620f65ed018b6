"""Run the experiments on the clip alone: a bandit, its map, the paired counterfactual, the dose–response.

Usage: `python -m spurious_rewards.mechanism COMMAND --help`; COMMAND is bandit, map, counterfactual, dose, decision or
questions.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

from spurious_rewards.command_line import exit_code
from spurious_rewards.errors import InputError, unknown_name
from spurious_rewards.mechanism.config import BanditConfig

COMMANDS = {
    "bandit": ("one bandit experiment, as a JSON line", "bandit"),
    "map": ("the bandit map: tables bandit_map and bandit_bins", "sweeps"),
    "counterfactual": ("the paired counterfactual of language models", "counterfactual"),
    "dose": ("the dose–response over code priors", "dose_response"),
    "decision": ("over how many tokens models choose their strategy: table decision", "decision"),
    "questions": ("what the tables below --out say on each question: table questions", "questions"),
}
"""Command: (what it makes, module whose docstring has the details)."""
DOSE_PARTS = ("runs", "pairs")


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    top = argparse.ArgumentParser(prog="python -m spurious_rewards.mechanism", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    made = {name: commands.add_parser(name, help=text) for name, (text, _) in COMMANDS.items()}
    for name, (_, module) in COMMANDS.items():
        made[name].epilog = f"Details: python -m pydoc spurious_rewards.mechanism.{module}"
    hints = get_type_hints(BanditConfig)
    for field in fields(BanditConfig):
        flag = "--" + field.name.replace("_", "-")
        if hints[field.name] is bool:
            made["bandit"].add_argument(flag, action="store_true")
        else:
            kind, default = hints[field.name], field.default
            made["bandit"].add_argument(flag, type=kind, default=default, help=f"default {default}")
    made["map"].add_argument("--size", default="notebook", help="notebook (default) or committed")
    made["map"].add_argument("--out", default="results", help="folder that gets tables/ and manifests/")
    made["map"].add_argument("--only-bins", action="store_true", help="only the clip fractions by π_old")
    paired = made["counterfactual"]
    paired.add_argument("--size", default="notebook", help="notebook (default), antithetic, one-sign or tiny")
    paired.add_argument("--model", default="", help="models of the registry or folders, joined by commas")
    paired.add_argument("--prompt-style", default="", help="default: organism for organisms, else simplerl")
    paired.add_argument("--settings", default="", help="only settings that begin so, e.g. sgd or 'adamw 0.001,sgd 1'")
    paired.add_argument("--max-pairs", type=int, default=0, help="end a setting at this many pairs")
    paired.add_argument("--out", default="", help="folder that gets tables/, records/ and manifests/")
    made["dose"].add_argument("--models", default="", help="only these organisms, joined by commas")
    made["dose"].add_argument("--part", default="", help="runs or pairs (default: both)")
    made["dose"].add_argument("--out", default="", help="folder that gets tables/, records/ and manifests/")
    made["dose"].add_argument("--tables-only", action="store_true", help="only the tables, from the records in --out")
    made["decision"].add_argument("--models", default="", help="registry names or folders, joined by commas")
    for name in ("decision", "questions"):
        made[name].add_argument("--out", default="results", help="folder that has or gets tables/ (default results)")
    return top


def bandit(options: argparse.Namespace) -> None:
    """Run one experiment and print its summary as one JSON line."""
    from spurious_rewards.mechanism.bandit import simulate
    from spurious_rewards.mechanism.summary import summary

    config = BanditConfig(**{field.name: getattr(options, field.name) for field in fields(BanditConfig)})
    result = simulate(config)
    print(json.dumps({**config.to_dict(), **summary(result.per_seed), "seconds": round(result.seconds, 3)}))


def bandit_map(options: argparse.Namespace) -> None:
    """Compute or finish a map and write its tables and manifests."""
    from spurious_rewards.mechanism import sweeps

    if options.size not in sweeps.SIZES:
        raise unknown_name("size", options.size, sweeps.SIZES)
    if not options.only_bins:
        table, _, run = sweeps.run_map(options.size, sweeps.SWEEPS)
        sweeps.write_table("bandit_map", table, run, options.size, options.out)
    table, bins, run = sweeps.run_map(options.size, ["base"])
    sweeps.write_table("bandit_bins", bins, run, options.size, options.out)
    print(f"{len(table)} cells of {sweeps.SIZES[options.size]['seeds']} seeds -> {options.out}/tables/mechanism")


def counterfactual(options: argparse.Namespace) -> None:
    """Compute or find settings of the paired counterfactual, and write the results."""
    from spurious_rewards.mechanism import counterfactual as experiment
    from spurious_rewards.mechanism.counterfactual_config import configs

    name = "counterfactual" if options.size == "one-sign" else options.size
    folders = []
    wanted = (options.size, options.settings, options.model, options.prompt_style, options.max_pairs)
    for config in configs(*wanted):
        folders.append(experiment.run(config))
        n_pairs = folders[-1].manifest()["n_pairs"]
        print(f"{config.model} {config.setting()}: {n_pairs} pairs in {folders[-1].folder}", flush=True)
    if options.out:
        found = experiment.Records.of(folders)
        if (Path(options.out) / "manifests" / "mechanism" / f"{name}.json").is_file():
            found = found.joined(experiment.Records.committed(name, options.out))
        table = experiment.write_results(name, found, options.out)
        print(f"{len(table)} rows -> {options.out}/tables/mechanism/{name}.csv")


def dose(options: argparse.Namespace) -> None:
    """Compute or find everything of the dose–response, and write the results."""
    from spurious_rewards.mechanism import dose_response
    from spurious_rewards.mechanism.dose_config import DoseConfig
    from spurious_rewards.models.registry import resolve

    config = DoseConfig()
    if options.part and options.part not in DOSE_PARTS:
        raise unknown_name("part", options.part, DOSE_PARTS)
    if options.out and options.models:
        raise InputError("--out writes the table of all organisms; leave --models out.")
    if options.tables_only:
        if not options.out:
            raise InputError("--tables-only needs --out, the folder with the records.")
        dose_response.rewrite_tables(options.out)
        return
    for name in config.names(options.models):
        resolve(name).folder()  # raises if it has not been built
    if options.part != "runs":
        folders = dose_response.run_pairs(config, options.models)
        if options.out:
            dose_response.write_pairs(config, folders, options.out)
    if options.part != "pairs":
        rows, folders = dose_response.run_rows(config, options.models)
        if options.out:
            dose_response.write_runs(config, rows, folders, options.out)


def decision(options: argparse.Namespace) -> None:
    """Measure where models decide on their strategy and write the table with its manifest."""
    from spurious_rewards.mechanism.decision import MODELS, decision_table
    from spurious_rewards.storage.files import sha256_file, write_json, write_text
    from spurious_rewards.storage.provenance import provenance

    out = Path(options.out)
    path = out / "tables" / "mechanism" / "decision.csv"
    table = decision_table(options.models.split(",") if options.models else MODELS)
    write_text(path, table.to_csv(index=False, float_format="%.6g"))
    facts = {"kind": "decision", **provenance(), "tables": {path.name: sha256_file(path)}}
    write_json(out / "manifests" / "mechanism" / "decision.json", facts)
    print(table.round(3).to_string(index=False))


def questions(options: argparse.Namespace) -> None:
    """Write the table of questions and what the tables that are there say on them."""
    import pandas as pd

    from spurious_rewards.mechanism.questions import questions_table
    from spurious_rewards.storage.files import write_text

    folder = Path(options.out) / "tables" / "mechanism"
    tables = {path.stem: pd.read_csv(path) for path in sorted(folder.glob("*.csv"))}
    table = questions_table(tables)
    write_text(folder / "questions.csv", table.to_csv(index=False, float_format="%.6g"))
    print(f"{len(table)} rows -> {folder / 'questions.csv'}")


PROGRAMS = {
    "bandit": bandit,
    "map": bandit_map,
    "counterfactual": counterfactual,
    "dose": dose,
    "decision": decision,
    "questions": questions,
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code (2 on bad input, with one sentence on stderr)."""
    options = parser().parse_args(arguments)

    def program() -> None:
        importlib.import_module("torch").set_num_threads(1)
        PROGRAMS[options.command](options)

    return exit_code(program)


if __name__ == "__main__":
    sys.exit(main())
