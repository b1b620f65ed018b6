"""Figures of a profile: the numbers they show, that every label is drawn, and that legends stay short."""

from dataclasses import replace

import pandas as pd
import plotly.graph_objects as go
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.reporting import collect, drawing, evidence, figures, reasoning_figures
from spurious_rewards.reporting.drawing import all_labels, panels, words_of
from spurious_rewards.reporting.protocol import Protocol
from spurious_rewards.storage.paths import code_root

RESULTS = code_root() / "results"


def traces(figure, name):
    return [trace for trace in figure.data if trace.name == name]


def test_outcomes_are_changes_in_points(records):
    figure = figures.outcomes(records)
    accuracy, code = traces(figure, "with clip")
    # before: 2 of 4 right, 3 code; with clip 3 and 4 right, 4 and 4 code: (3.5 − 2)/4 = 37.5, (4 − 3)/4 = 25 points
    assert accuracy.x[0] == pytest.approx(37.5) and code.x[0] == pytest.approx(25)
    [without] = [trace.x[0] for trace in traces(figure, "without clip")][:1]
    assert without == pytest.approx(-12.5)  # 1 and 2 right: (1.5 − 2)/4
    assert "2 seeds per arm" in figure.layout.title.text and "4 problems" in figure.layout.title.text
    assert figure.layout.yaxis.ticktext == ("random reward",)
    assert figures.outcomes(records, "sampled") is None, "nothing was sampled"
    one = replace(records, runs=records.runs.iloc[:1],
                  samples=records.samples[records.samples["trained_run"].isin(["", "clip-0"])])  # fmt: skip
    assert figures.outcomes(one) is None, "one run is a point on an empty axis"


def test_checkpoints_beside_the_verdicts_have_no_panels(records, monkeypatch):
    """Claims rest on one of two models; the figures show the other only where nothing else is left."""
    monkeypatch.setattr(figures, "LEAST_POINTS", 2)
    other = records.runs.assign(run_id=records.runs["run_id"] + "-s1", model="qwen-like-s1")
    answers = records.samples.assign(model="qwen-like-s1", correct=False)
    answers["trained_run"] = answers["trained_run"].map(lambda run: f"{run}-s1" if run else "")
    more = records.metrics.assign(run_id=records.metrics["run_id"] + "-s1", code_frequency=0.0, clip_fraction=0.5)
    both = replace(
        records, runs=pd.concat([records.runs, other]), samples=pd.concat([records.samples, answers]),
        metrics=pd.concat([records.metrics, more]),
    )  # fmt: skip
    monkeypatch.setattr(evidence, "protocol_of", lambda name: Protocol(models=("qwen-like",)))
    draws = (figures.outcomes, figures.clip_by_update, lambda some: figures.trajectories(some, "code_frequency"))
    for draw in draws:
        alone, together = draw(records), draw(both)
        values = [[(list(t.x), list(t.y), t.error_x.array) for t in one.data] for one in (together, alone)]
        assert repr(values[0]) == repr(values[1])
        assert "1 more checkpoint is in the tables" in together.layout.title.text
        assert "checkpoint" not in alone.layout.title.text
        only = draw(replace(records, runs=other, samples=answers, metrics=more))
        assert "checkpoint" not in only.layout.title.text and len(only.data) == len(alone.data)
    monkeypatch.setattr(evidence, "protocol_of", lambda name: Protocol())
    for draw in draws:
        everything = draw(both)
        assert "checkpoint" not in everything.layout.title.text, "without a plan both models are judged"
        assert len(everything.data) == 2 * len(draw(records).data)


def test_every_row_has_its_label():
    figure, _ = panels(["a"], 1, 400)
    names = [f"row {i}" for i in range(30)]
    all_labels(figure, names, 1, 1)
    axis = figure.layout.yaxis
    assert axis.tickmode == "array" and list(axis.ticktext) == names and list(axis.tickvals) == list(range(30))
    assert tuple(axis.range) == (29.5, -0.5)


def test_trajectories_have_a_line_per_seed_and_a_thick_mean(records, monkeypatch):
    assert figures.trajectories(records, "code_frequency") is None, "two rollout batches are no curve"
    monkeypatch.setattr(figures, "LEAST_POINTS", 2)
    figure = figures.trajectories(records, "code_frequency")
    widths = sorted(
        trace.line.width for trace in traces(figure, "without clip") + [t for t in figure.data if not t.name]
    )
    assert widths == [0.7] * 4 + [2.5]
    assert len([trace for trace in figure.data if trace.showlegend]) == 2
    [clip] = traces(figure, "with clip")
    assert list(clip.y) == [50, 70], "percent: 0.5 + 0.1 × update, at updates 0 and 2"


