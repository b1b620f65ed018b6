"""Claims about several models, step sizes, γ and compound rewards: hand-made records cut into parts."""

import dataclasses
import textwrap

import pandas as pd
import pytest
from scipy import stats

from spurious_rewards.evaluation.statistics import Effect
from spurious_rewards.reporting import protocol as protocol_module
from spurious_rewards.reporting.claims import claims_table
from spurious_rewards.reporting.evidence import MODEL, MODELS, SETTING, Evidence
from spurious_rewards.reporting.protocol import Arm, Protocol, Rule, protocol_of
from spurious_rewards.reporting.training_claims import ClaimTest, _adjusted, _verdict, claim_tests, planned_tests
from spurious_rewards.storage.paths import code_root

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
            ("qwen-like", RANDOM, [30, 31, 32, 31]),
            ("qwen-like", RANDOM | {"learning_rate": 3e-4}, [10, 11, 11, 11]),
            ("llama-like", RANDOM, [20, 20, 20, 20]),
        ],
        {"qwen-like": 20, "llama-like": 20, "olmo-like": 5},
    )


def test_parts(several):
    whole = Evidence(several)
    assert [part.scale for part in whole.parts(SETTING)] == [
        "qwen-like, step size 1e-4 (profile toy)",
        "qwen-like, step size 3e-4 (profile toy)",
        "llama-like, step size 1e-4 (profile toy)",
        "olmo-like (profile toy)",
    ]
    assert [part.scale for part in whole.parts(MODEL)] == [
        f"{name} (profile toy)" for name in ("qwen-like", "llama-like", "olmo-like")
    ]
    assert [part.scale for part in whole.parts(MODELS)] == [
        "llama-like, qwen-like, step size 1e-4 (profile toy)",
        "qwen-like, step size 3e-4 (profile toy)",
    ]
    for kind in (SETTING, MODEL):
        parts = list(whole.parts(kind))
        assert sum(len(part.records.runs) for part in parts) == len(several.runs) == 12
        trained = pd.concat([part.records.samples for part in parts])
        assert (trained["trained_run"] != "").sum() == 12 * 40, "no answer is lost or counted twice"


def test_a_finding_per_setting(several):
    rows = claims_table([several]).set_index("claim").loc["C1"]
    # (30 + 31 + 32 + 31)/4 − 20 = 11 of 40; (10 + 3·11)/4 − 20 = −9.25 of 40
    assert [row["measured"].split(" [")[0] for _, row in rows.iterrows()] == [
        "accuracy: random reward +27.5",
        "accuracy: random reward -23.1",
        "accuracy: random reward +0.0",
    ]
    assert rows["verdict"].tolist() == ["supported", "contradicted", "equivalent to nothing"]
    assert rows["n"].unique() == ["4 seeds × 40 problems"]
    models = claims_table([several]).set_index("claim").loc["C3"]
    assert models["scale"].startswith("llama-like, qwen-like, step size 1e-4")
    # by problem 1 (ten), 3/4, 1/4, 0: C/P = (10 + 5/8 − 11²/40)/39/40 = .0049, so about ± 2.02·√.0050 = ± 14
    assert "qwen-like minus llama-like +27.5 [" in models["measured"] and models["verdict"] == "supported"
    assert models["low"] == pytest.approx(0.275 - 0.143, abs=0.005)


def test_tests_are_adjusted_within_the_family(several):
    table = claim_tests(several)
    family = table[table["claim"].isin(Protocol().family)]
    assert len(family) == 7  # C1 and C5 in three parts, C3 once
    p = family["p_value"].to_numpy()
    smallest = p.argmin()
    assert family["p_adjusted"].iloc[smallest] == pytest.approx(7 * p[smallest])
    alone = claim_tests(several, dataclasses.replace(Protocol(), family=()))
    assert alone["p_adjusted"].tolist() == alone["p_value"].tolist()


