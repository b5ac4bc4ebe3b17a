"""Each design rule of the Neural Engine finds what breaks it, and leaves what keeps it alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from torch import nn

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.coreml import load_program
from mobilevit_tools.runtimes.coreml.design_rules import RULES, SOURCES, broken_rules
from mobilevit_tools.runtimes.coreml.session import open_session
from tests.runtimes.coreml.building import mb, noise, save, saved_cases

Build = Callable[[Any, str], Any]
SHAPE = (1, 8, 32, 64)
INFINITE = np.array([0, -np.inf] * 32, np.float32)


def conv(kernel: int = 3, **options: Any) -> Build:
    return lambda x, name: mb.conv(x=x, weight=noise(4, 8, kernel, kernel), name=name, **options)


def pool(stride: int, kernel: int = 3) -> Build:
    return lambda x, name: mb.max_pool(
        x=x, kernel_sizes=[kernel] * 2, strides=[stride] * 2, pad_type="valid", name=name
    )


def palettized(stride: int) -> Build:
    def build(x: Any, name: str) -> Any:
        weight = mb.constexpr_lut_to_dense(
            indices=np.zeros(4 * 8 * 9, np.uint8),
            lut=np.arange(256, dtype=np.float32),
            shape=np.array([4, 8, 3, 3], np.uint32),
        )
        return mb.conv(x=x, weight=weight, strides=[stride] * 2, name=name)

    return build


def reshaped(*shape: int) -> Build:
    return lambda x, name: mb.reshape(x=x, shape=shape, name=name)


def attention(x: Any, name: str) -> Any:
    return mb.scaled_dot_product_attention(query=x, key=x, value=x, name=name)


CASES: dict[str, tuple[list[Build], list[Build]]] = {
    "rank": ([reshaped(1, 2, 4, 32, 64)], [reshaped(1, 16, 16, 64)]),
    "singleton-last-axis": ([reshaped(1, 16384, 1)], [reshaped(1, 1, 16384)]),
    "linear": ([lambda x, name: mb.linear(x=x, weight=noise(32, 64), name=name)], [conv(1)]),
    "spatial-softmax": (
        [lambda x, name: mb.softmax(x=x, axis=-1, name=name), lambda x, name: mb.softmax(x=x, axis=2, name=name)],
        [lambda x, name: mb.softmax(x=x, axis=1, name=name)],
    ),
    "stride-factors": (
        [conv(strides=[5, 5]), conv(strides=[1, 7])],
        [conv(strides=[6, 6]), conv(), conv(strides=[9, 9])],
    ),
    "unequal-strides": (
        [conv(strides=[3, 4]), conv(strides=[2, 6])],
        [conv(strides=[2, 4]), conv(strides=[4, 4]), conv(strides=[1, 2])],
    ),
    "palettized-stride": ([palettized(3)], [palettized(2), conv(strides=[3, 3])]),
    "large-kernel": ([conv(9)], [conv(7)]),
    "large-dilation": ([conv(dilations=[4, 4])], [conv(dilations=[3, 3])]),
    "pooling-stride": (
        [pool(3), pool(5)],
        [
            pool(2),
            pool(4),
            lambda x, name: mb.avg_pool(x=x, kernel_sizes=[32, 64], strides=[32, 64], pad_type="valid", name=name),
        ],
    ),
    "infinite-mask": (
        [lambda x, name: mb.add(x=x, y=INFINITE, name=name)],
        [lambda x, name: mb.add(x=x, y=np.maximum(INFINITE, -40000).astype(np.float32), name=name)],
    ),
    "width-transpose": (
        [lambda x, name: mb.transpose(x=x, perm=[0, 1, 3, 2], name=name)],
        [lambda x, name: mb.transpose(x=x, perm=[0, 2, 1, -1], name=name)],
    ),
    "fused-attention": ([attention], [lambda x, name: mb.matmul(x=x, y=x, transpose_y=True, name=name)]),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """What the rules find in every case at once; operations are named after their case."""
    folder, merged = tmp_path_factory.mktemp("rules"), dict[str, set[str]]()
    for target, rules in (
        (ct.target.iOS17, CASES.keys() - {"fused-attention"}),
        (ct.target.iOS18, {"fused-attention"}),
    ):
        builds = {
            f"out_{name}": lambda x, build=build, name=name: build(x, name)
            for rule in sorted(rules)
            for kind, several in zip(("bad", "good"), CASES[rule], strict=True)
            for index, build in enumerate(several)
            for name in [f"{rule.replace('-', '_')}_{kind}_{index}"]
        }
        program = saved_cases(builds, SHAPE, folder / f"{target.name}.mlpackage", target)
        for broken in broken_rules(program):
            merged.setdefault(broken.name, set()).update(broken.operations)
    return merged


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_finds_what_breaks_it_and_nothing_else(found: dict[str, set[str]], rule: str) -> None:
    of_it = {name for name in found[rule] if name.startswith(rule.replace("-", "_"))}
    assert of_it == {f"{rule.replace('-', '_')}_bad_{index}" for index in range(len(CASES[rule][0]))}


@pytest.mark.parametrize(("width", "broken"), [(1, "singleton-last-axis"), (31, "narrow-last-axis"), (32, None)])
def test_inputs_and_outputs_have_a_wide_last_axis(tmp_path: Path, width: int, broken: str | None) -> None:
    @mb.program(input_specs=[mb.TensorSpec((1, 4, 2, width))], opset_version=ct.target.iOS16)
    def program(x: Any) -> Any:
        return mb.relu(x=x, name="y")

    path = save(program, tmp_path / "ends.mlpackage", minimum_deployment_target=ct.target.iOS16)
    assert {each.name: set(each.operations) for each in broken_rules(load_program(path))} == (
        {broken: {"x", "y"}} if broken else {}
    )
    with open_session(path, threads=1) as session:
        shown = [note for note in session.notes if note.startswith("Neural Engine design: ")]
    assert len(shown) == (broken is not None)
    assert all("64 bytes" in note and "Apple" in note for note in shown)


def test_several_sizes_break_a_rule_and_one_does_not(tmp_path: Path) -> None:
    net = nn.Conv2d(3, 4, 3, padding=1).eval()
    exported = torch.export.export(
        net, (torch.randn(1, 3, 12, 64),), dynamic_shapes={"input": {2: torch.export.Dim("height", min=4, max=64)}}
    )
    for shape, broken in (
        (ct.EnumeratedShapes([(1, 3, 12, 64), (1, 3, 24, 64)]), ["static-shapes"]),
        (ct.Shape((1, 3, 12, 64)), []),
    ):
        path = tmp_path / f"{len(broken)}.mlpackage"
        ct.convert(
            exported.run_decompositions({}),
            convert_to="mlprogram",
            skip_model_load=True,
            inputs=[ct.TensorType(name="input", shape=shape, dtype=np.float32)],
            minimum_deployment_target=ct.target.iOS16,
        ).save(str(path))
        assert [each.name for each in broken_rules(load_program(path))] == broken


def test_rules_are_many_and_each_has_a_source_and_a_case() -> None:
    assert len(RULES) >= 12
    assert {rule.source for rule in RULES.values()} == SOURCES.keys()
    assert RULES.keys() == CASES.keys() | {"narrow-last-axis", "static-shapes"}


def test_a_damaged_operation_is_refused(small_package: Path) -> None:
    program = load_program(small_package)
    first, *rest = program.graph.operations
    damaged = dataclasses.replace(first, type="softmax", outputs=())
    program.graph = dataclasses.replace(program.graph, operations=(damaged, *rest))
    with pytest.raises(BadInputError, match="does not fit its type"):
        broken_rules(program)
