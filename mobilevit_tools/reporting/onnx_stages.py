"""The stages of an ONNX model's operators, by the names of their weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

REORDERED = "_nchwc"
"""What ONNX Runtime appends to an output's name where it runs the operator in a layout of its own."""


def stages_of(artifact: Path) -> Mapping[str, str]:
    """Map the names of operators, and of their outputs, to stages."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(artifact, load_external_data=False).graph
    except (DecodeError, OSError):
        return {}
    weights = {weight.name for weight in graph.initializer}
    stages: dict[str, str] = {}
    for node in graph.node:
        stage = next((stage_name(name) for name in node.input if name in weights and "." in name), None)
        if stage is not None:
            names = (node.name, *node.output)
            stages |= dict.fromkeys((*names, *(f"{name}{REORDERED}" for name in names)), stage)
    return stages


def stage_name(weight: str) -> str:
    """Return the stage of a weight: its first name, and the number in a list of stages.

    ``stem.0.weight`` belongs to ``stem``, ``stages.1.blocks.0.norm.weight`` to ``stages.1``.
    """
    parts = weight.split(".")
    composite = len(parts) > 3 and parts[1].isdecimal()
    return ".".join(parts[:2]) if composite else parts[0]
