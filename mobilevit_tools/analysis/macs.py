"""Multiply-accumulates of a module, counted at the operators of one forward pass and cross-checked against its layers.

One multiply-accumulate is one MAC. Convolutions, linears and every matrix product count, those of attention included;
elementwise work, reductions and data movement do not. torch's own FLOP counter is not used: it reports nothing for
fused attention on CPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.fx.node import map_arg
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.utils._python_dispatch import TorchDispatchMode

from mobilevit_tools.analysis.graph import evaluating, example_input
from mobilevit_tools.blame import line_of, reason_and_remedy
from mobilevit_tools.errors import BadInputError

Rule = Callable[[Sequence[Any], Any], int]
"""Takes an operator's arguments and its result, returns its MACs."""

_ELEMENTWISE = (
    "_prelu_kernel abs add addcdiv addcmul bitwise_and bitwise_not bitwise_or bitwise_xor ceil clamp clamp_max "
    "clamp_min cos cosh div elu eq erf exp expm1 floor floor_divide fmod ge gelu gt hardsigmoid hardswish hardtanh "
    "isinf isnan le leaky_relu log log10 log1p log2 logical_and logical_not logical_or logical_xor logit lt "
    "masked_fill maximum minimum mish mul nan_to_num native_dropout ne neg pow prelu reciprocal relu remainder round "
    "rsqrt rsub sigmoid sign silu sin sinh softplus sqrt square sub tan tanh threshold trunc where "
)
_REDUCING = (
    "_adaptive_avg_pool2d _adaptive_avg_pool3d _log_softmax _native_batch_norm_legit_no_training _safe_softmax "
    "_softmax adaptive_avg_pool1d adaptive_max_pool2d all amax amin any argmax argmin argsort avg_pool1d avg_pool2d "
    "avg_pool3d cudnn_batch_norm cumsum grid_sampler_2d linalg_vector_norm logsumexp max max_pool2d_with_indices "
    "max_pool3d_with_indices mean median min miopen_batch_norm native_batch_norm native_group_norm native_layer_norm "
    "norm prod sort std sum topk upsample_bicubic2d upsample_bilinear2d upsample_nearest2d var var_mean "
)
_MOVING = (
    "_assert_scalar _assert_tensor_metadata _to_copy _unsafe_index _unsafe_view alias arange as_strided cat clone "
    "col2im constant_pad_nd copy detach embedding empty expand eye flip full full_like gather im2col index index_put "
    "index_select lift_fresh_copy linspace meshgrid ones ones_like permute pixel_shuffle pixel_unshuffle "
    "reflection_pad1d reflection_pad2d repeat replication_pad2d roll scalar_tensor scatter scatter_add select "
    "select_scatter slice slice_scatter split split_with_sizes squeeze stack t transpose tril triu unbind unfold "
    "unsqueeze view view_as_complex view_as_real zeros zeros_like "
)
# Elementwise work; normalisation, reductions, pooling and resampling; data movement and constants.
FREE_OPERATORS = frozenset((_ELEMENTWISE + _REDUCING + _MOVING).split())


@dataclass(frozen=True)
class MacCount:
    """Multiply-accumulates of one forward pass.

    Attributes:
        total: All of them.
        by_module: By the dotted path of the innermost module that does the work; "" is the model itself.
        uncounted: Operators that are neither counted nor known to be free, with how often they occur.
        mismatches: Convolutions and linears whose count at the operators differs from the one at the layer itself, as
            (at the operators, at the layer); empty when all is well.
    """

    total: int
    by_module: Mapping[str, int]
    uncounted: Mapping[str, int]
    mismatches: Mapping[str, tuple[int, int]]

    def under(self, path: str) -> int:
        """Return the count of the module at ``path`` and everything inside it."""
        return sum(count for name, count in self.by_module.items() if name == path or name.startswith(f"{path}."))


def count_macs(module: nn.Module, input_shape: tuple[int, ...]) -> MacCount:
    """Count the multiply-accumulates of ``module`` on one input.

    Args:
        module: Any module that takes one tensor; it is evaluated in evaluation mode and left as it was.
        input_shape: Shape of the input, batch included: (1, 3, H, W) gives the usual figure for one image.

    Raises:
        BadInputError: The module cannot be run on an input of this size.
    """
    counts: Counter[str] = Counter()
    counter = _Counter()
    example = example_input(module, input_shape)
    with evaluating(module), _fused_layers_off(), _by_module(module, counter, counts) as at_layers:
        try:
            with counter:
                module(example)
        except Exception as error:  # users' modules raise what they like
            raise _does_not_run(module, input_shape, error) from error
        counts[""] += counter.taken()
    return MacCount(
        total=sum(counts.values()),
        by_module=MappingProxyType({path: macs for path, macs in counts.items() if macs}),
        uncounted=MappingProxyType(dict(counter.uncounted)),
        mismatches=MappingProxyType(
            {path: (counts[path], macs) for path, macs in at_layers.items() if counts[path] != macs}
        ),
    )


def _does_not_run(module: nn.Module, input_shape: tuple[int, ...], error: Exception) -> BadInputError:
    size = "x".join(str(side) for side in input_shape)
    reason, remedy = reason_and_remedy(error)
    line = line_of(error)
    return BadInputError(
        f"{type(module).__name__} cannot be run on an input of {size}: {reason}" + (f" ({line})" if line else ""),
        hint=remedy or "Pass an input size that the model supports.",
        code="does_not_run",
    )


