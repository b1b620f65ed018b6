"""The patch: each clip mode of the trainer is the pure function, bit for bit; the clip acts where it should."""

import hashlib
import inspect

import pandas as pd
import pytest
import tiny
import torch
import trl.trainer.utils
from transformers import Trainer
from trl import GRPOTrainer

from spurious_rewards.errors import InputError
from spurious_rewards.generation import shared_beginning
from spurious_rewards.generation.shared_beginning import after_beginning
from spurious_rewards.training import fast_trl, rollouts
from spurious_rewards.training import run as run_module
from spurious_rewards.training.advantages import group_advantages
from spurious_rewards.training.clip import MODES, surrogate
from spurious_rewards.training.run import make_trainer, train
from spurious_rewards.training.run_trainer import RunTrainer

EPSILONS = {"two_sided": {"epsilon_low": 0.2, "epsilon_high": 0.28}}


@pytest.fixture(autouse=True)
def runs_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "runs"))


class ExplicitTrainer(RunTrainer):
    """The same loop with the loss written out: token mean of −surrogate, nothing of TRL's loss."""

    def _compute_loss(self, model, inputs):
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        logp, _, _ = self._get_per_token_logps_and_entropies(
            model, ids, mask, inputs["completion_ids"].size(1), compute_entropy=True
        )
        tokens = inputs["completion_mask"]
        objective = surrogate(
            logp - inputs["old_per_token_logps"],
            inputs["advantages"].unsqueeze(1),
            self.run.clip_mode,
            self.run.epsilon_low,
            self.run.epsilon_high,
            logp,
        )
        return -(objective * tokens).sum() / tokens.sum() / self.current_gradient_accumulation_steps


def weights_after(trainer_class, config, folder, monkeypatch):
    """Final weights of a run with another trainer class, and the number of updates."""
    monkeypatch.setattr("spurious_rewards.training.run_trainer.RunTrainer", trainer_class)
    trainer = make_trainer(config, tiny.problems(), folder)
    trainer.train()
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}, trainer.state.global_step


@pytest.mark.parametrize("mode", MODES)
def test_trainer_equals_the_pure_function_bit_for_bit(mode, tmp_path, monkeypatch):
    accumulate = {"micro_batch": 2} if mode in ("two_sided", "cispo") else {}  # two micro-batches per update
    config = tiny.config(clip_mode=mode, **EPSILONS.get(mode, {}), **accumulate)
    ours, n_updates = weights_after(RunTrainer, config, tmp_path / "a", monkeypatch)
    explicit, _ = weights_after(ExplicitTrainer, config, tmp_path / "b", monkeypatch)
    assert n_updates == 16
    assert all(torch.equal(ours[name], explicit[name]) for name in ours)


