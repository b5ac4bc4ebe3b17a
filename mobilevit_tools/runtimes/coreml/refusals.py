"""What Core ML refuses to load although the format can express it, as far as public reports show."""

from __future__ import annotations

from collections.abc import Iterable

from .mil import Constant, Graph, Operation

MAX_RANK = 5


def refusals(graph: Graph) -> tuple[str, ...]:
    """Why Core ML does not load a program, a sentence for each operation that it stumbles over.

    - A border of other values than a constant is possible around the last two dimensions only; Core ML says "Padding
      for more than two dimensions only supports `constant` mode" (coremltools issues 2571 and 2576, pull request 2701).
    - No value may have more than five dimensions (coremltools issues 1723 and 2291).
    """
    found = [
        f"its input {name!r} has {len(declared.shape)} dimensions"
        for name, declared in graph.inputs.items()
        if len(declared.shape) > MAX_RANK
    ]
    return (*found, *(reason for operation in graph.walk() for reason in _reasons(graph, operation)))


def _reasons(graph: Graph, operation: Operation) -> Iterable[str]:
    if operation.type == "pad" and _pads_outer_dimensions(graph, operation):
        yield (
            f"the operation {operation.name!r} pads more than the last two dimensions with other values than a constant"
        )
    for name, declared in operation.outputs:
        if len(declared.shape) > MAX_RANK:
            yield f"the operation {operation.name!r} makes {name!r} with {len(declared.shape)} dimensions"


def _pads_outer_dimensions(graph: Graph, operation: Operation) -> bool:
    mode, amounts = (constant(graph, operation, name) for name in ("mode", "pad"))
    if mode is None or amounts is None or str(mode.value.reshape(-1)[0]) == "constant":
        return False
    return bool(amounts.value.reshape(-1)[:-4].any())


def constant(graph: Graph, operation: Operation, parameter: str) -> Constant | None:
    """Return the constant that an operation takes for a parameter; None where it takes none."""
    argument = next(iter(operation.inputs.get(parameter, ())), None)
    return graph.constants.get(argument) if isinstance(argument, str) else argument
