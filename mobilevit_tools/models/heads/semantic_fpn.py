"""A segmenter of a pyramid: the semantic branch of Panoptic FPN (arXiv 1901.02446), as MMSegmentation names it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.models.heads.pyramid import PYRAMID_WIDTH, ConvUnit, Pyramid

HEAD_WIDTH = 128


class Twice(nn.Module):
    """Enlarges a map (B, C, H, W) to (B, C, 2H, 2W), bilinear, corners not aligned."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the larger map."""
        height, width = x.shape[2:]
        return F.interpolate(x, size=(2 * height, 2 * width), mode="bilinear", align_corners=False)


class SemanticHead(nn.Module):
    """Brings every level of a pyramid to the size of the finest, adds them up, and scores classes at each place.

    Level i > 0 goes i times through a convolution, BatchNorm, ReLU and an enlargement; level 0 through the first three
    once.
    """

    def __init__(self, levels: int, num_classes: int) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(HEAD_WIDTH, num_classes, 1)
        self.scale_heads = nn.ModuleList(nn.Sequential(*self._steps(level)) for level in range(levels))

    @staticmethod
    def _steps(level: int) -> list[nn.Module]:
        steps: list[nn.Module] = []
        for step in range(max(1, level)):
            inputs = HEAD_WIDTH if step else PYRAMID_WIDTH
            steps.append(ConvUnit(inputs, HEAD_WIDTH, 3, norm=True, relu=True))
            if level:
                steps.append(Twice())
        return steps

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map levels (B, 256, H, W), the finest first, to scores (B, classes, H, W) of the finest's size."""
        scaled = [head(level) for head, level in zip(self.scale_heads, levels, strict=True)]
        total = scaled[0]
        for each in scaled[1:]:
            total = total + each
        scores: Tensor = self.conv_seg(total)
        return scores


class SemanticFPN(nn.Module):
    """A backbone, a pyramid and a semantic head: images (B, 3, H, W) to scores (B, classes, H / 4, W / 4).

    H and W are multiples of 32, so that every map is exactly twice as large as the next.
    """

    def __init__(self, backbone: nn.Module, *, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        channels: Sequence[int] = backbone.feature_channels  # type: ignore[assignment]
        self.neck = Pyramid(channels)
        self.decode_head = SemanticHead(len(channels), num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return scores of classes, not softmaxed."""
        scores: Tensor = self.decode_head(self.neck(self.backbone(images)))
        return scores
