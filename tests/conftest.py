"""Fixtures that all tests share."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads must not spin on shared cores

import numpy as np
import pytest

from tests.golden.seeded_weights import seeded_input, seeded_state_dict

GOLDEN = Path(__file__).parent / "golden"
SHARED = Path(os.environ.get("MVT_SHARED", Path(__file__).parents[2] / "shared"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the matrix, which has the longest tests: none of them is to be the last one that runs."""
    items.sort(key=lambda item: item.path.name != "test_matrix.py")


def pytest_collection_finish() -> None:
    """Let the collector of garbage leave alone what is imported by now, and look less often.

    Each of its rounds would go through the millions of objects of torch and its like, which are there to stay.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of photos, weights and foreign artifacts that stays beside the project; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs photos or artifacts that the project does not contain (looked in {SHARED})")
    return SHARED


@pytest.fixture(scope="session")
def photos(shared: Path) -> Path:
    """The folder of labelled photos: ``train`` and ``val``, each an ImageFolder of ten classes."""
    return shared / "data" / "imagenette"


def golden(name: str) -> dict[str, Any]:
    """Read the golden file of one model."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


def golden_state_dict(shapes: Mapping[str, list[int]], seed: int = 0) -> dict[str, Any]:
    """Return the golden's seeded weights as float32 tensors."""
    import torch

    return {key: torch.from_numpy(value).float() for key, value in seeded_state_dict(shapes, seed).items()}


def golden_input(shape: list[int], seed: int = 0) -> np.ndarray:
    """Return the golden's seeded input, float32."""
    return seeded_input(shape, seed).astype(np.float32)


SMALL = "couplformer_kct2"
"""The smallest model that there is: 0.2 M parameters, 32 x 32 pixels."""


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small model's artifacts for every target, made once for all test processes; do not write."""
    from filelock import FileLock

    import mobilevit_tools

    root = tmp_path_factory.getbasetemp()
    root = root.parent if os.environ.get("PYTEST_XDIST_WORKER") else root
    folder = root / "exported"
    with FileLock(root / "exported.lock"):
        if not folder.exists():
            mobilevit_tools.export(SMALL, random_weights=True, output=folder)
    return folder / SMALL
