"""Store weights that a model computes in its forward pass: weight norm, standardised convolutions, scaled biases.

Quantizers take what is stored, and leave an operator whose weight is computed in floating point.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from mobilevit_tools.analysis.graph import module_path
from mobilevit_tools.double import InDouble
from mobilevit_tools.forms._base import prove_same
from mobilevit_tools.forms.constants import constant_nodes, fold_constants, stored_name
from mobilevit_tools.precision.execution import source
from mobilevit_tools.quantization.sensitivity import CONVOLUTIONS, WEIGHT_PLACES
from mobilevit_tools.rewrites.applied import AppliedRewrite

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_aten = torch.ops.aten
_BIAS_PLACES: Mapping[object, int] = MappingProxyType(
    {**dict.fromkeys(CONVOLUTIONS, 2), _aten.linear.default: 2, _aten.addmm.default: 0}
)
NAME = "computed_weights"
SUMMARY = "computed weights stored as constants"


def store_computed_weights(
    module: nn.Module, example: Tensor, *, free_batch: bool = False, program: ExportedProgram | None = None
) -> tuple[nn.Module, AppliedRewrite | None]:
    """Return ``module`` as it is where it computes no weight; else a traced copy with these weights as parameters.

    They are computed in float64 and rounded once, and the copy is proved against the module in float64 before that.
    Each gets the name of the layer that reads it, such as ``stem.conv.weight``.

    Args:
        module: In evaluation mode.
        example: An input (B, 3, H, W) of the artifact's size.
        free_batch: Leave the batch of the copy free; the example has two images or more then.
        program: What :func:`traced` gives for these, where it is known.

    Raises:
        MvtError: The copy does not compute what the module computes.
    """
    program = program or traced(module, example, free_batch=free_batch)
    if not any(_computed(program)):
        return module, None
    folded = program.run_decompositions({})
    computed = {stored_name(node) for node in _computed(folded)}
    _fold(program, folded, example)
    stored = folded.module(check_guards=False)
    stored.graph.eliminate_dead_code()
    plain = copy_of(stored, module)
    places = _name_weights(plain, computed)
    return plain, AppliedRewrite(NAME, SUMMARY, places, _count(module) - _count(plain))


def traced(module: nn.Module, example: Tensor, *, free_batch: bool) -> ExportedProgram:
    """Return the program of a module in evaluation mode, with a free batch or that of ``example``."""
    shapes = ({0: torch.export.Dim("batch", min=1)},) if free_batch else None
    return torch.export.export(module.eval(), (example,), dynamic_shapes=shapes, strict=False)


def copy_of(graph: GraphModule, module: nn.Module) -> GraphModule:
    """Return what was traced of ``module`` as a module that has train() and eval(), in evaluation mode."""
    plain = GraphModule(graph, graph.graph)
    if hasattr(module, "feature_channels"):
        plain.feature_channels = module.feature_channels
    return plain.eval()


def _computed(program: ExportedProgram) -> Iterator[Node]:
    """Yield what operators read as weight or bias and the program computes from parameters."""
    constants = constant_nodes(program)
    trained: set[Node] = set()
    parameters = program.graph_signature.inputs_to_parameters
    for node in constants:
        if node.name in parameters or any(each in trained for each in node.all_input_nodes):
            trained.add(node)
    for node in program.graph.nodes:
        for _, read in _reads(node):
            if read in trained and source(read).op == "call_function":
                yield read


def _reads(node: Node) -> Iterator[tuple[str, Node]]:
    for role, places in (("weight", WEIGHT_PLACES), ("bias", _BIAS_PLACES)):
        place = places.get(node.target)
        if place is not None and len(node.args) > place and isinstance(node.args[place], Node):
            yield role, cast("Node", node.args[place])


def _fold(program: ExportedProgram, folded: ExportedProgram, example: Tensor) -> None:
    """Fold ``folded``, the functional form of ``program``, in float64; prove it, and round what was folded."""
    stores: tuple[dict[str, Any], ...] = (folded.state_dict, folded.constants)
    given = [dict(store) for store in stores]
    for store in stores:
        store.update({name: _widened(value) for name, value in store.items()})
    with InDouble():
        fold_constants(folded)
    prove_same(program, folded, (example,))
    for store, before in zip(stores, given, strict=True):
        for name, value in store.items():
            store[name] = before[name] if name in before else value.to(example.dtype) if _is_double(value) else value


def _name_weights(module: GraphModule, computed: Set[str]) -> int:
    """Make the ``computed`` constants parameters, named after the layers that read them; return how many weights."""
    weights: set[str] = set()
    for node in list(module.graph.nodes):
        for role, read in _reads(node):
            if read.op != "get_attr" or read.target not in computed:
                continue
            path, target = module_path(node), str(read.target)
            name = store(module, f"{path}.{role}" if path else role, getattr(module, target))
            read.target = name
            if role == "weight":
                weights.add(name)
    for name in computed & dict(module.named_buffers()).keys():
        delattr(module, name)
    module.recompile()
    return len(weights)


def store(module: GraphModule, wanted: str, value: Tensor) -> str:
    """Give ``module`` a parameter and return its name: ``wanted``, or with a number where another one has that."""
    known = {**dict(module.named_modules()), **dict(module.named_parameters()), **dict(module.named_buffers())}
    name, number = wanted, 1
    while name in known:
        other = known[name]
        if isinstance(other, nn.Parameter) and torch.equal(other, value):  # of a layer that is called twice
            return name
        number += 1
        name = f"{wanted}_{number}"
    owner, _, own = name.rpartition(".")
    if owner and owner not in known:
        module.add_submodule(owner, nn.Module())
    module.get_submodule(owner).register_parameter(own, nn.Parameter(value, requires_grad=False))
    return name


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _is_double(value: object) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.float64


def _widened(value: object) -> object:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    wide = value.detach().double()
    return nn.Parameter(wide, requires_grad=False) if isinstance(value, nn.Parameter) else wide