@pytest.fixture(scope="module")
def two_arms(tmp_path_factory):
    """Metrics and rollouts of the same run with and without the clip."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path_factory.mktemp("arms")))
        runs = {mode: train(tiny.config(clip_mode=mode), progress=False) for mode in ("two_sided", "none")}
        return {
            mode: (
                pd.read_parquet(r.path("metrics.parquet")),
                pd.read_parquet(r.path("rollouts.parquet")),
                r.manifest(),
            )
            for mode, r in runs.items()
        }


def test_the_clip_acts_on_later_updates_and_never_on_the_first(two_arms):
    clipped, unclipped = two_arms["two_sided"][0], two_arms["none"][0]
    first = clipped["update_in_batch"] == 1
    assert (clipped.loc[first, "clip_fraction"] == 0).all()
    assert (clipped.loc[first, "ratio_max"] == 1).all() and (clipped.loc[first, "kl_old"] == 0).all()
    assert clipped.loc[~first, "clip_fraction"].mean() > 0
    assert (unclipped["clip_fraction"] == 0).all()
    assert unclipped.loc[~first, "would_clip_high"].mean() > 0, "the would-clip fraction is logged in every arm"
    torch.testing.assert_close(torch.tensor(clipped["would_clip_high"]), torch.tensor(clipped["clip_fraction_high"]))


def test_arms_share_rollouts_rewards_and_the_first_loss_to_the_last_bit(two_arms):
    (one, rollouts_one, _), (two, rollouts_two, _) = two_arms["two_sided"], two_arms["none"]
    assert one["surrogate_loss"].iloc[0].hex() == two["surrogate_loss"].iloc[0].hex()
    assert one["grad_norm"].iloc[0] == two["grad_norm"].iloc[0]
    columns = ["prompt", "text", "reward", "advantage"]
    batch_0 = [
        frame[frame["rollout_batch"] == 0][columns].reset_index(drop=True) for frame in (rollouts_one, rollouts_two)
    ]
    pd.testing.assert_frame_equal(*batch_0)
    # later texts may differ, the reward draws may not: they know seed, batch, problem and sample alone
    keys = ["rollout_batch", "prompt_id", "sample"]
    pd.testing.assert_frame_equal(rollouts_one[[*keys, "reward"]], rollouts_two[[*keys, "reward"]])


def test_advantages_are_those_of_the_pure_function(two_arms):
    _, rollouts, _ = two_arms["two_sided"]
    for _, batch in rollouts.groupby("rollout_batch"):
        rewards = torch.tensor(batch["reward"].to_numpy()).float().view(-1, 4)
        assert batch["prompt_id"].to_numpy().reshape(-1, 4).T.tolist() == [batch["prompt_id"].tolist()[::4]] * 4
        torch.testing.assert_close(
            group_advantages(rewards).flatten(), torch.tensor(batch["advantage"].to_numpy()).float()
        )


def test_metrics_are_complete(two_arms):
    metrics, _, manifest = two_arms["two_sided"]
    assert metrics["update"].tolist() == list(range(1, 17))
    assert metrics["update_in_batch"].tolist() == [1, 2, 3, 4] * 4
    once_per_batch = [
        "reward_mean",
        "code_frequency",
        "zero_variance_share",
        "completion_tokens",
        "seconds_generation",
        "seconds_rewards",
        "seconds_rollout_batch",
    ]
    assert (metrics[once_per_batch].notna().sum() == 4).all()
    every = [
        "loss",
        "surrogate_loss",
        "grad_norm",
        "entropy",
        "kl_old",
        "mean_prob",
        "top1_prob",
        "ratio_q50",
        "tokens_bin0",
        "clip_force_high",
        "seconds_forward",
        "seconds_backward",
        "seconds_optimizer",
    ]
    assert metrics[every].notna().all().all()
    assert manifest["n_updates"] == 16 and manifest["config"]["clip_mode"] == "two_sided"


def test_a_finished_run_is_not_computed_again(monkeypatch, capsys):
    config = tiny.config(rollout_batches=1, top1_prob=False)
    run = train(config, progress=False)
    monkeypatch.setattr(run_module, "_train", lambda *a: pytest.fail("trained again"))
    assert train(config, progress=False).run_id == run.run_id
    assert capsys.readouterr().out == ""
    assert train(tiny.config(rollout_batches=1, clip_projection=True), progress=False).run_id == run.run_id
    printed = capsys.readouterr().out
    assert "finished and was trained without top1_prob, clip_projection: metrics.parquet lacks" in printed
    assert str(run.folder) in printed and printed.count("\n") == 1


def test_one_update_per_rollout_batch_makes_the_clip_inert():
    changes = {"updates_per_batch": 1, "allow_inert_clip": True, "rollout_batches": 2}
    metrics = [
        pd.read_parquet(train(tiny.config(clip_mode=mode, **changes), progress=False).path("metrics.parquet"))
        for mode in ("two_sided", "none", "none_released")
    ]
    assert metrics[0]["surrogate_loss"].tolist() == metrics[1]["surrogate_loss"].tolist()
    assert metrics[2]["surrogate_loss"].tolist() != metrics[0]["surrogate_loss"].tolist(), "it drops 1/π_old too"


def test_group_without_variance_does_not_move_the_policy(capsys):
    """γ = 1 rewards everything: all advantages are 0, so nothing may change (the optimizer has no weight decay)."""
    run = train(tiny.config(gamma=1.0, rollout_batches=2), progress=False)
    assert capsys.readouterr().out.splitlines() == run.manifest()["notes"] == tiny.config(gamma=1.0).notes()
    metrics = pd.read_parquet(run.path("metrics.parquet"))
    assert (metrics["grad_norm"] == 0).all()
    assert (metrics["zero_variance_share"].dropna() == 1).all()


def test_whitening_changes_the_advantages_and_is_off_by_default(two_arms):
    run = train(tiny.config(whiten_advantages=True, rollout_batches=1, rollouts_kept_per_batch=16), progress=False)
    rollouts = pd.read_parquet(run.path("rollouts.parquet"))
    weighted = (rollouts["advantage"] * rollouts["n_tokens"]).sum() / rollouts["n_tokens"].sum()
    variance = (rollouts["advantage"] ** 2 * rollouts["n_tokens"]).sum() / rollouts["n_tokens"].sum()
    assert weighted == pytest.approx(0, abs=1e-5) and variance == pytest.approx(1, abs=1e-4)
    plain = two_arms["two_sided"][1].query("rollout_batch == 0")
    weighted = (plain["advantage"] * plain["n_tokens"]).sum() / plain["n_tokens"].sum()
    assert abs(weighted) > 1e-4


@pytest.mark.parametrize("mode", ["two_sided", "none_released", "cispo"])
@pytest.mark.parametrize("changes", [{}, {"gradient_checkpointing": True}, {"lora_rank": 4, "learning_rate": 0.03}])
def test_in_bf16_too_the_ratio_of_the_first_update_is_one_to_the_last_bit(mode, changes):
    """Eight prompts of different lengths in micro-batches of two: each is trimmed to a width of its own."""
    config = tiny.config(
        precision="bf16", clip_mode=mode, micro_batch=2, rollout_batches=2, prompts_per_batch=8, **changes
    )
    metrics = pd.read_parquet(train(config, progress=False).path("metrics.parquet"))
    first = metrics["update_in_batch"] == 1
    exact = ["ratio_max", "ratio_q001", "ratio_q999"]
    assert (metrics.loc[first, exact] == 1).all().all()
    zero = ["kl_old", "would_clip_high", "would_clip_low", "clip_force_high", "clip_force_low"]
    assert (metrics.loc[first, zero] == 0).all().all()
    assert metrics.loc[~first, "would_clip_high"].max() > 0
    floor, largest = metrics["clip_noise_floor"], metrics["clip_noise_max"]
    assert floor.notna().tolist() == [True] + [False] * 7 and 0 <= floor[0] < 0.05
    assert 1e-4 < largest[0] < 1, "π_old of other batches would have been off by that much"


@pytest.mark.parametrize("changes", [{}, {"gradient_checkpointing": True}, {"lora_rank": 4, "learning_rate": 0.03}])
def test_so_it_is_where_rows_share_their_beginning(changes, monkeypatch):
    """With activations recomputed nothing is shared: log π_old and the loss must come from passes of one kind."""
    read = {fast_trl: 0, rollouts: 0}

    def counted(module):
        def read_once(*given):
            read[module] += 1
            return after_beginning(*given)

        return read_once

    monkeypatch.setattr(shared_beginning, "LEAST", 1)
    for module in read:
        monkeypatch.setattr(module, "after_beginning", counted(module))
    config = tiny.config(precision="bf16", engine="shared_prefix", micro_batch=2, rollout_batches=2, **changes)
    metrics = pd.read_parquet(train(config, progress=False).path("metrics.parquet"))
    first = metrics["update_in_batch"] == 1
    assert (metrics.loc[first, ["ratio_max", "ratio_q001", "ratio_q999"]] == 1).all().all()
    assert metrics.loc[~first, "would_clip_high"].max() > 0
    assert read[rollouts] == 2, "once per rollout batch"
    assert (read[fast_trl] > 0) == ("gradient_checkpointing" not in changes)


def test_the_noise_of_fp32_is_far_below_the_clip(two_arms):
    metrics = two_arms["two_sided"][0]
    assert metrics["clip_noise_floor"].dropna().tolist() == [0.0]
    assert 0 < metrics["clip_noise_max"][0] < 1e-4


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_in_bf16_the_ratio_of_a_real_models_first_update_is_one_to_the_last_bit():
    """SmolLM2-135M: π_old of other batches would put some tokens outside the band before anything has moved."""
    config = tiny.config(
        model="smollm2-135m-instruct",
        prompt_style="qwen_default",
        train_set="deepscaler_clean",
        n_train_problems=64,
        precision="bf16",
        max_prompt_tokens=256,
        max_completion_tokens=64,
        rollout_batches=1,
        learning_rate=1e-5,
        micro_batch=2,
    )
    metrics = pd.read_parquet(train(config, progress=False).path("metrics.parquet"))
    assert (metrics["ratio_max"][0], metrics["ratio_q001"][0], metrics["kl_old"][0]) == (1, 1, 0)
    assert metrics["would_clip_high"][0] == metrics["would_clip_low"][0] == 0
    assert metrics["clip_noise_max"][0] > 0.01


@pytest.mark.parametrize("sign, wrong", [("positive", "lt"), ("negative", "gt")])
def test_advantages_of_one_sign(sign, wrong, two_arms):
    run = train(tiny.config(advantage_sign=sign, rollout_batches=1), progress=False)
    kept = pd.read_parquet(run.path("rollouts.parquet"))["advantage"]
    both = two_arms["two_sided"][1].query("rollout_batch == 0")["advantage"]
    assert not getattr(kept, wrong)(0).any() and (kept != 0).any()
    expected = both.where(~getattr(both, wrong)(0), 0.0)
    assert kept.tolist() == expected.tolist(), "the other sign is 0, this one untouched"


def test_the_seed_decides_the_order_of_mini_batches(tmp_path, monkeypatch):
    orders = []
    shuffle = trl.trainer.grpo_trainer.shuffle_sequence_dict

    def watched(batch):
        result = shuffle({**batch, "position": torch.arange(len(batch["prompt_ids"]))})
        orders.append(result.pop("position").tolist())
        return result

    monkeypatch.setattr("trl.trainer.grpo_trainer.shuffle_sequence_dict", watched)
    for seed in (0, 0, 1):
        make_trainer(tiny.config(seed=seed, rollout_batches=1), tiny.problems(), tmp_path).train()
    assert orders[0] == orders[1] != orders[2] and sorted(orders[0]) == list(range(16))


def test_vllm_draws_from_a_stream_of_run_and_rollout_batch(tmp_path):
    """Colocated vLLM samples from torch's generators in this process: what it would draw is looked at here."""

    def draws(seed, step):
        trainer = make_trainer(tiny.config(seed=seed), tiny.problems(), tmp_path)
        trainer.state.global_step = step
        before = torch.get_rng_state()
        with trainer.vllm_stream():
            drawn = torch.rand(4).tolist()
        assert torch.equal(torch.get_rng_state(), before), "the mini-batch order does not hang on vLLM's draws"
        return drawn

    first = draws(0, 0)
    assert first == draws(0, 0) and first != draws(1, 0) and first != draws(0, 4)


