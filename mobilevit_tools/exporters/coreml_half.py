"""Core ML packages in half precision with some operators of the traced program kept in float32."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import coremltools as ct

from mobilevit_tools.data.contract import KEPT_KEY
from mobilevit_tools.exporters.coreml_handles import HANDLE, give_handles, handle_of, standing_for

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_MOVING = frozenset(
    {
        "expand_dims",
        "identity",
        "reshape",
        "reverse",
        "slice_by_index",
        "slice_by_size",
        "split",
        "squeeze",
        "tile",
        "transpose",
    }
)


class KeepFloat32:
    """The converter's question whether an operation becomes half precision, answered for a list of operators.

    An operator that the converter has fused into a later one is kept with that one. Operations that only move values
    are kept where what they move is.

    Args:
        program: The program about to be converted; its nodes are given debug handles.
        keep: Names of the operators to keep.
    """

    def __init__(self, program: ExportedProgram, keep: Collection[str]) -> None:
        give_handles(program)
        self._keep = [node for node in program.graph.nodes if node.name in set(keep)]
        self._kept: set[str] | None = None

    def __call__(self, operation: Any) -> bool:
        """Tell whether ``operation`` becomes half precision."""
        if self._kept is None:
            self._kept = self._plan(list(operation.enclosing_block.operations))
        return operation.name not in self._kept

    def _plan(self, operations: list[Any]) -> set[str]:
        present = {handle for operation in operations if (handle := handle_of(operation))}
        handles = {node.meta[HANDLE] for kept in self._keep for node in standing_for(kept, present)}
        names: set[str] = set()
        for operation in operations:
            if operation.op_type in _MOVING:
                producer = operation.inputs["x"].op
                if producer is not None and producer.name in names:
                    names.add(operation.name)
            elif operation.op_type != "const" and handle_of(operation) in handles:
                names.add(operation.name)
        return names


def compute_precision(arithmetic: str, program: ExportedProgram, keep: Collection[str]) -> Any:
    """Return what the converter takes as its ``compute_precision``."""
    if arithmetic != "fp16":
        return ct.precision.FLOAT32
    return ct.transform.FP16ComputePrecision(KeepFloat32(program, keep)) if keep else ct.precision.FLOAT16


def mark_kept(package: ct.models.MLModel, keep: Collection[str]) -> None:
    """Store in a package that its float32 operations are meant to be such; a package without any is left alone."""
    if keep:
        package.user_defined_metadata[KEPT_KEY] = json.dumps(sorted(keep))
