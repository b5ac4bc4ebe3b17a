"""A module in half precision behind a float32 interface."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from mobilevit_tools.double import ASSERTION
from mobilevit_tools.precision.execution import TwoWidths, change_reals, converts_reals, source

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from mobilevit_tools.exporters._base import Half


class HalfPrecision(nn.Module):
    """Runs a float16 copy of a module; takes and returns float32."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).half()
        self.train(module.training)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Cast ``x`` to float16, run, cast the results to float32."""
        outputs = self.module(x.to(torch.float16))
        if isinstance(outputs, Tensor):
            return outputs.to(torch.float32)
        return [output.to(torch.float32) for output in outputs]


class _Cast(TwoWidths):
    """Computes kept operators in float32 and all others in float16, with casts where the two meet."""

    def narrow(self, value: Tensor) -> Tensor:
        return value if value.dtype == torch.float16 else value.to(torch.float16)  # or it leaves a cast behind

    def widen(self, value: Tensor) -> Tensor:
        return value if value.dtype == torch.float32 else value.to(torch.float32)

    def compute(self, node: Node, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        return change_reals(node.target(*args, **kwargs), self.narrow)  # type: ignore[operator]


class MixedPrecision(nn.Module):
    """Runs a traced program in float16, some of its operators in float32; takes and returns float32.

    Args:
        program: A program traced in float32.
        keep: Names of the operators that stay in float32.
    """

    def __init__(self, program: ExportedProgram, keep: Collection[str]) -> None:
        super().__init__()
        traced = program.module(check_guards=False)
        # A plain module, which has train() and eval(), with weights of its own.
        self.module = copy.deepcopy(GraphModule(traced, traced.graph))
        self._cast = _Cast(self.module, keep)
        wide = {
            source(each).target
            for node in self._cast.nodes
            if node.name in self._cast.keep
            for each in node.all_input_nodes
        }
        for name, tensor in (*self.module.named_parameters(), *self.module.named_buffers()):
            if name not in wide and tensor.is_floating_point():
                tensor.data = tensor.data.half()
        self.eval()

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Run the program and cast its results to float32."""
        outputs = [output.to(torch.float32) for output in self._cast.run(x)]
        return outputs[0] if len(outputs) == 1 else outputs


def trace_float32(
    module: nn.Module, example: Tensor, dynamic_shapes: tuple[dict[int, Any], ...] | None = None
) -> ExportedProgram:
    """Return the program in float32 of which :func:`in_half` makes one in half precision.

    What a trace asserts of types is left out, for it would no longer hold.
    """
    program = torch.export.export(module.eval(), (example,), dynamic_shapes=dynamic_shapes, strict=False)
    for node in list(program.graph.nodes):
        if node.target is ASSERTION:
            program.graph.erase_node(node)
    program.graph_module.recompile()
    mutates = any(_mutates(node.target) for node in program.graph.nodes)
    return program.run_decompositions({}) if mutates else program


def in_half(module: nn.Module, half: Half | None) -> nn.Module:
    """Return ``module`` in half precision behind a float32 interface, with what ``half`` keeps in float32."""
    if half is not None and (half.keep or not _runs(module, half.program)):
        return MixedPrecision(half.program, half.keep)
    return HalfPrecision(module)


def _runs(module: nn.Module, program: ExportedProgram) -> bool:
    """Tell whether a module computes with weights in half precision.

    One that asks for float32 by name, as in ``norm(x.float())``, may have weights of another type there.
    """
    if program.example_inputs is None or not any(map(converts_reals, program.graph.nodes)):
        return True
    try:
        with torch.no_grad():
            HalfPrecision(module)(*program.example_inputs[0])
    except RuntimeError:
        return False
    return True


def _mutates(target: object) -> bool:
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable
