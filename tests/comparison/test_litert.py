from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

pytest.importorskip("ai_edge_litert", reason="the `litert` extra is not installed; make test-targets")

from mobilevit_tools.comparison.reading import read_apart
from mobilevit_tools.errors import BadInputError
from tests.optional import Net, artifact

pytestmark = pytest.mark.targets


def test_the_models_weights_are_found() -> None:
    stored, _ = read_apart("litert", artifact("litert"))
    torch.manual_seed(0)
    net = Net()
    contents = {each.sha256 for each in stored}
    for weight in (net.attention.weight, net.head.weight):
        assert hashlib.sha256(weight.detach().numpy().tobytes()).hexdigest() in contents
    assert {each.dtype for each in stored} == {"float32"}


def test_a_damaged_model_is_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(artifact("litert").read_bytes()[:1000])
    with pytest.raises(BadInputError):
        read_apart("litert", path)