def test_the_family_counts_what_was_planned_and_each_look_its_own_level():
    """By hand: p counts as p · 0.05 / level of its look; the smallest is multiplied by the number of planned tests."""
    looks = dataclasses.replace(protocol_of("decide"), models=())
    early, last = (looks.look(n, "C1")[1] for n in (8, 32))
    found = [claim_test(p=0.001, level=early), claim_test(p=0.0055, level=last)]
    scaled = [0.001 * 0.05 / early, 0.0055 * 0.05 / last]
    assert 0.5 < scaled[0] < 0.6 and 0.006 < scaled[1] < 0.007
    assert _adjusted(found, looks) == pytest.approx([scaled[0], 2 * scaled[1]])
    planned = protocol_of("decide")
    assert planned_tests(planned) == 13 and "the 13 planned tests" in (code_root() / "docs" / "protocol.md").read_text()
    assert _adjusted(found, planned) == pytest.approx([1.0, 13 * scaled[1]])
    blocked = [dataclasses.replace(found[0], obstacle="too few"), found[1]]
    assert _adjusted(blocked, looks) == pytest.approx([0.001, scaled[1]])


def claim_test(p, level):
    """A test of C1 whose effect has this p-value."""
    effect = Effect.of(0.1, se=0.1 / stats.t.isf(p / 2, 7), df=7, n=8)
    return ClaimTest("C1", "random reward", "x", "accuracy", "change", effect, "gain", 0.03, level, 40)


def test_the_spread_is_picked_among_the_seeds_of_the_look(records):
    """Beyond the eighth seed the order of the models turns; those seeds wait, so it must not matter."""
    arms = [("qwen-like", RANDOM, [30, 31] * 4 + [0] * 7), ("llama-like", RANDOM, [20, 21] * 4)]
    table = claim_tests(profile(records, arms, {"qwen-like": 20, "llama-like": 20}), looked())
    row = table[table["claim"].eq("C3")].iloc[0]
    assert row["about"].endswith("qwen-like minus llama-like") and row["estimate"] == pytest.approx(10 / 40)
    losing = [("qwen-like", RANDOM, [10, 11] * 4), ("llama-like", RANDOM, [1, 2] * 4)]
    table = claim_tests(profile(records, losing, {"qwen-like": 20, "llama-like": 20}))
    row = table[table["claim"].eq("C3")].iloc[0]
    assert (row["verdict"], row["why"]) == (
        "undecided",
        "No model gains, so there is no gain that could depend on the model.",
    )


def looked():
    """The default rules with looks at 8 and 16 seeds."""
    return dataclasses.replace(Protocol(), least=8, most=16)


def test_few_seeds_give_no_verdict(records):
    few = profile(records, [("qwen-like", RANDOM, [30, 31, 32])], {"qwen-like": 20})
    row = claims_table([few]).set_index("claim").loc["C1"]
    assert (row["verdict"], row["why"]) == ("undecided", "3 seeds; a verdict takes 4.")


def test_between_two_looks_further_seeds_wait(records):
    arms = [("qwen-like", RANDOM, [30, 31, 32, 31, 0, 0])]
    looked = dataclasses.replace(Protocol(), least=4, most=8, collapse_share=0.5)
    table = claim_tests(profile(records, arms, {"qwen-like": 20}), looked).set_index("claim")
    assert table.loc["C1", "n_seeds"] == 4 and table.loc["C1", "estimate"] == pytest.approx(0.275)
    waiting = claim_tests(profile(records, arms, {"qwen-like": 20}), dataclasses.replace(looked, least=8))
    assert waiting.set_index("claim").loc["C1", "why"] == "6 seeds; a verdict takes 8."


def test_an_arm_of_which_some_seeds_collapse_takes_more_of_them(records):
    some = profile(records, [("qwen-like", RANDOM, [20, 20, 20, 20, 0])], {"qwen-like": 20})
    row = claim_tests(some).set_index("claim").loc["C1"]
    assert row["verdict"] == "undecided" and "takes 32 seeds" in row["why"]
    # all of them: −20/40 with no spread between seeds
    every = profile(records, [("qwen-like", RANDOM, [0, 0, 0, 0, 0])], {"qwen-like": 20})
    assert claim_tests(every).set_index("claim").loc["C1", "verdict"] == "contradicted"


