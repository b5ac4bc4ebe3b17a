"""``mvt finetune`` as people type it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobilevit_tools.api import finetune
from tests.cli.conftest import Ran
from tests.conftest import SMALL


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for index in range(8):
        Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return folder


def test_a_run_tells_what_to_type_next(
    mvt: Callable[..., Ran], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "tuned.safetensors"
    given = (SMALL, "--random-weights", "-t", "onnx", "--precision", "int8", "--calibration", pictures, "--output", out)
    monkeypatch.setattr(finetune, "_check_nearer", lambda *_: None)
    ran = mvt("finetune", *given, "--steps", 2)
    assert ran.code == 0, ran.err
    assert "2 steps in" in ran.out
    assert f"wrote {out}" in ran.out
    assert f"next: mvt export {SMALL} --checkpoint {out} --target onnx --precision int8" in ran.err
    again = mvt("finetune", *given, "--steps", 2, "--json")
    assert again.code == 2
    assert again.envelope["error"]["code"] == "exists"


def test_a_target_that_cannot_learn_is_refused(mvt: Callable[..., Ran], pictures: Path) -> None:
    ran = mvt(
        "finetune", SMALL, "-t", "litert", "--precision", "int8", "--calibration", pictures, "--output", "a.safetensors"
    )
    assert ran.code == 2
    assert "Supported: " in ran.err
