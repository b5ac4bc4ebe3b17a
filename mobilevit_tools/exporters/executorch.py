"""ExecuTorch: a ``.pte`` lowered to XNNPACK, the portable kernels, Core ML or Vulkan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
from torch import nn
from torch.fx.traceback import NodeSource

from mobilevit_tools.data.contract import METHOD_NAME, Contract
from mobilevit_tools.errors import MissingDependencyError
from mobilevit_tools.exporters._base import ExportSpec, Lowering, Preflight
from mobilevit_tools.exporters.delegation import measure
from mobilevit_tools.exporters.half import in_half
from mobilevit_tools.exporters.io_names import example_input

if TYPE_CHECKING:
    from pathlib import Path

    from mobilevit_tools.quantization._base import Quantization


def lower(
    module: nn.Module,
    spec: ExportSpec,
    contract: Contract,
    path: Path,
    quantization: Quantization | None = None,
    *,
    preflight: Preflight | None = None,
) -> Lowering:
    """Write ``module`` as an ExecuTorch program whose constant method ``mobilevit_tools_contract`` is the contract.

    Raises:
        MissingDependencyError: The backend cannot be loaded on this machine.
    """
    example = example_input(contract, spec.batch)
    prepared = (in_half(module, example, preflight) if spec.arithmetic == "fp16" else module).eval()
    if quantization is not None:
        from mobilevit_tools.quantization.executorch import quantize

        prepared = quantize(prepared, example, quantization)
    exported = torch.export.export(prepared, (example,), strict=False)
    with _shared_provenance():
        edge = to_edge_transform_and_lower(
            exported,
            partitioner=_partitioners(spec.backend or "portable"),
            constant_methods={METHOD_NAME: contract.to_json()},
            compile_config=EdgeCompileConfig(_check_ir_validity=False),
        )
    delegation = measure(edge)
    path.write_bytes(edge.to_executorch().buffer)
    return Lowering(delegation=delegation)


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
            hint="`mvt doctor` names the versions of the packages that fit together.",
        ) from error
    return []


@contextmanager
def _shared_provenance() -> Iterator[None]:
    """Let nodes share the record of their origin, which never changes.

    Left alone, every pass copies the record of all passes before it for every node: a tenth of the time of lowering.
    """
    NodeSource.__deepcopy__ = lambda self, _: self  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del NodeSource.__deepcopy__  # type: ignore[attr-defined]
