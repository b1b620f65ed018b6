"""Train by GRPO as one would write it first: plain PyTorch around a Transformers model, a readable reference.

Same model, prompts, group size, number of updates, optimizer and loss as `trainer.ClipGRPOTrainer`: sample with
`generate`, one pass for log π_old, group advantages, then mini-batches with a two-sided clip, token mean, gradient-norm
clipping and AdamW. No logging, no checkpoints, no distribution, no choice of anything. `benchmarks/grpo_step.py`
measures the trainer against it; notebook 02 shows it.

Shapes: R rollouts, P prompt tokens, T completion tokens.

Usage:

    loop = PlainGRPO(model, tokenizer, group_size=16, updates=8, micro_batch=64, max_new_tokens=64, learning_rate=5e-7)
    loop.rollout_batch(prompts, rewards)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

EPSILON = 0.2
"""Distance of the clip's exits from ratio 1."""


class PlainGRPO:
    """Train a model by calls of `rollout_batch`, each of which samples, scores and makes the updates."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        group_size: int,
        updates: int,
        micro_batch: int,
        max_new_tokens: int,
        learning_rate: float,
    ):
        self.model, self.tokenizer, self.group_size, self.updates = model, tokenizer, group_size, updates
        self.micro_batch, self.max_new_tokens = micro_batch, max_new_tokens
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
        self.tokenizer.padding_side = "left"

    def log_probs(self, ids: torch.Tensor, mask: torch.Tensor, n_completion: int) -> torch.Tensor:
        """Compute log π of the completion tokens, (R, T), from ids and mask (R, P + T)."""
        hidden = self.model.model(ids, attention_mask=mask).last_hidden_state[:, -n_completion - 1 : -1]
        log_softmax = torch.log_softmax(self.model.lm_head(hidden), dim=-1)
        return log_softmax.gather(2, ids[:, -n_completion:, None]).squeeze(2)

    def rollout_batch(self, prompts: list[str], reward: Callable[[list[str]], list[float]]) -> None:
        """Sample `group_size` completions per prompt, score them, and make the updates."""
        repeated = [prompt for prompt in prompts for _ in range(self.group_size)]
        inputs = self.tokenizer(repeated, return_tensors="pt", padding=True)
        self.model.eval()
        with torch.no_grad():
            sampling = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
            limits = {"max_new_tokens": self.max_new_tokens, "pad_token_id": self.tokenizer.pad_token_id}
            ids = self.model.generate(**inputs, **sampling, **limits)
            completion = ids[:, inputs["input_ids"].size(1) :]
            ended = (completion == self.tokenizer.eos_token_id).int()
            real = ((ended.cumsum(1) - ended) == 0).int()  # up to and with the first end-of-sequence token
            mask = torch.cat([inputs["attention_mask"], real], dim=1)
            parts = zip(ids.split(self.micro_batch), mask.split(self.micro_batch), strict=True)
            old = torch.cat([self.log_probs(*part, real.size(1)) for part in parts])
        rewards = torch.tensor(reward(self.tokenizer.batch_decode(completion, skip_special_tokens=True)))
        groups = rewards.view(-1, self.group_size)
        advantages = ((groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)).view(-1, 1)

        self.model.train()
        for mini in torch.randperm(len(ids)).chunk(self.updates):
            micros = mini.split(self.micro_batch)
            for rows in micros:
                ratio = (self.log_probs(ids[rows], mask[rows], real.size(1)) - old[rows]).exp()
                clipped = ratio.clamp(1 - EPSILON, 1 + EPSILON)
                loss = -torch.minimum(ratio * advantages[rows], clipped * advantages[rows])
                ((loss * real[rows]).sum() / real[rows].sum() / len(micros)).backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
