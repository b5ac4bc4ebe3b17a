"""What a Core ML package holds: one program, and in it no operator that only moves or recasts what others undo."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from mobilevit_tools.artifacts.files import describe_artifact
from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.exporters._base import ExportSpec, Half
from mobilevit_tools.exporters.coreml import lower, trace
from mobilevit_tools.rewrites._base import apply
from mobilevit_tools.runtimes.coreml import load_program
from mobilevit_tools.runtimes.coreml.dtypes import BY_NAME
from mobilevit_tools.runtimes.coreml.mil import Constant, Graph, Operation, ValueType
from mobilevit_tools.runtimes.coreml.package import open_package
from tests.exporters.test_half import Squares
from tests.rewrites.families import FAMILIES, SIDE
from tests.rewrites.seeded import image, seeded
from tests.tiers import thorough

VIEWS = frozenset({"reshape", "squeeze", "expand_dims"})

CONTRACT_OF_SQUARES = Contract(model="squares", preprocessing=Preprocessing(input_size=(8, 8)))


class Reader:
    """A program's values by name: their types, what makes them and what reads them."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.types: dict[str, ValueType] = dict(graph.inputs)
        self.producers: dict[str, Operation] = {}
        self.readers: dict[str, list[Operation]] = defaultdict(list)
        for operation in graph.operations:
            for name, declared in operation.outputs:
                self.types[name] = declared
                self.producers[name] = operation
            for arguments in operation.inputs.values():
                for argument in arguments:
                    if isinstance(argument, str):
                        self.readers[argument].append(operation)

    def needless(self) -> Iterator[str]:
        """Name what could go; of two in a row the first, unless something else reads it as well."""
        for operation in self.graph.operations:
            kind = _kind(operation)
            if kind is None:
                continue
            (source,) = operation.inputs["x"]
            ((name, made),) = operation.outputs
            if not isinstance(source, str) or source in self.graph.constants:
                yield f"{kind} of a constant"
                continue
            given = self.types[source]
            if kind == "transpose" and _order(self.graph, operation, len(made.shape)) == list(range(len(made.shape))):
                yield "transpose that keeps the order"
            elif kind != "transpose" and given == made:
                yield f"{kind} that keeps the {'type' if kind == 'cast' else 'shape'}"
            elif kind == "transpose" and self._moves_nothing(operation, given):
                yield "transpose of axes of one"
            readers = self.readers[name]
            if readers and name not in self.graph.outputs and all(_kind(reader) == kind for reader in readers):
                yield f"{kind} that only {kind}s read"
            if kind == "transpose" and self._matmul_could(operation, readers):
                yield "transpose that the products could do"

    def _moves_nothing(self, operation: Operation, given: ValueType) -> bool:
        """Whether only axes of one element change their place."""
        moved = [axis for axis in _order(self.graph, operation, len(given.shape)) if given.shape[axis] != 1]
        return moved == sorted(moved)

    def _matmul_could(self, operation: Operation, readers: list[Operation]) -> bool:
        """Whether only products read it, which have a flag for it; a ``linear`` has none."""
        rank = len(operation.outputs[0][1].shape)
        swaps = _order(self.graph, operation, rank) == [*range(rank - 2), rank - 1, rank - 2]
        return swaps and bool(readers) and {reader.type for reader in readers} == {"matmul"}

    def casts(self) -> Counter[tuple[str, str]]:
        """Count casts, apart from that of the program's input, by what they take and make."""
        pairs = Counter[tuple[str, str]]()
        for operation in self.graph.operations:
            source = operation.inputs["x"][0] if operation.type == "cast" else None
            if isinstance(source, str) and source not in self.graph.inputs:
                pairs[self.types[source].element.name, operation.outputs[0][1].element.name] += 1
        return pairs

    def wide(self) -> set[str]:
        """Return the types of operators that compute in float32, casts aside."""
        return {
            operation.type
            for operation in self.graph.operations
            if operation.type != "cast" and any(made.element.name == "fp32" for _, made in operation.outputs)
        }


def _kind(operation: Operation) -> str | None:
    return "reshape" if operation.type in VIEWS else operation.type if operation.type in {"transpose", "cast"} else None


def _order(graph: Graph, operation: Operation, rank: int) -> list[int]:
    (stored,) = operation.inputs["perm"]
    constant = graph.constants[stored] if isinstance(stored, str) else stored
    return [int(axis) % rank for axis in constant.value]


def converted(module: nn.Module, precision: str, path: Path) -> Reader:
    spec = ExportSpec("coreml", precision=precision)
    module = seeded(module).float()
    preprocessing = Preprocessing(input_size=(SIDE, SIDE))
    contract = Contract(model="small", preprocessing=preprocessing, input="image", output="probabilities")
    example = image(SIDE, SIDE, batch=1).float()
    lower(apply(module, example, deployment="coreml", precision=precision).module, spec, contract, path)
    assert len(open_package(path).spec.mlProgram.functions) == 1
    program = load_program(path)
    assert not any(operation.blocks for operation in program.graph.operations)
    assert program.unsupported == ()
    return Reader(program.graph)


CLUSTERINGS = 3
"""One in each of ClusTR's first three stages."""

