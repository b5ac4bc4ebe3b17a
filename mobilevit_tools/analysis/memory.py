"""Peak memory of a module's activations, from the lifetimes of the tensors in its exported graph.

A tensor lives from the operator that makes it to the last one that reads it, or one of its views; results live to the
end. That is what an ideal allocator needs: what a runtime takes beyond it (workspaces, padding, fragmentation) depends
on the runtime and is measured there. Weights are not activations.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node

from mobilevit_tools.analysis.graph import evaluating, exported_program, module_path, tensors_of


@dataclass(frozen=True)
class LiveTensor:
    """A tensor that is alive at the peak.

    Attributes:
        operator: What made it; ``input`` for the module's own input.
        module: Dotted path of the module in which it was made.
        shape: Its shape.
        size_bytes: The bytes of its storage.
    """

    operator: str
    module: str
    shape: tuple[int, ...]
    size_bytes: int


@dataclass(frozen=True)
class ActivationPeak:
    """The moment of a forward pass at which activations take most memory.

    Attributes:
        peak_bytes: The bytes alive at that moment.
        operator: The operator that runs then, the first one where several tie.
        module: Dotted path of the module that it belongs to.
        live: The tensors alive then, largest first; they add up to ``peak_bytes``.
    """

    peak_bytes: int
    operator: str
    module: str
    live: tuple[LiveTensor, ...]


def activation_peak(module: nn.Module, input_shape: tuple[int, ...]) -> ActivationPeak:
    """Find the peak of activation memory in one forward pass, in evaluation mode.

    The input counts, weights do not; views share the memory of what they view; operators work out of place.

    Args:
        module: Any module that takes one tensor.
        input_shape: Shape of the input, batch included.

    Raises:
        BadInputError: ``torch.export`` cannot trace the module at this size.
    """
    program = _core_program(module, input_shape)
    nodes = [node for node in program.graph.nodes if node.op != "output"]
    storage_of = _storages(nodes, program)
    made: dict[int, int] = {}
    last_use: dict[int, int] = {}
    tensors: dict[int, LiveTensor] = {}
    for step, node in enumerate(nodes):
        for storage, tensor in storage_of[node]:
            if storage not in made:
                made[storage] = last_use[storage] = step
                tensors[storage] = _describe(node, tensor)
        for source in node.all_input_nodes:
            last_use.update((storage, step) for storage, _ in storage_of[source])
    for result in program.graph.output_node().all_input_nodes:
        last_use.update((storage, len(nodes)) for storage, _ in storage_of[result])

    change: defaultdict[int, int] = defaultdict(int)
    for storage, live_tensor in tensors.items():
        change[made[storage]] += live_tensor.size_bytes
        change[last_use[storage] + 1] -= live_tensor.size_bytes
    alive = peak = peak_step = 0
    for step in range(len(nodes)):
        alive += change[step]
        if alive > peak:
            peak, peak_step = alive, step
    live = [tensor for storage, tensor in tensors.items() if made[storage] <= peak_step <= last_use[storage]]
    at = _describe_operator(nodes[peak_step])
    return ActivationPeak(peak, *at, live=tuple(sorted(live, key=lambda tensor: tensor.size_bytes, reverse=True)))


def peak_activation_bytes(module: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Return the peak of activation memory in bytes; see :func:`activation_peak`."""
    return activation_peak(module, input_shape).peak_bytes


def _core_program(module: nn.Module, input_shape: tuple[int, ...]) -> ExportedProgram:
    """Decompose to operators that really run, except fused attention, which on CPU never holds its whole map."""
    table = torch.export.default_decompositions()
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
    table.pop(fused, None)  # type: ignore[no-untyped-call]  # torch annotates the table's type, not its methods
    exported = exported_program(module, input_shape)
    with evaluating(module):
        decomposed: ExportedProgram = exported.run_decompositions(table)
    return decomposed


def _storages(nodes: list[Node], program: ExportedProgram) -> dict[Node, list[tuple[int, Tensor]]]:
    """Give every node the storages of its tensors, as numbers that views share; none for weights."""
    inputs = set(program.graph_signature.user_inputs)
    numbers: dict[int, int] = {}
    weights: set[int] = set()
    storages: dict[Node, list[tuple[int, Tensor]]] = {}
    for node in nodes:
        tensors = tensors_of(node)
        if node.op == "placeholder" and node.name not in inputs:
            weights.update(_storage(tensor) for tensor in tensors)
        elif _copies_nothing(node):
            # Dropout in evaluation mode is traced as a copy; no runtime makes one.
            source = _storage(tensors_of(node.all_input_nodes[0])[0])
            if source in weights:
                weights.add(_storage(tensors[0]))
            else:
                numbers[_storage(tensors[0])] = numbers[source]
        storages[node] = [
            (numbers.setdefault(_storage(tensor), len(numbers)), tensor)
            for tensor in tensors
            if _storage(tensor) not in weights
        ]
    return storages


def _storage(tensor: Tensor) -> int:
    """Identify a fake tensor's storage: views made while tracing share it, as real ones do."""
    return int(tensor.untyped_storage()._cdata)


def _copies_nothing(node: Node) -> bool:
    if node.op != "call_function" or str(node.target) != "aten.clone.default":
        return False
    copy, original = tensors_of(node)[0], tensors_of(node.all_input_nodes[0])[0]
    same_size = copy.untyped_storage().nbytes() == original.untyped_storage().nbytes()
    return same_size and copy.stride() == original.stride()


def _describe(node: Node, tensor: Tensor) -> LiveTensor:
    return LiveTensor(*_describe_operator(node), tuple(tensor.shape), tensor.untyped_storage().nbytes())


def _describe_operator(node: Node) -> tuple[str, str]:
    if node.op == "placeholder":
        return "input", ""
    if getattr(node.target, "__module__", "") == "_operator":
        # The operator of an item is the one that made the tuple.
        return _describe_operator(node.all_input_nodes[0])
    return str(node.target), module_path(node)