@pytest.mark.parametrize(
    "without, verdict, word",
    [
        ([20, 20, 20, 20], "nothing", "The 90 % interval lies within"),
        ([12, 12, 12, 12], "loss", "The effect lies below 0"),
        ([0, 0, 0, 0], "destruction", "The effect lies below 0"),
        ([30, 30, 30, 30], "gain", "The effect lies above 0"),
        ([18, 20, 22, 24], "undecided", "The effect is told neither"),
    ],
)
def test_without_the_clip(records, without, verdict, word):
    arms = [("qwen-like", RANDOM, [20] * 4), ("qwen-like", RANDOM | {"clip_mode": "none"}, without)]
    rows = claims_table([profile(records, arms, {"qwen-like": 20})]).set_index("says")
    row = rows.loc["What a random reward does to accuracy without the clip"]
    assert (row["claim"], row["verdict"]) == ("C4", verdict) and row["why"].startswith(word)
    # code is the same with and without
    paired = rows.loc[
        "The clip term is the cause: it amplifies high-prior behaviour under a reward without information"
    ]
    assert paired["verdict"] == "equivalent to nothing" and "with minus without clip +0.0" in paired["measured"]


def test_paired_by_seed_whatever_the_order(records):
    """Seeds 0, 1, 2, 3 gain 5, 6, 7, 8 of 40 with the clip and the same less 4 without."""
    arms = [("qwen-like", RANDOM, [25, 26, 27, 28]), ("qwen-like", RANDOM | {"clip_mode": "none"}, [21, 22, 23, 24])]
    both = profile(records, arms, {"qwen-like": 20})
    shuffled = dataclasses.replace(both, runs=both.runs.sample(frac=1, random_state=1))
    rule = {"C4": Rule("accuracy", "paired", (Arm("random"),), {"clip_mode": "none"})}
    for records_ in (both, shuffled):
        row = claim_tests(records_, dataclasses.replace(Protocol(), claims=rule)).iloc[0]
        assert row["estimate"] == pytest.approx(0.1)
        # each seed's difference is exactly 4/40: only problems vary (which four, in each seed)
        assert row["low"] > 0


def test_recipes_have_checkpoints_as_units(records):
    models = [f"qwen-like{suffix}" for suffix in ("", "-s1", "-s2", "-s3")]
    arms = [(model, RANDOM, [base + 8, base + 10]) for model, base in zip(models, (18, 20, 22, 20), strict=True)]
    many = profile(records, arms, dict(zip(models, (18, 20, 22, 20), strict=True)))
    row = claim_tests(many, dataclasses.replace(Protocol(), per="recipe")).set_index("claim").loc["C1"]
    assert row["estimate"] == pytest.approx(9 / 40) and row["n_seeds"] == 4
    assert row["scale"].startswith("qwen-like, qwen-like-s1, qwen-like-s2, qwen-like-s3")
    alone = claim_tests(many).set_index("claim").loc["C1"]
    assert len(alone) == 4 and set(alone["why"]) == {"2 seeds; a verdict takes 4."}


def test_variants_stay_out_of_the_family_and_of_the_spread(records):
    gains = [30, 31, 32, 31]
    arms = [
        ("qwen-like", {"reward": "random"}, gains),
        ("qwen-like", {"reward": "random", "updates_per_batch": 4}, gains),
        ("qwen-like", {"reward": "random", "updates_per_batch": 1}, gains),  # a control, which speaks to no claim
        ("qwen-like-s1", {"reward": "random"}, gains),
        ("qwen-like-at25", {"reward": "random"}, [0, 0, 0, 0]),
        ("llama-like", {"reward": "random"}, [20, 20, 20, 20]),
    ]
    models = ("qwen-like", "qwen-like-s1", "qwen-like-at25", "llama-like")
    table = claim_tests(profile(records, arms, dict.fromkeys(models, 20)))
    first = table[table["claim"] == "C1"].set_index("scale")
    assert list(first.index) == [
        "qwen-like (profile toy)",
        "qwen-like, updates per batch 4 (profile toy)",
        "qwen-like-s1 (profile toy)",
        "qwen-like-at25 (profile toy)",
        "llama-like (profile toy)",
    ]
    alone = first["p_adjusted"] == first["p_value"]
    assert alone.tolist() == [False, True, True, True, True], "llama-like: p = 1 stays 1"
    (spread,) = table.loc[table["effect"] == "spread", "about"]
    assert spread == "random reward, qwen-like minus llama-like", "not the young checkpoint that lost everything"


