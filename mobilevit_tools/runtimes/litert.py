"""LiteRT's models in its interpreter, on the CPU with XNNPACK."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from mobilevit_tools.data.contract import METADATA_KEY
from mobilevit_tools.errors import BadInputError, first_line
from mobilevit_tools.runtimes._base import OperatorUse, Session, TensorInfo, check_input, numpy_type
from mobilevit_tools.runtimes.litert_files import read_contract
from mobilevit_tools.runtimes.litert_operators import Operators, read_operators
from mobilevit_tools.runtimes.pieces import Piece
from mobilevit_tools.wording import number_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


class LitertSession(Session):
    """A model loaded in LiteRT's interpreter; its first signature, where it has several."""

    def __init__(self, path: Path, threads: int) -> None:
        self._path = path
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
            inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
            names = self._names()
        except (ValueError, RuntimeError, KeyError) as error:  # the interpreter raises all of them for one reason
            raise self._unloadable(error) from error
        self.inputs = tuple(_info(each, names) for each in inputs)
        self.outputs = tuple(_info(each, names) for each in outputs)
        self._input_index = inputs[0]["index"] if inputs else 0
        self._output_indices = tuple(each["index"] for each in outputs)
        self.keep_metadata({METADATA_KEY: read_contract(path)})
        self.notes = (self._delegated(),)

    def _unloadable(self, error: Exception) -> BadInputError:
        return BadInputError(
            f"{self._path} cannot be loaded by LiteRT: {first_line(error)}", code="unloadable_artifact"
        )

    def _names(self) -> dict[int, str]:
        """Return the names that the signature gives to tensors, by their indices."""
        names: dict[int, str] = {}
        for signature in list(self._interpreter.get_signature_list())[:1]:
            runner = self._interpreter.get_signature_runner(signature)
            for details in (runner.get_input_details(), runner.get_output_details()):
                names |= {int(each["index"]): str(name) for name, each in details.items()}
        return names

    @cached_property
    def _operators(self) -> Operators:
        try:
            return read_operators(self._path)
        except (ValueError, RuntimeError, KeyError) as error:
            raise self._unloadable(error) from error

    def _delegated(self) -> str:
        known = self._operators
        total, outside = sum(use.count for use in known.uses), sum(known.outside.values())
        return f"XNNPACK takes {total - outside} of its {total} operators here, in {number_of(known.calls, 'calls')}."

    def _bind(self, array: NDArray[Any]) -> None:
        check_input(self.inputs, array)
        self._interpreter.set_tensor(self._input_index, np.ascontiguousarray(array, dtype=numpy_type(self.inputs[0])))

    def prepare(self, array: NDArray[Any]) -> Callable[[], object]:
        """Bind one input; see the base class."""
        self._bind(array)
        return self._invoke

    def run(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """Run on one input; see the base class."""
        self._bind(array)
        self._invoke()
        return [self._interpreter.get_tensor(index) for index in self._output_indices]

    def _invoke(self) -> None:
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise BadInputError(f"{self._path} fails when it is run: {first_line(error)}") from error

    def operators(self) -> dict[str, int]:
        """Count the operators by type; see the base class."""
        return {use.type: use.count for use in self._operators.uses}

    def operator_uses(self) -> tuple[OperatorUse, ...]:
        """Tell of each operator type in which precisions it computes, and how much; see the base class."""
        return self._operators.uses

    def pieces(self) -> tuple[Piece, ...]:
        """Tell what XNNPACK takes over; see the base class."""
        return self._operators.pieces

    def close(self) -> None:
        """Release the interpreter."""
        del self._interpreter


def open_session(path: Path, *, threads: int) -> LitertSession:
    """Load a model.

    Raises:
        BadInputError: It is not a model that the interpreter can load.
    """
    return LitertSession(path, threads)


def _info(details: dict[str, Any], names: dict[int, str]) -> TensorInfo:
    shape = tuple(None if size < 0 else int(size) for size in details["shape_signature"])
    name = names.get(int(details["index"]), str(details["name"]))
    return TensorInfo(name=name, shape=shape, dtype=np.dtype(details["dtype"]).name)
