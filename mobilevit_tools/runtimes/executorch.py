"""ExecuTorch programs in the ExecuTorch runtime's Python _C."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from executorch.extension.pybindings import _C

from mobilevit_tools.data.contract import METADATA_KEY, METHOD_NAME
from mobilevit_tools.errors import BadInputError, MvtError, first_line
from mobilevit_tools.runtimes._base import (
    DELEGATE,
    Session,
    TensorInfo,
    UnsupportedOperatorError,
    check_input,
    numpy_type,
)
from mobilevit_tools.runtimes.executorch_file import decode
from mobilevit_tools.runtimes.pieces import Piece, Step, pieces_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

METHOD = "forward"

_DTYPES = {"Float": "float32", "Half": "float16", "Double": "float64", "Long": "int64", "Int": "int32", "Byte": "uint8"}


class ExecutorchSession(Session):
    """A program loaded in the ExecuTorch runtime.

    The runtime has one thread pool for the whole process: the session opened last sets its size.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self._path = path
        with path.open("rb") as file:
            if file.read(8)[4:6] != b"ET":
                raise BadInputError(
                    f"{path} is not an ExecuTorch program.",
                    hint="Pass a .pte file that `mvt export` or ExecuTorch wrote.",
                    code="unloadable_artifact",
                )
        _C._unsafe_reset_threadpool(threads)
        try:
            # The module keeps the file's bytes alive for as long as its methods run.
            self._module = _C._load_for_executorch(str(path))
            meta = self._module.method_meta(METHOD)
            self.inputs = tuple(_info(f"input{i}", meta.input_tensor_meta(i)) for i in range(meta.num_inputs()))
            self.outputs = tuple(_info(f"output{i}", meta.output_tensor_meta(i)) for i in range(meta.num_outputs()))
        except IndexError as error:
            raise BadInputError(
                f"{path} has an input or output that is not a tensor.", code="unloadable_artifact"
            ) from error
        except RuntimeError as error:
            raise BadInputError(
                f"{path} cannot be loaded by the ExecuTorch runtime: {first_line(error)}",
                hint="The file may be truncated or need a backend that this runtime does not have.",
                code="unloadable_artifact",
            ) from error
        self.keep_metadata({METADATA_KEY: self._stored_contract()})
        if self.contract is not None and len(self.contract.outputs) == len(self.outputs):  # a program keeps no names
            named = zip(self.outputs, self.contract.outputs, strict=True)
            self.outputs = tuple(replace(info, name=name) for info, name in named)

    def _stored_contract(self) -> str | None:
        if METHOD_NAME not in self._module.method_names():
            return None
        try:
            (stored,) = self._module.run_method(METHOD_NAME, ())
        except (RuntimeError, ValueError) as error:  # it fails, or returns several values, or bytes that are no text
            raise BadInputError(f"The contract of {self._path} cannot be read: {first_line(error)}") from error
        if not isinstance(stored, str):
            raise BadInputError(f"The contract of {self._path} is not text.")
        return stored

    def _tensors(self, array: NDArray[Any]) -> tuple[torch.Tensor]:
        check_input(self.inputs, array)
        return (torch.from_numpy(np.ascontiguousarray(array, dtype=numpy_type(self.inputs[0]))),)

    def prepare(self, array: NDArray[Any]) -> Callable[[], object]:
        """Bind one input; see the base class."""
        tensors = self._tensors(array)
        module = self._module

        def call() -> object:
            try:
                return module.run_method(METHOD, tensors, clone_outputs=False)
            except RuntimeError as error:
                raise self._failure(error) from error

        return call

    def run(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """Run on one input; see the base class."""
        tensors = self._tensors(array)
        try:
            return [output.numpy() for output in self._module.run_method(METHOD, tensors)]
        except RuntimeError as error:
            raise self._failure(error) from error

    def _failure(self, error: RuntimeError) -> MvtError:
        registered = set(_C._get_registered_backend_names())
        delegates = {name for name in self.operators() if name.startswith(DELEGATE)}
        if missing := delegates - {DELEGATE + name for name in registered}:
            return UnsupportedOperatorError(tuple(sorted(missing)))
        return BadInputError(f"{self._path} fails at run time: {first_line(error)}")

    def operators(self) -> dict[str, int]:
        """Count the instructions by operator, calls into a backend as ``delegate:<backend>``; see the base class."""
        return dict(sorted(Counter(name for name, _ in self._instructions).items()))

    def pieces(self) -> tuple[Piece, ...]:
        """Tell calls and what runs between them; see the base class. What is inside of a call, the file hides.

        Values are made once, and so by the first instruction that has them.
        """
        seen: set[Hashable] = set()
        steps = []
        for name, values in self._instructions:
            delegated = name.startswith(DELEGATE)
            fresh = values - seen
            steps.append(Step(delegated, {} if delegated else {name: 1}, None, values - fresh, fresh))
            seen |= fresh
        return pieces_of(steps) if any(step.delegated for step in steps) else ()

    @cached_property
    def _instructions(self) -> list[tuple[str, frozenset[Hashable]]]:
        """The operators and calls in order of execution, each with the tensors that it reads and makes."""
        try:
            program = decode(self._path).program
            plan = next(plan for plan in program.execution_plan if plan.name == METHOD)
            return list(_instructions(plan))
        except Exception as error:  # the runtime may load what the decoder, written for valid files, trips over
            raise BadInputError(
                f"{self._path} cannot be decoded: {first_line(error)}", code="unloadable_artifact"
            ) from error

    def close(self) -> None:
        """Release the program."""
        del self._module


def open_session(path: Path, *, threads: int) -> ExecutorchSession:
    """Load an ExecuTorch program.

    Raises:
        BadInputError: It is not a program that this runtime can load.
    """
    return ExecutorchSession(path, threads)


def _instructions(plan: Any) -> Iterator[tuple[str, frozenset[Hashable]]]:
    for chain in plan.chains:
        for instruction in chain.instructions:
            call = instruction.instr_args
            kind = type(call).__name__
            if kind == "KernelCall":
                operator = _entry(plan.operators, call.op_index)
                name = f"{operator.name}.{operator.overload}" if operator.overload else operator.name
            elif kind == "DelegateCall":
                name = f"{DELEGATE}{_entry(plan.delegates, call.delegate_index).id}"
            else:
                continue
            yield name, frozenset(_tensors_of(plan.values, call.args))


def _tensors_of(values: Sequence[Any], places: Iterable[int]) -> Iterator[int]:
    """Yield the places of the tensors among values, those in lists of tensors among them."""
    for place in places:
        value = _entry(values, place).val
        kind = type(value).__name__
        if kind == "Tensor":
            yield place
        elif kind == "TensorList":
            yield from value.items


def _entry(entries: Sequence[Any], index: int) -> Any:
    if index < 0:  # which would count from the end
        raise IndexError(f"entry {index} of {len(entries)}")
    return entries[index]


def _info(name: str, meta: _C.TensorInfo) -> TensorInfo:
    # The type is an integer of the C++ enum, named only in the representation.
    dtype = repr(meta).partition("dtype=")[2].partition(",")[0]
    return TensorInfo(name=name, shape=tuple(meta.sizes()), dtype=_DTYPES.get(dtype, dtype.lower()))
