"""``mvt verify`` sees wrong answers that are planted in an artifact."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import mobilevit_tools
from mobilevit_tools.runtimes._base import UnsupportedOperatorError
from mobilevit_tools.runtimes.isolated import IsolatedSession
from tests.cli.conftest import Ran
from tests.conftest import SMALL

Mvt = Callable[..., Ran]
ARTIFACTS = ("onnx-fp32/model.onnx", "executorch-xnnpack-fp32/model.pte", "coreml-fp32/model.mlpackage")


@pytest.mark.parametrize("name", ARTIFACTS)
def test_what_was_exported_passes(mvt: Mvt, exported: Path, name: str) -> None:
    ran = mvt("verify", exported / name, "--json")
    assert ran.code == 0
    parity = ran.envelope["result"]["parity"]
    assert parity["status"] == "passed"
    assert parity["snr_db"] >= 80
    assert parity["inputs"] >= 11
    assert ran.envelope["result"]["digest_matches"] is True


def test_one_changed_weight_fails(mvt: Mvt, exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(exported / "onnx-fp32", folder)
    model = onnx.load(folder / "model.onnx")
    weights = [tensor for tensor in model.graph.initializer if len(tensor.dims) == 2]
    values = numpy_helper.to_array(weights[0]).copy()
    values[0, 0] += 0.05
    weights[0].CopyFrom(numpy_helper.from_array(values, weights[0].name))
    onnx.save(model, folder / "model.onnx")
    ran = mvt("verify", folder / "model.onnx", "--json")
    assert ran.code == 4
    assert ran.envelope["error"]["code"] == "gate_failed"
    assert ran.envelope["result"]["parity"]["status"] == "failed"
    assert ran.envelope["result"]["digest_matches"] is False
    assert mvt("inspect", folder / "model.onnx").code == 3


def test_a_program_of_other_weights_fails(mvt: Mvt, exported: Path, tmp_path: Path) -> None:
    state = mobilevit_tools.create_model(SMALL, random_weights=True).state_dict()
    rng = torch.Generator().manual_seed(1)
    other = {key: value + 0.02 * torch.randn(value.shape, generator=rng) for key, value in state.items()}
    torch.save(other, tmp_path / "other.pth")
    ran = mvt(
        "verify",
        exported / "executorch-xnnpack-fp32/model.pte",
        "--checkpoint",
        tmp_path / "other.pth",
        "--model",
        SMALL,
    )
    assert ran.code == 4
    assert "failed" in ran.out


def test_a_model_that_is_not_finite_itself_is_bad_input(mvt: Mvt, exported: Path, tmp_path: Path) -> None:
    state = mobilevit_tools.create_model(SMALL, random_weights=True).state_dict()
    torch.save({key: value * 1e30 for key, value in state.items()}, tmp_path / "huge.pth")
    ran = mvt("verify", exported / "onnx-fp32/model.onnx", "--checkpoint", tmp_path / "huge.pth", "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (3, "non_finite_reference")


@pytest.mark.parametrize("as_json", [True, False])
def test_what_cannot_run_here_is_no_pass(
    mvt: Mvt, exported: Path, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    def run(self: IsolatedSession, array: object) -> None:
        raise UnsupportedOperatorError(("delegate:VulkanBackend",))

    monkeypatch.setattr(IsolatedSession, "run", run)
    artifact = exported / "executorch-xnnpack-fp32/model.pte"
    ran = mvt("verify", artifact, *(["--json"] if as_json else []))
    assert ran.code == 5
    message = f"{artifact} was not verified: The runtime lacks these operators: delegate:VulkanBackend."
    if as_json:
        assert (ran.envelope["error"]["code"], ran.envelope["error"]["message"]) == ("not_verified", message)
        assert ran.envelope["result"]["parity"]["status"] == "not_verified"
    else:
        assert "not verified" in ran.out
        assert "error:" in ran.err


def test_a_moved_checkpoint_is_loaded_as_the_manifest_says(mvt: Mvt, tmp_path: Path) -> None:
    average = mobilevit_tools.create_model(SMALL, random_weights=True).state_dict()
    raw = {key: value + 0.05 if value.is_floating_point() else value for key, value in average.items()}
    torch.save({"state_dict": raw, "state_dict_ema": average}, tmp_path / "old.pth")
    exported = ("export", SMALL, "--checkpoint", tmp_path / "old.pth", "-t", "onnx", "--output", tmp_path / "out")
    assert mvt(*exported, "--no-ema", "-o", "features_only=true").code == 0
    artifact = tmp_path / "out" / SMALL / "onnx-fp32/model.onnx"

    assert mvt("verify", artifact).code == 0
    assert mvt("verify", artifact, "--ema").code == 4
    (tmp_path / "old.pth").rename(tmp_path / "new.pth")
    absent = mvt("verify", artifact, "--json").envelope["error"]
    assert absent["message"] == f"There is no checkpoint at {tmp_path / 'old.pth'}."
    assert "pass the current one with --checkpoint" in absent["hint"]
    mistyped = mvt("verify", artifact, "--checkpoint", "newer.pth", "--json").envelope["error"]
    assert mistyped["message"] == "There is no checkpoint at newer.pth."
    assert "Check the path" in mistyped["hint"]
    moved = ("verify", artifact, "--checkpoint", tmp_path / "new.pth", "--json")
    ran = mvt(*moved)
    assert ran.code == 0, ran.out
    assert mvt(*moved, "--ema").code == 4


def test_without_a_manifest_people_are_told_which_gate_was_assumed(mvt: Mvt, exported: Path, tmp_path: Path) -> None:
    weights = mobilevit_tools.create_model(SMALL, random_weights=True).state_dict()
    torch.save({key: value * 1.01 for key, value in weights.items()}, tmp_path / "near.pth")
    shutil.copy(exported / "onnx-fp32/model.onnx", tmp_path / "lone.onnx")
    lone = (tmp_path / "lone.onnx", "--model", SMALL, "--checkpoint", tmp_path / "near.pth", "--json")
    ran = mvt("verify", *lone)
    assert ran.code == 4
    assert "the fp32 gate applies; pass --precision" in ran.envelope["error"]["hint"]
    assert mvt("verify", *lone, "--precision", "fp32").envelope["error"]["hint"] is None
    known = mvt("verify", exported / "onnx-fp32/model.onnx", *lone[1:])
    assert (known.code, known.envelope["error"]["hint"]) == (4, None)


def test_a_moved_artifact_needs_to_be_told_its_model(mvt: Mvt, tmp_path: Path) -> None:
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "stranger",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 32, 32])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 3, 32, 32])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "stranger.onnx")
    ran = mvt("verify", tmp_path / "stranger.onnx", "--json")
    assert ran.code == 2
    assert "--model" in ran.envelope["error"]["hint"]


@pytest.mark.parametrize(
    ("options", "named"), [(["--model", "couplformer_kct4"], "couplformer_kct4"), ([], "artifact")]
)
def test_a_model_without_weights_is_hinted_at_what_this_verb_has(
    mvt: Mvt, exported: Path, tmp_path: Path, options: list[str], named: str
) -> None:
    shutil.copy(exported / "onnx-fp32/model.onnx", tmp_path)  # without its manifest
    ran = mvt("verify", tmp_path / "model.onnx", *options, "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (2, "no_weights")
    assert named in ran.envelope["error"]["message"]
    assert "--checkpoint" in ran.envelope["error"]["hint"]
    assert "random" not in str(ran.envelope["error"])


@pytest.mark.parametrize(("name", "content"), [("x.onnx", b"no model"), ("x.pte", b"no program"), ("x.onnx", b"")])
def test_what_is_no_artifact_is_one_clear_error(mvt: Mvt, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    ran = mvt("verify", tmp_path / name, "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (3, "unloadable_artifact")


def test_a_truncated_program_is_one_clear_error(mvt: Mvt, exported: Path, tmp_path: Path) -> None:
    content = (exported / "executorch-xnnpack-fp32/model.pte").read_bytes()
    (tmp_path / "short.pte").write_bytes(content[: len(content) // 2])
    assert mvt("verify", tmp_path / "short.pte", "--json").code == 3


def test_photos_of_ones_own(mvt: Mvt, exported: Path, tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / "own.png")
    ran = mvt("verify", exported / "onnx-fp32/model.onnx", "--images", tmp_path, "--json")
    names = [row["name"] for row in ran.envelope["result"]["parity"]["results"]]
    assert names[0] == "own.png"
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    assert mvt("verify", exported / "onnx-fp32/model.onnx", "--images", tmp_path).code == 3
