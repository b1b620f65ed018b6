"""A verifier with errors: its quality, the change that it brings, and true rewards after as many rollout batches."""

from dataclasses import replace

import pandas as pd
import pytest

from spurious_rewards.reporting.paragraph import paragraph
from spurious_rewards.reporting.verifier import NOISY, verifier_figure, verifier_quality


@pytest.fixture
def noisy(records):
    """The two clip modes as verifiers wrong in a quarter of the verdicts; one longer run with true rewards."""
    runs = records.runs.assign(reward=NOISY, false_positive=0.25, false_negative=0.25)
    length, updates = runs[["rollout_batches", "updates_per_batch"]].iloc[0]
    true = runs.iloc[:1].assign(
        run_id="true-0", reward="ground_truth", false_positive=0.0, false_negative=0.0, rollout_batches=length + 3
    )
    samples = records.samples
    own = samples[samples["trained_run"].eq("clip-1")].assign(run_id="eval-true", trained_run="true-0")
    end = samples[samples["trained_run"].eq("none-0")].assign(run_id="eval-true-end", trained_run="true-0")
    parts = [samples, own.assign(checkpoint=length * updates), end]
    return replace(records, runs=pd.concat([runs, true], ignore_index=True), samples=pd.concat(parts))


def test_changes_by_quality(noisy):
    table = verifier_quality(noisy)
    assert list(zip(table["quality"], table["clip_mode"], table["n_seeds"], strict=True)) == [
        (1.0, "two_sided", 1),
        (0.5, "two_sided", 2),
        (0.5, "none", 2),
    ]
    # of 4 problems 2 are right before; the checkpoint of the true reward has 4, its end (1) is of a longer run
    assert table["accuracy_change"].tolist() == pytest.approx([0.5, 0.375, -0.125])
    assert table["code_change"].tolist() == pytest.approx([0.25, 0.25, -0.125])


def test_other_prompts_and_repeated_seeds_do_not_enter(noisy):
    """A base model under another prompt is no base, and a run of the right length is its longer twin's checkpoint."""
    samples, runs = noisy.samples, noisy.runs
    other = samples[samples["trained_run"].eq("")].assign(run_id="eval-other", prompt_style="none", correct=False)
    short = runs[runs["run_id"].eq("true-0")].assign(
        run_id="true-short", rollout_batches=runs["rollout_batches"].iloc[0]
    )
    own = samples[samples["run_id"].eq("eval-true")].assign(run_id="eval-short", trained_run="true-short", checkpoint=0)
    more = replace(noisy, samples=pd.concat([samples, other, own]), runs=pd.concat([runs, short]))
    table = verifier_quality(more)
    assert table["accuracy_change"].tolist() == pytest.approx([0.5, 0.375, -0.125]) and table["n_seeds"][0] == 1
    without = replace(noisy, samples=samples[samples["trained_run"].ne("")])
    assert verifier_quality(without).empty and verifier_figure(without) is None


def test_the_figure_has_a_line_per_clip_mode(noisy, records):
    clip, none = (trace for trace in verifier_figure(noisy).data if trace.showlegend)
    assert (clip.name, list(clip.x), list(clip.y)) == ("with clip", [1.0, 0.5], pytest.approx([50, 37.5]))
    assert (none.name, list(none.x), list(none.y)) == ("without clip", [0.5], pytest.approx([-12.5]))
    assert verifier_quality(records).empty and verifier_figure(records) is None


def test_sentences_are_of_the_verifiers_nearest_to_a_coin(tmp_path):
    rows = [(0.4, -0.2, -0.1, 0.3), (0.4, 0.2, 0.1, 0.3), (0.25, 0.5, 0.2, 0.4), (0.6, -0.2, -0.5, -0.3)]
    table = pd.DataFrame(rows, columns=["false_positive", "quality", "accuracy_change_low", "accuracy_change_high"])
    table = table.assign(accuracy_change=0.11, rollout_batches=30, model="qwen-like", clip_mode="two_sided", n_seeds=4)
    table = table.assign(benchmark="synthetic_test")
    table = table.assign(false_negative=[0.8, *table["false_positive"][1:]])  # the first row errs more one way
    folder = tmp_path / "tables" / "toy"
    folder.mkdir(parents=True)
    table.to_csv(folder / "verifier_quality.csv")
    effects = {
        "reward": [NOISY, NOISY, "random"],
        "accuracy_difference_low": [0.1, -0.1, 0.1],
        "clip_mode": "two_sided",
    }
    pd.DataFrame(effects).assign(accuracy_difference=0.15, accuracy_difference_high=0.2, n_seeds=4).to_csv(
        folder / "clip_effect.csv"
    )
    said = paragraph(tmp_path, "toy")["A verifier with errors"]
    assert [sentence.split(",")[0] for sentence in said[:2]] == [
        "With a verifier wrong in 40 % of its verdicts",
        "With a verifier wrong in 60 % of its verdicts",
    ]
    assert said[0].endswith(
        "30 rollout batches with the clip changed the accuracy of qwen-like by +11.0 points, a gain."
    )
    assert said[1].endswith(", a loss.") and said[2].endswith("leave out zero at 1 of 2 such verifiers.")
    assert said[3] == "The largest of the differences that do so is +15.0 points."
    assert said[4].startswith("These runs have 4 seeds each") and len(said) == 5
    without = table.assign(clip_mode="none", accuracy_change_low=-1.0)
    without.loc[without["false_positive"].eq(0.25), "accuracy_change_low"] = 0.1
    pd.concat([table, without]).to_csv(folder / "verifier_quality.csv")
    assert paragraph(tmp_path, "toy")["A verifier with errors"][2] == (
        "The worst verifier that still brings qwen-like a gain, by 95 % limits, is wrong in 40 % of its verdicts with "
        "the clip, and in 25 % without it."
    )
    pd.concat([table, without.assign(accuracy_change_low=-1.0)]).to_csv(folder / "verifier_quality.csv")
    assert paragraph(tmp_path, "toy")["A verifier with errors"][2].endswith("with the clip, and in none without it.")
    table.assign(n_seeds=3).to_csv(folder / "verifier_quality.csv")
    assert paragraph(tmp_path, "toy") == {}, "too few seeds to speak of"
