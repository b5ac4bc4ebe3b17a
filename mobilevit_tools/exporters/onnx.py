"""ONNX through ``torch.export``: one file, checked, with the contract in its metadata."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import onnx
import torch
from torch import nn

from mobilevit_tools.data.contract import BOXES, INPUT_NAME, METADATA_KEY, Contract
from mobilevit_tools.errors import MvtError
from mobilevit_tools.exporters._base import ExportSpec, Half, Lowering
from mobilevit_tools.exporters.class_map import answering, named_within
from mobilevit_tools.exporters.half import in_half, trace_float32
from mobilevit_tools.exporters.io_names import example_input, output_names
from mobilevit_tools.exporters.onnx_class_map import resize_channels_last
from mobilevit_tools.exporters.onnx_forms import check_arguments, forms_of
from mobilevit_tools.exporters.onnx_pads import name_axes
from mobilevit_tools.exporters.onnx_speed import without_repetition
from mobilevit_tools.exporters.onnx_suppression import suppress
from mobilevit_tools.exporters.refusals import fixed_batch
from mobilevit_tools.forms._base import functional, write_forms

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from torch.export import ExportedProgram

    from mobilevit_tools.quantization._base import Quantization
    from mobilevit_tools.targets.onnx import OnnxOptions

CLASS_TYPES = (torch.uint8, torch.int32)
"""Types of class maps, the smallest first: one byte a pixel."""


def trace(module: nn.Module, spec: ExportSpec, contract: Contract) -> ExportedProgram:
    """Return the program that is to compute in half precision."""
    return trace_float32(module, *_example(spec, contract))


def _example(spec: ExportSpec, contract: Contract) -> tuple[Tensor, tuple[dict[int, Any], ...] | None]:
    """Return an input, and which of its dimensions are free."""
    # A free dimension is specialised to a constant without a word when the example's size is 1.
    example = example_input(contract, max(spec.batch, 2) if spec.options.free_batch else spec.batch)
    return example, ({0: torch.export.Dim("batch", min=1)},) if spec.options.free_batch else None


def lower(
    module: nn.Module,
    spec: ExportSpec,
    contract: Contract,
    path: Path,
    quantization: Quantization | None = None,
    *,
    half: Half | None = None,
) -> Lowering:
    """Write ``module`` as an ONNX model of the operator set that ``spec`` asks for.

    Raises:
        BadInputError: The model fixes a batch that should be free, or ONNX computes one of its operators otherwise.
    """
    example, free = _example(spec, contract)
    prepared = in_half(module, half) if spec.arithmetic == "fp16" else module
    prepared = answering(prepared, contract, CLASS_TYPES).eval()
    traced = torch.export.export(prepared, (example,), dynamic_shapes=free, strict=False)
    forms = forms_of(traced)
    traced = functional(traced, forms)
    write_forms(traced, forms, (example,))
    check_arguments(contract.model, traced)
    names = list(BOXES) if contract.output == "detections" else output_names(module, contract, example)
    with without_repetition():
        program = torch.onnx.export(
            traced,
            input_names=[INPUT_NAME],
            output_names=names,
            opset_version=cast("OnnxOptions", spec.options).opset,
            dynamo=True,
            optimize=False,  # _simplify does
            external_data=False,
            verbose=False,
        )
        if program is None:
            raise MvtError("torch.onnx.export returned no program.")
        _simplify(program)
    model = program.model_proto
    first_dimension = model.graph.input[0].type.tensor_type.shape.dim[0]
    if spec.options.free_batch and not first_dimension.dim_param:
        raise fixed_batch(contract.model)
    asked: tuple[str, ...] = ()
    if quantization is not None and quantization.own_ranges:
        from mobilevit_tools.quantization.onnx_own_ranges import compute_in_integers

        compute_in_integers(model)
    elif quantization is not None:
        from mobilevit_tools.quantization.onnx import asked_to_stay, quantize

        # Weights are told by their names, which a wrapper's have before them.
        named = answering(module, contract, CLASS_TYPES)
        quantization = replace(quantization, keep=tuple(named_within(quantization.keep, contract)))
        asked = asked_to_stay(model, named, quantization)
        model = quantize(model, named, quantization, spec.batch)
    if contract.output == "class_map":
        resize_channels_last(model)
    if contract.output == "detections":
        suppress(model, *BOXES)
    name_axes(model)
    _strip_traces(model)
    onnx.helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    model.producer_name = "mobilevit-tools"
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return Lowering(asked=asked)


def own_lowering(module: nn.Module, example: Tensor, path: Path) -> None:
    """Write what ``torch.onnx.export`` makes of ``module`` by itself."""
    torch.onnx.export(module, (example,), path, dynamo=True, external_data=False, verbose=False)


def _simplify(program: torch.onnx.ONNXProgram) -> None:
    """Fold and fuse, and remove what the exporter's own optimizer leaves: zeros added, and pairs that undo each other.

    Such a pair of transposes becomes one only once the reshapes between them are gone, which is when it ends. All its
    rules once more would find those as well, and take as long again.
    """
    from onnx_ir.passes.common import IdentityEliminationPass
    from onnxscript import ir, rewriter
    from onnxscript.rewriter.rules import common

    def add(op: Any, x: ir.Value, zeros: ir.Value) -> ir.Value:
        return op.Add(x, zeros)

    def nothing(op: Any, x: ir.Value, **_: ir.Value) -> ir.Value:
        return op.Identity(x)

    def changes_nothing(_: object, x: ir.Value, zeros: ir.Value) -> bool:
        known = zeros.const_value
        if known is None or x.shape is None or len(known.shape) > len(x.shape) or known.size > 1:
            return False
        return not known.numpy().any()

    zeros = rewriter.RewriteRuleSet(rewriter.RewriteRule(add, nothing, changes_nothing).commute())
    pairs = (common.reshape_reshape_rule, common.transpose_transpose_rule, common.no_op_transpose_rule)
    program.optimize()
    for rules in (zeros, pairs, pairs):  # a pair that is gone may leave another one
        program.model = rewriter.rewrite(program.model, rules)
        IdentityEliminationPass()(program.model)


def _strip_traces(model: onnx.ModelProto) -> None:
    """Remove the stack traces and source paths on every node: they are private, and differ between machines."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for function in model.functions:
        for node in function.node:
            del node.metadata_props[:]
            node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    for initializer in model.graph.initializer:
        del initializer.metadata_props[:]
    del model.graph.metadata_props[:]
