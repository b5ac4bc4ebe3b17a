"""ExecuTorch: PT2E with the XNNPACK quantizer, on the operators that hold trained weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import torch
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    QuantizationConfig,
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from torch import nn
from torchao.quantization.pt2e import MinMaxObserver, quantize_pt2e
from torchao.quantization.pt2e.quantizer import QuantizationAnnotation
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from mobilevit_tools.analysis.macs import macs_of
from mobilevit_tools.precision.execution import source
from mobilevit_tools.quantization._base import Quantization
from mobilevit_tools.quantization.executorch_integers import (
    DEQUANTIZE_CHANNELS,
    NOTED,
    QUANTIZE,
    WITH_WEIGHTS,
    fit,
    is_dequantized,
    shield,
)
from mobilevit_tools.quantization.sensitivity import weight_names
from mobilevit_tools.quantization.share import Layer

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node

LINEAR = frozenset({torch.ops.aten.linear.default})
CONVOLUTIONS = frozenset(
    {
        torch.ops.aten.conv1d.default,
        torch.ops.aten.conv1d.padding,
        torch.ops.aten.conv2d.default,
        torch.ops.aten.conv2d.padding,
    }
)
"""Not quantized dynamically: XNNPACK cannot lower such convolutions with a scale per channel."""
FLOATING = frozenset({torch.ops.aten.einsum.default})
"""Operators that may multiply by a weight, and are never quantized."""
RELUS = frozenset({torch.ops.aten.relu.default, torch.ops.aten.relu_.default})
"""What the quantizer's patterns put behind an operator with weights."""
UNARY = frozenset(
    {
        *RELUS,
        torch.ops.aten.relu6.default,
        torch.ops.aten.hardtanh.default,
        torch.ops.aten.hardtanh_.default,
        torch.ops.aten.hardswish.default,
        torch.ops.aten.hardswish_.default,
        torch.ops.aten.gelu.default,
        torch.ops.aten.leaky_relu.default,
        torch.ops.aten.tanh.default,
        torch.ops.aten.sigmoid.default,
    }
)
"""What XNNPACK looks up in a table of 256 bytes where integers come in and go out."""
ALIASES = frozenset({torch.ops.aten.alias.default, torch.ops.aten.detach.default})
CONCATENATIONS = frozenset({torch.ops.aten.cat.default})
SMALLEST_SCALE = 2**-12
"""What the quantizer's own configuration gives its observers."""


class WeightedQuantizer(XNNPACKQuantizer):  # type: ignore[misc]
    """The XNNPACK quantizer without its last step, which passes a range on to slices and reshapes.

    XNNPACK does not take quantized slices: they would split the program into dozens of delegate calls. Nor does it
    quantize concatenations, which the base class does whatever the filter says, unless they stand between operators in
    8 bits: it would round residuals, and convert them for that.

    Args:
        selects: The filter.
    """

    def __init__(self, selects: Callable[[Node], bool]) -> None:
        super().__init__()
        self.set_filter_function(selects)
        self._selects = selects

    def annotate(self, model: GraphModule) -> GraphModule:
        """Annotate the operators with weights; see the base class."""
        for node in model.graph.nodes:
            if node.target in CONCATENATIONS and not _has_integers_beside(node, self._selects):
                node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(_annotated=True)
        annotated: GraphModule = self._annotate_for_quantization_config(model)
        return annotated


def quantize(module: nn.Module, example: torch.Tensor, quantization: Quantization) -> GraphModule:
    """Return ``module`` with quantize and dequantize pairs around its operators with weights, ready for export.

    Args:
        module: In evaluation mode, in float32.
        example: An input (B, 3, H, W) of the artifact's size.
        quantization: What to do.
    """
    prepared = prepare(module, example, quantization)
    # torchao 0.18 traces 96 patterns of training to look for norms that only a model prepared for it has.
    with mock.patch.object(quantize_pt2e, "_fold_conv_bn_qat", lambda trained: trained):
        converted: GraphModule = quantize_pt2e.convert_pt2e(prepared)
    fit(converted)
    return converted


