"""The operators of an ONNX model as nodes of a graph."""

from __future__ import annotations

from pathlib import Path

from mobilevit_tools.reporting.graph import Node
from mobilevit_tools.reporting.onnx_stages import REORDERED, stages_of


def nodes_of(artifact: Path) -> tuple[Node, ...]:
    """Return a node for each operator, in the layer of its stage."""
    import onnx

    graph = onnx.load(artifact, load_external_data=False).graph
    stages, stage = stages_of(artifact), ""
    makers: dict[str, int] = {}
    nodes = []
    for place, node in enumerate(graph.node):
        stage = stages.get(node.name, stage)
        names = {node.name, *node.output} - {""}
        attributes = {"name": node.name} if node.name else {}
        nodes.append(
            Node(
                node.op_type,
                layer=stage,
                attributes=attributes,
                reads=tuple(sorted({makers[name] for name in node.input if name in makers})),
                names=frozenset(names | {f"{name}{REORDERED}" for name in names}),
            )
        )
        makers.update(dict.fromkeys(node.output, place))
    return tuple(nodes)
