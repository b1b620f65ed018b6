"""Small jobs of every kind that `faults.py` disturbs, each in a project folder of its own.

A job works below its root: `root/runs`, `root/results`. What it comes to is compared file by file, times aside.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

import nbformat
import pandas as pd
import tiny

import spurious_rewards.training.run as training
from spurious_rewards.evaluation import study
from spurious_rewards.evaluation.config import EvalConfig
from spurious_rewards.evaluation.evaluate import evaluate
from spurious_rewards.evaluation.labels import LabelConfig, make_labels
from spurious_rewards.reporting import drawing, report
from spurious_rewards.rewards.grader import worker_client
from spurious_rewards.storage.files import write_json
from spurious_rewards.workflow.jobs import forget_outdated, identity, run_job, written
from spurious_rewards.workflow.profiles import load_profile
from spurious_rewards.workflow.reproduce import reproduce

REPOSITORY = Path(__file__).parents[2]
PROFILE = """
stages:
  base: {notebook: 03_evaluate, parameters: {n_problems: 8, n_samples: 0, max_new_tokens: 10, batch_size: 4}}
  train:
    notebook: 02_train_grpo
    grid: {seed: [0, 1]}
    parameters: {reward: random, learning_rate: 0.003, rollout_batches: 1, n_train_problems: 8, prompts_per_batch: 2,
                 group_size: 2, updates_per_batch: 2, micro_batch: 2, max_completion_tokens: 6, save_every_batches: 1}
  evaluate:
    notebook: 03_evaluate
    each: {trained: train}
    parameters: {n_problems: 8, n_samples: 0, max_new_tokens: 10, batch_size: 4}
"""
PAGE_PROFILE = "smollm-smoke"
"""The committed profile with the smallest records: the page is made from it."""
KEPT = (
    "kind", "config", "n_records", "n_updates", "summary", "label_accuracy", "digests", "completion_tokens",
    "data_hash", "model_hash", "prompt_hash", "notes", "warnings",
)  # fmt: skip
"""Keys of a manifest that are compared; the others say when and where it was computed."""


def evaluation(variant: int = 0) -> None:
    """Evaluate the organism on 12 problems in batches of 4."""
    evaluate(EvalConfig(n_problems=12, max_new_tokens=12 - variant, batch_size=4), progress=False)


def labelling(variant: int = 0) -> None:
    """Label 6 problems by the vote of 4 samples each."""
    config = LabelConfig(n_problems=6, n_samples=4, max_new_tokens=12 - variant, batch_size=8)
    make_labels(config, progress=False)


def train(variant: int = 0) -> None:
    """Train the organism for 2 rollout batches of 4 rollouts, with a checkpoint after each."""
    config = tiny.config(
        rollout_batches=2, prompts_per_batch=2, group_size=2, updates_per_batch=2, micro_batch=2, n_train_problems=8,
        max_completion_tokens=6, save_every_batches=1, seed=variant,
    )  # fmt: skip
    training.train(config, progress=False)


def run_study(variant: int = 0) -> int:
    """Train two seeds for a rollout batch, evaluate both and the untrained model: five runs of a profile."""
    return study.main(["faults", "--anew"])


def write_report(variant: int = 0) -> None:
    """Collect the study's runs and write records, tables, figures, claims and pages."""
    report.write_report("faults", Path("results").resolve())


def write_page(variant: int = 0) -> None:
    """Write tables, figures and pages again from committed records."""
    report.rebuild(Path("results").resolve())


