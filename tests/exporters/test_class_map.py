"""A class map is the model's own, in as few bytes as the target has, whatever is computed in the artifact."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import mobilevit_tools as mvt
from mobilevit_tools.artifacts.files import MANIFEST_NAME
from mobilevit_tools.artifacts.manifest import find_manifest
from mobilevit_tools.data.bundled import verification_photos
from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.images import load_image
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.errors import GateError, UsageError
from mobilevit_tools.exporters._base import ExportSpec, load_exporter
from mobilevit_tools.exporters.class_map import ClassMap, answering
from mobilevit_tools.quantization._base import Quantization
from mobilevit_tools.runtimes.registry import load_session
from mobilevit_tools.targets.registry import TARGETS
from tests.tasks.nets import CARD, LABELS, SIZE, Listed, segmenter

HERE = [name for name, target in TARGETS.items() if all(map(find_spec, target.exporting))]
BYTES = {"onnx": 1, "executorch": 1, "coreml": 4}
"""A pixel's, on targets that are known to return such integers; of others the artifact alone tells."""


def _uncalibrated(target: str) -> str:
    """Return a quantized precision of a target that needs no photos; empty where it has none."""
    offered = TARGETS[target].precisions_of(TARGETS[target].backends[0].name if TARGETS[target].backends else None)
    return next((name for name in offered if name in ("int8-weight", "dynamic-int8")), "")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, mvt.ExportResult]:
    folder = tmp_path_factory.mktemp("maps")
    return {
        target: mvt.export(
            Listed(segmenter()), name="net", card=CARD, targets=target, output=folder, task="segment", upsample=True,
            class_map=True, labels=LABELS,
        )
        for target in HERE
    }  # fmt: skip


@pytest.mark.parametrize("target", HERE)
def test_the_map_is_the_models_own(made: dict[str, mvt.ExportResult], target: str) -> None:
    artifact = made[target].artifacts[0]
    assert artifact.parity.status == "passed"
    assert artifact.parity.pixel_agreement == pytest.approx(1, abs=1e-3)
    assert artifact.parity.float32 is not None  # its scores were judged, too
    assert artifact.parity.float32.snr_db is not None
    pixels = Preprocessing(**CARD).pixels(load_image(verification_photos()[0]))
    tensor = Preprocessing(**CARD).normalize(pixels)[None]
    with torch.no_grad():
        scores = torch.nn.functional.interpolate(segmenter()(torch.from_numpy(tensor)), SIZE, mode="bilinear")
    with load_session(artifact.path) as session:
        (given,) = session.run(pixels[None] if session.inputs[0].kind == "image" else tensor)
        contract = session.contract
    assert contract is not None
    assert (contract.means, contract.output, contract.labels, contract.classes) == ("segment", "class_map", LABELS, 4)
    assert given.shape == (1, *SIZE)
    assert given.dtype.kind in "iu"
    assert given.dtype.itemsize == BYTES.get(target, given.dtype.itemsize)
    assert (given == scores.argmax(1).numpy()).mean() > 0.999


@pytest.mark.parametrize("target", HERE)
def test_it_verifies_from_its_manifest(made: dict[str, mvt.ExportResult], target: str) -> None:
    artifact = made[target].artifacts[0]
    manifest = find_manifest(artifact.path)
    assert manifest is not None
    assert manifest.request.task == "segment"
    assert {"--task", "--upsample", "--class-map"} <= set(manifest.request.arguments())
    found = mvt.verify(artifact.path, model=Listed(segmenter()))
    assert found.parity.status == "passed"
    other = segmenter()
    with torch.no_grad():
        other[-1].weight[[0, 1]] = other[-1].weight[[1, 0]]
    with pytest.raises(GateError, match="pixels beyond near-ties"):
        mvt.verify(artifact.path, model=other)


def test_a_constant_map_fails(made: dict[str, mvt.ExportResult], tmp_path: Path) -> None:
    if "onnx" not in made:
        pytest.skip("the artifact that is spoilt here is of ONNX")
    artifact = made["onnx"].artifacts[0].path
    model = onnx.load(artifact)
    constant = onnx.numpy_helper.from_array(np.zeros((1, *SIZE), np.uint8), "zeros")
    del model.graph.node[:]
    model.graph.initializer.append(constant)
    model.graph.node.append(onnx.helper.make_node("Identity", ["zeros"], [model.graph.output[0].name]))
    onnx.save(model, tmp_path / artifact.name)
    assert not (tmp_path / MANIFEST_NAME).exists()
    for precision in ("fp32", "int8"):
        with pytest.raises(GateError, match="pixels"):
            mvt.verify(tmp_path / artifact.name, model=segmenter(), precision=precision)


@pytest.mark.parametrize("target", [name for name in HERE if _uncalibrated(name)])
def test_its_weights_are_quantized_as_those_of_the_scores(target: str, tmp_path: Path) -> None:
    module = segmenter()
    precision = _uncalibrated(target)
    spec = ExportSpec(target, precision=precision, class_map=True)
    counts = []
    for output in ("score_map", "class_map"):
        contract = Contract("m", Preprocessing(**CARD), output=output, task="segment", classes=len(LABELS))
        path = tmp_path / output / spec.file_name
        path.parent.mkdir()
        quantization = Quantization(precision, keep=("0.weight",))
        load_exporter(target).lower(module, spec, contract, path, quantization)
        with load_session(path) as session:
            counts.append({name: count for name, count in session.operators().items() if "quant" in name.lower()})
        if target == "onnx":
            stored = onnx.load(path).graph.initializer
            counts[-1] = {
                "int8": sum(each.data_type == onnx.TensorProto.INT8 and len(each.dims) == 4 for each in stored)
            }
            assert counts[-1]["int8"] == 2  # of three, one is kept
    assert counts[0] == counts[1]


def test_more_classes_take_more_bytes() -> None:
    types = (torch.uint8, torch.int32)
    for classes, dtype in ((2, torch.uint8), (256, torch.uint8), (257, torch.int32)):
        contract = Contract("m", Preprocessing(SIZE), output="class_map", classes=classes)
        wrapped = answering(segmenter(classes), contract, types)
        assert isinstance(wrapped, ClassMap)
        assert wrapped(torch.zeros(1, 3, *SIZE)).dtype == dtype
    net = segmenter()
    assert answering(net, Contract("m", Preprocessing(SIZE), output="score_map"), types) is net


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"task": "embed", "upsample": True}, "--upsample"),
        ({"task": "raw", "class_map": True}, "--class-map"),
        ({"task": "segment", "class_map": True, "bundle": True}, "bundle"),
        ({"task": "segmnt"}, "Did you mean segment"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, asked: dict[str, object], said: str) -> None:
    net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 4))
    model = segmenter() if asked["task"] in ("segment", "raw") else net
    with pytest.raises(UsageError) as failure:
        mvt.export(model, name="net", card=CARD, targets=HERE[0], output=tmp_path, **asked)  # type: ignore[arg-type]
    assert said in f"{failure.value.message} {failure.value.hint}"
    assert not any(tmp_path.iterdir())
