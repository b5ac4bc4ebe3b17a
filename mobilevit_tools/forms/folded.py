"""Norms with running statistics folded into the linear layers before them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.fx import Node
from torch.nn import functional as F

from mobilevit_tools.forms._base import insert, replace

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_aten = torch.ops.aten
_RESHAPES = frozenset({_aten.reshape.default, _aten.view.default, _aten.flatten.using_ints, _aten.contiguous.default})


def norms_to_fold(program: ExportedProgram) -> list[tuple[Node, Node]]:
    """Return the batch norms over the last of two axes that alone read a linear layer's results, and the layers."""
    norms = [node for node in program.graph.nodes if node.target is _aten.batch_norm.default]
    return [(norm, layer) for norm in norms if (layer := _layer_before(norm)) is not None]


def fold_norms(program: ExportedProgram, found: Sequence[tuple[Node, Node]]) -> None:
    """Fold norms into linear layers, in place.

    s (W x + c - m) + b is the layer of weights s W, scaled by row, and of bias s (c - m) + b. The folded weights are
    computed from constants alone.

    Args:
        program: A traced program.
        found: What :func:`norms_to_fold` returned.
    """
    for norm, layer in found:
        x, matrix, bias = (*layer.args, None)[:3]
        scale, shift, mean, variance = norm.args[1:5]
        given = [bias, scale, shift]
        reading = [x, matrix, mean, variance, *(each for each in given if each is not None)]
        function = _folded([each is not None for each in given], cast("float", norm.args[7]))
        replace(program, layer, insert(program, layer, function, cast("list[Node]", reading)))
        replace(program, norm, cast("Node", norm.args[0]))
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()


def _folded(known: Sequence[bool], eps: float) -> Any:
    def layer(x: Tensor, matrix: Tensor, mean: Tensor, variance: Tensor, *more: Tensor) -> Tensor:
        given = iter(more)
        bias, scale, shift = (next(given) if each else None for each in known)
        factor = torch.rsqrt(variance + eps)
        factor = factor if scale is None else factor * scale
        moved = -mean if bias is None else bias - mean
        added = moved * factor if shift is None else moved * factor + shift
        return F.linear(x, matrix * factor.reshape(-1, 1), added)

    return layer


def _layer_before(norm: Node) -> Node | None:
    """Return the linear layer whose values reach a norm, and nobody else, but for changes of shape."""
    before, mean, variance, training = norm.args[0], *norm.args[3:6]
    if training or mean is None or variance is None or norm.meta["val"].dim() != 2:
        return None
    channels = norm.meta["val"].shape[-1]
    while isinstance(before, Node) and len(before.users) == 1 and before.meta["val"].shape[-1] == channels:
        if before.target is _aten.linear.default:
            weights = [*before.all_input_nodes[1:], *norm.all_input_nodes[1:]]
            return before if all(each.op == "placeholder" for each in weights) else None
        if before.target not in _RESHAPES:
            return None
        before = before.args[0]
    return None
