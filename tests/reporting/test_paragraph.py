"""The answer in words: what it says follows from the tables."""

import math
import re
from itertools import chain

import pandas as pd
import pytest

from spurious_rewards.reporting.paragraph import MIND, PAIRS, SHORT, WHY, paragraph
from spurious_rewards.storage.paths import code_root

SIDES = (("low", -0.001), ("high", 0.001))


@pytest.fixture
def results(tmp_path):
    (tmp_path / "tables" / "mechanism").mkdir(parents=True)
    (tmp_path / "tables" / "toy").mkdir()
    rows = [
        ("one-token", 3e-4, "two_sided", 0.04, 0.02, 0.06),
        ("one-token", 3e-4, "none", 0.007, -0.01, 0.03),
        ("qwen-like", 3e-4, "two_sided", -0.001, -0.01, 0.01),
        ("qwen-like", 3e-4, "none", 0.01, 0.001, 0.02),
        ("llama-like", 3e-4, "two_sided", 9.0, 8.0, 10.0),  # does not prefer code
    ]
    drift = pd.DataFrame(rows, columns=["model", "learning_rate", "part", "value", "value_low", "value_high"])
    drift.assign(quantity="code_logit").to_csv(tmp_path / "tables" / "mechanism" / "drift.csv")
    tests = [
        ("C1", "qwen-like (profile toy)", "random reward", "change", -0.021, -0.03, -0.01, "undecided"),
        (
            "C4",
            "qwen-like (profile toy)",
            "random reward, with minus without clip",
            "paired",
            0.08,
            0.01,
            0.15,
            "supported",
        ),
        ("C4", "qwen-like (profile toy)", "random reward, without the clip", "change", -0.5, -0.6, -0.4, "destruction"),
        ("C1", "qwen-like-at10 (profile toy)", "random reward", "change", 0.9, 0.8, 1.0, "supported"),
        ("C1", "qwen-like, updates per batch 1 (profile toy)", "random reward", "change", 0.9, 0.8, 1.0, "supported"),
        ("C1", "llama-like (profile toy)", "random reward", "change", 0.001, -0.01, 0.01, "equivalent to nothing"),
        ("C9", "qwen-like (profile toy)", "γ = 0.7", "change", -0.063, -0.09, -0.03, "contradicted"),
        ("C9", "qwen-like (profile toy)", "γ = 0.5", "change", -0.021, -0.03, -0.01, "contradicted"),
        ("C9", "qwen-like (profile toy)", "γ = 0.001", "change", 0.034, 0.01, 0.06, "supported"),
    ]
    names = ["claim", "scale", "about", "effect", "estimate", "low", "high", "verdict"]
    pd.DataFrame(tests, columns=names).assign(n_seeds=8, n_planned=32, expect="gain").to_csv(
        tmp_path / "tables" / "toy" / "tests.csv"
    )
    pd.DataFrame(
        {
            "arm": [
                "random γ=0.5, two_sided, model=qwen-like-at10, learning_rate=3e-05",
                "random γ=0.5, two_sided, model=qwen-like, learning_rate=0.0001",
                "random γ=0.5, two_sided, model=qwen-like, learning_rate=3e-05",
                "random γ=0.5, none, model=qwen-like, learning_rate=3e-05",
            ],
            "clip_fraction_later_mean": [0.9, 0.5, 0.0002, 0.0],
        }
    ).to_csv(tmp_path / "tables" / "toy" / "clip_activity.csv")
    arms = [
        ("random γ=0, two_sided", 0.0, 2),
        ("random γ=0.5, two_sided, model=qwen-like, learning_rate=3e-05", 0.1, 8),
        ("ground_truth, two_sided, model=qwen-like, learning_rate=0.0001", 0.9, 8),  # another step size
        ("ground_truth, two_sided, model=qwen-like, learning_rate=3e-05", 0.11, 8),
        ("ground_truth, two_sided, model=qwen-like-at10, learning_rate=3e-05", 0.8, 3),
        ("random γ=0.5, two_sided, model=llama-like", 0.1, 8),
        ("ground_truth, two_sided, model=llama-like", 0.3, 3),  # too few seeds
    ]
    arms = pd.DataFrame(arms, columns=["arm", "accuracy_change", "n_seeds"])
    limits = {"accuracy_change_low": arms["accuracy_change"] - 0.02, "accuracy_change_high": 0.2}
    arms.assign(**limits).to_csv(tmp_path / "tables" / "toy" / "arms.csv")
    inert = {"updates_per_batch": [8, 1], "clip_mode": "two_sided", "accuracy_difference": [0.3, 0.0], "n_seeds": 2}
    inert |= {"reward": "random"}
    pd.DataFrame(inert).assign(code_difference=0.0).to_csv(tmp_path / "tables" / "toy" / "clip_effect.csv")
    spread = [("toy", "qwen-like", 3e-5, "spread, with clip", 0.042, 0.03, 0.05, 0.06, 0.049, 0.1)]
    spread += [("toy", "qwen-like", 3e-5, "added by the clip", -0.0005, -0.0016, 0.0006, 0.02, -0.08, 0.13)]
    spread += [("toy", "qwen-like", 3e-5, "without clip", 0.003, 0.001, 0.006, 0.02, -0.08, 0.13)]
    spread += [("other", "qwen-like", 3e-5, "spread, with clip", 0.9, 0.9, 0.9, 0.9, 0.9, 0.9)]
    spread += [("toy", "qwen-like", 3e-4, "spread, with clip", 0.8, 0.8, 0.8, 0.8, 0.8, 0.8)]
    names = [f"{what}{end}" for what in ("predicted", "measured") for end in ("", "_low", "_high")]
    pd.DataFrame(spread, columns=["profile", "model", "learning_rate", "part", *names]).to_csv(
        tmp_path / "tables" / "drift_in_training.csv"
    )
    return tmp_path


