"""What is inside the artifacts: names, contracts, metadata, and nothing of this machine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import mobilevit_tools
from mobilevit_tools.artifacts.files import describe_artifact
from mobilevit_tools.artifacts.manifest import read_manifest
from mobilevit_tools.data.contract import METADATA_KEY
from mobilevit_tools.errors import GateError
from mobilevit_tools.runtimes.coreml.session import CoreMLSession
from mobilevit_tools.runtimes.registry import load_session
from tests.conftest import SMALL
from tests.tiers import thorough


def test_onnx_model(exported: Path) -> None:
    model = onnx.load(exported / "onnx-fp32" / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["image"]
    assert [value.name for value in model.graph.output] == ["logits"]
    assert model.opset_import[0].version == 20
    assert METADATA_KEY in {entry.key for entry in model.metadata_props}
    assert not any(node.metadata_props for node in model.graph.node)


def test_no_artifact_names_a_path_of_this_machine(exported: Path) -> None:
    root = str(Path(mobilevit_tools.__file__).parent).encode()
    files = [file for file in exported.rglob("*") if file.is_file() and file.name != "manifest.json"]
    assert len(files) >= 5
    for file in files:
        assert root not in file.read_bytes(), file


def test_core_ml_package_reads_back(exported: Path) -> None:
    import coremltools

    package = coremltools.models.MLModel(str(exported / "coreml-fp32" / "model.mlpackage"), skip_model_load=True)
    spec = package.get_spec()
    (image,) = spec.description.input
    assert (image.name, image.type.imageType.height, image.type.imageType.width) == ("image", 32, 32)
    assert [output.name for output in spec.description.output] == ["probabilities"]
    assert spec.specificationVersion == 8  # iOS 17
    assert package.author == "mobilevit-tools"
    assert package.license
    assert json.loads(package.user_defined_metadata[METADATA_KEY])["model"] == SMALL


@pytest.mark.parametrize("variant", ["onnx-fp32", "coreml-fp32", "executorch-xnnpack-fp32"])
def test_manifest(exported: Path, variant: str) -> None:
    manifest = read_manifest(exported / variant / "manifest.json")
    assert manifest.artifact == describe_artifact(exported / variant / manifest.artifact.file)
    assert manifest.spec.variant == variant
    assert manifest.model.weights.random
    assert manifest.model.params == 214_539
    assert manifest.parity.status == "passed"
    assert manifest.tools["torch"].startswith("2.13")
    assert (manifest.delegation is not None) == variant.startswith("executorch")


def test_dynamic_batch_takes_any_batch(tmp_path: Path) -> None:
    result = mobilevit_tools.export(SMALL, targets="onnx", random_weights=True, dynamic_batch=True, output=tmp_path)
    with load_session(result.artifacts[0].path) as session:
        assert session.inputs[0].shape[0] is None
        images = np.random.default_rng(0).standard_normal((5, 3, 32, 32)).astype(np.float32)
        together = session.run(images)[0]
        one_by_one = np.concatenate([session.run(image[None])[0] for image in images])
        np.testing.assert_allclose(together, one_by_one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("target", ["onnx", "coreml", thorough("executorch")])
def test_half_precision(exported: Path, tmp_path: Path, target: str) -> None:
    full = read_manifest(next(exported.glob(f"{target}-*fp32/manifest.json")))
    half = mobilevit_tools.export(
        SMALL, targets=target, random_weights=True, precision="fp16", output=tmp_path
    ).artifacts[0]
    assert half.parity.status == "passed"
    assert half.parity.snr_db is not None
    assert full.parity.snr_db is not None
    assert half.parity.snr_db < full.parity.snr_db
    assert half.size_bytes < 0.8 * full.artifact.size_bytes


def test_non_square_input_and_batch(tmp_path: Path) -> None:
    result = mobilevit_tools.export(
        SMALL, targets="onnx", random_weights=True, input_size=(32, 48), batch=3, output=tmp_path
    )
    with load_session(result.artifacts[0].path) as session:
        assert session.inputs[0].shape == (3, 3, 32, 48)


def test_core_ml_with_labels_and_with_tensors(tmp_path: Path) -> None:
    labels = [f"class {index}" for index in range(10)]
    image = mobilevit_tools.export(SMALL, targets="coreml", random_weights=True, labels=labels, output=tmp_path / "a")
    tensor = mobilevit_tools.export(SMALL, targets="coreml", random_weights=True, tensor_io=True, output=tmp_path / "b")
    with load_session(image.artifacts[0].path) as session:
        assert session.inputs[0].kind == "image"
        assert "label" in {output.kind for output in session.outputs}
        assert session.contract is not None
        assert session.contract.labels == tuple(labels)
    with load_session(tensor.artifacts[0].path) as session:
        assert session.inputs[0].kind == "tensor"
        assert [output.name for output in session.outputs] == ["logits"]


def test_core_ml_classes_of_one_name_stay_apart(tmp_path: Path) -> None:
    labels = ["crane", "dog", "crane", *(f"class {index}" for index in range(7))]
    made = mobilevit_tools.export(SMALL, targets="coreml", random_weights=True, labels=labels, output=tmp_path)
    assert made.artifacts[0].parity.status == "passed"
    with load_session(made.artifacts[0].path) as session:
        assert isinstance(session, CoreMLSession)
        assert any("crane (0)" in output.labels and "crane (2)" in output.labels for output in session.program.outputs)


@pytest.mark.parametrize("backend", ["portable", thorough("coreml"), "vulkan"])
def test_other_backends_lower(tmp_path: Path, backend: str) -> None:
    artifact = mobilevit_tools.export(
        SMALL, targets="executorch", random_weights=True, backend=backend, output=tmp_path
    ).artifacts[0]
    assert artifact.delegation is not None
    # The portable kernels run here; the wheel's runtime has neither Core ML nor Vulkan.
    assert artifact.parity.status == ("passed" if backend == "portable" else "not_verified")
    assert (artifact.delegation.calls == 0) == (backend == "portable")


def test_a_failed_artifact_is_removed_or_kept_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mobilevit_tools.exporters import onnx as exporter

    def other_weights(module: object, *arguments: object, **options: object) -> object:
        broken = mobilevit_tools.create_model(SMALL, random_weights=True)
        for parameter in broken.parameters():
            parameter.mul_(1.01)
        return lower(broken, *arguments, **options)

    lower = exporter.lower
    monkeypatch.setattr(exporter, "lower", other_weights)
    with pytest.raises(GateError, match="onnx fp32"):
        mobilevit_tools.export(SMALL, targets="onnx", random_weights=True, output=tmp_path / "a")
    assert not (tmp_path / "a").exists()
    with pytest.raises(GateError):
        mobilevit_tools.export(SMALL, targets="onnx", random_weights=True, output=tmp_path / "b", keep_failed=True)
    assert read_manifest(tmp_path / "b" / SMALL / "onnx-fp32" / "manifest.json").parity.status == "failed"
