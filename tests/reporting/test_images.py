"""Export to PNG: what comes back, what a hanging browser costs, and that errors are not swallowed."""

import threading
import time

import plotly.graph_objects as go
import pytest

from spurious_rewards.reporting import drawing, images


class Figure(go.Figure):
    """A figure whose export is ours to decide."""


def drawn_by(monkeypatch, export):
    monkeypatch.setattr(Figure, "to_image", lambda self, **kwargs: export(), raising=False)
    return Figure()


def test_a_second_try_after_a_hang(monkeypatch):
    calls = []

    def export():
        calls.append(1)
        if len(calls) == 1:
            threading.Event().wait(30)
        return b"png"

    began = time.monotonic()
    assert images.png(drawn_by(monkeypatch, export), seconds=0.3) == b"png"
    assert len(calls) == 2 and time.monotonic() - began < 10


def test_none_when_every_try_hangs(monkeypatch):
    assert images.png(drawn_by(monkeypatch, lambda: threading.Event().wait(30)), seconds=0.1, tries=2) is None


def test_errors_of_the_export_are_raised(monkeypatch):
    def export():
        raise ValueError("no such format")

    with pytest.raises(ValueError, match="no such format"):
        images.png(drawn_by(monkeypatch, export))


def test_a_figure_that_is_not_drawn_stays_interactive(monkeypatch, tmp_path, capsys):
    shown = []
    monkeypatch.setattr(drawing, "browser_path", lambda: "/usr/bin/some-browser")
    monkeypatch.setattr(drawing, "png", lambda figure: None)
    monkeypatch.setattr(drawing, "display", lambda bundle, raw: shown.append(bundle))
    drawing.show(go.Figure())
    assert list(shown[0]) == ["application/vnd.plotly.v1+json"] and "interactive only" in capsys.readouterr().out
    note = drawing.write({"empty": go.Figure()}, tmp_path / "figures")
    assert "did not draw in time: empty" in note
    assert (tmp_path / "figures" / "empty.html").is_file() and not (tmp_path / "figures" / "empty.png").exists()
