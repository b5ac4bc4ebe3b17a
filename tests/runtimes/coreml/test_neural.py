from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from coremltools.models import datatypes
from coremltools.models.neural_network import NeuralNetworkBuilder
from coremltools.models.neural_network.quantization_utils import _convert_array_to_nbit_quantized_bytes

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes._base import UnsupportedOperatorError
from mobilevit_tools.runtimes.coreml import Program, load_program
from mobilevit_tools.runtimes.coreml.mil import Constant
from mobilevit_tools.runtimes.coreml.placement import placement
from mobilevit_tools.runtimes.coreml.session import open_session
from tests.runtimes.coreml.building import noise

CONV, DEEP, HEAD = noise(6, 3, 3, 3), noise(6, 1, 3, 3, seed=1), noise(4, 6, seed=2)
BIAS, MEAN, SCALE = noise(6, seed=3), noise(6, seed=4), np.abs(noise(6, seed=5)) + 0.5
LABELS = ["ant", "bee", "cat", "dog"]


def _conv(builder: Any, name: str, source: str, weight: np.ndarray, **options: Any) -> None:
    out, into = weight.shape[:2]
    given = {"stride_height": 1, "stride_width": 1, "border_mode": "same", "groups": 1, "b": None} | options
    builder.add_convolution(
        name=name,
        kernel_channels=into,
        output_channels=out,
        height=3,
        width=3,
        W=weight.transpose(2, 3, 1, 0),
        has_bias=given["b"] is not None,
        input_name=source,
        output_name=name,
        **given,
    )


@pytest.fixture(scope="module")
def classifier() -> Any:
    """A classifier of the old format for blue-green-red images of 9 by 9."""
    builder = NeuralNetworkBuilder(
        [("image", datatypes.Array(3, 9, 9))], [("shares", datatypes.Array(4))], mode="classifier"
    )
    _conv(builder, "stem", "image", CONV, b=BIAS, stride_height=2, stride_width=2)
    builder.add_batchnorm(
        "norm", channels=6, gamma=SCALE, beta=BIAS, mean=MEAN, variance=SCALE, input_name="stem", output_name="norm"
    )
    builder.add_activation("act", "LEAKYRELU", "norm", "act", params=[0.1])
    _conv(builder, "deep", "act", DEEP, groups=6)
    builder.add_elementwise("sum", ["act", "deep"], "sum", "ADD")
    builder.add_pooling("pool", 2, 2, 2, 2, "MAX", "INCLUDE_LAST_PIXEL", "sum", "pool")
    builder.add_pooling("mean", 0, 0, 1, 1, "AVERAGE", "VALID", "pool", "mean", is_global=True)
    builder.add_flatten("flat", 0, "mean", "flat")
    builder.add_inner_product("head", HEAD, None, 6, 4, False, "flat", "head")
    builder.add_softmax("softmax", "head", "shares")
    builder.set_pre_processing_parameters(
        image_input_names=["image"], is_bgr=True, red_bias=-3.0, green_bias=-2.0, blue_bias=-1.0, image_scale=0.5
    )
    builder.set_class_labels(LABELS, predicted_feature_name="animal", prediction_blob="shares")
    return builder.spec


