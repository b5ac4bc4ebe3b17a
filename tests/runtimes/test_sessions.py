"""What every runtime's session says of an artifact that we made."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from mobilevit_tools.data.contract import METHOD_NAME
from mobilevit_tools.errors import BadInputError, ExitCode
from mobilevit_tools.profiling.worker import example_array
from mobilevit_tools.runtimes._base import UnsupportedOperatorError
from mobilevit_tools.runtimes.registry import load_session, open_session
from mobilevit_tools.targets.registry import SUFFIXES, target_of
from tests.conftest import SMALL

ARTIFACTS = ("onnx-fp32/model.onnx", "executorch-xnnpack-fp32/model.pte", "coreml-fp32/model.mlpackage")


@pytest.mark.parametrize("name", ARTIFACTS)
def test_inputs_outputs_contract_and_operators(exported: Path, name: str) -> None:
    with open_session(exported / name) as session:
        assert session.contract is not None
        assert session.contract.model == SMALL
        assert session.contract.preprocessing.input_size == (32, 32)
        assert session.inputs[0].shape == (1, 3, 32, 32)
        assert session.inputs[0].kind == session.contract.input
        assert sum(session.operators().values()) > 0
        assert list(session.operators()) == sorted(session.operators())


@pytest.mark.parametrize("name", ARTIFACTS)
def test_a_wrong_shape_is_one_clear_error(exported: Path, name: str) -> None:
    with open_session(exported / name) as session, pytest.raises(BadInputError, match="takes 1x3x32x32, not 1x3x31x32"):
        session.run(np.zeros((1, 3, 31, 32), dtype=np.uint8))


@pytest.mark.parametrize("name", ARTIFACTS[:2])
def test_a_prepared_call_repeats_the_run(exported: Path, name: str) -> None:
    with open_session(exported / name, threads=2) as session:
        array = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
        once = session.run(array)[0]
        call = session.prepare(array)
        for _ in range(3):
            call()
        np.testing.assert_array_equal(session.run(array)[0], once)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_artifact_is_one_clear_error(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(BadInputError, match="no artifact at"):
        open_session(tmp_path / f"model{suffix}")


@pytest.mark.parametrize("suffix", [".onnx", ".pte", ".mlmodel"])
def test_what_is_no_regular_file_is_refused_unread(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"model{suffix}")
    with pytest.raises(BadInputError, match="is not a file") as caught:
        target_of(tmp_path / f"model{suffix}")
    assert caught.value.error_code == "not_an_artifact"


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(BadInputError, match="not an artifact"):
        open_session(tmp_path / "model.bin")


def test_of_an_exports_folder_the_artifact_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    for name, hint in (("a.onnx", f"Pass {tmp_path / 'a.onnx'}."), ("b.pte", "Pass a file that `mvt export` wrote.")):
        (tmp_path / name).touch()
        with pytest.raises(BadInputError, match="not an artifact") as caught:
            target_of(tmp_path)
        assert caught.value.hint == hint


def onnx_model(path: Path, nodes: list[onnx.NodeProto], dtype: int = onnx.TensorProto.FLOAT) -> Path:
    """Write a graph from ``x``, 1 x 4 of ``dtype``, to ``y``."""
    x, y = (helper.make_tensor_value_info(name, dtype, [1, 4]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(np.array([3, 3]), "shape")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


@pytest.mark.parametrize("name", ["uint8", "int64", "bool"])
def test_an_onnx_input_of_whole_numbers_takes_them(tmp_path: Path, name: str) -> None:
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(name))
    path = onnx_model(tmp_path / "model.onnx", [helper.make_node("Identity", ["x"], ["y"])], dtype)
    with open_session(path) as session:
        assert session.inputs[0].dtype == name
        array = example_array(session)
        assert array.dtype == name
        np.testing.assert_array_equal(session.run(array)[0], array)


def test_an_input_that_takes_no_numbers_is_one_clear_error(tmp_path: Path) -> None:
    identity = helper.make_node("Identity", ["x"], ["y"])
    path = onnx_model(tmp_path / "model.onnx", [identity], onnx.TensorProto.STRING)
    with open_session(path) as session:
        for ask in (example_array, lambda session: session.run(np.zeros((1, 4)))):
            with pytest.raises(BadInputError, match=r"x takes tensor\(string\)"):
                ask(session)


def test_an_onnx_model_that_fails_in_a_node_is_one_clear_error(tmp_path: Path) -> None:
    path = onnx_model(tmp_path / "model.onnx", [helper.make_node("Reshape", ["x", "shape"], ["y"])])
    with open_session(path) as session, pytest.raises(BadInputError, match="fails at run time"):
        session.run(np.zeros((1, 4), np.float32))


class Scaled(torch.nn.Module):
    """Multiplies a tensor by a number."""

    def forward(self, x: torch.Tensor, factor: int) -> torch.Tensor:
        return x * factor


def program(path: Path, module: torch.nn.Module, inputs: tuple[object, ...], **constants: object) -> Path:
    """Write an ExecuTorch program with constant methods."""
    from executorch.exir import to_edge

    edge = to_edge(torch.export.export(module, inputs), constant_methods=constants)
    path.write_bytes(edge.to_executorch().buffer)
    return path


def test_a_program_that_takes_more_than_tensors_is_one_clear_error(tmp_path: Path) -> None:
    path = program(tmp_path / "model.pte", Scaled(), (torch.ones(1, 3), 2))
    with pytest.raises(BadInputError, match="is not a tensor"):
        open_session(path)


def vulkan_program(path: Path) -> Path:
    """Write a program for a backend that the runtime here does not have."""
    from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner
    from executorch.exir import to_edge_transform_and_lower

    exported = torch.export.export(torch.nn.ReLU(), (torch.ones(1, 3, 8, 8),))
    lowered = to_edge_transform_and_lower(exported, partitioner=[VulkanPartitioner()])
    path.write_bytes(lowered.to_executorch().buffer)
    return path


def test_a_backend_that_is_not_here_is_missing_and_no_bad_input(tmp_path: Path) -> None:
    array = np.zeros((1, 3, 8, 8), np.float32)
    with open_session(vulkan_program(tmp_path / "model.pte")) as session:
        for call in (lambda: session.run(array), session.prepare(array)):
            with pytest.raises(UnsupportedOperatorError, match="delegate:VulkanBackend") as caught:
                call()
            assert caught.value.exit_code == ExitCode.MISSING_DEPENDENCY


@pytest.mark.parametrize("contract", [5, torch.ones(2)])
def test_a_programs_contract_that_is_no_text_is_one_clear_error(tmp_path: Path, contract: object) -> None:
    path = program(tmp_path / "model.pte", torch.nn.ReLU(), (torch.ones(1, 3),), **{METHOD_NAME: contract})
    with pytest.raises(BadInputError, match="is not text"):
        open_session(path)


def test_a_program_that_cannot_be_decoded_is_one_clear_error(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trip(_: bytes) -> None:
        raise KeyError

    monkeypatch.setattr("executorch.exir._serialize._program.deserialize_pte_binary", trip)
    with load_session(exported / ARTIFACTS[1]) as session, pytest.raises(BadInputError, match="cannot be decoded"):
        session.operators()


@pytest.mark.parametrize(
    ("part", "left"), [("operators", []), ("delegates", []), ("name", "backward"), ("chains", [None])]
)
def test_a_program_whose_parts_do_not_fit_is_one_clear_error(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, left: object
) -> None:
    from executorch.exir._serialize import _program

    path = exported / ARTIFACTS[1]
    if part != "delegates":  # nothing of a delegated program is outside
        path = program(tmp_path / "model.pte", torch.nn.ReLU(), (torch.ones(1, 3),))
    decoded = _program.deserialize_pte_binary(path.read_bytes())
    setattr(decoded.program.execution_plan[0], part, left)
    monkeypatch.setattr(_program, "deserialize_pte_binary", lambda _: decoded)
    with load_session(path) as session, pytest.raises(BadInputError, match="cannot be decoded"):
        session.operators()


def test_an_index_from_the_end_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from executorch.exir._serialize import _program

    path = program(tmp_path / "model.pte", torch.nn.ReLU(), (torch.ones(1, 3),))
    decoded = _program.deserialize_pte_binary(path.read_bytes())
    decoded.program.execution_plan[0].chains[0].instructions[0].instr_args.op_index = -1
    monkeypatch.setattr(_program, "deserialize_pte_binary", lambda _: decoded)
    with load_session(path) as session, pytest.raises(BadInputError, match="cannot be decoded: entry -1 of 1"):
        session.operators()


def test_what_is_no_artifact_says_what_to_pass(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="There is no artifact at"):
        target_of(tmp_path / "nothing")
    (tmp_path / "model.onnx").touch()
    with pytest.raises(BadInputError, match="is not an artifact") as refusal:
        target_of(tmp_path)
    assert refusal.value.hint == f"Pass {tmp_path / 'model.onnx'}."
