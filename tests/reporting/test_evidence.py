"""Claims about several models, step sizes, γ and compound rewards: hand-made records cut into parts."""

import dataclasses

import pandas as pd
import pytest

from spurious_rewards.reporting.claims import claims_table
from spurious_rewards.reporting.evidence import MODEL, MODELS, SETTING, Evidence

PROBLEMS = [f"p{i}" for i in range(40)]


def answers(like, model, trained, right, code=40):
    """Greedy answers to 40 problems, the first `right` of them correct and the first `code` in code."""
    row = like.samples.iloc[0].to_dict() | {"model": model, "trained_run": trained, "run_id": f"eval-{model}-{trained}"}
    return pd.DataFrame(
        [row | {"problem_id": p, "correct": i < right, "uses_code": i < code} for i, p in enumerate(PROBLEMS)]
    )


def profile(records, arms, bases):
    """Records of `arms`: (model, fields of the run, right answers per seed), and right answers of untrained models."""
    runs, samples = [], [answers(records, model, "", right) for model, right in bases.items()]
    for model, fields, rights in arms:
        for seed, right in enumerate(rights):
            name = "-".join(map(str, [model, *fields.values(), seed]))
            runs.append(records.runs.iloc[0].to_dict() | {"run_id": name, "model": model, "seed": seed, **fields})
            samples.append(answers(records, model, name, right))
    metrics = pd.concat(
        [records.metrics[records.metrics["run_id"] == "clip-0"].assign(run_id=run["run_id"]) for run in runs],
        ignore_index=True,
    )
    return dataclasses.replace(
        records, runs=pd.DataFrame(runs), metrics=metrics, samples=pd.concat(samples, ignore_index=True)
    )


RANDOM = {"reward": "random", "learning_rate": 1e-4}


@pytest.fixture
def several(records):
    return profile(
        records,
        [
            ("qwen-like", RANDOM, [30, 31, 32]),
            ("qwen-like", RANDOM | {"learning_rate": 3e-4}, [10, 11, 12]),
            ("llama-like", RANDOM, [20, 20, 20]),
        ],
        {"qwen-like": 20, "llama-like": 20, "olmo-like": 5},
    )


def test_parts(several):
    whole = Evidence(several)
    assert [part.scale for part in whole.parts(SETTING)] == [
        "qwen-like, learning_rate=0.0001 (profile toy)",
        "qwen-like, learning_rate=0.0003 (profile toy)",
        "llama-like, learning_rate=0.0001 (profile toy)",
        "olmo-like (profile toy)",
    ]
    assert [part.scale for part in whole.parts(MODEL)] == [
        f"{name} (profile toy)" for name in ("qwen-like", "llama-like", "olmo-like")
    ]
    assert [part.scale for part in whole.parts(MODELS)] == [
        "llama-like, qwen-like, learning_rate=0.0001 (profile toy)",
        "qwen-like, learning_rate=0.0003 (profile toy)",
    ]
    for kind in (SETTING, MODEL):
        parts = list(whole.parts(kind))
        assert sum(len(part.records.runs) for part in parts) == len(several.runs) == 9
        trained = pd.concat([part.records.samples for part in parts])
        assert (trained["trained_run"] != "").sum() == 9 * 40, "no answer is lost or counted twice"


def test_a_finding_per_setting(several):
    rows = claims_table([several]).set_index("claim").loc["C1"]
    # (30 + 31 + 32)/3 − 20 = 11 of 40; (10 + 11 + 12)/3 − 20 = −9 of 40
    assert [row["measured"].split(" [")[0] for _, row in rows.iterrows()] == [
        "random +27.5",
        "random -22.5",
        "random +0.0",
    ]
    assert rows["verdict"].tolist() == ["consistent", "against", "undecided"]
    models = claims_table([several]).set_index("claim").loc["C3"]
    assert models["scale"].startswith("llama-like, qwen-like, learning_rate=0.0001")
    # by seed 10, 11, 12 of 40, by problem 1 (ten), 2/3, 1/3, 0: C/P = .184/39 = .0047, so about ± 2.02·√.0049 = ± 14
    assert "largest minus smallest +27.5 [" in models["measured"] and models["verdict"] == "consistent"
    assert "[+13.3, +41.7]" in models["measured"]


def test_gammas(records):
    def rows(**rights):
        arms = [
            ("qwen-like", {"reward": "random", "gamma": float(name[1:].replace("_", "."))}, right)
            for name, right in rights.items()
        ]
        return claims_table([profile(records, arms, {"qwen-like": 20})]).set_index("claim").loc["C9"]

    gains, flat, loses = [30, 30, 31], [20, 20, 20], [10, 10, 11]
    assert rows(g0_5=gains, g0_001=gains, g0=flat)["verdict"] == "consistent"
    assert rows(g0_5=gains, g0_001=flat, g0=flat)["verdict"] == "undecided"
    assert rows(g0_5=gains, g0_001=gains, g0=gains)["verdict"] == "undecided", "a gain at γ = 0 needs another cause"
    row = rows(g0_5=loses, g0_001=gains, g0=flat)
    assert row["verdict"] == "against"
    assert [part.split(":")[0] for part in row["measured"].split("; ")] == ["γ = 0", "γ = 0.001", "γ = 0.5"]


def test_compounds(records):
    def row(alone, compound):
        arms = [("qwen-like", {"reward": "format"}, alone), ("qwen-like", {"reward": "format_and_no_python"}, compound)]
        return claims_table([profile(records, arms, {"qwen-like": 20})]).set_index("claim").loc["C10"]

    assert row([30, 31, 32], [20, 20, 21])["verdict"] == "consistent"
    assert row([30, 31, 32], [38, 38, 39])["verdict"] == "against"
    assert row([20, 20, 21], [10, 10, 10])["verdict"] == "undecided", "no gain that code could have carried"
    # 31/40 − 20/40 = 27.5; 20.33/40 − 20/40 = 0.8
    assert "format +27.5 [" in (text := row([30, 31, 32], [20, 20, 21])["measured"]) and "without Python +0.8 [" in text


def test_where_code_should_be_worse(records):
    worse = profile(records, [("llama-like", {"reward": "random"}, [20])], {"llama-like": 20})
    base = worse.samples["trained_run"] == ""
    # code on 20 problems, 5 of them right; language on 20, 15 right
    samples = worse.samples.assign(uses_code=[i % 40 < 20 for i in range(len(worse.samples))])
    samples.loc[base, "correct"] = [i < 5 or i >= 25 for i in range(40)]
    for model, verdict in (("llama-like", "consistent"), ("qwen-like", "against"), ("other", "undecided")):
        renamed = dataclasses.replace(worse, samples=samples.assign(model=model), runs=worse.runs.assign(model=model))
        row = claims_table([renamed]).set_index("claim").loc["C6"]
        assert row["verdict"] == verdict and "with code 25.0 %, without 75.0 %" in row["measured"]
