"""The operators of a traced module."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, nn
from torch.fx import Node


def traced(module: nn.Module, example: Tensor, *, decomposed: bool = False) -> list[Node]:
    """Trace ``module`` and return the calls whose result something reads; ``decomposed`` into core operators."""
    program = torch.export.export(module, (example,), strict=False)
    program = program.run_decompositions() if decomposed else program
    return [node for node in program.graph.nodes if node.op == "call_function" and node.users]


def kind(node: object) -> str:
    """Return an operator's name, such as ``softmax``; nothing for what is no operator's result."""
    return node.target.overloadpacket.__name__ if _is_operator(node) else ""


def operators(module: nn.Module, example: Tensor, *, decomposed: bool = False) -> Counter[str]:
    """Count a module's operators by name."""
    return Counter(kind(node) for node in traced(module, example, decomposed=decomposed) if _is_operator(node))


def _is_operator(node: object) -> bool:
    return isinstance(node, Node) and isinstance(node.target, torch._ops.OpOverload)
