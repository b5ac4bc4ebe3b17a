"""Export to ONNX without work that has no effect: a context in which torch and onnxscript skip it.

For its table of operators, ``torch.onnx.export`` of torch 2.13 asks each of some 500 functions of onnxscript for its
domain; in onnxscript 0.7 that means to read the function's source, parse it and translate its signature, in every
export again. It also traces the program anew to decompose it, where there is nothing to decompose. Its optimizer then
compares every node with every pattern, whatever operator the pattern ends in.

Within the context,

- operators answer with their domain unparsed: it is the one of their operator set,
- a program is decomposed only if it holds an operator that ONNX has no function for, or a change in place,
- a pattern is compared only with nodes of its operator.

The model computes the same, with as many nodes; those that come from a program that is not traced anew may have other
names. With other versions than the ones this was written for, nothing is skipped.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from onnxscript import TracedOnnxFunction
from onnxscript.rewriter._basics import MatchResult
from onnxscript.rewriter._matcher import SimplePatternMatcher
from onnxscript.rewriter._rewrite_rule import Pattern
from torch.onnx._internal.exporter import _fx_passes

from mobilevit_tools.forms._base import mutates

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_WRITTEN_FOR = {"torch": "2.13.", "onnxscript": "0.7."}


@contextmanager
def without_repetition() -> Iterator[None]:
    """Skip work without effect in whatever is exported meanwhile; torch and onnxscript are as before afterwards."""
    if not all(version(package).startswith(series) for package, series in _WRITTEN_FOR.items()):
        yield
        return
    parse = TracedOnnxFunction.function_ir.fget
    unparsed = property(lambda self: _Signature(self, parse))
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(TracedOnnxFunction, "function_ir", unparsed))
        stack.enter_context(mock.patch.object(_fx_passes, "decompose_with_registry", _decompose_if_needed()))
        stack.enter_context(mock.patch.object(Pattern, "match", _match_its_operator()))
        yield


class _Signature:
    """The signature of a function, parsed when somebody asks for more than its domain."""

    def __init__(self, function: TracedOnnxFunction, parse: Any) -> None:
        self.domain: str = function._opset.domain
        self._function, self._parse = function, parse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parse(self._function), name)


def _decompose_if_needed() -> Callable[..., ExportedProgram]:
    decompose = _fx_passes.decompose_with_registry

    @wraps(decompose)
    def decompose_with_registry(exported_program: ExportedProgram, registry: Any) -> ExportedProgram:
        calls = [node for node in exported_program.graph.nodes if node.op == "call_function"]
        if all(_is_final(node, registry) for node in calls):
            return exported_program
        decomposed: ExportedProgram = decompose(exported_program, registry)
        return decomposed

    return decompose_with_registry


def _is_final(node: torch.fx.Node, registry: Any) -> bool:
    return node.target is operator.getitem or (registry.is_registered(node.target) and not mutates(node))


def _match_its_operator() -> Callable[..., MatchResult | None]:
    match = Pattern.match

    @wraps(match)
    def match_its_operator(self: Pattern, model: Any, graph: Any, node: Any, **options: Any) -> MatchResult | None:
        last = self._target_pattern.output_nodes[0]
        if isinstance(self._matcher, SimplePatternMatcher) and not last.op.matches(node.op_type):
            return None
        found: MatchResult | None = match(self, model, graph, node, **options)
        return found

    return match_its_operator
