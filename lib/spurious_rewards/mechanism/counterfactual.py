"""Run the paired counterfactual: what the clip does to a language model in one rollout batch, all else being equal.

`counterfactual_config` has the design and the stopping rule, `replay` the updates, `probe_set` the quantities,
`effects` the table. Every setting (model, optimizer, step size) is a run folder; every few pairs are a file in it, so
an interrupted setting goes on where it stopped, and processes can share the settings:

    python -m spurious_rewards.mechanism counterfactual --size antithetic --model one-token
    python -m spurious_rewards.mechanism counterfactual --size antithetic --out results       (finds all, writes)
    python -m spurious_rewards.mechanism counterfactual --size tiny --model smollm2-135m-instruct

`antithetic` is 20 to 200 pairs at three step sizes of AdamW for three organisms, about 5 CPU-seconds a pair; `one-sign`
is 200 to 300 pairs at six settings, without negatives; `notebook` is six pairs at two settings, `tiny` two of two clip
modes. A model that is not an organism gets a plain prompt unless `--prompt-style` says otherwise. NAME below `--out` is
the size, and `counterfactual` for `one-sign`:

    tables/mechanism/NAME.csv                      see `effects`; for antithetic pairs also drift.csv, see `drift`
    records/mechanism/NAME.parquet                 a row per setting, pair, sign of the advantages and clip mode
    records/mechanism/NAME_problems.parquet        differences to `none` per probe problem, mean over signs
    records/mechanism/NAME_levels.parquet          code log-odds per probe problem, mean over signs, `none` included
    records/mechanism/NAME_checkpoints.parquet     what the checkpoint shows on the probe set
    manifests/mechanism/NAME.json                  last

Settings that are below `--out` and are not run again stay there; each run of the manifest has its own commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from spurious_rewards.errors import InputError
from spurious_rewards.mechanism.code_tree import bounded_share
from spurious_rewards.mechanism.counterfactual_config import REFERENCE, CounterfactualConfig, configs
from spurious_rewards.mechanism.drift import drift_table
from spurious_rewards.mechanism.effects import CURVED, PER_PROBLEM, SETTING, effects, half_width, unpaired
from spurious_rewards.mechanism.probe_set import ProbeSet, Reading
from spurious_rewards.mechanism.replay import Arms, Draw
from spurious_rewards.storage.files import csv_text, read_json, sha256_file, write_json, write_parquet, write_text
from spurious_rewards.storage.runs import RunFolder

RULE = ("min_pairs", "look_every", "max_pairs", "target_quantity", "target_half_width", "relevant_effect", "precision")
"""Fields of a configuration that the manifest of a table repeats as its stopping rule (the last two: older runs)."""
PAIRS, PROBLEMS, LEVELS, START = "pairs.parquet", "problems.parquet", "levels.parquet", "start.json"


def run(config: CounterfactualConfig, progress: bool = True) -> RunFolder:
    """Compute the pairs of one setting until its stopping rule is met, or return the finished run.

    Args:
        config: the setting.
        progress: show a bar over pairs with the time left to `max_pairs`.

    Raises:
        InputError: bad model, data or reward; the policy diverged; the run was begun from another checkpoint or with
            other software, so that its pairs would not go together; or arms of a pair did not consume the same.
    """
    folder = RunFolder.open(config.run_id(), config)
    if folder.complete:
        return folder
    with folder.lock():
        if not folder.complete:
            _run(folder, config, progress)
    return folder


def _run(folder: RunFolder, config: CounterfactualConfig, progress: bool) -> None:
    arms = Arms(config)
    probe = ProbeSet.sample(config, arms.model, arms.tokenizer)
    start = {
        "checkpoint_sha": arms.checkpoint_hash(),
        "probe_sha": probe.sha,
        "probe_tokens": probe.n_tokens,
        "bin_tokens": probe.bin_tokens.tolist(),
        "code_logits": probe.checkpoint.per_problem["code_logit"].tolist(),
        "checkpoint": {name: value for name, value in probe.checkpoint.scalars().items() if np.isfinite(value)},
    }
    if not folder.path(START).is_file():
        write_json(folder.path(START), start)
    if any(read_json(folder.path(START))[name] != start[name] for name in ("checkpoint_sha", "probe_sha")):
        raise InputError(
            f"{folder.folder} was begun from another checkpoint or with other versions of the software, "
            "so its pairs do not go with new ones; move that folder away and run again."
        )
    looks, n_done = [], 0
    name = f"{config.model} {config.setting()}"
    with tqdm(total=config.max_pairs, desc=name, unit="pair", mininterval=2, disable=not progress) as bar:
        for look in config.looks():
            for first in range(n_done, look, config.pairs_per_part):
                numbers = range(first, min(first + config.pairs_per_part, look))
                compute_part(folder, config, arms, probe, numbers)
                folder.keep_time()
                bar.update(len(numbers))
            n_done = look
            reached = half_width(_parts(folder, "pairs", config, look), config.target_quantity)
            looks.append({"pairs": look, "half_width": reached})
            if reached <= config.target_half_width:
                break
    pairs, problems, levels = (_parts(folder, name, config, n_done) for name in ("pairs", "problems", "levels"))
    _check_paired(pairs)  # parts that were there may be of an older program
    files = {PAIRS: pairs, PROBLEMS: problems, LEVELS: levels}
    for file, frame in files.items():
        write_parquet(folder.path(file), frame)
    what = {"kind": "counterfactual", "config": config.to_dict(), "seed": config.seed, "n_pairs": n_done}
    what |= {"looks": looks, "target_half_width": config.target_half_width}
    what["target_met"] = looks[-1]["half_width"] <= config.target_half_width
    folder.finish({**what, **start, "files": {file: sha256_file(folder.path(file)) for file in files}})
    for path in folder.path("parts").glob("*.parquet"):
        path.unlink()


def _check_paired(pairs: pd.DataFrame) -> None:
    """Raise `InputError` if arms of a pair did not start alike or did not consume the same."""
    if wrong := unpaired(pairs):
        raise InputError(
            f"The arms of pair {wrong[0]} did not start alike or did not consume the same rollouts; this "
            "is a fault of the program, not of the data, and the run is of no use."
        )


def compute_part(folder: RunFolder, config: CounterfactualConfig, arms: Arms, probe: ProbeSet, numbers: range) -> None:
    """Compute these pairs into files of the run folder, unless they are there; `run` puts all parts together.

    Args:
        folder: of the run, open.
        config: of the run.
        arms: the trainers that replay a pair, one per clip mode.
        probe: what is read off the model after each replay.
        numbers: of the pairs; the part is named after the first. The file of the pairs is written last.

    Raises:
        InputError: the policy diverged, or arms of a pair did not consume the same.
    """
    target, per_pair = _part_path(folder, "pairs", numbers.start), len(config.modes) * len(config.signs)
    if target.is_file() and len(pd.read_parquet(target, columns=["pair"])) == len(numbers) * per_pair:
        return
    frames: dict[str, list[dict[str, Any]]] = {"pairs": [], "problems": [], "levels": []}
    setting = {name: getattr(config, name) for name in SETTING}
    for pair in numbers:
        rows, readings = _pair(config, arms, probe, arms.draw(pair))
        rows = [{**setting, "pair": pair, **row} for row in rows]
        _check_paired(_narrow(pd.DataFrame(rows)))  # at once: a setting takes hours
        frames["pairs"] += rows
        for mode in config.modes:
            key = {**setting, "clip_mode": mode, "pair": pair}
            logits_Z_P = _by_sign(config, readings, mode, "code_logit")
            level = {**key, "code_logits": logits_Z_P.mean(axis=0).astype(np.float32)}
            if config.antithetic:
                level["code_noise"] = _rounded((logits_Z_P[0] - logits_Z_P[1]) / 2)
            frames["levels"].append(level)
            for name in PER_PROBLEM if mode != REFERENCE else ():
                of_arms = (_by_sign(config, readings, arm, name) for arm in (mode, REFERENCE))
                key[name] = np.subtract(*of_arms).mean(axis=0).astype(np.float32)
            if mode != REFERENCE:
                frames["problems"].append(key)
    for name in ("problems", "levels"):
        write_parquet(_part_path(folder, name, numbers.start), pd.DataFrame(frames[name]))
    write_parquet(target, _narrow(pd.DataFrame(frames["pairs"])))


def _pair(
    config: CounterfactualConfig, arms: Arms, probe: ProbeSet, draw: Draw
) -> tuple[list[dict[str, Any]], dict[tuple[str, int], Reading]]:
    """Replay one pair with every sign and mode: a row for each, and what the probe set shows for each."""
    rows, readings, ends = [], {}, {}
    for sign in config.signs:
        signed = draw if sign == 1 else draw.negated()
        for mode in config.modes:
            facts = arms.replay(mode, signed)
            reading = readings[mode, sign] = probe.measure(arms.model)
            at_bound = bounded_share(reading.per_problem["code_logit"])
            rows.append({"clip_mode": mode, "sign": sign, **facts, **reading.scalars(), "code_bounded": at_bound})
            if mode == REFERENCE:
                ends[sign] = arms.weights()
    if config.antithetic:
        mirrored = [probe.measure(arms.model).scalars() for _ in arms.mirror(ends[1], ends[-1])]
        start = probe.checkpoint.scalars()
        curvature = {f"curvature_{name}": (mirrored[0][name] + mirrored[1][name]) / 2 - start[name] for name in CURVED}
        rows = [row | (curvature if row["clip_mode"] == REFERENCE else {}) for row in rows]
    return rows, readings


def _by_sign(
    config: CounterfactualConfig, readings: Mapping[tuple[str, int], Reading], mode: str, name: str
) -> np.ndarray:
    """Stack a quantity per problem over the signs, float64 (signs, problems)."""
    return np.stack([readings[mode, sign].per_problem[name] for sign in config.signs])


def _part_path(folder: RunFolder, name: str, first: int) -> Path:
    return folder.path(f"parts/{name}-{first:05d}.parquet")


def _parts(folder: RunFolder, name: str, config: CounterfactualConfig, n_pairs: int) -> pd.DataFrame:
    """Read the first `n_pairs` pairs from their files."""
    found = sorted(folder.path("parts").glob(f"{name}-*.parquet"))
    frame = pd.concat([pd.read_parquet(path) for path in found], ignore_index=True)
    frame = frame[frame["pair"] < n_pairs].sort_values("pair", kind="stable").reset_index(drop=True)
    n_modes = len(config.modes)
    per_pair = {"pairs": n_modes * len(config.signs), "problems": n_modes - 1, "levels": n_modes}[name]
    if len(frame) != n_pairs * per_pair:
        raise InputError(
            f"{folder.path('parts')} holds {len(frame)} rows where {n_pairs * per_pair} belong; delete "
            "that folder and run again."
        )
    return frame


def _narrow(rows: pd.DataFrame) -> pd.DataFrame:
    """Store numbers in single precision, which halves the records; the step size stays as it was written."""
    floats = [name for name in rows.select_dtypes("float64") if name != "learning_rate"]
    of_lists = [str(name) for name in rows if isinstance(rows[name].iloc[0], list)]
    lists = {name: [np.asarray(values, dtype=np.float32) for values in rows[name]] for name in of_lists}
    return rows.astype({name: "float32" for name in floats}).assign(**lists)


@dataclass(frozen=True)
class PairRecords:
    """Hold frames of finished runs, one run below the other, and their manifests.

    `checkpoints` has a row per run: its setting, number of pairs, whether the stopping rule's precision was met, what
    the checkpoint shows on the probe set, and its code log-odds per probe problem.
    """

    pairs: pd.DataFrame
    problems: pd.DataFrame
    checkpoints: pd.DataFrame
    levels: pd.DataFrame
    manifests: list[dict[str, Any]]

    @classmethod
    def of(cls, folders: Sequence[RunFolder]) -> PairRecords:
        """Read finished runs.

        The differences per problem, of which there are a million, are rounded to 8 bits of mantissa (relative error
        below 0.4 %), which makes their file a quarter; they serve the bootstrap only, the means come from the pairs.

        Raises:
            InputError: a run is not complete.
        """
        manifests = [folder.manifest() for folder in folders]
        pairs, problems, levels = (
            pd.concat([pd.read_parquet(folder.path(name)) for folder in folders], ignore_index=True)
            for name in (PAIRS, PROBLEMS, LEVELS)
        )
        problems = problems.assign(**{name: [_rounded(values) for values in problems[name]] for name in PER_PROBLEM})
        settings = [dict(zip(SETTING, _key(m), strict=True)) for m in manifests]
        checkpoints = [
            {**setting, "n_pairs": m["n_pairs"], "target_met": target_met(m), **m["checkpoint"]}
            for setting, m in zip(settings, manifests, strict=True)
        ]
        checkpoints = pd.DataFrame(checkpoints).assign(code_logits=[m["code_logits"] for m in manifests])
        return cls(pairs, problems, checkpoints, levels, manifests)

    @classmethod
    def committed(cls, name: str, out: str | Path) -> PairRecords:
        """Read what `write_results` has written; older records have no levels."""
        folder, nothing = Path(out) / "records" / "mechanism", pd.DataFrame(columns=[*SETTING, "clip_mode", "pair"])
        paths = {part: folder / f"{name}{part}.parquet" for part in ("", "_problems", "_checkpoints", "_levels")}
        found = {part: pd.read_parquet(path) if path.is_file() else nothing for part, path in paths.items()}
        manifests = read_json(Path(out) / "manifests" / "mechanism" / f"{name}.json")["runs"]
        met = {_key(m): target_met(m) for m in manifests}
        checkpoints = found["_checkpoints"]
        checkpoints["target_met"] = [met[key] for key in checkpoints[list(SETTING)].itertuples(index=False, name=None)]
        return cls(found[""], found["_problems"], checkpoints, found["_levels"], manifests)

    def joined(self, older: PairRecords) -> PairRecords:
        """Return these settings and those of `older` that are not among them, ordered by model and step size."""
        new = set(map(_key, self.manifests))

        def both(name: str) -> pd.DataFrame:
            one, two = getattr(self, name), getattr(older, name)
            kept = two[[key not in new for key in two[list(SETTING)].itertuples(index=False, name=None)]]
            frame = pd.concat([one, kept], ignore_index=True) if len(kept) else one
            return frame.sort_values(list(SETTING), kind="stable").reset_index(drop=True)

        manifests = [*self.manifests, *(m for m in older.manifests if _key(m) not in new)]
        return PairRecords(
            *map(both, ("pairs", "problems", "checkpoints", "levels")), manifests=sorted(manifests, key=_key)
        )

    def effects(self) -> pd.DataFrame:
        """Compute the table (see `effects`)."""
        return effects(self.pairs, self.problems, self.checkpoints, self.levels)

    def tables(self, name: str) -> dict[str, pd.DataFrame]:
        """Compute the tables of these records: `name` (see `effects`) and, of antithetic pairs, the drift of code.

        A model of which no problem's log-odds of code are within their bounds has no such drift.
        """
        starts = self.checkpoints["code_logits"] if "code_noise" in self.levels else ()
        if all(bounded_share(np.asarray(logits)) == 1 for logits in starts):
            return {name: self.effects()}
        drift = "drift" if name == "antithetic" else f"{name}_drift"
        return {name: self.effects(), drift: drift_table(self.levels, self.checkpoints, self.pairs)}


def _key(manifest: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(manifest["config"][name] for name in SETTING)


def target_met(manifest: Mapping[str, Any]) -> bool:
    """Tell whether a run stopped because its interval was narrow enough, not at its largest number of pairs."""
    last = manifest["looks"][-1]
    return bool(last.get("half_width", last.get("entropy_half_width")) <= manifest["target_half_width"])


def _rounded(values: np.ndarray) -> np.ndarray:
    """Round to single-precision numbers with 8 bits of mantissa."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(mantissa * 2**8) / 2**8, exponent).astype(np.float32)


