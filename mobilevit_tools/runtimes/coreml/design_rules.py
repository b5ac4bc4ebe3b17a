"""Apple's published design rules for the Neural Engine, checked on a program: what is known to be slow there, and why.

A broken rule is advice, not an error: Core ML runs such a program all the same. Each rule states what Apple's documents
say, and finds the operations that it is about; sizes that are known only at run time break none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from mobilevit_tools.errors import BadInputError

from .damage import UNFIT
from .mil import Constant, Operation
from .placement import Shape, Source, Values
from .program import Program
from .refusals import constant

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "neural-engine-rules": Source(
            "Apple, Core AI models, Neural Engine rules for authoring models",
            "https://github.com/apple/coreai-models/tree/main/skills",
        ),
        "transformers-article": Source(
            "Apple, Deploying Transformers on the Apple Neural Engine",
            "https://machinelearning.apple.com/research/neural-engine-transformers",
        ),
    }
)

MAX_RANK = 4
LEAST_WIDTH = 32
"""Elements of the last axis: 64 bytes in half precision."""
MOST_KERNEL = 7
MOST_DILATION = 3
LARGE = 16384
"""Elements of an intermediate value from which a last axis of one takes a megabyte."""
LEAST_HALF = -65504.0

_CONVOLUTIONS = frozenset({"conv", "conv_transpose"})
_POOLS = frozenset({"avg_pool", "max_pool", "l2_pool"})


@dataclass(frozen=True)
class _Facts:
    """What rules look at.

    Attributes:
        program: The program.
        values: Sizes of its values.
    """

    program: Program
    values: Values


@dataclass(frozen=True)
class Rule:
    """One design rule.

    Attributes:
        sentence: What breaks it, for people; how many of these there are stands behind it.
        remedy: What to do instead.
        source: Key into :data:`SOURCES`.
        find: Names what breaks the rule: operations, inputs or outputs.
    """

    sentence: str
    remedy: str
    source: str
    find: Callable[[_Facts], Iterable[str]]


@dataclass(frozen=True)
class BrokenRule:
    """A rule that a program breaks, and where.

    Attributes:
        name: Key into :data:`RULES`.
        operations: Names of the operations, inputs or outputs that break it.
    """

    name: str
    operations: tuple[str, ...]

    @property
    def in_words(self) -> str:
        """The finding with its remedy and its source, in one line."""
        rule = RULES[self.name]
        return f"{rule.sentence}: {len(self.operations)}. {rule.remedy} ({SOURCES[rule.source].title})"


def broken_rules(program: Program) -> tuple[BrokenRule, ...]:
    """Return the rules that an ML Program breaks, in the order of :data:`RULES`; the older formats state too little.

    Raises:
        BadInputError: An operation lacks what its type has.
    """
    if program.description.kind != "mlProgram":
        return ()
    facts = _Facts(program, Values(program))
    try:
        found = [(name, tuple(dict.fromkeys(rule.find(facts)))) for name, rule in RULES.items()]
    except UNFIT as error:
        raise BadInputError("The program is damaged: an operation does not fit its type.") from error
    return tuple(BrokenRule(name, operations) for name, operations in found if operations)


def _high_rank(facts: _Facts) -> Iterable[str]:
    return (name for name, shape in facts.values.shapes.items() if len(shape) == MAX_RANK + 1)


def _ends(facts: _Facts) -> dict[str, Shape]:
    names = (*facts.program.graph.inputs, *facts.program.graph.outputs)
    return {name: facts.values.shapes[name] for name in names if name in facts.values.shapes}


def _single_last_axis(facts: _Facts) -> Iterable[str]:
    ends = _ends(facts)
    for name, shape in facts.values.shapes.items():
        large = None not in shape and np.prod([side or 0 for side in shape]) >= LARGE
        if len(shape) > 1 and shape[-1] == 1 and (name in ends or large):
            yield name


def _narrow_last_axis(facts: _Facts) -> Iterable[str]:
    return (
        name
        for name, shape in _ends(facts).items()
        if len(shape) > 1 and shape[-1] is not None and 1 < shape[-1] < LEAST_WIDTH
    )


def _listed_sizes(facts: _Facts) -> Iterable[str]:
    return (entry.name for entry in facts.program.inputs if entry.flexibility == "listed")


def _linear(facts: _Facts) -> Iterable[str]:
    return _of(facts, {"linear"})


def _spatial_softmax(facts: _Facts) -> Iterable[str]:
    for operation in _chosen(facts, {"softmax"}):
        rank = len(operation.outputs[0][1].shape)
        axis = _numbers(facts, operation, "axis") or (-1,)
        if rank == MAX_RANK and int(axis[0]) % rank >= rank - 2:
            yield operation.name


def _stride_factors(facts: _Facts) -> Iterable[str]:
    for operation in _chosen(facts, _CONVOLUTIONS):
        if any(_rest(stride) > 1 for stride in _numbers(facts, operation, "strides")):
            yield operation.name


def _unequal_strides(facts: _Facts) -> Iterable[str]:
    for operation in _chosen(facts, _CONVOLUTIONS):
        strides = set(_numbers(facts, operation, "strides"))
        mixed = 2 in strides and strides <= {1, 2, 3, 4, 8, 9}
        if len(strides) > 1 and max(strides) > 2 and not mixed:
            yield operation.name


def _palettized_stride(facts: _Facts) -> Iterable[str]:
    palettized = {
        name
        for operation in facts.program.graph.compressed
        if operation.type == "constexpr_lut_to_dense"
        for name, _ in operation.outputs
    }
    for operation in _chosen(facts, _CONVOLUTIONS):
        weight = operation.inputs.get("weight", (None,))[0]
        if (
            isinstance(weight, str)
            and weight in palettized
            and max(_numbers(facts, operation, "strides"), default=1) > 2
        ):
            yield operation.name


def _large_kernel(facts: _Facts) -> Iterable[str]:
    for operation in _chosen(facts, _CONVOLUTIONS):
        if operation.inputs.get("weight") and any(
            side is not None and side > MOST_KERNEL for side in facts.values.shape(operation, "weight")[2:]
        ):
            yield operation.name


def _large_dilation(facts: _Facts) -> Iterable[str]:
    for operation in _chosen(facts, _CONVOLUTIONS):
        if max(_numbers(facts, operation, "dilations"), default=1) > MOST_DILATION:
            yield operation.name


def _pooling_stride(facts: _Facts) -> Iterable[str]:
    for operation in _chosen(facts, _POOLS):
        everything = all(side == 1 for side in operation.outputs[0][1].shape[2:])
        if not everything and set(_numbers(facts, operation, "strides")) - {1, 2, 4}:
            yield operation.name


def _infinite_mask(facts: _Facts) -> Iterable[str]:
    for operation in _chosen(facts, {"add", "select", "sub"}):
        for parameter in operation.inputs:
            found = constant(facts.program.graph, operation, parameter)
            if found is not None and found.value.dtype.kind == "f" and (found.value < LEAST_HALF).any():
                yield operation.name


def _fused_attention(facts: _Facts) -> Iterable[str]:
    return _of(facts, {"scaled_dot_product_attention"})


def _width_transposes(facts: _Facts) -> Iterable[str]:
    for operation in _chosen(facts, {"transpose"}):
        order = _numbers(facts, operation, "perm")
        if order and order[-1] % len(order) != len(order) - 1:
            yield operation.name


def _chosen(facts: _Facts, types: Iterable[str]) -> Iterable[Operation]:
    wanted = set(types)
    return (operation for operation in facts.program.graph.operations if operation.type in wanted)


def _of(facts: _Facts, types: Iterable[str]) -> Iterable[str]:
    return (operation.name for operation in _chosen(facts, types))


def _numbers(facts: _Facts, operation: Operation, parameter: str) -> tuple[int, ...]:
    """Return a parameter's whole numbers; none where it is left at its default or known only at run time."""
    found: Constant | None = constant(facts.program.graph, operation, parameter)
    if found is None or found.value.dtype.kind not in "iu":
        return ()
    return tuple(int(value) for value in found.value.reshape(-1))


