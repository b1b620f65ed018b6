"""The probe set against brute force, and the table of effects against hand arithmetic."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from spurious_rewards.mechanism.code_tokens import CodeTokens
from spurious_rewards.mechanism.counterfactual_config import CounterfactualConfig
from spurious_rewards.mechanism.effects import effects
from spurious_rewards.mechanism.probe_set import ProbeSet
from spurious_rewards.models.registry import load

CONFIG = CounterfactualConfig(probe_problems=5, probe_samples=3, max_completion_tokens=48)


@pytest.fixture(scope="module")
def organism():
    torch.set_num_threads(1)
    return load("qwen-like")


@pytest.fixture(scope="module")
def probe(organism):
    return ProbeSet.sample(CONFIG, *organism)


@pytest.fixture(scope="module")
def moved(organism):
    """The organism with some noise on its weights."""
    model = copy.deepcopy(organism[0])
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.03 * parameter.std() * torch.randn_like(parameter)
    return model


def answers_of(probe):
    """(prompt + answer ids, answer length) of every answer, in the order of its index, read back from the passes."""
    found = {}
    row = 0
    starts = np.unique(probe._starts_N)
    for ids, predicts, _ in probe._passes:
        for i in range(len(ids)):
            first, n = int(predicts[i].nonzero()[0]), int(predicts[i].sum())
            found[int(probe._answer[starts[row]])] = (ids[i, : first + 1 + n].tolist(), n)
            row += 1
    return [found[i] for i in sorted(found)]


def test_the_checkpoint_itself_has_not_moved(probe):
    at_start = probe.checkpoint.scalars()
    assert at_start["kl"] == 0 and at_start["ess"] == 1 and at_start["ess_code"] == 1
    assert np.nanmax(np.abs(probe.checkpoint.moves)) == 0
    assert at_start["accuracy"] == pytest.approx(probe.correct_P_K.mean())
    assert 0.05 < at_start["entropy"] < 1 and 0.5 < at_start["top1"] < 1 and 0 < at_start["code"] < 1
    assert probe.bin_tokens.sum() == probe.n_tokens


def test_the_same_seed_gives_the_same_probe(probe, organism):
    assert ProbeSet.sample(CONFIG, *organism).sha == probe.sha
    assert organism[0].training is False


def test_reading_against_a_loop_over_the_answers(probe, organism, moved):
    model, tokenizer = organism
    marks = CodeTokens(tokenizer, model.get_output_embeddings().weight.shape[0], "")
    rows = []
    for index, (ids, n) in enumerate(answers_of(probe)):
        with torch.no_grad():
            new, old = (m(torch.tensor([ids])).logits[0, -n - 1 : -1].log_softmax(-1).double() for m in (moved, model))
        chosen = torch.tensor(ids[-n:])
        ratio = (new - old)[torch.arange(n), chosen].numpy()
        becomes, decides = marks(ids[-n:])
        code, weight = 0.0, 1.0
        for t in range(n):  # Σ_t w_t · π(next token makes it code)
            code += weight * float(new[t].exp().numpy()[becomes[t]].sum())
            weight *= np.exp(ratio[t])
            if decides[t]:
                break
        rows.append(
            {
                "problem": index // 3,
                "n": n,
                "entropy": float(-(new.exp() * new).sum()),
                "code": code,
                "top1": float(new.exp().amax(1).sum()),
                "kl": float((old.exp() * (old - new)).sum()),
                "w": np.exp(ratio.sum()),
                "correct": probe.correct_P_K[index // 3, index % 3],
            }
        )
    frame = pd.DataFrame(rows)
    reading = probe.measure(moved)
    for p, group in frame.groupby("problem"):
        for name in ("entropy", "top1", "kl"):
            assert reading.per_problem[name][p] == pytest.approx(group[name].sum() / group["n"].sum(), rel=1e-3), name
        weights = group["w"] / group["w"].sum()
        assert reading.per_problem["accuracy"][p] == pytest.approx((weights * group["correct"]).sum(), abs=1e-3)
        assert reading.per_problem["ess"][p] == pytest.approx(1 / (weights**2).sum() / 3, rel=1e-3)
        assert reading.per_problem["code"][p] == pytest.approx(group["code"].mean(), rel=1e-3, abs=1e-6)
    assert reading.scalars()["kl"] > 1e-3 and reading.scalars()["ess"] < 1


def test_code_tokens_follow_the_detector(organism):
    tokenizer = organism[1]
    marks = CodeTokens(tokenizer, len(tokenizer), "")
    fence = tokenizer.convert_tokens_to_ids("```python\n")
    opener = tokenizer("I will write some code for this.\n", add_special_tokens=False)["input_ids"]
    becomes, decides = marks([*opener, fence, fence])
    assert becomes[:, fence].tolist() == [True] * (len(opener) + 1) + [False]  # nothing after it has become code
    assert decides.tolist() == [False] * len(opener) + [True, False]
    spelled = tokenizer.convert_tokens_to_ids(list("pytho"))
    n = tokenizer.convert_tokens_to_ids("n")
    becomes, decides = marks([*spelled, n])
    assert becomes[:5, n].tolist() == [False] * 5 and becomes[5, n] and decides[5]
    assert not CodeTokens(tokenizer, len(tokenizer), "```python\n")([n])[0].any()  # forced: it is code already


def test_effects_by_hand():
    """Two pairs, two problems; entropy of none 1.0 and 3.0, of two_sided 1.5 and 2.5."""
    setting = {"model": "m", "optimizer": "sgd", "learning_rate": 0.3}
    fixed = {
        "top1": 0.5,
        "kl": 0.0,
        "accuracy": 0.5,
        "clipped": [0.0, 0.2],
        "would_clip_high": [0.0, 0.0],
        "would_clip_low": [0.0, 0.0],
        "ratio_max": 1.5,
        "motion": 1.0,
        "ess": 0.4,
        "ess_code": 0.9,
        **{f"move_bin{i}": 0.0 for i in range(5)},
    }
    values = [(0, "none", 1.0, 0.2), (0, "two_sided", 1.5, 0.2), (1, "none", 3.0, 0.2), (1, "two_sided", 2.5, 0.5)]
    pairs = pd.DataFrame(
        [
            {**setting, **fixed, "pair": pair, "clip_mode": mode, "entropy": entropy, "code": code}
            for pair, mode, entropy, code in values
        ]
    )
    pairs["clipped"] = pairs["clipped"].map(np.array)
    pairs[["would_clip_high", "would_clip_low"]] = pairs[["would_clip_high", "would_clip_low"]].map(np.array)
    problems = pd.DataFrame(
        [
            {
                **setting,
                "pair": pair,
                "clip_mode": "two_sided",
                "entropy": np.array(entropy),
                "code": np.array(code),
                "accuracy": np.zeros(2),
            }
            for pair, entropy, code in ((0, [0.5, 0.5], [0.0, 0.0]), (1, [-0.5, -0.5], [0.3, 0.3]))
        ]
    )
    checkpoints = pd.DataFrame(
        [
            {
                **setting,
                "n_pairs": 2,
                "entropy": 2.0,
                "top1": 0.5,
                "kl": 0.0,
                "code": 0.1,
                "accuracy": 0.5,
                **{f"move_bin{i}": 0.0 for i in range(5)},
            }
        ]
    )
    table = effects(pairs, problems, checkpoints).set_index(["clip_mode", "quantity"])
    entropy = table.loc[("two_sided", "entropy")]
    # change: mean of −0.5 and 0.5; effect: 0.5 and −0.5 in both problems, so that pairs alone vary: s = 1/√2, one
    # degree of freedom, half width 12.706 · (1/√2) / √2 = 6.353
    assert entropy["change"] == 0 and entropy["effect"] == 0
    assert entropy["effect_high"] == pytest.approx(6.353, rel=1e-3)
    assert entropy["share_up"] == 0.5 and entropy["share_zero"] == 0 and entropy["standardised"] == 0
    code = table.loc[("two_sided", "code")]
    assert code["effect"] == pytest.approx(0.15) and code["share_up"] == 0.5 and code["share_zero"] == 0.5
    assert code["standardised"] == pytest.approx(0.15 / (0.3 / 2**0.5))
    assert code["ess"] == 0.4 and not code["reliable"]  # all answers count, not only those that are code (0.9)
    assert not table.loc[("two_sided", "accuracy"), "reliable"]
    # log-odds of code 0.2 and 0.2 → 0.2 and 0.5: effects 0 and log 4
    assert table.loc[("two_sided", "code_mean_logit"), "effect"] == pytest.approx(np.log(4) / 2)
    assert table.loc[("two_sided", "motion_ratio"), "change"] == 1
    # p of an effect whose interval ends at 0 is 0.05; Holm's over the one setting is the same
    assert entropy["p_value"] == entropy["p_holm"] == 1
    assert table.loc[("two_sided", "clipped"), "change"] == pytest.approx(0.1)
    assert np.isnan(table.loc[("none", "entropy"), "effect"]) and table.loc[("none", "entropy"), "change"] == 0
