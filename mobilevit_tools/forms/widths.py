"""Operators of a narrow type computed in float32, for runtimes that have no kernel of the type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from mobilevit_tools.forms._base import Form, Forms

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_MOVING = frozenset({"to", "_to_copy", "clone", "contiguous", "detach", "cat", "copy"})


def in_float32(program: ExportedProgram, narrow: torch.dtype) -> Forms:
    """Return forms of all operators of ``program`` that compute in ``narrow``.

    Each converts what it reads, computes and rounds once, as kernels of such a type do.
    """
    targets = {
        node.target
        for node in program.graph.nodes
        if isinstance(node.target, torch._ops.OpOverload)
        and not getattr(node.target, "is_view", False)
        and node.target.overloadpacket.__name__ not in _MOVING
        and any(_is_of(each.meta.get("val"), narrow) for each in node.all_input_nodes)
    }
    return {target: _widened(target, narrow) for target in targets}


def _is_of(value: object, dtype: torch.dtype) -> bool:
    return isinstance(value, Tensor) and value.dtype == dtype


def _widened(target: Any, narrow: torch.dtype) -> Form:
    def form(*args: Any, **kwargs: Any) -> Any:
        leaves = pytree.tree_leaves((args, kwargs))
        if not any(_is_of(each, narrow) for each in leaves) or any(isinstance(each, torch.dtype) for each in leaves):
            return NotImplemented
        args, kwargs = pytree.tree_map_only(
            Tensor, lambda each: each.float() if each.dtype == narrow else each, (args, kwargs)
        )
        return pytree.tree_map_only(
            Tensor, lambda each: each.to(narrow) if each.dtype == torch.float32 else each, target(*args, **kwargs)
        )

    return form
