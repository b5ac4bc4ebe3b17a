"""A traced program in modelled half precision: every operator's result, input and weight is rounded to half.

Operators compute in float32, so the sums inside a convolution or a matrix product are wider than a half accumulator:
this is the arithmetic that the Core ML reference runtime calls ``half``, applied before anything is converted. With
``narrow_sums`` they are as inexact as those of a runtime with half accumulators.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from mobilevit_tools.half import half, half_scalar
from mobilevit_tools.precision.execution import TwoWidths, change_reals, source
from mobilevit_tools.precision.sums import summed_in_half, terms
from mobilevit_tools.runtimes._base import Session, TensorInfo, check_input

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilevit_tools.data.contract import Contract

Observer = Callable[[Node, Tensor], None]
"""Called with a node and a value that it computed, before any rounding, for every real-valued result."""

_aten = torch.ops.aten
_SOFTMAX = (_aten.softmax.int, _aten._softmax.default)
_ARGMAX = (_aten.argmax.default,)
_CASTS = (_aten.to.dtype, _aten._to_copy.default)


_SINGLE = frozenset(
    {
        _aten.batch_norm.default,
        _aten.conv1d.default,
        _aten.conv2d.default,
        _aten.conv2d.padding,
        _aten.group_norm.default,
        _aten.layer_norm.default,
        _aten.linear.default,
        _aten.matmul.default,
        _aten.softmax.int,
    }
)
"""Operators that ATen composes of others but every runtime has as one, or as one and a bias."""


class _Inside(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves this class unannotated
    """Passes on what every ATen operator inside of a composite one computes."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._change = change

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        return result if func.is_view else change_reals(result, self._change)


def _is_composite(target: object) -> bool:
    return (
        isinstance(target, torch._ops.OpOverload)
        and target not in _SINGLE
        and torch._C._dispatch_has_kernel_for_dispatch_key(target._name, "CompositeImplicitAutograd")
    )


class _Modelled(TwoWidths):
    """The program in half precision, its values carried in float32."""

    def __init__(
        self,
        module: GraphModule,
        keep: Collection[str],
        observe: Observer | None,
        *,
        rounds: bool,
        narrow_sums: bool,
    ) -> None:
        super().__init__(module, keep)
        self._observe, self._rounds, self._narrow_sums = observe, rounds, narrow_sums

    def narrow(self, value: Tensor) -> Tensor:
        return half(value) if self._rounds and value.dtype == torch.float32 else value

    def widen(self, value: Tensor) -> Tensor:
        return value

    def compute(self, node: Node, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if self._rounds:
            args = tuple(half_scalar(each) if isinstance(each, float) else each for each in args)
            kwargs = {name: half_scalar(each) if isinstance(each, float) else each for name, each in kwargs.items()}
        change = partial(self._pass, node)
        target: Any = node.target
        if _is_composite(target):
            with _Inside(change):
                return target(*args, **kwargs)
        return change_reals(target(*args, **kwargs), change)

    def _pass(self, node: Node, value: Tensor) -> Tensor:
        if self._observe is not None:
            self._observe(node, value)
        if self._narrow_sums and self._rounds and value.dtype == torch.float32:
            return summed_in_half(value, terms(node))
        return self.narrow(value)


class Simulation(Session):
    """A traced program in modelled half precision, behind the interface that runtimes have.

    Args:
        module: The program, in float32, as ``ExportedProgram.module(check_guards=False)`` gives it.
        contract: What its input and output are.
        keep: Names of the nodes that stay in float32.
        observe: Told of what every operator outside of ``keep`` computes.
        rounds: Whether anything is rounded at all.
        narrow_sums: Whether sums of products are added up in half precision.
    """

    def __init__(
        self,
        module: GraphModule,
        contract: Contract,
        *,
        keep: Collection[str] = (),
        observe: Observer | None = None,
        rounds: bool = True,
        narrow_sums: bool = False,
    ) -> None:
        self.contract, self.metadata = contract, {}
        self._program = _Modelled(module, keep, observe, rounds=rounds, narrow_sums=narrow_sums)
        self._logits = _logits(module) if contract.output == "probabilities" else None
        self._scores = _read_by(module, _ARGMAX) if contract.output == "score_map" else None
        (given,) = (node for node in module.graph.nodes if node.op == "placeholder")
        self.inputs = (TensorInfo(given.name, _shape(given), "float32", contract.input),)
        self.outputs = tuple(
            TensorInfo(node.name, _shape(node), "float32") for node in module.graph.output_node().all_input_nodes
        )

    def run(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """Run on one input; see the base class."""
        check_input(self.inputs, array)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            fetch = [node for node in (self._logits, self._scores) if node is not None]
            outputs = self._program.run(torch.from_numpy(array.astype(np.float32)), fetch=fetch)
        arrays = [output.numpy() for output in outputs]
        if self._scores is not None:
            return arrays[-1:]  # in place of the classes that they make
        return [*arrays[-1:], *arrays[:-1]] if self._logits else arrays

    def prepare(self, array: NDArray[Any]) -> Callable[[], object]:
        """Bind one input; see the base class."""
        return lambda: self.run(array)

    def operators(self) -> dict[str, int]:
        """Count operators by type; see the base class."""
        calls = (str(node.target) for node in self._program.nodes if node.op == "call_function")
        return dict(sorted(Counter(calls).items()))

    def close(self) -> None:
        """Release nothing; see the base class."""


def _shape(node: Node) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) else None for size in node.meta["val"].shape)


def _logits(module: GraphModule) -> Node | None:
    """Return the node that the final softmax reads; None where the program does not end with one."""
    return _read_by(module, _SOFTMAX)


def _read_by(module: GraphModule, operators: Collection[object]) -> Node | None:
    """Return what the last operator reads, where it is one of ``operators``; casts behind it do not count."""
    last = source(next(iter(module.graph.output_node().all_input_nodes)))
    while last.target in _CASTS:
        last = source(last.all_input_nodes[0])
    return last.all_input_nodes[0] if last.target in operators else None
