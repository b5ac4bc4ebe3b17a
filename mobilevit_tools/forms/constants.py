"""Compute what a program computes from its weights alone, once, and store the result as a constant of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.export.graph_signature import InputKind, InputSpec, TensorArgument
from torch.fx import GraphModule, Interpreter, Node

from mobilevit_tools.precision.execution import source

if TYPE_CHECKING:
    from torch.export import ExportedProgram

MAX_ELEMENTS = 1 << 24
"""The largest constant that is computed; a larger one stays in the program as its recipe."""


def fold_constants(program: ExportedProgram) -> int:
    """Store what a functional program computes from parameters, buffers and constants alone, in place.

    Weights that are only moved stay as they are, for what reads them are operators with a weight.

    Returns:
        How many constants were stored.
    """
    constants = constant_nodes(program)
    ends = [
        node
        for node in constants
        if node.op == "call_function"
        and isinstance(node.meta.get("val"), Tensor)
        and node.meta["val"].numel() <= MAX_ELEMENTS
        and source(node).op != "placeholder"
        and any(user not in constants for user in node.users)
    ]
    if not ends:
        return 0
    values = _Values(program, set(constants)).of(ends)
    for node in ends:
        node.replace_all_uses_with(_store(program, stored_name(node), values[node], node.meta["val"]))
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    return len(ends)


def stored_name(node: Node) -> str:
    """Return the name that the value of ``node`` gets as a constant."""
    return f"{node.name}_folded"


def constant_nodes(program: ExportedProgram) -> dict[Node, None]:
    """Return, in order, the nodes that depend on no input, and on nothing random or changed in place."""
    signature = program.graph_signature
    changing = {*signature.user_inputs, *(spec.arg.name for spec in _mutated(program))}
    found: dict[Node, None] = {}
    for node in program.graph.nodes:
        fixed = node.op == "placeholder" and node.name not in changing
        computed = (
            node.op == "call_function"
            and torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ())
            and all(each in found for each in node.all_input_nodes)
        )
        if fixed or computed:
            found[node] = None
    return found


def _mutated(program: ExportedProgram) -> list[InputSpec]:
    targets = set(program.graph_signature.buffers_to_mutate.values())
    return [spec for spec in program.graph_signature.input_specs if spec.target in targets]


class _Values(Interpreter):
    """Runs those nodes of a program that depend on its constants alone."""

    def __init__(self, program: ExportedProgram, constant: set[Node]) -> None:
        super().__init__(GraphModule(program.graph_module, program.graph))
        self.constant = constant
        stored = {**program.constants, **program.state_dict}
        self.stored = {
            spec.arg.name: stored[spec.target]
            for spec in program.graph_signature.input_specs
            if spec.target is not None and spec.target in stored
        }

    @torch.no_grad()
    def of(self, nodes: list[Node]) -> dict[Node, Tensor]:
        wanted = set(nodes)
        for node in self.module.graph.nodes:  # type: ignore[union-attr]
            if node in self.constant:
                self.env[node] = self.stored[node.name] if node.op == "placeholder" else self.run_node(node)
        return {node: cast("Tensor", self.env[node]).detach().clone().contiguous() for node in wanted}


def _store(program: ExportedProgram, name: str, value: Tensor, like: Any) -> Node:
    """Add a constant to a program, behind those that it has and before its inputs."""
    specs = program.graph_signature.input_specs
    place = next((i for i, spec in enumerate(specs) if spec.kind == InputKind.USER_INPUT), len(specs))
    placeholders = [node for node in program.graph.nodes if node.op == "placeholder"]
    with program.graph.inserting_before(placeholders[place]):
        node: Node = program.graph.placeholder(name)
    node.meta["val"] = like
    specs.insert(place, InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(node.name), node.name, None))
    program.constants[node.name] = value
    return node