class Sampler(RunTrainer):
    """Rollouts that come with log-probabilities, as vLLM's do: the policy's, or those of other weights."""

    damage = 0.0

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        completions, _ = super()._generate_single_turn(prompt_ids, *args, **kwargs)
        found = []
        for prompt, completion in zip(prompt_ids, completions, strict=True):
            ids = torch.tensor([[*prompt, *completion]])
            with torch.no_grad():
                logits = self.model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            found.append((logits.gather(1, ids[0, len(prompt) :, None])[:, 0] + self.damage).tolist())
        return completions, found


@pytest.mark.parametrize("damage", [0.0, 0.15])
def test_a_sampler_with_other_weights_ends_the_run(damage, tmp_path, monkeypatch):
    monkeypatch.setattr(Sampler, "damage", damage)
    monkeypatch.setattr("spurious_rewards.training.run_trainer.RunTrainer", Sampler)
    trainer = make_trainer(tiny.config(rollout_batches=2), tiny.problems(), tmp_path)
    if damage:
        with pytest.raises(InputError, match="vLLM does not sample from the policy: over .* differ by 0.15 on average"):
            trainer.train()
        assert trainer.state.global_step == 0
    else:
        trainer.train()
        gaps = [row["sampler_logp_gap"] for row in trainer.state.log_history if "sampler_logp_gap" in row]
        assert len(gaps) == 2 and max(gaps) < 1e-4


