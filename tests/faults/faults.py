"""Kill a job at any of its file operations, fill its disk, damage its files; then run it again and compare.

A job is forked from this process, which has loaded everything, so that one costs no start-up. In the fork an audit hook
counts file operations below the runs folder (open for writing, rename, remove, make or remove a folder) and at the
chosen one sends SIGKILL to itself, or refuses it as a full disk would. The same job is then run again without a fault.
The grader's symbolic engine is left out: started anew in each fork, it would take most of the time.

    python tests/faults/faults.py --kills 100 --full-disks 30 --corruptions 40 --out results/tables/faults

Outcomes: `equal` (the second run ends in the results of an undisturbed one, bit for bit), `sentence` (it ends in one
sentence that names the file, and after what the sentence says it ends in those results). Anything else is a failure.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

import pandas as pd
import tiny
from tqdm import tqdm

import spurious_rewards.training.run as training
from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.config import EvalConfig
from spurious_rewards.evaluation.evaluate import evaluate
from spurious_rewards.evaluation.labels import LabelConfig, make_labels
from spurious_rewards.rewards.grader import worker_client

EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
SENTENCE, TRACE = 2, 1


def evaluation() -> Path:
    """Evaluate the organism on 12 problems in batches of 4."""
    config = EvalConfig(n_problems=12, max_new_tokens=12, batch_size=4)
    return evaluate(config, progress=False).folder


def labelling() -> Path:
    """Label 6 problems by the vote of 4 samples each."""
    config = LabelConfig(n_problems=6, n_samples=4, max_new_tokens=12, batch_size=8)
    return make_labels(config, progress=False).folder


def train() -> Path:
    """Train the organism for 2 rollout batches of 4 rollouts, with a checkpoint after each."""
    config = tiny.config(
        rollout_batches=2, prompts_per_batch=2, group_size=2, updates_per_batch=2, micro_batch=2, n_train_problems=8,
        max_completion_tokens=6, save_every_batches=1,
    )  # fmt: skip
    return training.train(config, progress=False).folder


@functools.cache
def warm() -> None:
    """Import what a job imports late and read the model once: the forks then find it done."""
    from spurious_rewards.generation.transformers_engine import TransformersEngine
    from spurious_rewards.models.registry import load

    with tempfile.TemporaryDirectory() as folder:
        training.make_trainer(tiny.config(), tiny.problems(), folder)
    TransformersEngine(*load("qwen-like"))


JOBS: dict[str, Callable[[], Path]] = {"evaluation": evaluation, "labelling": labelling, "training": train}


def results(folder: Path) -> dict[str, str]:
    """Digests of what a finished run holds, times aside."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue  # a temporary file that a killed process left; nothing reads it
        if path.suffix == ".parquet" and "/" not in name:
            frame = pd.read_parquet(path)
            kept = frame[[column for column in frame if not column.startswith("seconds_")]]
            found[name] = hashlib.sha256(kept.to_json(double_precision=15).encode()).hexdigest()
        elif path.suffix == ".safetensors":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


class Audit:
    """Counts file operations below a folder and acts at one of them."""

    def __init__(self, folder: Path, at: int | None, kind: str):
        self.folder, self.at, self.kind, self.seen = str(folder), at, kind, 0
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple) -> None:
        if event not in EVENTS or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        if not os.fsdecode(arguments[0]).startswith(self.folder):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        self.seen += 1
        if self.at is None or self.seen != self.at:
            return
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if event in ("open", "os.mkdir", "os.rename"):  # to remove something needs no space
            raise OSError(28, "No space left on device", os.fsdecode(arguments[0]))


def forked(job: Callable[[], Path], runs: Path, at: int | None = None, kind: str = "kill") -> dict:
    """Run a job in a fork with its runs below `runs`.

    Returns:
        exit: 0, 2 for a sentence, 1 for a traceback, −9 after a kill; folder and events, sentence or trace.
    """
    note = runs.parent / f"{runs.name}.json"
    note.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        code, said = 0, {}
        try:
            os.environ["SPURIOUS_RUNS_DIR"] = str(runs)
            worker_client.equal = lambda gold, prediction: (gold == prediction, "")
            worker_client.is_zero = lambda expression: (False, "")
            with open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), 1)
                os.dup2(nothing.fileno(), 2)
            audit = Audit(runs, at, kind)
            said = {"folder": str(job())}
            said["events"] = audit.seen
        except InputError as error:
            code, said = SENTENCE, {"sentence": str(error)}
        except BaseException:
            code, said = TRACE, {"trace": traceback.format_exc()}
        note.write_text(json.dumps(said))
        os._exit(code)
    _, status = os.waitpid(child, 0)
    return {"exit": os.waitstatus_to_exitcode(status), **(json.loads(note.read_text()) if note.is_file() else {})}


