"""Export to PNG: what comes back and how small, what a hanging browser costs, and that errors are not swallowed."""

import struct
import threading
import time
import zlib

import numpy as np
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


def written(rgba_HWC):
    """A PNG as Chromium writes it: every row as the difference to the row above (filter 2)."""
    height, width, _ = rgba_HWC.shape
    above_HWC = np.concatenate([np.zeros_like(rgba_HWC[:1]), rgba_HWC[:-1]])
    rows_H = np.pad((rgba_HWC - above_HWC).reshape(height, -1), ((0, 0), (1, 0)), constant_values=2)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0),
        b"IDAT": zlib.compress(rows_H.tobytes()),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    )


def read(image):
    """The colours of a PNG with a palette, rows without filter."""
    parts = images._parts(image)
    width, height = struct.unpack(">II", parts[b"IHDR"][:8])
    rows_H = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(height, 1 + width)
    assert not rows_H[:, 0].any()
    return np.frombuffer(parts[b"PLTE"], np.uint8).reshape(-1, 3)[rows_H[:, 1:]]


def test_few_colours_are_kept_exactly():
    rgba_HWC = np.full((40, 60, 4), 255, np.uint8)
    rgba_HWC[3:9, 5:50, :3] = (213, 94, 1)
    rgba_HWC[20:, 30:, :3] = (0, 114, 178)
    image = images.smaller(written(rgba_HWC))
    assert (read(image) == rgba_HWC[..., :3]).all()
    assert images.smaller(image) == image, "an image with a palette stays as it is"


def test_many_colours_are_rounded_and_white_stays_white():
    random = np.random.default_rng(0)
    rgba_HWC = np.full((64, 64, 4), 255, np.uint8)
    rgba_HWC[8:, :, :3] = random.integers(0, 256, (56, 64, 3))
    shown = read(images.smaller(written(rgba_HWC)))
    assert (shown[:8] == 255).all()
    assert abs(shown.astype(int) - rgba_HWC[..., :3]).max() <= 26  # six levels: 0, 51, … 255
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) <= 256


def test_what_chromium_does_not_write_stays_as_it_is():
    see_through = np.full((4, 4, 4), 100, np.uint8)
    assert images.smaller(b"no image") == b"no image"
    assert images.smaller(written(see_through)) == written(see_through)
