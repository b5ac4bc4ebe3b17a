"""Keep maps in the order in which convolutions have them, where a program turns them to have their channels last.

Between ``permute(0, 2, 3, 1)`` and ``permute(0, 3, 1, 2)`` a norm of the last axis is one of the channels, a linear
layer a convolution of one pixel, and a vector a map of one pixel; what works on each value alone is the same. Delegates
that keep maps channels-last in memory need not copy them then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.nn import functional as F

from mobilevit_tools.forms._base import insert, replace
from mobilevit_tools.forms.norms import layer_norm_of_channels

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_aten = torch.ops.aten
_TO_LAST, _TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]
_COPIES = frozenset({_aten.clone.default, _aten.contiguous.default, _aten.dropout.default})
_ALONE = _COPIES | {
    _aten.gelu.default,
    _aten.relu.default,
    _aten.silu.default,
    _aten.sigmoid.default,
    _aten.hardswish.default,
    _aten.hardsigmoid.default,
    _aten.hardtanh.default,
    _aten.leaky_relu.default,
    _aten.tanh.default,
    _aten.sqrt.default,
    _aten.exp.default,
}
"""Operators that work on each value alone."""
_TOGETHER = frozenset({_aten.add.Tensor, _aten.sub.Tensor, _aten.mul.Tensor, _aten.div.Tensor, _aten.addcmul.default})
"""Operators that work on the values of several maps or vectors at each place."""
_ALONG = frozenset({_aten.mean.dim, _aten.sum.dim_IntList, _aten.linalg_vector_norm.default})
"""Operators over some axes."""
_OF_ONE = _ALONE | _ALONG | {_aten.layer_norm.default, _aten.linear.default}
"""Operators that read one map, and else weights."""


def maps_to_keep(program: ExportedProgram) -> list[list[Node]]:
    """Return groups of operators on maps with their channels last that need fewer turns on maps as they are."""
    return [part for part in _parts(_region(program)) if _saved(part) > 0]


def keep_maps(program: ExportedProgram, found: Sequence[Sequence[Node]]) -> None:
    """Write operators on maps with their channels last on maps as convolutions have them, in place.

    Args:
        program: A traced program.
        found: What :func:`maps_to_keep` returned.
    """
    for part in found:
        _write(program, part)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()


def _is_turn(node: object, order: Sequence[int]) -> bool:
    if not isinstance(node, Node) or node.target is not _aten.permute.default:
        return False
    dims: Any = node.args[1]
    return len(dims) == 4 and [axis % 4 for axis in dims] == order


def _region(program: ExportedProgram) -> dict[Node, None]:
    """Return, in order, the nodes whose value is a map with its channels last that could be one as it was."""
    region: dict[Node, None] = {}
    for node in program.graph.nodes:
        if _is_turn(node, _TO_LAST) or _follows(node, region):
            region[node] = None
    return region


def _follows(node: Node, region: dict[Node, None]) -> bool:
    if node.op != "call_function" or not isinstance(value := node.meta.get("val"), Tensor) or value.dim() != 4:
        return False
    tensors = node.all_input_nodes
    if node.target in _TOGETHER:
        return any(each in region for each in tensors) and all(each in region or _is_vector(each) for each in tensors)
    if not tensors or tensors[0] not in region or any(each.op != "placeholder" for each in tensors[1:]):
        return False
    shape: Any = node.args[1] if node.target is _aten.layer_norm.default else [1]
    return (
        len(shape) == 1 and node.target in _OF_ONE and (node.target not in _ALONG or len(node.args) > _axes_place(node))
    )


def _axes_place(node: Node) -> int:
    """Return which argument of an operator over some axes these are."""
    return 2 if node.target is _aten.linalg_vector_norm.default else 1


def _is_vector(node: Node) -> bool:
    shape = node.meta["val"].shape
    return node.op == "placeholder" and shape.numel() == (shape[-1] if shape else 1)


def _parts(region: dict[Node, None]) -> Iterator[list[Node]]:
    """Split a region into parts that read nothing of each other."""
    label: dict[Node, Node] = {}

    def root(node: Node) -> Node:
        while label[node] is not node:
            node = label[node]
        return node

    for node in region:
        label[node] = node
        for each in () if _is_turn(node, _TO_LAST) else node.all_input_nodes:
            if each in region:
                label[root(each)] = root(node)
    parts: defaultdict[Node, list[Node]] = defaultdict(list)
    for node in region:
        parts[root(node)].append(node)
    yield from parts.values()


def _saved(part: Sequence[Node]) -> int:
    """Return how many turns fewer there are when a part is written on maps as they are."""
    saved = 0
    inside = set(part)
    for node in part:
        leaving = [user for user in node.users if user not in inside]
        stay = [user for user in leaving if not _is_turn(user, _TO_FIRST)]
        saved += len(leaving) - len(stay)
        if _is_turn(node, _TO_LAST):
            saved += not stay
        else:
            saved -= bool(stay)
    return saved


def _write(program: ExportedProgram, part: Sequence[Node]) -> None:
    maps: dict[Node, Node] = {}
    for node in part:
        if _is_turn(node, _TO_LAST):
            maps[node] = node.args[0]  # type: ignore[assignment]
        elif node.target in _COPIES:
            maps[node] = maps[node.args[0]]  # type: ignore[index]
        else:
            tensors = node.all_input_nodes
            maps[node] = insert(program, node, _on_maps(node, maps), [maps.get(each, each) for each in tensors])
    for node in part:
        for user in list(node.users):
            if _is_turn(user, _TO_FIRST):
                replace(program, user, maps[node])
                program.graph.erase_node(user)
        if not _is_turn(node, _TO_LAST) and any(user not in maps for user in node.users):
            turned = insert(program, node, lambda x: x.permute(_TO_LAST), [maps[node]])
            replace(program, node, turned)


def _on_maps(node: Node, maps: dict[Node, Node]) -> Callable[..., Tensor]:
    """Return what ``node`` computes as a function of maps and of weights as they are."""
    places = {each: index for index, each in enumerate(node.all_input_nodes)}
    target: Any = node.target

    def at(values: Sequence[Tensor], index: int) -> Any:
        given = node.args[index] if len(node.args) > index else None
        if not isinstance(given, Node):
            return given
        value = values[places[given]]
        return value if given in maps or not value.dim() else value.reshape(1, -1, 1, 1)

    def weight(values: Sequence[Tensor], index: int) -> Tensor | None:
        given = node.args[index] if len(node.args) > index else None
        return values[places[given]] if isinstance(given, Node) else None

    def norm(*values: Tensor) -> Tensor:
        eps: Any = node.args[4] if len(node.args) > 4 else 1e-5
        return layer_norm_of_channels(values[0], weight(values, 2), weight(values, 3), eps)

    def layer(*values: Tensor) -> Tensor:
        matrix = values[places[node.args[1]]]  # type: ignore[index]
        return F.conv2d(values[0], matrix.reshape(*matrix.shape, 1, 1), weight(values, 2))

    def along(*values: Tensor) -> Tensor:
        place = _axes_place(node)
        dims: Any = node.args[place]
        args = [*node.args[1:]]
        args[place - 1] = sorted([0, 2, 3, 1][axis % 4] for axis in ([dims] if isinstance(dims, int) else dims))
        return target(values[0], *args, **node.kwargs)  # type: ignore[no-any-return]

    def plain(*values: Tensor) -> Tensor:
        return target(*(at(values, index) for index in range(len(node.args))), **node.kwargs)  # type: ignore[no-any-return]

    special: dict[object, Callable[..., Tensor]] = {
        _aten.layer_norm.default: norm,
        _aten.linear.default: layer,
        **dict.fromkeys(_ALONG, along),
    }
    return special.get(target, plain)
