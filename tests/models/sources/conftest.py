"""Models of sources without a network: folders and a cache of the Hub, laid out as the libraries lay them out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest

from tests import hub


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Mapping[str, bytes]], None]:
    """Put the files of a repository into a cache of the Hub, which is offline."""
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return partial(hub.put, cache)


def as_json(**content: object) -> bytes:
    """Return a JSON file's bytes."""
    return json.dumps(content).encode()