def run_size(size: str) -> tuple[pd.DataFrame, list[RunFolder]]:
    """Compute or find every setting of a size: (table of effects, run folders)."""
    folders = [run(config) for config in configs(size)]
    return PairRecords.of(folders).effects(), folders


def write_results(name: str, records: PairRecords, out: str | Path) -> pd.DataFrame:
    """Write table, records and manifest below `out`, the manifest last; returns the table."""
    out, manifests, tables = Path(out), records.manifests, records.tables(name)
    frames = {"": records.pairs, "_problems": records.problems, "_checkpoints": records.checkpoints}
    frames |= {"_levels": records.levels} if len(records.levels) else {}
    texts = {f"tables/mechanism/{file}.csv": csv_text(table) for file, table in tables.items()}
    parquet = {f"records/mechanism/{name}{part}.parquet": frame for part, frame in frames.items()}
    for path, text in texts.items():
        write_text(out / path, text)
    for path, frame in parquet.items():
        write_parquet(out / path, frame)
    rule = {"interval": "two_sided − none: half width of the 95 % t interval over pairs"}
    rule |= {key: value for key, value in manifests[0]["config"].items() if key in RULE}
    manifest = {
        "kind": "counterfactual", "stopping_rule": rule, "n_pairs": {m["run_id"]: m["n_pairs"] for m in manifests},
        "target_met": {m["run_id"]: target_met(m) for m in manifests},
        "seconds": round(sum(m["seconds"] for m in manifests), 1),
        "files": {path: sha256_file(out / path) for path in (*texts, *parquet)}, "runs": manifests,
    }  # fmt: skip
    write_json(out / "manifests" / "mechanism" / f"{name}.json", manifest)
    return tables[name]
