"""Kill jobs, fill their disk, damage their files; then run them again and compare with undisturbed ones.

    python tests/faults/faults.py --out results/tables/faults        # all: `make test-faults`
    python tests/faults/faults.py --quick                            # a fixed tenth of it, for CI

Kinds of fault:
    kill             SIGKILL at one of the job's file operations, drawn at random, each at most once
    kill in time     SIGKILL after a random share of its time, also inside native code; earlier if it was done by then
    disk full        a file operation is refused for want of space
    small disk       the job's folder lies on a file system that is too small (as root on Linux)
    not a number     a weight becomes NaN before an update
    two at once      the same job is started twice, in one folder
    truncated, emptied, zeros, noise, other text, removed, exchanged     one file is damaged
Rows of `pipeline.py` (notebooks, kernels, pipelines), `hub.py` (a server that misbehaves) and `boxes.py` (answers of
10^5 characters) stand in the same table.

Outcomes: `equal` (the second run ends in the results of an undisturbed one, bit for bit), `sentence` (a sentence names
what is wrong and what to do, and after that the results are equal). Anything else is a failure.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import boxes
import hub
import jobs
import pandas as pd
from fork import KILLED, SENTENCE, TRACE, Fork, forked
from jobs import JOBS
from tqdm import tqdm

from spurious_rewards.storage.files import read_json, write_json, write_text
from spurious_rewards.storage.provenance import provenance

DAMAGES = ("truncated", "emptied", "zeros", "noise", "other text", "removed", "exchanged")
COLUMNS = ("part", "job", "fault", "where", "ended", "there", "said", "equal", "outcome", "problem")
MOST_WORDS = 60
"""Longest sentence."""

Row = dict[str, str]


class Stage:
    """One kind of job: its undisturbed results, and what disturbed ones come to."""

    def __init__(self, name: str, folder: Path):
        jobs.warm()
        self.name, self.kind, self.base, self.n = name, JOBS[name], folder, 0
        self.start = folder / f"{name}-start"
        self.kind.prepare(self.start)
        self.before = self._results(self.start)
        self.whole = self._fresh()
        done = forked(self._job(), self.whole, before=jobs.leave_out_slow_parts)
        assert done["exit"] == 0, done
        self.events, self.seconds = done["events"], done["seconds"]
        self.expected = self._results(self.whole)
        assert self.expected and self.expected != self.before
        self.others = [self.whole, self.start]
        if name in ("evaluation", "labelling", "training"):
            other = self._fresh()
            assert forked(self._job(1), other, before=jobs.leave_out_slow_parts)["exit"] == 0
            self.others.append(other)

    def _job(self, variant: int = 0) -> Callable[[], int | None]:
        return lambda: self.kind.run(variant)

    def _results(self, root: Path) -> dict[str, str]:
        return jobs.results(root, self.kind)

    def _fresh(self, source: Path | None = None) -> Path:
        self.n += 1
        root = self.base / f"{self.name}-{self.n}"
        shutil.copytree(source or self.start, root, symlinks=True)
        return root

    def kill(self, at: int) -> Row:
        """Kill the job at its n-th file operation."""
        root = self._fresh()
        first = forked(self._job(), root, at=at, before=jobs.leave_out_slow_parts)
        return self._again(self._row("kill", f"{first['where']} of {self.events}", first, root), root)

    def kill_in_time(self, share: float) -> Row:
        """Kill the job after a share of the time that an undisturbed one took."""
        while True:
            root = self._fresh()
            process = Fork(self._job(), root, before=jobs.leave_out_slow_parts)
            time.sleep(share * self.seconds)
            process.kill()
            first = process.wait()
            if first["exit"] != 0:
                break
            self.seconds *= share  # done by then: other processes took time from the first run
            shutil.rmtree(root)
        where = f"{share:.4f} of {self.seconds:.2f} s"
        return self._again(self._row("kill in time", where, first, root), root)

    def disk_full(self, at: int) -> Row:
        """Refuse the n-th file operation as a full disk does."""
        root = self._fresh()
        first = forked(self._job(), root, at=at, refuse=True, before=jobs.leave_out_slow_parts)
        return self._again(self._row("disk full", f"{first['where']} of {self.events}", first, root), root)

    def small_disk(self, share: float) -> Row:
        """Run the job on a file system that has a share of the space that it needs, then enlarge it."""
        root = self.base / f"{self.name}-disk"
        root.mkdir(exist_ok=True)
        start, need = _size(self.start), _size(self.whole)
        with mounted(root, start + int(share * max(need - start, 4096 * len(self.expected)))) as enlarge:
            for source in self.start.iterdir():
                if source.is_dir() and not source.is_symlink():
                    shutil.copytree(source, root / source.name, symlinks=True)
                else:
                    shutil.copy(source, root / source.name, follow_symlinks=False)
            first = forked(self._job(), root, before=jobs.leave_out_slow_parts)
            row = self._row("small disk", f"{share:.2f} of the space", first, root)
            enlarge()
            return self._again(row, root)

    def kernel_killed(self, share: float) -> Row:
        """Kill the kernel of the first notebook, after a share of a second."""
        root = self._fresh()
        process = Fork(self._job(), root, before=jobs.leave_out_slow_parts)
        while not (kernels := [pid for pid, command in running_in(root) if "ipykernel_launcher" in command]):
            time.sleep(0.01)
        time.sleep(2 * share)
        for pid in kernels:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        first = process.wait()
        row = self._row("kernel killed", f"{2 * share:.2f} s after its start", first, root)
        if first["exit"] == SENTENCE and "kernel of" not in first["sentence"]:
            row["problem"] = f"another sentence than that of a dead kernel: {first['sentence']}"
        return self._again(row, root)

    def not_a_number(self, at: int) -> Row:
        """Make a weight of the policy NaN before an update."""

        def before() -> None:
            from spurious_rewards.training.callbacks import RunCallback

            def spoil(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step == at:
                    next(self.trainer.model.parameters()).data[0, 0] = float("nan")

            RunCallback.on_optimizer_step = spoil
            jobs.leave_out_slow_parts()

        root = self._fresh()
        first = forked(self._job(), root, before=before)
        row = self._row("not a number", f"weight after update {at}", first, root)
        if first["exit"] != SENTENCE or "diverged" not in first["sentence"]:
            row["problem"] = f"no sentence on the divergence, but {first}"
        return self._again(row, root)

    def two_at_once(self) -> Row:
        """Start the job twice in one folder."""
        root = self._fresh()
        second_note = root.parent / f"{root.name}-second"
        second_note.symlink_to(root)
        both = [Fork(self._job(), path, before=jobs.leave_out_slow_parts) for path in (root, second_note)]
        ends = [process.wait() for process in both]
        second_note.unlink()
        first = min(ends, key=lambda end: end["exit"])
        row = self._row("two at once", "", first, root)
        row["said"] = next((_plain(end["sentence"], root) for end in ends if "sentence" in end), "")
        if first["exit"] != 0 or any(end["exit"] not in (0, SENTENCE) for end in ends):
            row["problem"] = f"the two ended with {ends}"
        if row["said"] and "is in use by" not in row["said"]:
            row["problem"] = f"another sentence than that of a lock: {row['said']}"
        return self._again(row, root)

    def corrupt(self, source: Path, state: str, file: str, how: str, seed: int) -> Row:
        """Damage one file of a project and run the job there.

        Args:
            source: a project: finished, or one whose job was killed.
            state: which, in words.
            file: path below it.
            how: one of `DAMAGES`.
            seed: of the noise.
        """
        root = self._fresh(source)
        damage(root / file, how, random.Random(seed), self._partner(source, file))
        row = dict.fromkeys(COLUMNS, "") | {"job": self.name, "fault": how, "where": f"{file} of {state}"}
        return self._again(row, root, damaged=file, pristine=source)

    def _partner(self, source: Path, file: str) -> Path | None:
        """Find another file of the same name, else of the same kind, with other content."""
        own = source / file
        same_kind = [
            path
            for other in self.others
            for path in sorted(other.rglob(f"*{own.suffix}"))
            if path.is_file() and path.suffix == own.suffix and path.read_bytes() != own.read_bytes()
        ]
        same_name = [path for path in same_kind if path.name == own.name]
        return next(iter(same_name or same_kind), None)

    def killed_late(self, share: float) -> Path:
        """Return a project whose job was killed late, with parts or checkpoints in it."""
        root = self._fresh()
        forked(self._job(), root, at=max(1, round(share * self.events)), before=jobs.leave_out_slow_parts)
        return root

    def _row(self, fault: str, where: str, first: dict[str, Any], root: Path) -> Row:
        ended = {0: "done", SENTENCE: "sentence", TRACE: "traceback", KILLED: "killed"}
        row = dict.fromkeys(COLUMNS, "") | {"job": self.name, "fault": fault, "where": _plain(where, root)}
        row |= {"ended": ended.get(first["exit"], str(first["exit"])), "there": self._there(root)}
        row["said"] = _plain(first.get("sentence", ""), root)
        if first["exit"] == TRACE:
            row["problem"] = _plain(first["trace"], root)
        if wrong := self._half_written(root):
            row["problem"] = f"counts as finished, but is not: {wrong}"
        return row

    def _there(self, root: Path) -> str:
        """Say what the job has left: how many finished files, and how many of which kind beside them."""
        files = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
        new = [path for path in files if not (self.start / path).exists() and path.suffix != ".lock"]
        hidden = [path for path in new if any(part.startswith(".") for part in path.parts)]
        finished = self._results(root)
        done = sum(self.expected.get(name) == digest != self.before.get(name) for name, digest in finished.items())
        parts = len([path for path in new if path.parent.name == "parts"])
        sealed = len([path for path in new if path.name == "complete.json"])
        told = f"{done} of {len(self.expected)} finished files"
        told += f", {parts} parts" if parts else ""
        told += f", {sealed} checkpoints" if sealed else ""
        return told + (f", {len(hidden)} temporary files" if hidden else "")

    def _half_written(self, root: Path) -> str:
        """Name a file that counts as finished and is neither an undisturbed job's nor that of before."""
        for name, digest in self._results(root).items():
            if digest not in (self.expected.get(name), self.before.get(name)):
                return name
        return ""

    def _again(self, row: Row, root: Path, damaged: str = "", pristine: Path | None = None) -> Row:
        """Run the job again without a fault, do what a sentence advises, and compare."""
        outcome, problem = "equal", row["problem"]
        again = {"exit": 0}
        if left := settled(root):
            problem = problem or f"processes run on: {left}"
        for attempt in range(3):
            if problem:
                break
            again = forked(self._job(), root, before=jobs.leave_out_slow_parts)
            if again["exit"] == 0:
                break
            if again["exit"] != SENTENCE:
                problem = again.get("trace") or str(again)
            elif attempt == 2:
                problem = f"what the sentence advises does not help: {again['sentence']}"
            else:
                outcome, row["said"] = "sentence", _plain(again["sentence"], root)
                problem = self._follow(again["sentence"], root, damaged, pristine)
        problem = problem or self._unclear(row["said"])
        equal = self._results(root) == self.expected
        if not problem and not equal:
            problem = "the results differ from those of an undisturbed run"
        shutil.rmtree(root, ignore_errors=True)
        row |= {"equal": "yes" if equal else "no", "problem": problem}
        return {**row, "outcome": "failure" if problem else outcome}

    def _follow(self, sentence: str, root: Path, damaged: str, pristine: Path | None) -> str:
        """Do what a sentence advises; return what is wrong with it, or nothing."""
        advice = re.search(r"(?:delete|move)(?: the folder| that folder)? ?(/\S+)?", sentence)
        named = [Path(text.rstrip(".,:;)")) for text in re.findall(rf"{re.escape(str(root))}/[^\s'\"]+", sentence)]
        if not named:
            return f"the sentence names no file: {sentence}"
        if self.kind.makes_runs and advice:
            folder = named[-1] if named[-1].is_dir() else named[-1].parent
            if damaged and Path(damaged).parts[:2] != folder.relative_to(root).parts[:2]:
                return f"the sentence names another folder than that of {damaged}: {sentence}"
            shutil.rmtree(folder)
            return ""
        if pristine is None or not damaged:
            return f"a sentence where nothing was damaged: {sentence}"
        if not any((root / damaged).is_relative_to(path) for path in named):
            return f"the sentence does not name {damaged}: {sentence}"
        (root / damaged).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(pristine / damaged, root / damaged)  # from a backup, or git
        return ""

    @staticmethod
    def _unclear(said: str) -> str:
        if said and ("\n" in said or "Traceback" in said or said[-1] != "." or len(said.split()) > MOST_WORDS):
            return f"no clear sentence: {said}"
        return ""


