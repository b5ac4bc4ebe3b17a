"""A bundle of a segmenter or a detector shows what is expected of its input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

import mobilevit_tools as mvt
from tests.tasks.nets import CARD, SIZE, detector, segmenter


@pytest.mark.parametrize(("module", "task"), [(segmenter(), "segment"), (detector(), "detect")])
def test_the_expected_picture_is_the_input_with_more_on_it(module: nn.Module, task: str, tmp_path: Path) -> None:
    made = mvt.export(module, name="net", card=CARD, targets="onnx", output=tmp_path, task=task, bundle=True)
    bundle = made.artifacts[0].bundle
    assert bundle is not None
    golden = json.loads((bundle / "golden.json").read_text())
    assert golden["picture"] == "expected.png"
    drawn = np.asarray(Image.open(bundle / "expected.png").convert("RGB"), int)
    plain = np.asarray(Image.open(bundle / golden["input"]["image"]).convert("RGB"), int)
    factor = drawn.shape[1] // plain.shape[1]
    part = drawn[: SIZE[0] * factor : factor, ::factor]
    assert part.shape == plain.shape
    assert (part != plain).any(axis=2).mean() > 0.2
