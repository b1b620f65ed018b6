"""Perplexity by a loop over single texts, and what is scored."""

import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "generation"))

from tiny_lm import tiny_model, tiny_tokenizer

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.perplexity import perplexity

TEXTS = ["what is 2+2?", "7*8", "1+1=2"]
CONTEXTS = ["a", "the sum of", "b c"]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_equals_a_loop(batch_size):
    model, tokenizer = tiny_model(), tiny_tokenizer()
    for contexts in (None, CONTEXTS):
        total, n = 0.0, 0
        for i, text in enumerate(TEXTS):
            before = tokenizer(contexts[i])["input_ids"] if contexts else []
            ids = before + tokenizer(text, add_special_tokens=False)["input_ids"]
            logp = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            for t in range(max(len(before), 1), len(ids)):
                total, n = total + logp[t - 1, ids[t]].item(), n + 1
        found = perplexity(model, tokenizer, TEXTS, contexts, batch_size)
        assert found == pytest.approx(math.exp(-total / n), rel=1e-5)


def test_a_uniform_model_has_the_vocabularys_size():
    model, tokenizer = tiny_model(), tiny_tokenizer()
    with torch.no_grad():
        model.lm_head.weight.zero_()
    assert perplexity(model, tokenizer, TEXTS) == pytest.approx(model.config.vocab_size, rel=1e-5)


def test_nothing_to_score_is_one_sentence():
    with pytest.raises(InputError, match="every text is empty"):
        perplexity(tiny_model(), tiny_tokenizer(), ["", ""])
