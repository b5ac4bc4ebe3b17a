"""ExecuTorch: a ``.pte`` lowered to XNNPACK, the portable kernels, Core ML or Vulkan."""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import torch
from executorch.backends.transforms.utils import create_constant_placeholder
from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
from torch import Tensor, nn
from torch.fx import Node

from mobilevit_tools.data.contract import METHOD_NAME, Contract
from mobilevit_tools.errors import MissingDependencyError
from mobilevit_tools.exporters import executorch_forms
from mobilevit_tools.exporters._base import ExportSpec, Half, Lowering
from mobilevit_tools.exporters.class_map import answering
from mobilevit_tools.exporters.executorch_delegation import measure
from mobilevit_tools.exporters.executorch_kernels import check_kernels
from mobilevit_tools.exporters.executorch_speed import without_repetition
from mobilevit_tools.exporters.half import in_half, trace_float32
from mobilevit_tools.exporters.io_names import example_input
from mobilevit_tools.forms._base import functional, write_forms

if TYPE_CHECKING:
    from pathlib import Path

    from torch.export import ExportedProgram

    from mobilevit_tools.quantization._base import Quantization
    from mobilevit_tools.quantization.share import Layer

_aten = torch.ops.aten
CLASS_TYPES = (torch.uint8, torch.int32)
"""Types of class maps, the smallest first: the portable kernels cast to a byte a pixel."""
_PACKING = {
    _aten.linear,
    _aten.matmul,
    _aten.mm,
    _aten.addmm,
    _aten.bmm,
    _aten.conv1d,
    _aten.conv2d,
    _aten.conv_transpose1d,
    _aten.conv_transpose2d,
    _aten.convolution,
    _aten.prelu,
}
"""Operators of which XNNPACK stores constant weights and biases in a layout of its own."""


def trace(module: nn.Module, spec: ExportSpec, contract: Contract) -> ExportedProgram:
    """Return the program that is to compute in half precision."""
    return trace_float32(module, example_input(contract, spec.batch))


def lower(
    module: nn.Module,
    spec: ExportSpec,
    contract: Contract,
    path: Path,
    quantization: Quantization | None = None,
    *,
    half: Half | None = None,
) -> Lowering:
    """Write ``module`` as an ExecuTorch program whose constant method ``mobilevit_tools_contract`` is the contract.

    Raises:
        BadInputError: The program has operators that ExecuTorch has no kernel for.
        MissingDependencyError: The backend cannot be loaded on this machine.
    """
    example = example_input(contract, spec.batch)
    prepared = (in_half(module, half) if spec.arithmetic == "fp16" else module).eval()
    layers: tuple[Layer, ...] = ()
    asked: tuple[str, ...] = ()
    if quantization is not None:
        from mobilevit_tools.quantization.executorch import asked_to_stay, keep_ranges, quantize, read_layers

        own = quantization.own_ranges
        quantized = keep_ranges(prepared, example) if own else quantize(prepared, example, quantization)
        prepared = quantized
        layers = read_layers(quantized)
        asked = asked_to_stay(quantized, quantization)
    answer = answering(_contiguous(prepared), contract, CLASS_TYPES)
    exported = _written(torch.export.export(answer, (example,), strict=False), spec.backend, example)
    if spec.backend == "xnnpack":
        _separate_packed(exported)
    with without_repetition():
        edge = to_edge_transform_and_lower(
            exported,
            partitioner=_partitioners(spec.backend or "portable"),
            constant_methods={METHOD_NAME: contract.to_json()},
            compile_config=EdgeCompileConfig(_check_ir_validity=False),
        )
        delegation = measure(edge)  # before its operators become those that write into given memory
        program = edge.to_executorch()
    check_kernels(contract.model, edge, program)
    path.write_bytes(program.buffer)
    return Lowering(delegation=delegation, asked=asked, layers=layers)


def own_lowering(module: nn.Module, example: Tensor, path: Path) -> None:
    """Write what ExecuTorch makes of ``module`` for XNNPACK by itself."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    exported = torch.export.export(module, (example,), strict=False)
    edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    path.write_bytes(edge.to_executorch().buffer)


def _separate_packed(program: ExportedProgram) -> None:
    """Give readers of one constant that XNNPACK packs in different ways, or packs or not, a constant each.

    It frees what it has packed: another operator would read freed memory, and the other layout would be lost.
    Nothing is stored twice, for the bytes are equal.
    """
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    mutated = program.graph_signature.buffers_to_mutate.values()
    for constant in list(program.graph_signature.input_specs):
        if constant.target is None or constant.target in mutated:
            continue
        node = placeholders[constant.arg.name]
        ways: defaultdict[object, list[tuple[Node, int]]] = defaultdict(list)
        whole = False  # whether somebody reads it as it is
        for reader in node.users:
            operator = getattr(reader.target, "overloadpacket", None)
            packed = [index for index, argument in enumerate(reader.args) if argument is node]
            if operator not in _PACKING or not packed:
                whole = True
                continue
            for index in packed:
                ways[operator, index].append((reader, index))
        for number, readers in enumerate(list(ways.values())[0 if whole else 1 :], 1):
            with program.graph.inserting_before(node):
                twin = create_constant_placeholder(
                    program,
                    program.graph,
                    f"{node.name}_packed_{number}",
                    constant.kind,
                    {**program.constants, **program.state_dict}[constant.target],
                    constant.persistent,
                )
            for reader, index in readers:
                reader.update_arg(index, twin)
    program.graph_module.recompile()


def _contiguous(module: nn.Module) -> nn.Module:
    """Return ``module`` with its weights in the usual order in memory; lowering takes no other."""
    tensors = [*module.parameters(), *module.buffers()]
    if all(each.is_contiguous() for each in tensors):
        return module
    copied = copy.deepcopy(module)
    for each in (*copied.parameters(), *copied.buffers()):
        each.data = each.data.contiguous()
    return copied


def _written(program: ExportedProgram, backend: str | None, example: Tensor) -> ExportedProgram:
    """Return ``program`` in forms that a backend takes, each proved; the given one may change."""
    if backend == "xnnpack":
        from mobilevit_tools.exporters import xnnpack_forms

        return xnnpack_forms.prepare(program, (example,))
    forms = executorch_forms.FORMS
    if backend == "portable":
        forms = {**forms, **executorch_forms.NORMS}
    program = functional(program, forms)
    write_forms(program, forms, (example,))
    return program


def _partitioners(backend: str) -> list[Any]:
    try:
        if backend == "xnnpack":
            from mobilevit_tools.exporters.xnnpack import Partitioner

            return [Partitioner()]
        if backend == "coreml":
            from executorch.backends.apple.coreml.partition import CoreMLPartitioner

            return [CoreMLPartitioner()]
        if backend == "vulkan":
            from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

            return [VulkanPartitioner()]
    except ImportError as error:
        raise MissingDependencyError(
            f"The {backend} backend of ExecuTorch cannot be loaded here: {error}.",
            hint="`mvt doctor` lists compatible package versions.",
        ) from error
    return []
