"""Record one rollout batch for the page that plays it: the ratio of every token after every update.

The rollouts, rewards, advantages and mini-batches are those of the paired counterfactual, drawn and replayed by the
trainer's own code (`mechanism.replay`).

    python -m spurious_rewards.reporting.rollout_record --out results
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from spurious_rewards.command_line import command
from spurious_rewards.mechanism.counterfactual_config import CounterfactualConfig
from spurious_rewards.mechanism.replay import Arms, Draw, MiniBatch
from spurious_rewards.reporting.words import clip_words
from spurious_rewards.rewards.grading import grade
from spurious_rewards.rewards.strategy import uses_code
from spurious_rewards.storage.files import write_json, write_text
from spurious_rewards.storage.provenance import provenance

MODES = ("two_sided", "none")


def configuration() -> CounterfactualConfig:
    """Define the page's rollout batch: four groups of sixteen, eight updates, a step at which tokens leave the band."""
    return CounterfactualConfig(
        clip_modes="none,two_sided", optimizer="adamw", learning_rate=3e-4, prompts_per_batch=4, group_size=16,
        updates_per_batch=8, micro_batch=8,
    )  # fmt: skip


def record(config: CounterfactualConfig) -> dict[str, Any]:
    """Draw one rollout batch and replay it under each mode.

    Returns:
        `groups`, each with `problem`, `gold` and `rollouts`; a rollout has `reward`, `advantage`, `code`, `right`,
        `tokens` and `ratios`: mode → one list per update made (0 to all), of whole hundredths, one per token.
    """
    arms = Arms(config)
    draw = arms.draw(0)
    ratios = {mode: ratios_by_update(arms, mode, draw) for mode in MODES}
    decode = arms.tokenizer.decode
    rows_of = next(iter(arms.trainers.values())).train_dataset
    known = {decode(arms.tokenizer(row["prompt"])["input_ids"], skip_special_tokens=True): row for row in rows_of}
    groups: dict[str, dict[str, Any]] = {}
    row = 0
    for micro in draw.micro_batches:
        for i in range(len(micro["completion_ids"])):
            prompt = decode(micro["prompt_ids"][i][micro["prompt_mask"][i].bool()], skip_special_tokens=True)
            ids = micro["completion_ids"][i][micro["completion_mask"][i].bool()].tolist()
            problem = known[prompt]
            text = decode(ids, skip_special_tokens=True)
            group = groups.setdefault(prompt, {"problem": prompt, "gold": problem["answer"], "rollouts": []})
            advantage = round(float(micro["advantages"][i]), 4)
            rollout = {"reward": int(advantage > 0) if advantage else None, "advantage": advantage}
            rollout |= {"code": uses_code(text), "right": bool(grade(text, problem["answer"]).correct)}
            rollout["tokens"] = [decode([token]) for token in ids]
            rollout["ratios"] = {mode: [step[row][: len(ids)] for step in steps] for mode, steps in ratios.items()}
            group["rollouts"].append(rollout)
            row += 1
    for group in groups.values():
        group["rollouts"].sort(key=lambda rollout: (-rollout["advantage"], not rollout["code"]))
    return {
        "model": config.model, "epsilon": config.epsilon_high, "updates": config.updates_per_batch,
        "learning_rate": config.learning_rate, "modes": {mode: clip_words(mode) for mode in MODES},
        "groups": list(groups.values()),
    }  # fmt: skip


def ratios_by_update(arms: Arms, mode: str, draw: Draw) -> list[list[list[int]]]:
    """Compute the ratios of all rollouts after 0, 1, … updates under a mode, in hundredths: update → rollout → token.

    The arm is replayed from the checkpoint once per number of updates, which a batch of 64 short rollouts allows.
    """
    per_update = len(draw.micro_batches) // arms.config.updates_per_batch
    steps = [[[100] * micro["completion_ids"].size(1) for micro in draw.micro_batches for _ in micro["completion_ids"]]]
    for n in range(per_update, len(draw.micro_batches) + 1, per_update):
        arms.replay(mode, dataclasses.replace(draw, micro_batches=draw.micro_batches[:n]))
        rows: list[list[int]] = []
        for micro in draw.micro_batches:
            ratio_B_T = (log_probs(arms.model, micro) - micro["old_per_token_logps"]).exp()
            rows += torch.round(100 * ratio_B_T).int().tolist()
        steps.append(rows)
    return steps


@torch.no_grad()
def log_probs(model: torch.nn.Module, micro: MiniBatch) -> torch.Tensor:
    """Compute log π of the answer tokens of a micro-batch at temperature 1, shape (B, T)."""
    ids = torch.cat([micro["prompt_ids"], micro["completion_ids"]], dim=1)
    mask = torch.cat([micro["prompt_mask"], micro["completion_mask"]], dim=1)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    n_prompt = micro["prompt_ids"].size(1)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits[:, n_prompt - 1 : -1]
    return logits.float().log_softmax(dim=-1).gather(2, micro["completion_ids"].unsqueeze(2)).squeeze(2)


def make_record(*, out: Path) -> None:
    """Make the record of one rollout batch and its manifest.

    Args:
        out: results folder.
    """
    torch.set_num_threads(1)
    began, config = time.monotonic(), configuration()
    text = json.dumps(record(config), ensure_ascii=False, separators=(",", ":"))
    write_text(out / "records" / "rollouts" / "rollouts.json", text + "\n")
    seconds = round(time.monotonic() - began, 1)
    manifest = {**provenance(), "seconds": seconds, "config": config.to_dict()}
    write_json(out / "manifests" / "mechanism" / "rollouts.json", manifest)
    print(f"One rollout batch in {seconds:.0f} s.")


main = command(make_record)


if __name__ == "__main__":
    sys.exit(main())
