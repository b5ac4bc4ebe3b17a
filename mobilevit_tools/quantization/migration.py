"""Move scales from activations into weights, so that the channels that share a range of 8 bits are more alike.

A tensor of activations has one range. Where one channel reaches ten times as far as the others, these get a tenth of
the levels. Weights have a scale for each output channel, and room to spare. So a channel c that is small is made larger
by 1 / s before it is rounded, and the weights that read it smaller by s, which computes the same:

- Between two convolutions without anything between them, the first one's output channels are divided by s.
- In front of a linear layer that reads one vector of an image, such as a classifier's head, the vector is. That is a
  product of as many numbers as the vector has.

With a the largest magnitude of each channel on the calibration's photos, s = sqrt(a / max a): half of the difference
goes to the weights (SmoothQuant, arXiv 2211.10438). It is rounded to a power of two, so that nothing else is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.rewrites.applied import AppliedRewrite
from mobilevit_tools.rewrites.batch_norm_backward import frozen
from mobilevit_tools.rewrites.batch_norm_forward import by_input
from mobilevit_tools.rewrites.dataflow import Dataflow, Pair, observe

if TYPE_CHECKING:
    from mobilevit_tools.quantization.calibration import Calibration

NAME = "scale_migration"
SUMMARY = "scales moved from activations into the weights that read them"
PHOTOS = 64
"""Photos on which channels are compared."""
SMALLEST = 2.0**-6
TOLERANCE = 1e-6
_Undo: TypeAlias = Callable[[], None]
_Move: TypeAlias = Callable[[], _Undo]


class ScaledLinear(nn.Linear):
    """A linear layer (..., in) -> (..., out) that multiplies its input by a factor a channel first."""

    factors: Tensor

    def __init__(self, linear: nn.Linear, scale: Tensor) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None)
        self.weight = frozen(linear.weight * scale)
        if linear.bias is not None:
            self.bias = frozen(linear.bias)
        self.register_buffer("factors", 1 / scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's result for ``x`` (..., in)."""
        return F.linear(x * self.factors, self.weight, self.bias)


def migrate_scales(module: nn.Module, calibration: Calibration, batch: int) -> AppliedRewrite | None:
    """Move scales in ``module``, in place, wherever it computes the same afterwards; None where that is nowhere.

    A layer whose weight is read elsewhere stays as it is, and so does one where another's result turns out to go
    through something that no call of a layer or function shows.

    Args:
        module: In evaluation mode, in float32.
        calibration: Photos that show how far each channel reaches.
        batch: Images per call.
    """
    batches = [torch.from_numpy(each) for each in islice(calibration.batches(batch), max(1, PHOTOS // batch))]
    flow = observe(module, batches[0])
    shared = _shared(module)
    pairs = [
        pair for pair in flow.adjacent(module, nn.Conv2d, nn.Conv2d) if shared.isdisjoint({pair.first, pair.second})
    ]
    heads = [(name, head) for name, head in _heads(module, flow, batches[0]) if head not in shared]
    reach = _reach(module, [*(pair.first for pair in pairs), *(head for _, head in heads)], batches)
    moves: list[_Move] = [partial(_move_between, pair, _scale(reach[pair.first])) for pair in pairs]
    moves += [partial(_move_into, module, name, head, _scale(reach[head])) for name, head in heads]
    with torch.no_grad():
        places = _proved(module, batches[0], moves)
    return AppliedRewrite(NAME, SUMMARY, places, 0) if places else None


def _proved(module: nn.Module, example: Tensor, moves: Sequence[_Move]) -> int:
    """Make the moves after which ``module`` computes the same on ``example``; return how many those are."""
    expected = module(example)
    undo = [move() for move in moves]
    if _is_same(expected, module(example)):
        return len(moves)
    for each in reversed(undo):
        each()
    places = 0
    for move in moves:
        back = move()
        if _is_same(expected, module(example)):
            places += 1
        else:
            back()
    return places


def _move_between(pair: Pair[nn.Conv2d, nn.Conv2d], scale: Tensor) -> _Undo:
    first, second = pair.first, pair.second
    before = first.weight, first.bias, second.weight
    first.weight = frozen(first.weight / scale.view(-1, 1, 1, 1))
    if first.bias is not None:
        first.bias = frozen(first.bias / scale)
    second.weight = frozen(second.weight * by_input(scale, second))

    def undo() -> None:
        first.weight, first.bias, second.weight = before

    return undo


def _move_into(module: nn.Module, name: str, head: nn.Linear, scale: Tensor) -> _Undo:
    module.set_submodule(name, ScaledLinear(head, scale).eval())
    return lambda: module.set_submodule(name, head)


def _shared(module: nn.Module) -> set[nn.Module]:
    """Return the layers with a parameter that another place has, too, and that would be stored once for each."""
    places = Counter(parameter for _, parameter in module.named_parameters(remove_duplicate=False))
    return {layer for layer in module.modules() if any(places[each] > 1 for each in layer.parameters(recurse=False))}


def _heads(module: nn.Module, flow: Dataflow, example: Tensor) -> list[tuple[str, nn.Linear]]:
    """Return the linear layers that read one vector of each image, once, and their names."""
    read: dict[nn.Module, list[int]] = {}

    def note(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        read.setdefault(layer, []).append(args[0].numel() if args else 0)

    found = flow.layers(module, nn.Linear)
    handles = [layer.register_forward_pre_hook(note) for _, layer in found]
    try:
        with torch.no_grad():
            module(example)
    finally:
        for handle in handles:
            handle.remove()
    return [(name, layer) for name, layer in found if read.get(layer) == [len(example) * layer.in_features]]


def _reach(module: nn.Module, layers: list[nn.Module], batches: list[Tensor]) -> dict[nn.Module, Tensor]:
    """Return the largest magnitude of each channel: of a convolution's result, and of a linear layer's input."""
    reach: dict[nn.Module, Tensor] = {}

    def note(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        values = (
            output.abs().movedim(-3, 0).flatten(1).amax(dim=1)
            if isinstance(layer, nn.Conv2d)
            else args[0].abs().flatten(0, -2).amax(dim=0)
        )
        reach[layer] = torch.maximum(reach[layer], values) if layer in reach else values

    handles = [layer.register_forward_hook(note) for layer in layers]
    try:
        with torch.no_grad():
            for batch in batches:
                module(batch)
    finally:
        for handle in handles:
            handle.remove()
    return reach


def _scale(reach: Tensor) -> Tensor:
    relative = (reach / reach.max().clamp_min(torch.finfo(reach.dtype).tiny)).sqrt().clamp_min(SMALLEST)
    return torch.exp2(relative.log2().round())


def _is_same(expected: object, got: object) -> bool:
    from torch.utils import _pytree as pytree

    pairs = zip(pytree.tree_leaves(expected), pytree.tree_leaves(got), strict=True)
    return all(_is_close(want, have) for want, have in pairs if isinstance(want, Tensor))


def _is_close(want: Tensor, have: Tensor) -> bool:
    if not want.is_floating_point() or not want.numel():
        return torch.equal(want, have)
    largest = float(want.nan_to_num(0.0, 0.0, 0.0).abs().max())
    return torch.allclose(have, want, rtol=0.0, atol=TOLERANCE * largest, equal_nan=True)
