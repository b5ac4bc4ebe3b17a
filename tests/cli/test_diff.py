"""``mvt diff`` on real artifacts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from mobilevit_tools.artifacts.files import describe_artifact
from mobilevit_tools.jsonable import jsonable
from tests.cli.conftest import Ran
from tests.reporting.conftest import profile

Mvt = Callable[..., Ran]


@pytest.fixture
def other(exported: Path, tmp_path: Path) -> Path:
    """A copy of the ONNX artifact with one node more and one number changed."""
    folder = tmp_path / "other"
    shutil.copytree(exported / "onnx-fp32", folder)
    model = onnx.load(folder / "model.onnx")
    last = model.graph.node[-1]
    name, last.output[0] = last.output[0], "before"
    model.graph.node.append(onnx.helper.make_node("Identity", ["before"], [name]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("before", onnx.TensorProto.FLOAT, None))
    tensor = next(each for each in model.graph.initializer if len(each.dims) == 2)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[0, 0] += 1
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, folder / "model.onnx")
    return folder


def measurement(path: Path, artifact: Path, samples: list[float], sha256: str | None = None) -> Path:
    result = profile(artifact, size_bytes=artifact.stat().st_size, samples=samples, sha256=sha256)
    envelope = {"schema": 1, "command": "profile", "status": "ok", "result": jsonable(result)}
    path.write_text(json.dumps(envelope))
    return path


def test_an_artifact_is_identical_to_itself(mvt: Mvt, exported: Path) -> None:
    artifact = exported / "onnx-fp32/model.onnx"
    ran = mvt("diff", artifact, artifact.parent, "--json")
    assert ran.code == 0, ran.err
    result = ran.envelope["result"]
    assert (result["identical"], result["changes"], result["latency"], result["notes"]) == (True, {}, None, [])
    assert result["graph"]["operators"] == result["weights"]["changed"] == []
    assert "artifacts are identical" in mvt("diff", artifact, artifact).out


def test_what_changed_is_told(mvt: Mvt, exported: Path, other: Path, tmp_path: Path) -> None:
    artifact = exported / "onnx-fp32/model.onnx"
    quick = [1.0 + 0.001 * (number % 5) for number in range(40)]
    a = measurement(tmp_path / "a.json", artifact, quick)
    b = measurement(tmp_path / "b.json", other / "model.onnx", [2 * sample for sample in quick])
    ran = mvt("diff", artifact, other, "--profiles", a, b, "--json")
    assert ran.code == 0, ran.err
    result = ran.envelope["result"]
    assert not result["identical"]
    (identity,) = result["graph"]["operators"]
    assert (identity["type"], identity["a"], identity["b"]) == ("Identity", 0, 1)
    (output,) = result["graph"]["outputs"]
    assert (output["position"], output["a"], output["b"]["name"]) == (1, None, "before")
    assert (len(result["weights"]["changed"]), result["weights"]["only_a"]) == (1, [])
    assert result["latency"]["verdict"] == "slower"
    assert result["notes"] == [f"{other} does not match the digest in its manifest."]
    people = mvt("diff", artifact, other, "--profiles", a, b).out
    assert "Identity" in people
    assert "output 1" in people
    assert "1 changed" in people
    assert "latency: b is slower. The intervals of the medians are " in people


def test_a_damaged_artifact_is_named_as_such(mvt: Mvt, exported: Path, tmp_path: Path) -> None:
    artifact, folder = exported / "onnx-fp32/model.onnx", tmp_path / "copied"
    shutil.copytree(artifact.parent, folder)
    (folder / "model.onnx").write_bytes(artifact.read_bytes()[:-100])
    for a, b in ((artifact, folder), (folder, artifact)):
        ran = mvt("diff", a, b, "--json")
        assert (ran.code, ran.envelope["error"]["code"]) == (3, "digest"), ran.envelope
        assert str(folder) in ran.envelope["error"]["message"]


def test_a_measurement_of_another_file_of_the_same_size_is_refused(mvt: Mvt, exported: Path, tmp_path: Path) -> None:
    artifact = exported / "onnx-fp32/model.onnx"
    digest = describe_artifact(artifact).sha256
    own = measurement(tmp_path / "own.json", artifact, [1.0] * 30, sha256=digest)
    other = measurement(tmp_path / "other.json", artifact, [1.0] * 30, sha256="ab" * 32)
    assert mvt("diff", artifact, artifact, "--profiles", own, own, "--json").code == 0
    ran = mvt("diff", artifact, artifact, "--profiles", own, other, "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (3, "other_artifact")


def test_two_targets(mvt: Mvt, exported: Path) -> None:
    ran = mvt("diff", exported / "coreml-fp32", exported / "executorch-xnnpack-fp32", "--json")
    assert ran.code == 0, ran.err
    result = ran.envelope["result"]
    assert (result["a"]["target"], result["b"]["target"]) == ("coreml", "executorch")
    assert {"field": "target", "a": "coreml", "b": "executorch"} in result["changes"]["export"]
    assert {"field": "calls", "a": None, "b": 1} in result["changes"]["delegation"]
    assert any(each["type"].startswith("delegate:") for each in result["graph"]["operators"])


def test_manifests_alone(mvt: Mvt, exported: Path, tmp_path: Path) -> None:
    shutil.copy(exported / "onnx-fp32/manifest.json", tmp_path)
    ran = mvt("diff", tmp_path / "manifest.json", exported / "coreml-fp32/manifest.json", "--json")
    assert ran.code == 0, ran.err
    result = ran.envelope["result"]
    assert (result["graph"], result["weights"]) == (None, None)
    assert result["changes"]["contract"]
    assert "Only the manifest" in result["notes"][0]


@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        (["{exported}/onnx-fp32", "nowhere.onnx"], 3, "no_such_artifact"),
        (["{exported}/onnx-fp32", "."], 3, "no_manifest"),
        (["{exported}/onnx-fp32"], 2, "usage"),
        (["{exported}/onnx-fp32", "{exported}/onnx-fp32", "--profiles", "x.json", "x.json"], 3, "no_such_run"),
        (["{exported}/onnx-fp32", "{exported}/onnx-fp32", "--profiles", "empty.json", "x.json"], 3, "bad_run"),
        (["{exported}/onnx-fp32", "{exported}/onnx-fp32", "--profiles", "small.json", "x.json"], 3, "other_artifact"),
        (["{exported}/onnx-fp32", "broken.onnx"], 3, "unloadable_artifact"),
    ],
)
def test_misuse(mvt: Mvt, exported: Path, arguments: list[str], code: int, name: str) -> None:
    Path("empty.json").write_text("{}")
    Path("broken.onnx").write_bytes(b"\xff" * 100)
    Path("stub.onnx").write_bytes(bytes(7))
    measurement(Path("small.json"), Path("stub.onnx"), [1.0] * 30)
    ran = mvt("diff", *(argument.format(exported=exported) for argument in arguments), "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (code, name)
