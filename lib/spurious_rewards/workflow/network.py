"""Find out whether the Hugging Face hub can be reached, and whether anything was downloaded from it before."""

from __future__ import annotations

import os
import socket
import urllib.parse
import urllib.request
from pathlib import Path

CONNECT_SECONDS = 5.0
"""The hub's client retries for 23 s before it gives up; one attempt decides here."""


def hub_reachable() -> bool:
    """Say whether a connection to the hub opens within `CONNECT_SECONDS`, or a proxy stands between."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return False
    endpoint = urllib.parse.urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    if endpoint.scheme in urllib.request.getproxies():
        return True
    try:
        port = endpoint.port or (443 if endpoint.scheme == "https" else 80)
        socket.create_connection((endpoint.hostname or "", port), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def data_downloaded() -> bool:
    """Say whether the cache of `datasets` holds anything: data of an earlier download can be used without the hub."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    folder = Path(os.environ.get("HF_DATASETS_CACHE") or f"{home}/datasets").expanduser()
    return folder.is_dir() and any(folder.iterdir())
