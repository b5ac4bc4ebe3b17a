"""ExecuTorch's student: what PT2E prepares with the exporter's own quantizer, with its observers made to round."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torchao.quantization.pt2e import ObserverBase

from mobilevit_tools.quantization.executorch import prepare
from mobilevit_tools.quantization.rounding import RoundedActivation, RoundedWeight
from mobilevit_tools.quantization.student import Student

if TYPE_CHECKING:
    from torch import nn

    from mobilevit_tools.quantization._base import Quantization

_PER_CHANNEL = (torch.per_channel_symmetric, torch.per_channel_affine)


def make_student(module: nn.Module, example: torch.Tensor, quantization: Quantization) -> Student:
    """Return ``module`` with the ranges that the quantizer measures."""
    prepared = prepare(module, example, quantization)
    for name, observer in list(prepared.named_modules()):
        if not isinstance(observer, ObserverBase):
            continue
        if observer.qscheme in _PER_CHANNEL:
            prepared.set_submodule(name, RoundedWeight(observer.ch_axis))
        else:
            scale, zero_point = observer.calculate_qparams()
            lowest, highest = observer.quant_min, observer.quant_max
            prepared.set_submodule(name, RoundedActivation(float(scale), int(zero_point), lowest, highest))
    return Student(prepared)