def running_in(root: Path) -> list[tuple[int, str]]:
    """List the processes that work below a folder: process id and command."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile, or is not ours
            if f"{os.readlink(entry / 'cwd')}/".startswith(f"{root}/"):
                found.append((int(entry.name), (entry / "cmdline").read_text().replace("\0", " ")))
    return found


def settled(root: Path, seconds: float = 12) -> list[tuple[int, str]]:
    """Wait until no process works below a folder; return those that do not end."""
    limit = time.monotonic() + seconds
    while (left := running_in(root)) and time.monotonic() < limit:
        time.sleep(0.05)
    return left


def _plain(text: str, root: Path) -> str:
    """Shorten the paths of a text to those below the project; several lines stay several."""
    return text.replace(f"{root}/", "").replace(str(root), "the project").strip()


def _size(folder: Path) -> int:
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[Callable[[], None]]:
    """Mount a file system of `size` bytes at `folder`; what is yielded enlarges it."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], check=True)
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=1g", str(folder)], check=True) and None
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def can_mount(folder: Path) -> bool:
    """Tell whether this process may mount a file system."""
    try:
        folder.mkdir()
        with mounted(folder, 4096):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def damage(path: Path, how: str, rng: random.Random, partner: Path | None = None) -> None:
    """Damage a file in place; `partner` is what it is exchanged for."""
    data = path.read_bytes()
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "emptied":
        path.write_bytes(b"")
    elif how == "zeros":
        path.write_bytes(bytes(len(data)))
    elif how == "noise":
        path.write_bytes(rng.randbytes(len(data)))
    elif how == "other text":
        path.write_bytes(b"not what was here\n")
    elif how == "removed":
        path.unlink()
    elif how == "exchanged" and partner is not None:
        shutil.copy(partner, path)
    else:
        raise ValueError(f"{how} {path}")


