"""Further checkpoints of a recipe and ages of one: means over checkpoints, their figures, and what is said of them."""

from dataclasses import replace

import pandas as pd
import pytest

from spurious_rewards.evaluation.crossed import effect
from spurious_rewards.reporting.drawing import words_of
from spurious_rewards.reporting.pretraining import ages_figure, recipes, recipes_figure
from spurious_rewards.reporting.secondary import secondary_parts


def as_model(records, model, flip=0):
    """Repeat the runs of the fixture on another model, the answers to its last problems turned over."""
    runs = records.runs.assign(model=model, run_id=records.runs["run_id"] + f"@{model}")
    metrics = records.metrics.assign(run_id=records.metrics["run_id"] + f"@{model}")
    samples = records.samples.assign(model=model, run_id=records.samples["run_id"] + f"@{model}")
    samples["trained_run"] = samples["trained_run"].map(lambda run_id: run_id and f"{run_id}@{model}")
    turned = samples["trained_run"].ne("") & samples["problem_id"].isin([f"p{3 - i}" for i in range(flip)])
    samples.loc[turned, "correct"] = ~samples.loc[turned, "correct"].astype(bool)
    return runs, metrics, samples


@pytest.fixture
def grown(records):
    """The runs of the fixture on two checkpoints of one recipe, on an age of the second, and on another model."""
    models = {"qwen-like-s1": 1, "qwen-like-s1-at25": 2, "llama-like": 0}
    parts = [(records.runs, records.metrics, records.samples)]
    parts += [as_model(records, model, flip) for model, flip in models.items()]
    runs, metrics, samples = (pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True))
    return replace(records, runs=runs, metrics=metrics, samples=samples)


def test_every_checkpoint_of_a_recipe_and_their_mean(grown):
    table = recipes(grown)
    assert list(
        zip(table["clip_mode"], table["checkpoint"], table["n_checkpoints"], table["n_seeds"], strict=True)
    ) == [
        ("two_sided", "qwen-like", 1, 2),
        ("two_sided", "qwen-like-s1", 1, 2),
        ("two_sided", "mean of 2", 2, 2),
        ("none", "qwen-like", 1, 2),
        ("none", "qwen-like-s1", 1, 2),
        ("none", "mean of 2", 2, 2),
    ]
    # by hand: of 4 problems 2 are right before; the last problem's answers are turned over on the second checkpoint
    assert table["accuracy_change"].tolist() == pytest.approx([0.375, 0.375, 0.375, -0.125, 0.125, 0.0])
    assert table["accuracy_difference"].iloc[:3].tolist() == pytest.approx([0.5, 0.25, 0.375])
    assert table["accuracy_difference"].iloc[3:].isna().all(), "without the clip there is nothing to subtract"


def test_limits_of_the_mean_are_over_checkpoints(grown):
    """Each checkpoint counts once, as the mean of its seeds, however many it has."""
    more = grown.runs["run_id"].ne("clip-1")  # one seed of one checkpoint is not there
    samples = grown.samples[grown.samples["trained_run"].ne("clip-1")]
    table = recipes(replace(grown, runs=grown.runs[more], samples=samples))
    row = table[table["n_checkpoints"].eq(2) & table["clip_mode"].eq("two_sided")].iloc[0]
    first = [0, 0, 1, 0]  # of the one seed left; the second checkpoint's two seeds in the mean, last problem turned
    expected = effect(pd.DataFrame([first, [0, 0, 1, 0.5]]).to_numpy())
    assert row["accuracy_change"] == pytest.approx(expected.estimate)
    assert row["accuracy_change_low"] == pytest.approx(expected.low) and expected.low > -1
    assert row["n_seeds"] == 1