def test_lora_trains_an_adapter_and_saves_a_whole_model():
    from spurious_rewards.models.registry import load

    run = train(tiny.config(lora_rank=4, rollout_batches=2, learning_rate=0.03), progress=False)
    model, _ = load(str(run.path("model")))
    base, _ = load("qwen-like")
    changed = [name for name, p in model.named_parameters() if not torch.equal(p, base.get_parameter(name))]
    assert changed and all("proj" in name for name in changed), "LoRA touches linear layers only"
    metrics = pd.read_parquet(run.path("metrics.parquet"))
    assert metrics["ratio_max"].iloc[0] == 1 and metrics["clip_fraction"].iloc[1:].max() > 0


def test_a_lora_base_lies_in_bf16_and_small_steps_survive_the_merge(tmp_path):
    """An adapter's step of 1e-6 is below the resolution of a bf16 weight; the merged model is fp32 and has it."""
    from spurious_rewards.models.registry import load

    config = tiny.config(lora_rank=4, rollout_batches=1, precision="bf16", learning_rate=1e-6)
    trainer = make_trainer(config, tiny.problems(), tmp_path)
    kinds = {p.requires_grad: p.dtype for p in trainer.model.parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}
    model, _ = load(str(train(config, progress=False).path("model")))
    base, _ = load("qwen-like", "bfloat16")
    moved = [(p - base.get_parameter(name).float()).abs().max() for name, p in model.named_parameters()]
    assert {p.dtype for p in model.parameters()} == {torch.float32} and 0 < max(moved) < 1e-4


