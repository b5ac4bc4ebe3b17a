"""Which operations of a Core ML package a traced operator became.

The converter passes the debug handle of a traced node on to the operations that it makes of it, through its own passes
as well, so that is how operations are told apart: names are not, because passes fuse and rename, nor are weights,
because a norm or a factor that is fused into an operator changes them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from coremltools.converters.mil.mil.scope import ScopeSource

from mobilevit_tools.errors import MvtError
from mobilevit_tools.precision.execution import moves_values, source

if TYPE_CHECKING:
    import coremltools as ct
    from torch import nn
    from torch.export import ExportedProgram
    from torch.fx import Node

HANDLE = "debug_handle"
_MULTIPLYING = frozenset({"conv", "conv_transpose", "einsum", "linear", "matmul"})
"""What an operator with a weight becomes; norms and factors are fused into these, and never the other way round."""


def give_handles(program: ExportedProgram) -> None:
    """Number the nodes of a program about to be converted."""
    for handle, node in enumerate(program.graph.nodes, start=1):
        node.meta[HANDLE] = handle


def handle_of(operation: Any) -> int | None:
    """Return the handle of the node that an operation was made of; None where the converter made it by itself."""
    handles = operation.scopes.get(ScopeSource.EXIR_DEBUG_HANDLE)
    return handles[0] if handles else None


def standing_for(node: Node, present: Collection[int]) -> list[Node]:
    """Return ``node``, or the operators that read it where none of the handles ``present`` is its own."""
    if node.meta[HANDLE] in present or not node.users:
        return [node]
    return [found for user in node.users for found in standing_for(user, present)]


def made_of(package: ct.models.MLModel, nodes: Collection[Node]) -> tuple[str, ...]:
    """Return the names of the operations of a package that stand for traced operators, in their order."""
    operations = package._mil_program.functions["main"].operations
    present = {handle for each in operations if (handle := handle_of(each))}
    wanted = {found.meta[HANDLE] for node in nodes for found in standing_for(node, present)}
    return tuple(each.name for each in operations if handle_of(each) in wanted)


def operations_of(
    package: ct.models.MLModel, program: ExportedProgram, module: nn.Module, weights: Collection[str]
) -> tuple[str, ...]:
    """Return the names of the operations that multiply by the given weights.

    Args:
        package: Converted from ``program``.
        program: Its nodes had handles when it was converted.
        module: What was traced.
        weights: Names of parameters of ``module``.

    Raises:
        MvtError: The package has no operation for a weight.
    """
    operations = [each for each in package._mil_program.functions["main"].operations if each.op_type in _MULTIPLYING]
    present = {handle for each in operations if (handle := handle_of(each))}
    parameters = program.graph_signature.inputs_to_parameters
    nodes = list(program.graph.nodes)
    found: set[int] = set()
    for name in weights:
        weight = module.get_parameter(name)
        # Of a parameter with several names, the program may have others than the module.
        held = {node for node in nodes if program.state_dict.get(parameters.get(node.name, "")) is weight}
        readers = [
            node
            for node in nodes
            if not moves_values(node) and any(source(each) in held for each in node.all_input_nodes)
        ]
        handles = {each.meta[HANDLE] for node in readers for each in standing_for(node, present)} & present
        if not handles:
            raise MvtError(f"coremltools produced no operation for {name}, which must stay in floating point.")
        found |= handles
    return tuple(each.name for each in operations if handle_of(each) in found)