def test_a_mean_has_a_difference_only_where_every_checkpoint_has_one(grown):
    on = ~grown.runs["run_id"].str.match(r"none-\d@qwen-like-s1$")
    samples = grown.samples[grown.samples["trained_run"].isin({"", *grown.runs.loc[on, "run_id"]})]
    table = recipes(replace(grown, runs=grown.runs[on], samples=samples)).set_index("checkpoint")
    assert table["accuracy_difference"].notna().to_dict() == {
        "qwen-like": True,
        "qwen-like-s1": False,
        "mean of 2": False,
    }
    assert len(recipes_figure(replace(grown, runs=grown.runs[on], samples=samples)).layout.annotations) == 3


def test_without_a_second_checkpoint_there_is_no_table(records, grown):
    assert recipes(records).empty and recipes_figure(records) is None and ages_figure(records) is None
    others = grown.runs["model"].isin(["qwen-like", "llama-like", "qwen-like-s1-at25"])  # an age is no checkpoint of it
    assert recipes(replace(grown, runs=grown.runs[others])).empty
    assert recipes(replace(records, runs=records.runs.iloc[:0])).empty


def test_the_figure_of_recipes_shows_the_mean_apart(grown):
    figure = recipes_figure(grown)
    clip, none = (trace for trace in figure.data if trace.showlegend)
    assert list(clip.x) == pytest.approx([37.5, 37.5, 37.5]) and list(none.x) == pytest.approx([-12.5, 12.5, 0])
    assert list(clip.marker.symbol) == ["circle", "circle", "diamond"]
    assert figure.layout.annotations[0].text == "<b>qwen-like</b><br>change of accuracy, points"
    assert words_of(figure)[1].startswith("n = 4 problems, 2 seeds per checkpoint; lines: 95 % limits")


def test_the_figure_of_ages_has_a_point_per_age(grown):
    clip, none = (trace for trace in ages_figure(grown).data if trace.showlegend)
    # at 25 % the answers to the last two problems are turned over
    assert list(clip.y) == pytest.approx([12.5, 37.5]) and list(none.y) == pytest.approx([37.5, 12.5])
    figure = ages_figure(grown)
    assert list(figure.layout.xaxis.ticktext) == ["25 % (50)", "100 % (50)"]


@pytest.fixture
def results(tmp_path):
    """Tables of a study with four checkpoints of a recipe, and with two ages of one."""
    folder = tmp_path / "tables" / "decide"
    folder.mkdir(parents=True)
    setting = {"learning_rate": 3e-5, "rollout_batches": 100, "gamma": 0.5, "clip_mode": "two_sided"}
    changes = {
        "qwen-like": -0.028,
        "qwen-like-s1": 0.005,
        "qwen-like-s2": 0.01,
        "qwen-like-s3": -0.01,
        "mean of 4": -0.006,
    }
    rows = [
        {"recipe": "qwen-like", **setting, "reward": "random", "checkpoint": name, "accuracy_change": change}
        | {"n_checkpoints": 4 if name == "mean of 4" else 1, "n_seeds": 4, "accuracy_change_low": change - 0.02}
        | {"accuracy_change_high": change + 0.02, "accuracy_difference": 0.001, "code_difference": 0.03}
        | {"code_difference_low": 0.01, "code_difference_high": 0.05}
        for name, change in changes.items()
    ]
    pd.DataFrame(rows).to_csv(folder / "recipes.csv")
    arms = [
        ("ground_truth, two_sided", "qwen-like-s1-at10", 0.001),
        ("random γ=0.5, two_sided", "qwen-like-s1-at10", -0.001),
        ("ground_truth, two_sided", "qwen-like-s1", 0.2),
        ("random γ=0.5, two_sided", "qwen-like-s1", -0.01),
        ("ground_truth, two_sided", "one-token", 0.2),  # no age of it was trained
        ("random γ=0.5, two_sided", "one-token", 0.1),
    ]
    rows = [
        {"arm": f"{arm}, model={model}, learning_rate=3e-05, rollout_batches=100", "n_seeds": 4, "accuracy": 0.4}
        | {"accuracy_change": change, "accuracy_change_low": change - 0.05, "accuracy_change_high": change + 0.05}
        | {"code": 0.5, "code_change": 0.1}
        for arm, model, change in arms
    ]
    pd.DataFrame(rows).to_csv(folder / "arms.csv")
    effects = {"reward": "random", "model": ["qwen-like-s1-at10"], **setting, "n_seeds": 4, "code_difference": 0.02}
    effects |= {"code_difference_low": -0.01, "code_difference_high": 0.05}
    pd.DataFrame(effects).assign(updates_per_batch=8).to_csv(folder / "clip_effect.csv")
    return tmp_path


