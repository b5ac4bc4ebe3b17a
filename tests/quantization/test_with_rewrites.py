"""What is quantized is the rewritten model, with trained weights: random ones have no scales worth folding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import mobilevit_tools as mvt
from mobilevit_tools.artifacts.exported import ExportedArtifact
from mobilevit_tools.data.bundled import verification_photos
from tests.shallow import cut_bundled
from tests.unchecked import unchecked

MODEL = "care_s0.imagenette"
SIZE = (64, 64)


@pytest.fixture(autouse=True)
def shallow(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave the trained model one block of a kind a stage."""
    cut_bundled(monkeypatch, tmp_path_factory.mktemp("weights"), MODEL)
    with unchecked():
        yield


def test_weights_alone_are_rounded_without_the_scales_of_norms_in_them(tmp_path: Path) -> None:
    def export(rewrites: tuple[str, ...] | None) -> ExportedArtifact:
        result = mvt.export(
            MODEL,
            targets="onnx",
            precision="int8-weight",
            input_size=SIZE,
            output=tmp_path,
            rewrites=rewrites,
            overwrite=True,
            keep_failed=True,
        )
        return result.artifacts[0]

    chosen = export(None)
    applied = tuple(rewrite.name for rewrite in chosen.rewrites)
    assert set(applied) >= {"merged_heads", "layer_scale", "linear_attention"}
    folded = export((*applied, "batch_norm_forward"))
    assert chosen.parity.status == "passed"
    assert (chosen.parity.snr_db or 0) > (folded.parity.snr_db or 0) + 6


@pytest.mark.thorough(
    twin="quantization/test_executorch_between.py::test_residuals_around_layers_over_the_last_axis_run_in_one_call"
)
def test_eight_bits_run_in_one_call_of_the_delegate(tmp_path: Path) -> None:
    (artifact,) = mvt.export(
        MODEL,
        targets="executorch",
        precision="int8",
        input_size=SIZE,
        calibration=verification_photos()[0].parent,
        output=tmp_path,
    ).artifacts
    assert artifact.parity.status == "passed"
    assert artifact.delegation is not None
    assert (artifact.delegation.calls, artifact.delegation.outside) == (1, {})
    assert "depthwise_lattices" in {rewrite.name for rewrite in artifact.rewrites}
    assert artifact.size_bytes < 7e6
