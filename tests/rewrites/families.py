"""One small model of every family, with all the kinds of block that the family has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from torch import nn

from mobilevit_tools.models.armour import CompactAttention
from mobilevit_tools.models.care import CARETransformer
from mobilevit_tools.models.clustr import ClusTR
from mobilevit_tools.models.couplformer import Couplformer
from mobilevit_tools.models.couplformer_pyramid import CouplformerPyramid
from mobilevit_tools.models.deit import Attention, DeiT
from mobilevit_tools.models.lavit import LaViT

SIDE = 64
"""Height and width in pixels: the least that leaves every family's last stage more than one token."""


def care() -> nn.Module:
    """CARE: two blocks in its last stage, of which the last has no layer scale."""
    return CARETransformer((1, 1, 1, 2), (2, 4, 32, 64), ((2, 2), (2, 3), (2, 2), (3, 2)), num_classes=5)


def couplformer() -> nn.Module:
    """An isotropic Couplformer."""
    return Couplformer(1, 2, 2, 32, img_size=SIDE, patch_size=16, num_classes=5)


def couplformer_pyramid() -> nn.Module:
    """A Couplformer over the pyramid's four grids."""
    return CouplformerPyramid(8, (1, 1, 1, 1), (2, 2, 2, 2), img_size=SIDE, num_classes=5)


def clustr() -> nn.Module:
    """A ClusTR with two heads in every stage."""
    return ClusTR((8, 8, 8, 8), (1, 1, 1, 1), (2, 2, 2, 2), num_classes=5)


def lavit() -> nn.Module:
    """A LaViT with vanilla and less-attention in stages 3 and 4."""
    return LaViT((8, 8, 8, 8), (2, 2, 2, 2), (1, 1, 2, 2), img_size=SIDE, num_classes=5)


def _deit(attention: Callable[..., nn.Module] = Attention) -> nn.Module:
    model = DeiT(32, 2, img_size=SIDE, num_classes=5, attention=attention)
    model.blocks = model.blocks[:1]
    return model


FAMILIES: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {
        "care": care,
        "couplformer": couplformer,
        "couplformer_pyramid": couplformer_pyramid,
        "clustr": clustr,
        "lavit": lavit,
        "deit": _deit,
        "armour": partial(_deit, CompactAttention),
    }
)
