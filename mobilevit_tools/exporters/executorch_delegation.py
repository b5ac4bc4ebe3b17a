"""How much of a lowered ExecuTorch program its backend took over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from executorch.exir.lowered_backend_module import executorch_call_delegate, get_lowered_submodules

from mobilevit_tools.analysis.macs import macs_of
from mobilevit_tools.exporters._base import Delegation
from mobilevit_tools.runtimes.pieces import Step, pieces_of

if TYPE_CHECKING:
    from executorch.exir import EdgeProgramManager
    from torch.fx import GraphModule, Node


def measure(edge: EdgeProgramManager) -> Delegation:
    """Count calls into the backend, operators outside it, and the share of the MACs inside it."""
    steps = list(_steps(edge.exported_program().graph_module))
    outside: Counter[str] = Counter()
    for step in steps:
        if not step.delegated:
            outside.update(step.operators)
    inside = sum(step.macs or 0 for step in steps if step.delegated)
    total = sum(step.macs or 0 for step in steps)
    return Delegation(
        calls=sum(step.delegated for step in steps),
        outside=dict(sorted(outside.items())),
        macs_share=inside / total if total else None,
        pieces=pieces_of(steps),
    )


def _steps(module: GraphModule) -> Iterator[Step]:
    lowered = {call: inner for _, inner, call in get_lowered_submodules(module)}
    for node in _computing(module.graph.nodes):
        inner = lowered.get(node)
        within = [node] if inner is None else list(_computing(inner.original_module.graph.nodes))
        yield Step(
            delegated=node.target is executorch_call_delegate,
            operators=Counter(str(getattr(each.target, "__name__", each.target)) for each in within),
            macs=macs_of(within),
            reads=frozenset(map(_maker, node.all_input_nodes)),
            writes=frozenset([node]),
        )


def _computing(nodes: Iterable[Node]) -> Iterator[Node]:
    return (node for node in nodes if node.op == "call_function" and not _is_item(node))


def _is_item(node: Node) -> bool:
    return "getitem" in str(node.target)


def _maker(node: Node) -> Node:
    """Return the node that a value comes from: an item of a tuple comes from who made the tuple."""
    return node.all_input_nodes[0] if _is_item(node) else node
