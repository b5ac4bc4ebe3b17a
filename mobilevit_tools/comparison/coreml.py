"""The weights that a Core ML package stores."""

from __future__ import annotations

from pathlib import Path

from mobilevit_tools.comparison.stored import NOT_WEIGHTS, Stored, weight


def read_weights(path: Path) -> Stored:
    """Read the constants of an ML Program, those that its compressed weights are made of among them."""
    from mobilevit_tools.runtimes.coreml.mil import Constant
    from mobilevit_tools.runtimes.coreml.program import load_program

    graph = load_program(path).graph
    constants = dict(graph.constants)
    for operation in graph.compressed:
        for key, arguments in operation.inputs.items():
            constants |= {f"{operation.name}.{key}": each for each in arguments if isinstance(each, Constant)}
    return tuple(
        weight(name, constant.element.name, constant.value.shape, constant.value.tobytes())
        for name, constant in constants.items()
        if constant.element.name not in NOT_WEIGHTS
    ), ()
