"""A target's own tools convert a model without our forms, in a process of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mobilevit_tools.api.own_lowering import own_lowering
from mobilevit_tools.exporters.request import ExportRequest
from mobilevit_tools.models.factory import load_model
from mobilevit_tools.runtimes.registry import load_session
from tests.tiers import thorough

NET = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.Flatten(2), nn.LayerNorm(16), nn.Flatten(), nn.Linear(128, 4))

def broken():
    class Broken(nn.Module):
        def forward(self, x):
            return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))
    return Broken()
"""


def request(folder: Path, target: str, function: str = "build") -> ExportRequest:
    (folder / "net.py").write_text(NET)
    return ExportRequest(f"{folder}/net.py:{function}", target, random_weights=True, input_size="32", task="raw")


@pytest.mark.parametrize("target", [thorough("executorch"), "onnx"])
def test_it_computes_the_model_with_none_of_our_forms(tmp_path: Path, target: str) -> None:
    asked = request(tmp_path, target)
    path = own_lowering(asked, tmp_path / "own", timeout_s=120)
    assert path is not None
    loaded = load_model(asked.model, random_weights=True, input_size=(32, 32))
    image = np.random.default_rng(0).standard_normal((1, 3, 32, 32), dtype=np.float32)
    import torch

    with torch.no_grad():
        expected = loaded.module.eval()(torch.from_numpy(image)).numpy()
    with load_session(path, threads=1) as session:
        np.testing.assert_allclose(session.run(image)[0], expected, atol=1e-5)
        operators = session.operators()
    named = " ".join(operators)
    assert ("native_layer_norm" in named) if target == "executorch" else ("LayerNormalization" in named)


def test_what_its_tools_do_not_convert_is_none(tmp_path: Path) -> None:
    assert own_lowering(request(tmp_path, "onnx", "broken"), tmp_path / "own", timeout_s=120) is None