def macs_of(nodes: Iterable[Node]) -> int:
    """Count the multiply-accumulates of nodes of a graph: ATen operators, or ExecuTorch's wrappers of them."""
    return sum(_count_node(node)[0] for node in nodes if node.op == "call_function")


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves this class unannotated
    """Counts the operators that really run, those inside composite ones such as an einsum among them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0
        self.uncounted: Counter[str] = Counter()

    def taken(self) -> int:
        """Return what was counted since this was last asked."""
        macs, self.macs = self.macs, 0
        return macs

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        del types
        result = func(*args, **(kwargs or {}))
        namespace, _, name = func._schema.name.partition("::")
        name = name.removesuffix("_")  # in place or not
        if namespace == "aten" and name in _RULES:
            self.macs += _RULES[name](args, result)
        elif namespace != "prim" and (namespace != "aten" or name not in FREE_OPERATORS):  # prim asks, computes nothing
            self.uncounted[str(func)] += 1
        return result


def _count_node(node: Node) -> tuple[int, Counter[str]]:
    """Run one operator of the graph on its fake tensors and count what runs."""
    if isinstance(node.target, torch._ops.HigherOrderOperator):
        return 0, Counter([str(node.target)])
    operator: object = node.target
    if not isinstance(operator, torch._ops.OpOverload):
        operator = getattr(operator, "_op", None)  # what ExecuTorch wraps before lowering
    if not isinstance(operator, torch._ops.OpOverload):
        return 0, Counter()  # Python's own arithmetic on sizes and items of tuples
    args = map_arg(node.args, lambda source: source.meta["val"])
    kwargs = map_arg(node.kwargs, lambda source: source.meta["val"])
    counter = _Counter()
    with torch.no_grad(), counter:
        operator(*args, **kwargs)
    return counter.macs, counter.uncounted


def _convolution(args: Sequence[Any], result: Any) -> int:
    x, weight, transposed = args[0], args[1], args[6]
    # Every output element of a convolution, and every input element of a transposed one, meets one whole filter.
    elements = x if transposed else result
    return int(elements.numel() * prod(weight.shape[1:]))


def _product(left: int) -> Rule:
    """Return the rule for a matrix product whose left operand (..., K) is argument ``left``."""
    return lambda args, result: int(result.numel() * args[left].shape[-1])


def _batch_reduced_product(args: Sequence[Any], _result: Any) -> int:
    """``addbmm`` sums over the batch inside the operator, so its output does not show it."""
    return int(args[1].numel() * args[2].shape[-1])


def _attention(args: Sequence[Any], _result: Any) -> int:
    """Both products of fused attention: q k^T, then the map times v."""
    query, key, value = (tensor.shape for tensor in args[:3])
    return int(prod(query[:-1]) * key[-2] * (query[-1] + value[-1]))


_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "convolution": _convolution,
        "mm": _product(0),
        "bmm": _product(0),
        "mv": _product(0),
        "dot": _product(0),
        "vdot": _product(0),
        "addmm": _product(1),
        "addmv": _product(1),
        "baddbmm": _product(1),
        "addbmm": _batch_reduced_product,
        "_scaled_dot_product_flash_attention_for_cpu": _attention,
        "_scaled_dot_product_flash_attention": _attention,
        "_scaled_dot_product_efficient_attention": _attention,
        "_scaled_dot_product_cudnn_attention": _attention,
        "_scaled_dot_product_fused_attention_overrideable": _attention,
    }
)


@contextmanager
def _fused_layers_off() -> Iterator[None]:
    """Let torch run transformer layers operator by operator, not as one that tells nothing of its inside."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextmanager
def _by_module(module: nn.Module, counter: _Counter, counts: Counter[str]) -> Iterator[dict[str, int]]:
    """Add what ``counter`` counts to the innermost module that runs, under the first name that it is known by.

    Yields what each convolution and linear should come to by what really went in and out.
    """
    at_layers: dict[str, int] = {}
    handles = []
    running = [""]

    def enter(path: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(_layer: nn.Module, _inputs: tuple[Any, ...]) -> None:
            counts[running[-1]] += counter.taken()
            running.append(path)

        return hook

    def leave(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        path = running.pop()
        counts[path] += counter.taken()
        if path in at_layers:
            at_layers[path] += _layer_macs(layer, inputs[0], output)

    for path, child in module.named_modules():
        if path:
            handles += [child.register_forward_pre_hook(enter(path)), child.register_forward_hook(leave)]
        if isinstance(child, _ConvNd | nn.Linear):
            at_layers[path] = 0
    try:
        yield at_layers
    finally:
        for handle in handles:
            handle.remove()


def _layer_macs(layer: nn.Module, x: Tensor, output: Tensor) -> int:
    if isinstance(layer, nn.Linear):
        return output.numel() * layer.in_features
    if not isinstance(layer, _ConvNd):
        raise TypeError(type(layer).__name__)
    window = prod(layer.kernel_size)
    if isinstance(layer, _ConvTransposeNd):
        return x.numel() * layer.out_channels // layer.groups * window
    return output.numel() * layer.in_channels // layer.groups * window
