"""Core AI's assets in Apple's own runtime, which the wheel brings for Linux, too: there it computes on the CPU."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from coreai.authoring import AIModelAsset, AIProgram
from coreai.runtime import NDArray

from mobilevit_tools.errors import BadInputError, first_line
from mobilevit_tools.runtimes._base import OperatorUse, Session, TensorInfo, check_input, numpy_type
from mobilevit_tools.targets.registry import find_target

if TYPE_CHECKING:
    from numpy.typing import NDArray as Array

FUNCTION = "main"
_CONSTANT = "constant"
_PREFIXES = ("coreai.decomposable.", "coreai.")
_SHORT = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "f64": "fp64"}
_Result = TypeVar("_Result")


class CoreaiSession(Session):
    """An asset that is compiled and loaded, with an event loop of its own to call it in."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        try:
            self._asset = AIModelAsset.load(path)
            # Off Apple's systems an asset is not loaded as it is; this compiles it first.
            model = self._wait(self._stack.enter_async_context(self._asset.executable()))
            self._names = tuple(model.function_names)
            name = FUNCTION if FUNCTION in self._names or not self._names else self._names[0]
            self._function = model.load_function(name)
            self._read_signature()
            stored = self._asset.metadata.creator_defined_metadata
        except BadInputError:
            raise
        except Exception as error:  # the runtime raises RuntimeError, KeyError and ValueError for one reason
            raise BadInputError(
                f"{path} cannot be loaded by Core AI: {first_line(error)}",
                hint="It may be damaged, or made by another version of Core AI's beta: export it again.",
                code="unloadable_artifact",
            ) from error
        self.keep_metadata(stored)
        self.notes = tuple(self._tell())

    def _wait(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return self._loop.run_until_complete(work)

    def _read_signature(self) -> None:
        described = self._function.desc
        if described.state_names:
            raise BadInputError(f"{self._path} is stateful, which mvt does not support.")
        self.inputs = tuple(_info(name, described.input_descriptor(name)) for name in described.input_names)
        self.outputs = tuple(_info(name, described.output_descriptor(name)) for name in described.output_names)

    def _tell(self) -> list[str]:
        told = []
        if not find_target("coreai").on_own_system:
            told.append(
                "Apple's runtime runs on the CPU on this system: outputs are valid, latency is not representative."
            )
        if len(self._names) > 1:
            told.append(f"It has several functions ({', '.join(self._names)}); this is one of them.")
        return told

    def _arguments(self, array: Array[Any]) -> dict[str, NDArray]:
        check_input(self.inputs, array)
        return {self.inputs[0].name: NDArray(np.ascontiguousarray(array, dtype=numpy_type(self.inputs[0])))}

    def prepare(self, array: Array[Any]) -> Callable[[], object]:
        """Bind one input; see the base class."""
        arguments, function, wait = self._arguments(array), self._function, self._wait
        return lambda: wait(function(inputs=arguments))

    def run(self, array: Array[Any]) -> list[Array[Any]]:
        """Run on one input; see the base class."""
        arguments = self._arguments(array)
        try:
            results = self._wait(self._function(inputs=arguments))
        except Exception as error:  # as when it is loaded
            raise BadInputError(f"{self._path} fails at run time: {first_line(error)}") from error
        return [np.array(results[info.name].numpy()) for info in self.outputs]

    def operators(self) -> dict[str, int]:
        """Count the operators, constants aside; see the base class."""
        return {use.type: use.count for use in self.operator_uses()}

    def operator_uses(self) -> tuple[OperatorUse, ...]:
        """Tell of each operator type in which precisions it computes; see the base class."""
        found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        program = self._asset.program
        for operation in graph_of(program):
            if operation.results and (name := _short(operation.name)) != _CONSTANT:
                element = str(operation.results[0].type).rpartition("x")[2].partition(">")[0].rpartition("<")[2]
                found[name][_SHORT.get(element, element)] += 1
        return tuple(OperatorUse(name, found[name].total(), dict(found[name])) for name in sorted(found))

    def close(self) -> None:
        """Release the model and what it was compiled to."""
        del self._function
        self._wait(self._stack.aclose())
        self._loop.close()


def open_session(path: Path, *, threads: int) -> CoreaiSession:  # noqa: ARG001  # it has threads of its own
    """Load an asset.

    Raises:
        BadInputError: It is not an asset that this runtime can load.
    """
    return CoreaiSession(path)


def graph_of(program: AIProgram) -> list[Any]:
    """Return the operations of a program's function, as its compiler has them, for as long as the program lives."""
    graph = program._get_graph(FUNCTION)
    if graph is None:
        return []
    return [each.operation for each in graph.regions[0].blocks[0].operations]


def _short(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _info(name: str, described: Any) -> TensorInfo:
    return TensorInfo(name=name, shape=tuple(described.shape), dtype=described.dtype)
