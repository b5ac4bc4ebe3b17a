"""ONNX models in ONNX Runtime, on the CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort

from mobilevit_tools.errors import BadInputError, first_line
from mobilevit_tools.runtimes._base import Session, TensorInfo, check_input, numpy_type
from mobilevit_tools.runtimes.onnx_precise import precise_session

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NUMPY_NAMES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    **{
        f"tensor({name})": name
        for name in ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    },
}
_ERRORS_ONLY = 3


class OnnxSession(Session):
    """An ONNX model loaded in ONNX Runtime."""

    def __init__(self, path: Path, threads: int) -> None:
        self._path = path
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = precise_session(path, options)
            # A name or a value that is no UTF-8 shows only now.
            self.inputs = tuple(_info(node) for node in self._session.get_inputs())
            self.outputs = tuple(_info(node) for node in self._session.get_outputs())
            stored = dict(self._session.get_modelmeta().custom_metadata_map)
        except Exception as error:  # onnxruntime raises a dozen unrelated classes, all for one reason
            raise BadInputError(
                f"{path} cannot be loaded by ONNX Runtime: {first_line(error)}",
                hint="The file may be truncated, or need operators that this runtime does not have.",
                code="unloadable_artifact",
            ) from error
        self.keep_metadata(stored)

    def _feeds(self, array: NDArray[Any]) -> dict[str, NDArray[Any]]:
        check_input(self.inputs, array)
        return {self.inputs[0].name: np.ascontiguousarray(array, dtype=numpy_type(self.inputs[0]))}

    def prepare(self, array: NDArray[Any]) -> Callable[[], object]:
        """Bind one input; see the base class."""
        feeds = self._feeds(array)
        return lambda: self._session.run(None, feeds)

    def run(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """Run on one input; see the base class."""
        feeds = self._feeds(array)
        try:
            return [np.asarray(output) for output in self._session.run(None, feeds)]
        except Exception as error:  # as when it is loaded
            raise BadInputError(f"{self._path} fails at run time: {first_line(error)}") from error

    def operators(self) -> dict[str, int]:
        """Count operators by type; see the base class."""
        model = onnx.load(self._path, load_external_data=False)
        return dict(sorted(Counter(node.op_type for node in model.graph.node).items()))

    def close(self) -> None:
        """Release the session."""
        del self._session


def open_session(path: Path, *, threads: int) -> OnnxSession:
    """Load an ONNX model.

    Raises:
        BadInputError: It is not a model that ONNX Runtime can load.
    """
    return OnnxSession(path, threads)


def _info(node: ort.NodeArg) -> TensorInfo:
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorInfo(name=node.name, shape=shape, dtype=_NUMPY_NAMES.get(node.type, node.type))
