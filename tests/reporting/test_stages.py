from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mobilevit_tools.devices import OperatorTime
from mobilevit_tools.profiling.kinds import Share, by_kind
from mobilevit_tools.reporting.onnx_stages import stage_name
from mobilevit_tools.reporting.stages import by_stage, largest
from tests.reporting.conftest import profile


@pytest.mark.parametrize(
    ("weight", "stage"),
    [
        ("stem.0.weight", "stem"),
        ("stages.1.blocks.0.norm.weight", "stages.1"),
        ("blocks.11.attn.qkv.weight", "blocks.11"),
        ("head.fc.weight", "head"),
        ("head.norm.deep.weight", "head"),
    ],
)
def test_stage_names(weight: str, stage: str) -> None:
    assert stage_name(weight) == stage


def test_kinds_are_added_up_apart_inside_and_outside_of_a_delegate() -> None:
    operators = [
        OperatorTime("a", "Add", 1.0),
        OperatorTime("b", "Mul", 5.0),
        OperatorTime("c", "Add", 2.0),
        OperatorTime("d", "Add", 4.0, delegate=True),
    ]
    assert by_kind(operators) == (
        Share("Mul", 5.0, 1, delegate=False),
        Share("Add", 4.0, 1, delegate=True),
        Share("Add", 3.0, 2, delegate=False),
    )


def test_what_cannot_be_seen_is_drawn_as_one() -> None:
    shares = [Share("Conv", 99.0, 3, delegate=True), *(Share(f"k{n}", 0.1, 2, delegate=False) for n in range(10))]
    shown = largest(shares)
    assert [share.name for share in shown] == ["Conv", "10 other types"]
    assert shown[-1].ms == pytest.approx(1.0)
    assert (shown[-1].operators, shown[-1].delegate) == (20, False)
    many = [Share(f"k{n}", 1.0, 1, delegate=n % 2 == 0) for n in range(20)]
    assert len(largest(many)) == 15
    assert largest(many)[-1].delegate is None
    assert sum(share.ms for share in largest(many)) == pytest.approx(20)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    weights = [
        numpy_helper.from_array(np.ones((1, 1), np.float32), name)
        for name in ("stem.0.weight", "stages.0.blocks.0.fc.weight", "head.fc.weight", "val_3")
    ]
    nodes = [
        helper.make_node("MatMul", ["image", "stem.0.weight"], ["conv2d"], name="node_conv2d"),
        helper.make_node("Relu", ["conv2d"], ["relu"], name="node_relu"),
        helper.make_node("MatMul", ["relu", "stages.0.blocks.0.fc.weight"], ["fc"], name="node_fc"),
        helper.make_node("Add", ["fc", "val_3"], ["add"], name="node_add"),
        helper.make_node("MatMul", ["add", "head.fc.weight"], ["logits"], name="node_head"),
    ]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1]) for name in ("image", "logits")]
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", info[:1], info[1:], weights)), path)
    return path


def test_stages_follow_the_weights_in_order_of_execution(artifact: Path) -> None:
    operators = (
        OperatorTime("ReorderInput", "ReorderInput", 0.5),
        OperatorTime("conv2d_nchwc", "Conv", 1.0),  # named by ONNX Runtime after its output
        OperatorTime("node_relu", "Relu", 0.25),
        OperatorTime("fc_nchwc", "MatMul", 2.0),
        OperatorTime("node_add", "Add", 0.125),
        OperatorTime("node_head", "MatMul", 4.0),
    )
    measured = profile(artifact, per_op=operators)
    assert by_stage(measured, artifact, artifact.stat().st_size) == (
        Share("stem", 1.75, 3),
        Share("stages.0", 2.125, 2),
        Share("head", 4.0, 1),
    )


def test_nothing_is_said_of_another_file_or_target(artifact: Path) -> None:
    measured = profile(artifact, per_op=(OperatorTime("node_fc", "MatMul", 2.0),))
    size = artifact.stat().st_size
    assert by_stage(measured, artifact, size + 1) is None
    assert by_stage(measured, artifact.with_name("gone.onnx"), size) is None
    assert by_stage(profile(artifact, per_op=None), artifact, size) is None
    assert by_stage(profile(artifact, target="executorch", per_op=measured.per_op), artifact, size) is None
    artifact.write_bytes(b"\xff" * size)
    assert by_stage(measured, artifact, size) is None
