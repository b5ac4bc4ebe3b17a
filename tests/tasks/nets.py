"""Small models of every task, whose answers vary over photos and within them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

SIZE = (32, 48)
LABELS = ("sky", "road", "tree", "cat")
CARD = {"input_size": SIZE, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


class Listed(nn.Module):
    """Returns what a module gives in a list, as many segmenters do."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.module(images)]


def segmenter(classes: int = len(LABELS)) -> nn.Module:
    """Return a net of three convolutions: (B, 3, H, W) to scores (B, classes, H / 4, W / 4)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, 2, 1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, classes, 1),
        )
        norm = net[3]
        with torch.no_grad():
            pixels = torch.rand(16, 3, *SIZE)
            features = net[:3](pixels)
            norm.running_mean.copy_(features.mean((0, 2, 3)))
            norm.running_var.copy_(features.var((0, 2, 3)))
    return net.eval()


def embedder() -> nn.Module:
    """Return a net whose embedding of a photo is its mean colour, mixed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 6)).eval()


def written(folder: Path) -> str:
    """Write the segmenter as a file of a user's own and return its reference."""
    (folder / "net.py").write_text(
        "from tests.tasks.nets import CARD, segmenter\n\n\n"
        'def build():\n    return segmenter(), {**CARD, "task": "segment"}\n'
    )
    return f"{folder / 'net.py'}:build"


class Detector(nn.Module):
    """Gives a box around each cell of a grid of 8 pixels, (B, N, 4), and scores of it (B, N, classes)."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 4, 4), nn.Tanh())
            self.boxes, self.scores = nn.Conv2d(8, 4, 1), nn.Conv2d(8, classes, 1)
        with torch.no_grad():
            self.scores.weight.mul_(8)
        height, width = SIZE[0] // 8, SIZE[1] // 8
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        centres = torch.stack([columns, rows], -1).reshape(1, -1, 2) * 8.0 + 4
        self.register_buffer("centres", centres, persistent=False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.stem(images)
        boxes = self.boxes(maps).flatten(2).transpose(1, 2)
        sides = 8 * boxes[..., 2:].exp()
        middle = self.centres + 8 * boxes[..., :2].tanh()
        corners = torch.cat([middle - sides / 2, middle + sides / 2], -1)
        return {"scores": self.scores(maps).flatten(2).transpose(1, 2).sigmoid(), "boxes": corners}


def detector() -> nn.Module:
    """Return a detector of three classes."""
    return Detector().eval()