def test_each_sentence_follows_from_its_table(results):
    path = results / "tables" / "toy" / "clip_activity.csv"
    signs = pd.DataFrame(
        {
            "arm": [
                f"random γ=0.5, {mode}, model=qwen-like, learning_rate=3e-05, advantage_sign=negative"
                for mode in ("two_sided", "none")
            ],
            "clip_fraction_later_mean": 0.0,
            "entropy_change": [0.5, -0.25],
            "entropy_change_low": [0.1, -0.5],
            "entropy_change_high": [0.9, 0.1],
        }
    )
    pd.concat([pd.read_csv(path), signs, signs[:1].replace("negative", "positive", regex=True)]).to_csv(path)
    parts = paragraph(results, "toy")
    [said] = parts.pop("One sign of the advantage")
    assert said == (
        "With negative advantages alone the entropy of qwen-like's rollouts changed by +0.500 nats with the clip, "
        "a rise, and by −0.250 without it, too uncertain to tell from chance."
    )
    assert parts.pop("Other coins") == [
        "A coin that falls on the reward in 70 % of cases changed the accuracy of qwen-like by −6.3 points in 8 seeds, "
        "a loss.",
        "A coin that falls on the reward in 0.1 % of cases changed the accuracy of qwen-like by +3.4 points in 8 "
        "seeds, a gain.",
        "Each is judged by itself; one that was run with the clip only does not say what the clip did.",
    ]
    assert [len(sentences) for sentences in parts.values()] == [4, 1, 2, 3, 3, 2, 1, 6, 2]
    gains, clip, drift, minds = (parts.pop(name) for name in SHORT)
    assert (drift[0], " ".join(minds)) == (WHY, MIND)
    assert clip == ["The clip moved the share of code of qwen-like by +8.0 points, towards code."]
    assert gains == [
        "In whole runs with the clip, a random reward brought none of 2 models a gain by the protocol.",
        "The change of accuracy was: for qwen-like, a loss, but no verdict yet; for llama-like, too little to matter.",
        "Of 2 coins that are not fair, each judged by itself, 1 brought qwen-like a gain and 1 a loss.",
        "A coin that falls on the reward in 0.1 % of cases changed the accuracy of qwen-like by +3.4 points in 8 "
        "seeds, a gain.",
    ]
    assert drift[1].endswith(
        "would drift without any clip by +0.30 points over a run, towards code, and the clip would add −0.05, too "
        "uncertain to tell from chance."
    )
    said = [WHY, *chain(*parts.values())]
    assert said[1] == PAIRS
    assert said[2].endswith(
        "of one-token by +0.040, towards code; without any clip they move by +0.0070, too uncertain to tell from "
        "chance."
    )
    assert "code of qwen-like by −0.0010, too uncertain" in said[3] and said[3].endswith("by +0.010, towards code.")
    assert said[4].endswith("of qwen-like by −0.05 points, and by no more than 0.16 within the limits.")
    assert said[5].endswith(
        "+2.0 points in their share of code [−8.0, +13.0], paired by seed, which is too noisy to check that."
    )
    assert "step size 3e-5 merely wander as single rollout batches do" in said[6]
    assert said[6].endswith("deviation of 4.2 points of code over seeds; it is 6.0, which agrees with that.")
    assert said[7].endswith("by −2.1 points in 8 seeds, a loss, but no verdict yet.")
    assert said[8] == "After the first update of a rollout batch the clip acted on 0.02 % of the tokens."
    assert said[9].endswith(
        "the share of code in its greedy answers differs by +8.0 points, with minus without, towards code."
    )
    assert said[10] == "Without the clip, its accuracy changed by −50.0 points, a loss."
    assert said[11] == (
        "With the clip and true rewards, runs as long changed its accuracy by +11.0 points in 8 seeds, a gain."
    )
    assert said[12].endswith(
        "of llama-like, which does not prefer code, by +0.1 points in 8 seeds, too little to matter."
    )
    assert said[13] == "A coin that never falls on the reward (γ = 0) changed accuracy by +0.0 points in 2 seeds."
    assert said[14].endswith("differ by +0.0 points of accuracy and +0.0 of code in 2 seeds.")
    assert len(said) == 15, "another age is no model of its own, and with 3 seeds it is not spoken of"


