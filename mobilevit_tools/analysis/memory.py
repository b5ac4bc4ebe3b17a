"""Peak memory of a module's activations, from the lifetimes of the tensors in its exported graph.

A view keeps what it views alive. Weights are not activations.
"""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node

from mobilevit_tools.analysis.graph import evaluating, exported_program, module_path, tensors_of
from mobilevit_tools.analysis.lifetimes import ActivationPeak, LiveTensor, Step, find_peak


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
    seen: set[Hashable] = set()
    steps = []
    for node in nodes:
        made: dict[Hashable, LiveTensor] = {
            storage: _describe(node, tensor) for storage, tensor in storage_of[node] if storage not in seen
        }
        seen.update(made)
        read = {storage for source in node.all_input_nodes for storage, _ in storage_of[source]}
        steps.append(Step(*_describe_operator(node), made=made, read=read))
    results = program.graph.output_node().all_input_nodes
    return find_peak(steps, {storage for result in results for storage, _ in storage_of[result]})


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
