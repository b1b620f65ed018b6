"""The head at labelled positions: TRL's numbers, and the top-1 probability of the full softmax."""

import copy

import pytest
import torch
from trl.trainer.utils import add_fused_lm_head

from spurious_rewards.models.registry import load
from spurious_rewards.training.fast_trl import CompletionHead

TEMPERATURE = 0.7


@pytest.fixture(scope="module")
def batch():
    """Prompts of 3 to 6 tokens on the left of 8 completion positions, of which 2 to 8 are real: (5, 14)."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, 300, (5, 14), generator=generator)
    mask = torch.ones_like(ids)
    for row, (n_prompt, n_completion) in enumerate([(6, 8), (3, 2), (5, 8), (4, 5), (6, 3)]):
        mask[row, : 6 - n_prompt] = 0
        mask[row, 6 + n_completion :] = 0
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :6] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@pytest.fixture(scope="module")
def outputs(batch):
    model, _ = load("qwen-like")
    stock = copy.deepcopy(model)
    for each in (model, stock):
        add_fused_lm_head(each, temperature=TEMPERATURE, outputs=("log_probs", "entropy"))
    head = CompletionHead(model, TEMPERATURE, top1=True)
    ours, theirs = (each(**batch, fused_lm_head=True) for each in (model, stock))
    return model, stock, head, ours, theirs


def test_log_probs_entropy_and_gradient_are_trls(outputs):
    model, stock, _, ours, theirs = outputs
    for name in ("log_probs", "entropy"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert a.shape == b.shape == (5, 13)
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert torch.equal(ours.label_mask, theirs.label_mask)
    ours.log_probs.sum().backward()
    theirs.log_probs.sum().backward()
    for name, parameter in model.named_parameters():
        expected = stock.get_parameter(name).grad
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


def test_top1_is_the_maximum_of_the_softmax(outputs, batch):
    model, _, head, _, _ = outputs
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    expected = torch.log_softmax(logits / TEMPERATURE, dim=-1).amax(dim=-1)[batch["labels"][:, 1:] != -100]
    assert len(expected) == 8 + 2 + 8 + 5 + 3
    torch.testing.assert_close(head.top1_logp, expected, rtol=1e-4, atol=1e-5)


def test_passes_without_gradient_and_generation_are_left_alone(outputs, batch):
    model, _, head, _, _ = outputs
    head.top1_logp = None
    with torch.no_grad():
        model(**batch, fused_lm_head=True)
    assert head.top1_logp is None
    text = model.generate(
        batch["input_ids"][:, :6], attention_mask=batch["attention_mask"][:, :6], max_new_tokens=3, do_sample=False
    )
    assert text.shape[0] == 5


def test_a_batch_without_labels_stays_on_the_graph(outputs, batch):
    model, _, _, _, _ = outputs
    output = model(**{**batch, "labels": torch.full_like(batch["labels"], -100)}, fused_lm_head=True)
    assert output.log_probs.shape == (5, 13) and output.log_probs.abs().sum() == 0
