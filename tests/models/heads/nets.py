"""Small backbones that return the maps of a pyramid."""

from __future__ import annotations

from torch import nn

from tests.rewrites.families import FAMILIES

PYRAMIDS = ("care", "clustr", "lavit")
CARD = {"input_size": (64, 64)}


def small_backbone(family: str) -> nn.Module:
    """Return a small model of a family as it returns its maps, without its classifier."""
    backbone = FAMILIES[family]()
    backbone.features_only = True
    for name in ("head", "dist_head", "norm"):
        if hasattr(backbone, name):
            delattr(backbone, name)
    return backbone
