"""What XNNPACK takes over: whatever it can, save for groups of operators too small to pay for a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir.backend.canonical_partitioners.config_partitioner import format_target_name

from mobilevit_tools.profiling.graph import tensors_of
from mobilevit_tools.profiling.macs import macs_of

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node
    from torch.fx.passes.infra.partitioner import Partition

SMALLEST = 2**16
"""Elements that a group must compute where its operators are elementwise: a call costs what the portable kernels need
for some ten thousand."""


class Partitioner(XnnpackPartitioner):  # type: ignore[misc]  # executorch leaves it untyped
    """XNNPACK's own partitioner, less the groups of a few elementwise operators between operators on indices.

    Such groups are many in a model that sorts or clusters; each would be a program of its own inside the artifact.
    """

    def generate_partitions(self, ep: ExportedProgram) -> list[Partition]:
        """Return the groups of nodes that are taken over."""
        return [group for group in super().generate_partitions(ep) if self._pays(list(group.nodes))]

    def _pays(self, nodes: list[Node]) -> bool:
        computing = [node for node in nodes if node.op == "call_function"]
        # Operators that were kept whole for XNNPACK have no portable kernel.
        names = [format_target_name(str(getattr(node.target, "__name__", node.target))) for node in computing]
        configs = [self.target_partitioner_configs.get(name) for name in names]
        if any(config is not None and config.get_original_aten() is not None for config in configs):
            return True
        elements = sum(tensor.numel() for node in computing for tensor in tensors_of(node))
        return elements >= SMALLEST or macs_of(computing) > 0
