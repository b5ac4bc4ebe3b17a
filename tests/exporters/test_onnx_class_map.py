from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

import mobilevit_tools as mvt
from mobilevit_tools.exporters.onnx_class_map import resize_channels_last
from tests.tasks.nets import CARD, LABELS, SIZE, Listed, segmenter


def _model(*, sized: bool = True, shared: bool = False, **attributes: object) -> onnx.ModelProto:
    """Resize (1, 5, 3, 4) to (1, 5, 6, 12), and give the class of each pixel."""
    given = np.array([1, 5, 6, 12], np.int64) if sized else np.array([1, 1, 2, 3], np.float32)
    inputs = ["x", "", "", "given"] if sized else ["x", "", "given"]
    said = {"mode": "linear", "coordinate_transformation_mode": "half_pixel", **attributes}
    nodes = [
        helper.make_node("Resize", inputs, ["resized"], **said),
        helper.make_node("ArgMax", ["resized"], ["classes"], axis=1, keepdims=0),
    ]
    outputs = [helper.make_tensor_value_info("classes", TensorProto.INT64, [1, 6, 12])]
    if shared:
        outputs.append(helper.make_tensor_value_info("resized", TensorProto.FLOAT, [1, 5, 6, 12]))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 5, 3, 4])],
        outputs,
        [numpy_helper.from_array(given, "given")],
        value_info=[] if shared else [helper.make_tensor_value_info("resized", TensorProto.FLOAT, [1, 5, 6, 12])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["classes"], {"x": x})[0]


@pytest.mark.parametrize("sized", [True, False])
def test_the_map_is_the_same_with_channels_last(sized: bool) -> None:
    model = _model(sized=sized)
    x = np.random.default_rng(0).standard_normal((1, 5, 3, 4)).astype(np.float32)
    wanted = functional.interpolate(torch.from_numpy(x), (6, 12), mode="bilinear").argmax(1).numpy()
    assert (_run(model, x) == wanted).all()
    assert resize_channels_last(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert (_run(model, x) == wanted).all()
    assert [node.op_type for node in model.graph.node] == ["Transpose", "Gather", "Resize", "ArgMax"]


@pytest.mark.parametrize(
    "others", [{"mode": "nearest"}, {"shared": True}, {"antialias": 1}], ids=["nearest", "shared", "antialias"]
)
def test_others_stay_as_they_are(others: dict[str, object]) -> None:
    model = _model(**others)
    before = model.SerializeToString()
    assert resize_channels_last(model) == 0
    assert model.SerializeToString() == before


def test_an_export_has_it(tmp_path: Path) -> None:
    result = mvt.export(
        Listed(segmenter()),
        name="net",
        card=CARD,
        targets="onnx",
        output=tmp_path,
        task="segment",
        upsample=True,
        class_map=True,
        labels=LABELS,
    )
    graph = onnx.load(result.artifacts[0].path).graph
    largest = next(node for node in graph.node if node.op_type == "ArgMax")
    assert next(each.i for each in largest.attribute if each.name == "axis") == 3
    assert result.artifacts[0].parity.status == "passed"
    assert [each.dim_value for each in graph.output[0].type.tensor_type.shape.dim][1:] == list(SIZE)
