"""coremltools' passes over a converted program, without what does harm or takes long for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import coremltools as ct
from coremltools.converters.mil.mil import Program
from coremltools.converters.mil.mil.passes.defs.optimize_elementwise_binary import fuse_elementwise_to_batchnorm


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
    apply = fuse_elementwise_to_batchnorm.apply
    fuse_elementwise_to_batchnorm.apply = lambda _self, _program: None
    try:
        yield
    finally:
        fuse_elementwise_to_batchnorm.apply = apply


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
