"""coremltools' passes over a converted program, without what does harm or takes long for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import coremltools as ct
import torch
from coremltools.converters.mil.mil import Program
from coremltools.converters.mil.mil.passes.defs.optimize_elementwise_binary import fuse_elementwise_to_batchnorm
from coremltools.converters.mil.mil.passes.defs.optimize_repeat_ops import reduce_transposes

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node

_aten = torch.ops.aten
_TURNS = frozenset({_aten.transpose.int, _aten.permute.default, _aten.t.default})


def passes(*, quantized: bool) -> ct.PassPipeline:
    """Return coremltools' passes; before it quantizes, equal constants have to stay apart.

    Merged ones (such as biases of zeros) belong to operators that are quantized and to some that are not, and
    coremltools refuses that.
    """
    pipeline = ct.PassPipeline()
    if quantized:
        pipeline.remove_passes({"common::const_deduplication"})
    return pipeline


@contextmanager
def exact_factors() -> Iterator[None]:
    """Let a factor and an offset per channel be what they are, as every image input has them.

    coremltools 9.0 makes a batch norm with an epsilon of 1e-5 of them: 5e-6 of error. Its quantizers run all passes
    again, whatever pipeline a conversion was given, and this one fails there in half precision.
    """
    with _skipping(fuse_elementwise_to_batchnorm):
        yield


@contextmanager
def transposes_as_written(program: ExportedProgram) -> Iterator[None]:
    """Let transposes stay where an operator reads a value and the same value turned, as in ``x.mT @ x``.

    coremltools 9.0 takes one transpose for both operands where it cancels others: the shapes no longer fit, or the
    product of square matrices is another one. Its quantizers run all passes again.
    """
    if not any(_reads_both_ways(node) for node in program.graph.nodes):
        yield
        return
    with _skipping(reduce_transposes):
        yield


def _reads_both_ways(node: Node) -> bool:
    origins = [_unturned(each) for each in node.all_input_nodes]
    return len(set(origins)) < len(origins)


def _unturned(node: Node) -> Node:
    while node.target in _TURNS:
        node = node.all_input_nodes[0]
    return node


@contextmanager
def _skipping(kind: Any) -> Iterator[None]:
    apply = kind.apply
    kind.apply = lambda _self, _program: None
    try:
        yield
    finally:
        kind.apply = apply


@contextmanager
def validated_where_it_counts() -> Iterator[None]:
    """Let a program be validated whole after the frontend, dead code elimination and before it is written.

    coremltools 9.0 does so after each of its hundred passes, which is a third of a conversion of CARE-S0.
    """
    validate = Program.validate

    def validate_whole(self: Program, check_essential_scope: bool = False) -> None:
        if check_essential_scope:
            validate(self, check_essential_scope=True)

    Program.validate = validate_whole
    try:
        yield
    finally:
        Program.validate = validate