def test_claims_rest_on_the_models_that_the_study_plans_to_the_end(records):
    """A further checkpoint with all planned seeds speaks; no test is made of the checkpoint that it replaced."""
    study = protocol_of("decide")
    assert study.models == ("qwen-like", "one-token", "llama-like", "olmo-like-s1")
    arms = [
        ("qwen-like", RANDOM, [30, 31, 32, 31]),
        ("olmo-like-s1", RANDOM, [20, 21, 20, 21]),
        ("olmo-like", RANDOM, [0, 0, 0, 0]),
    ]
    all_three = profile(records, arms, {"qwen-like": 20, "olmo-like-s1": 20, "olmo-like": 20})
    two = dataclasses.replace(Protocol(), models=("qwen-like", "olmo-like-s1"))
    table = claim_tests(all_three, two)
    spread = table[table["effect"] == "spread"].iloc[0]
    assert spread["about"] == "random reward, qwen-like minus olmo-like-s1"
    assert (spread["scale"], spread["verdict"]) == ("olmo-like-s1, qwen-like (profile toy)", "supported")
    first = table[table["claim"] == "C1"].set_index("scale")
    assert (first["p_adjusted"] == first["p_value"]).to_dict() == {
        "qwen-like (profile toy)": False,
        "olmo-like-s1 (profile toy)": False,
    }
    four = claim_tests(all_three, dataclasses.replace(Protocol(), models=study.models))
    why = four.loc[four["effect"] == "spread", "why"].item()
    assert why == "It takes all planned models; not run: llama-like, one-token."


def test_models_of_a_study_are_those_that_it_takes_to_the_last_seed(tmp_path, monkeypatch):
    """By hand: a has eight seeds in two stages, b four; of c-s1's eight only four are at a step that counts."""
    text = """
    protocol: {seeds: {least: 4, most: 8}, settings: {learning_rate: [0.00003]}}
    stages:
      first: {config: x, grid: {model: [a, b], seed: [0, 1, 2, 3]}, parameters: {learning_rate: 0.00003}}
      second: {config: x, grid: {model: [a, c-s1], seed: [4, 5, 6, 7]}, parameters: {learning_rate: 0.00003}}
      third: {config: x, grid: {model: [c-s1], seed: [0, 1, 2, 3], learning_rate: [0.0001]}}
      base: {grid: {model: [d]}}
    """
    (tmp_path / "profiles").mkdir()
    monkeypatch.setattr(protocol_module, "project_root", lambda: tmp_path)
    for ending, models in (("", ("a",)), ("most", ("a", "b"))):
        written = text if not ending else text.replace(", most: 8", "")
        (tmp_path / "profiles" / "toy.yaml").write_text(textwrap.dedent(written))
        assert protocol_of("toy").models == models


def test_only_the_protocols_settings_count(several):
    small = dataclasses.replace(Protocol(), settings={"learning_rate": (1e-4,)})
    assert not claim_tests(several, small)["scale"].str.contains("3e-4").any()
    assert claim_tests(several)["scale"].str.contains("3e-4").any()


def test_gammas(records):
    def rows(**rights):
        arms = [
            ("qwen-like", {"reward": "random", "gamma": float(name[1:].replace("_", "."))}, right)
            for name, right in rights.items()
        ]
        return claims_table([profile(records, arms, {"qwen-like": 20})]).set_index("claim").loc["C9"]

    gains, flat, loses, wavers = [30, 30, 31, 31], [20] * 4, [10, 10, 11, 11], [18, 20, 22, 24]
    assert rows(g0_5=gains, g0_001=gains, g0=flat)["verdict"] == "supported"
    assert rows(g0_5=gains, g0_001=wavers, g0=flat)["verdict"] == "undecided"
    assert rows(g0_5=gains, g0_001=flat, g0=flat)["verdict"] == "contradicted", "γ = 0.001 is shown to do nothing"
    assert rows(g0_5=gains, g0_001=gains, g0=gains)["verdict"] == "contradicted", "a gain at γ = 0"
    row = rows(g0_5=loses, g0_001=gains, g0=flat)
    assert row["verdict"] == "contradicted" and row["why"].startswith("γ = 0.5: The effect lies below 0")
    measured = row["measured"].split("; ")
    assert measured[0].startswith("accuracy: γ = 0.5 -23.8 [") and measured[2] == "γ = 0 +0.0 [+0.0, +0.0] points"
    assert rows(g0_5=gains)["verdict"] == "not run", "one γ is no comparison"
    row = rows(g0_5=loses, g0=[20, 20])
    assert (row["verdict"], row["n_seeds"]) == ("contradicted", 4), "the seeds of the arm that decides"
    assert row["n"] == "2 to 4 seeds × 40 problems"


