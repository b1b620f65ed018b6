"""Activations computed again instead of kept: the same numbers, by Transformers' means and by FSDP's."""

from types import SimpleNamespace

import pandas as pd
import pytest
import tiny
import torch
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import fsdp2_apply_ac
from transformers.models.qwen2.modeling_qwen2 import Qwen2MLP

from spurious_rewards.training.arguments import dry_run, settings
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.run import make_trainer

FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_ACTIVATION_CHECKPOINTING": "true"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Log, weights and forward passes of a layer, of runs that differ in how activations are kept."""
    found = {}
    forward, calls = Qwen2MLP.forward, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Qwen2MLP, "forward", lambda self, x: (calls.append(torch.is_grad_enabled()), forward(self, x))[1])
        for name in ("kept", "transformers", "fsdp"):
            config = tiny.config(rollout_batches=1, gradient_checkpointing=name == "transformers")
            trainer = make_trainer(config, tiny.problems(), tmp_path_factory.mktemp(name))
            names = list(trainer.model.state_dict())
            if name == "fsdp":  # what Accelerate does to the model before it shards it
                plugin = FullyShardedDataParallelPlugin(
                    fsdp_version=2, auto_wrap_policy="TRANSFORMER_BASED_WRAP", activation_checkpointing=True
                )
                plugin.set_auto_wrap_policy(trainer.model)
                fsdp2_apply_ac(SimpleNamespace(state=SimpleNamespace(fsdp_plugin=plugin)), trainer.model)
            trainer.train()
            found[name] = (pd.DataFrame(trainer.state.log_history), trainer.model.state_dict(), sum(calls))
            assert list(found[name][1]) == names, "a saved model has the names it was loaded with"
            calls.clear()
    return found


@pytest.mark.parametrize("name", ["transformers", "fsdp"])
def test_the_numbers_are_the_same(name, trained):
    log, weights, _ = trained["kept"]
    again, others, _ = trained[name]
    columns = ["loss", "surrogate_loss", "grad_norm", "kl_old", "top1_prob", "reward_mean"]
    pd.testing.assert_frame_equal(log[columns], again[columns], check_exact=True)
    assert all(torch.equal(weights[key], others[key]) for key in weights)


@pytest.mark.parametrize("name", ["transformers", "fsdp"])
def test_layers_are_really_computed_again(name, trained):
    """Per update and layer one pass with gradients, and one more in the backward pass."""
    n_layers = sum("down_proj" in key for key in trained["kept"][1])
    assert trained["kept"][2] == 4 * n_layers and trained[name][2] == 2 * 4 * n_layers


def test_it_is_never_asked_for_twice(monkeypatch):
    asked = RunConfig(gradient_checkpointing=True)
    assert settings(asked, "folder", 8)["gradient_checkpointing"] is True
    assert settings(RunConfig(), "folder", 8)["gradient_checkpointing"] is False
    assert dry_run(asked, processes=8).gradient_checkpointing
    for name, value in FSDP.items():
        monkeypatch.setenv(name, value)
    assert settings(asked, "folder", 8)["gradient_checkpointing"] is False, "Trainer would stop"
    monkeypatch.setenv("FSDP_ACTIVATION_CHECKPOINTING", "false")
    assert settings(asked, "folder", 8)["gradient_checkpointing"] is True
    assert asked.run_id() == RunConfig().run_id()
