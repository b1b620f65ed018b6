"""Small training runs on the embedded organism, shared by the tests of this folder."""

from spurious_rewards.data.synthetic import generate
from spurious_rewards.training.config import RunConfig

SMALL = {
    "model": "qwen-like",
    "train_set": "synthetic",
    "n_train_problems": 64,
    "prompt_style": "organism",
    "reward": "random",
    "prompts_per_batch": 4,
    "group_size": 4,
    "updates_per_batch": 4,
    "rollout_batches": 4,
    "micro_batch": 4,
    "max_prompt_tokens": 64,
    "max_completion_tokens": 24,
    "learning_rate": 3e-3,
    "precision": "fp32",
    "save_every_batches": 2,
}


def config(**changes) -> RunConfig:
    """Four rollout batches of 4 × 4 rollouts, 4 updates each (16 in all), 1 micro-batch per update."""
    return RunConfig(**{**SMALL, **changes})


def problems(n: int = 64):
    """Problems of the clean task."""
    return generate(n, seed=0, split="train")
