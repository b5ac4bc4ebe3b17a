"""coremltools' passes over a converted program, without what does harm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import coremltools as ct
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
