"""A detector's figures are those that pycocotools gives for the model's own boxes."""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mobilevit_tools as mvt
from mobilevit_tools.cli.app import run
from mobilevit_tools.data.bundled import verification_photos
from mobilevit_tools.data.coco import read_coco
from mobilevit_tools.data.images import load_image
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.errors import BadInputError, MissingDependencyError, UsageError
from mobilevit_tools.verification.evaluations import DetectEvalResult
from tests.tasks.nets import CARD, SIZE, detector, segmenter
from tests.tasks.test_suppression import plain

NAMES = ("cat", "dog", "cow")
IDS = {"dog": 3, "cat": 18, "cow": 7}
"""Neither in the order of the classes nor without gaps."""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detector")
    made = mvt.export(detector(), name="net", card=CARD, targets="onnx", output=folder, task="detect", labels=NAMES)
    return made.artifacts[0].path


def own_boxes(image: Image.Image) -> list[tuple[np.ndarray, int, float]]:
    """Return the model's own detections in the image's pixels: box, class, score."""
    recipe = Preprocessing(**CARD)
    with torch.no_grad():
        outputs = detector()(torch.from_numpy(recipe.normalize(recipe.pixels(image))[None]))
    boxes, scores = (outputs[name][0].double().numpy() for name in ("boxes", "scores"))
    best = sorted(plain(boxes, scores, 0.05, 0.5), key=lambda pair: -scores[pair])[:100]
    limits = [image.width, image.height] * 2
    scale = np.array(limits) / np.array([SIZE[1], SIZE[0]] * 2)
    return [(np.clip(boxes[place] * scale, 0, limits), kind, float(scores[place, kind])) for place, kind in best]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("coco"))


