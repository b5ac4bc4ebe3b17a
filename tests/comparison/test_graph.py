from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mobilevit_tools.comparison.graph import OperatorChange, TensorChange, diff_graphs
from mobilevit_tools.runtimes._base import OperatorUse, Session, TensorInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGE = TensorInfo("image", (1, 3, 32, 32), "float32")
LOGITS = TensorInfo("logits", (1, 10), "float32")


class Artifact(Session):
    contract = None
    metadata: Mapping[str, str] = {}

    def __init__(
        self, uses: tuple[OperatorUse, ...], inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...]
    ) -> None:
        self._uses, self.inputs, self.outputs = uses, inputs, outputs

    def operator_uses(self) -> tuple[OperatorUse, ...]:
        return self._uses

    def operators(self) -> Mapping[str, int]:
        return {use.type: use.count for use in self._uses}

    def prepare(self, array: NDArray[Any]) -> Callable[[], object]:
        raise NotImplementedError

    def run(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def test_the_largest_difference_comes_first() -> None:
    a = Artifact((OperatorUse("Add", 5), OperatorUse("Conv", 9), OperatorUse("Elu", 12)), (IMAGE,), (LOGITS,))
    b = Artifact((OperatorUse("Add", 6), OperatorUse("Conv", 9), OperatorUse("Relu", 20)), (IMAGE,), (LOGITS,))
    found = diff_graphs(a, b)
    assert [(change.type, change.a, change.b) for change in found.operators] == [
        ("Relu", 0, 20),
        ("Elu", 12, 0),
        ("Add", 5, 6),
    ]
    assert (found.operators_a, found.operators_b, found.inputs, found.outputs) == (26, 35, (), ())


def test_the_same_operators_in_another_precision_differ() -> None:
    a = Artifact((OperatorUse("conv", 2, {"fp32": 2}),), (IMAGE,), (LOGITS,))
    b = Artifact((OperatorUse("conv", 2, {"fp16": 2}),), (IMAGE,), (LOGITS,))
    assert diff_graphs(a, b).operators == (OperatorChange("conv", 2, 2, {"fp32": 2}, {"fp16": 2}),)


def test_inputs_and_outputs_are_compared_by_position() -> None:
    size, free = TensorInfo("size", (2,), "int64"), TensorInfo("image", (None, 3, 32, 32), "float32")
    label = TensorInfo("label", (), "str", "label")
    found = diff_graphs(Artifact((), (size, IMAGE), (LOGITS,)), Artifact((), (size, free), (LOGITS, label)))
    assert found.inputs == (TensorChange(1, IMAGE, free),)
    assert found.outputs == (TensorChange(1, None, label),)
