"""Spurious Rewards, reproduced: why RLVR improves some language models even when the reward is random.

The packages stand in layers; each imports only what stands before it in this list:
`errors`, `workflow`, `data`, `models`, `rewards`, `generation`, `training`, `evaluation`, `mechanism`, `reporting`.
"""

__version__ = "0.1.0"

LAYERS = (
    "errors", "workflow", "data", "models", "rewards", "generation", "training", "evaluation", "mechanism", "reporting",
)
