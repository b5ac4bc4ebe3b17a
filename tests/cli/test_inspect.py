"""``mvt inspect`` names every operator that the backend of a program does not take over."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from mobilevit_tools.api.inspect import inspect
from mobilevit_tools.exporters.delegation_lint import UNKNOWN
from mobilevit_tools.exporters.xnnpack_outside import REASONS
from tests.cli.conftest import Ran
from tests.tiers import thorough

Mvt = Callable[..., Ran]

NET = """
import torch

CARD = {"input_size": (32, 32)}


class Net(torch.nn.Module):
    def __init__(self, classifies):
        super().__init__()
        self.head = torch.nn.Linear(3, 3)
        self.classifies = classifies

    def forward(self, x):
        sums = x[:, :, 0, 0].topk(3).values.cumsum(1)
        return self.head(sums) if self.classifies else sums


def partly():
    return Net(classifies=True), CARD


def nothing():
    return Net(classifies=False), CARD
"""


@pytest.mark.parametrize(
    ("build", "backend", "calls", "outside"),
    [("partly", "xnnpack", True, True), ("nothing", "xnnpack", False, True), ("nothing", "portable", False, False)],
)
def test_what_is_outside_is_named_even_where_nothing_is_inside(
    mvt: Mvt, tmp_path: Path, build: str, backend: str, calls: bool, outside: bool
) -> None:
    (tmp_path / "net.py").write_text(NET)
    exported = ("export", tmp_path / f"net.py:{build}", "--random-weights", "-t", "executorch", "--backend", backend)
    ran = mvt(*exported, "--output", tmp_path / "out")
    assert ran.code == 0, ran.err
    (artifact,) = (tmp_path / "out").glob("*/*/model.pte")
    found = inspect(artifact)
    assert any(name.startswith("delegate:") for name in found.operators) == calls
    assert any("cumsum" in name for name in found.outside) == outside
    assert not any(name.startswith("delegate:") for name in found.outside)
    printed = mvt("inspect", artifact).out
    for name, why in found.outside.items():
        assert f"not delegated: {name}: {why}" in printed
    assert ("not delegated" in printed) == outside


@pytest.mark.parametrize(("backend", "why"), [("xnnpack", REASONS["topk"]), thorough("vulkan", UNKNOWN)])
def test_reasons_are_those_of_the_backend_with_a_manifest_and_without(
    mvt: Mvt, tmp_path: Path, backend: str, why: str
) -> None:
    (tmp_path / "net.py").write_text(NET)
    exported = ("export", tmp_path / "net.py:partly", "--random-weights", "-t", "executorch", "--backend", backend)
    mvt(*exported, "--output", tmp_path / "out")
    (artifact,) = (tmp_path / "out").glob("*/*/model.pte")
    assert inspect(artifact).outside["aten::topk.values"] == why
    alone = artifact.rename(tmp_path / "alone.pte")
    assert inspect(alone).manifest is None
    assert inspect(alone).outside["aten::topk.values"] == why


def test_the_graph_shows_calls_and_what_is_between_them(mvt: Mvt, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    exported = ("export", tmp_path / "net.py:partly", "--random-weights", "-t", "executorch")
    assert mvt(*exported, "--output", tmp_path / "out").code == 0
    (artifact,) = (tmp_path / "out").glob("*/*/model.pte")
    drawing = tmp_path / "drawings" / "graph.svg"
    assert f"wrote {drawing}" in mvt("inspect", artifact, "--graph", drawing).out
    texts = [" ".join(element.itertext()) for element in ET.parse(drawing).iter() if element.tag.endswith("}text")]
    (call,) = (text for text in texts if text.startswith("Call"))
    assert call.endswith(", 0.0 M MACs (100.0%)")
    (before,) = (text for text in texts if text.startswith("Not delegated"))
    assert before.endswith(", no MACs")
    assert "cumsum \N{MULTIPLICATION SIGN} 1" in texts
    assert any(text.startswith("linear") for text in texts)

    refused = mvt("inspect", artifact, "--graph", drawing)
    assert (refused.code, "already exists" in refused.err) == (2, True)
    assert mvt("inspect", artifact, "--graph", tmp_path / "graph.pdf").code == 2

    # Without its manifest the program still tells where calls are, and that is the same.
    stated = inspect(artifact).pieces
    alone = artifact.rename(tmp_path / "alone.pte")
    found = inspect(alone, graph=drawing, overwrite=True).pieces
    assert [(each.delegated, each.reads) for each in found] == [(each.delegated, each.reads) for each in stated]
    assert "its operators are not known" in drawing.read_text()


def test_there_is_no_graph_without_a_backend(mvt: Mvt, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    mvt("export", tmp_path / "net.py:nothing", "--random-weights", "-t", "onnx", "--output", tmp_path / "out")
    (artifact,) = (tmp_path / "out").glob("*/*/model.onnx")
    ran = mvt("inspect", artifact, "--graph", tmp_path / "graph.svg")
    assert (ran.code, "no delegation" in ran.err, ".json" in ran.err) == (3, True, True)
    assert not (tmp_path / "graph.svg").exists()
    assert mvt("inspect", artifact, "--graph", tmp_path / "graph.json").code == 0
    nodes = json.loads((tmp_path / "graph.json").read_text())["graphs"][0]["nodes"]
    assert Counter(node["label"] for node in nodes) == inspect(artifact).operators
