"""The tree of first tokens: by hand on a made-up policy, and on the organism for a policy far from the checkpoint."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spurious_rewards.mechanism.code_tree import BOUND, CodeTree, bounded_share, logit
from spurious_rewards.mechanism.counterfactual_config import CounterfactualConfig
from spurious_rewards.mechanism.probe_set import ProbeSet
from spurious_rewards.models.registry import load

CODE, PREFACE, WORD, END = range(4)


AFTER = {WORD: [0.30, 0.50, 0.15, 0.05], PREFACE: [0.90, 0.02, 0.05, 0.03], CODE: [0.0, 0.0, 0.0, 1.0]}


class Policy:
    """Next-token probabilities that depend on the last token alone; the prompt is one WORD."""

    def parameters(self):
        return iter([torch.empty(0)])

    def __call__(self, input_ids, use_cache):
        rows = [[AFTER.get(int(token), [0.25] * 4) for token in row] for row in input_ids]
        return SimpleNamespace(logits=torch.tensor(rows).clamp(min=1e-30).log())


class Marks:
    before = ""

    def after(self, path):
        return np.array([CODE not in path, False, False, False])


def test_by_hand():
    one, two, three = (
        CodeTree([[WORD]], Marks(), [END], 1.0, depth=depth, least=0.02).measure(Policy()) for depth in (1, 2, 3)
    )
    assert one["code_exact"][0] == pytest.approx(0.3) and one["code_rest"][0] == 0
    assert two["code_exact"][0] == pytest.approx(0.3 + 0.5 * 0.9 + 0.15 * 0.3)
    # third token: after PREFACE WORD 0.025 · 0.3, WORD PREFACE 0.075 · 0.9, WORD WORD 0.0225 · 0.3; PREFACE PREFACE,
    # 0.01, is below `least` and left open; END ends an answer
    assert three["code_exact"][0] == pytest.approx(0.795 + 0.0075 + 0.0675 + 0.00675)
    assert three["code_rest"][0] == pytest.approx(0.01)
    assert three["code_logit"][0] == pytest.approx(np.log(0.87675 / 0.12325))


def test_a_model_gets_its_prompts_where_its_weights_are():
    class Elsewhere(Policy):
        """On another device than the CPU; indifferent between the four tokens."""

        def parameters(self):
            return iter([torch.empty(0, device="meta")])

        def __call__(self, input_ids, use_cache):
            assert input_ids.device.type == "meta"
            return SimpleNamespace(logits=torch.zeros(*input_ids.shape, 4))

    found = CodeTree([[WORD]], Marks(), [END], 1.0, depth=2, least=0.02).measure(Elsewhere())
    assert found["code_exact"][0] == pytest.approx(0.25 + 2 * 0.25 * 0.25)  # END ends, CODE is code already


def test_temperature_and_forced_code():
    hot = CodeTree([[WORD]], Marks(), [END], 2.0, depth=1, least=0.01).measure(Policy())["code_exact"][0]
    roots = np.sqrt(AFTER[WORD])
    assert hot == pytest.approx(roots[CODE] / roots.sum(), rel=1e-6)
    forced = CodeTree([[WORD]], SimpleNamespace(before="```python\n"), [END], 1.0, depth=1, least=0.01)
    assert forced.measure(Policy())["code_exact"].tolist() == [1.0]


def test_log_odds_are_bounded_and_say_so():
    values = logit(np.array([0.0, BOUND, 0.5, 1.0]))
    assert values.tolist() == pytest.approx([-5.2933, -5.2933, 0.0, 5.2933], abs=1e-4) and bounded_share(values) == 0.75
    assert bounded_share(values.astype(np.float32)) == 0.75


def test_a_policy_far_away_stays_a_probability():
    """Where importance weighting leaves [0, 1], the tree does not, and it agrees with fresh answers."""
    torch.set_num_threads(1)
    model, tokenizer = load("qwen-like")
    config = CounterfactualConfig(probe_problems=12, probe_samples=3, max_completion_tokens=24)
    probe = ProbeSet.sample(config, model, tokenizer)
    far = copy.deepcopy(model)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in far.parameters():
            parameter += 0.15 * parameter.std() * torch.randn_like(parameter)
    found = probe.measure(far).per_problem
    total = found["code_exact"] + found["code_rest"]
    assert found["code_exact"].min() >= 0 and total.max() <= 1 + 1e-9
    fresh = ProbeSet.sample(
        CounterfactualConfig(probe_problems=12, probe_samples=24, max_completion_tokens=24, probe_seed=0),
        far,
        tokenizer,
    )
    share = fresh._decides_N.sum() / (12 * 24)
    error = np.sqrt(share * (1 - share) / (12 * 24))
    assert found["code_exact"].mean() - 4 * error < share < total.mean() + 4 * error
