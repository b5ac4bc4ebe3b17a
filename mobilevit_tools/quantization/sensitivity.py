"""The error that each operator with weights causes when it alone is quantized.

Operators are found in the exported graph, as the quantizers find them: calls inside of PyTorch's own layers, such as
those of ``nn.MultiheadAttention``, are seen there alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node

from mobilevit_tools.precision.execution import source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_aten = torch.ops.aten
CONVOLUTIONS = frozenset(
    {
        _aten.conv1d.default,
        _aten.conv1d.padding,
        _aten.conv2d.default,
        _aten.conv2d.padding,
        _aten.conv3d.default,
        _aten.conv3d.padding,
        _aten.convolution.default,
    }
)
"""Not quantized dynamically by any target; transposed ones are not quantized at all."""
WEIGHT_PLACES: Mapping[object, int] = {
    **dict.fromkeys(CONVOLUTIONS, 1),
    _aten.linear.default: 1,
    _aten.matmul.default: 1,
    _aten.mm.default: 1,
    _aten.bmm.default: 1,
    _aten.addmm.default: 2,
}
"""Operators that are quantized, with the position of their weight; their input precedes it."""
WEIGHT_BITS: Mapping[str, int] = {"palette6": 6, "palette4": 4, "int4-weight": 4}
"""Bits of a weight by precision, where they are not 8."""
ACTIVATION_BITS: Mapping[str, int] = {"int8": 8, "dynamic-int8": 8, "a16w8": 16}
"""Bits of an activation by precision, where it is quantized."""

RANKING_PHOTOS = 4
"""A ranking needs far fewer photos than ranges do."""

Change = Callable[[str, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes the name of a weight, the operator's input and the weight; returns what takes their places."""


@dataclass(frozen=True)
class Sensitivity:
    """One operator's share in the damage.

    Attributes:
        weight: The name of its weight.
        error: Mean square error of the model's output when it alone is quantized, over the output's mean square.
    """

    weight: str
    error: float


def rank_operators(
    module: nn.Module,
    inputs: Sequence[NDArray[np.float32]],
    precision: str,
    rounding: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Sensitivity, ...]:
    """Quantize the operators with weights one at a time and return them all, the most harmful first.

    Weights are rounded per output channel and symmetrically unless told otherwise, inputs per tensor and affinely over
    the range that they have on ``inputs``.

    Args:
        module: In evaluation mode, with one output that counts.
        inputs: Normalised photos (B, 3, H, W), of one shape; a handful is enough for a ranking.
        precision: What to quantize to; see ``PRECISIONS``.
        rounding: Rounds a weight (rows, ...) in place of that.
    """
    tensors = [torch.from_numpy(array) for array in inputs]
    graph = torch.export.export(module, (tensors[0],), strict=False).module(check_guards=False)
    weights = weighted_operators(graph, module, precision)
    seen: dict[str, tuple[float, float]] = {}

    def observe(name: str, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        low, high = seen.get(name, (0.0, 0.0))
        seen[name] = min(low, float(x.min())), max(high, float(x.max()))
        return x, weight

    expected = _run(graph, tensors, weights, observe)
    scale = sum(float(output.square().sum()) for output in expected)
    bits = WEIGHT_BITS.get(precision, 8)
    found = []
    for target in list(seen):

        def degrade(name: str, x: Tensor, weight: Tensor, target: str = target) -> tuple[Tensor, Tensor]:
            if name != target:
                return x, weight
            rounded = round_weight(weight, bits) if rounding is None else rounding(weight)
            levels = ACTIVATION_BITS.get(precision)
            return (x if levels is None else round_input(x, *seen[name], levels)), rounded

        outputs = _run(graph, tensors, weights, degrade)
        error = sum(float((out - want).square().sum()) for out, want in zip(outputs, expected, strict=True))
        found.append(Sensitivity(target, error / scale if scale else 0.0))
    return tuple(sorted(found, key=lambda each: (-each.error, each.weight)))


def round_weight(weight: Tensor, bits: int) -> Tensor:
    """Round a weight (out, ...) to ``bits`` bits, symmetrically and per output channel."""
    top = 2 ** (bits - 1) - 1
    step = weight.abs().flatten(1).amax(dim=1).clamp_min(torch.finfo(weight.dtype).tiny) / top
    step = step.view(-1, *[1] * (weight.dim() - 1))
    rounded: Tensor = torch.round(weight / step).clamp(-top, top) * step
    return rounded


def round_input(x: Tensor, low: float, high: float, bits: int = 8) -> Tensor:
    """Round to the levels of that many bits from ``low`` to ``high``, zero being one of them."""
    top = 2**bits - 1
    step = (high - low) / top or 1.0
    zero = round(-low / step)
    return ((x / step).round() + zero).clamp(0, top).sub(zero) * step


class _Changed(Interpreter):
    """Passes input and weight of every operator with a trained weight through a function first."""

    def __init__(self, graph: GraphModule, weights: Mapping[Node, str], change: Change) -> None:
        super().__init__(graph)
        self._weights = weights
        self._change = change

    def run_node(self, n: Node) -> Any:
        if n not in self._weights:
            return super().run_node(n)
        given, others = self.fetch_args_kwargs_from_env(n)
        args = list(given)
        place = WEIGHT_PLACES[n.target]
        turned = outputs_last(n)
        weight = args[place].transpose(0, -1) if turned else args[place]
        args[place - 1], weight = self._change(self._weights[n], args[place - 1], weight)
        args[place] = weight.transpose(0, -1) if turned else weight
        return n.target(*args, **others)  # type: ignore[operator]


def outputs_last(node: Node) -> bool:
    """Tell whether the last axis of an operator's weight runs over output channels, and not the first."""
    return node.target not in CONVOLUTIONS and node.target != _aten.linear.default


def weight_names(module: nn.Module) -> dict[str, str]:
    """Return the name that each parameter of ``module`` goes by, its first, under every name that it has."""
    first: dict[nn.Parameter, str] = {}
    return {
        name: first.setdefault(parameter, name) for name, parameter in module.named_parameters(remove_duplicate=False)
    }


def weighted_operators(graph: GraphModule, module: nn.Module, precision: str = "") -> dict[Node, str]:
    """Return the operators of a traced ``module`` that are quantized, each with its weight's name in it."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    found = {}
    for node in graph.graph.nodes:
        place = WEIGHT_PLACES.get(node.target)
        if place is None or (precision == "dynamic-int8" and node.target in CONVOLUTIONS):
            continue
        origin = source(node.args[place])
        if origin.op == "get_attr" and node.args[place].meta["val"].dim() > 1:
            name = names.get(id(attrgetter(str(origin.target))(graph)))
            if name is not None:
                found[node] = name
    return found


def _run(graph: GraphModule, tensors: Sequence[Tensor], weights: Mapping[Node, str], change: Change) -> list[Tensor]:
    runner = _Changed(graph, weights, change)
    with torch.no_grad():
        outputs = [runner.run(tensor) for tensor in tensors]
    return [output if isinstance(output, Tensor) else output[-1] for output in outputs]
