"""The traced program as coremltools takes it: exact forms for what it lacks or drops, and nothing else changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb
from typing import TYPE_CHECKING

import torch

from mobilevit_tools.blame import OperatorError, line_in
from mobilevit_tools.exporters.coreml_forms import ALIASES, FORMS, MOST_AXES, decompositions, is_unknown
from mobilevit_tools.forms._base import VIEWS, prove_same, write_forms
from mobilevit_tools.forms.constants import fold_constants
from mobilevit_tools.forms.ranks import merge_reshapes
from mobilevit_tools.forms.wide import wide_forms
from mobilevit_tools.precision.execution import source

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram
    from torch.fx import Node

_aten = torch.ops.aten
_POOLING = frozenset(
    {
        _aten.max_pool1d.default,
        _aten.max_pool2d.default,
        _aten.max_pool3d.default,
        _aten.max_pool1d_with_indices.default,
        _aten.max_pool2d_with_indices.default,
        _aten.max_pool3d_with_indices.default,
    }
)
_WITH_DEFAULTS = _POOLING | {_aten.roll.default}
"""Operators that coremltools 9.0 wants more arguments of than torch does."""
_CONVERTING = "convert_single_node"
"""The function of coremltools that converts one operator, and knows its name."""


def traced(module: nn.Module, example: Tensor) -> ExportedProgram:
    """Trace ``module`` and write what coremltools does not convert as it is in forms that it does.

    Raises:
        OperatorError: The program has an operator that has no such form.
        MvtError: A form does not compute what it stands for.
    """
    program: ExportedProgram = torch.export.export(module, (example,), strict=False).run_decompositions({})
    _write_epsilons(program)
    fold_constants(program)
    if write_forms(program, FORMS, (example,)):
        program = program.run_decompositions({})
    if any(is_unknown(node.target) and node.target not in ALIASES for node in program.graph.nodes):
        before, program = program, program.run_decompositions(decompositions())
        prove_same(before, program, (example,))
        if write_forms(program, FORMS, (example,)):
            program = program.run_decompositions({})
    if write_forms(program, wide_forms(program, MOST_AXES), (example,)):
        program = program.run_decompositions({})
    merge_reshapes(program)
    fold_constants(program, most_axes=MOST_AXES)
    _drop_aliases(program)
    _separate_outputs(program)
    _write_defaults(program)  # tracing leaves them out again
    _check_operators(program)
    return program


def _write_epsilons(program: ExportedProgram) -> None:
    """Name the epsilon of root-mean-square norms that leave it to the type of what they norm."""
    for node in program.graph.nodes:
        if node.target is _aten.rms_norm.default and (len(node.args) < 4 or node.args[3] is None):
            x, shape, *weight = node.args[:3]
            node.args = (x, shape, weight[0] if weight else None, torch.finfo(x.meta["val"].dtype).eps)
            node.kwargs = {}
    program.graph_module.recompile()


def _write_defaults(program: ExportedProgram) -> None:
    """Give operators the arguments that torch leaves out at their defaults, and coremltools asks for."""
    for node in program.graph.nodes:
        if node.target not in _WITH_DEFAULTS:
            continue
        rest = node.target._schema.arguments[len(node.args) :]
        args = [*node.args, *(node.kwargs.get(each.name, each.default_value) for each in rest)]
        if node.target in _POOLING and not args[2]:
            args[2] = args[1]  # without strides, windows lie side by side
        node.args, node.kwargs = tuple(args), {}
    program.graph_module.recompile()


def _drop_aliases(program: ExportedProgram) -> None:
    for node in list(program.graph.nodes):
        if node.op == "call_function" and node.target in ALIASES:
            (original,) = node.args
            program.graph_signature.replace_all_uses(node.name, original.name)
            node.replace_all_uses_with(original)
            program.graph.erase_node(node)
    program.graph_module.recompile()


def _separate_outputs(program: ExportedProgram) -> None:
    """Give an output that is another one or the input, or such a value moved, a value of its own.

    coremltools leaves copies out, and has one name for what is the same value then. The larger of a value and itself is
    that value, and stays.
    """
    output = program.graph.output_node()
    (results,) = output.args
    taken = {node for node in program.graph.nodes if node.op == "placeholder"}
    separate = []
    for spec, node in zip(program.graph_signature.output_specs, results, strict=True):
        made = node
        if source(node) in taken and node.meta["val"].dtype != torch.bool:
            with program.graph.inserting_before(output):
                made = program.graph.call_function(_aten.maximum.default, (node, node))
            made.meta = dict(node.meta)
            spec.arg.name = made.name
        taken.add(source(node))
        separate.append(made)
    output.args = (tuple(separate),)
    program.graph_module.recompile()


def _check_operators(program: ExportedProgram) -> None:
    for node in program.graph.nodes:
        if node.op == "call_function" and is_unknown(node.target):
            raise _refusal(node)
    wide = [node for node in program.graph.nodes if node.op == "call_function" and _axes(node) > MOST_AXES]
    if wide:
        worst = next((node for node in wide if node.target not in VIEWS | {_aten.reshape.default}), wide[0])
        raise OperatorError(
            f"Core ML supports at most {MOST_AXES} axes, and {worst.meta.get('original_aten') or worst.target} "
            f"has {_axes(worst)}",
            line_in(worst.meta.get("stack_trace") or ""),
        )


def _axes(node: Node) -> int:
    """Return the most axes of what an operator reads and gives."""
    values = [node.meta.get("val"), *(each.meta.get("val") for each in node.all_input_nodes)]
    found = [each for value in values for each in (value if isinstance(value, list | tuple) else [value])]
    return max((each.dim() for each in found if isinstance(each, torch.Tensor)), default=0)


@contextmanager
def naming_operators(program: ExportedProgram) -> Iterator[None]:
    """Convert ``program``; what coremltools raises for an operator becomes an error that names it and its line.

    Raises:
        OperatorError: coremltools does not convert an operator; the error's cause is its own.
    """
    try:
        yield
    except Exception as error:  # coremltools raises many unrelated types
        frames = [frame.f_locals for frame, _ in walk_tb(error.__traceback__) if frame.f_code.co_name == _CONVERTING]
        name = getattr(frames[-1].get("node"), "name", None) if frames else None
        found = next((node for node in program.graph.nodes if node.op == "call_function" and node.name == name), None)
        if found is None:
            raise
        raise _refusal(found) from error


def _refusal(node: Node) -> OperatorError:
    original = node.meta.get("original_aten") or node.target
    return OperatorError(
        f"Core ML does not support the operator {original}", line_in(node.meta.get("stack_trace") or "")
    )
