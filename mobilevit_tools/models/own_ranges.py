"""Models that were quantized in training (PT2E): their ranges are part of them, and are kept as they are.

Such a model is a traced graph. Prepared for training, it has modules that round and observe; converted, it has pairs of
quantize and dequantize operators. The former becomes the latter before anything runs it, because every run of an
observer moves its range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch._ops import OpOverload
from torch.fx import GraphModule

from mobilevit_tools.errors import BadInputError

_PREPARED = "torchao.quantization.pt2e"
_CONVERTED = "quantized_decomposed"


def module_of(model: object) -> object:
    """Return the module of a program that ``torch.export`` made; anything else as it is."""
    return model.module() if isinstance(model, torch.export.ExportedProgram) else model


def has_ranges(module: nn.Module) -> bool:
    """Tell whether a module, or a part of it, was quantized in training and has ranges of its own."""
    graphs = [each for each in module.modules() if isinstance(each, GraphModule)]
    return any(next(_observers(each), None) is not None or _quantizes(each) for each in graphs)


def with_ranges(name: str, module: nn.Module) -> nn.Module:
    """Return a traced module with the ranges that it has learnt, as operators; any other module as it is.

    Args:
        name: The model's name, for errors.
        module: It may change.

    Raises:
        BadInputError: An observer of it has not seen anything, so that it has no range.
    """
    if not isinstance(module, GraphModule):
        return module
    observers = list(_observers(module))
    if not observers and not _quantizes(module):
        return module
    from torchao.quantization.pt2e import move_exported_model_to_eval, qat_utils
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

    if observers:
        if any(not each.min_val.numel() or not bool(each.min_val.isfinite().all()) for each in observers):
            raise BadInputError(
                f"{name} is prepared for quantization, but some of its observers have not seen an image.",
                hint="Train it, or run it on photos, before it is exported.",
                code="own_model",
            )
        fold = _folding_what_is_there(qat_utils._fold_conv_bn_qat_helper)
        with mock.patch.object(qat_utils, "_fold_conv_bn_qat_helper", fold):
            module = convert_pt2e(module)
    traced: GraphModule = move_exported_model_to_eval(module)
    return GraphModule(traced, traced.graph)  # a fresh one has modes; PyTorch forbids to change those of the other


def _folding_what_is_there(fold: Callable[..., GraphModule]) -> Callable[..., GraphModule]:
    """Return torchao's function that folds norms into convolutions of one kind, for kinds that a module has.

    To look for one kind, torchao 0.18 traces 24 patterns: five seconds.
    """

    def fold_kind(module: GraphModule, kind: Callable[..., object], *arguments: Any, **options: Any) -> GraphModule:
        wanted = f"aten::{kind.__name__}"
        names = {each.target._schema.name for each in module.graph.nodes if isinstance(each.target, OpOverload)}
        return fold(module, kind, *arguments, **options) if wanted in names else module

    return fold_kind


def stored_values(module: nn.Module) -> int:
    """Return how many weights a module stores as integers, which are no parameters."""
    return sum(each.numel() for each in module.buffers() if each.dtype is torch.int8)


def _observers(graph: GraphModule) -> Iterator[Any]:
    for each in graph.modules():
        if type(each).__module__.startswith(_PREPARED) and hasattr(each, "min_val"):
            yield each


def _quantizes(graph: GraphModule) -> bool:
    return any(getattr(node.target, "namespace", None) == _CONVERTED for node in graph.graph.nodes)
