from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import pytest
from coremltools.converters.mil.mil import get_new_symbol

from mobilevit_tools.errors import BadInputError, ExitCode
from mobilevit_tools.runtimes.coreml import load_description, load_program
from tests.runtimes.coreml.building import mb, save


def test_the_older_format_is_described(shared: Path) -> None:
    description = load_description(shared / "data" / "foreign" / "SqueezeNetInt8LUT.mlmodel")
    assert description.kind == "neuralNetworkClassifier"
    assert description.inputs[0].shape == (1, 3, 227, 227)
    assert [entry.kind for entry in description.outputs] == ["probabilities", "label"]
    assert "SqueezeNet" in description.metadata["license"]


def _old_model(path: Path) -> Path:
    spec = ct.proto.Model_pb2.Model()
    spec.specificationVersion = 4
    feature = spec.description.input.add(name="data")
    feature.type.multiArrayType.shape.extend([3, 8, 8])
    feature.type.multiArrayType.dataType = ct.proto.FeatureTypes_pb2.ArrayFeatureType.FLOAT32
    output = spec.description.output.add(name="score")
    output.type.doubleType.SetInParent()
    spec.description.metadata.author = "someone"
    spec.glmRegressor.SetInParent()
    path.write_bytes(spec.SerializeToString())
    return path


def test_what_can_be_read_of_an_older_model(tmp_path: Path) -> None:
    path = _old_model(tmp_path / "old.mlmodel")
    with pytest.raises(BadInputError, match=r"old\.mlmodel is a glmRegressor model.*specification version 4") as caught:
        load_program(path)
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert caught.value.error_code == "not_an_ml_program"
    assert "inputs data (tensor 3x8x8); outputs score (scalar float64); author 'someone'" in str(caught.value.hint)


def test_images_flexible_sizes_and_metadata_are_described(tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((1, 3, get_new_symbol(), 8))])
    def program(image: Any) -> Any:
        return mb.reduce_mean(x=image, axes=[2, 3], name="mean")

    path = tmp_path / "flexible.mlpackage"
    shape = ct.Shape((1, 3, ct.RangeDim(4, 64, default=16), 8))
    model = ct.convert(
        program,
        convert_to="mlprogram",
        skip_model_load=True,
        inputs=[ct.ImageType(name="image", shape=shape, color_layout=ct.colorlayout.BGR, scale=0.5)],
        compute_precision=ct.precision.FLOAT32,
    )
    model.author, model.license, model.version, model.short_description = "a", "b", "c", "d"
    model.input_description["image"] = "a photo"
    model.user_defined_metadata["recipe"] = "{}"
    model.save(str(path))
    loaded = load_program(path)
    (image,) = loaded.inputs
    assert (image.kind, image.color, image.dtype, image.shape) == ("image", "BGR", "uint8", (1, 3, 16, 8))
    assert image.flexibility == "range"
    assert image.description == "a photo"
    assert loaded.outputs[0].kind == "tensor"
    expected = {"author": "a", "license": "b", "version": "c", "short_description": "d", "recipe": "{}"}
    assert expected.items() <= loaded.metadata.items()


def test_array_outputs_keep_their_shape_and_type(tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((2, 3))])
    def program(x: Any) -> Any:
        return mb.identity(x=x, name="same"), mb.reduce_argmax(x=x, axis=1, name="best")

    loaded = load_program(save(program, tmp_path / "arrays.mlpackage"))
    assert [(entry.name, entry.kind, entry.dtype) for entry in loaded.outputs] == [
        ("same", "tensor", "float32"),
        ("best", "tensor", "int32"),
    ]
