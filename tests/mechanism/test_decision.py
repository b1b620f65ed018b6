"""Where a model decides: the variance of its choice by hand on a made-up policy, and on the two embedded organisms."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spurious_rewards.mechanism.decision import decision_row, decision_table

CODE, PREFACE, WORD, END = range(4)
AFTER = {  # by the last token; the prompt is one WORD
    WORD: [0.4, 0.3, 0.2, 0.1],
    PREFACE: [0.9, 0.0, 0.1, 0.0],
    CODE: [0.0, 0.0, 0.0, 1.0],
}


class Policy:
    """Next-token probabilities that depend on the last token alone."""

    def parameters(self):
        return iter([torch.empty(0)])

    def get_output_embeddings(self):
        return SimpleNamespace(weight=torch.empty(4, 1))

    def __call__(self, input_ids, use_cache=False):
        rows = [[AFTER.get(int(token), [0.25] * 4) for token in row] for row in input_ids]
        return SimpleNamespace(logits=torch.tensor(rows).clamp(min=1e-30).log())


class Tokenizer:
    """Four tokens, of which the first is code."""

    all_special_ids = (END,)

    def __len__(self):
        return 4

    def __call__(self, texts):
        return {"input_ids": [[WORD] for _ in texts]}

    def decode(self, ids, skip_special_tokens=False):
        return "".join({CODE: "python", PREFACE: "p ", WORD: "w ", END: ""}[i] for i in ids)


def test_by_hand():
    row = decision_row(Policy(), Tokenizer(), ["one", "two"], depth=2)
    # v after the first token: CODE 1, PREFACE 0.9, WORD 0.4, END 0; P(code) = 0.4 + 0.27 + 0.08 = 0.75
    assert row["code"] == pytest.approx(0.75) and row["n_problems"] == 2
    # 0.4 · 0.25² + 0.3 · 0.15² + 0.2 · 0.35² + 0.1 · 0.75² = 0.1125 of 0.75 · 0.25 = 0.1875
    assert row["first_token"] == pytest.approx(0.1125 / 0.1875)
    entropy = -sum(p * np.log(p) for p in AFTER[WORD])
    assert row["openings"] == pytest.approx(np.exp(entropy))
    assert (row["likeliest"], row["likeliest_code"]) == (pytest.approx(0.4), pytest.approx(0.4))
    assert row["unexpanded"] == pytest.approx(0)
    # Seen one token deep, only CODE is code: the choice is the first token's
    alone = decision_row(Policy(), Tokenizer(), ["one"], depth=1)
    assert alone["code"] == pytest.approx(0.4) and alone["first_token"] == pytest.approx(1)


def test_the_twin_decides_with_one_likely_token_and_the_embedded_organism_with_many():
    torch.set_num_threads(1)
    table = decision_table(n_problems=24).set_index("model")
    one, many = table.loc["one-token"], table.loc["qwen-like"]
    assert one["first_token"] > 0.99 and one["openings"] < 2.05 and one["likeliest_code"] > 0.5
    assert many["openings"] > 5 and many["likeliest_code"] < 0.35
    assert abs(one["code"] - many["code"]) < 0.15 and (table["unexpanded"] < 0.01).all()