def test_what_the_clip_did_under_the_coin_that_gained_is_told(results):
    """Its share of tokens beside that of the fair coin, and the pairs without the clip, where there are any."""
    folder = results / "tables" / "toy"
    activity = pd.read_csv(folder / "clip_activity.csv")
    rare = activity.iloc[[2]].assign(clip_fraction_later_mean=4e-6).replace("γ=0.5", "γ=0.001", regex=True)
    pd.concat([activity, rare]).to_csv(folder / "clip_activity.csv")
    effects = pd.read_csv(folder / "clip_effect.csv").assign(gamma=0.5, model="qwen-like", learning_rate=3e-5)
    pair = effects.iloc[[0]].assign(gamma=0.001, n_seeds=8, accuracy_difference=-0.021)
    pair = pair.assign(accuracy_difference_low=-0.06, accuracy_difference_high=0.02)
    pd.concat([effects, pair, pair.assign(model="llama-like")]).to_csv(folder / "clip_effect.csv")
    parts = paragraph(results, "toy")
    told = [
        "There the clip acts on 0.0004 % of the tokens after the first update, with the fair coin on 0.02 %.",
        "Against the same 8 seeds without the clip, its accuracy differs by −2.1 points, too uncertain to tell from "
        "chance.",
    ]
    assert parts[SHORT[0]][4:6] == told and parts["Other coins"][2:4] == told


def test_where_the_verdict_is_open_in_short_says_how_many_seeds_would_decide(results):
    path = results / "tables" / "toy" / "tests.csv"
    tests = pd.read_csv(path)
    tests.loc[tests["effect"].eq("paired"), ["verdict", "seeds_to_decide"]] = "undecided", 74
    tests.to_csv(path)
    said = "Whether the clip moves code (C4) stays undecided there; seeds enough would be 74 for qwen-like."
    assert said in paragraph(results, "toy")[SHORT[1]]


def test_where_true_rewards_teach_every_model_it_is_said(results):
    path = results / "tables" / "toy" / "arms.csv"
    arms = pd.read_csv(path)
    arms.loc[arms["arm"].str.contains("ground_truth, two_sided, model=llama-like"), "n_seeds"] = 8
    arms.to_csv(path)
    assert paragraph(results, "toy")[SHORT[0]][0] == (
        "In whole runs with the clip, at a step size at which true rewards teach each of them, a random reward brought "
        "none of 2 models a gain by the protocol."
    )
    path = results / "tables" / "toy" / "tests.csv"
    tests = pd.read_csv(path)
    tests.loc[tests["claim"].eq("C1"), ["low", "verdict"]] = 0.01, "supported"
    tests.to_csv(path)
    assert paragraph(results, "toy")[SHORT[0]][0].endswith(
        "a random reward brought 2 of 2 models a gain by the protocol."
    )


def test_seeds_further_apart_than_chance_throws_them_are_told(results):
    path = results / "tables" / "drift_in_training.csv"
    table = pd.read_csv(path)
    for low, said in ((0.055, "more"), (0.01, "less")):
        table.loc[table["part"].eq("spread, with clip"), ["measured_low", "measured_high"]] = low, low + 0.001
        table.to_csv(path)
        assert paragraph(results, "toy")["Chance"][0].endswith(f"which is {said} than that.")


