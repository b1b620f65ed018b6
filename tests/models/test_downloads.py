"""Files of the hub count only as what the hub announced; a hub that is silent is given up quickly."""

import hashlib
import socket
import time

import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.models import downloads
from spurious_rewards.workflow import network


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A hub cache of two files, named by SHA-256 and by git's SHA-1; returns its snapshot folder."""
    blobs, folder = tmp_path / "blobs", tmp_path / "snapshots" / "0"
    blobs.mkdir()
    folder.mkdir(parents=True)
    weights, text = b"weights" * 100, b"{}"
    names = {"model.safetensors": (hashlib.sha256(weights).hexdigest(), weights),
             "config.json": ("9e26dfeeb6e641a33dae4961196235bdb965b21b", text)}  # fmt: skip
    for name, (digest, data) in names.items():
        (blobs / digest).write_bytes(data)
        (folder / name).symlink_to(blobs / digest)
    monkeypatch.setattr(downloads, "hub_reachable", lambda: False)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(folder))
    return folder


def test_whole_files_pass(cache):
    assert downloads.snapshot("a/b", None, ["*"]) == cache


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_another_file_than_announced_is_removed(cache, name):
    blob = (cache / name).resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match=f"File {name} of a/b is not the one that the hub announced"):
        downloads.snapshot("a/b", None, ["*"])
    assert not blob.exists() and not (cache / name).is_symlink()


def test_weights_are_left_out_where_they_are_not_read(cache, monkeypatch):
    monkeypatch.setattr(downloads, "LARGE_BYTES", 100)
    blob = (cache / "model.safetensors").resolve()
    blob.write_bytes(b"?" * 700)
    assert downloads.snapshot("a/b", None, ["*"], large=False) == cache
    with pytest.raises(InputError):
        downloads.snapshot("a/b", None, ["*"])


def test_a_hub_that_takes_the_connection_and_is_silent_counts_as_unreachable(monkeypatch):
    for name in ("HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(network, "ANSWER_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        began = time.monotonic()
        assert not network.hub_reachable()
        assert time.monotonic() - began < 5
