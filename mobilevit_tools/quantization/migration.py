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

from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.errors import GateError
from mobilevit_tools.rewrites.applied import AppliedRewrite
from mobilevit_tools.rewrites.batch_norm_backward import frozen
from mobilevit_tools.rewrites.batch_norm_forward import by_input
from mobilevit_tools.rewrites.dataflow import Dataflow, observe

if TYPE_CHECKING:
    from mobilevit_tools.quantization.calibration import Calibration

NAME = "scale_migration"
SUMMARY = "scales moved from activations into the weights that read them"
PHOTOS = 64
"""Photos on which channels are compared."""
SMALLEST = 2.0**-6
TOLERANCE = 1e-6


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
    """Move scales in ``module``, in place, and prove that it computes the same; None where there is nothing to move.

    Args:
        module: In evaluation mode, in float32.
        calibration: Photos that show how far each channel reaches.
        batch: Images per call.

    Raises:
        GateError: The module computes something else afterwards.
    """
    batches = [torch.from_numpy(each) for each in islice(calibration.batches(batch), max(1, PHOTOS // batch))]
    flow = observe(module, batches[0])
    pairs = flow.adjacent(module, nn.Conv2d, nn.Conv2d)
    heads = _heads(module, flow, batches[0])
    reach = _reach(module, [*(pair.first for pair in pairs), *(head for _, head in heads)], batches)
    if not reach:
        return None
    with torch.no_grad():
        expected = module(batches[0])
        for pair in pairs:
            first, second, scale = pair.first, pair.second, _scale(reach[pair.first])
            first.weight = frozen(first.weight / scale.view(-1, 1, 1, 1))
            if first.bias is not None:
                first.bias = frozen(first.bias / scale)
            second.weight = frozen(second.weight * by_input(scale, second))
        for name, head in heads:
            module.set_submodule(name, ScaledLinear(head, _scale(reach[head])))
        module.eval()
        _check(expected, module(batches[0]))
    return AppliedRewrite(NAME, SUMMARY, len(reach), 0)


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
            output.abs().amax(dim=(0, 2, 3))
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


def _check(expected: object, got: object) -> None:
    from torch.utils import _pytree as pytree

    for want, have in zip(pytree.tree_leaves(expected), pytree.tree_leaves(got), strict=True):
        if not float((want - have).abs().max()) <= TOLERANCE * float(want.abs().max()):
            raise GateError("The model computes something else once scales are moved from activations to weights.")