def test_a_shared_prefix_goes_with_recomputed_activations():
    runs = [
        train(tiny.config(engine="shared_prefix", rollout_batches=n, gradient_checkpointing=n > 1), progress=False)
        for n in (1, 2)
    ]
    first, second = (pd.read_parquet(run.path("rollouts.parquet")).query("rollout_batch == 0") for run in runs)
    assert first["text"].tolist() == second["text"].tolist()


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "learning_rate": 0.5},
        {"precision": "bf16"},
        {"trl": "scale_rewards: none"},
        {"trl": "beta: 0.01"},
        {"lora_rank": 2, "clip_projection": True},
        {"diagnostics": False},
    ],
)
def test_other_settings_run(changes):
    metrics = pd.read_parquet(train(tiny.config(rollout_batches=1, **changes), progress=False).path("metrics.parquet"))
    assert metrics["grad_norm"].gt(0).all() and metrics["surrogate_loss"].notna().all()


# What the patch relies on in TRL 1.16.0 and Transformers 5.17.0, by hash of the source. When one changes: read the new
# source, see that (1) `_compute_loss` still reads old_per_token_logps and num_items_in_batch from `inputs` and calls
# `_get_per_token_logps_and_entropies(..., compute_entropy=True)` once; (2) rollouts are still logged in `self._logs` in
# the order of the batch; `_generate_single_turn` still returns token ids and log-probabilities to `_generate`, and the
# fused head still takes `shift_labels` (training.fast_trl); (3) `get_train_dataloader` still hands the rows of a whole
# rollout batch to every micro-step, in the order of `RepeatSampler`, and `shuffle_sequence_dict` still draws the order
# of mini-batches from torch's generator; (4) `log` still averages `_metrics` and turns NaN alone into None, and Trainer
# still logs before it saves; (5) the loss of every mode still equals the pure function.
UPSTREAM = {
    (GRPOTrainer, "_compute_loss"): "80295546bbdbf6f7",
    (GRPOTrainer, "_get_per_token_logps_and_entropies"): "ea73c3909275851d",
    (GRPOTrainer, "_generate_and_score_completions"): "1fa48922792dcd5c",
    (GRPOTrainer, "_prepare_inputs"): "f824e7fb07147956",
    (GRPOTrainer, "_calculate_rewards"): "736ae29b083840b5",
    (GRPOTrainer, "_generate_single_turn"): "e0f02e4fc094cefd",
    (GRPOTrainer, "training_step"): "9e18632f7dd8e8d8",
    (GRPOTrainer, "_generate"): "2a27fdf8f5e6f356",
    (GRPOTrainer, "_get_train_sampler"): "36497afb4d311dc9",
    (GRPOTrainer, "get_train_dataloader"): "2bffe5a57c539e17",
    (GRPOTrainer, "log"): "1e7772819cc8cf09",
    (trl.trainer.utils, "add_fused_lm_head"): "422d009f04b66659",
    (trl.trainer.utils, "shuffle_sequence_dict"): "bab038755e57ed2b",
    (trl.trainer.utils, "split_tensor_dict"): "b61a5760a03e95db",
    (trl.trainer.utils, "RepeatSampler"): "ba139f4a43eeecd4",
    (Trainer, "_run_epoch"): "ebe374933064ecd6",
    (Trainer, "_maybe_log_save_evaluate"): "af101534f0f7b2d7",
}


@pytest.mark.parametrize("owner, name", UPSTREAM)
def test_upstream_source_is_the_one_that_was_read(owner, name):
    digest = hashlib.sha256(inspect.getsource(getattr(owner, name)).encode()).hexdigest()[:16]
    assert digest == UPSTREAM[owner, name], f"{name} has changed upstream: see the comment above UPSTREAM"
