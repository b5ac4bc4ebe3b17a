"""Core AI through coreai-torch: a model asset with the contract in its metadata."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from coreai.runtime import AIModelAssetMetadata
from coreai_torch import TorchConverter, get_decomp_table

from mobilevit_tools.data.contract import INPUT_NAME, METADATA_KEY
from mobilevit_tools.exporters._base import ExportSpec, Half, Lowering
from mobilevit_tools.exporters.class_map import answering
from mobilevit_tools.exporters.coreai_forms import FORMS
from mobilevit_tools.exporters.half import in_half, trace_float32
from mobilevit_tools.exporters.io_names import example_input, output_names
from mobilevit_tools.forms._base import functional, write_forms

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn
    from torch.export import ExportedProgram

    from mobilevit_tools.data.contract import Contract
    from mobilevit_tools.quantization._base import Quantization

CLASS_TYPES = (torch.int32,)
"""Types of class maps; the format has no 64-bit integers."""


def trace(module: nn.Module, spec: ExportSpec, contract: Contract) -> ExportedProgram:
    """Return the program that is to compute in half precision."""
    return trace_float32(module, example_input(contract, spec.batch))


def lower(
    module: nn.Module,
    spec: ExportSpec,
    contract: Contract,
    path: Path,
    quantization: Quantization | None = None,  # noqa: ARG001  # it has no quantized precision
    *,
    half: Half | None = None,
) -> Lowering:
    """Write ``module`` as an asset whose only function takes ``image`` and returns the model's outputs by name."""
    example = example_input(contract, spec.batch)
    prepared = in_half(module, half) if spec.arithmetic == "fp16" else module
    prepared = answering(prepared, contract, CLASS_TYPES).eval()
    traced = functional(torch.export.export(prepared, (example,), strict=False), FORMS)
    write_forms(traced, FORMS, (example,))
    program = traced.run_decompositions(get_decomp_table())
    # The other mode stores the stack trace of every operator, with this machine's paths.
    converter = TorchConverter(mode=TorchConverter.Mode.RELEASE)
    converter.add_exported_program(
        program, input_names=[INPUT_NAME], output_names=output_names(module, contract, example)
    )
    metadata = AIModelAssetMetadata()
    metadata.license = contract.license
    metadata.set_custom(METADATA_KEY, contract.to_json())
    converter.to_coreai().save_asset(path, metadata)
    _settle(path / "metadata.json")
    return Lowering()


def _settle(file: Path) -> None:
    """Write an asset's metadata without the time of the day, in an order of its own.

    The program's bytes still differ from run to run: the compiler names large constants anew in each.
    """
    stored = json.loads(file.read_bytes())
    stored.pop("creationDate", None)
    file.write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n", encoding="utf-8")
