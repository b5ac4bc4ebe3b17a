"""Write products with trained matrices as linear layers: 1x1 convolutions as einsum, ``w @ x``, ``x @ w.T``.

Quantizers know linear layers by their operator, and leave other products with a weight in floating point.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from mobilevit_tools.forms._base import prove_same
from mobilevit_tools.precision.execution import source
from mobilevit_tools.quantization.computed_weights import copy_of, store, traced
from mobilevit_tools.quantization.sensitivity import weight_names
from mobilevit_tools.rewrites.applied import AppliedRewrite

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_aten = torch.ops.aten
_LETTERS = "abcdefghij"
NAME = "stored_products"
SUMMARY = "products with trained matrices as linear layers"


@dataclass(frozen=True)
class _Product:
    """A product of a value and a stored weight; each axis is a letter, as in einsum."""

    x: Node
    weight: Node
    x_axes: str
    weight_axes: str
    result: str

    @property
    def inner(self) -> str:
        """The axes that are summed over."""
        return "".join(axis for axis in self.weight_axes if axis in self.x_axes)

    @property
    def rows(self) -> str:
        """The axes that only the weight has."""
        return "".join(axis for axis in self.weight_axes if axis not in self.x_axes)

    @property
    def rest(self) -> str:
        """The axes that only the value has."""
        return "".join(axis for axis in self.x_axes if axis not in self.weight_axes)

    @property
    def is_linear(self) -> bool:
        """Whether each axis is one of the three, once, and no axis of one is broadcast."""
        names = (self.x_axes, self.weight_axes, self.result)
        sides = dict(zip(self.weight_axes, _shape(self.weight), strict=False))
        return (
            all(len(set(each)) == len(each) for each in names)
            and {*self.result} == {*self.rest, *self.rows}
            and bool(self.rows and self.inner)
            and all(sides[axis] == _shape(self.x)[self.x_axes.index(axis)] for axis in self.inner)
        )


def write_stored_products(
    module: nn.Module, example: Tensor, *, free_batch: bool = False, program: ExportedProgram | None = None
) -> tuple[nn.Module, AppliedRewrite | None]:
    """Return ``module`` as it is where no trained matrix is in such a product; else a traced copy with linear layers.

    Args:
        module: In evaluation mode.
        example: An input (B, 3, H, W) of the artifact's size.
        free_batch: Leave the batch of the copy free; the example has two images or more then.
        program: What :func:`mobilevit_tools.quantization.computed_weights.traced` gives for these, where it is known.

    Raises:
        MvtError: The copy does not compute what the module computes.
    """
    program = program or traced(module, example, free_batch=free_batch)
    graph = program.module(check_guards=False)
    names = weight_names(graph)
    places = 0
    moved: dict[str, str] = {}
    for node in list(graph.graph.nodes):
        if (product := _product(node, names)) is not None:
            _write(graph, node, product, names, moved)
            places += 1
    if not places:
        return module, None
    graph.graph.eliminate_dead_code()
    _drop_unread(graph, moved)
    linear = copy_of(graph, module)
    prove_same(program, traced(linear, example, free_batch=free_batch), (example,))
    return linear, AppliedRewrite(NAME, SUMMARY, places, 0)


def _product(node: Node, names: Mapping[str, str]) -> _Product | None:
    """Read a product of a value and a trained matrix; None where a node is no such product."""
    if node.target is _aten.einsum.default:
        equation, tensors = cast("tuple[str, Sequence[Node]]", node.args[:2])
        terms, arrow, result = equation.replace(" ", "").partition("->")
        axes = terms.split(",")
        if not arrow or "." in equation or len(tensors) != 2 or len(axes) != 2:
            return None
    elif node.target in (_aten.matmul.default, _aten.mm.default):
        tensors = cast("tuple[Node, Node]", node.args)
        left, right = (len(_shape(each)) for each in tensors)
        if min(left, right) < 2:
            return None
        lead = _LETTERS[: max(left, right) - 2]
        axes = [f"{lead[len(lead) - left + 2 :]}nk", f"{lead[len(lead) - right + 2 :]}km"]
        result = f"{lead}nm"
    else:
        return None
    stored = [_is_trained(each, names) for each in tensors]
    if stored[0] == stored[1]:
        return None
    place = stored.index(True)
    product = _Product(tensors[1 - place], tensors[place], axes[1 - place], axes[place], result)
    return product if product.is_linear else None


def _write(module: GraphModule, node: Node, product: _Product, names: Mapping[str, str], moved: dict[str, str]) -> None:
    """Put a linear layer in the place of a product; ``moved`` gets the new name of a weight whose axes change."""
    graph, rest, rows = module.graph, product.rest, product.rows
    with graph.inserting_before(node):

        def put(target: Any, *arguments: Any) -> Node:
            made = graph.call_function(target, arguments)
            made.meta = {key: node.meta[key] for key in ("stack_trace", "nn_module_stack") if key in node.meta}
            return made

        def ordered(value: Node, before: str, after: str) -> Node:
            order = [before.index(axis) for axis in after]
            return value if before == after else put(_aten.permute.default, value, order)

        x = ordered(product.x, product.x_axes, rest + product.inner)
        if len(product.inner) > 1:
            x = put(_aten.flatten.using_ints, x, len(rest), -1)
        weight = product.weight
        if weight.op != "get_attr" or product.weight_axes != rows + product.inner or len(product.weight_axes) != 2:
            name = names[str(source(weight).target)]
            new = store(module, name, _matrix(module, product))
            moved.setdefault(new, name)
            weight = graph.get_attr(new)
        y = put(_aten.linear.default, x, weight)
        if len(rows) > 1:
            sides = dict(zip(product.weight_axes, _shape(product.weight), strict=True))
            y = put(_aten.unflatten.int, y, -1, [sides[axis] for axis in rows])
        result = ordered(y, rest + rows, product.result)
        result.meta["val"] = node.meta["val"]  # a product that reads it needs its shape
        node.replace_all_uses_with(result)
    graph.erase_node(node)


def _matrix(module: GraphModule, product: _Product) -> Tensor:
    """Return the weight with its rows before what is summed over, as (rows, inner)."""
    value = cast("Tensor", _value(module, product.weight)).detach()
    turned = value.permute([product.weight_axes.index(axis) for axis in product.rows + product.inner])
    return turned.reshape(math.prod(turned.shape[: len(product.rows)]), -1).contiguous()


def _value(module: GraphModule, node: Node) -> Any:
    """Compute what only moves a weight."""
    if node.op == "get_attr":
        return attrgetter(str(node.target))(module)
    arguments = map_arg((node.args, node.kwargs), lambda each: _value(module, each))
    return node.target(*arguments[0], **arguments[1])  # type: ignore[operator]


def _drop_unread(module: GraphModule, moved: Mapping[str, str]) -> None:
    """Delete weights that nobody reads any more, and give what stands for each its name."""
    read = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for new, old in moved.items():
        if new == old or old in read:
            continue
        owner, _, own = old.rpartition(".")
        delattr(module.get_submodule(owner), own)
        store(module, old, module.get_parameter(new).data)
        delattr(module.get_submodule(new.rpartition(".")[0]), new.rpartition(".")[2])
        for node in module.graph.nodes:
            if node.op == "get_attr" and node.target == new:
                node.target = old
        read.add(old)


def _is_trained(node: Node, names: Mapping[str, str]) -> bool:
    origin = source(node)
    return origin.op == "get_attr" and str(origin.target) in names


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)
