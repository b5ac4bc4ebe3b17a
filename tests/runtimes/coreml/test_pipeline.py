from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from coremltools.converters.mil.mil import types

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.coreml import load_program
from tests.runtimes.coreml.building import mb, noise

WEIGHT, HEAD = noise(4, 3, 3, 3), noise(5, 4, seed=1)
EXACT = {"convert_to": "mlprogram", "skip_model_load": True, "compute_precision": ct.precision.FLOAT32}


def _features() -> Any:
    @mb.program(input_specs=[mb.TensorSpec((1, 3, 8, 8))])
    def program(image: Any) -> Any:
        return mb.reduce_mean(x=mb.conv(x=image, weight=WEIGHT), axes=[2, 3], name="features")

    image = ct.ImageType(name="image", shape=(1, 3, 8, 8), scale=1 / 255)
    return ct.convert(program, inputs=[image], **EXACT)


def _classifier() -> Any:
    @mb.program(input_specs=[mb.TensorSpec((1, 4))])
    def program(features: Any) -> Any:
        return mb.softmax(x=mb.linear(x=features, weight=HEAD), axis=-1, name="shares")

    return ct.convert(program, classifier_config=ct.ClassifierConfig(list("abcde")), **EXACT)


def test_stages_pass_their_features_on(tmp_path: Path) -> None:
    path = tmp_path / "two.mlpackage"
    ct.utils.make_pipeline(_features(), _classifier()).save(str(path))
    program = load_program(path)
    assert program.description.kind == "pipeline"
    assert [entry.name for entry in program.inputs] == ["image"]
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 8), dtype=np.uint8)
    result = program.run({"image": pixels})
    features = F.conv2d(torch.from_numpy(pixels) / 255, torch.from_numpy(WEIGHT)).mean((2, 3))
    expected = torch.softmax(features @ torch.from_numpy(HEAD).T, 1)[0]
    assert result["classLabel"] == "abcde"[int(expected.argmax())]
    shares = next(value for value in result.values() if isinstance(value, dict))
    np.testing.assert_allclose(list(shares.values()), expected, rtol=1e-4)
    assert {entry.kind for entry in program.outputs} == {"label", "probabilities"}


def _detector(boxes: np.ndarray) -> Any:
    """Confidences are the input, boxes are constant."""

    @mb.program(input_specs=[mb.TensorSpec((len(boxes), 2))])
    def program(scores: Any) -> Any:
        placed = mb.add(x=mb.mul(x=mb.reduce_sum(x=scores), y=0.0), y=boxes)
        return mb.identity(x=scores, name="raw_confidence"), mb.identity(x=placed, name="raw_coordinates")

    return ct.convert(program, **EXACT)


def _suppression() -> Any:
    spec = ct.proto.Model_pb2.Model(specificationVersion=5)
    names = ("raw_confidence", "raw_coordinates", "iouThreshold", "confidenceThreshold")
    for name in names[:2]:
        spec.description.input.add(name=name).type.multiArrayType.dataType = 65568
    for name in names[2:]:
        entry = spec.description.input.add(name=name)
        entry.type.doubleType.SetInParent()
        entry.type.isOptional = True
    for name in ("confidence", "coordinates"):
        spec.description.output.add(name=name).type.multiArrayType.dataType = 65568
    stage = spec.nonMaximumSuppression
    stage.confidenceInputFeatureName, stage.coordinatesInputFeatureName = names[:2]
    stage.iouThresholdInputFeatureName, stage.confidenceThresholdInputFeatureName = names[2:]
    stage.confidenceOutputFeatureName, stage.coordinatesOutputFeatureName = "confidence", "coordinates"
    stage.iouThreshold, stage.confidenceThreshold = 0.5, 0.3
    stage.pickTop.perClass = True
    stage.stringClassLabels.vector.extend(["cat", "dog"])
    return spec