TOY_PROFILE = """
stages:
  count: {notebook: count, parameters: {seed: 1}}
  total: {notebook: total, needs: [count], outputs: [results/total.txt]}
"""
TOY_CELLS = {
    "count": ("seed: int = 0", """
import time
import pandas as pd
from spurious_rewards.storage.files import write_parquet
from spurious_rewards.storage.runs import RunFolder
run = RunFolder.open(f"count-{seed}", {"seed": seed})
with run.lock():
    for part in range(5):
        time.sleep(0.05)
        write_parquet(run.path(f"parts/part-{part}.parquet"), pd.DataFrame({"n": [part]}))
    if not run.complete:
        tables = [pd.read_parquet(run.path(f"parts/part-{part}.parquet")) for part in range(5)]
        write_parquet(run.path("counts.parquet"), pd.concat(tables))
        run.finish()
""", "completed('count', run.run_id)"),
    "total": ("profile: str = 'toy'", """
from pathlib import Path
import pandas as pd
from spurious_rewards.storage.files import write_text
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.workflow.profiles import job_results
runs = [RunFolder.load(run_id) for result in job_results(profile) for run_id in result["run_ids"]]
for run in runs:
    run.check_files()
total = sum(pd.read_parquet(run.path("counts.parquet"))["n"].sum() for run in runs)
write_text(Path("results/total.txt"), str(int(total)))
""", "completed('total')"),
}  # fmt: skip
"""Notebooks of a pipeline: parameters, cell, and how the last cell ends."""


def run_notebooks(variant: int = 0) -> None:
    """Run the jobs of a profile that are not done, one by one: two notebooks, each with a kernel."""
    profile = load_profile("toy")
    forget_outdated(profile)
    for job in profile.jobs:
        if not job.result_file.is_file():
            run_job(job)


def run_pipeline(variant: int = 0) -> None:
    """Run the same by `make reproduce`, that is, by Snakemake."""
    reproduce("toy", 2)


def toy_project(root: Path) -> None:
    """Make a project with a profile of two small notebooks."""
    (root / "profiles").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    (root / "profiles" / "toy.yaml").write_text(TOY_PROFILE)
    (root / "notebooks").mkdir()
    for name, (parameters, cell, end) in TOY_CELLS.items():
        notebook = nbformat.v4.new_notebook()
        notebook.cells = [
            nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(cell.strip()),
            nbformat.v4.new_code_cell(f"from spurious_rewards.workflow.completion import completed\n{end}"),
        ]
        nbformat.write(notebook, root / "notebooks" / f"{name}.ipynb")


def project(root: Path) -> None:
    """Make an empty project with the profile `faults` and the notebooks of this checkout."""
    (root / "profiles").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    (root / "profiles" / "faults.yaml").write_text(PROFILE)
    (root / "notebooks").symlink_to(REPOSITORY / "notebooks")


def study_done(root: Path) -> None:
    """Make a project whose study is finished, and an earlier report from its first training alone."""
    project(root)
    here, runs = os.getcwd(), os.environ.get("SPURIOUS_RUNS_DIR")
    os.environ["SPURIOUS_RUNS_DIR"] = str(root / "runs")
    os.chdir(root)
    try:
        leave_out_slow_parts()
        assert run_study() == 0
        jobs = load_profile("faults").jobs
        for job in jobs:
            evaluations = job.notebook == study.EVALUATION
            trained = load_profile("faults").job(job.needs[-1]) if job.needs else None
            config = study.training_config(trained) if trained else None
            run_id = (
                study.evaluation_configs(job, config)[0].eval_id()
                if evaluations
                else study.training_config(job).run_id()
            )
            write_json(job.result_file, identity(job) | {"run_ids": [run_id], "files": written(job)})
        later = [job for job in jobs if "seed1" in job.name]
        texts = {job.result_file: job.result_file.read_text() for job in later}
        for file in texts:
            file.unlink()
        write_report()
        for file, text in texts.items():
            file.write_text(text)
    finally:
        os.chdir(here)
        os.environ.pop("SPURIOUS_RUNS_DIR")
        if runs is not None:
            os.environ["SPURIOUS_RUNS_DIR"] = runs


