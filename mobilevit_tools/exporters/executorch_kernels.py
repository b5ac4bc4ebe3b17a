"""Refuse a program with operators that ExecuTorch has no kernel for, before somebody runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executorch.extension.pybindings import _C

from mobilevit_tools.blame import line_in
from mobilevit_tools.errors import BadInputError

if TYPE_CHECKING:
    from executorch.exir import EdgeProgramManager, ExecutorchProgramManager

_OWN = "executorch_prim::"
"""Python's arithmetic on sizes, which every runtime has."""
_CONVOLUTION = "aten::convolution"
_MOST_AXES = 4
"""Axes of a weight that the portable convolution takes; of more it says so only when it runs."""


def check_kernels(model: str, edge: EdgeProgramManager, program: ExecutorchProgramManager) -> None:
    """Refuse a program that would end its first run with an operator that is not there.

    Args:
        model: The model's name.
        edge: The program after lowering to a backend, which knows where its operators come from.
        program: The same with the operators' final names.

    Raises:
        BadInputError: There are some; the message names each with the line of people's source.
    """
    known = set(_C._get_operator_names())
    plans = program.executorch_program.execution_plan
    wanted = {(each.name, each.overload) for plan in plans for each in plan.operators}
    missing = sorted(
        {
            name
            for name, overload in wanted
            if not name.startswith(_OWN) and (f"{name}.{overload}" if overload else name) not in known
        }
        | _unfit(edge)
    )
    if not missing:
        return
    lines = _lines(edge)
    shown = [f"{name} ({lines[name]})" if lines.get(name) else name for name in missing]
    raise BadInputError(
        f"{model} uses operators without an ExecuTorch kernel: {', '.join(shown)}.",
        hint="Replace them in the model, or use another target.",
        code="no_kernel",
    )


def _unfit(edge: EdgeProgramManager) -> set[str]:
    """Return the operators that have a kernel, and not for what they are given: no convolution is over three axes."""
    return {
        node.target._schema.name
        for method in edge.methods
        for node in edge.exported_program(method).graph.nodes
        if node.op == "call_function"
        and getattr(getattr(node.target, "_schema", None), "name", "") == _CONVOLUTION
        and node.args[1].meta["val"].dim() > _MOST_AXES
    }


def _lines(edge: EdgeProgramManager) -> dict[str, str | None]:
    """Return the line of people's source that each operator comes from first."""
    lines: dict[str, str | None] = {}
    for method in edge.methods:
        for node in edge.exported_program(method).graph.nodes:
            schema = getattr(node.target, "_schema", None)
            if node.op == "call_function" and schema is not None:
                lines.setdefault(schema.name, line_in(node.meta.get("stack_trace") or ""))
    return lines
