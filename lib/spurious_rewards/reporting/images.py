"""Figures as PNG, by a browser that may be missing and may hang.

plotly's export (kaleido) starts a Chrome-family browser per figure; on a busy machine it happened that the browser had
gone and the export waited for ever. So an export has a time limit and a second try, and a figure without PNG is still
an interactive figure.

Usage: `data = png(figure)`; None means that there is no image, and `write` or `show` of `reporting.figures` say so.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
from pathlib import Path

import logistro
import plotly.graph_objects as go

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 90.0
"""An export takes two to three seconds, on a machine whose cores are all busy up to twenty."""
TRIES = 2


def browser_path() -> str | None:
    """A Chrome-family browser for PNG export: `BROWSER_PATH`, or the first known name on the PATH."""
    given = os.environ.get("BROWSER_PATH")
    if given and Path(given).exists():
        return given
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def png(figure: go.Figure, seconds: float = SECONDS, tries: int = TRIES) -> bytes | None:
    """The figure as PNG; None if every try took longer than `seconds`.

    Raises:
        Exception: whatever the export itself raises.
    """
    # The browser's last, cut off message on closing is logged with a traceback, though nothing is lost by it.
    logistro.getLogger("choreographer.channels.pipe").setLevel(logging.CRITICAL)
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
            return made
    return None
