"""How much of a lowered ExecuTorch program its backend took over."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from executorch.exir.lowered_backend_module import executorch_call_delegate, get_lowered_backend_modules

from mobilevit_tools.analysis.macs import macs_of
from mobilevit_tools.exporters._base import Delegation

if TYPE_CHECKING:
    from executorch.exir import EdgeProgramManager


def measure(edge: EdgeProgramManager) -> Delegation:
    """Count calls into the backend, operators outside it, and the share of the MACs inside it."""
    module = edge.exported_program().graph_module
    calls, outside = 0, Counter[str]()
    for node in module.graph.nodes:
        if node.op != "call_function" or "getitem" in str(node.target):
            continue
        if node.target is executorch_call_delegate:
            calls += 1
        else:
            outside[node.target.__name__] += 1
    inside = sum(macs_of(lowered.original_module.graph.nodes) for lowered in get_lowered_backend_modules(module))
    total = inside + macs_of(module.graph.nodes)
    return Delegation(calls, dict(sorted(outside.items())), inside / total if total else None)
