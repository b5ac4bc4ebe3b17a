"""What a segmenter says of a photo: the share of each class, and a picture of them with a legend."""

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
from mobilevit_tools.errors import UsageError
from mobilevit_tools.tasks.overlay import OPACITY, colours, overlay
from tests.tasks.nets import CARD, LABELS, SIZE, segmenter


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return artifacts that give scores as the model has them, resized ones, and class maps of both sizes."""
    folder = tmp_path_factory.mktemp("segmenters")
    forms = {
        "scores": {},
        "resized": {"upsample": True},
        "small": {"class_map": True},
        "full": {"upsample": True, "class_map": True},
    }
    return {
        name: mvt.export(
            segmenter(),
            name="net",
            card=CARD,
            targets="onnx",
            output=folder / name,
            task="segment",
            labels=LABELS,
            **asked,
        )
        .artifacts[0]
        .path
        for name, asked in forms.items()
    }


def expected(photo: Path, *, resized: bool) -> np.ndarray:
    preprocessing = Preprocessing(**CARD)
    tensor = preprocessing.normalize(preprocessing.pixels(load_image(photo)))[None]
    with torch.no_grad():
        scores = segmenter()(torch.from_numpy(tensor))
    if resized:
        return torch.nn.functional.interpolate(scores, SIZE, mode="bilinear").argmax(1)[0].numpy()
    return scores.argmax(1)[0].numpy().repeat(4, 0).repeat(4, 1)


@pytest.mark.parametrize("form", ["scores", "resized", "small", "full"])
def test_shares_are_those_of_the_models_classes(artifacts: dict[str, Path], form: str, tmp_path: Path) -> None:
    photos = verification_photos()[:2]
    result = mvt.predict(artifacts[form], photos, output=tmp_path)
    assert result.task == "segment"
    for photo, prediction in zip(photos, result.predictions, strict=True):
        wanted = expected(photo, resized=form != "small")
        shares = {LABELS[index]: float((wanted == index).mean()) for index in np.unique(wanted)}
        assert {each.label: each.share for each in prediction.shares} == pytest.approx(shares, abs=2e-3)
        assert [each.share for each in prediction.shares] == sorted(shares.values(), reverse=True)
        assert prediction.size == SIZE
        assert prediction.overlay == tmp_path / f"{photo.stem}.overlay.png"
        with Image.open(prediction.overlay) as picture:
            assert picture.format == "PNG"


def test_the_picture_is_the_photo_in_the_classes_colours_above_a_legend() -> None:
    from mobilevit_tools.tasks.shown import ClassShare

    classes = np.zeros((320, 400), np.int64)
    classes[:, 200:] = 3
    pixels = np.full((3, 320, 400), 100, np.uint8)
    import io

    with Image.open(
        io.BytesIO(overlay(pixels, classes, [ClassShare("road", 0, 0.5), ClassShare("猫 cat", 3, 0.5)]))
    ) as opened:
        picture = np.asarray(opened).astype(float)
    palette = colours(4)
    for column, index in ((100, 0), (300, 3)):
        assert picture[160, column] == pytest.approx((1 - OPACITY) * 100 + OPACITY * palette[index], abs=1)
    assert picture.shape[0] > 320
    legend = picture[320:].reshape(-1, 3)
    assert (legend == palette[3]).all(1).sum() > 100  # the square of its colour
    assert len({tuple(colour) for colour in colours(256)}) == 256
    assert [tuple(colour) for colour in palette] == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]


def test_pictures_stay_apart_from_the_photos_and_replace_nothing_unasked(
    artifacts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photo = tmp_path / "photos" / "photo.jpg"
    photo.parent.mkdir()
    load_image(verification_photos()[0]).save(photo)
    command = ["predict", str(artifacts["full"]), str(photo), "--json"]
    assert run(command) == 0
    (prediction,) = json.loads(capsys.readouterr().out)["result"]["predictions"]
    assert Path(prediction["overlay"]).resolve() == tmp_path / "predictions" / "photo.overlay.png"
    assert list(photo.parent.iterdir()) == [photo]
    assert sum(share["share"] for share in prediction["shares"]) == pytest.approx(1)
    assert run(command) == 2
    capsys.readouterr()
    assert run([*command[:-1], "--overwrite"]) == 0
    printed = capsys.readouterr().out
    assert all(share["label"] in printed for share in prediction["shares"])
    assert "photo.overlay.png" in printed
    other = tmp_path / "other"
    other.mkdir()
    (other / "photo.png").write_bytes(photo.read_bytes())
    with pytest.raises(UsageError, match="same output"):
        mvt.predict(artifacts["full"], [photo, other / "photo.png"], output=tmp_path / "pictures")
