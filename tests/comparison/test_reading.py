"""What a damaged artifact does to the process that reads its weights is one clear error in ours."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import onnx
import pytest

from mobilevit_tools.comparison.reading import read_apart, read_stored
from mobilevit_tools.comparison.weights import diff_weights
from mobilevit_tools.errors import BadInputError, ExitCode
from mobilevit_tools.targets.registry import TARGETS


def model(path: Path, *values: float, dims: tuple[int, ...] | None = None) -> Path:
    tensor = onnx.TensorProto(name="weight", data_type=onnx.TensorProto.FLOAT, float_data=values)
    tensor.dims.extend(dims or (len(values),))
    graph = onnx.helper.make_graph([], "graph", [], [], [tensor])
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    return path


def test_weights_that_are_read_in_another_process_are_the_same(tmp_path: Path) -> None:
    path = model(tmp_path / "model.onnx", 1.0, 2.0)
    weights, notes = read_apart("onnx", path)
    assert (weights, notes) == read_stored("onnx", path)
    assert [(each.name, each.shape) for each in weights] == [("weight", (2,))]


@pytest.mark.parametrize(
    ("body", "code"), [("import os; os.abort()", "crash"), ("import time; time.sleep(60)", "hang")]
)
def test_a_death_and_silence_are_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, code: str
) -> None:
    (tmp_path / "stand_in.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, sys.path)]))
    with pytest.raises(BadInputError) as caught:
        read_apart("executorch", tmp_path / "model.pte", patience_s=2.0, module="stand_in")
    assert caught.value.error_code == code
    assert caught.value.exit_code == ExitCode.BAD_INPUT


def test_a_weight_that_says_another_shape_than_it_has_is_bad_input(tmp_path: Path) -> None:
    whole, damaged = model(tmp_path / "a.onnx", 1.0), model(tmp_path / "b.onnx", 1.0, 2.0, dims=(7,))
    with pytest.raises(BadInputError, match=r"b\.onnx cannot be read as an ONNX model"):
        diff_weights("onnx", whole, "onnx", damaged)


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.native_runtime])
def test_where_a_runtime_is_native_nothing_is_read_here(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def apart(target: str, artifact: Path) -> tuple[tuple[()], tuple[()]]:
        del artifact
        asked.append(target)
        return (), ()

    monkeypatch.setattr("mobilevit_tools.comparison.weights.read_apart", apart)
    diff_weights(name, tmp_path / "a", name, tmp_path / "b")
    assert asked == [name, name]
