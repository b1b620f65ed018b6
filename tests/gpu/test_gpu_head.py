"""The fused head on CUDA, where TRL takes its Triton path: against the full softmax in plain torch."""

import copy

import pytest
import random_models
import torch
from trl.trainer.utils import add_fused_lm_head

from spurious_rewards.training.fast_trl import CompletionHead

TEMPERATURE = 0.7


def batch(vocabulary, rows=6, prompt=20, width=60):
    """Prompts of 5 to 20 tokens before completions of 2 to 40."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, vocabulary, (rows, width), generator=generator)
    mask = torch.ones_like(ids)
    for row in range(rows):
        mask[row, : 3 * row] = 0
        mask[row, prompt + 2 + 7 * row :] = 0
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :prompt] = -100
    return {name: value.cuda() for name, value in (("input_ids", ids), ("attention_mask", mask), ("labels", labels))}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.2)])
def test_log_probs_entropy_top1_and_gradient(dtype, tolerance, record):
    model, _ = random_models.qwen("tiny", vocabulary=4099)
    with torch.no_grad():  # logits worth a softmax
        model.lm_head.weight.mul_(30)
    plain = copy.deepcopy(model)
    add_fused_lm_head(model, temperature=TEMPERATURE, outputs=("log_probs", "entropy"))
    head = CompletionHead(model, TEMPERATURE, top1=True)
    given = batch(4099)
    with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
        output = model(**given, fused_lm_head=True)
        logits = plain(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).logits[:, :-1]
    labels = given["labels"][:, 1:]
    real = labels != -100
    expected = torch.log_softmax(logits.float() / TEMPERATURE, dim=-1)
    chosen = expected.gather(2, labels.clamp(min=0).unsqueeze(2)).squeeze(2)
    entropy = -(expected.exp() * expected).sum(dim=-1)
    found = {
        "log-probability": (output.log_probs[real] - chosen[real]).abs().max().item(),
        "entropy": (output.entropy[real] - entropy[real]).abs().max().item(),
        "top-1 log-probability": (head.top1_logp - expected.amax(dim=-1)[real]).abs().max().item(),
    }
    output.log_probs[real].float().sum().backward()
    chosen[real].sum().backward()
    ours, theirs = model.lm_head.weight.grad.float(), plain.lm_head.weight.grad.float()
    found["relative gradient of the head"] = ((ours - theirs).norm() / theirs.norm()).item()
    for name, value in found.items():
        record(f"{str(dtype).removeprefix('torch.')}, largest error of the {name}", value)
    assert all(value < tolerance for value in found.values()), found
