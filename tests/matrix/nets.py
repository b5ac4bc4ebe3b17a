"""A user's own model file, as a matrix may meet it: one model that works and some that do not."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn

CARD = {"input_size": (32, 32)}


class Tiny(nn.Module):
    """Pools, and classifies into three."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


class TwoFaced(Tiny):
    """Computes something else while it is exported."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + float(torch.compiler.is_exporting())


def tiny() -> tuple[nn.Module, dict[str, object]]:
    return Tiny(), CARD


def two_faced() -> tuple[nn.Module, dict[str, object]]:
    return TwoFaced(), CARD


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang() -> None:
    tempfile.mkdtemp()
    Path(__file__).with_name("pid").write_text(str(os.getpid()))
    time.sleep(600)


class Patches(nn.Module):
    """A patch embedding and a head, with weights that are worth quantizing."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 32, 8, 8)
        self.head = nn.Linear(32, 20)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.relu(self.embed(x)).mean((2, 3)))
        return logits


def patches() -> tuple[nn.Module, dict[str, object]]:
    return Patches(), CARD