def _rest(number: int) -> int:
    """Divide by 2 and 3 as often as that goes."""
    for factor in (2, 3):
        while number > 1 and number % factor == 0:
            number //= factor
    return number


_APPLE = "neural-engine-rules"
RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "rank": Rule(
            "Values with five axes",
            "Use four: (batch, channels, 1, sequence).",
            "transformers-article",
            _high_rank,
        ),
        "singleton-last-axis": Rule(
            "Values with a last axis of size 1, which is padded to 64 bytes",
            "Move a larger axis last.",
            _APPLE,
            _single_last_axis,
        ),
        "narrow-last-axis": Rule(
            "Inputs and outputs with a last axis below 64 bytes in fp16, to which it is padded",
            "Use at least 32 elements.",
            _APPLE,
            _narrow_last_axis,
        ),
        "static-shapes": Rule("Inputs that take several sizes", "Export each size separately.", _APPLE, _listed_sizes),
        "linear": Rule(
            "Linear layers, which are decomposed into slower operators", "Use 1x1 convolutions.", _APPLE, _linear
        ),
        "spatial-softmax": Rule(
            "Softmax operators over a spatial axis, which limits splitting the work",
            "Apply softmax over the channels.",
            _APPLE,
            _spatial_softmax,
        ),
        "stride-factors": Rule(
            "Convolutions with a stride that has prime factors other than 2 and 3",
            "Use 4, 6, 8, 9, 12, 16, 24 or 32.",
            _APPLE,
            _stride_factors,
        ),
        "unequal-strides": Rule(
            "Convolutions with unequal strides",
            "Use equal strides, or 2 with 3, 4, 8 or 9.",
            _APPLE,
            _unequal_strides,
        ),
        "palettized-stride": Rule(
            "Convolutions with palettized weights and a stride above 2",
            "Use a stride of up to 2.",
            _APPLE,
            _palettized_stride,
        ),
        "large-kernel": Rule(
            "Convolutions with a kernel larger than 7",
            "Use consecutive smaller kernels.",
            _APPLE,
            _large_kernel,
        ),
        "large-dilation": Rule(
            "Convolutions with a dilation above 3",
            "Use a chain of dilations of 2 and 3.",
            _APPLE,
            _large_dilation,
        ),
        "pooling-stride": Rule(
            "Pooling operators with a stride other than 2 or 4", "Use 2 or 4.", _APPLE, _pooling_stride
        ),
        "infinite-mask": Rule(
            "Operators that add or select minus infinity, which softmax does not handle there",
            "Use -40000.",
            _APPLE,
            _infinite_mask,
        ),
        "fused-attention": Rule(
            "Attention operators, which are not fused there",
            "Compute each head by matrix products.",
            _APPLE,
            _fused_attention,
        ),
        "width-transpose": Rule(
            "Transposes that move the last axis, which rewrites all data in memory",
            "Keep the last axis in place.",
            _APPLE,
            _width_transposes,
        ),
    }
)
