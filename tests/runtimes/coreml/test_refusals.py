from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobilevit_tools.errors import BadInputError, ExitCode
from mobilevit_tools.runtimes.coreml import load_program
from mobilevit_tools.runtimes.coreml.mil import Block, Graph
from mobilevit_tools.runtimes.coreml.refusals import refusals
from mobilevit_tools.runtimes.coreml.session import open_session
from tests.runtimes.coreml.building import mb, save


def _padded(path: Path, mode: str, pad: list[int]) -> Path:
    @mb.program(input_specs=[mb.TensorSpec((1, 2, 3, 4, 5))])
    def program(x: Any) -> Any:
        return mb.pad(x=x, pad=pad, mode=mode, name="bordered")

    return save(program, path)


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
@pytest.mark.parametrize("pad", [[1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]])
def test_a_mirrored_border_of_outer_dimensions_does_not_load(tmp_path: Path, mode: str, pad: list[int]) -> None:
    path = _padded(tmp_path / "a.mlpackage", mode, pad)
    with pytest.raises(BadInputError, match=r"Core ML does not load a\.mlpackage: .*'bordered' pads more") as caught:
        load_program(path).run({"x": np.zeros((1, 2, 3, 4, 5), np.float32)})
    assert (caught.value.exit_code, caught.value.error_code) == (ExitCode.BAD_INPUT, "core_ml_refuses")
    with open_session(path, threads=1) as session:
        assert "'bordered'" in session.notes[0]


@pytest.mark.parametrize(
    ("mode", "pad"),
    [
        ("constant", [1, 1, 1, 1, 1, 1]),
        ("reflect", [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]),
        ("replicate", [1, 2]),
    ],
)
def test_other_borders_load(tmp_path: Path, mode: str, pad: list[int]) -> None:
    program = load_program(_padded(tmp_path / "a.mlpackage", mode, pad))
    (out,) = program.run({"x": np.ones((1, 2, 3, 4, 5), np.float32)}).values()
    assert np.asarray(out).ndim == 5


def _deeper(graph: Graph, rank: int) -> Graph:
    (operation,) = graph.operations
    ((name, declared),) = operation.outputs
    declared = dataclasses.replace(declared, shape=(1,) * rank)
    return dataclasses.replace(graph, operations=(dataclasses.replace(operation, outputs=((name, declared),)),))


def test_a_value_of_six_dimensions_does_not_load(tmp_path: Path) -> None:
    graph = load_program(_padded(tmp_path / "a.mlpackage", "constant", [1, 1])).graph
    assert refusals(_deeper(graph, 5)) == ()
    assert refusals(_deeper(graph, 6)) == ("the operation 'bordered' makes 'bordered' with 6 dimensions",)


def test_values_of_branches_and_inputs_count_too(tmp_path: Path) -> None:
    graph = load_program(_padded(tmp_path / "a.mlpackage", "constant", [1, 1])).graph
    deep = _deeper(graph, 6).operations
    branching = dataclasses.replace(graph.operations[0], type="cond", blocks=(Block({}, (), deep),))
    assert refusals(dataclasses.replace(graph, operations=(branching,))) == refusals(_deeper(graph, 6))
    (declared,) = graph.inputs.values()
    taken = {"x": dataclasses.replace(declared, shape=(1,) * 6)}
    assert refusals(dataclasses.replace(graph, inputs=taken)) == ("its input 'x' has 6 dimensions",)
