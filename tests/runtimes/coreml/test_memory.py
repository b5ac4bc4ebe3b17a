"""Peak activation memory of Core ML programs, against lifetimes worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import pytest
from torch import nn

from mobilevit_tools.analysis.memory import activation_peak as of_module
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.coreml import load_program
from mobilevit_tools.runtimes.coreml.memory import activation_peak
from tests.runtimes.coreml.building import convert, mb, noise, save


def test_a_peak_is_named_and_views_cost_nothing(tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((4, 8))], opset_version=ct.target.iOS17)
    def program(x: Any) -> Any:
        wide = mb.linear(x=x, weight=noise(32, 8), name="wide")  # 32 values in, 128 out
        flat = mb.reshape(x=wide, shape=[128], name="flat")
        low = mb.cast(x=flat, dtype="fp16", name="low")  # half the bytes, beside what it reads
        kept = mb.exp(x=low, name="kept")
        return mb.cast(x=mb.reduce_sum(x=kept, axes=[0], name="sum"), dtype="fp32", name="out")

    path = save(program, tmp_path / "p.mlpackage", minimum_deployment_target=ct.target.iOS17)
    peak = activation_peak(load_program(path))
    assert (peak.operator, peak.where, peak.peak_bytes) == ("cast", "low", 128 * 4 + 128 * 2)
    assert [(each.operator, each.where, each.shape, each.size_bytes) for each in peak.live] == [
        ("linear", "wide", (4, 32), 512),
        ("cast", "low", (128,), 256),
    ]


def test_a_state_lives_throughout(tmp_path: Path) -> None:
    @mb.program(
        input_specs=[mb.TensorSpec((4,)), mb.StateTensorSpec((64,), dtype=ct.converters.mil.mil.types.fp16)],
        opset_version=ct.target.iOS18,
    )
    def program(x: Any, memory: Any) -> Any:
        read = mb.read_state(input=memory)
        total = mb.cast(x=mb.reduce_sum(x=read, axes=[0]), dtype="fp32")
        wide = mb.tile(x=mb.add(x=x, y=total), reps=[16], name="wide")
        return mb.exp(x=wide, name="out")

    path = save(program, tmp_path / "s.mlpackage", minimum_deployment_target=ct.target.iOS18)
    peak = activation_peak(load_program(path))
    assert (peak.where, peak.peak_bytes) == ("out", 64 * 2 + 2 * 64 * 4)


def test_a_converted_network_needs_what_the_network_needs(tmp_path: Path) -> None:
    import torch

    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.Tanh(), nn.Conv2d(16, 4, 1), nn.Flatten(), nn.Linear(256, 5))
    path = convert(net, torch.zeros(1, 3, 8, 8), tmp_path / "net.mlpackage")
    assert activation_peak(load_program(path)).peak_bytes == of_module(net, (1, 3, 8, 8)).peak_bytes


def test_sizes_that_are_not_known_are_refused_by_name(tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((4, 8))], opset_version=ct.target.iOS17)
    def program(x: Any) -> Any:
        return mb.non_zero(x=x, name="found")

    path = save(program, tmp_path / "free.mlpackage", minimum_deployment_target=ct.target.iOS17)
    with pytest.raises(BadInputError, match="does not fix the size of 'found'"):
        activation_peak(load_program(path))