def write_scenes(folder: Path) -> Path:
    """Write photos, and boxes of which the model gets some nearly right; one is a crowd."""
    (folder / "photos" / "a").mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number, source in enumerate(verification_photos()[:3]):
        image = load_image(source)
        name = f"a/{number}.png"
        image.save(folder / "photos" / name)
        images.append({"id": 10 * number + 7, "file_name": name, "width": image.width, "height": image.height})
        found = own_boxes(image)
        for index in rng.choice(len(found), 8, replace=False):
            corners, kind, _ = found[index]
            side = corners[2:] - corners[:2]
            shifted = corners + rng.normal(0, 0.06, 4) * np.tile(side, 2)
            width, height = shifted[2:] - shifted[:2]
            box = [*shifted[:2].tolist(), float(width), float(height)]
            annotations.append({
                "id": len(annotations) + 1, "image_id": images[-1]["id"], "category_id": IDS[NAMES[kind]],
                "bbox": box, "area": float(width * height), "iscrowd": int(not annotations),
            })  # fmt: skip
    categories = [{"id": number, "name": name} for name, number in IDS.items()]
    (folder / "truth.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return folder


def test_figures_are_those_of_pycocotools(artifact: Path, scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    found = []
    for each in json.loads((scenes / "truth.json").read_text())["images"]:
        for corners, kind, score in own_boxes(load_image(scenes / "photos" / each["file_name"])):
            left, top, right, bottom = corners.tolist()
            box = [left, top, right - left, bottom - top]
            category = IDS[NAMES[kind]]
            found.append({"image_id": each["id"], "category_id": category, "bbox": box, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(scenes / "truth.json"))
        judge = COCOeval(truth, truth.loadRes(found), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    capsys.readouterr()
    result = mvt.evaluate(artifact, scenes / "photos", coco=scenes / "truth.json", model=detector())
    assert capsys.readouterr().out == ""
    assert isinstance(result, DetectEvalResult)
    assert (result.images, result.detections, result.unreadable) == (3, len(found), ())
    figures = [result.mean_ap, result.ap50, result.ap75, result.ap_small, result.ap_medium, result.ap_large]
    assert figures == [None if value < 0 else pytest.approx(value, abs=1e-6) for value in judge.stats[:6]]
    assert result.recall == pytest.approx(judge.stats[8], abs=1e-6)
    assert result.reference_mean_ap == pytest.approx(judge.stats[0], abs=1e-6)
    assert 0.1 < result.mean_ap < 0.95
    assert result.interval is not None
    assert result.interval[0] <= result.mean_ap < result.interval[1]
    assert result.score.interval == result.interval
    assert result.ap50 > result.ap75
    for each in result.classes:
        assert each.label == NAMES[each.index]
        values = judge.eval["precision"][:, :, sorted(IDS.values()).index(IDS[each.label]), 0, -1]
        assert each.ap == (None if (values < 0).all() else pytest.approx(values.mean(), abs=1e-6))


def test_the_command_prints_them(artifact: Path, scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pycocotools")
    asked = ["eval", str(artifact), str(scenes / "photos"), "--coco", str(scenes / "truth.json"), "--no-reference"]
    assert run([*asked, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert result["reference_mean_ap"] is None
    assert run(asked) == 0
    shown = capsys.readouterr().out
    assert "mAP" in shown
    assert f"{result['mean_ap']:.2%}" in shown
    assert f"95 % interval {result['interval'][0]:.2%} to {result['interval'][1]:.2%}, 3 photos" in shown


def test_a_detector_that_finds_nothing_scores_nothing(artifact: Path, scenes: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    from mobilevit_tools.verification.mean_precision import mean_precision

    dataset = json.loads((scenes / "truth.json").read_text())
    assert mean_precision(dataset, [7, 17], []).whole == 0
    (tmp_path / "a").mkdir()
    (scenes / "photos" / "a" / "1.png").rename(tmp_path / "1.png")
    try:
        result = mvt.evaluate(artifact, scenes / "photos", coco=scenes / "truth.json", reference=False)
        assert (result.images, len(result.unreadable)) == (2, 1)
    finally:
        (tmp_path / "1.png").rename(scenes / "photos" / "a" / "1.png")


BOX = {"image_id": 7, "category_id": 3, "bbox": [0, 0, 5, 5]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": [{"id": 1, "file_name": "../../secret.png"}], "annotations": []}, "outside of"),
        ({"images": [{"id": 1}]}, "no file_name"),
        ({"images": []}, "no images"),
        ({"categories": [{"id": 3, "name": "dog"}, {"id": 3, "name": "cat"}]}, "same id"),
        ({"categories": [{"id": 3, "name": "dog"}], "annotations": []}, "1 categories, and the artifact 3 classes"),
        ({"annotations": [{"image_id": 7, "category_id": 3, "bbox": [0, 0, 5]}]}, "left, top, width and height"),
        ({"annotations": [{"image_id": 8, "category_id": 3, "bbox": [0, 0, 5, 5]}]}, "does not have"),
        ({"annotations": "all"}, "no list of annotations"),
        ({"annotations": [{"image_id": 7, "category_id": 3, "bbox": [0, 0, -5, 5]}]}, "left, top, width and height"),
        ({"annotations": [{**BOX, "area": float("nan")}]}, "not a finite number"),
        ({"annotations": [{**BOX, "area": "25"}]}, "the area"),
        ({"annotations": []}, "nothing to measure"),
        (
            {"annotations": [{"image_id": 7, "category_id": 3, "bbox": [0, 0, 5, 5], "iscrowd": 1}]},
            "nothing to measure",
        ),
        ({"images": [{"id": 7, "file_name": "a\0b"}], "annotations": []}, "can be none"),
        ({"images": [{"id": 7, "file_name": "\ud800"}], "annotations": []}, "can be none"),
        ({"images": [{"id": 7, "file_name": "a/0.png", "width": 1, "height": 2}], "annotations": []}, "are for 1 x 2"),
        (
            {"categories": [{"id": number, "name": "dog"} for number in (3, 7, 18)], "annotations": []},
            "two of its categories have the same name",
        ),
        (  # by their numbers the dog would be a cow
            {"categories": [{"id": 3, "name": "dog"}, {"id": 7, "name": "Cow"}, {"id": 18, "name": "cat"}]},
            "in another order than the artifact's classes, of which it does not know cow",
        ),
    ],
)
def test_annotations_that_cannot_be_used_are_refused(
    artifact: Path, scenes: Path, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    pytest.importorskip("pycocotools")
    dataset = json.loads((scenes / "truth.json").read_text()) | change
    (tmp_path / "truth.json").write_text(json.dumps(dataset))
    with pytest.raises(BadInputError, match=said):
        mvt.evaluate(artifact, scenes / "photos", coco=tmp_path / "truth.json", reference=False)


def test_categories_under_other_names_are_taken_in_order(tmp_path: Path) -> None:
    images, names = [{"id": 1, "file_name": "a.png"}], ("cat", "canine", "cow")
    categories = [{"id": number, "name": name} for number, name in zip((9, 3, 7), ("cow", "cat", "dog"), strict=True)]
    (tmp_path / "truth.json").write_text(json.dumps({"images": images, "categories": categories, "annotations": []}))
    truth = read_coco(tmp_path / "truth.json", tmp_path)
    assert truth.categories_of(names, 3) == truth.categories_of(None, 3) == (3, 7, 9)
    assert truth.categories_of(("cow", "dog", "cat"), 3) == (9, 7, 3)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInputError, match="it is no file"):
        read_coco(tmp_path / "pipe", tmp_path)


def test_what_is_missing_or_for_another_task_is_refused(
    artifact: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="requires boxes"):
        mvt.evaluate(artifact, scenes / "photos", reference=False)
    with pytest.raises(UsageError, match="--masks requires a segmenter"):
        mvt.evaluate(artifact, scenes / "photos", masks=tmp_path, reference=False)
    other = mvt.export(segmenter(), name="net", card=CARD, targets="onnx", output=tmp_path, task="segment")
    with pytest.raises(UsageError, match="--coco requires a detector"):
        mvt.evaluate(other.artifacts[0].path, scenes / "photos", coco=scenes / "truth.json", reference=False)
    monkeypatch.setattr("mobilevit_tools.verification.mean_precision.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError) as failure:
        mvt.evaluate(artifact, scenes / "photos", coco=scenes / "truth.json", reference=False)
    assert "mobilevit-tools[detect]" in str(failure.value.hint)
    assert failure.value.exit_code == 5