def _expected(pixels: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(pixels[:, ::-1].astype(np.float32)) * 0.5 - torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
    tensors = {name: torch.from_numpy(value) for name, value in {"c": CONV, "d": DEEP, "b": BIAS, "h": HEAD}.items()}
    x = F.conv2d(x, tensors["c"], tensors["b"], 2, 1)
    x = F.batch_norm(
        x, torch.from_numpy(MEAN), torch.from_numpy(SCALE), torch.from_numpy(SCALE), tensors["b"], eps=1e-5
    )
    x = F.leaky_relu(x, 0.1)
    x = x + F.conv2d(x, tensors["d"], None, 1, 1, groups=6)
    x = F.max_pool2d(x, 2, 2, ceil_mode=True).mean((2, 3))
    return np.asarray(torch.softmax(x @ tensors["h"].T, 1)[0])


def _saved(spec: Any, path: Path) -> Program:
    path.write_bytes(spec.SerializeToString())
    return load_program(path)


PIXELS = np.random.default_rng(0).integers(0, 256, (1, 3, 9, 9), dtype=np.uint8)


def test_a_classifier_computes_what_its_layers_say(classifier: Any, tmp_path: Path) -> None:
    program = _saved(classifier, tmp_path / "old.mlmodel")
    result = program.run({"image": PIXELS})
    expected = _expected(PIXELS)
    assert result["animal"] == LABELS[int(expected.argmax())]
    shares = result["shares"]
    assert isinstance(shares, dict)
    assert list(shares) == LABELS
    np.testing.assert_allclose(list(shares.values()), expected, rtol=1e-4)
    assert next(entry for entry in program.outputs if entry.kind == "probabilities").labels == tuple(LABELS)
    assert program.logits == "head"


def test_its_session_tells_macs_and_gives_logits(classifier: Any, tmp_path: Path) -> None:
    path = tmp_path / "old.mlmodel"
    program = _saved(classifier, path)
    assert placement(program).macs == 6 * 5 * 5 * 3 * 9 + 6 * 5 * 5 * 9 + 0
    with open_session(path, threads=1) as session:
        logits, shares = session.run(PIXELS)
        assert session.inputs[0].kind == "image"
        np.testing.assert_allclose(torch.softmax(torch.from_numpy(logits.reshape(1, 4)), 1), shares, rtol=1e-5)


@pytest.mark.parametrize("bits", [8, 4, 3])
@pytest.mark.parametrize("mode", ["linear", "one", "table"])
def test_quantized_weights_are_read(classifier: Any, tmp_path: Path, bits: int, mode: str) -> None:
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 2**bits, CONV.shape)
    spec = type(classifier).FromString(classifier.SerializeToString())
    weights = spec.neuralNetworkClassifier.layers[0].convolution.weights
    weights.ClearField("floatValue")
    weights.rawValue = bytes(_convert_array_to_nbit_quantized_bytes(codes.flatten(), bits))
    weights.quantization.numberOfBits = bits
    if mode == "table":
        table = noise(2**bits)
        weights.quantization.lookupTableQuantization.floatValue.extend(table.tolist())
        expected = table[codes]
    else:
        rows = 1 if mode == "one" else len(CONV)
        scale, bias = noise(rows, seed=1), noise(rows, seed=2)
        weights.quantization.linearQuantization.scale.extend(scale.tolist())
        weights.quantization.linearQuantization.bias.extend(bias.tolist())
        expected = codes * scale.reshape(-1, 1, 1, 1) + bias.reshape(-1, 1, 1, 1)
    program = _saved(spec, tmp_path / "small.mlmodel")
    (found,) = next(entry for entry in program.graph.operations if entry.name == "stem").inputs["weight"]
    assert isinstance(found, Constant)
    np.testing.assert_allclose(found.value, expected, rtol=1e-5)


def _arrays(sizes: tuple[int, ...], build: Callable[[Any], None], path: Path, **options: Any) -> Program:
    builder = NeuralNetworkBuilder(
        [("x", datatypes.Array(*sizes))], [("y", None)], disable_rank5_shape_mapping=options.pop("exact", False)
    )
    build(builder)
    return _saved(builder.spec, path)


