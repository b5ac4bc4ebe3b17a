"""Non-maximum suppression at the end of an ONNX graph, as :mod:`mobilevit_tools.tasks.suppression` does it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.tasks.suppression import LEAST_SCORE, MOST_DETECTIONS, MOST_OVERLAP

OUTPUT = "detections"
_PREFIX = "mvt_suppression_"


def suppress(model: onnx.ModelProto, boxes: str, scores: str) -> None:
    """Replace boxes (B, N, 4) and scores (B, N, classes) among a model's outputs by what is detected.

    The output is (B, K, 6), the best first: left, top, right, bottom, score and class. Rows behind the last detection
    have a score of 0. Scores that were dropped become 0 in place, so that all shapes are known.

    Raises:
        BadInputError: The model does not say how many boxes and classes there are.
    """
    graph = model.graph
    shape = next(value for value in graph.output if value.name == scores).type.tensor_type.shape.dim
    count, classes = shape[1].dim_value, shape[2].dim_value
    if not count or not classes:
        raise BadInputError(
            "The number of boxes is not constant, which --nms requires.", hint="Omit --nms.", code="no_boxes"
        )
    most = min(MOST_DETECTIONS, count * classes)
    made = _Nodes()
    # A half-precision graph may give half, which ONNX Runtime does not suppress.
    corners = made("Cast", boxes, to=TensorProto.FLOAT)
    by_class = made("Transpose", made("Cast", scores, to=TensorProto.FLOAT), perm=[0, 2, 1])
    kept = made(
        "NonMaxSuppression",
        corners,
        by_class,
        made.constant([most], np.int64),
        made.constant([MOST_OVERLAP], np.float32),
        made.constant([LEAST_SCORE], np.float32),
    )
    zeros = made("ConstantOfShape", made("Shape", by_class), value=numpy_helper.from_array(np.zeros(1, np.float32)))
    alive = made("ScatterND", zeros, kept, made("GatherND", by_class, kept))
    flat = made("Reshape", alive, made.constant([0, count * classes], np.int64))
    best, places = made.several("TopK", flat, made.constant([most], np.int64), outputs=2, axis=1)
    total = made.constant([count], np.int64)
    kinds, rows = made("Div", places, total), made("Mod", places, total)
    index = made("Expand", made("Unsqueeze", rows, made.constant([2], np.int64)), made.constant([1, 1, 4], np.int64))
    chosen = made("GatherElements", corners, index, axis=1)
    # Boxes of rows without a detection are of any place: make them empty.
    last = made.constant([2], np.int64)
    score = made("Unsqueeze", best, last)
    found = made("Cast", made("Greater", score, made.constant([0], np.float32)), to=TensorProto.FLOAT)
    kind = made("Cast", made("Unsqueeze", kinds, last), to=TensorProto.FLOAT)
    parts = [made("Mul", chosen, found), score, made("Mul", kind, found)]
    graph.node.extend(made.nodes)
    graph.node.append(helper.make_node("Concat", parts, [OUTPUT], axis=2))
    graph.initializer.extend(made.constants)
    batch = graph.input[0].type.tensor_type.shape.dim[0]
    size = [batch.dim_param or batch.dim_value, most, 6]
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, size))


class _Nodes:
    """Makes nodes one by one, each with a name of its own."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def __call__(self, operator: str, *inputs: str, **attributes: object) -> str:
        """Return the output of a new node."""
        return self.several(operator, *inputs, outputs=1, **attributes)[0]

    def several(self, operator: str, *inputs: str, outputs: int, **attributes: object) -> list[str]:
        """Return the outputs of a new node."""
        names = [f"{_PREFIX}{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names

    def constant(self, values: Sequence[float], dtype: type[np.generic]) -> str:
        """Return the name of a new constant."""
        name = f"{_PREFIX}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name
