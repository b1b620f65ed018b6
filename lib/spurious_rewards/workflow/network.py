"""Find out whether the Hugging Face hub can be reached, and whether anything was downloaded from it before."""

from __future__ import annotations

import os
from pathlib import Path

ANSWER_SECONDS = 5.0
"""The hub's client tries for minutes before it gives up on a hub that is silent; one attempt decides here."""


def hub_reachable() -> bool:
    """Say whether the hub, or a proxy before it, answers within `ANSWER_SECONDS`, whatever it answers."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return False
    import httpx  # the client of the hub's own library

    try:
        httpx.head(os.environ.get("HF_ENDPOINT") or "https://huggingface.co", timeout=ANSWER_SECONDS)
    except httpx.HTTPError:
        return False
    return True


def data_downloaded() -> bool:
    """Say whether the cache of `datasets` holds anything: data of an earlier download can be used without the hub."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    folder = Path(os.environ.get("HF_DATASETS_CACHE") or f"{home}/datasets").expanduser()
    return folder.is_dir() and any(folder.iterdir())