def pages_of_before(root: Path) -> None:
    """Make a project with committed records and tables of one profile, and pages of more profiles."""
    project(root)
    for kind in ("tables", "records", "manifests"):
        shutil.copytree(REPOSITORY / "results" / kind / PAGE_PROFILE, root / "results" / kind / PAGE_PROFILE)
    shutil.copytree(REPOSITORY / "results" / "site", root / "results" / "site")
    shutil.copy(REPOSITORY / "results" / "index.html", root / "results" / "index.html")


_PIPELINE = ("runs/profiles/toy/jobs/*.json", "runs/profiles/toy/notebooks/*.ipynb", "results/**/*")


@dataclass(frozen=True)
class Job:
    """A kind of job.

    Attributes:
        run: what it does, in one of two variants.
        prepare: makes the project that it begins with.
        makes_runs: whether it makes run folders, in which a manifest comes last.
        files: patterns of the other files that it makes, each whole as soon as it has its name.
        share: how many of the faults it gets; a costly one gets fewer.
        only: the kinds of fault that it gets; empty means all.
    """

    run: Callable[[int], int | None]
    prepare: Callable[[Path], None] = project
    makes_runs: bool = True
    files: tuple[str, ...] = ()
    share: float = 1.0
    only: tuple[str, ...] = ()


JOBS = {
    "evaluation": Job(evaluation),
    "labelling": Job(labelling),
    "training": Job(train, share=0.6),
    "study": Job(run_study, share=0.12),
    "report": Job(write_report, study_done, makes_runs=False, files=("results/**/*",), share=0.1),
    "page": Job(write_page, pages_of_before, makes_runs=False, files=("results/**/*",), share=0.25),
    "notebooks": Job(run_notebooks, toy_project, files=_PIPELINE, share=0.4),
    "pipeline": Job(run_pipeline, toy_project, files=_PIPELINE, share=0.3, only=("kills in time", "pairs")),
}


def leave_out_slow_parts() -> None:
    """Leave out the grader's symbolic engine and the browser: started anew in each fork, they take most of the time."""
    worker_client.equal = lambda gold, prediction: (gold == prediction, "")
    worker_client.is_zero = lambda expression: (False, "")
    drawing.browser_path = lambda: None


@functools.cache
def warm() -> None:
    """Import what a job imports late and read the model once: the forks then find it done."""
    from spurious_rewards.generation.transformers_engine import TransformersEngine
    from spurious_rewards.models.registry import load

    for name in ("nbclient.exceptions", "papermill"):
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        training.make_trainer(tiny.config(), tiny.problems(), folder)
    TransformersEngine(*load("qwen-like"))


def results(root: Path, job: Job) -> dict[str, str]:
    """Digest what counts as finished below `root`, times aside."""
    found: dict[str, str] = {}
    for manifest in sorted((root / "runs").glob("*/manifest.json")) if job.makes_runs else ():
        found |= {f"runs/{manifest.parent.name}/{name}": told for name, told in of_run(manifest.parent).items()}
    for path in sorted(path for pattern in job.files for path in root.glob(pattern)):
        if path.is_file() and not path.name.startswith(".") and not path.name.endswith(".failed.ipynb"):
            found[str(path.relative_to(root))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def of_run(folder: Path) -> dict[str, str]:
    """Digest what a finished run holds: tables without columns of times, weights, and what its manifest says."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if any(part.startswith(".") for part in Path(name).parts) or name.startswith("checkpoints/"):
            continue  # a temporary file that a killed process left, which nothing reads; or what a resume needs
        try:
            if path.suffix == ".parquet" and "/" not in name:
                frame = pd.read_parquet(path)
                kept = frame[[column for column in frame if not column.startswith("seconds_")]]
                found[name] = hashlib.sha256(kept.to_json(double_precision=15).encode()).hexdigest()
            elif path.suffix == ".safetensors":
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
            elif name == "manifest.json":
                said = {key: value for key, value in json.loads(path.read_text()).items() if key in KEPT}
                found[name] = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
        except (OSError, ValueError):  # a file that cannot be read, of a run that counts as finished
            found[name] = "unreadable"
    return found
