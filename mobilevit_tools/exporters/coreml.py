"""Core ML: an ML Program package that takes an image and gives class probabilities, or a tensor and logits."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

import coremltools as ct
import numpy as np
import torch
from torch import Tensor, nn

from mobilevit_tools.data.contract import INPUT_NAME, METADATA_KEY, Contract
from mobilevit_tools.data.labels import unique_labels
from mobilevit_tools.exporters._base import ExportSpec, Half, Lowering
from mobilevit_tools.exporters.class_map import answering
from mobilevit_tools.exporters.coreml_half import compute_precision, mark_kept
from mobilevit_tools.exporters.coreml_handles import give_handles, made_of, operations_of
from mobilevit_tools.exporters.coreml_package import save_package
from mobilevit_tools.exporters.coreml_passes import (
    exact_factors,
    passes,
    transposes_as_written,
    validated_where_it_counts,
)
from mobilevit_tools.exporters.coreml_program import naming_operators, traced
from mobilevit_tools.exporters.coreml_suppression import RAW, Objects, with_suppression
from mobilevit_tools.exporters.io_names import example_input, output_names
from mobilevit_tools.targets.precisions import PRECISIONS

if TYPE_CHECKING:
    from pathlib import Path

    from torch.export import ExportedProgram

    from mobilevit_tools.quantization._base import Quantization
    from mobilevit_tools.targets.coreml import CoremlOptions

CLASS_TYPES = (torch.int32,)
"""Types of class maps: the only integers that a multi-array has before iOS 26."""


class ImageModel(nn.Module):
    """Takes RGB pixels 0-255 (B, 3, H, W), normalises them, and turns logits into probabilities."""

    scale: Tensor
    offset: Tensor

    def __init__(self, module: nn.Module, contract: Contract) -> None:
        super().__init__()
        self.module = module
        self.probabilities = contract.output == "probabilities"
        scale, offset = contract.preprocessing.scale_and_offset()
        self.register_buffer("scale", torch.from_numpy(scale).view(1, 3, 1, 1))
        self.register_buffer("offset", torch.from_numpy(offset).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor | list[Tensor]:
        """Return probabilities (B, classes), or what the module returns where it has no logits."""
        outputs: Tensor | list[Tensor] = self.module(pixels * self.scale + self.offset)
        return torch.softmax(outputs, dim=-1) if self.probabilities and isinstance(outputs, Tensor) else outputs


def trace(module: nn.Module, spec: ExportSpec, contract: Contract) -> ExportedProgram:
    """Return the program that coremltools converts."""
    whole = ImageModel(module, contract) if contract.input == "image" else module
    if contract.output == "objects":
        whole = Objects(whole, contract.preprocessing.input_size)
    program = traced(answering(whole, contract, CLASS_TYPES).eval(), example_input(contract, spec.batch))
    give_handles(program)
    return program


def lower(
    module: nn.Module,
    spec: ExportSpec,
    contract: Contract,
    path: Path,
    quantization: Quantization | None = None,
    *,
    half: Half | None = None,
) -> Lowering:
    """Write ``module`` as an ``.mlpackage``."""
    measured = None if quantization is None or quantization.own_ranges else quantization
    if measured is not None:
        from mobilevit_tools.quantization.coreml import rounded

        given, module = module, rounded(module, measured, spec.batch)
        half = half if half is None or module is given else Half(trace(module, spec, contract), half.keep)
    options = cast("CoremlOptions", spec.options)
    program, keep = (trace(module, spec, contract), ()) if half is None else (half.program, half.keep)
    kept: tuple[str, ...] = ()
    with exact_factors(), transposes_as_written(program), validated_where_it_counts():
        with naming_operators(program):
            package = ct.convert(
                program,
                convert_to="mlprogram",
                minimum_deployment_target=getattr(ct.target, options.deployment_target or ""),
                compute_precision=compute_precision(spec.arithmetic, program, keep),
                pass_pipeline=passes(quantized=quantization is not None),
                skip_model_load=True,
                **_interface(module, spec, contract),
            )
        if measured is not None:
            from mobilevit_tools.quantization.coreml import quantize

            kept = operations_of(package, program, module, measured.keep)
            # coremltools gives inputs scales in half, whatever they are
            if PRECISIONS[measured.precision].calibrated:
                kept += made_of(package, [node for node in program.graph.nodes if node.name in keep])
            package = quantize(package, measured, kept, takes_image=contract.input == "image", batch=spec.batch)
    if contract.output == "objects":
        package = with_suppression(package, contract)
    package.author = "mobilevit-tools"
    package.license = contract.license
    package.version = version("mobilevit-tools")
    package.short_description = f"{contract.model}, exported by mobilevit-tools"
    package.user_defined_metadata[METADATA_KEY] = contract.to_json()
    mark_kept(package, keep)
    save_package(package, path)
    return Lowering(asked=kept)


def _interface(module: nn.Module, spec: ExportSpec, contract: Contract) -> dict[str, Any]:
    """Return what coremltools is to declare of a package's inputs, outputs and classes."""
    example = example_input(contract, spec.batch)
    shape = tuple(example.shape)
    names = RAW if contract.output == "objects" else output_names(module, contract, example)
    dtype = np.int32 if contract.output == "class_map" else None
    classes = contract.labels if contract.output == "probabilities" else None
    return {
        "inputs": [
            ct.ImageType(name=INPUT_NAME, shape=shape, color_layout=ct.colorlayout.RGB)
            if contract.input == "image"
            else ct.TensorType(name=INPUT_NAME, shape=shape)
        ],
        "outputs": [ct.TensorType(name=name, dtype=dtype) for name in names],
        "classifier_config": ct.ClassifierConfig(unique_labels(classes)) if classes else None,
    }
