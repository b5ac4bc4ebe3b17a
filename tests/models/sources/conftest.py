"""Models of sources without a network: folders and a cache of the Hub, laid out as the libraries lay them out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Mapping[str, bytes]], None]:
    """Put the files of a repository into a cache of the Hub, which is offline."""
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def put(repo: str, files: Mapping[str, bytes]) -> None:
        root = cache / f"models--{repo.replace('/', '--')}"
        snapshot = root / "snapshots" / COMMIT
        snapshot.mkdir(parents=True, exist_ok=True)
        (root / "refs").mkdir(exist_ok=True)
        (root / "refs" / "main").write_text(COMMIT)
        (root / "blobs").mkdir(exist_ok=True)
        for name, content in files.items():
            blob = root / "blobs" / f"{abs(hash((name, content))):x}"
            blob.write_bytes(content)
            (snapshot / name).symlink_to(blob)
        absent = root / ".no_exist" / COMMIT
        absent.mkdir(parents=True, exist_ok=True)
        for name in ("model.safetensors", "README.md", "preprocessor_config.json", "processor_config.json"):
            if name not in files:
                (absent / name).touch()

    return put


def as_json(**content: object) -> bytes:
    """Return a JSON file's bytes."""
    return json.dumps(content).encode()
