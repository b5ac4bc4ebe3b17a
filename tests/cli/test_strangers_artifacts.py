"""ONNX files that no exporter of ours wrote: what mvt cannot run is refused in one sentence, by every verb."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mobilevit_tools.data.bundled import verification_photos
from mobilevit_tools.data.contract import METADATA_KEY, Contract
from mobilevit_tools.data.preprocessing import Preprocessing
from tests.cli.conftest import Ran

SHAPES = {
    "no input": ([], [[1, 3]]),
    "two inputs": ([[1, 3, 8, 8], [1, 3, 8, 8]], [[1, 3]]),
    "unknown rank": ([None], [[1, 3]]),
    "no output": ([[1, 3, 8, 8]], []),
}


def write(path: Path, inputs: list[list[int] | None], outputs: list[list[int]]) -> Path:
    """Write an artifact that gives zeros, whatever its contract says."""
    zeros = [numpy_helper.from_array(np.zeros(shape, np.float32)) for shape in outputs or [[1]]]
    graph = helper.make_graph(
        [helper.make_node("Constant", [], [f"y{i}"], value=value) for i, value in enumerate(zeros)],
        "stranger",
        [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, shape) for i, shape in enumerate(inputs)],
        [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, shape) for i, shape in enumerate(outputs)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    contract = Contract("care_s0.imagenette", Preprocessing((32, 32)))
    helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    onnx.save(model, path)
    return path


@pytest.fixture
def verbs(tmp_path: Path) -> dict[str, list[object]]:
    """What follows the artifact, by the verb."""
    photo = verification_photos()[0]
    (tmp_path / "photos.csv").write_text("photo.jpg,0\n")
    (tmp_path / "photo.jpg").write_bytes(photo.read_bytes())
    return {
        "verify": [],
        "verify on a device": ["--device", "host"],
        "predict": [photo],
        "eval": [tmp_path / "photos.csv", "--no-reference"],
        "profile": ["--rigor", "quick"],
        "profile on a device": ["--device", "count"],
    }


@pytest.mark.parametrize("kind", SHAPES)
def test_inputs_and_outputs_that_mvt_cannot_run_are_refused(
    mvt: Callable[..., Ran], verbs: dict[str, list[object]], tmp_path: Path, kind: str
) -> None:
    artifact = write(tmp_path / "model.onnx", *SHAPES[kind])
    for verb, rest in verbs.items():
        ran = mvt(verb.split()[0], artifact, *rest, "--json")
        assert (verb, ran.code) == (verb, 3), ran.out
        assert (verb, ran.envelope["error"]["code"]) == (verb, "artifact_signature"), ran.out


def test_a_single_number_is_no_answer_for_an_image(
    mvt: Callable[..., Ran], verbs: dict[str, list[object]], tmp_path: Path
) -> None:
    artifact = write(tmp_path / "model.onnx", [[1, 3, 32, 32]], [[]])
    del verbs["profile"]  # its time can be measured all the same
    codes = {verb: mvt(verb.split()[0], artifact, *rest, "--json").code for verb, rest in verbs.items()}
    assert codes == {"verify": 4, "verify on a device": 4, "predict": 3, "eval": 3, "profile on a device": 3}