def test_what_runs_contradict_is_said(results):
    path = results / "tables" / "drift_in_training.csv"
    table = pd.read_csv(path)
    table.loc[table["part"].eq("added by the clip"), "measured_low"] = 0.01
    table.to_csv(path)
    assert paragraph(results, "toy")["Added up over a run"][1].endswith("which contradicts that.")


def test_the_language_model_is_spoken_of_by_its_own_tables(results):
    folder = results / "tables" / "smollm"
    folder.mkdir()
    model = "smollm2, train set {} (profile smollm)"
    tests = [
        ("C1", model.format("synthetic_level1"), "true reward", "accuracy", 0.236, -math.inf, math.inf, 1),
        ("C1", model.format("sums"), "true reward", "accuracy", 0.338, 0.3, 0.4, 2),  # another task
        ("C1", model.format("synthetic_level1"), "random reward", "accuracy", -0.069, -0.18, 0.05, 3),
        ("C5", model.format("synthetic_level1"), "random reward", "code", 0.5, 0.4, 0.6, 3),
        ("C4", model.format("synthetic_level1"), "random reward, without the clip", "accuracy", -0.2, -0.3, -0.1, 3),
    ]
    names = ["claim", "scale", "about", "outcome", "estimate", "low", "high", "n_seeds"]
    pd.DataFrame(tests, columns=names).to_csv(folder / "tests.csv", index=False)
    assert "A language model" not in paragraph(results, "toy"), "without the table of arms"
    arms = [
        ("base model", "synthetic_level1_test", 0.0, 0.228, 0.0),
        ("base model", "sums_test", 0.0, 0.9, 0.9),
        ("python, two_sided, train_set=synthetic_level1", "synthetic_level1_test", 0.0, 0.038, 1.0),
        ("python, two_sided, train_set=synthetic_level1", "synthetic_level1_test", 1.0, 0.9, 0.9),  # sampled
    ]
    names = ["arm", "benchmark", "temperature", "accuracy", "code"]
    pd.DataFrame(arms, columns=names).to_csv(folder / "arms.csv", index=False)
    said = paragraph(results, "toy")["A language model"]
    assert said[0].endswith("solves 22.8 % of the easiest problems of the clean task before training, and "
                            "none of its answers is code.")  # fmt: skip
    assert said[1:4] == [
        "With true rewards its accuracy changed by +23.6 points in 1 seed, which has no limits over seeds.",
        "With a random reward and the clip its accuracy changed by −6.9 points in 3 seeds, too uncertain to tell "
        "from chance.",
        "With a random reward and no clip its accuracy changed by −20.0 points in 3 seeds, a loss.",
    ]
    assert said[4:] == [
        "Rewarded for code alone it writes code in 100 % of its answers, and 3.8 % are right.",
        "Whether a gain depends on the model (C3) one model cannot say; no second one was trained on this task.",
    ]
    quantities = ["entropy"] * 2 + ["kl"] * 2 + ["clipped"] * 2
    pairs = pd.DataFrame({"clip_mode": ["none", "two_sided"] * 3, "quantity": quantities})
    pairs = pairs.assign(
        learning_rate=1e-5, n_pairs=6, change=[-0.0012, *[0.9] * 3, 0.0, 0.024], effect=[math.nan, 0.0003, *[0.9] * 4]
    )
    limits = {f"{name}_{end}": pairs[name] + by for name in ("change", "effect") for end, by in SIDES}
    pairs.assign(**limits).to_csv(results / "tables" / "mechanism" / "antithetic_smollm2_bf16.csv", index=False)
    assert paragraph(results, "toy")["A language model"][6:] == [
        "At step size 1e-5 in bf16, one rollout batch, replayed with its coins as they fell and turned over, moves the "
        "entropy of its tokens by −0.0012 nats without clip, a fall.",
        "There the clip acts on 2.4 % of tokens, the mean over all updates, and adds +0.00030 nats in 6 such pairs, "
        "too uncertain to tell from chance.",
    ]


def test_without_tables_there_is_no_paragraph(tmp_path):
    assert paragraph(tmp_path, "toy") == {}


def test_the_committed_paragraph_can_be_read():
    said = list(chain(*paragraph(code_root() / "results", "decide").values()))
    assert len(said) >= 4
    for sentence in said:
        assert len(sentence.split()) <= 40 and len(re.findall(r"(?<![\w.-])[+−]?\d[\d.e−-]*", sentence)) <= 3, sentence