NEEDLESS = {
    # Per clustering, the squared norms and the weights of N tokens become a row of them. At one image a reshape would
    # do; there are as many operators either way, and N numbers in them.
    ("clustr", "fp32"): {"transpose of axes of one": 2 * CLUSTERINGS},
    # There, too: coremltools narrows the indices of the nearest tokens to int16 for the look-up, and then widens them
    # to see to it that none is negative.
    ("clustr", "fp16"): {"transpose of axes of one": 2 * CLUSTERINGS, "cast that only casts read": CLUSTERINGS},
}

CASTS = {
    # Which tokens belong to which of two scales' clusters (the third clustering has a single scale), as factors.
    ("clustr", "fp32"): {("bool", "fp32"): 2 * CLUSTERINGS - 1},
    # Positions from a sort are unsigned, as are those of the first centre of a point that are looked up; those of a
    # look-up are narrow, and what compares and reshapes takes int32.
    ("clustr", "fp16"): {
        ("bool", "fp16"): 2 * CLUSTERINGS - 1,
        ("uint16", "int32"): 2 * CLUSTERINGS,
        ("int32", "int16"): 2 * CLUSTERINGS,
        ("int32", "uint16"): CLUSTERINGS,
        ("int16", "int32"): CLUSTERINGS,
    },
}
"""In all other families nothing is cast but the image, which has float32 values."""


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("family", [thorough(each) if each == "clustr" else each for each in FAMILIES])
def test_one_program_without_needless_operators(family: str, precision: str, tmp_path: Path) -> None:
    found = converted(FAMILIES[family](), precision, tmp_path / "model.mlpackage")
    assert Counter(found.needless()) == NEEDLESS.get((family, precision), {})
    assert found.casts() == CASTS.get((family, precision), {})
    if precision == "fp16":
        assert found.wide() == set()


def test_casts_are_only_where_kept_operators_begin_and_end(tmp_path: Path) -> None:
    spec = ExportSpec("coreml", precision="fp16")
    contract = CONTRACT_OF_SQUARES
    half = Half(trace(Squares().eval(), spec, contract), ("mul_1", "sqrt"))
    lower(Squares().eval(), spec, contract, tmp_path / "model.mlpackage", half=half)
    found = Reader(load_program(tmp_path / "model.mlpackage").graph)
    assert list(found.needless()) == []
    assert found.casts() == {("fp16", "fp32"): 1, ("fp32", "fp16"): 1}
    assert found.wide() == {"mul", "sqrt", "reshape"}


def test_one_traced_program_makes_the_same_package_again(tmp_path: Path) -> None:
    spec, contract = ExportSpec("coreml", precision="fp16"), CONTRACT_OF_SQUARES
    half = Half(trace(Squares().eval(), spec, contract), ("mul_1", "sqrt"))
    paths = [tmp_path / f"{number}.mlpackage" for number in range(2)]
    for path in paths:
        lower(Squares().eval(), spec, contract, path, half=half)
    assert len({replace(describe_artifact(path), file="x") for path in paths}) == 1


def chain(*steps: tuple[str, dict[str, list[int]], str, tuple[int, ...]]) -> Reader:
    """Return a program in which each step (type, arguments, element type, shape) reads the one before."""
    operations = []
    for index, (kind, arguments, element, shape) in enumerate(steps):
        given = {key: (Constant(np.array(value), BY_NAME["int32"]),) for key, value in arguments.items()}
        made = ValueType(BY_NAME[element], shape)
        operations.append(Operation(f"v{index + 1}", kind, {"x": (f"v{index}",), **given}, ((f"v{index + 1}", made),)))
    graph = Graph(
        {"v0": ValueType(BY_NAME["fp16"], (1, 2, 3))}, (f"v{len(steps)}",), tuple(operations), {}, (), "CoreML7"
    )
    return Reader(graph)


SWAP = ("transpose", {"perm": [0, -1, 1]}, "fp16", (1, 3, 2))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([SWAP, ("relu", {}, "fp16", (1, 3, 2))], []),
        ([SWAP, ("transpose", {"perm": [2, 1, 0]}, "fp16", (2, 3, 1))], ["transpose that only transposes read"]),
        ([("transpose", {"perm": [0, -2, 2]}, "fp16", (1, 2, 3))], ["transpose that keeps the order"]),
        ([("transpose", {"perm": [1, 0, 2]}, "fp16", (2, 1, 3))], ["transpose of axes of one"]),
        ([SWAP, ("matmul", {}, "fp16", (1, 3, 3))], ["transpose that the products could do"]),
        ([("reshape", {}, "fp16", (1, 2, 3))], ["reshape that keeps the shape"]),
        ([("squeeze", {}, "fp16", (2, 3)), ("reshape", {}, "fp16", (6,))], ["reshape that only reshapes read"]),
        ([("cast", {}, "fp32", (1, 2, 3)), ("cast", {}, "fp16", (1, 2, 3))], ["cast that only casts read"]),
        ([("cast", {}, "fp16", (1, 2, 3))], ["cast that keeps the type"]),
    ],
)
def test_waste_is_seen(
    steps: list[tuple[str, dict[str, list[int]], str, tuple[int, ...]]], expected: list[str]
) -> None:
    assert list(chain(*steps).needless()) == expected
