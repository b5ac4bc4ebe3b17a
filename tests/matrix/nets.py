"""A user's own model file, as a matrix may meet it: one model that works and some that do not."""

from __future__ import annotations

import os
import signal
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


class Counting(Tiny):
    """Adds how often it was called: an export keeps the count at which it was traced."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1.0
        return super().forward(x) + torch.tensor([self.calls, 0.0, 0.0])


def tiny() -> tuple[nn.Module, dict[str, object]]:
    return Tiny(), CARD


def counting() -> tuple[nn.Module, dict[str, object]]:
    return Counting(), CARD


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang() -> None:
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
