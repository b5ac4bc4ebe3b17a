"""A detector of a pyramid: RetinaNet (arXiv 1708.02002), as MMDetection names and computes it.

Every place of every level has nine anchors, of three scales and three shapes. The head scores classes for each, a
sigmoid apiece, and moves and stretches it to a box; both happen in the graph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mobilevit_tools.models.heads.pyramid import PYRAMID_WIDTH, ConvUnit, Pyramid
from mobilevit_tools.models.layers import check_built_size

if TYPE_CHECKING:
    from mobilevit_tools.models.layers import Size

STRIDES = (8, 16, 32, 64, 128)
SCALES = tuple(4 * 2 ** (third / 3) for third in range(3))
"""Of an anchor's side, in strides of its level."""
SHAPES = (0.5, 1.0, 2.0)
"""Height over width; anchors come shape by shape, the scales of each in order."""
ANCHORS = len(SCALES) * len(SHAPES)
LARGEST_STRETCH = abs(math.log(16 / 1000))
PRIOR = 0.01
"""What an untrained head scores everything with, so that the focal loss starts small (paper, section 3.3)."""


def anchors(size: Size) -> tuple[Tensor, Tensor]:
    """Return the anchors' centres and sides, (N, 2) each of x and y, for an input's height and width.

    They come level by level, then row by row, place by place, and last the anchors of a place.
    """
    shapes = torch.tensor(SHAPES, dtype=torch.float64).sqrt()
    sides = torch.stack([1 / shapes, shapes], -1)[:, None] * torch.tensor(SCALES, dtype=torch.float64)[:, None]
    centres, all_sides = [], []
    for stride in STRIDES:
        rows, columns = (torch.arange(-(-side // stride), dtype=torch.float64) * stride for side in size)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        places = torch.stack([x, y], -1).reshape(-1, 1, 2)
        centres.append(places.expand(-1, ANCHORS, 2).reshape(-1, 2))
        all_sides.append((stride * sides).reshape(1, ANCHORS, 2).expand(len(places), -1, -1).reshape(-1, 2))
    return torch.cat(centres).float(), torch.cat(all_sides).float()


class RetinaHead(nn.Module):
    """Scores classes for every anchor and says how to move it, the same way on every level."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.cls_convs = nn.ModuleList(ConvUnit(PYRAMID_WIDTH, PYRAMID_WIDTH, 3, relu=True) for _ in range(4))
        self.reg_convs = nn.ModuleList(ConvUnit(PYRAMID_WIDTH, PYRAMID_WIDTH, 3, relu=True) for _ in range(4))
        self.retina_cls = nn.Conv2d(PYRAMID_WIDTH, ANCHORS * num_classes, 3, padding=1)
        self.retina_reg = nn.Conv2d(PYRAMID_WIDTH, ANCHORS * 4, 3, padding=1)
        nn.init.constant_(self.retina_cls.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Map levels (B, 256, H, W) to logits (B, N, classes) and moves (B, N, 4) of all their anchors."""
        logits, moves = [], []
        for level in levels:
            scored, moved = level, level
            for for_classes, for_boxes in zip(self.cls_convs, self.reg_convs, strict=True):
                scored, moved = for_classes(scored), for_boxes(moved)
            logits.append(_by_anchor(self.retina_cls(scored), self.num_classes))
            moves.append(_by_anchor(self.retina_reg(moved), 4))
        return torch.cat(logits, 1), torch.cat(moves, 1)


def _by_anchor(values: Tensor, count: int) -> Tensor:
    """Return a map's channels (B, anchors * count, H, W) as rows (B, H * W * anchors, count)."""
    return values.permute(0, 2, 3, 1).reshape(values.shape[0], -1, count)


class RetinaNet(nn.Module):
    """A backbone, a pyramid of strides 8 to 128 and a head, for images (B, 3, H, W) of the size it is built for.

    It gives boxes (B, N, 4), left, top, right and bottom in pixels and within the image, and scores (B, N, classes).
    """

    centres: Tensor
    sides: Tensor
    edges: Tensor

    def __init__(self, backbone: nn.Module, *, num_classes: int, img_size: Size) -> None:
        super().__init__()
        self.img_size = img_size
        self.backbone = backbone
        channels: Sequence[int] = backbone.feature_channels  # type: ignore[assignment]
        self.neck = Pyramid(channels[1:], extra=2)
        self.bbox_head = RetinaHead(num_classes)
        height, width = img_size
        centres, sides = anchors(img_size)
        self.register_buffer("centres", centres, persistent=False)
        self.register_buffer("sides", sides, persistent=False)
        self.register_buffer("edges", torch.tensor([width, height], dtype=torch.float32), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes and scores."""
        check_built_size(images, self.img_size)
        logits, moves = self.bbox_head(self.neck(self.backbone(images)[1:]))
        middle = self.centres + self.sides * moves[..., :2]
        half = self.sides * moves[..., 2:].clamp(-LARGEST_STRETCH, LARGEST_STRETCH).exp() / 2
        first, last = (torch.minimum(corner.clamp(min=0), self.edges) for corner in (middle - half, middle + half))
        return torch.cat([first, last], -1), logits.sigmoid()