class Stage:
    """One job: its undisturbed results, and what disturbed ones come to."""

    def __init__(self, name: str, folder: Path):
        warm()
        self.name, self.job, self.base = name, JOBS[name], folder
        whole = forked(self.job, folder / f"{name}-whole")
        assert whole["exit"] == 0, whole
        self.whole, self.events = Path(whole["folder"]), whole["events"]
        self.expected = results(self.whole)
        assert self.expected

    def kill(self, at: int, kind: str = "kill") -> dict:
        """End the job at its n-th file operation, look at what is there, run it again."""
        runs = self.base / f"{self.name}-{kind}-{at}"
        first = forked(self.job, runs, at, kind)
        row = {"job": self.name, "fault": kind, "at": at, "of": self.events, "file": "", "first": first["exit"]}
        row["said"] = first.get("sentence", "")
        problem = ""
        if first["exit"] == TRACE:
            problem = first["trace"]
        folder = runs / self.whole.name
        if not problem and (folder / "manifest.json").is_file() and not self._as_undisturbed(folder):
            problem = "the run counts as finished, but its results differ"
        return self._again(row, runs, problem)

    def corrupt(self, file: str, how: str, seed: int, finished: bool) -> dict:
        """Damage one file of a finished run, or of one killed before its manifest, and run it again."""
        runs = self.base / f"{self.name}-{how}-{file.replace('/', '_')}-{finished}"
        shutil.copytree(self.whole.parent, runs)
        folder = runs / self.whole.name
        if not finished:
            (folder / "manifest.json").unlink()
        damage(folder / file, how, random.Random(seed))
        row = {"job": self.name, "fault": how, "at": 0, "of": self.events, "file": file, "first": 0, "said": ""}
        row["fault"] += ", finished run" if finished else ", unfinished run"
        return self._again(row, runs, "")

    def _again(self, row: dict, runs: Path, problem: str) -> dict:
        again = forked(self.job, runs)
        outcome = "equal"
        if not problem and again["exit"] == SENTENCE:
            outcome, row["said"] = "sentence", again["sentence"]
            shutil.rmtree(runs / self.whole.name, ignore_errors=True)  # what such a sentence advises
            again = forked(self.job, runs)
        if not problem and again["exit"] != 0:
            problem = again.get("trace", str(again))
        if not problem and not self._as_undisturbed(Path(again["folder"])):
            problem = "the results differ from those of an undisturbed run"
        shutil.rmtree(runs, ignore_errors=True)
        said = " ".join(row["said"].replace(str(runs), "…").split())
        return {**row, "said": said, "outcome": "failure" if problem else outcome, "problem": problem}

    def _as_undisturbed(self, folder: Path) -> bool:
        try:
            return results(folder) == self.expected
        except (OSError, ValueError):  # a file that cannot be read, of a run that counts as finished
            return False


def damage(path: Path, how: str, rng: random.Random) -> None:
    """Damage a file in place."""
    data = path.read_bytes()
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "emptied":
        path.write_bytes(b"")
    elif how == "zeros":
        path.write_bytes(bytes(len(data)))
    elif how == "other text":
        path.write_bytes(b"not what was here\n")
    elif how == "removed":
        path.unlink()
    elif how == "noise":
        path.write_bytes(rng.randbytes(len(data)))
    else:
        raise ValueError(how)


DAMAGES = ("truncated", "emptied", "zeros", "other text", "removed", "noise")


def plan(stages: list[Stage], kills: int, full: int, corruptions: int, seed: int) -> list[tuple[Stage, str, tuple]]:
    """Draw the faults: kills and full disks evenly over jobs at random operations, damages over files."""
    rng = random.Random(seed)
    work = []
    for kind, n in (("kill", kills), ("disk full", full)):
        for i in range(n):
            stage = stages[i % len(stages)]
            work.append((stage, kind, (rng.randint(1, stage.events),)))
    damages = [
        (stage, "corrupt", (str(path.relative_to(stage.whole)), how, seed, finished))
        for stage in stages
        for path in sorted(stage.whole.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
        for how in DAMAGES
        for finished in (False, True)
        if finished or path.name != "manifest.json"
    ]
    return work + rng.sample(damages, min(corruptions, len(damages)))


def run(kills: int, full: int, corruptions: int, seed: int = 0, jobs: tuple[str, ...] = tuple(JOBS)) -> pd.DataFrame:
    """Do it all; one row per fault."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        stages = [Stage(name, Path(folder)) for name in jobs]
        for stage, kind, arguments in tqdm(plan(stages, kills, full, corruptions, seed), unit="fault", mininterval=5):
            rows.append(stage.corrupt(*arguments) if kind == "corrupt" else stage.kill(*arguments, kind))
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Counts of outcomes by job and kind of fault."""
    kind = table["fault"].where(table["fault"].isin(["kill", "disk full"]), "damaged file")
    counts = table.groupby([table["job"], kind.rename("fault")])["outcome"].value_counts().unstack(fill_value=0)
    return counts.reindex(columns=["equal", "sentence", "failure"], fill_value=0).reset_index()


def main() -> None:
    """Run the faults, print the summary, write the tables; exit code 1 if there was a failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--full-disks", type=int, default=60)
    parser.add_argument("--corruptions", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--out", type=Path, help="folder for faults.csv and summary.csv")
    options = parser.parse_args()
    began = time.monotonic()
    table = run(options.kills, options.full_disks, options.corruptions, options.seed, tuple(options.jobs))
    print(summary(table).to_string(index=False))
    failures = table[table["outcome"] == "failure"]
    for row in failures.itertuples():
        print(f"{row.job}, {row.fault} at {row.at} {row.file}: {row.problem.strip().splitlines()[-1]}")
    print(f"{len(table)} faults, {len(failures)} failures, {time.monotonic() - began:.0f} s")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        table.drop(columns="problem").to_csv(options.out / "faults.csv", index=False)
        summary(table).to_csv(options.out / "summary.csv", index=False)
    sys.exit(bool(len(failures)))


if __name__ == "__main__":
    main()
