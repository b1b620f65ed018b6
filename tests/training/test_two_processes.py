"""The same run on two gloo processes: weights, resume, and what is reduced over processes."""

import json
import os
import subprocess
import sys
from collections import defaultdict

import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import load_file

from spurious_rewards.rewards.registry import uniform
from spurious_rewards.storage.files import read_json
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.training import checkpoints
from spurious_rewards.training.advantages import group_advantages, whiten
from spurious_rewards.training.diagnostics import token_statistics

# The worker: trains, checks that both processes hold the same weights, then begins the same run elsewhere, stops it
# after its second checkpoint and starts it again. A third run, with the second
# whitening, writes down what each process feeds into advantages, diagnostics and projection.
WORKER = """
import json, os, sys
from pathlib import Path
import torch
import torch.distributed as dist
from spurious_rewards.training import run as module, run_trainer as trainer_module
from spurious_rewards.training.callbacks import RunCallback
from spurious_rewards.training.clip_projection import ClipProjection
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.diagnostics import UpdateDiagnostics

made = []
make = module.make_trainer
module.make_trainer = lambda *a: made.append(make(*a)) or made[-1]

def train(name, **changes):
    os.environ["SPURIOUS_RUNS_DIR"] = str(Path(sys.argv[2], name))
    run = module.train(RunConfig(**json.loads(sys.argv[1]) | changes), progress=False)
    dist.barrier()
    mine = torch.cat([p.detach().flatten() for p in made[-1].model.parameters()])
    other = mine.clone()
    dist.broadcast(other, src=0)
    assert dist.get_world_size() == 2 and torch.equal(mine, other), "the ranks have drifted apart"
    assert not made[-1].rollouts, "a process that writes nothing collects nothing"
    Path(sys.argv[2], f"same-{name}-{dist.get_rank()}").touch()
    return run

run = train("whole")
begin = RunCallback.on_step_begin

def stop(self, args, state, control, **kwargs):
    if state.global_step == 9:
        raise KeyboardInterrupt
    begin(self, args, state, control, **kwargs)

RunCallback.on_step_begin = stop
try:
    train("resumed")
except KeyboardInterrupt:
    dist.barrier()
RunCallback.on_step_begin = begin
train("resumed")

seen = {"tokens": [], "losses": [], "pushes": [], "drawn": []}
cls, whitened = trainer_module.RunTrainer, trainer_module.RunTrainer._whitened
take, project, diagnose = UpdateDiagnostics.take, ClipProjection.take, cls._diagnose

def note_tokens(self, accelerator):
    seen["tokens"].append({n: torch.cat([getattr(p, n) for p in self._parts]) for n in
                           ("logp", "old_logp", "advantage", "entropy", "top1_logp")})
    return take(self, accelerator)

def note_push(self, accelerator):
    push = self._push or [torch.zeros_like(p) for p in self._parameters]
    seen["pushes"].append(torch.cat([p.flatten() for p in push]).double())
    return project(self, accelerator)

def note_loss(self, model, inputs, given, loss):
    seen["losses"].append(loss.item())
    diagnose(self, model, inputs, given, loss)

def note_advantages(self, output):
    result = whitened(self, output)
    seen["drawn"].append((output["advantages"].clone(), output["completion_mask"].sum(dim=1), result))
    return result

UpdateDiagnostics.take, ClipProjection.take = note_tokens, note_push
cls._diagnose, cls._whitened = note_loss, note_advantages
train("whitened", whiten_advantages=True, rollout_batches=2, rollouts_kept_per_batch=0)
torch.save(seen, Path(sys.argv[2], f"seen-{dist.get_rank()}.pt"))
dist.destroy_process_group()
"""
CONFIG = {
    "rollout_batches": 3,
    "save_every_batches": 1,
    "micro_batch": 1,
    "n_train_problems": 12,
    "clip_projection": True,
}


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """A run of two gloo processes, its resumed copy, and the folder of the worker's notes."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "worker.py").write_text(WORKER)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node",
            "2",
            str(folder / "worker.py"),
            json.dumps({**tiny.SMALL, **CONFIG}),
            str(folder),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=550,
    )
    assert done.returncode == 0, "\n".join(line for line in done.stderr.splitlines() if "Error" in line)
    return *(RunFolder(folder / name / tiny.config(**CONFIG).run_id()) for name in ("whole", "resumed")), folder


@pytest.fixture(scope="module")
def noted(together):
    """Metrics of the whitened run, and what each of its processes has seen."""
    folder = together[2]
    (metrics,) = (folder / "whitened").glob("*/metrics.parquet")
    return pd.read_parquet(metrics), [torch.load(folder / f"seen-{rank}.pt") for rank in (0, 1)]


def test_two_processes_hold_the_same_weights_and_write_once(together):
    run, _, folder = together
    assert run.complete and run.manifest()["processes"] == 2
    assert len(list(folder.glob("same-whole-*"))) == 2
    metrics = pd.read_parquet(run.path("metrics.parquet"))
    assert metrics["update"].tolist() == list(range(1, 13))
    assert metrics["clip_fraction"].max() > 0 and metrics["clip_projection"].notna().all()
    newest = checkpoints.all_checkpoints(run.path("checkpoints"))[-1]
    assert {path.name for path in newest.glob("rng_state_*")} == {"rng_state_0.pth", "rng_state_1.pth"}
    mark = read_json(newest / checkpoints.MARKER)
    assert (mark["update"], mark["processes"]) == (12, 2) and "optimizer.pt" in mark["files"]


def test_two_processes_resume(together):
    """From the checkpoint before the last, the run ends in the same place to the last bit."""
    run, resumed, folder = together
    assert resumed.complete and len(list(folder.glob("same-resumed-*"))) == 2
    weights, again = (load_file(r.path("model/model.safetensors")) for r in (run, resumed))
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    for table in ("metrics", "rollouts"):
        one, other = (pd.read_parquet(r.path(f"{table}.parquet")) for r in (run, resumed))
        shared = [name for name in one if not name.startswith("seconds_")]
        pd.testing.assert_frame_equal(one[shared], other[shared], check_exact=True)


def test_groups_advantages_and_reward_draws_are_those_of_one_process(together):
    """A draw knows seed, batch, problem and sample index alone: the first process' half shows the very same ones."""
    run, _, _ = together
    rollouts = pd.read_parquet(run.path("rollouts.parquet"))
    assert len(rollouts) == 3 * 16 / 2, "rollouts.parquet samples the first process' share"
    for (batch, prompt), group in rollouts.groupby(["rollout_batch", "prompt_id"]):
        assert group["sample"].tolist() == [0, 1, 2, 3], "a group lies on one process, with its own sample indices"
        draws = [float(uniform(0, batch, prompt, sample) < 0.5) for sample in range(4)]
        assert group["reward"].tolist() == draws
        torch.testing.assert_close(
            torch.tensor(group["advantage"].to_numpy()).float(), group_advantages(torch.tensor([draws]))[0]
        )


