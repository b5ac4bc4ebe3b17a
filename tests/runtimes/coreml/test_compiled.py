from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.coreml import load_program
from mobilevit_tools.runtimes.coreml.mil import Graph
from mobilevit_tools.runtimes.coreml.miltext import parse_program
from mobilevit_tools.runtimes.coreml.session import open_session
from tests.runtimes.coreml.building import noise

# As the compiler of Core ML writes it: types before names, hexadecimal floats, constants in the weight file by offset.
OLDER = """program(1.0)
[buildInfo = dict<tensor<string, []>, tensor<string, []>>({{"coremlc-component-MIL", "3304.5.2"}, {"a", "b)]}"}})]
{
    func main<ios15>(tensor<fp32, [1, 3, 8, 8]> x) [FlexibleShapeInformation = tuple<tuple<tensor<string, []>>>()] {
            tensor<fp32, [4, 3, 3, 3]> w = const()[name = tensor<string, []>("w"), val = tensor<fp32, [4, 3, 3, 3]>(BLOBFILE(path = tensor<string, []>("@model_path/weights/weight.bin"), offset = tensor<uint64, []>(OFFSET)))];
            tensor<int32, [2]> st = const()[name = tensor<string, []>("st"), val = tensor<int32, [2]>([2, 2])];
            tensor<string, []> pt = const()[name = tensor<string, []>("pt"), val = tensor<string, []>("valid")];
            tensor<fp32, [1, 4, 3, 3]> y0 = conv(pad_type = pt, strides = st, weight = w, x = x)[name = tensor<string, []>("stem")];
            tensor<fp32, [1, 4, 3, 3]> y1 = mul(x = y0, y = tensor<fp32, []>(-0x1.8p+0))[name = tensor<string, []>("half")];
            tensor<bool, []> il = const()[name = tensor<string, []>("il"), val = tensor<bool, []>(false)]  ;
            tensor<fp32, [1, 8, 3, 3]> y = concat(axis = tensor<int32, []>(1), interleave = il, values = (y0, y1))[name = tensor<string, []>("y")];
        } -> (y);
}
"""  # noqa: E501 - so long are its lines
NEWER = """program(1.3)
[buildInfo = dict<string, string>({{"coremlc-version", "3505.4.1"}})]
{
    func main<ios18>(tensor<fp16, [1, ?]> x, state<tensor<fp16, [2]>> kept) {
        string to_fp32 = const()[name = string("to_fp32"), val = string("fp32")];
        tensor<fp16, [1, 2]> table = const()[name = string("table"), val = tensor<fp16, [1, 2]>([[0x1p-1, 3]])];
        tensor<fp16, [1, ?]> z = add(x = x, y = table)[name = string("z")];
        tensor<fp32, [1, ?]> y = cast(dtype = to_fp32, x = z)[name = string("y")];
    } -> (y);
    func other<ios18>(tensor<fp16, [1, 2]> x) {
        int32 one = const()[name = string("one"), val = int32(1)];
        tensor<fp16, [1, 1]> a, tensor<fp16, [1, 1]> b = split(axis = one, num_splits = int32(2), x = x)[name = string("s")];
    } -> (a, b);
}
"""  # noqa: E501 - so long are its lines


def _nothing(*_: object) -> np.ndarray:
    raise AssertionError


def _graph(source: str, function: str = "") -> Graph:
    return parse_program(source, _nothing, function)


def test_newer_programs_have_plain_scalars_states_and_functions() -> None:
    graph = _graph(NEWER)
    assert graph.opset == "ios18"
    assert (graph.inputs["x"].shape, graph.inputs["kept"].container) == ((1, None), "state")
    assert graph.constants["table"].value.tolist() == [[0.5, 3.0]]
    assert graph.constants["table"].value.dtype == np.float16
    assert [entry.type for entry in graph.operations] == ["add", "cast"]
    other = _graph(NEWER, "other")
    assert other.outputs == ("a", "b")
    assert [name for name, _ in other.operations[0].outputs] == ["a", "b"]
    with pytest.raises(BadInputError, match="no function 'third'; its functions are: main, other"):
        _graph(NEWER, "third")


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda text: text[: len(text) // 2], "truncated|damaged"),
        (lambda text: text.replace("fp16", "fp17"), "unknown element type 'fp17'"),
        (lambda text: text.replace("[[0x1p-1, 3]]", "[3]"), "1 values where 2 belong"),
        (lambda text: text.replace("add(", "add#("), "damaged in line 7"),
        (lambda text: text.replace("} -> (y)", "-> (y)"), "damaged"),
        (lambda text: text.replace("[1, 2]> table", "[99999999999, 2]> table"), "too large"),
    ],
)
def test_damaged_programs_are_refused(damage: Callable[[str], str], match: str) -> None:
    with pytest.raises(BadInputError, match=match):
        _graph(damage(NEWER))


@pytest.fixture
def compiled(small_package: Path, tmp_path: Path) -> Path:
    """A compiled model whose weights are those of the small package."""
    path = tmp_path / "small.mlmodelc"
    (path / "weights").mkdir(parents=True)
    shutil.copy(next(small_package.rglob("weight.bin")), path / "weights" / "weight.bin")
    (path / "coremldata.bin").write_bytes(b"\0")
    (path / "model.mil").write_text(OLDER.replace("OFFSET", "64"))
    return path


X = noise(1, 3, 8, 8)


def _expected() -> np.ndarray:
    stem = torch.conv2d(torch.from_numpy(X), torch.from_numpy(noise(4, 3, 3, 3)), stride=2)
    return torch.cat((stem, -1.5 * stem), 1).numpy()


