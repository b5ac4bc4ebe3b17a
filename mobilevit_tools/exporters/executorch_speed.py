"""Lower to ExecuTorch without doing again what was just done: a context in which its passes skip work without effect.

ExecuTorch 1.5 interprets the whole program under fake tensors after every pass, decomposes programs that hold nothing
to decompose, builds patterns to search for in programs that cannot match, and generates Python code that nobody runs.
Within the context,

- a pass whose only effect is to interpret the program returns it as it is, where it was just interpreted;
- a pass that rewrites certain operators does not run on a program without them;
- a program is decomposed only where it holds an operator of the table;
- the code of a graph module is generated when somebody runs or reads it,
- nodes share the record of their origin, which never changes and which every pass copies otherwise.

The artifact is the same, byte for byte. With any other version than the one this was written for, nothing is skipped.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import wraps
from importlib.metadata import version
from typing import Any
from unittest import mock
from weakref import WeakKeyDictionary, WeakSet

import torch
from executorch.backends.xnnpack._passes.convert_to_sdpa import ConvertToSDPAPass
from executorch.backends.xnnpack._passes.convert_to_upsample_bilinear2d import ConvertToUpsampleBilinear2d
from executorch.exir.dialects._ops import ops as edge_ops
from executorch.exir.pass_base import ExportPass, PassResult
from executorch.exir.passes.const_prop_pass import ConstPropPass
from executorch.exir.passes.dim_order_ops_registry import DimOrderOpsMap, MemoryFormatOpsMap
from executorch.exir.passes.memory_format_ops_pass import DimOrderOpsRevertPass, MemoryFormatOpsPass
from executorch.exir.passes.normalize_transpose_pass import NormalizeTransposePass
from executorch.exir.passes.remove_mixed_type_operators import RemoveMixedTypeOperators
from executorch.exir.passes.replace_broken_ops_with_function_ops_pass import ReplaceBrokenOpsWithFunctionalOpsPass
from executorch.exir.passes.sym_to_tensor_pass import SymToTensorPass
from torch import fx
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx.graph import _PyTreeCodeGen
from torch.fx.traceback import NodeSource
from torch.types import py_sym_types

_WRITTEN_FOR = "1.5."

_INTERPRETING = (
    "call_operator",
    "call_sym",
    "call_getitem",
    "call_submodule",
    "call_delegate",
    "call_cond",
    "call_map",
    "placeholder",
    "get_attr",
    "output",
)
"""The methods by which a pass takes part in interpreting a program; one that overrides none only interprets it."""


def _has(targets: Any) -> Callable[[fx.GraphModule], bool]:
    return lambda module: any(node.target in targets for node in module.graph.nodes)


def _has_constant_call(module: fx.GraphModule) -> bool:
    return any(
        node.op == "call_function" and node.target is not operator.getitem and not node.all_input_nodes
        for node in module.graph.nodes
    )


def _has_view(module: fx.GraphModule) -> bool:
    return any(isinstance(node.target, OpOverload) and node.target.is_view for node in module.graph.nodes)


def _has_symbol(module: fx.GraphModule) -> bool:
    return any(isinstance(node.meta.get("val"), py_sym_types) for node in module.graph.nodes)


def _has_promotion(module: fx.GraphModule) -> bool:
    """Tell whether an operator may have operands of several types, or of one that it promotes."""
    binary = (node for node in module.graph.nodes if node.target in _PROMOTING)
    return any(len(kinds := _operand_types(node)) != 1 or not kinds.pop().is_floating_point for node in binary)


def _operand_types(node: fx.Node) -> set[torch.dtype]:
    values = [operand.meta.get("val") for operand in node.all_input_nodes]
    return {value.dtype for value in values if isinstance(value, torch.Tensor)}


_aten = torch.ops.aten
_PROMOTING = frozenset(
    (
        _aten.add.Tensor,
        _aten.mul.Tensor,
        _aten.sub.Tensor,
        _aten.div.Tensor,
        _aten.div.Tensor_mode,
        _aten.minimum.default,
    )
)

_EFFECT: Mapping[type[ExportPass], Callable[[fx.GraphModule], bool]] = {
    DimOrderOpsRevertPass: _has(MemoryFormatOpsMap),
    MemoryFormatOpsPass: _has(DimOrderOpsMap),
    ConstPropPass: _has_constant_call,
    NormalizeTransposePass: _has({_aten.t.default}),
    ReplaceBrokenOpsWithFunctionalOpsPass: _has_view,
    SymToTensorPass: _has_symbol,
    RemoveMixedTypeOperators: _has_promotion,
}
"""Whether passes that override how operators are interpreted find one that they change."""

_PATTERNS: Mapping[type[ExportPass], Any] = {
    ConvertToUpsampleBilinear2d: edge_ops.edge.aten.index.Tensor,
    ConvertToSDPAPass: edge_ops.edge.aten._softmax.default,
}
"""Passes that search for a pattern, and an operator that every match holds."""


@contextmanager
def without_repetition() -> Iterator[None]:
    """Skip work without effect in whatever is lowered meanwhile; ExecuTorch and torch are as before afterwards."""
    if not version("executorch").startswith(_WRITTEN_FOR):
        yield
        return
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(NodeSource, "__deepcopy__", lambda self, _: self, create=True))
        stack.enter_context(mock.patch.object(ExportPass, "call", _call_once()))
        for pattern_pass, needed in _PATTERNS.items():
            stack.enter_context(mock.patch.object(pattern_pass, "call", _where_present(pattern_pass.call, needed)))
        stack.enter_context(mock.patch.object(ExportedProgram, "run_decompositions", _decompose_if_needed()))
        stack.enter_context(_compiling_late())
        yield


def _call_once() -> Callable[[ExportPass, fx.GraphModule], PassResult]:
    """Return ``ExportPass.call`` that leaves alone what was just interpreted and not changed since."""
    interpret = ExportPass.call
    seen: WeakKeyDictionary[fx.GraphModule, list[tuple[object, ...]]] = WeakKeyDictionary()

    @wraps(interpret)
    def call(self: ExportPass, graph_module: fx.GraphModule) -> PassResult:
        if _only_interprets(self, graph_module) and seen.get(graph_module) == _state(graph_module):
            return PassResult(graph_module, True)
        result: PassResult = interpret(self, graph_module)
        seen[result.graph_module] = _state(result.graph_module)
        return result

    return call


def _only_interprets(each: ExportPass, graph_module: fx.GraphModule) -> bool:
    kind = type(each)
    if kind in _EFFECT:
        return not _EFFECT[kind](graph_module)
    return all(getattr(kind, name, None) is getattr(ExportPass, name, None) for name in _INTERPRETING)


def _state(graph_module: fx.GraphModule) -> list[tuple[object, ...]]:
    """Return what interpreting a program depends on; nodes compare by identity."""
    return [(node, node.target, node.args, tuple(node.kwargs.items())) for node in graph_module.graph.nodes]


def _where_present(
    search: Callable[[ExportPass, fx.GraphModule], PassResult], needed: object
) -> Callable[[ExportPass, fx.GraphModule], PassResult]:
    @wraps(search)
    def call(self: ExportPass, graph_module: fx.GraphModule) -> PassResult:
        if any(node.target == needed for node in graph_module.graph.nodes):
            return search(self, graph_module)
        return PassResult(ExportPass.call(self, graph_module).graph_module, True)

    return call


def _decompose_if_needed() -> Callable[..., ExportedProgram]:
    """Return ``run_decompositions`` that leaves alone a program that is decomposed already."""
    decompose = ExportedProgram.run_decompositions

    @wraps(decompose)
    def run_decompositions(self: ExportedProgram, decomp_table: Any = None, **options: Any) -> ExportedProgram:
        if decomp_table and not options and self.dialect == "ATEN" and not _holds_any(self, decomp_table):
            return self
        decomposed: ExportedProgram = decompose(self, decomp_table, **options)
        return decomposed

    return run_decompositions


def _holds_any(program: ExportedProgram, table: Any) -> bool:
    modules = [module for module in program.graph_module.modules() if isinstance(module, fx.GraphModule)]
    return any(node.target in table for module in modules for node in module.graph.nodes if node.op == "call_function")


@contextmanager
def _compiling_late() -> Iterator[None]:
    """Generate a graph module's code when it is run or read, and that of those that are left at the end."""
    recompile = fx.GraphModule.recompile
    stale: WeakSet[fx.GraphModule] = WeakSet()

    def compile_now(self: fx.GraphModule) -> None:
        if self in stale:
            stale.discard(self)
            recompile(self)

    def run(self: fx.GraphModule, *args: Any, **kwargs: Any) -> Any:
        compile_now(self)
        return self(*args, **kwargs)

    def note(self: fx.GraphModule) -> None:
        codegen = self._graph._codegen
        if isinstance(codegen, _PyTreeCodeGen):
            self._in_spec, self._out_spec = codegen.pytree_info.in_spec, codegen.pytree_info.out_spec
        type(self).forward = run
        stale.add(self)

    def code(self: fx.GraphModule) -> str:
        compile_now(self)
        return str(self._code)

    def text(self: fx.GraphModule) -> str:
        compile_now(self)
        return str(shown(self))

    shown = fx.GraphModule.__str__
    replaced: dict[str, Any] = {"recompile": note, "code": property(code), "__str__": text}
    with mock.patch.multiple(fx.GraphModule, **replaced):
        yield
    for module in list(stale):
        recompile(module)