def keep_ranges(module: nn.Module, example: torch.Tensor) -> GraphModule:
    """Return a module that was quantized in training, traced for export, with the ranges that it has.

    Args:
        module: With quantize and dequantize operators.
        example: An input (B, 3, H, W) of the artifact's size.
    """
    captured: GraphModule = torch.export.export(module, (example,), strict=False).module(check_guards=False)
    _drop_aliases(captured)
    _widen_what_is_not_lowered(captured)
    for node in captured.graph.nodes:
        place = WITH_WEIGHTS.get(node.target)
        stored = None if place is None else _stored(node.args[place])
        if stored is not None:
            value = attrgetter(str(stored.target))(captured)
            node.meta[NOTED] = str(stored.target), value.numel(), macs_of([node]), True
    shield(captured)
    return captured


def _widen_what_is_not_lowered(module: GraphModule) -> None:
    """Store weights that XNNPACK takes in floating point alone as the values that they are rounded to, in place."""
    for number, node in enumerate(list(module.graph.nodes)):
        if node.target is not DEQUANTIZE_CHANNELS or any(user.target in LINEAR | CONVOLUTIONS for user in node.users):
            continue
        constants = [attrgetter(str(each.target))(module) for each in node.all_input_nodes if each.op == "get_attr"]
        if len(constants) != len(node.all_input_nodes):
            continue
        name = f"_rounded_{number}"
        module.register_buffer(name, node.target(*constants, *node.args[len(constants) :], **node.kwargs))
        with module.graph.inserting_before(node):
            stored = module.graph.get_attr(name)
        stored.meta["val"] = node.meta.get("val")
        node.replace_all_uses_with(stored)
        module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()


def _stored(node: Node) -> Node | None:
    """Return where a module keeps the values that a node gives, rounded or not; None where they are computed."""
    node = source(node)
    while getattr(node.target, "namespace", None) == QUANTIZE.namespace:
        node = source(cast("Node", node.args[0]))
    return node if node.op == "get_attr" else None


def prepare(module: nn.Module, example: torch.Tensor, quantization: Quantization) -> GraphModule:
    """Return ``module`` with observers around its operators with weights, which have seen the photos."""
    captured = torch.export.export(module, (example,), strict=False).module()
    _drop_aliases(captured)
    _separate_weights(captured)
    operators = LINEAR if quantization.calibration is None else LINEAR | CONVOLUTIONS
    _note_weights(captured, _selects(captured, operators, quantization.keep))
    quantizer = WeightedQuantizer(_selects(captured, operators, quantization.keep, pays=_pays))
    quantizer.set_global(_config(quantization))
    prepared: GraphModule = quantize_pt2e.prepare_pt2e(captured, quantizer)
    with torch.no_grad():
        if quantization.calibration is None:
            prepared(example)  # the weights are observed, too
        else:
            calibration, size = quantization.calibration, len(example)
            for batch in calibration.watched(calibration.batches(size), size):
                prepared(torch.from_numpy(batch))
    return prepared


def read_layers(quantized: GraphModule) -> tuple[Layer, ...]:
    """Return the operators with trained weights of what :func:`quantize` returned."""
    return tuple(layer for _, layer in _layers(quantized))


def asked_to_stay(quantized: GraphModule, quantization: Quantization) -> tuple[str, ...]:
    """Return the names of the operators that stay in floating point on purpose; a model with ranges chose them."""
    if quantization.own_ranges:
        return tuple(layer.operator for layer in read_layers(quantized) if not layer.quantized)
    return tuple(
        layer.operator
        for node, layer in _layers(quantized)
        if layer.weight in quantization.keep
        or (quantization.calibration is None and "conv" in layer.kind)
        or not _pays(node)
    )


def _layers(quantized: GraphModule) -> Iterator[tuple[Node, Layer]]:
    for node in quantized.graph.nodes:
        if NOTED not in node.meta:
            continue
        name, values, macs, _ = node.meta[NOTED]
        place = WITH_WEIGHTS.get(node.target)
        x, weight = (None, None) if place is None else (node.args[index] for index in (place - 1, place))
        yield (
            node,
            Layer(
                operator=node.name,
                kind=node.target.name(),
                weight=name,
                values=values,
                macs=macs,
                quantized=weight is not None and is_dequantized(source(weight)),
                integer=is_dequantized(x),
            ),
        )


