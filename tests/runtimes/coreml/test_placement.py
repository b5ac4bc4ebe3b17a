from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from torch import nn

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.coreml import Program, load_program
from mobilevit_tools.runtimes.coreml.dtypes import BY_NAME
from mobilevit_tools.runtimes.coreml.mil import Constant
from mobilevit_tools.runtimes.coreml.placement import SOURCES, Placement, placement
from tests.runtimes.coreml.building import convert, mb, noise, save


def _notes(result: Placement) -> dict[str, tuple[str, ...]]:
    assert {note.source for note in result.notes} <= set(SOURCES)
    return {note.source: note.operations for note in result.notes}


def test_macs_are_counted_from_the_sizes_of_products(tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((1, 4, 9, 9))], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        y = mb.conv(x=x, weight=noise(6, 2, 3, 3), groups=2, strides=[2, 2], name="grouped")
        y = mb.conv_transpose(x=y, weight=noise(6, 3, 2, 2), groups=2, strides=[2, 2], name="up")
        y = mb.reshape(x=y, shape=[1, 6, 64], name="tokens")
        product = mb.matmul(x=y, y=y, transpose_x=True, name="gram")
        y = mb.matmul(x=y, y=product, name="mixed")
        y = mb.scaled_dot_product_attention(query=y, key=y, value=noise(1, 6, 10), name="attended")
        y = mb.linear(x=y, weight=noise(7, 10), name="head")
        y = mb.expand_dims(x=y, axes=[0])
        return mb.einsum(values=(y, noise(1, 7, 6, 3)), equation="nchw,nwhu->nchu", name="last")

    path = save(program, tmp_path / "macs.mlpackage", minimum_deployment_target=ct.target.iOS18)
    result = placement(load_program(path))
    macs = {use.type: use.macs for use in result.operators}
    assert macs["conv"] == 6 * 4 * 4 * 2 * 9
    assert macs["conv_transpose"] == 6 * 4 * 4 * 3 * 4
    assert macs["matmul"] == 64 * 64 * 6 + 6 * 64 * 64
    assert macs["scaled_dot_product_attention"] == 6 * 6 * (64 + 10)
    assert macs["linear"] == 6 * 7 * 10
    assert macs["einsum"] == 1 * 6 * 3 * 7
    assert macs["reshape"] == 0
    assert result.macs == sum(value or 0 for value in macs.values())
    assert result.uncounted == ()


def test_the_count_of_a_converted_network_is_the_networks_own(tmp_path: Path) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Flatten(), nn.Linear(512, 10)
    )
    program = load_program(convert(net, torch.randn(1, 3, 16, 16), tmp_path / "net.mlpackage"))
    assert placement(program).macs == 8 * 64 * 27 + 8 * 64 * 9 + 512 * 10


def test_a_half_program_of_plain_operators_has_no_obstacles(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.Conv2d(8, 4, 1))
    options = {"compute_precision": ct.precision.FLOAT16}
    program = load_program(convert(net, torch.randn(1, 3, 8, 8), tmp_path / "net.mlpackage", **options))
    result = placement(program)
    assert result.notes == ()
    (conv,) = (use for use in result.operators if use.type == "conv")
    assert (conv.count, conv.precisions) == (2, {"fp16": 2})


def test_every_known_obstacle_is_noted_with_its_source(tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((2, 3, 4, 4, 4))], opset_version=ct.target.iOS16)
    def program(x: Any) -> Any:
        volume = mb.conv(x=x, weight=noise(2, 3, 1, 1, 1), name="volume")
        flat = mb.reduce_max(x=volume, axes=[2, 3, 4], name="flat")
        best = mb.reduce_argmax(x=flat, axis=1, name="best")
        picked = mb.gather(x=flat, indices=best, name="picked")
        return mb.reduce_prod(x=picked, axes=[1], name="product")

    path = save(program, tmp_path / "obstacles.mlpackage", minimum_deployment_target=ct.target.iOS16)
    notes = _notes(placement(load_program(path)))
    assert notes["half-only"] == ("best",)
    assert notes["unsupported-layers"] == ("picked",)
    assert set(notes["capability-surface"]) == {"volume", "product"}
    assert set(notes["typed-execution"]) == {"volume", "flat", "picked", "product"}
    assert notes.keys() == {"half-only", "unsupported-layers", "capability-surface", "typed-execution"}


def test_a_rank_above_five_is_noted(small_package: Path) -> None:
    program = load_program(small_package)
    first, *rest = program.graph.operations
    ((name, declared),) = first.outputs
    high = dataclasses.replace(first, outputs=((name, dataclasses.replace(declared, shape=(1, 1, 1, 4, 3, 3))),))
    program.graph = dataclasses.replace(program.graph, operations=(high, *rest))
    assert _notes(placement(program))["rank-limit"] == ("stem",)


def test_ranges_of_sizes_are_noted_and_leave_products_uncounted(tmp_path: Path) -> None:
    net = nn.Conv2d(3, 4, 3, padding=1).eval()
    exported = torch.export.export(
        net, (torch.randn(1, 3, 12, 8),), dynamic_shapes={"input": {2: torch.export.Dim("height", min=4, max=64)}}
    )

    def saved(shape: Any, name: str) -> Program:
        path = tmp_path / name
        ct.convert(
            exported.run_decompositions({}),
            convert_to="mlprogram",
            skip_model_load=True,
            inputs=[ct.TensorType(name="input", shape=shape, dtype=np.float32)],
            minimum_deployment_target=ct.target.iOS16,
        ).save(str(path))
        return load_program(path)

    result = placement(saved(ct.Shape((1, 3, ct.RangeDim(4, 64, default=12), 8)), "range.mlpackage"))
    assert _notes(result) == {"range-shapes": ("input",)}
    assert result.uncounted == ("conv",)
    assert result.macs == 0
    listed = saved(ct.EnumeratedShapes([(1, 3, 12, 8), (1, 3, 24, 8)]), "listed.mlpackage")
    assert listed.inputs[0].flexibility == "listed"
    assert "range-shapes" not in _notes(placement(listed))


def test_a_product_without_inputs_is_refused(small_package: Path) -> None:
    program = load_program(small_package)
    first, *rest = program.graph.operations
    for inputs in ({}, {"weight": ()}, {"weight": ("nothing",)}):
        program.graph = dataclasses.replace(
            program.graph, operations=(dataclasses.replace(first, inputs=inputs), *rest)
        )
        with pytest.raises(BadInputError, match="'stem' do not fit its type"):
            placement(program)


@pytest.mark.parametrize("flag", [("axes", "axes"), (), (Constant(np.zeros(2), BY_NAME["bool"]),)])
def test_a_flag_that_is_none_is_refused(small_package: Path, flag: tuple[str | Constant, ...]) -> None:
    program = load_program(small_package)
    *rest, linear, last = program.graph.operations
    matmul = dataclasses.replace(linear, type="matmul", inputs={**linear.inputs, "transpose_x": flag})
    program.graph = dataclasses.replace(program.graph, operations=(*rest, matmul, last))
    with pytest.raises(BadInputError, match="'scores' do not fit its type"):
        placement(program)


def test_every_source_has_an_address() -> None:
    assert all(source.title and source.url.startswith("https://") for source in SOURCES.values())
