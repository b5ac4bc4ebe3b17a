"""A tiny vision transformer with everything that quantizers treat differently, and photos of its own."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.quantization.calibration import Calibration, CalibrationRecord

SIDE = 16
CLASSES = 10
WIDTH = 32
RECIPE = Preprocessing(input_size=(SIDE, SIDE))
CONTRACT = Contract(model="tiny", preprocessing=RECIPE)


class Tiny(nn.Module):
    """Stem, depthwise and pointwise convolution, attention over tokens, LayerNorm, residual sums, head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.depthwise = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH)
        self.pointwise = nn.Conv2d(WIDTH, WIDTH, 1)
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.pointwise(F.gelu(self.depthwise(x)))
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm(tokens)).chunk(3, dim=-1)
        tokens = tokens + self.out(torch.softmax(q @ k.transpose(1, 2) / WIDTH**0.5, dim=-1) @ v)
        return self.head(tokens.mean(dim=1))


def tiny() -> Tiny:
    """Return the net with seeded weights; its depthwise channels differ in scale by up to a thousand."""
    torch.manual_seed(0)
    net = Tiny().eval().requires_grad_(requires_grad=False)
    net.depthwise.weight *= torch.logspace(-2.5, 0.5, WIDTH).view(-1, 1, 1, 1)
    return net


class Tied(nn.Module):
    """Two convolutions and two linear layers with one weight each."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.second = nn.Conv2d(3, 3, 1)
        self.hidden = nn.Linear(3, 3)
        self.head = nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.head.weight = self.hidden.weight

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.second(torch.relu(self.first(x)))).mean(dim=(2, 3))
        return self.head(torch.relu(self.hidden(x)))


class Mixed(nn.Module):
    """Operators with weights in forms that Tiny has none of: what people's own models bring."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 4, stride=4, bias=False)
        self.norm = nn.BatchNorm2d(WIDTH)
        self.scaled = nn.Conv2d(WIDTH, WIDTH, 1)
        self.along = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)
        self.up = nn.ConvTranspose1d(WIDTH, WIDTH, 2, stride=2)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.product = nn.Parameter(torch.randn(WIDTH, WIDTH) / WIDTH**0.5)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = 0.5 * self.scaled(torch.relu(self.norm(self.stem(x))))
        tokens = self.up(self.along(x.flatten(2))).transpose(1, 2)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return self.head((tokens @ self.product).mean(dim=1))


MIXED_WEIGHTS = (
    "stem.weight",
    "scaled.weight",
    "along.weight",
    "attention.in_proj_weight",
    "attention.out_proj.weight",
    "product",
    "head.weight",
)
"""What is quantized of Mixed; no target takes transposed convolutions."""


def mixed() -> Mixed:
    """Return the net with seeded weights and statistics."""
    torch.manual_seed(0)
    net = Mixed().eval().requires_grad_(requires_grad=False)
    net.norm.running_mean.uniform_(-1, 1)
    net.norm.running_var.uniform_(0.5, 2)
    return net


def smooth_pixels(count: int, seed: int) -> np.ndarray:
    """Return ``count`` images (count, 3, SIDE, SIDE) of coloured gradients, uint8: photos have neighbours alike."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 255, (count, 3, 2, 2))
    ramp = np.linspace(0, 1, SIDE)
    rows = corners[..., :1, :] + (corners[..., 1:, :] - corners[..., :1, :]) * ramp[:, None]
    images = rows[..., :1] + (rows[..., 1:] - rows[..., :1]) * ramp
    return images.round().astype(np.uint8)


def calibration(count: int = 24, seed: int = 0, pixels: np.ndarray | None = None) -> Calibration:
    """Return a calibration on gradients, or on ``pixels``."""
    pixels = smooth_pixels(count, seed) if pixels is None else pixels
    return Calibration(pixels, RECIPE, CalibrationRecord(len(pixels), 0, "", ()))


def snr_db(expected: np.ndarray, got: np.ndarray) -> float:
    """Return the signal-to-noise ratio of ``got``."""
    return float(10 * np.log10((expected**2).sum() / max(((got - expected) ** 2).sum(), 1e-30)))


def fresh_inputs() -> np.ndarray:
    """Return normalised images (8, 3, SIDE, SIDE) that no calibration has."""
    return RECIPE.normalize(smooth_pixels(8, seed=99))
