"""A small net with one of many faults in it: all of them in one program, an output each, so that it is lowered once."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = 16
WIDTH = 12
HEADS = 3
CLASSES = 7
TOKENS = (SIZE // 4) ** 2

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Stem(nn.Module):
    """Convolution, BatchNorm and GELU; pooling with a padded border."""

    FAULTS = (
        "missing normalisation of the input",
        "swapped channels",
        "dropped bias of a convolution",
        "transposed kernel",
        "padding off by one",
        "wrong epsilon of BatchNorm",
        "stale BatchNorm statistics",
        "tanh for exact GELU",
        "ReLU for GELU",
        "wrong divisor of a pooling window",
        "maximum for average",
    )

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, WIDTH, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(WIDTH)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))

    def forward(self, x: Tensor, fault: str = "") -> Tensor:
        if fault == "missing normalisation of the input":
            x = x * self.std + self.mean
        if fault == "swapped channels":
            x = torch.cat([x[:, 2:], x[:, 1:2], x[:, :1]], 1)
        weight = self.turned if fault == "transposed kernel" else self.conv.weight
        bias = None if fault == "dropped bias of a convolution" else self.conv.bias
        border = (0, 2, 0, 2) if fault == "padding off by one" else (1, 1, 1, 1)
        x = F.conv2d(F.pad(x, border), weight, bias, stride=2)
        x = _gelu(self._norm(x, fault), fault)
        if fault == "maximum for average":
            return F.max_pool2d(x, 3, 2, 1)
        return F.avg_pool2d(x, 3, 2, 1, count_include_pad=fault == "wrong divisor of a pooling window")

    def _norm(self, x: Tensor, fault: str) -> Tensor:
        mean, var, eps = self.norm.running_mean, self.norm.running_var, self.norm.eps
        if fault == "wrong epsilon of BatchNorm":
            eps = 1e-3
        elif fault == "stale BatchNorm statistics":
            mean, var = mean * 0.9, var * 0.9 + 0.1
        else:
            return self.norm(x)
        # Written out: XNNPACK folds the first BatchNorm into a convolution that several read, and forgets the others.
        scale = self.norm.weight / (var + eps).sqrt()
        return x * scale.view(1, -1, 1, 1) + (self.norm.bias - mean * scale).view(1, -1, 1, 1)


def _gelu(x: Tensor, fault: str) -> Tensor:
    if fault == "tanh for exact GELU":  # written out, for a converter may drop the option
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return F.relu(x) if fault == "ReLU for GELU" else F.gelu(x)


class Attention(nn.Module):
    """LayerNorm and attention with several heads, beside a residual."""

    FAULTS = (
        "wrong epsilon of LayerNorm",
        "unbiased deviation in LayerNorm",
        "missing normalisation",
        "swapped heads",
        "softmax over the wrong axis",
        "missing scale of attention",
        "scale by the whole width",
        "dropped bias of the queries",
        "transposed weight",
        "dropped residual",
    )

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH, eps=1e-5)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, fault: str = "") -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        normed = tokens if fault == "missing normalisation" else self._norm(tokens, fault)
        bias = self.qkv.bias
        if fault == "dropped bias of the queries":
            bias = torch.cat([bias.new_zeros(WIDTH), bias[WIDTH:]])
        qkv = F.linear(normed, self.qkv.weight, bias)
        parts = qkv.reshape(1, TOKENS, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        q, k, v = parts[0], parts[1], parts[2]
        scale = {"missing scale of attention": 1.0, "scale by the whole width": WIDTH**-0.5}.get(
            fault, (WIDTH // HEADS) ** -0.5
        )
        scores = q @ k.transpose(-2, -1) * scale
        mixed = torch.softmax(scores, -2 if fault == "softmax over the wrong axis" else -1) @ v
        if fault == "swapped heads":
            mixed = torch.cat([mixed[:, 1:2], mixed[:, :1], mixed[:, 2:]], 1)
        merged = mixed.transpose(1, 2).reshape(1, TOKENS, WIDTH)
        weight = self.turned if fault == "transposed weight" else self.proj.weight
        out = F.linear(merged, weight, self.proj.bias)
        return out if fault == "dropped residual" else tokens + out

    def _norm(self, tokens: Tensor, fault: str) -> Tensor:
        if fault == "unbiased deviation in LayerNorm":
            apart = tokens - tokens.mean(-1, keepdim=True)
            deviation = (apart.pow(2).sum(-1, keepdim=True) / (WIDTH - 1) + self.norm.eps).sqrt()
            return apart / deviation * self.norm.weight + self.norm.bias
        eps = 1e-3 if fault == "wrong epsilon of LayerNorm" else self.norm.eps
        return F.layer_norm(tokens, (WIDTH,), self.norm.weight, self.norm.bias, eps)


class Head(nn.Module):
    """The mean token as logits, far below zero, as of classes that were trained one against the rest."""

    FAULTS = (
        "dropped bias of the head",
        "offset on all logits",
        "constant answer",
        "logits of twice the size",
        "two classes swapped",
        "sum for mean",
    )

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor, fault: str = "") -> Tensor:
        pooled = x.sum(1) / (TOKENS + 1) if fault == "sum for mean" else x.mean(1)
        if fault == "constant answer":
            pooled = pooled * 0 + self.typical
        logits = F.linear(pooled, self.linear.weight, None if fault == "dropped bias of the head" else self.linear.bias)
        if fault == "offset on all logits":
            return logits + 0.05
        if fault == "two classes swapped":
            return torch.cat([logits[:, 1:2], logits[:, :1], logits[:, 2:]], 1)
        return logits * 2 if fault == "logits of twice the size" else logits


class Net(nn.Module):
    """The right one."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([Stem(), Attention(), Head()])

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x)
        return x


