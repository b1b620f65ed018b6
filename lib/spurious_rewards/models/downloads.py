"""Download a model from the Hugging Face hub, and compare what came with what the hub announced.

The hub's client names each file of its cache by the hash that the hub announced for it, but compares the length alone.
A cache without symbolic links has no such names; its files are not compared.

Usage: `folder = snapshot("Qwen/Qwen2.5-Math-7B", revision, ["*.json", "*.safetensors"])`
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from spurious_rewards.errors import InputError
from spurious_rewards.storage.files import sha256_file
from spurious_rewards.workflow.network import hub_reachable

LARGE_BYTES = 64_000_000
"""Files above this size are weights: to hash them takes a second per GB or two."""


def snapshot(name: str, revision: str | None, patterns: Sequence[str], large: bool = True) -> Path:
    """Find the folder of a hub model at its revision, after downloading what is missing.

    Args:
        name: hub id.
        revision: commit.
        patterns: of the files that are wanted.
        large: also compare files above `LARGE_BYTES` with their hashes, once per process.

    Raises:
        OSError: the hub cannot be reached, refuses the model, or stops in the middle; the sentence says which.
        InputError: a file is not the one that the hub announced; it is removed.
    """
    import httpx
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(
                name, revision=revision, local_files_only=not hub_reachable(), allow_patterns=list(patterns)
            )
        )
    except httpx.HTTPError as error:  # the client lets time-outs and broken connections through
        raise OSError(str(error) or type(error).__name__) from error
    for link in (path for path in sorted(folder.rglob("*")) if path.is_symlink()):
        blob = link.resolve()
        if (large or blob.stat().st_size < LARGE_BYTES) and not _as_announced(blob, blob.stat().st_mtime_ns):
            blob.unlink()
            link.unlink()
            raise InputError(
                f"File {link.name} of {name} is not the one that the hub announced (its hash differs): it is removed; "
                "run again to download it anew."
            )
    return folder


@functools.cache
def _as_announced(blob: Path, changed: int) -> bool:
    """Tell whether a file of the cache has the hash it is named by: SHA-256, or git's SHA-1 for small files."""
    if re.fullmatch("[0-9a-f]{64}", blob.name):
        return sha256_file(blob) == blob.name
    if re.fullmatch("[0-9a-f]{40}", blob.name):
        data = blob.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == blob.name
    return True
