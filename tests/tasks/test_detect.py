"""A detector's boxes are found in the photo where the model puts them, and drawn there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import mobilevit_tools as mvt
from mobilevit_tools.cli.app import run
from mobilevit_tools.data.bundled import verification_photos
from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.images import load_image
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.models.in_memory import load_module
from mobilevit_tools.tasks._base import Answering
from mobilevit_tools.tasks.detect import chosen
from mobilevit_tools.tasks.registry import settle
from mobilevit_tools.tasks.shown import DetectPrediction
from mobilevit_tools.tasks.suppression import suppress
from tests.tasks.nets import CARD, SIZE, detector, segmenter

NAMES = ("cat", "dog", "cow")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> mvt.ExportResult:
    folder = tmp_path_factory.mktemp("detector")
    (folder / "net.py").write_text(
        "from tests.tasks.nets import CARD, detector\n\n\n"
        f'def build():\n    return detector(), {{**CARD, "task": "detect", "labels": {NAMES}}}\n'
    )
    return mvt.export(f"{folder / 'net.py'}:build", random_weights=True, targets="all", output=folder / "out")


def test_every_target_gives_the_models_boxes(made: mvt.ExportResult) -> None:
    assert len(made.artifacts) >= 3
    for artifact in made.artifacts:
        assert artifact.parity.status == "passed"
        assert artifact.parity.box_agreement == 1
        result = mvt.predict(artifact.path, verification_photos()[:1], output=artifact.path.parent / "pictures")
        assert result.task == "detect"
        (told,) = result.predictions
        assert isinstance(told, DetectPrediction)
        image = load_image(told.image)
        recipe = Preprocessing(**CARD)
        with torch.no_grad():
            outputs = detector()(torch.from_numpy(recipe.normalize(recipe.pixels(image)))[None])
        boxes, scores = (outputs[name][0].double().numpy() for name in ("boxes", "scores"))
        kept = suppress(boxes, scores, least_score=0.3)
        assert 3 < len(kept.boxes) == len(told.found)
        height, width = SIZE
        scale = np.array([image.width / width, image.height / height] * 2)
        for found, place, index, score in zip(told.found, kept.boxes, kept.classes, kept.scores, strict=True):
            assert (found.index, found.label) == (index, NAMES[index])
            assert found.score == pytest.approx(score, abs=1e-4)
            inside = np.clip(boxes[place] * scale, 0, [image.width, image.height] * 2)
            assert found.box == pytest.approx(inside, abs=0.05)


def test_a_crop_is_undone() -> None:
    recipe = Preprocessing((32, 32), crop_fraction=0.5)
    image = Image.new("RGB", (200, 100))
    # The crop is the middle half of the shorter side: 50 x 50 pixels at (75, 25).
    boxes = np.array([[0.0, 0, 32, 32], [16, 16, 24, 32], [-100, -100, 200, 200]])
    wanted = [[75, 25, 125, 75], [100, 50, 112.5, 75], [0, 0, 200, 100]]
    assert recipe.in_image(boxes, image) == pytest.approx(np.array(wanted, float))


def test_the_picture_and_json(made: mvt.ExportResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = verification_photos()[0]
    artifact = str(made.artifacts[0].path)
    asked = ["predict", artifact, str(photo), "--output", str(tmp_path), "--json", "--least-score"]
    assert run([*asked, "0.5"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["result"]["predictions"]
    assert all(found["score"] > 0.5 for found in told["found"])
    picture = np.asarray(Image.open(told["overlay"]).convert("RGB"), int)
    plain = np.asarray(load_image(photo), int)
    assert picture.shape == plain.shape
    left, _, right, bottom = (round(side) for side in told["found"][0]["box"])
    frame = picture[bottom - 1, left:right]
    assert np.abs(frame - plain[bottom - 1, left:right]).max() > 0
    assert run([*asked, "0.5"]) == 2  # it is there
    capsys.readouterr()
    assert run([*asked, "nan", "--overwrite"]) == 2  # no score is above it
    capsys.readouterr()
    assert run([*asked, "1", "--overwrite"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["result"]["predictions"]
    assert told["found"] == []
    assert np.array_equal(np.asarray(Image.open(told["overlay"]).convert("RGB"), int), plain)
    assert run(["predict", artifact, str(photo), "--output", str(tmp_path / "x")]) == 0
    shown = capsys.readouterr().out
    assert "cat" in shown or "dog" in shown or "cow" in shown


class Returning(nn.Module):
    """Returns something of a detector's outputs."""

    def __init__(self, *names: str, boxes: float = 1.0, scores: float = 1.0) -> None:
        super().__init__()
        self.net, self.names, self.scales = detector(), names, {"boxes": boxes, "scores": scores}

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        outputs = self.net(images)
        return [self.scales[name] * outputs[name] for name in self.names]


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (segmenter(), "1x4x8x12 for one image"),
        (Returning("scores", "boxes"), "1x24x3, 1x24x4 for one image"),
        (Returning("boxes", "scores", boxes=1 / 48), "in pixels of the input, not shares"),
        (Returning("boxes", "scores", scores=3.0), "scores of a detector must be from 0 to 1"),
    ],
)
def test_what_is_no_detector_is_refused(module: nn.Module, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        settle(load_module(module, name="net", card=CARD), "detect")


def test_detections_of_no_possible_class_are_refused(tmp_path: Path) -> None:
    rows = np.array([[[0, 0, 8, 8, 0.9, 1e12]]], np.float32)
    claims = Contract("net", Preprocessing(**CARD), task="detect", output="detections")
    answering = Answering(tmp_path, claims, 1, ("detections",), lambda _pixels: [rows])
    with pytest.raises(BadInputError, match="its contract says detections"):  # or a colour for each class is drawn
        chosen(answering, np.zeros((3, *SIZE), np.uint8), tmp_path, least_score=0.3)


def test_boxes_are_found_by_name_or_place() -> None:
    images = torch.rand(2, 3, *SIZE)
    for module in (detector(), Returning("boxes", "scores")):
        settled = settle(load_module(module, name="net", card={**CARD, "task": "detect", "labels": NAMES}))
        assert (settled.task, settled.returns, settled.num_classes) == ("detect", "boxes", 3)
        boxes, scores = settled.module(images)
        assert torch.equal(boxes, detector()(images)["boxes"])
        assert torch.equal(scores, detector()(images)["scores"])
    with pytest.raises(BadInputError, match="2 labels for 3 classes"):
        settle(load_module(detector(), name="net", card={**CARD, "task": "detect", "labels": NAMES[:2]}))
    with pytest.raises(UsageError, match="--upsample"):
        settle(load_module(detector(), name="net", card=CARD), "detect", upsample=True)