BOXES = np.array([[1, 1, 2, 2], [1.1, 1, 2, 2], [9, 9, 2, 2], [5, 5, 1, 1]], np.float32)
SCORES = np.array([[0.9, 0], [0.8, 0], [0, 0.7], [0.1, 0.2]], np.float32)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of the usual form: a network, and non-maximum suppression with thresholds that may be given."""
    network, suppression = _detector(BOXES), _suppression()
    path = tmp_path_factory.mktemp("detector") / "detector.mlpackage"
    network.save(str(path))
    file = path / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = ct.proto.Model_pb2.Model(specificationVersion=7)
    first = ct.proto.Model_pb2.Model.FromString(file.read_bytes())
    spec.description.input.extend([*first.description.input, *suppression.description.input[2:]])
    spec.description.output.extend(suppression.description.output)
    spec.pipeline.models.extend([first, suppression])
    file.write_bytes(spec.SerializeToString())
    return path


def test_a_detector_keeps_the_boxes_that_survive(detector: Path) -> None:
    program = load_program(detector)
    assert {entry.name: entry.default for entry in program.inputs if entry.optional} == {
        "iouThreshold": 0.5,
        "confidenceThreshold": pytest.approx(0.3),
    }
    result = program.run({"scores": SCORES})
    np.testing.assert_array_equal(result["confidence"], SCORES[[0, 2]])
    np.testing.assert_array_equal(result["coordinates"], BOXES[[0, 2]])


def test_thresholds_may_be_given(detector: Path) -> None:
    program = load_program(detector)
    every = program.run({"scores": SCORES, "iouThreshold": np.array(0.99), "confidenceThreshold": np.array(0.15)})
    np.testing.assert_array_equal(every["confidence"], SCORES)
    none = program.run({"scores": SCORES, "confidenceThreshold": np.array(0.95)})
    assert np.shape(none["coordinates"]) == (0, 4)


def test_stages_that_do_not_fit_are_refused(detector: Path, tmp_path: Path) -> None:
    file = detector / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = ct.proto.Model_pb2.Model.FromString(file.read_bytes())
    alone = tmp_path / "alone.mlmodel"
    del spec.pipeline.models[0]
    alone.write_bytes(spec.SerializeToString())
    with pytest.raises(BadInputError, match="input 'raw_confidence' no stage before it makes"):
        load_program(alone)
    spec.pipeline.models[0].glmRegressor.SetInParent()
    alone.write_bytes(spec.SerializeToString())
    with pytest.raises(BadInputError, match="glmRegressor model in it, which cannot be run here"):
        load_program(alone)


WEIGHING = np.array([0.5, 0.25, 0.125], np.float32).reshape(1, 3, 1, 1)
NEWER = EXACT | {"minimum_deployment_target": ct.target.iOS16}


@pytest.mark.parametrize("orders", [("RGB", "BGR"), ("BGR", "RGB"), ("BGR", "BGR")])
def test_images_between_stages_keep_their_colours(orders: tuple[str, str], tmp_path: Path) -> None:
    """Each stage weighs its channels differently."""

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 2, 2))], opset_version=ct.target.iOS16)
    def first(photo: Any) -> Any:
        return mb.mul(x=photo, y=WEIGHING, name="between")

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 2, 2))], opset_version=ct.target.iOS16)
    def second(between: Any) -> Any:
        return mb.mul(x=between, y=WEIGHING, name="seen")

    photo, between = (
        ct.ImageType(name=name, shape=(1, 3, 2, 2), color_layout=ct.colorlayout[order])
        for name, order in zip(("photo", "between"), orders, strict=True)
    )
    stages = (ct.convert(first, inputs=[photo], **NEWER), ct.convert(second, inputs=[between], **NEWER))
    joined = ct.utils.make_pipeline(*stages)
    spec = joined.get_spec()  # where coremltools has given the first stage's output the order of the second stage
    made = spec.pipeline.models[0].description
    made.output[0].type.imageType.colorSpace = made.input[0].type.imageType.colorSpace
    path = tmp_path / "colours.mlpackage"
    ct.models.MLModel(spec, skip_model_load=True, weights_dir=joined.weights_dir).save(str(path))
    pixels = np.arange(0, 96, 8, dtype=np.uint8).reshape(1, 3, 2, 2)
    ours = load_program(path).run({"photo": pixels})["seen"]
    one, two = (slice(None, None, -1 if order == "BGR" else 1) for order in orders)
    handed_on = (pixels.astype(np.float64)[:, one] * WEIGHING)[:, one]  # red, green, blue again
    np.testing.assert_allclose(ours, np.round(handed_on)[:, two] * WEIGHING)


def test_a_stage_takes_its_own_element_type(tmp_path: Path) -> None:
    """A stage whose input is fp16 rounds what a stage with a float32 output hands to it."""

    @mb.program(input_specs=[mb.TensorSpec((1, 2))], opset_version=ct.target.iOS16)
    def first(given: Any) -> Any:
        return mb.identity(x=given, name="between")

    @mb.program(input_specs=[mb.TensorSpec((1, 2), dtype=types.fp16)], opset_version=ct.target.iOS16)
    def second(between: Any) -> Any:
        return mb.cast(x=between, dtype="fp32", name="last")

    stages = (
        ct.convert(first, inputs=[ct.TensorType(name="given", shape=(1, 2))], **NEWER),
        ct.convert(second, inputs=[ct.TensorType(name="between", shape=(1, 2), dtype=np.float16)], **NEWER),
    )
    path = tmp_path / "types.mlpackage"
    ct.utils.make_pipeline(*stages).save(str(path))
    given = np.array([[1.0001, 2049.0]], np.float32)
    np.testing.assert_array_equal(load_program(path).run({"given": given}, "as-typed")["last"], [[1.0, 2048.0]])
