"""Project the gradient that the clip adds onto the motion of the policy since its rollout batch began.

Magnitudes mislead: the noise of an uninformative reward has mean zero and the clip term has not, so what counts is the
sign of the clip term's push relative to the motion away from π_old. For one mini-batch, let

    L      the loss that TRL's own code computes with a clip band
    L₀     the same loss of the same tokens with the band open: ratio kept, nothing clipped
    h      = −∇_θ (L − L₀), what the clip adds to the descent direction
    d      = θ − θ_old, the motion since the rollout batch began (θ_old wrote the rollouts)

and log

    clip_gradient_norm   ‖h‖
    clip_projection      ⟨h, d⟩ / ‖d‖, in units of a gradient; negative: the clip pulls back towards π_old
    clip_cosine          ⟨h, d⟩ / (‖h‖·‖d‖), in [−1, 1]
    motion_norm          ‖d‖

The band is the arm's own; in arms without a clip (`none`, `none_released`) it is two-sided at the reference ε, so there
h is what a clip *would* add. `cispo` clips a weight; its h is the gradient that this weight loses. At the first update
of a rollout batch d = 0 and projection and cosine are 0 by definition. h is taken before gradient-norm clipping and
before Adam's rescaling, and does not depend on the optimizer. Sums run over the trainable parameters.

Where the clip acts on no token of any process' micro-batch, as in the first update of every rollout batch, L and L₀
are the same function and h is 0 without computing anything. Elsewhere it costs a second backward pass, two elementwise
evaluations of the loss (no forward pass), and two copies of the trainable weights. It reads gradients with
`torch.autograd.grad` and touches neither `.grad` nor a generator, so the trajectory is the same to the last bit with
and without it (a test holds that). Weights must be whole on every process: FSDP and ZeRO are refused
(`training.run.refuse_sharded`).

Usage: `probe.begin(model)` per rollout batch, `probe.add(loss, open_loss)` per micro-batch, `probe.take(accelerator)`
per update.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn


class ClipProjection:
    """Add up h over the micro-batches of an update, and reduce it to the columns of the module's docstring."""

    def __init__(self) -> None:
        self._parameters: list[nn.Parameter] = []
        self._old: list[Tensor] = []
        self._push: list[Tensor] | None = None

    def begin(self, model: nn.Module) -> None:
        """Keep θ_old, the weights that write the coming rollout batch."""
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._old = [p.detach().clone() for p in self._parameters]
        self._push = None

    def add(self, loss: Tensor | None = None, open_loss: Tensor | None = None) -> None:
        """Take in one micro-batch, without losses if the clip acts on none of its tokens.

        Both losses hang on the graph of the policy's forward pass, which is kept.
        """
        if loss is None or open_loss is None:
            return
        difference = open_loss - loss
        gradients = torch.autograd.grad(difference, self._parameters, retain_graph=True, allow_unused=True)
        if self._push is None:
            self._push = [torch.zeros_like(p) for p in self._parameters]
        for total, gradient in zip(self._push, gradients, strict=True):
            if gradient is not None:
                total += gradient

    @torch.no_grad()
    def take(self, accelerator: Accelerator) -> dict[str, float]:
        """Return the columns of this update over all processes, and start the next update."""
        push: list[Any] = self._push or [torch.zeros_like(p) for p in self._parameters]
        self._push = None
        if accelerator.num_processes > 1:  # the loss of an update is the mean over processes, so its gradient is too
            push = [accelerator.reduce(x, reduction="mean") for x in push]
        motion = [p - old for p, old in zip(self._parameters, self._old, strict=True)]
        dot, push_2, motion_2 = torch.stack(
            [
                sum((a * b).sum(dtype=torch.float64) for a, b in zip(x, y, strict=True))
                for x, y in ((push, motion), (push, push), (motion, motion))
            ]
        ).tolist()
        push_norm, motion_norm = push_2**0.5, motion_2**0.5
        projection = dot / motion_norm if motion_norm else 0.0
        return {
            "clip_gradient_norm": push_norm,
            "clip_projection": projection,
            "clip_cosine": projection / push_norm if push_norm else 0.0,
            "motion_norm": motion_norm,
        }