def test_a_compiled_model_runs(compiled: Path) -> None:
    program = load_program(compiled)
    np.testing.assert_allclose(program.run({"x": X})["y"], _expected(), atol=1e-5)
    with open_session(compiled, threads=1) as session:
        assert session.operators() == {"concat": 1, "conv": 1, "mul": 1}
        assert session.inputs[0].shape == (1, 3, 8, 8)


def test_its_metadata_describe_it(compiled: Path) -> None:
    entry = {"name": "x", "type": "Image", "width": "8", "height": "8", "colorspace": "BGR", "isOptional": "0"}
    result = {"name": "y", "type": "MultiArray", "dataType": "Float32", "shape": "[1, 8, 3, 3]"}
    content = {"specificationVersion": 6, "author": "me", "userDefinedMetadata": {"k": "v"}}
    described = [content | {"inputSchema": [entry], "outputSchema": [result]}]
    (compiled / "metadata.json").write_text(json.dumps(described))
    program = load_program(compiled)
    (image,) = program.inputs
    assert (image.kind, image.color, image.shape) == ("image", "BGR", (1, 3, 8, 8))
    assert program.outputs[0].shape == (1, 8, 3, 3)
    assert program.metadata["author"] == "me"
    assert program.metadata["k"] == "v"
    (compiled / "metadata.json").write_text("{")
    with pytest.raises(BadInputError, match=r"metadata\.json is not JSON"):
        load_program(compiled)


def test_metadata_beyond_all_use_are_left_alone(compiled: Path) -> None:
    (compiled / "metadata.json").write_bytes(b" " * ((1 << 20) + 1))
    assert load_program(compiled).metadata.get("author") in (None, "")


def test_a_compiled_model_without_a_text_is_refused(compiled: Path) -> None:
    (compiled / "model.mil").unlink()
    with pytest.raises(BadInputError, match="without a readable program") as caught:
        load_program(compiled)
    assert "mlpackage" in str(caught.value.hint)


def test_weights_do_not_lie_outside(compiled: Path) -> None:
    text = OLDER.replace("weights/weight.bin", "../../weight.bin").replace("OFFSET", "64")
    (compiled / "model.mil").write_text(text)
    with pytest.raises(BadInputError, match="outside of itself"):
        load_program(compiled)


FLEXIBLE = """program(1.3)
[buildInfo = dict<string, string>({{"coremlc-version", "3505.4.1"}})]
{
    func main<ios17>(tensor<fp32, [1, 3, ?, ?]> x) {
        tensor<fp32, [1, 3, ?, ?]> y = relu(x = x)[name = string("y")];
    } -> (y);
}
"""


@pytest.mark.parametrize(
    ("limits", "accepted", "refused"),
    [
        (
            {"type": "MultiArray", "dataType": "Double", "shapeRange": "[[1, 1], [3, 3], [4, 8], [2, -1]]"},
            [(4, 2), (8, 99)],
            [(3, 2), (9, 2), (4, 1)],
        ),
        (
            {"type": "MultiArray", "dataType": "Float32", "enumeratedShapes": "[[1, 3, 8, 8], [1, 3, 4, 6]]"},
            [(8, 8), (4, 6)],
            [(6, 4), (8, 4)],
        ),
        ({"type": "Image", "sizeRange": "[[4, 8], [2, 6]]"}, [(2, 4), (6, 8)], [(8, 6), (2, 3)]),
        ({"type": "Image", "enumeratedSizes": "[[8, 8], [4, 6]]"}, [(8, 8), (6, 4)], [(4, 6)]),
    ],
    ids=["range", "listed", "image range", "listed images"],
)
def test_a_compiled_model_holds_its_sizes_to_their_limits(
    tmp_path: Path, limits: dict[str, str], accepted: list[tuple[int, int]], refused: list[tuple[int, int]]
) -> None:
    path = tmp_path / "flexible.mlmodelc"
    path.mkdir()
    (path / "coremldata.bin").write_bytes(b"\0")
    (path / "model.mil").write_text(FLEXIBLE)
    named = {"name": "x", "shape": "[1, 3, 8, 8]", "width": "8", "height": "8", "colorspace": "RGB", **limits}
    result = {"name": "y", "type": "MultiArray", "dataType": "Float32", "shape": "[]"}
    (path / "metadata.json").write_text(json.dumps([{"inputSchema": [named], "outputSchema": [result]}]))
    program = load_program(path)
    (entry,) = program.inputs
    assert entry.dtype == (
        "uint8" if entry.kind == "image" else {"Double": "float64"}.get(limits["dataType"], "float32")
    )
    dtype = np.uint8 if entry.kind == "image" else np.float32
    for size in accepted:
        assert program.run({"x": np.ones((1, 3, *size), dtype)})["y"].shape == (1, 3, *size)
    for size in refused:
        with pytest.raises(BadInputError, match="does not take the given array"):
            program.run({"x": np.ones((1, 3, *size), dtype)})


@pytest.mark.parametrize(
    "limits", [{"shapeRange": "[[1], [2]]"}, {"sizeRange": "[[1, 2]]"}, {"enumeratedSizes": "[[1]]"}]
)
def test_limits_that_are_damaged_are_refused(tmp_path: Path, limits: dict[str, str]) -> None:
    path = tmp_path / "damaged.mlmodelc"
    path.mkdir()
    (path / "model.mil").write_text(FLEXIBLE)
    named = {"name": "x", "shape": "[1, 3, 8, 8]", "type": "MultiArray", **limits}
    (path / "metadata.json").write_text(json.dumps([{"inputSchema": [named], "outputSchema": []}]))
    with pytest.raises(BadInputError, match="damaged"):
        load_program(path)
