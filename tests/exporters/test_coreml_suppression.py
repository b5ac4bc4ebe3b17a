"""A package that suppresses boxes by Core ML's own model keeps those that mvt keeps, in the form that Vision reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from coremltools.proto import Model_pb2

import mobilevit_tools as mvt
from mobilevit_tools.data.bundled import verification_photos
from mobilevit_tools.data.images import load_image
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.errors import UsageError
from mobilevit_tools.runtimes.registry import open_session
from mobilevit_tools.tasks.detect import best_of, rows_of
from mobilevit_tools.verification import objects
from mobilevit_tools.verification.inputs import VerificationInput
from mobilevit_tools.verification.tolerances import GATES
from tests.exporters.test_onnx_suppression import overlapping
from tests.tasks.nets import CARD, SIZE

LABELS = ("cat", "dog", "cow")
NET = {"name": "net", "card": {**CARD, "labels": LABELS, "task": "detect"}, "targets": "coreml", "nms": True}
FILE = Path("Data") / "com.apple.CoreML" / "model.mlmodel"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> mvt.ExportedArtifact:
    return mvt.export(overlapping(), output=tmp_path_factory.mktemp("objects"), precision="fp16", **NET).artifacts[0]


def answers(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The model's boxes and scores of pixels, and what mvt keeps of them where each box is of its best class alone."""
    tensor = Preprocessing(**CARD).normalize(pixels[None])
    with torch.no_grad():
        outputs = overlapping()(torch.from_numpy(tensor))
    boxes, scores = outputs["boxes"][0].numpy(), outputs["scores"][0].numpy()
    best = scores.max(1, keepdims=True)
    return boxes, scores, best_of(boxes, np.where(scores >= best, scores, 0))


def test_it_keeps_what_is_kept_outside(made: mvt.ExportedArtifact) -> None:
    assert made.parity.status == "passed"
    assert made.parity.float32 is not None  # boxes and scores were judged as well
    with open_session(made.path) as session:
        assert session.contract is not None
        assert session.contract.output == "objects"
        assert [each.name for each in session.inputs] == ["image"]
        assert [(each.name, each.shape) for each in session.outputs] == [
            ("confidence", (None, 3)),
            ("coordinates", (None, 4)),
        ]
        for photo in verification_photos()[:3]:
            pixels = Preprocessing(**CARD).pixels(load_image(photo))
            wanted = answers(pixels)[2]
            session.use("half")
            confidences, coordinates = session.run(pixels[None])
            assert (confidences[0] > 0).sum(1).tolist() == [1] * len(confidences[0])  # which Vision adds up
            rows = rows_of(confidences[0], coordinates[0], SIZE)
            assert 5 < len(wanted) == len(rows)
            np.testing.assert_allclose(rows[:, :4], wanted[:, :4], atol=0.1)
            np.testing.assert_allclose(rows[:, 4], wanted[:, 4], atol=2e-3)
            assert sorted(rows[:, 5]) == sorted(wanted[:, 5])


def test_the_package_is_what_vision_looks_for(made: mvt.ExportedArtifact) -> None:
    spec = Model_pb2.Model.FromString((made.path / FILE).read_bytes())
    assert [each.WhichOneof("Type") for each in spec.pipeline.models] == ["mlProgram", "nonMaximumSuppression"]
    stage = spec.pipeline.models[1].nonMaximumSuppression
    assert tuple(stage.stringClassLabels.vector) == LABELS
    assert (stage.iouThreshold, stage.confidenceThreshold, stage.pickTop.perClass) == (0.5, 0.05, True)
    assert [each.name for each in spec.description.output] == ["confidence", "coordinates"]
    optional = {each.name: each.type.isOptional for each in spec.description.input}
    assert optional == {"image": False, "iouThreshold": True, "confidenceThreshold": True}


def test_predictions_are_drawn_from_objects(made: mvt.ExportedArtifact, tmp_path: Path) -> None:
    photo = verification_photos()[0]
    found = mvt.predict(made.path, [photo], output=tmp_path, least_score=0.1).predictions[0].found
    image = load_image(photo)
    recipe = Preprocessing(**CARD)
    rows = answers(recipe.pixels(image))[2]
    rows = rows[rows[:, 4] > 0.1]
    assert len(found) == len(rows) > 3
    assert found[0].label == LABELS[int(rows[0, 5])]
    assert found[0].box == pytest.approx(recipe.in_image(rows[:1, :4], image)[0], abs=2)


@pytest.mark.parametrize(
    ("damage", "status"),
    [
        (lambda rows: rows, "passed"),
        (lambda rows: rows[1:], "failed"),
        (lambda rows: np.concatenate([rows[:1], rows]), "failed"),
        (lambda rows: rows + np.array([0, 0, 0, 0, 0.05, 0]), "failed"),
        (lambda rows: rows + np.array([4, 0, 4, 0, 0, 0]), "failed"),
        (lambda rows: rows[:, [1, 0, 3, 2, 4, 5]], "failed"),
    ],
)
def test_other_objects_are_refused(damage, status: str) -> None:
    pixels = Preprocessing(**CARD).pixels(load_image(verification_photos()[0]))
    boxes, scores, kept = answers(pixels)
    rows = damage(kept)
    confidences = np.zeros((len(rows), 3))
    confidences[np.arange(len(rows)), rows[:, 5].astype(int)] = rows[:, 4]
    middle, sides = (rows[:, :2] + rows[:, 2:4]) / 2, rows[:, 2:4] - rows[:, :2]
    coordinates = np.concatenate([middle, sides], 1) / np.array([SIZE[1], SIZE[0]] * 2)
    item = VerificationInput("photo", "photo", Preprocessing(**CARD).normalize(pixels[None]), pixels[None])
    outputs = [confidences[None], coordinates[None]]
    assert objects.misfit([[boxes[None], scores[None]]], outputs) is None
    gate = GATES["fp32"]
    result = objects.judge_input(
        item, [boxes, scores], [each[0] for each in outputs], gate, holds="objects", exact=lambda: None
    )
    assert objects.verdict([result], gate, unresponsive=False).status == status


def test_a_tensor_is_nothing_for_vision() -> None:
    with pytest.raises(UsageError, match="--nms makes a Core ML package for Vision"):
        mvt.export(overlapping(), tensor_io=True, **NET)