def _note_weights(module: GraphModule, selects: Callable[[Node], bool]) -> None:
    names = weight_names(module)
    for node in module.graph.nodes:
        place = WITH_WEIGHTS.get(node.target)
        read = [node.args[place]] if place is not None else node.all_input_nodes if node.target in FLOATING else []
        for weight in read:
            if not isinstance(weight, torch.fx.Node) or (name := str(source(weight).target)) not in names:
                continue
            pays = not _is_depthwise(node) or _has_integers_beside(node, selects)
            node.meta[NOTED] = names[name], module.get_parameter(name).numel(), macs_of([node]), pays


def _pays(node: Node) -> bool:
    return bool(node.meta[NOTED][3])


def _is_depthwise(node: Node) -> bool:
    if node.target not in CONVOLUTIONS:
        return False
    weight = cast("Node", node.args[1])
    groups = node.args[6] if len(node.args) > 6 else 1
    return bool(groups != 1 and weight.meta["val"].shape[1] == 1)


def _has_integers_beside(node: Node, selects: Callable[[Node], bool]) -> bool:
    """Tell whether operators in 8 bits precede and follow an operator, but for functions of one value.

    Where they do not, its input or its result is converted for it alone. That takes longer than a concatenation or a
    depthwise convolution gains, which has few products for each value, and is about as fast in floating point.
    """

    def integer(other: Node) -> bool:
        return other.target in WITH_WEIGHTS and selects(other)

    def before(other: Node) -> bool:
        return integer(other) or (other.target in UNARY and before(other.all_input_nodes[0]))

    def after(other: Node) -> bool:
        users = other.users
        return bool(users) and all(integer(user) or (user.target in UNARY and after(user)) for user in users)

    values = node.all_input_nodes if node.target in CONCATENATIONS else node.all_input_nodes[:1]
    return all(map(before, values)) and after(node)


def _drop_aliases(module: GraphModule) -> None:
    """Let everybody read what an alias reads, such as a slice of a whole axis: shields and patterns see no further.

    The concatenation of a single tensor is one, too.
    """
    for node in list(module.graph.nodes):
        read: Any = node.args[0] if node.args else None
        if node.target in CONCATENATIONS and len(read) == 1:
            (read,) = read
        elif node.target not in ALIASES:
            continue
        node.replace_all_uses_with(read)
        module.graph.erase_node(node)
    module.recompile()


def _separate_weights(module: GraphModule) -> None:
    """Let every operator read its weight and bias by itself: of readers of one node, only the first is annotated."""
    for node in list(module.graph.nodes):
        if node.op != "get_attr":
            continue
        for reader in list(node.users)[1:]:
            if reader.target in LINEAR | CONVOLUTIONS:
                with module.graph.inserting_before(reader):
                    copied = module.graph.node_copy(node)
                reader.replace_input_with(node, copied)
    module.recompile()


def _config(quantization: Quantization) -> QuantizationConfig:
    if quantization.precision == "dynamic-int8":
        return get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
    config = get_symmetric_quantization_config(is_per_channel=True)
    if quantization.method == "min-max":
        activation = replace(
            config.input_activation, observer_or_fake_quant_ctr=MinMaxObserver.with_args(eps=SMALLEST_SCALE)
        )
        config = replace(config, input_activation=activation, output_activation=activation)
    return config


def _selects(
    module: GraphModule,
    operators: frozenset[torch._ops.OpOverload],
    keep: tuple[str, ...],
    pays: Callable[[Node], bool] = lambda _: True,
) -> Callable[[Node], bool]:
    """Return the filter that takes operators whose weight is a trained parameter and not to be kept.

    A rewrite writes means as products with constants; those are arithmetic, and stay in floating point.
    """
    trained = {each for each, name in weight_names(module).items() if name not in keep}

    def selects(node: Node) -> bool:
        if node.op == "get_attr" or node.target in RELUS:
            return True  # asked about along with the operator that has the weight, which decides
        if node.target not in operators:
            return False
        weight, *bias = node.args[1:3]
        if any(isinstance(each, torch.fx.Node) and each.op != "get_attr" for each in bias):
            return False  # XNNPACK takes none that is computed
        if not isinstance(weight, torch.fx.Node) or weight.target not in trained:
            return False
        return weight.meta["val"].dim() > 1 and pays(node)  # a vector has no channels to have a scale each

    return selects
