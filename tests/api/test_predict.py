"""Predictions of an artifact are the model's own, whatever the target and the photo's format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from PIL import Image

import mobilevit_tools
from mobilevit_tools.cli.app import run
from mobilevit_tools.data.bundled import verification_photos
from mobilevit_tools.data.contract import METADATA_KEY, Contract
from mobilevit_tools.data.images import load_image
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.errors import BadInputError, GateError
from mobilevit_tools.models.factory import load_model
from tests.conftest import SMALL
from tests.tasks.nets import CARD, embedder

ARTIFACTS = ("onnx-fp32/model.onnx", "executorch-xnnpack-fp32/model.pte", "coreml-fp32/model.mlpackage")


def expected(photo: Path) -> np.ndarray:
    loaded = load_model(SMALL, random_weights=True)
    pixels = loaded.preprocessing.pixels(load_image(photo))[None]
    with torch.no_grad():
        return loaded.module(torch.from_numpy(loaded.preprocessing.normalize(pixels))).softmax(-1)[0].numpy()


@pytest.mark.parametrize("name", ARTIFACTS)
def test_probabilities_are_the_models(exported: Path, name: str) -> None:
    photos = verification_photos()[:2]
    result = mobilevit_tools.predict(exported / name, photos, top=10)
    assert [prediction.image for prediction in result.predictions] == list(photos)
    for photo, prediction in zip(photos, result.predictions, strict=True):
        wanted = expected(photo)
        assert [guess.index for guess in prediction.top] == list(np.argsort(-wanted, kind="stable"))
        for guess in prediction.top:
            assert guess.probability == pytest.approx(wanted[guess.index], abs=1e-5)


def test_a_grey_photo_and_its_rgb_twin_are_one(exported: Path, tmp_path: Path) -> None:
    grey = Image.open(verification_photos()[0]).convert("L")
    grey.save(tmp_path / "grey.png")
    grey.convert("RGB").save(tmp_path / "rgb.png")
    result = mobilevit_tools.predict(exported / ARTIFACTS[0], [tmp_path / "grey.png", tmp_path / "rgb.png"])
    assert result.predictions[0].top == result.predictions[1].top


def test_what_is_no_photo_is_refused(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("no photo")
    with pytest.raises(BadInputError, match="not in a supported image format"):
        mobilevit_tools.predict(exported / ARTIFACTS[0], [tmp_path / "x.jpg"])


def constant(path: Path, logits: np.ndarray, labels: tuple[str, ...] | None, output: str = "logits") -> Path:
    """Write an artifact that gives ``logits`` whatever it is shown."""
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, 8, 8])
    made = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, logits.shape)
    node = helper.make_node("Constant", [], ["logits"], value=numpy_helper.from_array(logits.astype(np.float32)))
    graph = helper.make_graph([node], "constant", [image], [made])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    contract = Contract("m", Preprocessing((8, 8)), labels=labels, output=output)
    helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("labels", [("a", "b"), ("a", "b", "c", "d")])
def test_labels_that_are_not_the_outputs_are_refused(tmp_path: Path, labels: tuple[str, ...]) -> None:
    artifact = constant(tmp_path / "model.onnx", np.zeros((1, 3)), labels)
    with pytest.raises(BadInputError, match=f"names {len(labels)} classes, and its output has 3"):
        mobilevit_tools.predict(artifact, verification_photos()[:1])


@pytest.mark.parametrize("shape", [(1, 3, 2, 2), (0, 3)])
def test_an_output_that_is_no_row_of_logits_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    artifact = constant(tmp_path / "model.onnx", np.zeros(shape), None)
    with pytest.raises(BadInputError, match="is not a row of logits for each of 1 images"):
        mobilevit_tools.predict(artifact, verification_photos()[:1])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_no_prediction(tmp_path: Path, value: float) -> None:
    artifact = constant(tmp_path / "model.onnx", np.array([[0, value, 0]]), None)
    with pytest.raises(GateError, match="NaN or infinity for"):
        mobilevit_tools.predict(artifact, verification_photos()[:1])


def test_of_outputs_without_a_meaning_shapes_and_ranges_are_told(tmp_path: Path) -> None:
    artifact = constant(tmp_path / "model.onnx", np.arange(12.0).reshape(1, 3, 2, 2), None, output="features")
    result = mobilevit_tools.predict(artifact, verification_photos()[:1])
    assert result.task == "raw"
    ((output,),) = [prediction.outputs for prediction in result.predictions]
    assert (output.name, output.shape) == ("logits", (3, 2, 2))
    assert (output.min, output.mean, output.max) == (0, 5.5, 11)
    with pytest.raises(BadInputError, match="of the task raw") as caught:
        mobilevit_tools.evaluate(artifact, tmp_path)
    assert caught.value.error_code == "no_logits"


def test_an_embedding_tells_the_nearest_of_the_other_photos(tmp_path: Path) -> None:
    shades = {"red": (200, 10, 10), "dark red": (100, 5, 5), "blue": (10, 10, 200)}
    photos = []
    for name, colour in shades.items():
        photos.append(tmp_path / f"{name}.png")
        Image.new("RGB", (20, 20), colour).save(photos[-1])
    made = mobilevit_tools.export(embedder(), name="net", card=CARD, task="embed", targets="onnx", output=tmp_path)
    result = mobilevit_tools.predict(made.artifacts[0].path, photos, top=2)
    assert result.task == "embed"
    vectors = []
    for colour in shades.values():
        with torch.no_grad():
            vectors.append(embedder()(torch.tensor(colour).view(1, 3, 1, 1) / 255)[0].double())
    for row, prediction in enumerate(result.predictions):
        assert prediction.dimensions == 6
        assert prediction.norm == pytest.approx(float(vectors[row].norm()), rel=1e-4)
        wanted = {
            photo: float(torch.cosine_similarity(vectors[row], vectors[other], dim=0))
            for other, photo in enumerate(photos)
            if other != row
        }
        assert [near.image for near in prediction.neighbours] == sorted(wanted, key=wanted.__getitem__, reverse=True)
        assert {near.image: near.cosine for near in prediction.neighbours} == pytest.approx(wanted, abs=1e-4)
    alone = mobilevit_tools.predict(made.artifacts[0].path, photos[:1])
    assert alone.predictions[0].neighbours == ()


@pytest.mark.parametrize("labels", [None, ("cat",)])
def test_of_a_single_output_nobody_knows_the_probability(
    tmp_path: Path, labels: tuple[str, ...] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = constant(tmp_path / "model.onnx", np.array([[-1.25]]), labels)
    (prediction,) = mobilevit_tools.predict(artifact, verification_photos()[:1]).predictions
    (guess,) = prediction.top
    assert (guess.label, guess.probability, guess.value) == (labels[0] if labels else "0", None, -1.25)
    assert run(["predict", str(artifact), str(verification_photos()[0])]) == 0
    printed = capsys.readouterr().out
    assert "-1.25" in printed
    assert "%" not in printed


def test_a_softmax_of_one_class_is_no_prediction(tmp_path: Path) -> None:
    artifact = constant(tmp_path / "model.onnx", np.ones((1, 1)), None, output="probabilities")
    with pytest.raises(BadInputError, match="which is always 1"):
        mobilevit_tools.predict(artifact, verification_photos()[:1])


def test_an_embedding_has_no_classes(tmp_path: Path) -> None:
    artifact = constant(tmp_path / "model.onnx", np.zeros((1, 192)), None, output="embedding")
    (prediction,) = mobilevit_tools.predict(artifact, verification_photos()[:1]).predictions
    assert (prediction.dimensions, prediction.norm, prediction.neighbours) == (192, 0.0, ())


def test_of_several_classes_values_are_the_logits(tmp_path: Path) -> None:
    artifact = constant(tmp_path / "model.onnx", np.array([[0.0, 2.0]]), None)
    (prediction,) = mobilevit_tools.predict(artifact, verification_photos()[:1]).predictions
    assert [(guess.index, guess.value) for guess in prediction.top] == [(1, 2.0), (0, 0.0)]
    assert prediction.top[0].probability == pytest.approx(1 / (1 + np.exp(-2.0)))