def plan(stage: Stage, counts: dict[str, int], rng: random.Random, mount: bool) -> list[tuple[Callable, tuple]]:
    """Draw the faults of one kind of job; kills beyond its file operations come at random times."""
    kinds = stage.kind.only or tuple(counts)
    counts = {name: math.ceil(stage.kind.share * count) * (name in kinds) for name, count in counts.items()}
    work: list[tuple[Callable, tuple]] = []
    operations = range(1, stage.events + 1)
    kills = min(counts["kills"], stage.events)
    in_time = counts["kills in time"] + counts["kills"] - kills
    work += [(stage.kill, (at,)) for at in rng.sample(operations, kills)]
    work += [(stage.kill_in_time, (rng.uniform(0.02, 0.98),)) for _ in range(in_time)]
    full = min(counts["full disks"], stage.events)
    work += [(stage.disk_full, (at,)) for at in rng.sample(operations, full)]
    if mount:
        work += [(stage.small_disk, (rng.uniform(0.05, 0.95),)) for _ in range(counts["small disks"])]
    if stage.kind.makes_runs:
        work += [(stage.two_at_once, ())] * counts["pairs"]
    if stage.name == "notebooks":
        work += [(stage.kernel_killed, (rng.random(),)) for _ in range(counts["kernels"])]
    if stage.name == "training":
        work += [(stage.not_a_number, (at,)) for at in range(counts["NaN"])]
    states = [(stage.whole, "a finished job")]
    if stage.name in ("evaluation", "labelling", "training", "study"):
        states += [(stage.killed_late(share), "a killed job") for share in (0.6, 0.95)]
    damages = [
        (source, state, str(path.relative_to(source)), how, rng.randrange(10**6))
        for source, state in states
        for path in sorted(source.rglob("*"))
        if path.is_file() and path.stat().st_size and _is_data(path.relative_to(source))
        for how in DAMAGES
        if how != "exchanged" or stage._partner(source, str(path.relative_to(source)))
    ]
    return work + [(stage.corrupt, one) for one in rng.sample(damages, min(counts["corruptions"], len(damages)))]


