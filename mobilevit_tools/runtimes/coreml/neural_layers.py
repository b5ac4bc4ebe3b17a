"""Layers of the older neural-network format as operations of an ML Program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilevit_tools.errors import BadInputError

from .dtypes import BY_NAME
from .mil import Argument, Constant, Operation, ValueType
from .neural_weights import read_weights

if TYPE_CHECKING:
    from google.protobuf.message import Message

ANY = ValueType(BY_NAME["fp32"], (), any_rank=True)


class Writer:
    """Collects the operations that layers become."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def add(self, kind: str, names: tuple[str, ...], /, **inputs: Any) -> None:
        """Append an operation.

        Args:
            kind: Operator type.
            names: Names of its results; the first one also names the operation.
            inputs: Names of values as ``str``; everything else is a constant, text as a :func:`text`.
        """
        given = {key: _arguments(value) for key, value in inputs.items() if value is not None}
        self.operations.append(Operation(names[0], kind, given, tuple((name, ANY) for name in names)))


def text(value: str) -> Constant:
    """A text constant."""
    return Constant(np.array(value, dtype=object), BY_NAME["string"])


def _arguments(value: Any) -> tuple[Argument, ...]:
    if isinstance(value, list):
        return tuple(argument for entry in value for argument in _arguments(entry))
    if isinstance(value, str | Constant):
        return (value,)
    array = np.asarray(value)
    kind = {"f": "fp32", "b": "bool"}.get(array.dtype.kind, "int32")
    return (Constant(array.astype(BY_NAME[kind].storage), BY_NAME[kind]),)


def translate(layer: Message, writer: Writer) -> None:
    """Append the operations of one layer; one that is not known becomes an operation that no runtime has.

    Raises:
        BadInputError: The layer has other inputs or weights than its kind has.
    """
    kind = str(layer.WhichOneof("layer"))
    params = getattr(layer, kind)
    names, results = list(layer.input), tuple(layer.output)
    if kind in _BINARY and names and results:
        _fold(_BINARY[kind], params, names, results, writer)
    elif kind in _SIMPLE and len(names) == 1 and len(results) == 1:
        writer.add(_SIMPLE[kind], results, x=names[0])
    elif kind in _LAYERS and len(results) == 1 and (names or _LAYERS[kind] is _constant):
        _LAYERS[kind](params, names, results, writer)
    else:
        writer.add(kind, results or (layer.name,), x=names)


