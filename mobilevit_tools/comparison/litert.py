"""The weights that a LiteRT model stores, under the names of its tensors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from mobilevit_tools.comparison.stored import NOT_WEIGHTS, Stored, Weight, weight
from mobilevit_tools.errors import BadInputError, first_line

_TYPES = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}


def read_weights(path: Path) -> Stored:
    """Read the constants of a model.

    Raises:
        BadInputError: It cannot be read.
    """
    try:
        weights = tuple(_stored(schema.Model.GetRootAs(path.read_bytes())))
    except Exception as error:  # its decoder raises whatever a damaged file leads it to
        raise BadInputError(
            f"{path} cannot be read as a LiteRT model: {first_line(error)}", code="unloadable_artifact"
        ) from error
    return weights, ("The converter renames weights, so they are compared by content.",)


def _stored(model: Any) -> Iterator[Weight]:
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for tensor in map(graph.Tensors, range(graph.TensorsLength())):
            element = _TYPES.get(tensor.Type(), str(tensor.Type()))
            buffer = model.Buffers(tensor.Buffer())
            if buffer.DataLength() and element not in NOT_WEIGHTS:
                shape = tuple(map(int, tensor.ShapeAsNumpy())) if tensor.ShapeLength() else ()
                yield weight("", element, shape, buffer.DataAsNumpy().tobytes())