def test_the_clip_by_update_is_of_the_random_reward_and_joins_no_gaps(records):
    figure = figures.clip_by_update(records)
    clip, none = figure.data
    # with clip 0 and 2 % at the two updates; without, the clip would have caught 0 and 1 + 1 %
    assert list(clip.x) == [1, 2] and list(clip.y) == [0, 2] and list(none.y) == [0, 2] and clip.mode == "lines+markers"
    assert "random reward" in figure.layout.title.text
    true = records.runs.assign(run_id=records.runs["run_id"] + "-gt", reward="ground_truth")
    loud = records.metrics.assign(run_id=records.metrics["run_id"] + "-gt", clip_fraction=0.5)
    more = replace(records, runs=pd.concat([records.runs, true]), metrics=pd.concat([records.metrics, loud]))
    assert list(figures.clip_by_update(more).data[0].y) == [0, 2], "other rewards are left out"
    gaps = records.metrics.replace({"update_in_batch": {2: 8}})
    assert {trace.mode for trace in figures.clip_by_update(replace(records, metrics=gaps)).data} == {"markers"}
    assert figures.clip_by_update(replace(records, runs=true)) is None


def test_beside_the_paper_every_model_that_prefers_code_is_shown_or_counted(records):
    def of(*models):
        runs, metrics = [], []
        for model in models:
            runs.append(records.runs.assign(model=model, run_id=model + records.runs["run_id"]))
            metrics.append(records.metrics.assign(run_id=model + records.metrics["run_id"]))
        return replace(records, runs=pd.concat(runs), metrics=pd.concat(metrics))

    names = [title.text for title in figures.beside_the_paper(of("qwen-like", "one-token")).layout.annotations]
    assert [name.split("<br>")[0] for name in names[1:]] == ["<b>qwen-like</b>", "<b>one-token</b>"]
    four = figures.beside_the_paper(of("llama-like", "olmo-like", "one-token", "qwen-like"))
    assert "1 more of our settings" in four.layout.title.text
    shown = " ".join(title.text for title in four.layout.annotations)
    assert "qwen-like" in shown and "one-token" in shown


def test_nothing_to_show_is_a_sentence(capsys):
    figures.show(None)
    assert "too few" in capsys.readouterr().out


def test_without_training_there_is_no_outcome(records):
    base = replace(
        records, runs=records.runs.iloc[:0], metrics=records.metrics.iloc[:0],
        samples=records.samples[records.samples["trained_run"] == ""],
    )  # fmt: skip
    assert figures.outcomes(base) is None and figures.trajectories(base, "entropy") is None
    drawn = figures.all_figures(base)
    assert list(drawn) == ["levels"] and list(drawn["levels"].data[0].x) == [50.0]


def test_the_paper_s_curve_stands_beside_ours(records):
    figure = figures.beside_the_paper(records)
    paper = {trace.name: trace for trace in figure.data[:2]}
    # Fig 11, code frequency, smoothed: 65.0 at step 0, 57.2 at 50 and 52.8 at its last step without the clip
    assert list(paper["without clip"].y) == [65.0, 57.2, 52.8] and list(paper["with clip"].y) == [65.0, 81.6, 85.8]
    assert list(figure.data[2].y) == [50.0, 70.0]  # the first updates of our two rollout batches


@pytest.mark.parametrize("profile", collect.saved_profiles(RESULTS))
def test_committed_figures_have_short_legends_and_titles(profile):
    records = collect.load(profile, RESULTS)
    drawn = figures.all_figures(records) | reasoning_figures.all_figures(records)
    drawing.check_legends(drawn)
    assert all(0 < len(words_of(figure)[0]) < 90 for figure in drawn.values())


def test_long_legends_are_refused():
    figure = go.Figure([go.Scatter(x=[0], y=[0], name=str(i)) for i in range(7)])
    with pytest.raises(InputError, match="7 entries"):
        drawing.check_legends({"crowded": figure})


def test_the_answer_in_one_figure(records):
    figure = figures.clip_on_off(records)
    with_clip, without, with_clip_code, without_code = figure.data
    assert (list(with_clip.x), list(with_clip_code.x)) == ([37.5], [25.0])
    assert (list(without.x), list(without_code.x)) == ([-12.5], [-12.5])  # code 2 and 3 of 4 against 3: −12.5
    assert figure.layout.yaxis.ticktext == ("qwen-like",)
    assert with_clip.y[0] == -0.15 and without.y[0] == 0.15, "side by side"