def _convolution(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    kernel = tuple(params.kernelSize) or (3, 3)
    out, groups = int(params.outputChannels), int(params.nGroups) or 1
    fewer = (int(params.kernelChannels), out // groups) if params.isDeconvolution else (out, int(params.kernelChannels))
    if len(names) != 1:
        raise BadInputError("A convolution takes its weights from another layer, which this runtime does not model.")
    writer.add(
        "conv_transpose" if params.isDeconvolution else "conv",
        results,
        x=names[0],
        weight=read_weights(params.weights, (*fewer, *kernel)),
        bias=read_weights(params.bias, (out,)) if params.hasBias else None,
        strides=list(params.stride) or [1, 1],
        dilations=list(params.dilationFactor) or [1, 1],
        groups=groups,
        **({"output_shape": [1, out, *map(int, params.outputShape)]} if params.outputShape else {}),
        **_padding(params, params.WhichOneof("ConvolutionPaddingType")),
    )


def _padding(params: Message, kind: str | None) -> dict[str, Any]:
    if kind == "same":
        return {"pad_type": text("same_lower" if params.same.asymmetryMode else "same")}
    if kind == "includeLastPixel":
        amounts = [int(amount) for amount in params.includeLastPixel.paddingAmounts] or [0, 0]
        return {"pad_type": text("custom"), "pad": [amounts[0]] * 2 + [amounts[-1]] * 2, "ceil_mode": True}
    edges = [(int(e.startEdgeSize), int(e.endEdgeSize)) for e in params.valid.paddingAmounts.borderAmounts]
    return {"pad_type": text("custom"), "pad": [size for edge in edges for size in edge] or [0] * 4}


def _pooling(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    kind = ("MAX", "AVERAGE", "L2")[params.type]
    if params.globalPooling:
        writer.add("global_pool", results, x=names[0], mode=text(kind))
        return
    excluded = {"exclude_padding_from_average": bool(params.avgPoolExcludePadding)} if kind == "AVERAGE" else {}
    writer.add(
        {"MAX": "max_pool", "AVERAGE": "avg_pool", "L2": "l2_pool"}[kind],
        results,
        x=names[0],
        kernel_sizes=list(params.kernelSize) or [3, 3],
        strides=list(params.stride) or [1, 1],
        **_padding(params, params.WhichOneof("PoolingPaddingType")),
        **excluded,
    )


_ACTIVATIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "ELU": ("elu", ("alpha",)),
    "ReLU": ("relu", ()),
    "leakyReLU": ("leaky_relu", ("alpha",)),
    "linear": ("linear_activation", ("alpha", "beta")),
    "scaledTanh": ("scaled_tanh", ("alpha", "beta")),
    "sigmoid": ("sigmoid", ()),
    "sigmoidHard": ("sigmoid_hard", ("alpha", "beta")),
    "softplus": ("softplus", ()),
    "softsign": ("softsign", ()),
    "tanh": ("tanh", ()),
    "thresholdedReLU": ("thresholded_relu", ("alpha",)),
}


def _activation(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    kind = str(params.WhichOneof("NonlinearityType"))
    chosen = getattr(params, kind)
    if kind == "PReLU":
        alpha = chosen.alpha
        writer.add("prelu", results, x=names[0], alpha=read_weights(alpha, (len(alpha.floatValue) or 1,)))
    elif kind in _ACTIVATIONS:
        name, fields = _ACTIVATIONS[kind]
        writer.add(name, results, x=names[0], **{field: float(getattr(chosen, field)) for field in fields})
    else:
        writer.add(f"activation {kind}", results, x=names[0])


def _inner_product(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    out, into = int(params.outputChannels), int(params.inputChannels)
    bias = read_weights(params.bias, (out,)) if params.hasBias else None
    writer.add("inner_product", results, x=names[0], weight=read_weights(params.weights, (out, into)), bias=bias)


def _batchnorm(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    size = (int(params.channels),)
    gamma, beta = read_weights(params.gamma, size), read_weights(params.beta, size)
    epsilon = float(params.epsilon) or 1e-5
    if params.computeMeanVar:
        kind = "instance_norm" if params.instanceNormalization else "batchnorm of the batch"
        writer.add(kind, results, x=names[0], gamma=gamma, beta=beta, epsilon=epsilon)
        return
    mean, variance = read_weights(params.mean, size), read_weights(params.variance, size)
    writer.add("batch_norm", results, x=names[0], mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=epsilon)


def _scale(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    scale = read_weights(params.scale, _by_channel(params.shapeScale))
    bias = read_weights(params.bias, _by_channel(params.shapeBias)) if params.hasBias else None
    writer.add("channel_affine", results, x=names[0], scale=scale, bias=bias)


def _bias(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    writer.add("channel_affine", results, x=names[0], bias=read_weights(params.bias, _by_channel(params.shape)))


def _by_channel(shape: Any) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in shape)
    return (*sizes, 1, 1) if len(sizes) == 1 else sizes


def _lrn(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    values = {"alpha": float(params.alpha), "beta": float(params.beta), "k": float(params.k) or 1.0}
    writer.add("local_response_norm", results, x=names[0], size=int(params.localSize), **values)


def _border(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    kind = str(params.WhichOneof("PaddingType"))
    edges = [(int(e.startEdgeSize), int(e.endEdgeSize)) for e in params.paddingAmounts.borderAmounts]
    value = float(params.constant.value) if kind == "constant" else 0.0
    mode = {"constant": "constant", "reflection": "reflect", "replication": "replicate"}[kind]
    pad = [size for edge in edges for size in edge] or [0] * 4
    writer.add("pad", results, x=names[0], pad=pad, mode=text(mode), constant_val=value)


def _upsample(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    if params.fractionalScalingFactor or (params.mode and params.linearUpsampleMode):
        writer.add("upsample by fractions", results, x=names[0])
        return
    rows, columns = list(params.scalingFactor) or [1, 1]
    kind = "upsample_bilinear" if params.mode else "upsample_nearest_neighbor"
    aligned = {"align_corners": False, "half_pixel_centers": False} if params.mode else {}
    writer.add(kind, results, x=names[0], scale_factor_height=int(rows), scale_factor_width=int(columns), **aligned)


def _reshape(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    shape = [int(size) for size in params.targetShape][-3:]
    writer.add("reshape of channels last" if params.mode else "reshape_channels", results, x=names[0], shape=shape)


def _flatten(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    writer.add("flatten of channels last" if params.mode else "flatten_channels", results, x=names[0])


def _permute(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    writer.add("transpose", results, x=names[0], perm=[int(axis) for axis in params.axis])


def _transpose(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    writer.add("transpose", results, x=names[0], perm=[int(axis) for axis in params.axes])


def _concat(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    writer.add("concat of sequences" if params.sequenceConcat else "concat", results, values=names, axis=-3)


def _concat_nd(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    writer.add("concat", results, values=names, axis=int(params.axis), interleave=bool(params.interleave))


def _softmax(_: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    writer.add("softmax", results, x=names[0], axis=-3)


def _softmax_nd(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    writer.add("softmax", results, x=names[0], axis=int(params.axis))


def _reshape_static(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    writer.add("reshape", results, x=names[0], shape=[int(size) for size in params.targetShape])


def _squeeze(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    axes = None if params.squeezeAll else [int(axis) for axis in params.axes]
    writer.add("squeeze", results, x=names[0], axes=axes)


def _expand(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    writer.add("expand_dims", results, x=names[0], axes=[int(axis) for axis in params.axes])


def _mean(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    axes = None if params.reduceAll else [int(axis) for axis in params.axes]
    writer.add("reduce_mean", results, x=names[0], axes=axes, keep_dims=bool(params.keepDims))


def _slice(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    writer.add(
        "slice_by_index",
        results,
        x=names[0],
        begin=[int(each) for each in params.beginIds],
        end=[int(each) for each in params.endIds],
        stride=[int(each) for each in params.strides] or None,
        begin_mask=[bool(each) for each in params.beginMasks] or None,
        end_mask=[bool(each) for each in params.endMasks] or None,
        squeeze_mask=[bool(each) for each in params.squeezeMasks] or None,
    )


def _clip(params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    writer.add("clip", results, x=names[0], alpha=float(params.minVal), beta=float(params.maxVal))


def _constant(params: Message, _: list[str], results: tuple[str, ...], writer: Writer) -> None:
    writer.add("identity", results, x=read_weights(params.data, tuple(int(size) for size in params.shape)))


def _fold(kind: str, params: Message, names: list[str], results: tuple[str, ...], writer: Writer) -> None:
    """A function of two values over all inputs in turn; over one input and the layer's own number where it has one."""
    given: list[Any] = list(names)
    if len(given) == 1 and hasattr(params, "alpha"):
        given.append(float(params.alpha))
    if len(given) < 2:
        raise BadInputError(f"A layer of kind {kind} has a single input.")
    current = given[0]
    for i, other in enumerate(given[1:], start=2):
        name = results[0] if i == len(given) else f"{results[0]}/{i}"
        writer.add(kind, (name,), x=current, y=other)
        current = name


_BINARY: Mapping[str, str] = {
    "add": "add",
    "addBroadcastable": "add",
    "divideBroadcastable": "real_div",
    "max": "maximum",
    "maxBroadcastable": "maximum",
    "min": "minimum",
    "minBroadcastable": "minimum",
    "multiply": "mul",
    "multiplyBroadcastable": "mul",
    "powBroadcastable": "pow",
    "subtractBroadcastable": "sub",
}
_SIMPLE: Mapping[str, str] = {
    **{name: name for name in ("ceil", "cos", "erf", "exp2", "floor", "round", "sign", "sin", "tanh")},
    "copy": "identity",
}
_LAYERS: Mapping[str, Callable[[Any, list[str], tuple[str, ...], Writer], None]] = {
    "activation": _activation,
    "batchnorm": _batchnorm,
    "bias": _bias,
    "clip": _clip,
    "concat": _concat,
    "concatND": _concat_nd,
    "convolution": _convolution,
    "expandDims": _expand,
    "flatten": _flatten,
    "innerProduct": _inner_product,
    "loadConstant": _constant,
    "loadConstantND": _constant,
    "lrn": _lrn,
    "padding": _border,
    "permute": _permute,
    "pooling": _pooling,
    "reduceMean": _mean,
    "reshape": _reshape,
    "reshapeStatic": _reshape_static,
    "scale": _scale,
    "sliceStatic": _slice,
    "softmax": _softmax,
    "softmaxND": _softmax_nd,
    "squeeze": _squeeze,
    "transpose": _transpose,
    "upsample": _upsample,
}