FAULTS = (*Stem.FAULTS, *Attention.FAULTS, *Head.FAULTS)


class Faulty(nn.Module):
    """Gives the right logits first, then what the net gives with each of some faults, in the order of ``FAULTS``."""

    def __init__(self, net: Net, faults: Collection[str]) -> None:
        super().__init__()
        self.net = net
        self.faults = faults

    def forward(self, x: Tensor) -> list[Tensor]:
        stages = self.net.stages
        right = [x]
        for stage in stages:
            right.append(stage(right[-1]))
        outputs = [right[-1]]
        for index, stage in enumerate(stages):
            for fault in (each for each in stage.FAULTS if each in self.faults):
                y = stage(right[index], fault)
                for later in stages[index + 1 :]:
                    y = later(y)
                outputs.append(y)
        return outputs


def trained(photos: Tensor) -> Net:
    """Return a net with weights as training leaves them: measured statistics, and logits that tell inputs apart."""
    torch.manual_seed(0)
    net = Net().eval()
    stem, attention, head = net.stages
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape) * 0.2)
        activations = stem.conv(photos)
        stem.norm.running_mean.copy_(activations.mean((0, 2, 3)))
        stem.norm.running_var.copy_(activations.var((0, 2, 3)))
        attention.qkv.weight.mul_(3)
        # Parameters of their own, which quantizers ask for.
        stem.turned = nn.Parameter(stem.conv.weight.transpose(2, 3).contiguous())
        attention.turned = nn.Parameter(attention.proj.weight.transpose(0, 1).contiguous())
        tokens = torch.cat([attention(stem(photo[None])).mean(1) for photo in photos])
        head.register_buffer("typical", tokens.mean(0, keepdim=True))
        # Each class is the direction of one photo, seen from the typical one.
        apart = tokens - tokens.mean(0)
        directions = apart[:CLASSES] / apart[:CLASSES].norm(dim=1, keepdim=True)
        head.linear.weight.copy_(2 * directions / apart.norm(dim=1).mean())
        head.linear.bias.copy_(-8 + 0.3 * torch.randn(CLASSES) - head.linear.weight @ tokens.mean(0))
    return net
