"""A cache of the Hugging Face Hub, laid out as the library lays it out, so that no test needs a network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def put(cache: Path, repo: str, files: Mapping[str, bytes]) -> None:
    """Put the files of a repository into a cache, and note which of those that are asked for it has not."""
    root = cache / f"models--{repo.replace('/', '--')}"
    snapshot = root / "snapshots" / COMMIT
    snapshot.mkdir(parents=True, exist_ok=True)
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs" / "main").write_text(COMMIT)
    (root / "blobs").mkdir(exist_ok=True)
    for name, content in files.items():
        blob = root / "blobs" / hashlib.sha256(name.encode() + content).hexdigest()
        blob.write_bytes(content)
        (snapshot / name).symlink_to(blob)
    absent = root / ".no_exist" / COMMIT
    absent.mkdir(parents=True, exist_ok=True)
    for name in (
        "model.safetensors",
        "preprocessor_config.json",
        "processor_config.json",
    ):  # not README.md: no library asks
        if name not in files:
            (absent / name).touch()