def _is_data(path: Path) -> bool:
    """Tell whether a file is one that a job reads or writes: no hidden one, no source of the project."""
    return path.parts[0] in ("runs", "results") and not any(part.startswith(".") for part in path.parts)


WHOLE = {
    "kills": 90, "kills in time": 8, "full disks": 8, "small disks": 4, "pairs": 3, "corruptions": 38, "boxes": 20,
    "hubs": 12, "NaN": 6, "kernels": 25,
}  # fmt: skip
QUICK = {
    "kills": 6, "kills in time": 1, "full disks": 1, "small disks": 1, "pairs": 1, "corruptions": 4, "boxes": 3,
    "hubs": 4, "NaN": 3, "kernels": 3,
}  # fmt: skip
PARTS = [*JOBS, "boxes", "hub"]


def run(counts: dict[str, int], seed: int, names: list[str], processes: int, out: Path | None) -> pd.DataFrame:
    """Do it all, in several processes, and write each part as it ends; one row per fault."""
    jobs.warm()
    names = [name for name in PARTS if name in names]
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name).resolve()
        mount = can_mount(folder / "mount")
        queue, fill = os.pipe()  # a worker takes the next part: one byte
        os.write(fill, bytes(range(len(names))))
        os.close(fill)
        workers = []
        for number in range(processes):
            workers.append(os.fork())
            if workers[-1] == 0:
                code = 1
                try:
                    own = folder / f"worker-{number}"
                    own.mkdir()
                    while taken := os.read(queue, 1):
                        part = names[taken[0]]
                        rows = of_part(part, counts, seed, own, mount)
                        write_json(folder / f"rows-{part}.json", rows)
                        if out:
                            write(pd.DataFrame(rows, columns=list(COLUMNS)), out, {part: origin(seed, counts)})
                    code = 0
                except BaseException:
                    traceback.print_exc()
                os._exit(code)
        if any([os.waitpid(worker, 0)[1] for worker in workers]):
            raise SystemExit("A part of the faults broke off; see above.")
        files = [folder / f"rows-{part}.json" for part in names]
        return pd.DataFrame([row for file in files for row in read_json(file)], columns=list(COLUMNS))


