"""The live figure: what it draws, that every update replaces the drawing, and what is left at the end."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

from spurious_rewards.reporting import live


@pytest.fixture
def metrics(records):
    return records.metrics[records.metrics["run_id"] == "clip-0"]


def points(drawing):
    lines = ElementTree.fromstring(drawing).iter("{http://www.w3.org/2000/svg}polyline")
    return [len(line.get("points").split()) for line in lines]


def test_a_point_per_rollout_batch_in_each_panel(metrics):
    # two rollout batches of two updates each: two points in every panel, one after the first batch
    assert points(live.svg("<toy> & more", metrics)) == [2, 2, 2, 2]
    assert points(live.svg("toy", metrics.iloc[:2])) == [1, 1, 1, 1]
    assert points(live.svg("toy", metrics.iloc[:1])) == [1, 1, 1], "no later update yet: no clip fraction to show"


def test_the_clip_fraction_is_that_of_later_updates(metrics):
    assert live.series(metrics, "clip_fraction").tolist() == [0.02, 0.02]
    assert live.series(metrics, "code_frequency").tolist() == [0.5, 0.7]


def test_updates_replace_the_drawing_and_the_end_is_a_plotly_figure(metrics, monkeypatch):
    shown, updates = [], []

    class Handle:
        def update(self, data, raw):
            updates.append(data)

    monkeypatch.setattr(live, "display", lambda data, raw, display_id: shown.append(data) or Handle())
    monkeypatch.setattr(live, "show", lambda figure: shown.append(figure))
    figure = live.LiveFigure("toy", seconds_between=0)
    for n in (2, 4):
        figure.update(metrics.iloc[:n])
    figure.close(metrics)
    assert points(shown[0]["image/svg+xml"])[0] == 1 and points(updates[0]["image/svg+xml"])[0] == 2
    assert list(updates[1]) == ["text/plain"], "the drawing makes room for the plotly figure"
    assert len(json.loads(shown[1].to_json())["data"]) == 4


def test_drawings_are_not_more_frequent_than_asked(metrics, monkeypatch):
    shown = []
    monkeypatch.setattr(live, "display", lambda data, raw, display_id: shown.append(data))
    figure = live.LiveFigure("toy", seconds_between=60)
    figure._handle = object()  # an update would fail
    figure._last = live.time.monotonic()
    figure.update(metrics)
    assert shown == []
