"""A policy that became not-a-number is an error, whatever the update; nothing of it counts as a result."""

import math
from types import SimpleNamespace

import pandas as pd
import pytest
import tiny
import torch
from accelerate import Accelerator

from spurious_rewards.errors import InputError
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.training import checkpoints
from spurious_rewards.training.divergence import check_update, check_weights
from spurious_rewards.training.run import PARTIAL, train

WILD = {"optimizer": "sgd", "learning_rate": 1e30, "trl": "max_grad_norm: 1e9"}


@pytest.fixture(autouse=True)
def runs_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.mark.parametrize("engine, batches", [("transformers", 1), ("shared_prefix", 3)])
def test_nan_is_an_error_in_its_own_update(engine, batches, runs_folder):
    """The step of update 1 goes astray, so the loss of update 2 is NaN; in a last rollout batch as in others."""
    config = tiny.config(engine=engine, rollout_batches=batches, save_every_batches=1, **WILD)
    run = RunFolder(runs_folder / config.run_id())
    for _ in range(2):  # started again it ends in the same way: there is nothing to go on from
        with pytest.raises(
            InputError, match="The policy diverged: the loss of update 2 is nan. Lower learning_rate"
        ) as caught:
            train(config, progress=False)
        assert str(run.path(PARTIAL)) in str(caught.value)
        assert not run.complete and not run.path("model").exists()
        assert checkpoints.latest(run.path("checkpoints")) is None
        kept = pd.read_parquet(run.path(PARTIAL))
        assert kept["update"].tolist() == [1, 2] and math.isfinite(kept["loss"][0]) and math.isnan(kept["loss"][1])


@pytest.mark.parametrize("saved", [True, False])
def test_a_last_step_into_infinity_is_an_error(saved, runs_folder, monkeypatch):
    """Its own loss and gradient are finite; the weights it leaves are not. It ends at the seal, or else at the end."""
    config = tiny.config(rollout_batches=1)

    def last_step(self, args, state, control, **_):
        if state.global_step == 3:
            next(self.trainer.model.parameters()).data[0, 0] = torch.inf

    monkeypatch.setattr("spurious_rewards.training.callbacks.RunCallback.on_optimizer_step", last_step)
    if not saved:
        monkeypatch.setattr("spurious_rewards.training.callbacks.RunCallback.on_save", lambda *_, **__: None)
    with pytest.raises(InputError, match="diverged: its weights are not finite after update 4"):
        train(config, progress=False)
    run = RunFolder(runs_folder / config.run_id())
    assert not run.complete and not run.path("model").exists()
    assert checkpoints.latest(run.path("checkpoints")) is None
    monkeypatch.undo()
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(runs_folder))
    assert train(config, progress=False).complete and not run.path(PARTIAL).exists()


def test_logits_that_are_not_finite_while_sampling(monkeypatch):
    def no_numbers(self, *args, **kwargs):
        raise FloatingPointError("the logits of the policy are not finite")

    monkeypatch.setattr("spurious_rewards.training.run_trainer.RunTrainer._generate_single_turn", no_numbers)
    with pytest.raises(
        InputError,
        match=r"diverged: the logits of the policy are not finite. Lower learning_rate "
        r"\(0.003\).$",
    ):
        train(tiny.config(), progress=False)


def test_what_is_looked_at():
    check_update(1, {"loss": 0.1, "surrogate_loss": -0.1, "grad_norm": 3.0, "reward_mean": math.nan})
    check_update(1, {"train_runtime": 1.0})
    for name, value, shown in (
        ("loss", math.inf, "inf"),
        ("surrogate_loss", None, "nan"),
        ("grad_norm", math.nan, "nan"),
    ):
        with pytest.raises(FloatingPointError, match=f"the {name} of update 7 is {shown}"):
            check_update(7, {"loss": 0.0, name: value})


def test_weights_of_a_shard_are_looked_at():
    """Under ZeRO-3 a parameter is empty and its shard lies beside it."""
    model = torch.nn.Linear(2, 2)
    trainer = SimpleNamespace(accelerator=Accelerator(cpu=True), model=model, state=SimpleNamespace(global_step=5))
    check_weights(trainer)
    model.weight = torch.nn.Parameter(torch.empty(0))
    model.weight.ds_tensor = torch.tensor([1.0, torch.nan])
    with pytest.raises(FloatingPointError, match="not finite after update 5"):
        check_weights(trainer)
