from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobilevit_tools.errors import BadInputError, MvtError
from mobilevit_tools.runtimes.coreml import load_program
from mobilevit_tools.runtimes.coreml.mil import read_graph
from mobilevit_tools.runtimes.coreml.package import Package, open_package
from mobilevit_tools.runtimes.coreml.schema import model_class
from tests.runtimes.coreml.building import mb, noise, save

MODEL = Path("Data/com.apple.CoreML/model.mlmodel")


def test_a_graph_holds_operations_constants_and_declared_types(small_package: Path) -> None:
    graph = read_graph(open_package(small_package))
    assert [operation.type for operation in graph.operations] == ["conv", "relu", "reduce_mean", "linear", "softmax"]
    assert [operation.name for operation in graph.operations] == ["stem", "active", "pooled", "scores", "y"]
    assert graph.outputs == ("y",)
    assert graph.inputs["x"].shape == (1, 3, 8, 8)
    assert graph.opset == "CoreML5"
    conv = graph.operations[0]
    (weight,) = conv.inputs["weight"]
    np.testing.assert_array_equal(graph.constants[str(weight)].value, noise(4, 3, 3, 3))
    ((name, declared),) = conv.outputs
    assert (name, declared.shape, declared.element.name) == ("stem", (1, 4, 3, 3), "fp32")


def test_immediate_constants_of_every_type_are_decoded(tmp_path: Path) -> None:
    values = {
        "halves": np.array([0.5, -1.25], np.float16),
        "bytes": np.array([-3, 7], np.int8),
        "shorts": np.array([-300, 300], np.int16),
        "whole": np.array([1 << 20, -5], np.int32),
        "flags": np.array([True, False]),
    }

    @mb.program(input_specs=[mb.TensorSpec((1,))], opset_version=_target())
    def program(x: Any) -> Any:
        results = [x]
        for name, value in values.items():
            constant = mb.const(val=value, name=name)
            results.append(mb.cast(x=mb.expand_dims(x=constant, axes=[0]), dtype="fp32"))
        return mb.concat(values=[mb.reshape(x=entry, shape=[-1]) for entry in results], axis=0, name="all")

    path = save(program, tmp_path / "constants.mlpackage", minimum_deployment_target=_target())
    graph = load_program(path).graph
    for name, value in values.items():
        np.testing.assert_array_equal(graph.constants[name].value, value)
        assert graph.constants[name].value.dtype == value.dtype
    out = load_program(path).run({"x": np.zeros(1, np.float32)})["all"]
    np.testing.assert_array_equal(out[1:], np.concatenate([value.astype(np.float32) for value in values.values()]))


def _target() -> Any:
    import coremltools

    return coremltools.target.iOS17


def _package(path: Path) -> Package:
    spec = model_class()()
    spec.ParseFromString((path / MODEL).read_bytes())
    return Package(path, spec, path.resolve(), (path / MODEL).parent.resolve())


def _constant(package: Package) -> Any:
    block = package.spec.mlProgram.functions["main"].block_specializations["CoreML5"]
    return next(entry for entry in block.operations if entry.type == "const")


def test_damaged_programs_are_refused(small_package: Path) -> None:
    package = _package(small_package)
    with pytest.raises(BadInputError, match="no function 'other'"):
        read_graph(package, "other")

    package = _package(small_package)
    _constant(package).ClearField("attributes")
    with pytest.raises(BadInputError, match="a constant without a value"):
        read_graph(package)

    package = _package(small_package)
    value = _constant(package).attributes["val"]
    value.type.tensorType.dataType = 99
    with pytest.raises(BadInputError, match="unknown element type 99"):
        read_graph(package)

    package = _package(small_package)
    tensor = _constant(package).attributes["val"].type.tensorType
    for size in (1 << 20, 1 << 20):
        tensor.dimensions.add().constant.size = size
    with pytest.raises(BadInputError, match="too large"):
        read_graph(package)

    package = _package(small_package)
    for _ in range(20):
        _constant(package).attributes["val"].type.tensorType.dimensions.add().constant.size = 1
    with pytest.raises(BadInputError, match="of rank"):
        read_graph(package)

    package = _package(small_package)
    package.spec.mlProgram.functions["main"].opset = "CoreML99"
    with pytest.raises(BadInputError, match="no operations for its operator set 'CoreML99'"):
        read_graph(package)


def test_no_damage_shows_as_anything_but_a_clear_error(copied: Callable[[], Path]) -> None:
    package = copied()
    intact = (package / MODEL).read_bytes()
    choose = random.Random(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(intact)
        for _ in range(choose.choice([1, 2, 5])):
            damaged[choose.randrange(len(damaged))] = choose.randrange(256)
        (package / MODEL).write_bytes(damaged)
        try:
            program = load_program(package)
            program.run({entry.name: np.zeros((1, 3, 8, 8), np.float32) for entry in program.inputs}, "half")
        except MvtError:
            refused += 1
    assert refused > 50
