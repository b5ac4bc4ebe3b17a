"""Run the command the way people do, and read what it printed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mobilevit_tools.api import shares
from mobilevit_tools.artifacts.files import describe_artifact
from mobilevit_tools.artifacts.manifest import read_manifest
from mobilevit_tools.cli import main
from mobilevit_tools.profiling import host


@dataclass(frozen=True)
class Ran:
    """One run of the command."""

    code: int
    out: str
    err: str

    @property
    def envelope(self) -> dict[str, Any]:
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def short_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure for a moment: how long a preset takes is tested with the protocol."""
    short = {"warmup_seconds": 0.0, "min_seconds": 0.05, "settle_calls": 20}
    monkeypatch.setattr(host, "RIGORS", {name: replace(spec, **short) for name, spec in host.RIGORS.items()})


@pytest.fixture
def overflowing(exported: Path, tmp_path: Path) -> Path:
    """An artifact one of whose weights became NaN, with a manifest that vouches for it."""
    folder = tmp_path / "overflowing"
    shutil.copytree(exported / "onnx-fp32", folder)
    model = onnx.load(folder / "model.onnx")
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 2)
    weight.CopyFrom(numpy_helper.from_array(np.full(weight.dims, np.nan, np.float32), weight.name))
    onnx.save(model, folder / "model.onnx")
    manifest = read_manifest(folder / "manifest.json")
    replace(manifest, artifact=describe_artifact(folder / "model.onnx")).write(folder)
    return folder / "model.onnx"


@pytest.fixture
def mvt(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Ran]:
    """Run ``mvt`` in this process with the given arguments, in an empty folder."""
    monkeypatch.chdir(tmp_path_factory.mktemp("desk"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(shares.Machine, "processes", lambda _machine: 1)  # however idle the machine is

    def run(*arguments: object) -> Ran:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run
