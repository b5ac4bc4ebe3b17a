"""Times of operators belong to the nodes of an artifact's graph."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobilevit_tools.devices import OperatorTime
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.reporting.graph import Node, nodes_of_pieces, times_of
from mobilevit_tools.reporting.onnx_nodes import nodes_of
from mobilevit_tools.runtimes.pieces import Piece

CALLS = nodes_of_pieces((Piece(True), Piece(False, {"cumsum": 2}), Piece(True), Piece(True)))
RAN = (
    OperatorTime("conv", "conv", 1.0, delegate=True, call=1),
    OperatorTime("add", "add", 0.5, delegate=True, call=1),
    OperatorTime("cumsum", "cumsum", 0.25),
    OperatorTime("cumsum", "cumsum", 0.25),
    OperatorTime("conv", "conv", 3.0, delegate=True, call=2),
    OperatorTime("conv", "conv", 4.0, delegate=True, call=3),
)


def test_operators_of_one_call_belong_to_one_node() -> None:
    assert times_of(CALLS, RAN) == {0: 1.5, 1: 0.5, 2: 3.0, 3: 4.0}


@pytest.mark.parametrize("ran", [RAN[:-1], RAN[2:], (*RAN, RAN[2])])
def test_operators_of_another_program_are_refused(ran: tuple[OperatorTime, ...]) -> None:
    with pytest.raises(BadInputError, match="are not those of the artifact's graph"):
        times_of(CALLS, ran)


def test_operators_with_names_are_found_by_them_also_where_they_were_fused() -> None:
    nodes = (Node("Conv", names=frozenset({"conv", "y", "y_nchwc"})), Node("MatMul", names=frozenset({"node_bmm"})))
    names = ("y_nchwc", "ReorderOutput", "node_bmm/MatmulTransposeFusion/", "conv")
    times = times_of(nodes, [OperatorTime(name, "?", ms) for ms, name in enumerate(names, 1)])
    assert times == {0: 1 + 4, 1: 3}
    with pytest.raises(BadInputError):
        times_of(nodes, [OperatorTime("other", "?", 1.0)])


def test_an_onnx_model_has_a_node_for_each_operator(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    weight = helper.make_tensor("stages.1.blocks.0.weight", TensorProto.FLOAT, [1], [2.0])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "z")]
    operators = [
        helper.make_node("Mul", ["x", weight.name], ["y"], name="scale"),
        helper.make_node("Add", ["y", "y"], ["z"]),
    ]
    graph = helper.make_graph(operators, "g", values[:1], values[1:], [weight])
    save(helper.make_model(graph), tmp_path / "model.onnx")
    first, second = nodes_of(tmp_path / "model.onnx")
    assert (first.label, first.layer, first.reads) == ("Mul", "stages.1", ())
    assert {"scale", "y", "y_nchwc"} <= first.names
    assert (second.label, second.layer, second.reads) == ("Add", "stages.1", (0,))
    assert "" not in second.names
