"""The clip noise floor: how far rounding alone moves the ratio π_θ/π_old when the two come from different batches.

The same weights score the same rollouts twice: in the micro-batches of the update, and in batches of as many rollouts
of similar length. In exact arithmetic every ratio is 1. What lies outside the clip band anyway is the floor below which
a clip fraction, a would-clip fraction or a KL(π_old) of that model and precision says nothing.

    python benchmarks/clip_noise_floor.py --models qwen-like --out results/tables/training/clip_noise_floor.csv
    python benchmarks/clip_noise_floor.py --models smollm2-135m-instruct --prompts 16 --append ...   (a GPU: seconds)
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pandas as pd
import torch

from spurious_rewards.data.labelled import training_problems
from spurious_rewards.models.registry import resolve
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.run import make_trainer

BAND = (0.8, 1.2)
"""The paper's clip band, ε = 0.2 on both sides."""


def noise_floor(trainer: Any, n_prompts: int) -> dict[str, float]:
    """Score own rollouts on `n_prompts` prompts in two batch compositions and compare.

    Returns:
        tokens: number compared. mean_change, max_change: of |Δ log p|, nats. outside: share of tokens whose ratio lies
        outside `BAND`. repeated: largest |Δ log p| when the first composition is scored a second time.
    """
    group = trainer.num_generations
    rows = [row for row in trainer.train_dataset[:n_prompts] for _ in range(group)]
    trainer.model.train()  # `_prepare_inputs` draws rollouts for training only
    trainer._step, trainer._buffered_inputs = 0, None
    trainer._prepare_inputs(rows)
    micro_batches, trainer._buffered_inputs = trainer._buffered_inputs, None
    trainer._metrics["train"].clear()
    names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
    rollouts = {name: _stacked([micro[name] for micro in micro_batches], name.startswith("prompt")) for name in names}
    mask = rollouts["completion_mask"].bool()
    size = len(micro_batches[0]["prompt_ids"])
    in_order = list(torch.arange(len(mask)).split(size))
    by_length = list((mask.sum(dim=1) + rollouts["prompt_mask"].sum(dim=1)).argsort(stable=True).cpu().split(size))
    first, again, other = (_log_probs(trainer, rollouts, parts) for parts in (in_order, in_order, by_length))
    change = (other - first)[mask]
    outside = (change.exp() < BAND[0]) | (change.exp() > BAND[1])
    return {
        "tokens": int(mask.sum()),
        "mean_change": change.abs().mean().item(),
        "max_change": change.abs().max().item(),
        "outside": outside.double().mean().item(),
        "repeated": (again - first)[mask].abs().max().item(),
    }


def _stacked(parts: list[torch.Tensor], left: bool) -> torch.Tensor:
    """Rows of all parts, filled with 0 to one width: prompts on their left, completions on their right."""
    width = max(part.size(1) for part in parts)
    fill = [(width - part.size(1), 0) if left else (0, width - part.size(1)) for part in parts]
    return torch.cat([torch.nn.functional.pad(part, by) for part, by in zip(parts, fill, strict=True)])


@torch.no_grad()
def _log_probs(trainer: Any, rollouts: dict[str, torch.Tensor], parts: list[torch.Tensor]) -> torch.Tensor:
    """log π of every token, (N, T), scored in these parts, each cut to its own longest prompt and completion."""
    found = torch.zeros_like(rollouts["completion_ids"], dtype=torch.float32)
    device = trainer.accelerator.device.type
    for part in parts:
        width = int(rollouts["completion_mask"][part].sum(dim=1).max())
        prompt = int(rollouts["prompt_mask"][part].sum(dim=1).max())
        ids, mask = (
            torch.cat(
                [rollouts[f"prompt_{kind}"][part][:, -prompt:], rollouts[f"completion_{kind}"][part][:, :width]], 1
            )
            for kind in ("ids", "mask")
        )
        with torch.autocast(device, dtype=torch.bfloat16, enabled=bool(trainer.args.bf16)):
            logps = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, width, compute_entropy=True)[0]
        found[part, :width] = logps.float()
    return found


def measured(model: str, precision: str, n_prompts: int, prompt_style: str, train_set: str) -> dict[str, Any]:
    """One row of the table."""
    config = RunConfig(
        model=model,
        train_set=train_set,
        n_train_problems=256,
        prompt_style=prompt_style,
        reward="random",
        prompts_per_batch=n_prompts,
        group_size=8,
        updates_per_batch=2,
        rollout_batches=1,
        micro_batch=4,
        max_completion_tokens=96,
        precision=precision,
    )
    problems = training_problems(config.train_set, config.n_train_problems, 0, config.reward, "")
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(config, problems, folder)
        device = trainer.accelerator.device
        name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
        return {
            "model": model,
            "precision": precision,
            "device": name,
            "torch": torch.__version__.partition("+")[0],
            "micro_batch": config.micro_batch,
            **noise_floor(trainer, n_prompts),
        }


def main() -> None:
    """Measure each model in fp32 and under bf16 autocast and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["qwen-like"])
    parser.add_argument("--prompts", type=int, default=16, help="prompts, 8 rollouts each")
    parser.add_argument("--train-set", default="synthetic")
    parser.add_argument("--out", type=Path, help="CSV file")
    parser.add_argument("--append", action="store_true", help="keep the other rows of --out")
    options = parser.parse_args()
    rows = []
    for model in options.models:
        style = "organism" if resolve(model).task == "synthetic" else "simplerl"
        rows += [measured(model, each, options.prompts, style, options.train_set) for each in ("fp32", "bf16")]
    table = pd.DataFrame(rows)
    if options.append and options.out and options.out.is_file():
        keys = ["model", "precision", "device"]
        table = pd.concat([pd.read_csv(options.out), table]).drop_duplicates(keys, keep="last")
    print(table.to_string(index=False))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(options.out, index=False, float_format="%.3g")


if __name__ == "__main__":
    main()