def test_never_fewer_seeds_than_a_verdict_takes_would_decide(records):
    arms = [("qwen-like", {"reward": "random"}, [20, 20, 21, 21])]
    table = claim_tests(profile(records, arms, {"qwen-like": 20}), dataclasses.replace(Protocol(), least=8))
    assert (table["seeds_to_decide"] >= 8).all() and table["why"].str.contains("a verdict takes 8").any()


def test_compounds(records):
    def row(alone, compound):
        arms = [("qwen-like", {"reward": "format"}, alone), ("qwen-like", {"reward": "format_and_no_python"}, compound)]
        return claims_table([profile(records, arms, {"qwen-like": 20})]).set_index("claim").loc["C10"]

    assert row([30, 31, 32, 31], [20, 20, 21, 21])["verdict"] == "supported"
    assert row([30, 31, 32, 31], [38, 38, 39, 39])["verdict"] == "contradicted"
    nothing = row([20, 20, 21, 21], [10, 10, 10, 10])
    assert nothing["verdict"] == "undecided" and "gains nothing" in nothing["why"]
    # 31/40 − 20.5/40 = 26.25
    assert (
        "format reward minus format reward × no Python +26.2 [" in row([30, 31, 32, 31], [20, 20, 21, 21])["measured"]
    )


def test_compounds_are_judged_on_all_seeds_there_are(records):
    """By hand: eight seeds have 35/40 in the mean, the compound's four 20.5/40, a difference of 36.25 points."""
    alone = [30] * 4 + [40] * 4
    arms = [
        ("qwen-like", {"reward": "format"}, alone),
        ("qwen-like", {"reward": "format_and_no_python"}, [20, 20, 21, 21]),
    ]
    row = claim_tests(profile(records, arms, {"qwen-like": 20})).set_index("claim").loc["C10"]
    assert row["estimate"] == pytest.approx(0.3625) and row["verdict"] == "supported"


def test_whether_there_is_a_gain_is_asked_before_whether_the_other_arm_collapsed(records):
    def why(alone, compound):
        arms = [("qwen-like", {"reward": "format"}, alone), ("qwen-like", {"reward": "format_and_no_python"}, compound)]
        return claim_tests(profile(records, arms, {"qwen-like": 20})).set_index("claim").loc["C10", "why"]

    some = [20, 20, 20, 20, 0]
    assert why([20] * 5, some) == "The reward alone gains nothing that could be removed."
    assert "collapsed" in why([30, 31, 32, 31, 32], some), "it gains, and the other arm may be anything"
    assert "collapsed" in why(some, [20] * 5), "whether it gains is not known yet"


def test_a_told_effect_below_the_smallest_that_matters_says_so():
    for change, more in ((0.02, "; its estimate is within ±3 points"), (0.04, "")):
        test = dataclasses.replace(claim_test(p=0.001, level=0.05), effect=Effect.of(change, 0.009, 20, 21))
        assert _verdict(test, 0.001, Protocol()) == (
            "supported",
            f"The effect lies above 0 (adjusted p = 0.001){more}.",
        )


def test_reasons_are_short(several):
    for why in claim_tests(several)["why"]:
        assert len(why.split()) <= 30


def test_where_code_should_be_worse(records):
    worse = profile(records, [("llama-like", {"reward": "random"}, [20])], {"llama-like": 20})
    base = worse.samples["trained_run"] == ""
    # code on 20 problems, 5 of them right; language on 20, 15 right
    samples = worse.samples.assign(uses_code=[i % 40 < 20 for i in range(len(worse.samples))])
    samples.loc[base, "correct"] = [i < 5 or i >= 25 for i in range(40)]
    for model, verdict in (("llama-like", "supported"), ("qwen-like", "contradicted"), ("other", "not run")):
        renamed = dataclasses.replace(worse, samples=samples.assign(model=model), runs=worse.runs.assign(model=model))
        row = claims_table([renamed]).set_index("claim").loc["C6"]
        assert row["verdict"] == verdict
        assert "with code 25.0 %, without 75.0 %" in row["measured"] or verdict == "not run"
