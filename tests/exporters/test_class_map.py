"""A class map is the model's own, in as few bytes as the target has, whatever is computed in the artifact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import mobilevit_tools as mvt
from mobilevit_tools.data.bundled import verification_photos
from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.images import load_image
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.errors import GateError, UsageError
from mobilevit_tools.exporters.class_map import ClassMap, answering
from mobilevit_tools.exporters.manifest import MANIFEST_NAME, find_manifest
from mobilevit_tools.runtimes.registry import open_session
from mobilevit_tools.targets.registry import TARGETS
from tests.tasks.nets import CARD, LABELS, SIZE, Listed, segmenter

BYTES = {"onnx": 1, "executorch": 1, "coreml": 4}
"""A pixel's, on targets that are known to return such integers; of others the artifact alone tells."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, mvt.ExportResult]:
    folder = tmp_path_factory.mktemp("maps")
    return {
        target: mvt.export(
            Listed(segmenter()), name="net", card=CARD, targets=target, output=folder, task="segment", upsample=True,
            class_map=True, labels=LABELS,
        )
        for target in TARGETS
    }  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
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
    with open_session(artifact.path) as session:
        (given,) = session.run(pixels[None] if session.inputs[0].kind == "image" else tensor)
        contract = session.contract
    assert contract is not None
    assert (contract.means, contract.output, contract.labels, contract.classes) == ("segment", "class_map", LABELS, 4)
    assert given.shape == (1, *SIZE)
    assert given.dtype.kind in "iu"
    assert given.dtype.itemsize == BYTES.get(target, given.dtype.itemsize)
    assert (given == scores.argmax(1).numpy()).mean() > 0.999


@pytest.mark.parametrize("target", TARGETS)
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
        mvt.export(model, name="net", card=CARD, targets=next(iter(TARGETS)), output=tmp_path, **asked)  # type: ignore[arg-type]
    assert said in f"{failure.value.message} {failure.value.hint}"
    assert not any(tmp_path.iterdir())
