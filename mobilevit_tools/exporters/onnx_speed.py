"""Export to ONNX without parsing the source of every operator that there is.

For its table of operators, ``torch.onnx.export`` asks each of some 500 functions of onnxscript for its domain; in
onnxscript 0.7 that means to read the function's source, parse it and translate its signature, in every export again.
All of them have the domain of their operator set.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from onnxscript import TracedOnnxFunction


@contextmanager
def without_parsing() -> Iterator[None]:
    """Let operators tell their domains unparsed; whoever asks one for more has it parsed. Undone afterwards."""
    parse = TracedOnnxFunction.function_ir.fget
    with mock.patch.object(TracedOnnxFunction, "function_ir", property(lambda self: _Signature(self, parse))):
        yield


class _Signature:
    """The signature of a function, parsed when somebody asks for more than its domain."""

    def __init__(self, function: TracedOnnxFunction, parse: Any) -> None:
        self.domain: str = function._opset.domain
        self._function, self._parse = function, parse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parse(self._function), name)
