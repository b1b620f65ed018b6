"""Figures as PNG, by a browser that may be missing and may hang.

plotly's export (kaleido) starts a Chrome-family browser per figure; on a busy machine it happened that the browser had
gone and the export waited for ever. So an export has a time limit and a second try, and a figure without PNG is still
an interactive figure.

Images are stored with a palette of 256 colours, a quarter of the browser's size, for notebooks that are committed.

Usage: `data = png(figure)`; None means that there is no image, and `write` or `show` of `reporting.figures` say so.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
import zlib

import logistro
import numpy as np
import plotly.graph_objects as go

from spurious_rewards.workflow.doctor import browser_path

SECONDS = 90.0
"""An export takes two to three seconds, on a machine whose cores are all busy up to twenty."""
TRIES = 2
COLOURS = 256
LEVELS = (256, 64, 32, 22, 16, 11, 8, 6)
"""Values per colour channel that are tried until the colours fit the palette; six always fit."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TRUE_COLOUR, _PALETTE, _UP = 6, 3, 2


def png(figure: go.Figure, seconds: float = SECONDS, tries: int = TRIES) -> bytes | None:
    """Draw the figure as PNG; None if every try took longer than `seconds`.

    Raises:
        Exception: whatever the export itself raises.
    """
    os.environ["BROWSER_PATH"] = browser_path() or ""  # the export knows fewer names of browsers
    # What happens when the browser closes is logged, a cut off last message with a traceback; nothing is lost by it.
    logistro.getLogger("choreographer").setLevel(logging.CRITICAL)
    for _ in range(tries):
        outcome: list[bytes | BaseException] = []

        def export(outcome: list[bytes | BaseException] = outcome) -> None:
            try:
                outcome.append(figure.to_image(format="png", scale=1))
            except BaseException as error:  # handed to the caller's thread
                outcome.append(error)

        thread = threading.Thread(target=export, daemon=True, name="png")
        thread.start()
        thread.join(seconds)
        for made in outcome:
            if isinstance(made, BaseException):
                raise made
            return smaller(made)
    return None


def smaller(image: bytes) -> bytes:
    """Store a PNG with a palette; colours are rounded if there are more than 256, white and black stay.

    An image that is not what Chromium writes (8 bits, opaque, every row as the difference to the row above) is returned
    as it is.
    """
    parts = _parts(image)
    if parts is None:
        return image
    width, height, depth, kind = struct.unpack(">IIBB", parts[b"IHDR"][:10])
    if (depth, kind) != (8, _TRUE_COLOUR):
        return image
    rows_H = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(height, 1 + 4 * width)
    pixels_HWC = np.cumsum(rows_H[:, 1:], axis=0, dtype=np.uint8).reshape(height, width, 4)
    if (rows_H[:, 0] != _UP).any() or (pixels_HWC[..., 3] != 255).any():
        return image
    for levels in LEVELS:
        steps_HWC = np.rint(pixels_HWC[..., :3] * ((levels - 1) / 255)).astype(np.uint32)
        codes_HW = steps_HWC @ np.array([65536, 256, 1], np.uint32)
        colours, index = np.unique(codes_HW, return_inverse=True)
        if len(colours) <= COLOURS:
            break
    channels = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1)
    rows = np.pad(index.reshape(height, width).astype(np.uint8), ((0, 0), (1, 0)))  # each row begins with "no filter"
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _PALETTE, 0, 0, 0)),
            (b"PLTE", np.rint(channels * (255 / (levels - 1))).astype(np.uint8).tobytes()),
            (b"IDAT", zlib.compress(rows.tobytes(), 9)),
            (b"IEND", b""),
        )
    )


def _parts(image: bytes) -> dict[bytes, bytes] | None:
    """Split a PNG into its chunks by name, chunks of one name joined; None if it is no PNG."""
    if not image.startswith(_SIGNATURE):
        return None
    found: dict[bytes, bytes] = {}
    at = len(_SIGNATURE)
    while at < len(image):
        (length,) = struct.unpack(">I", image[at : at + 4])
        name = image[at + 4 : at + 8]
        found[name] = found.get(name, b"") + image[at + 8 : at + 8 + length]
        at += 12 + length
    return found
