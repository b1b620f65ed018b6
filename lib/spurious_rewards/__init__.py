"""Spurious Rewards, reproduced: why RLVR improves some language models even when the reward is random.

The packages stand in layers; each imports only what stands before it in this list:
`errors`, `arithmetic`, `command_line`, `storage`, `workflow`, `data`, `models`, `rewards`, `generation`, `training`,
`evaluation`, `mechanism`, `reporting`.
"""

import warnings

from spurious_rewards.arithmetic import pin

__version__ = "0.1.0"

LAYERS = (
    "errors",
    "arithmetic",
    "command_line",
    "storage",
    "workflow",
    "data",
    "models",
    "rewards",
    "generation",
    "training",
    "evaluation",
    "mechanism",
    "reporting",
)

# tqdm.auto, which the Hugging Face libraries import, asks for ipywidgets; plain text bars survive in notebooks on disk.
warnings.filterwarnings("ignore", message="IProgress not found")

pin()
