"""Round weights to few bits so that what layers compute on photos changes least, not the weights themselves.

A layer's square error on inputs X is that of (W - Q) X, so X X^T says which errors of a row matter, and which of its
values can make up for the error of another. Values are rounded one column after the other, the most important first,
and what is lost in each is fed into the columns that are still to come (GPTQ, arXiv 2210.17323). The grid itself,
scales or palettes, is chosen by the same importance. What the error is on average the bias takes, where there is one; X
is taken without its mean then.

coremltools.optimize.torch has this for layers that are modules of a sequence; here it is for operators of a traced
graph, whatever they are called from, and for convolutions with groups, whose rows have an X of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.nn import functional as F

from mobilevit_tools.analysis.watching import Watching
from mobilevit_tools.quantization.sensitivity import CONVOLUTIONS, WEIGHT_PLACES, weighted_operators

if TYPE_CHECKING:
    from mobilevit_tools.quantization.grids import Grid, Rounder

_aten = torch.ops.aten
_DAMPING = 0.01
"""Of the mean of the diagonal, added to it: directions that the photos hardly show are not trusted."""
_CHUNK = 64
"""Columns whose errors reach the columns behind them in one product."""
_DEFAULTS = ([1, 1], [0, 0], [1, 1], 1)
"""A convolution's stride, padding, dilation and groups."""


def on_grids(
    module: nn.Module, batches: Iterable[Tensor], grid_of: Callable[[str, Tensor], Grid | None]
) -> dict[str, Rounder]:
    """Round the weights of ``module``'s operators to grids, in place; return what rounds to each, by the weight's name.

    Args:
        module: In evaluation mode, in float32.
        batches: Normalised inputs (B, 3, H, W), all of one shape.
        grid_of: The grid of a weight (rows, channels, ...), by its name too; None for one that stays as it is.

    A weight of which nothing is known, because no operator here reads it or with an input that cannot be written as
    columns, stays as it is, too.
    """
    found = observe_inputs(module, batches, lambda name, weight: grid_of(name, weight) is not None)
    rounders: dict[str, Rounder] = {}
    with torch.no_grad():
        for name, seen in found.items():
            weight = module.get_parameter(name)
            grid = grid_of(name, weight)
            if grid is None:
                continue
            moment = seen.second if seen.bias is None else seen.covariance
            rounders[name] = grid_rounder(weight, moment, grid)
            rounded = feed_back(weight, moment, rounders[name])
            if seen.bias is not None:
                lost = (weight - rounded).reshape(len(seen.mean), -1, seen.mean.shape[1])
                module.get_parameter(seen.bias).add_((lost @ seen.mean.to(lost.dtype).unsqueeze(2)).flatten())
            weight.copy_(rounded)
    return rounders


def grid_rounder(weight: Tensor, moment: Tensor, grid: Grid) -> Rounder:
    """Return the grid that suits a weight (rows, channels, ...) with inputs of a second moment."""
    importance = _damped(moment).diagonal(dim1=1, dim2=2).repeat_interleave(weight.shape[0] // len(moment), dim=0)
    return grid.rounder(weight.detach(), importance.to(weight.dtype))


def feed_back(weight: Tensor, moment: Tensor, rounder: Rounder) -> Tensor:
    """Return a weight (rows, channels, ...) on a grid.

    Args:
        weight: What to round.
        moment: (groups, columns, columns): the second moment of the inputs of each group of rows.
        rounder: Rounds to the grid.
    """
    groups, columns, _ = moment.shape
    moment = _damped(moment)
    order = moment.diagonal(dim1=1, dim2=2).sum(dim=0).argsort(descending=True)
    moment = moment[:, order][:, :, order]
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moment))
    factor = torch.linalg.cholesky(inverse, upper=True)
    left = weight.detach().double().reshape(groups, -1, columns)[:, :, order]
    rounded = torch.empty_like(left)
    for start in range(0, columns, _CHUNK):
        end = min(columns, start + _CHUNK)
        errors = left.new_zeros(groups, left.shape[1], end - start)
        for place in range(start, end):
            values = left[:, :, place]
            near = rounder.column(values.reshape(-1), int(order[place])).view_as(values)
            rounded[:, :, place] = near
            error = (values - near) / factor[:, place, place, None]
            errors[:, :, place - start] = error
            left[:, :, place + 1 : end] -= error.unsqueeze(2) * factor[:, place, None, place + 1 : end]
        left[:, :, end:] -= errors @ factor[:, start:end, end:]
    unordered = torch.empty_like(rounded)
    unordered[:, :, order] = rounded
    return unordered.reshape(weight.shape).to(weight.dtype)


