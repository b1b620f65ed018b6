"""What is computed in less time are the same numbers."""

from collections import Counter

import pytest
import tiny

from spurious_rewards.training.diagnosed import DiagnosedGRPOTrainer
from spurious_rewards.training.fast_trl import FastGRPOTrainer
from spurious_rewards.training.run import train


@pytest.mark.parametrize("changes", [{"micro_batch": 2}, {"clip_projection": True}], ids=["accumulation", "projection"])
def test_the_losses_of_the_first_update_give_its_log_pi_old(changes, tmp_path, monkeypatch):
    passes: Counter[int] = Counter()
    old_logps = FastGRPOTrainer.old_logps

    def counted(self, micro):
        passes[self.state.global_step] += 1
        return old_logps(self, micro)

    monkeypatch.setattr(FastGRPOTrainer, "old_logps", counted)
    config = tiny.config(rollout_batches=3, **changes)
    per_update = config.prompts_per_batch * config.group_size // config.updates_per_batch // config.micro_batch
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "fast"))
    fast = train(config, progress=False).manifest()["digests"]
    # 4 updates in each batch; the first batch also measures the noise that π_old of other batches would be
    assert dict(passes) == {0: 4 * per_update, 4: 3 * per_update, 8: 3 * per_update}
    monkeypatch.setattr(FastGRPOTrainer, "training_step", DiagnosedGRPOTrainer.training_step)
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "whole"))
    assert train(config, progress=False).manifest()["digests"] == fast
    assert passes[4] == passes[8] == 7 * per_update
