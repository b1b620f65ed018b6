"""Load a model and a data set from a hub that misbehaves, then from one that does not; print one JSON list of rows.

The hub is a server of this process that serves the embedded organism as if it were a model of the registry. Each load
is a fork with an empty cache; the second one, from the same cache, must find the very weights.

Usage: `python tests/faults/hub.py [BEHAVIOUR ...]`
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

MODEL, DATA = "Qwen/Qwen2.5-Math-7B", "math500"
SECONDS_PER_REQUEST = 2
MOST_SECONDS = 60
"""Longest time until the sentence: the hub's client tries five times, with pauses."""
BEHAVIOURS = {
    "silent": "it takes the request and never answers",
    "silent in a file": "it stops in the middle of a file and keeps the connection",
    "broken off": "it ends the connection in the middle of a file",
    "wrong hash": "it serves other bytes than those it has announced, of the same length",
    "longer": "it serves more bytes than announced",
    "500": "it answers every request with status 500",
    "404": "it does not know the model",
    "403": "it refuses the model",
    "429": "it answers that there are too many requests",
    "no JSON": "it answers with a page of HTML",
    "redirects": "it sends in circles",
    "escaping names": "its file names lead out of the folder",
}


class Hub(BaseHTTPRequestHandler):
    """Serves one folder as a model at any revision; class attributes say how it misbehaves."""

    folder: Path
    behaviour = ""
    patience = threading.Event()  # set when the silent ones may end
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, body: bool) -> None:
        path, kind = self.path.partition("?")[0], type(self).behaviour
        if kind == "silent":
            self.patience.wait(120)
            self.close_connection = True
        elif kind in ("500", "404", "403", "429"):
            self._send(int(kind), b"{}", body, {"X-Error-Message": "not now"})
        elif kind == "no JSON":
            self._send(200, b"<html>A captive portal</html>", body, {"Content-Type": "text/html"})
        elif kind == "redirects":
            self._send(302, b"", body, {"Location": f"http://{self.headers['Host']}{path}"})
        elif path.startswith(f"/api/models/{MODEL}/revision/"):
            siblings = [{"rfilename": name} for name in self._names()]
            self._send_json({"id": MODEL, "sha": path.rsplit("/", 1)[-1], "siblings": siblings}, body)
        elif path.startswith(f"/api/models/{MODEL}/tree/"):
            self._send_json([self._entry(name) for name in self._names()], body)
        elif path.startswith(f"/{MODEL}/resolve/"):
            revision, _, name = path.removeprefix(f"/{MODEL}/resolve/").partition("/")
            self._send_file(revision, name, body)
        else:
            self._send(404, b"{}", body, {})

    def _names(self) -> list[str]:
        names = sorted(path.name for path in self.folder.iterdir() if path.is_file())
        return [*names, "../../../escaped.json"] if self.behaviour == "escaping names" else names

    def _data(self, name: str) -> bytes:
        return (self.folder / Path(name).name).read_bytes() if (self.folder / Path(name).name).is_file() else b"{}"

    def _entry(self, name: str) -> dict[str, Any]:
        data = self._data(name)
        entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": _git_hash(data)}
        if name.endswith(".safetensors"):
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return entry

    def _send_file(self, revision: str, name: str, body: bool) -> None:
        data, kind = self._data(name), type(self).behaviour
        big = name.endswith(".safetensors")
        tag = hashlib.sha256(data).hexdigest() if big else _git_hash(data)
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": revision, "Accept-Ranges": "none"}
        if not big or not body or kind in ("", "escaping names"):
            self._send(200, data, body, headers)
        elif kind == "wrong hash":
            self._send(200, data[: len(data) // 2] + bytes(len(data) - len(data) // 2), body, headers)
        elif kind == "longer":
            self._send(200, data + bytes(1000), body, headers)
        else:
            self._send(200, data[: len(data) // 2], body, headers | {"Content-Length": str(len(data))})
            if kind == "silent in a file":
                self.wfile.flush()
                self.patience.wait(120)
            self.close_connection = True

    def _send_json(self, value: Any, body: bool) -> None:
        self._send(200, json.dumps(value).encode(), body, {"Content-Type": "application/json"})

    def _send(self, status: int, data: bytes, body: bool, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)


def _git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def load_model() -> None:
    """Load the model of the hub and write its weights' digest beside the cache."""
    from spurious_rewards.models.registry import load

    model, _ = load(MODEL)
    digest = hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values()))
    Path("digest").write_text(digest.hexdigest())


def load_data() -> None:
    """Load a problem set of the hub."""
    from spurious_rewards.data import sources

    sources.load(DATA)


def main(behaviours: list[str]) -> None:
    """Try every behaviour; print the rows."""
    Hub.folder = Path(__file__).parents[2] / "lib/spurious_rewards/models/embedded/qwen-like"
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ |= {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": str(SECONDS_PER_REQUEST), "HF_HUB_ETAG_TIMEOUT": str(SECONDS_PER_REQUEST),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    for name in ("HF_HUB_OFFLINE", "SPURIOUS_DATA_DIR", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory(prefix="hub-") as name:
        folder = Path(name).resolve()
        os.environ |= {"HF_HOME": str(folder / "home")}
        rows = tried(behaviours, folder)
    print(json.dumps(rows))


def tried(behaviours: list[str], folder: Path) -> list[dict[str, Any]]:
    """Load under every behaviour, then from a hub that behaves."""
    from fork import SENTENCE, forked
    from huggingface_hub import constants

    from spurious_rewards.models.registry import load  # before the forks, which then need no second for it

    load("qwen-like")
    whole = _in(folder / "whole")
    done = forked(load_model, whole, before=_cache_below(constants, whole))
    assert done["exit"] == 0, done
    expected = (whole / "digest").read_text()
    rows = []
    for job, load_it in (("hub model", load_model), ("hub data", load_data)):
        for number, kind in enumerate(behaviours):
            if job == "hub data" and kind not in ("silent", "500", "404", "no JSON", "redirects"):
                continue
            root = _in(folder / f"{job.replace(' ', '-')}-{number}")
            before = _cache_below(constants, root)
            Hub.behaviour, Hub.patience = kind, threading.Event()
            began = time.monotonic()
            first = forked(load_it, root, before=before)
            seconds = time.monotonic() - began
            Hub.patience.set()
            Hub.behaviour, problem = "", first.get("trace", "")
            if first["exit"] == 0 and kind != "escaping names":
                problem = "it went on as if nothing was"
            if seconds > MOST_SECONDS:
                problem = f"the sentence took {seconds:.0f} s"
            if list(folder.rglob("escaped.json")) or list(folder.parent.glob("escaped.json")):
                problem = "a file left the folder"
            equal = "yes"
            if kind == "escaping names":  # the client keeps a commit's list of files, as it cannot change
                shutil.rmtree(root / "cache")
            if job == "hub model":
                again = forked(load_it, root, before=before)
                equal = "yes" if again["exit"] == 0 and (root / "digest").read_text() == expected else "no"
                problem = problem or ("" if equal == "yes" else f"the second load: {again}")
            said = first.get("sentence", "").replace(f"{folder}/", "").replace(os.environ["HF_ENDPOINT"], "the hub")
            rows.append({
                "job": job, "fault": kind, "where": BEHAVIOURS[kind],
                "ended": {0: "done", SENTENCE: "sentence"}.get(first["exit"], "traceback"),
                "there": f"nothing after {seconds:.0f} s" if first["exit"] else "", "said": said, "equal": equal,
                "outcome": "failure" if problem else "sentence" if said else "equal", "problem": problem,
            })  # fmt: skip
    return rows


def _in(root: Path) -> Path:
    root.mkdir()
    return root


def _cache_below(constants: Any, root: Path) -> Any:
    def before() -> None:
        constants.HF_HUB_CACHE = str(root / "cache")

    return before


if __name__ == "__main__":
    socket.setdefaulttimeout(120)
    main(sys.argv[1:] or list(BEHAVIOURS))