def _damped(moment: Tensor) -> Tensor:
    moment = moment.double()
    diagonal = moment.diagonal(dim1=1, dim2=2)
    mean = diagonal.mean(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return moment + torch.diag_embed((_DAMPING * mean).expand_as(diagonal))


@dataclass
class Inputs:
    """What a weight is multiplied with.

    Attributes:
        second: (groups, columns, columns): the mean of x x^T over all products.
        mean: (groups, columns): the mean of x.
        bias: The name of the bias that is added to the result; None where there is none of its own.
    """

    second: Tensor
    mean: Tensor
    bias: str | None

    @property
    def covariance(self) -> Tensor:
        """``second`` without what the mean makes of it."""
        return self.second - self.mean.unsqueeze(2) * self.mean.unsqueeze(1)


def observe_inputs(
    module: nn.Module, batches: Iterable[Tensor], wanted: Callable[[str, Tensor], bool]
) -> Mapping[str, Inputs]:
    """Return what each weight is multiplied with, by its name.

    Args:
        module: In evaluation mode.
        batches: Inputs (B, 3, H, W), all of one shape.
        wanted: Tells of a weight whether its inputs are.
    """
    given = iter(batches)
    first = next(given)
    graph = torch.export.export(module, (first,), strict=False).module(check_guards=False)
    operators = {
        node: name
        for node, name in weighted_operators(graph, module).items()
        if wanted(name, module.get_parameter(name))
    }
    biases = _biases(module, operators)
    sums: dict[str, tuple[Tensor, Tensor]] = {}
    counts: Counter[str] = Counter()

    def see(node: Node, args: tuple[Any, ...], _value: Any) -> None:
        columns = _columns(node, args)
        if columns is None:
            return
        name = operators[node]
        second, first = columns.transpose(1, 2) @ columns, columns.sum(dim=1)
        known = sums.get(name)
        sums[name] = (second, first) if known is None else (known[0] + second, known[1] + first)
        counts[name] += columns.shape[1]

    seeing = Watching(graph, operators.__contains__, see)
    with torch.no_grad():
        seeing.run(first)
        for batch in given:
            seeing.run(batch)
    return {
        name: Inputs(second.double() / counts[name], first.double() / counts[name], biases.get(name))
        for name, (second, first) in sums.items()
    }


def _biases(module: nn.Module, operators: Mapping[Node, str]) -> dict[str, str]:
    """Return the bias of each weight that is read once, where nothing else reads the bias."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    readers: Counter[str] = Counter(operators.values())
    found: dict[str, str] = {}
    for node, weight in operators.items():
        bias = node.args[2] if len(node.args) > 2 and WEIGHT_PLACES[node.target] == 1 else None
        if isinstance(bias, Node) and bias.op == "get_attr" and readers[weight] == 1:
            name = names.get(id(attrgetter(str(bias.target))(node.graph.owning_module)))
            if name is not None:
                found[weight] = name
    shared = Counter(found.values())
    return {weight: name for weight, name in found.items() if shared[name] == 1}


def _columns(node: Node, args: tuple[Any, ...]) -> Tensor | None:
    """Return what a weight's rows are multiplied with, (groups, products, columns); None where it is not known."""
    place = WEIGHT_PLACES[node.target]
    x, weight = args[place - 1], args[place]
    if node.target in CONVOLUTIONS:
        return _patches(x, weight, args[3:])
    if node.target == _aten.linear.default:
        flat: Tensor = x.reshape(1, -1, x.shape[-1])
        return flat
    return None  # of a product with a matrix, the rows of a weight are its columns


def _patches(x: Tensor, weight: Tensor, settings: tuple[Any, ...]) -> Tensor | None:
    if weight.dim() != 4 or len(settings) > len(_DEFAULTS):
        return None
    chosen: list[Any] = [*settings, *_DEFAULTS[len(settings) :]]
    stride, padding, dilation, groups = chosen
    if isinstance(padding, str):
        return None
    if weight.shape[2:] == (1, 1) and groups == 1 and list(stride) == [1, 1]:
        return x.permute(0, 2, 3, 1).reshape(1, -1, x.shape[1])
    patches = F.unfold(x, weight.shape[2:], dilation=dilation, padding=padding, stride=stride)
    batch, _, places = patches.shape
    return patches.view(batch, groups, -1, places).permute(1, 0, 3, 2).reshape(groups, batch * places, -1)
