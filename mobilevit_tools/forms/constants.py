"""Compute what a program computes from its weights alone, once, and store the result as a constant of it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, count
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.export.graph_signature import InputKind, InputSpec, TensorArgument
from torch.fx import GraphModule, Node

from mobilevit_tools.forms._base import Running, mutates
from mobilevit_tools.precision.execution import moves_values, source

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_aten = torch.ops.aten
_PERHAPS_VIEWS = frozenset(
    {_aten.reshape.default, _aten.contiguous.default, _aten.to.dtype, _aten.to.device, _aten.flatten.using_ints}
)
_FILLED: Mapping[Any, float | None] = MappingProxyType(
    {
        _aten.zeros_like.default: 0,
        _aten.ones_like.default: 1,
        _aten.full_like.default: None,
        _aten.new_zeros.default: 0,
        _aten.new_ones.default: 1,
        _aten.new_full.default: None,
    }
)
"""Operators that take a shape or a type from their first argument, and nothing else, with what they fill in; None where
that is their last argument."""
MAX_ELEMENTS = 1 << 24
"""The largest constant that is computed; a larger one stays in the program as its recipe."""


def fold_constants(program: ExportedProgram, *, moved: bool = False, most_axes: int | None = None) -> int:
    """Store what a program computes from parameters, buffers and constants alone, in place.

    What is changed in place, and what is made of it, stays, as do the operators by which quantized weights are read.

    Args:
        program: A traced program.
        moved: Store weights that are only moved, too. By default they stay as they are, for what reads them may be
            operators with a weight.
        most_axes: Store those that are moved from more axes than these.

    Returns:
        How many constants were stored.
    """
    _detach_fillings(program)
    constants = constant_nodes(program)
    ends = [
        node
        for node in constants
        if node.op == "call_function"
        and isinstance(node.meta.get("val"), Tensor)
        and node.meta["val"].numel() <= MAX_ELEMENTS
        and (moved or source(node).op != "placeholder" or _has_more(source(node), most_axes))
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


def _has_more(node: Node, most_axes: int | None) -> bool:
    return most_axes is not None and node.meta["val"].dim() > most_axes


def stored_name(node: Node) -> str:
    """Return the name that the value of ``node`` gets as a constant."""
    return f"{node.name}_folded"


def constant_nodes(program: ExportedProgram) -> dict[Node, None]:
    """Return, in order, the nodes that depend on no input, and on nothing random or changed in place."""
    signature = program.graph_signature
    changing = {*signature.user_inputs, *(spec.arg.name for spec in _mutated(program))}
    written = _written(program)
    found: dict[Node, None] = {}
    for node in program.graph.nodes:
        if node in written:
            continue
        fixed = node.op == "placeholder" and node.name not in changing
        computed = (
            node.op == "call_function"
            and getattr(node.target, "namespace", "aten") in {"aten", "prims"}
            and torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ())
            and all(each in found for each in node.all_input_nodes)
        )
        if fixed or computed:
            found[node] = None
    return found


def stored_values(program: ExportedProgram) -> dict[str, Tensor]:
    """Return the parameters, buffers and constants of a program by the names of the nodes that hold them."""
    stored = {**program.constants, **program.state_dict}
    return {
        spec.arg.name: stored[spec.target]
        for spec in program.graph_signature.input_specs
        if spec.target is not None and spec.target in stored
    }


def constants_changed_in_place(program: ExportedProgram) -> bool:
    """Tell whether a program changes in place what it makes of constants alone, such as a mask of zeros."""
    names = set(program.graph_signature.user_inputs)
    fed: set[Node] = set()
    for node in program.graph.nodes:
        reads = () if _filling(node) is not None else node.all_input_nodes
        if (node.op == "placeholder" and node.name in names) or any(each in fed for each in reads):
            fed.add(node)
    return any(node not in fed for node in _written(program))


def _filling(node: Node) -> Any:
    """Return the number of which a tensor is made like another one; None where it is not, or of no known size."""
    if node.target not in _FILLED or not all(isinstance(size, int) for size in node.meta["val"].shape):
        return None
    filling = _FILLED[node.target]
    number = node.args[-1] if filling is None else filling
    return None if isinstance(number, Node) else number


def _detach_fillings(program: ExportedProgram) -> None:
    """Write tensors of one number that are only made like another one without that one, in place."""
    found = [(node, number) for node in program.graph.nodes if (number := _filling(node)) is not None]
    for node, number in found:
        value = node.meta["val"]
        with program.graph.inserting_before(node):
            filled = program.graph.call_function(
                _aten.full.default, (list(value.shape), number), {"dtype": value.dtype, "device": value.device}
            )
        filled.meta = dict(node.meta)
        node.replace_all_uses_with(filled)
        program.graph.erase_node(node)
    if found:
        program.graph_module.recompile()


def _written(program: ExportedProgram) -> set[Node]:
    """Return the nodes that change tensors in place, the tensors that they change and those that these are views of."""
    found: set[Node] = set()
    for node in program.graph.nodes:
        if node.op == "call_function" and mutates(node):
            each: Any = node
            while isinstance(each, Node):
                found.add(each)
                shares = each.op == "call_function" and (mutates(each) or _shares_memory(each))
                each = each.args[0] if shares and each.args else None
    return found


def _shares_memory(node: Node) -> bool:
    """Tell whether a result may be a view of the first argument; some operators are views where they can be."""
    schema = getattr(node.target, "_schema", None)
    return schema is None or not schema.returns or moves_values(node) or node.target in _PERHAPS_VIEWS


def _mutated(program: ExportedProgram) -> list[InputSpec]:
    targets = set(program.graph_signature.buffers_to_mutate.values())
    return [spec for spec in program.graph_signature.input_specs if spec.target in targets]


class _Values(Running):
    """Runs those nodes of a program that depend on its constants alone."""

    def __init__(self, program: ExportedProgram, constant: set[Node]) -> None:
        super().__init__(GraphModule(program.graph_module, program.graph))
        self.constant = constant
        self.stored = stored_values(program)

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
    node.target = node.name  # which differs from the name that was asked for where it is taken
    node.meta["val"] = like.contiguous()
    taken = {spec.target for spec in specs}
    target = next(each for each in chain([node.name], map(f"{node.name}_{{}}".format, count())) if each not in taken)
    specs.insert(place, InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(node.name), target, None))
    program.constants[target] = value
    return node
