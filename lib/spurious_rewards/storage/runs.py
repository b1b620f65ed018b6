"""Keep a run in one folder: `config.json` first, data files between, `manifest.json` last, when the run is whole.

A run whose manifest exists is never computed again; one without is resumed by its owner. Only one process at a time
works in a run folder.

>>> import tempfile, os
>>> os.environ["SPURIOUS_RUNS_DIR"] = tempfile.mkdtemp()
>>> run = RunFolder.open("demo-seed0", {"seed": 0})
>>> with run.lock():
...     run.complete or run.finish({"n_problems": 40})
>>> run.complete, run.manifest()["n_problems"]
(True, 40)
>>> del os.environ["SPURIOUS_RUNS_DIR"]
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from spurious_rewards.errors import InputError
from spurious_rewards.storage.config import Config
from spurious_rewards.storage.files import fingerprint, read_json, sha256_file, write_json
from spurious_rewards.storage.locks import exclusive
from spurious_rewards.storage.paths import runs_dir
from spurious_rewards.storage.provenance import gpu_use, peak_memory_mb, provenance

__all__ = ["RunFolder", "provenance", "runs_dir"]


class RunFolder:
    """Hold the folder of one run, `runs/<run_id>/`, and read and write what is in it."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._start: tuple[datetime, float, float] = (datetime.now(UTC), time.monotonic(), time.process_time())
        self._provenance: dict[str, Any] | None = None
        self._listed = False  # whether `sessions.json` has this session

    @classmethod
    def open(cls, run_id: str, config: Config | Mapping[str, Any]) -> Self:
        """Create the folder of `run_id` and write `config.json`, or find the folder of the same configuration.

        Args:
            run_id: the folder's name.
            config: a mapping is compared as a whole; of a `Config` only the identity is compared, so that fields that
                do not change what is computed may differ when a run is resumed.

        Raises:
            InputError: the folder holds another configuration, `run_id` is no folder name, or a file of the complete
                run is not the one that it ended with.
        """
        run = cls(_folder(run_id))
        given = config.to_dict() if isinstance(config, Config) else dict(config)
        given = json.loads(json.dumps(given, allow_nan=False))  # tuples become lists, as in the file
        if not run.path("config.json").is_file():
            write_json(run.path("config.json"), given)
            return run
        stored = run.config()
        names = list(config.identity()) if isinstance(config, Config) else sorted({*stored, *given})
        absent = object()
        different = [name for name in names if stored.get(name, absent) != given.get(name, absent)]
        if different:
            shown = ", ".join(f"{name}: {stored.get(name)!r} there, {given.get(name)!r} here" for name in different[:3])
            raise InputError(
                f"Run folder {run.folder} holds another configuration ({shown}); choose another run id or move that "
                "folder away."
            )
        if run.complete:
            run.check_files()
        return run

    @classmethod
    def load(cls, run_id: str) -> Self:
        """Find the existing run of that id.

        Raises:
            InputError: there is no such run.
        """
        run = cls(_folder(run_id))
        if not run.path("config.json").is_file():
            raise InputError(f"There is no run {run_id!r} in {runs_dir()}; run the notebook that makes it first.")
        return run

    @staticmethod
    def manifest_path(run_id: str) -> Path:
        """Say where the manifest of that run is or would be."""
        return _folder(run_id) / "manifest.json"

    def __repr__(self) -> str:
        return f"RunFolder({self.run_id!r}, {'complete' if self.complete else 'not complete'})"

    @property
    def run_id(self) -> str:
        """Return the folder's name."""
        return self.folder.name

    @property
    def complete(self) -> bool:
        """Tell whether the manifest is there, and so everything else."""
        return self.path("manifest.json").is_file()

    def path(self, name: str) -> Path:
        """Return the path of a file of the run (it need not exist)."""
        return self.folder / name

    def config(self) -> dict[str, Any]:
        """Read the configuration the run was opened with first."""
        return _read(self.path("config.json"))

    def manifest(self) -> dict[str, Any]:
        """Read the manifest of a complete run.

        Raises:
            InputError: the run is not complete.
        """
        if not self.complete:
            raise InputError(
                f"Run {self.run_id} is not complete (no manifest.json in {self.folder}); run it to its end."
            )
        return _read(self.path("manifest.json"))

    @contextmanager
    def lock(self) -> Iterator[Self]:
        """Lock the folder, so that no other process works in it.

        Time and provenance of the manifest count from here. A session that ends with an error or Ctrl-C is listed in
        `sessions.json`, so the seconds of a resumed run are those of all its sessions (of a killed one, those up to
        its last `keep_time`).

        Raises:
            InputError: another process holds the run; the sentence names it.
        """
        with exclusive(self.path(".lock"), f"Run {self.run_id}"):
            self._start = (datetime.now(UTC), time.monotonic(), time.process_time())
            self._provenance, self._listed = None if self.complete else provenance(), False
            try:
                yield self
            finally:
                if self._provenance is not None and not self.complete:
                    self._record_session()
                self._provenance = None

    def keep_time(self) -> None:
        """List the seconds of this session so far, so that they count even if the process is killed."""
        self._record_session()

    def finish(self, extra: Mapping[str, Any] | None = None) -> None:
        """Write `manifest.json`, the last file of the run.

        Args:
            extra: what the run adds (counts, hashes, tokens, …), JSON-ready, beside the provenance.

        Raises:
            ValueError: `extra` repeats a key of the provenance.
        """
        sessions = self._record_session()
        common = {"run_id": self.run_id, "started": sessions[-1]["started"]}
        common["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
        for name in ("seconds", "cpu_seconds"):
            common[name] = round(sum(session.get(name, 0.0) for session in sessions), 3)
        common |= {"sessions": len(sessions), "peak_memory_mb": peak_memory_mb(), **gpu_use()}
        common |= self._provenance or provenance()
        hashes = {str(path.relative_to(self.folder)): sha256_file(path) for path in self._result_files()}
        common["result_files"] = hashes
        repeated = sorted(set(common) & set(extra or {}))
        if repeated:
            raise ValueError(f"The manifest sets these keys itself: {', '.join(repeated)}.")
        write_json(self.path("manifest.json"), {**common, **(extra or {})})

    def check_files(self, thorough: bool = False, only: Collection[str] = ()) -> None:
        """Compare the files of a complete run with the hashes in its manifest; older manifests have fewer or none.

        Args:
            thorough: hash files of 64 MB and more too, as before a model is loaded; else they need only be there.
            only: names of the files that matter to the caller; without any, all of them.

        Raises:
            InputError: the run is not complete; or a file is missing, damaged or another one.
        """
        for name, digest in self.manifest().get("result_files", {}).items():
            if only and name not in only:
                continue
            path = self.path(name)
            found = sha256_file(path) if thorough and path.is_file() else fingerprint(path)[1]
            if not path.is_file() or (found and found != digest):
                raise InputError(
                    f"{path} is not the file that run {self.run_id} ended with: it is missing, damaged or was "
                    f"exchanged; delete the folder {self.folder} and run again."
                )

    def _result_files(self) -> list[Path]:
        """List the configuration, the tables, and the files of the trained model."""
        found = [self.path("config.json"), *self.folder.glob("*.parquet"), *self.path("model").rglob("*")]
        return sorted(path for path in found if path.is_file() and not path.name.startswith("."))

    def _record_session(self) -> list[dict[str, Any]]:
        """List this session (start, seconds so far) in `sessions.json`, once, and return all of them."""
        path = self.path("sessions.json")
        started, clock, cpu = self._start
        this = {
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - clock, 3),
            "cpu_seconds": round(time.process_time() - cpu, 3),
        }
        sessions = _read(path) if path.is_file() else []
        sessions = [*(sessions[:-1] if self._listed else sessions), this]
        write_json(path, sessions)
        self._listed = True
        return sessions


def all_runs() -> list[RunFolder]:
    """List every run of the runs folder, complete or not, sorted by id."""
    return [RunFolder(path.parent) for path in sorted(runs_dir().glob("*/config.json"))]


def _folder(run_id: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+=-]*", run_id):
        raise InputError(f"Run id {run_id!r} is no folder name; use letters, digits, dot, hyphen and underscore.")
    return runs_dir() / run_id


def _read(path: Path) -> Any:
    return read_json(path, f"delete the folder {path.parent} and run again")