def origin(seed: int, counts: dict[str, int]) -> dict[str, Any]:
    """Say where rows come from."""
    return {**provenance(), "date": datetime.now(UTC).isoformat(timespec="seconds"), "seed": seed, "counts": counts}


def of_part(part: str, counts: dict[str, int], seed: int, folder: Path, mount: bool) -> list[Row]:
    """Run the faults of one kind of job, the long answers, or the hub."""
    began = time.monotonic()
    if part == "boxes":
        names = list(boxes.BOXES)
        rows = boxes.rows(names[:: -(-len(names) // counts["boxes"])] if counts["boxes"] else [], folder)
    elif part == "hub":
        rows = _hub_rows(list(hub.BEHAVIOURS)[: counts["hubs"]])
    else:
        stage = Stage(part, folder)
        work = plan(stage, counts, random.Random(f"{seed} {part}"), mount)
        rows = []
        for fault, arguments in tqdm(work, unit="fault", mininterval=10, desc=part):
            rows.append(fault(*arguments))
            if rows[-1]["outcome"] == "failure":
                print(f"\n{rows[-1]}", flush=True)
        for path in folder.glob(f"{part}-*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    print(f"{part}: {len(rows)} faults in {time.monotonic() - began:.0f} s", flush=True)
    return [{**row, "part": part} for row in rows]


def _hub_rows(behaviours: list[str]) -> list[Row]:
    """Try the hub's behaviours in a process of its own, as its client reads addresses when it is imported."""
    if not behaviours:
        return []
    command = [sys.executable, str(Path(__file__).with_name("hub.py")), *behaviours]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.splitlines()[-1])


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Count outcomes by job and kind of fault."""
    kind = table["fault"].where(~table["fault"].isin(DAMAGES), "damaged file")
    counts = table.groupby([table["job"], kind.rename("fault")], sort=False)["outcome"].value_counts()
    return counts.unstack(fill_value=0).reindex(columns=["equal", "sentence", "failure"], fill_value=0).reset_index()


def kill_points(table: pd.DataFrame) -> tuple[int, int]:
    """Count the distinct points at which jobs were killed: file operations, and random times."""
    killed = table[table["ended"] == "killed"]
    number = killed["where"].str.extract(r"\((\d+)\) of \d+$")[0].fillna(killed["where"])
    points = killed.assign(point=number).drop_duplicates(["part", "fault", "point"])["fault"].value_counts()
    return int(points.get("kill", 0)), int(points.get("kill in time", 0))


def write(table: pd.DataFrame, folder: Path, origins: dict[str, Any]) -> None:
    """Write all rows, their summary, and where the rows of each part come from; other parts stay as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    file, known = folder / "faults.csv", folder / "faults.json"
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the other workers wait
        if file.is_file():
            old = pd.read_csv(file, keep_default_na=False)
            table = pd.concat([old[~old["part"].isin(set(origins))], table], ignore_index=True)
            origins = read_json(known) | origins
        order = table["part"].map(PARTS.index).sort_values(kind="stable").index
        table = table.loc[order].drop(columns="problem", errors="ignore")
        write_text(file, table.to_csv(index=False))
        write_text(folder / "summary.csv", summary(table).to_csv(index=False))
        write_json(known, {part: origins[part] for part in PARTS if part in origins})
    finally:
        os.close(lock)


def main() -> None:
    """Run the faults, print the summary, write the tables; exit code 1 if there was a failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fixed tenth of it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="name of one kind of fault, as kills")
    parser.add_argument("--out", type=Path, help="folder for faults.csv, summary.csv and where they come from")
    options = parser.parse_args()
    began = time.monotonic()
    counts = QUICK if options.quick else WHOLE
    if options.only:
        counts = {name: count * (name == options.only) for name, count in counts.items()}
    table = run(counts, options.seed, options.jobs, options.processes, options.out)
    counted = summary(table)
    print(counted.to_string(index=False))
    failures = table[table["outcome"] == "failure"]
    for row in failures.itertuples():
        print(f"{row.job}, {row.fault}, {row.where}: {row.problem.strip().splitlines()[-1]}")
    operations, times = kill_points(table)
    print(f"Killed at {operations} distinct file operations and at {times} random times.")
    print(f"{len(table)} faults, {len(failures)} failures, {time.monotonic() - began:.0f} s")
    sys.exit(bool(len(failures)))


if __name__ == "__main__":
    main()
