"""The feature pyramid that heads share (arXiv 1612.03144), under the names of OpenMMLab's checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

PYRAMID_WIDTH = 256


class ConvUnit(nn.Module):
    """A convolution of a square odd kernel, then a BatchNorm and a ReLU where they are asked for.

    With a BatchNorm the convolution has no bias. The padding keeps the size, which a stride divides.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, norm: bool = False, relu: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=not norm)
        if norm:
            self.bn = nn.BatchNorm2d(outputs)
        self.norm = norm
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride), rounded up."""
        x = self.conv(x)
        if self.norm:
            x = self.bn(x)
        return F.relu(x) if self.relu else x


class Pyramid(nn.Module):
    """Makes maps of one width of a backbone's: coarse ones are enlarged (nearest) and added to the finer.

    Args:
        channels: Of the backbone's maps, the finest first; each is twice as large as the next.
        extra: How many coarser maps to add behind the last, by 3x3 convolutions of stride 2: the first of the
            backbone's last map, each other of the map before it.
    """

    def __init__(self, channels: Sequence[int], *, extra: int = 0) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(ConvUnit(width, PYRAMID_WIDTH, 1) for width in channels)
        self.fpn_convs = nn.ModuleList(ConvUnit(PYRAMID_WIDTH, PYRAMID_WIDTH, 3) for _ in channels)
        for index in range(extra):
            self.fpn_convs.append(ConvUnit(PYRAMID_WIDTH if index else channels[-1], PYRAMID_WIDTH, 3, stride=2))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the pyramid (B, 256, H, W), the finest map first."""
        laterals: list[Tensor] = [lateral(each) for lateral, each in zip(self.lateral_convs, maps, strict=True)]
        for index in range(len(laterals) - 1, 0, -1):
            finer = laterals[index - 1]
            laterals[index - 1] = finer + F.interpolate(laterals[index], size=finer.shape[2:], mode="nearest")
        count = len(laterals)
        levels = [self.fpn_convs[index](laterals[index]) for index in range(count)]
        source = maps[-1]
        for conv in list(self.fpn_convs)[count:]:
            source = conv(source)
            levels.append(source)
        return levels