def test_whitening_spans_both_processes(noted):
    _, ranks = noted
    assert len(ranks[0]["drawn"]) == 2
    for (a, n_a, got_a), (b, n_b, got_b) in zip(*(rank["drawn"] for rank in ranks), strict=True):
        expected = whiten(torch.cat([a, b]), torch.cat([n_a, n_b]).float())
        torch.testing.assert_close(torch.cat([got_a, got_b]), expected)
        assert not torch.allclose(got_a, whiten(a, n_a.float())), "one process alone would whiten otherwise"


def test_diagnostics_are_those_of_all_tokens_together(noted):
    metrics, ranks = noted
    lengths = set()
    for i, row in metrics.iterrows():
        parts = [rank["tokens"][i] for rank in ranks]
        lengths.add(tuple(len(part["logp"]) for part in parts))
        expected = token_statistics(**{n: torch.cat([p[n] for p in parts]) for n in parts[0]}, epsilon=0.2)
        assert row[list(expected)].to_dict() == pytest.approx(expected, rel=1e-5, abs=1e-7)
        assert row["n_tokens"] == sum(len(part["logp"]) for part in parts)
    assert any(a > b for a, b in lengths) and any(a < b for a, b in lengths), "either process had the longer part"


def test_the_loss_is_the_mean_over_processes(noted):
    """Two micro-batches per update and process: their sum, averaged over the two."""
    metrics, ranks = noted
    per_rank = torch.tensor([rank["losses"] for rank in ranks]).view(2, len(metrics), 2).sum(dim=2)
    assert metrics["surrogate_loss"].tolist() == pytest.approx(per_rank.mean(dim=0).tolist(), rel=1e-5, abs=1e-7)
    assert not torch.allclose(per_rank[0], per_rank[1])


def test_the_projections_gradient_is_the_mean_over_processes(noted):
    metrics, ranks = noted
    found = defaultdict(int)
    for i, norm in enumerate(metrics["clip_gradient_norm"]):
        a, b = (rank["pushes"][i] for rank in ranks)
        assert norm == pytest.approx(((a + b) / 2).norm().item(), rel=1e-4)
        found[bool(a.any()), bool(b.any())] += 1
    assert found[True, True] and found[False, False] >= 2, found