X = noise(2, 5, 6)
UP = noise(2, 4, 3, 3)
LAYERS: dict[str, tuple[Callable[[Any], None], Callable[[torch.Tensor], torch.Tensor]]] = {
    "elu": (lambda b: b.add_activation("a", "ELU", "x", "y", params=0.7), lambda x: F.elu(x, 0.7)),
    "hard": (
        lambda b: b.add_activation("a", "SIGMOID_HARD", "x", "y", params=[0.3, 0.4]),
        lambda x: (0.3 * x + 0.4).clamp(0, 1),
    ),
    "prelu": (
        lambda b: b.add_activation("a", "PRELU", "x", "y", params=np.array([0.1, 0.2], np.float32)),
        lambda x: F.prelu(x, torch.tensor([0.1, 0.2])),
    ),
    "times": (lambda b: b.add_elementwise("m", ["x"], "y", "MULTIPLY", alpha=3.0), lambda x: 3 * x),
    "square": (lambda b: b.add_elementwise("m", ["x", "x"], "y", "MULTIPLY"), lambda x: x * x),
    "scale": (
        lambda b: b.add_scale("s", np.array([2.0, 3.0]), np.array([1.0]), True, "x", "y", [2], [1]),
        lambda x: x * torch.tensor([2.0, 3.0]).reshape(1, 2, 1, 1) + 1,
    ),
    "average": (
        lambda b: b.add_pooling("p", 3, 3, 2, 2, "AVERAGE", "SAME", "x", "y", exclude_pad_area=True),
        lambda x: F.avg_pool2d(F.pad(x, (0, 1, 1, 1)), 3, 2) / F.avg_pool2d(F.pad(x * 0 + 1, (0, 1, 1, 1)), 3, 2),
    ),
    "reflect": (
        lambda b: b.add_padding("p", 1, 2, 1, 0, 0, "x", "y", padding_type="reflection"),
        lambda x: F.pad(x, (1, 2, 1, 0), mode="reflect"),
    ),
    "twice": (lambda b: b.add_upsample("u", 2, 3, "x", "y"), lambda x: F.interpolate(x, scale_factor=(2, 3))),
    "lrn": (
        lambda b: b.add_lrn("l", "x", "y", alpha=0.5, beta=0.6, local_size=3, k=1.5),
        lambda x: F.local_response_norm(x, 3, 0.5, 0.6, 1.5),
    ),
    "joined": (
        lambda b: b.add_elementwise("c", ["x", "x"], "y", "CONCAT"),
        lambda x: torch.cat((x, x), 1),
    ),
    "deconvolution of a stated size": (
        lambda b: b.add_convolution(
            "d", 2, 4, 3, 3, 2, 2, "valid", 1, UP.transpose(2, 3, 0, 1), None, False, True, (12, 14), "x", "y",
        ),
        lambda x: F.conv_transpose2d(x, torch.from_numpy(UP), stride=2, output_padding=1),
    ),
    "instance": (
        lambda b: b.add_batchnorm(
            "n", 2, np.ones(2), np.zeros(2), input_name="x", output_name="y",
            compute_mean_var=True, instance_normalization=True,
        ),
        F.instance_norm,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(LAYERS))
def test_single_layers_are_torchs(name: str, tmp_path: Path) -> None:
    build, function = LAYERS[name]
    (out,) = _arrays(X.shape, build, tmp_path / "one.mlmodel").run({"x": X}).values()
    expected = function(torch.from_numpy(X)[None])
    np.testing.assert_allclose(np.asarray(out).reshape(expected.shape), expected, atol=1e-5)


def test_arrays_of_any_rank_keep_it(tmp_path: Path) -> None:
    def build(builder: Any) -> None:
        builder.add_transpose("t", axes=[1, 0], input_name="x", output_name="t")
        builder.add_reshape_static("r", "t", "r", output_shape=(2, 3))
        builder.add_softmax_nd("s", "r", "y", axis=-1)

    x = noise(2, 3)
    (out,) = _arrays(x.shape, build, tmp_path / "any.mlmodel", exact=True).run({"x": x}).values()
    np.testing.assert_allclose(out, torch.softmax(torch.from_numpy(x.T.reshape(2, 3)), 1), rtol=1e-5)


def test_slices_keep_what_their_masks_say(tmp_path: Path) -> None:
    def build(builder: Any) -> None:
        builder.add_slice_static(
            "s", "x", "y", [0, 1, 2], [0, 4, 0], [1, 2, 1], [True, False, False], [True, False, True],
            squeeze_masks=[False, False, False],
        )  # fmt: skip

    x = noise(2, 5, 6)
    (out,) = _arrays(x.shape, build, tmp_path / "slice.mlmodel", exact=True).run({"x": x}).values()
    np.testing.assert_array_equal(out, x[:, 1:4:2, 2:])


def test_a_layer_that_is_not_modelled_is_named(tmp_path: Path) -> None:
    def build(builder: Any) -> None:
        builder.add_activation("a", "RELU", "x", "a")
        builder.add_reorganize_data("space", "a", "y", mode="SPACE_TO_DEPTH", block_size=2)

    program = _arrays((2, 4, 4), build, tmp_path / "other.mlmodel")
    assert program.unsupported == ("reorganizeData",)
    with pytest.raises(UnsupportedOperatorError, match="reorganizeData"):
        program.run({"x": noise(2, 4, 4)})


def test_weights_that_are_cut_short_are_refused(classifier: Any, tmp_path: Path) -> None:
    spec = type(classifier).FromString(classifier.SerializeToString())
    del spec.neuralNetworkClassifier.layers[0].convolution.weights.floatValue[5:]
    with pytest.raises(BadInputError, match="5 weights where its sizes say 162"):
        _saved(spec, tmp_path / "short.mlmodel")
    spec.neuralNetworkClassifier.layers[0].convolution.outputChannels = 1 << 40
    with pytest.raises(BadInputError, match="too large"):
        _saved(spec, tmp_path / "huge.mlmodel")


def test_the_shared_classifier_of_others_runs(shared: Path) -> None:
    program = load_program(shared / "data" / "foreign" / "SqueezeNetInt8LUT.mlmodel")
    assert program.operators["conv"] == 26
    pixels = np.full((1, 3, 227, 227), 127, np.uint8)
    result = program.run({"image": pixels})
    shares = result["classLabelProbs"]
    assert isinstance(shares, dict)
    assert len(shares) == 997  # three names of ImageNet stand for two classes each, and a dictionary has each once
    assert 0.99 < sum(shares.values()) <= 1 + 1e-4
