"""What the rewrites are for: no operator outside the delegate, and none left that a runtime would have to clean up."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import onnx
import onnxruntime
import pytest

from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.exporters._base import ExportSpec, load_exporter
from mobilevit_tools.rewrites._base import apply
from mobilevit_tools.runtimes.registry import load_session
from tests.rewrites.families import FAMILIES, SIDE
from tests.rewrites.seeded import image, seeded
from tests.tiers import thorough

FUSED = "MatMulAddFusion"
"""The one thing that onnxruntime may still do: a product and its bias become a Gemm, which ONNX has for matrices only,
between reshapes of its own."""


def lowered(family, spec, path):
    model = seeded(FAMILIES[family]()).float()
    contract = Contract(model="small", preprocessing=Preprocessing(input_size=(SIDE, SIDE)))
    example = image(SIDE, SIDE, batch=1).float()
    rewritten = apply(model, example, deployment=spec.deployment, precision=spec.arithmetic)
    return model, load_exporter(spec.target).lower(rewritten.module, spec, contract, path)


@pytest.mark.parametrize("family", ["care", thorough("couplformer_pyramid"), thorough("lavit")])  # others: the matrix
def test_xnnpack_takes_over_everything(family, tmp_path):
    path = tmp_path / "model.pte"
    model, lowering = lowered(family, ExportSpec("executorch", backend="xnnpack"), path)
    assert lowering.delegation.calls == 1
    assert lowering.delegation.outside == {}
    inputs = image(SIDE, SIDE, batch=1).float()
    with load_session(path) as session:
        (actual,) = session.run(inputs.numpy())
    expected = model(inputs).numpy()
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()


def optimized(path):
    """Return the graph that onnxruntime makes of a model."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path.with_stem("optimized"))
    providers = ["CPUExecutionProvider"]
    onnxruntime.InferenceSession(str(path), options, providers=providers, disabled_optimizers=[FUSED])
    return onnx.load(options.optimized_model_filepath).graph


def producers(graph):
    return {name: node for node in graph.node for name in node.output}


def changes(ours, theirs):
    """Return the nodes of ``ours`` of which nothing is left in ``theirs``, and the nodes that only ``theirs`` has.

    Values are told by their names. A transpose that moved behind what read it, and there makes what that had made, is
    not gone, and what it moved behind is not new.
    """
    before, after = producers(ours), producers(theirs)
    readers = defaultdict(list)
    for node in ours.node:
        for name in node.input:
            readers[name].append(node)
    gone = [node for node in ours.node if not after.keys() & set(node.output)]
    new = {name: node for name, node in after.items() if name not in before}
    for node in list(gone):
        moved = [after.get(reader.output[0]) for reader in readers[node.output[0]]]
        behind = [
            new.get(end.input[0]) if end is not None and end.op_type == node.op_type == "Transpose" else None
            for end in moved
        ]
        wanted = [(reader.op_type, node.input[0]) for reader in readers[node.output[0]]]
        if wanted and wanted == [each and (each.op_type, each.input[0]) for each in behind]:
            gone.remove(node)
            for each in behind:
                new.pop(each.output[0], None)
    return gone, list(new.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_onnxruntime_finds_nothing_to_remove(family, tmp_path):
    path = tmp_path / "model.onnx"
    lowered(family, ExportSpec("onnx"), path)
    ours = onnx.load(path).graph
    assert changes(ours, optimized(path)) == ([], [])
    assert "BatchNormalization" not in {node.op_type for node in ours.node}


def test_what_it_would_remove_is_seen(tmp_path):
    helper, path = onnx.helper, tmp_path / "model.onnx"
    shape = [1, 2, 3]
    zero = helper.make_tensor("zero", onnx.TensorProto.FLOAT, [1], [0.0])
    nodes = [
        helper.make_node("Relu", ["x"], ["kept"]),
        helper.make_node("Transpose", ["kept"], ["a"], perm=[0, 2, 1]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
        helper.make_node("Add", ["b", "zero"], ["c"]),
        helper.make_node("Neg", ["c"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in "xy"]
    graph = helper.make_graph(nodes, "waste", values[:1], values[1:], [zero])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    gone, new = changes(onnx.load(path).graph, optimized(path))
    assert [node.output[0] for node in gone] == ["a", "b", "c"]
    assert new == []
