"""Peak memory of a program's activations, from its types: Core ML's own planning is not documented."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from math import prod

from mobilevit_tools.analysis.lifetimes import ActivationPeak, LiveTensor, Step, find_peak
from mobilevit_tools.errors import BadInputError

from .mil import Block, Operation, ValueType
from .program import Program

_VIEWS = frozenset({"expand_dims", "identity", "reshape", "squeeze"})


def activation_peak(program: Program) -> ActivationPeak:
    """Find the peak of activation memory in one run.

    Inputs and states count, weights do not; a reshape shares the memory of what it reshapes. A branch or the body of a
    loop counts once, all of its values in their turn.

    Raises:
        BadInputError: A size of a value is known only at run time.
    """
    planner = _Planner(program.path.name)
    for name, declared in program.graph.inputs.items():
        planner.steps.append(Step("input", name, {name: planner.tensor("input", name, name, declared)}, ()))
    planner.add(program.graph)
    states = {name for name, declared in program.graph.inputs.items() if declared.container == "state"}
    return find_peak(planner.steps, states | {planner.storage(name) for name in program.graph.outputs})


class _Planner:
    def __init__(self, package: str) -> None:
        self._package = package
        self._viewed: dict[str, Hashable] = {}
        self.steps: list[Step] = []

    def add(self, block: Block) -> None:
        """Add the operations of a block."""
        for operation in block.operations:
            named = (name for given in operation.inputs.values() for name in given if isinstance(name, str))
            read = {self.storage(name) for name in named}
            self.steps.append(Step(operation.type, operation.name, self._made(operation), read))
            for inner in operation.blocks:
                self.add(inner)

    def _made(self, operation: Operation) -> Mapping[Hashable, LiveTensor]:
        source = next(iter(operation.inputs.get("x", ())), None)
        if operation.type in _VIEWS and isinstance(source, str):
            self._viewed.update((name, self.storage(source)) for name, _ in operation.outputs)
            return {}
        return {
            name: self.tensor(operation.type, operation.name, name, declared) for name, declared in operation.outputs
        }

    def storage(self, name: str) -> Hashable:
        """Return what holds a value."""
        return self._viewed.get(name, name)

    def tensor(self, operator: str, where: str, name: str, declared: ValueType) -> LiveTensor:
        """Describe a value; a label and its probabilities, or a list, take no memory worth counting."""
        if declared.container not in {"tensor", "state"}:
            return LiveTensor(operator, where, (), 0)
        shape = tuple(size for size in declared.shape if size is not None)
        if declared.any_rank or len(shape) < len(declared.shape):
            raise BadInputError(
                f"{self._package} does not fix the size of {name!r}, so its memory is not known before it runs.",
                hint="Export it with a fixed input size.",
                code="free_input_size",
            )
        return LiveTensor(operator, where, shape, prod(shape) * declared.element.bits // 8)
