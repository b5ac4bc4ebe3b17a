"""A checkpoint built to overflow: plain half precision breaks it, and what the preflight keeps restores it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

import mobilevit_tools
from mobilevit_tools.artifacts.exported import ExportedArtifact
from mobilevit_tools.artifacts.manifest import read_manifest
from mobilevit_tools.data.contract import KEPT_KEY
from mobilevit_tools.errors import GateError, UsageError
from mobilevit_tools.exporters.half import HalfPrecision
from mobilevit_tools.runtimes.coreml.session import open_session
from tests.conftest import SMALL, golden, golden_input, golden_state_dict
from tests.shallow import cut_builder

QK_SCALE = 16
SIZE = (64, 64)


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let CARE-S0 have two blocks of a kind."""
    cut_builder(monkeypatch, "care_s0")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """CARE-S0 with seeded weights, those of q and k sixteen times as large."""
    there = mobilevit_tools.create_model("care_s0", random_weights=True).state_dict()
    seeded = golden_state_dict(golden("care_s0")["state_dict"])
    state = {name: seeded[name] for name in there}
    for name, tensor in state.items():
        if ".qk.weight" in name:
            state[name] = QK_SCALE * tensor
        if name.endswith("num_batches_tracked"):
            state[name] = tensor.long()
    path = tmp_path / "care_s0.pth"
    torch.save(state, path)
    return path


def make(checkpoint: Path, output: Path, target: str, **options: Any) -> ExportedArtifact:
    result = mobilevit_tools.export(
        "care_s0",
        targets=target,
        checkpoint=checkpoint,
        input_size=SIZE,
        precision="fp16",
        images=[],
        output=output,
        **options,
    )
    return result.artifacts[0]


@pytest.mark.usefixtures("shallow")  # before the checkpoint is made
def test_core_ml_as_written(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(GateError, match="non-finite") as caught:
        make(checkpoint, tmp_path / "plain", "coreml", rewrites=(), fp16_keep=(), keep_failed=True)
    plain = caught.value.result.artifacts[0]
    assert plain.preflight.keep == ()
    with open_session(plain.path, threads=1, arithmetic="half") as session:
        assert KEPT_KEY not in session.metadata

    kept = make(checkpoint, tmp_path / "kept", "coreml", rewrites=())
    assert kept.parity.status == "passed"
    assert kept.preflight is not None
    assert kept.preflight.minimal
    modules = {each.module for each in kept.preflight.keep}
    assert modules
    assert all(module.endswith("token_mixer") for module in modules)
    assert read_manifest(kept.manifest).fp16_keep == kept.preflight.keep
    with open_session(kept.path, threads=1) as session:
        assert session.arithmetics == ("as-typed", "half")
        assert all(name in session.metadata[KEPT_KEY] for name in kept.preflight.names)
        wide = [
            entry
            for entry in session.program.graph.operations
            if any(value.element.name == "fp32" for _, value in entry.outputs) and entry.type != "cast"
        ]
        # The list itself, and what only moves its values; the bulk of the package stays in half precision.
        assert len(kept.preflight.keep) <= len(wide) <= 2 * len(kept.preflight.keep)


@pytest.mark.thorough(twin="test_core_ml_as_written")
def test_onnx_with_its_rewrites(checkpoint: Path, tmp_path: Path) -> None:
    kept = make(checkpoint, tmp_path, "onnx")
    assert kept.parity.status == "passed"
    assert kept.preflight is not None
    assert "non-finite" in (kept.preflight.plain or "")
    assert kept.preflight.minimal
    # The rewritten attention leaves far less to keep than the twenty-four overflowing products of the original.
    assert 1 <= len(kept.preflight.keep) <= 12
    model = onnx.load(kept.path)
    casts = sum(node.op_type == "Cast" for node in model.graph.node)
    assert 2 < casts <= 2 + 3 * len(kept.preflight.keep)


def test_the_half_module_that_onnx_gets_is_non_finite_as_written(checkpoint: Path) -> None:
    # ONNX Runtime computes half-precision products in float32 on a CPU, so it hides what this shows.
    model = mobilevit_tools.create_model("care_s0", checkpoint=checkpoint)
    image = torch.from_numpy(golden_input([1, 3, *SIZE]))
    with torch.no_grad():
        assert model(image).isfinite().all()
        assert not HalfPrecision(model)(image).isfinite().all()


def test_a_package_that_needs_nothing_pays_nothing(tmp_path: Path) -> None:
    artifacts = {
        name: mobilevit_tools.export(
            SMALL, targets="onnx", random_weights=True, precision="fp16", output=tmp_path / name, fp16_keep=keep
        ).artifacts[0]
        for name, keep in (("measured", None), ("plain", ()))
    }
    assert artifacts["measured"].preflight is not None
    assert artifacts["measured"].preflight.keep == ()
    assert artifacts["measured"].path.read_bytes() == artifacts["plain"].path.read_bytes()


def test_a_list_for_float32_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="computes in float32"):
        mobilevit_tools.export(SMALL, targets="onnx", random_weights=True, fp16_keep=["head"], output=tmp_path)
