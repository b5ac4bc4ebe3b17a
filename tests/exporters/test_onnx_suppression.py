"""An ONNX artifact that chooses its boxes by itself chooses those that are chosen outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import mobilevit_tools as mvt
from mobilevit_tools.data.bundled import verification_photos
from mobilevit_tools.data.images import load_image
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.errors import UsageError
from mobilevit_tools.runtimes.registry import load_session
from mobilevit_tools.tasks.detect import best_of
from mobilevit_tools.verification.evaluations import DetectEvalResult
from tests.api.test_evaluate_detection import NAMES, write_scenes
from tests.tasks.nets import CARD, detector, segmenter

NET = {"name": "net", "card": CARD, "targets": "onnx", "task": "detect", "labels": NAMES}


def overlapping() -> nn.Module:
    """Return a detector some of whose boxes overlap, or score too little."""
    net = detector()
    with torch.no_grad():
        net.boxes.bias[2:] += 1.0
        net.scores.bias -= 1.5
    return net


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, mvt.ExportedArtifact]:
    folder = tmp_path_factory.mktemp("suppressed")
    asked = {"free": {"nms": True, "dynamic_batch": True}, "half": {"nms": True, "precision": "fp16"}, "plain": {}}
    return {
        name: mvt.export(overlapping(), output=folder / name, **NET, **options).artifacts[0]
        for name, options in asked.items()
    }


def test_it_keeps_what_is_kept_outside(made: dict[str, mvt.ExportedArtifact]) -> None:
    assert made["free"].parity.status == made["half"].parity.status == "passed"
    assert made["free"].parity.float32 is not None  # boxes and scores were judged as well
    recipe = Preprocessing(**CARD)
    pixels = np.stack([recipe.pixels(load_image(photo)) for photo in verification_photos()[:3]])
    tensor = recipe.normalize(pixels)
    with torch.no_grad():
        outputs = overlapping()(torch.from_numpy(tensor))
    with load_session(made["free"].path) as session:
        assert session.contract is not None
        assert session.contract.output == "detections"
        assert [(each.name, each.shape[1:]) for each in session.outputs] == [("detections", (72, 6))]
        (given,) = session.run(tensor)
    for boxes, scores, rows in zip(outputs["boxes"].numpy(), outputs["scores"].numpy(), given, strict=True):
        wanted = best_of(boxes, scores)
        assert 10 < len(wanted) < 72
        assert rows[: len(wanted)] == pytest.approx(wanted, abs=1e-3)
        assert not rows[len(wanted) :].any()


def test_predictions_and_figures_are_those_of_boxes(
    made: dict[str, mvt.ExportedArtifact],
    tmp_path: Path,
) -> None:
    told = [
        mvt.predict(made[name].path, verification_photos()[:1], output=tmp_path / name, least_score=0.1)
        .predictions[0]
        .found
        for name in ("free", "plain")
    ]
    assert len(told[0]) > 3
    for ours, theirs in zip(*told, strict=True):
        assert (ours.label, ours.score) == (theirs.label, pytest.approx(theirs.score, abs=1e-5))
        assert ours.box == pytest.approx(theirs.box, abs=0.01)
    pytest.importorskip("pycocotools")
    scenes = write_scenes(tmp_path)
    figures = []
    for name in ("free", "plain"):
        result = mvt.evaluate(made[name].path, scenes / "photos", coco=scenes / "truth.json", reference=False)
        assert isinstance(result, DetectEvalResult)
        figures.append(result.mean_ap)
    assert figures[0] == pytest.approx(figures[1], abs=1e-6)


def test_it_verifies_from_its_manifest_and_a_spoilt_one_fails(
    made: dict[str, mvt.ExportedArtifact], tmp_path: Path
) -> None:
    path = made["free"].path
    assert mvt.verify(path, model=overlapping()).parity.status == "passed"
    model = onnx.load(path)
    (node,) = (node for node in model.graph.node if node.op_type == "NonMaxSuppression")
    overlap = next(each for each in model.graph.initializer if each.name == node.input[3])
    overlap.CopyFrom(onnx.numpy_helper.from_array(np.ones(1, np.float32), overlap.name))
    onnx.save(model, tmp_path / path.name)
    with pytest.raises(mvt.GateError, match="detections are right"):
        mvt.verify(tmp_path / path.name, model=overlapping())


def test_it_is_for_detectors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--nms requires a detector"):
        mvt.export(segmenter(), name="net", card=CARD, targets="onnx", output=tmp_path, task="segment", nms=True)
    with pytest.raises(UsageError, match="bundle"):
        mvt.export(overlapping(), output=tmp_path, bundle=True, nms=True, **NET)
    with pytest.raises(UsageError, match="not for executorch"):
        mvt.export(overlapping(), output=tmp_path, nms=True, **{**NET, "targets": "executorch"})
    assert not any(tmp_path.iterdir())