def test_the_mean_of_checkpoints_is_told(results):
    assert secondary_parts(results, "decide")["Other checkpoints"] == [
        "In the mean of 4 checkpoints of the recipe of qwen-like, pretrained from different seeds, a random reward "
        "with the clip changed accuracy by -0.6 points, too uncertain to tell from chance.",
        "The single checkpoints changed by -2.8 to +1.0 points, with 4 seeds of training or more each.",
        "Against the same seeds without the clip, the mean differs by +0.1 points of accuracy and +3.0 of code, "
        "towards code.",
    ]
    path = results / "tables" / "decide" / "recipes.csv"
    table = pd.read_csv(path)
    table.assign(n_checkpoints=table["n_checkpoints"].replace(4, 3)).to_csv(path)
    assert secondary_parts(results, "decide")["Other checkpoints"] == []
    table.assign(rollout_batches=30).to_csv(path)
    assert secondary_parts(results, "decide")["Other checkpoints"] == [], "not the settings of the study"


def test_ages_are_told_from_young_to_old(results):
    said = secondary_parts(results, "decide")["The age of pretraining"]
    assert said == [
        "At 10 % of its pretraining qwen-like-s1 is right in 39.9 % of its answers and writes code in 40.0 %.",
        "There true rewards changed its accuracy by +0.1 points, too uncertain to tell from chance, and a random "
        "reward by -0.1 points, too uncertain to tell from chance.",
        "Against the same 4 seeds without the clip, the random reward's share of code differs by +2.0 points, too "
        "uncertain to tell from chance.",
        "At 100 % of its pretraining qwen-like-s1 is right in 20.0 % of its answers and writes code in 40.0 %.",
        "There true rewards changed its accuracy by +20.0 points, a gain, and a random reward by -1.0 points, too "
        "uncertain to tell from chance.",
    ]
    path = results / "tables" / "decide" / "arms.csv"
    arms = pd.read_csv(path)
    arms.assign(n_seeds=3).to_csv(path)
    assert secondary_parts(results, "decide")["The age of pretraining"] == []


@pytest.mark.parametrize(
    ("true", "coin", "said"),
    [
        ((0.01, 0.2), (0.01, 0.2), "autodidactic: even a random reward brings a gain"),
        ((0.01, 0.2), (-0.2, 0.03), "receptive: true rewards bring a gain, a random one none that matters"),
        ((-0.2, 0.03), (-0.2, 0.03), "dormant: neither brings a gain that matters"),
        ((0.01, 0.2), (-0.2, 0.2), ""),  # the coin might bring a gain
        ((-0.2, 0.2), (-0.2, 0.03), ""),
    ],
)
def test_an_age_is_named_only_where_the_limits_tell(results, true, coin, said):
    path = results / "tables" / "decide" / "arms.csv"
    arms = pd.read_csv(path)
    for reward, limits in (("ground_truth", true), ("random", coin)):
        here = arms["arm"].str.startswith(reward) & arms["arm"].str.contains("-at10")
        arms.loc[here, ["accuracy_change_low", "accuracy_change_high"]] = limits
    arms[arms["arm"].str.contains("-at10")].to_csv(path)
    found = [one for one in secondary_parts(results, "decide")["The age of pretraining"] if "2610.01066" in one]
    assert found == ([f"In the words of arXiv 2610.01066 that age is {said}."] if said else [])
