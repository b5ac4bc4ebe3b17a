"""Segmenters and embeddings measured on photos: the figures are those of the model itself, counted independently."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mobilevit_tools as mvt
from mobilevit_tools.cli.app import run
from mobilevit_tools.data.bundled import verification_photos
from mobilevit_tools.data.images import load_image
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.verification.evaluations import RetrievalEvalResult, SegmentEvalResult
from tests.tasks.nets import CARD, LABELS, SIZE, embedder, segmenter


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segmenter")
    result = mvt.export(
        segmenter(), name="net", card=CARD, targets="onnx", output=folder, task="segment", labels=LABELS,
        upsample=True, class_map=True,
    )  # fmt: skip
    return result.artifacts[0].path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos of the artifact's own size, and masks that the model gets partly right; some pixels are ignored."""
    rng = np.random.default_rng(0)
    for folder in ("photos", "masks"):
        (tmp_path / folder).mkdir()
    for number, source in enumerate(verification_photos()[:3]):
        image = load_image(source).resize(SIZE[::-1])
        image.save(tmp_path / "photos" / f"{number}.png")
        mask = np.where(rng.random(SIZE) < 0.7, classes(image), rng.integers(0, len(LABELS), SIZE))
        mask[rng.random(SIZE) < 0.1] = 255
        Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "masks" / f"{number}.png")
    return tmp_path


def classes(image: Image.Image) -> np.ndarray:
    recipe = Preprocessing(**CARD)
    with torch.no_grad():
        scores = segmenter()(torch.from_numpy(recipe.normalize(recipe.pixels(image))[None]))
    return torch.nn.functional.interpolate(scores, SIZE, mode="bilinear").argmax(1)[0].numpy()


def test_miou_is_that_of_a_confusion_matrix(artifact: Path, photos: Path) -> None:
    matrix = np.zeros((len(LABELS), len(LABELS)), int)
    for number in range(3):
        mask = np.asarray(Image.open(photos / "masks" / f"{number}.png"))
        said = classes(Image.open(photos / "photos" / f"{number}.png"))
        np.add.at(matrix, (mask[mask != 255], said[mask != 255]), 1)
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    wanted = (matrix.diagonal()[union > 0] / union[union > 0]).mean()
    result = mvt.evaluate(artifact, photos / "photos", masks=photos / "masks", model=segmenter())
    assert isinstance(result, SegmentEvalResult)
    assert result.reference_miou == pytest.approx(wanted, abs=1e-6)
    assert result.miou == pytest.approx(wanted, abs=2e-3)
    assert result.agreement == pytest.approx(1, abs=1e-3)
    assert result.pixel_accuracy == pytest.approx(matrix.trace() / matrix.sum(), abs=2e-3)
    assert result.images == 3
    assert result.interval is not None
    assert result.interval[0] <= result.miou <= result.interval[1]
    assert [each.pixels for each in result.classes] == matrix.sum(1).tolist()
    assert [each.label for each in result.classes] == list(LABELS)


def test_the_command_says_it_and_refuses_what_is_no_mask(
    artifact: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", str(artifact), str(photos / "photos"), "--masks", str(photos / "masks"), "--no-reference"]
    (photos / "photos" / "1.png").write_bytes(b"no image")
    assert run([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert (result["images"], len(result["unreadable"]), result["agreement"]) == (2, 1, None)
    assert run(command) == 0
    printed = capsys.readouterr().out
    assert f"{result['miou']:.2%}" in printed
    assert "not read: 1" in printed
    assert run(command[:3]) == 2
    Image.new("L", SIZE[::-1], len(LABELS)).save(photos / "masks" / "0.png")
    with pytest.raises(BadInputError, match="the class 4, and the artifact has 4"):
        mvt.evaluate(artifact, photos / "photos", masks=photos / "masks", reference=False)


def test_an_embedding_finds_photos_of_its_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    colours = {
        "red": [(200, 10, 10), (180, 9, 9)],
        "blue": [(10, 10, 200), (12, 20, 180), (200, 10, 10)],
        "one": [(9, 90, 9)],
    }
    for name, shades in colours.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number, shade in enumerate(shades):
            Image.new("RGB", (20, 20), shade).save(tmp_path / "photos" / name / f"{number}.png")
    made = mvt.export(embedder(), name="net", card=CARD, task="embed", targets="onnx", output=tmp_path)
    artifact = made.artifacts[0].path
    result = mvt.evaluate(artifact, tmp_path / "photos", model=embedder())
    assert isinstance(result, RetrievalEvalResult)
    # The blue one that is red misses, and so do both reds, to which it is as near as they are to each other.
    assert (result.images, result.recall_at_5) == (5, 1.0)
    assert result.recall_at_1 == result.reference_recall_at_1 == pytest.approx(0.4)
    assert result.cosine == pytest.approx(1, abs=1e-5)
    assert run(["eval", str(artifact), str(tmp_path / "photos"), "--no-reference"]) == 0
    assert "40.00%" in capsys.readouterr().out
    for wrong in ({"masks": tmp_path}, {"class_order": "index"}):
        with pytest.raises(UsageError):
            mvt.evaluate(artifact, tmp_path / "photos", reference=False, **wrong)  # type: ignore[arg-type]
