"""Run the experiments on the clip alone: a bandit, its map, the paired counterfactual, the dose–response.

Usage: `python -m spurious_rewards.mechanism COMMAND --help`; COMMAND is bandit, map, counterfactual, dose, decision or
questions. Details: `python -m pydoc spurious_rewards.mechanism.MODULE`, with MODULE bandit, sweeps, counterfactual,
dose_response, decision or questions.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

from spurious_rewards.command_line import command
from spurious_rewards.errors import InputError, check_name, unknown_name
from spurious_rewards.mechanism.config import BanditConfig

DOSE_PARTS = ("runs", "pairs")


def bandit(**fields: Any) -> None:
    """Run one bandit experiment and print its summary as one JSON line."""
    from spurious_rewards.mechanism.bandit import simulate
    from spurious_rewards.mechanism.summary import summary

    config = BanditConfig(**fields)
    result = simulate(config)
    print(json.dumps({**config.to_dict(), **summary(result.per_seed), "seconds": round(result.seconds, 3)}))


bandit.__signature__ = inspect.signature(BanditConfig)  # pyright: ignore[reportFunctionMemberAccess]


def bandit_map(size: str = "notebook", out: str = "results", only_bins: bool = False) -> None:
    """Compute or finish a bandit map and write its tables, bandit_map and bandit_bins, and manifests.

    Args:
        size: notebook or committed.
        out: folder that gets tables/ and manifests/.
        only_bins: only the clip fractions by π_old.
    """
    from spurious_rewards.mechanism import sweeps

    check_name("size", size, sweeps.SIZES)
    if not only_bins:
        table, _, run = sweeps.run_map(size, sweeps.SWEEPS)
        sweeps.write_table("bandit_map", table, run, size, out)
    table, bins, run = sweeps.run_map(size, ["base"])
    sweeps.write_table("bandit_bins", bins, run, size, out)
    print(f"{len(table)} cells of {sweeps.SIZES[size]['seeds']} seeds -> {out}/tables/mechanism")


def counterfactual(
    size: str = "notebook",
    model: str = "",
    prompt_style: str = "",
    settings: str = "",
    max_pairs: int = 0,
    out: str = "",
) -> None:
    """Compute or find settings of the paired counterfactual of language models, and write the results.

    Args:
        size: notebook, antithetic, one-sign, smollm2, smollm2-bf16 or tiny.
        model: registry names or folders, joined by commas.
        prompt_style: without one the size's, else organism for organisms and simplerl for others.
        settings: only those that begin so, as in sgd or 'adamw 0.001,sgd 1'.
        max_pairs: end a setting at this many pairs.
        out: folder that gets tables/, records/ and manifests/.
    """
    from spurious_rewards.mechanism import counterfactual as experiment
    from spurious_rewards.mechanism.counterfactual_config import TABLES, configs

    name = TABLES.get(size, size)
    folders = []
    for config in configs(size, settings, model, prompt_style, max_pairs):
        folders.append(experiment.run(config))
        n_pairs = folders[-1].manifest()["n_pairs"]
        print(f"{config.model} {config.setting()}: {n_pairs} pairs in {folders[-1].folder}", flush=True)
    if out:
        found = experiment.PairRecords.of(folders)
        if (Path(out) / "manifests" / "mechanism" / f"{name}.json").is_file():
            found = found.joined(experiment.PairRecords.committed(name, out))
        table = experiment.write_results(name, found, out)
        print(f"{len(table)} rows -> {out}/tables/mechanism/{name}.csv")


def dose(models: str = "", part: str = "", out: str = "", tables_only: bool = False) -> None:
    """Compute or find everything of the dose–response over code priors, and write the results.

    Args:
        models: only these organisms, joined by commas.
        part: runs or pairs; without one, both.
        out: folder that gets tables/, records/ and manifests/.
        tables_only: only the tables, from the records in --out.
    """
    from spurious_rewards.mechanism import dose_response
    from spurious_rewards.mechanism.dose_config import DoseConfig
    from spurious_rewards.models.registry import resolve

    config = DoseConfig()
    if part and part not in DOSE_PARTS:
        raise unknown_name("part", part, DOSE_PARTS)
    if out and models:
        raise InputError("--out writes the table of all organisms; leave --models out.")
    if tables_only:
        if not out:
            raise InputError("--tables-only needs --out, the folder with the records.")
        dose_response.rewrite_tables(out)
        return
    for name in config.names(models):
        resolve(name).folder()  # raises if it has not been built
    if part != "runs":
        folders = dose_response.run_pairs(config, models)
        if out:
            dose_response.write_pairs(config, folders, out)
    if part != "pairs":
        rows, folders = dose_response.run_rows(config, models)
        if out:
            dose_response.write_runs(config, rows, folders, out)


def decision(models: str = "", out: Path = Path("results")) -> None:
    """Measure over how many tokens models choose their strategy, and write the table with its manifest.

    Args:
        models: registry names or folders, joined by commas.
        out: folder that gets tables/ and manifests/.
    """
    from spurious_rewards.mechanism.decision import MODELS, decision_table
    from spurious_rewards.storage.files import csv_text, sha256_file, write_json, write_text
    from spurious_rewards.storage.provenance import provenance

    path = out / "tables" / "mechanism" / "decision.csv"
    table = decision_table(models.split(",") if models else MODELS)
    write_text(path, csv_text(table))
    facts = {"kind": "decision", **provenance(), "tables": {path.name: sha256_file(path)}}
    write_json(out / "manifests" / "mechanism" / "decision.json", facts)
    print(table.round(3).to_string(index=False))


def questions(out: Path = Path("results")) -> None:
    """Write the table of questions, and what the tables below --out say on each.

    Args:
        out: folder that has tables/.
    """
    import pandas as pd

    from spurious_rewards.mechanism.questions import questions_table
    from spurious_rewards.storage.files import csv_text, write_text

    folder = out / "tables" / "mechanism"
    tables = {path.stem: pd.read_csv(path) for path in sorted(folder.glob("*.csv"))}
    table = questions_table(tables)
    write_text(folder / "questions.csv", csv_text(table))
    print(f"{len(table)} rows -> {folder / 'questions.csv'}")


def one_thread() -> None:
    """Run the experiments on the clip alone."""
    importlib.import_module("torch").set_num_threads(1)


main = command(
    one_thread, bandit=bandit, map=bandit_map, counterfactual=counterfactual, dose=dose, decision=decision,
    questions=questions,
)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
