"""``mvt inspect`` names every operator that the backend of a program does not take over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mobilevit_tools.api.inspect import inspect
from mobilevit_tools.exporters.delegation_lint import UNKNOWN
from mobilevit_tools.exporters.xnnpack_outside import REASONS
from tests.cli.conftest import Ran

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


@pytest.mark.parametrize(("backend", "why"), [("xnnpack", REASONS["topk"]), ("vulkan", UNKNOWN)])
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
