"""Pipelines: models that pass named features on to each other, as one program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilevit_tools.errors import BadInputError

from .dtypes import BY_NAME
from .features import Color, Feature, ModelDescription, describe
from .mil import Block, Constant, Graph, Operation, ValueType, read_graph
from .neural import KINDS as NETWORKS
from .neural import read_neural_network
from .neural_layers import ANY, Writer
from .package import Package

if TYPE_CHECKING:
    from google.protobuf.message import Message

PIPELINES = frozenset({"pipeline", "pipelineClassifier", "pipelineRegressor"})
SUPPRESSION = "nonMaximumSuppression"
RUNNABLE = frozenset({"mlProgram", SUPPRESSION}) | NETWORKS | PIPELINES
"""Kinds of models that can be run."""


def read_model(package: Package, description: ModelDescription) -> Graph:
    """The program of a model of any kind that can be run.

    Raises:
        BadInputError: It is damaged, or of another kind; pipelines name the kind of the stage.
    """
    if description.kind == "mlProgram":
        return read_graph(package, description.function)
    if description.kind in NETWORKS:
        return read_neural_network(package.spec, description, package.path.name)
    if description.kind in PIPELINES:
        return _joined(package, description)
    if description.kind == SUPPRESSION:
        return _suppression(package.spec, description)
    raise BadInputError(f"{package.path.name} has a {description.kind} model in it, which cannot be run here.")


def with_thresholds(spec: Message, description: ModelDescription) -> ModelDescription:
    """The description with the thresholds of its non-maximum suppression as defaults of the inputs that change them."""
    found: dict[str, float] = {}
    for stage in (spec, *_stages(spec)):
        if stage.WhichOneof("Type") == SUPPRESSION:
            params: Any = getattr(stage, SUPPRESSION)
            found[params.iouThresholdInputFeatureName] = params.iouThreshold
            found[params.confidenceThresholdInputFeatureName] = params.confidenceThreshold
    inputs = (
        replace(entry, default=found[entry.name]) if entry.optional and entry.name in found else entry
        for entry in description.inputs
    )
    return replace(description, inputs=tuple(inputs))


def _stages(spec: Message) -> list[Any]:
    kind = str(spec.WhichOneof("Type"))
    if kind not in PIPELINES:
        return []
    outer: Any = getattr(spec, kind)
    return list((outer if kind == "pipeline" else outer.pipeline).models)


def _joined(package: Package, description: ModelDescription) -> Graph:
    """All stages as one program; each stage's own names get its number in front."""
    known = {entry.name: entry.name for entry in description.inputs}
    colors = {entry.name: entry.color for entry in description.inputs}
    operations: list[Operation] = []
    constants: dict[str, Constant] = {}
    compressed: list[Operation] = []
    for index, spec in enumerate(_stages(package.spec)):
        stage = with_thresholds(spec, describe(replace(package, spec=spec)))
        graph = read_model(replace(package, spec=spec), stage)
        prefix = f"{index}/"
        wired = {name: known[name] for name in graph.inputs if name in known}
        for entry in stage.inputs:
            if entry.name not in known and entry.default is not None:
                wired[entry.name] = f"{prefix}{entry.name}"
                constants[wired[entry.name]] = Constant(np.array(entry.default, np.float32), BY_NAME["fp32"])
        if absent := sorted(set(graph.inputs) - set(wired)):
            raise BadInputError(f"{package.path.name} has a stage whose input {absent[0]!r} no stage before it makes.")
        for entry in stage.inputs:
            source = wired[entry.name]
            kind = replace(graph.inputs[entry.name], container="tensor")
            outside = source in {given.name for given in description.inputs}
            for change in _changes(entry, kind, colors.get(source), outside=outside):
                made = f"{prefix}{entry.name}/{change}"
                operations.append(_changed(change, wired[entry.name], made, kind))
                wired[entry.name] = made
        names = _Names(prefix, wired)
        operations.extend(names.operation(entry) for entry in graph.operations)
        compressed.extend(names.operation(entry) for entry in graph.compressed)
        constants |= {names[name]: constant for name, constant in graph.constants.items()}
        known |= {entry.name: names[entry.name] for entry in stage.outputs}
        colors |= {names[entry.name]: entry.color for entry in stage.outputs}
    outputs = dict.fromkeys(entry.name for entry in description.outputs)
    if absent := sorted(set(outputs) - set(known)):
        raise BadInputError(f"{package.path.name} returns {absent[0]!r}, which none of its stages makes.")
    final = {known[name]: name for name in outputs if known[name] != name}
    renaming = _Names("", final)
    return Graph(
        inputs={entry.name: _input(entry) for entry in description.inputs},
        outputs=tuple(outputs),
        operations=tuple(renaming.operation(entry) for entry in operations),
        constants={renaming[name]: constant for name, constant in constants.items()},
        compressed=tuple(renaming.operation(entry) for entry in compressed),
        opset="pipeline",
    )


def _input(entry: Feature) -> ValueType:
    sizes: tuple[int | None, ...] = entry.shape
    if entry.flexibility != "fixed":
        sizes = (None,) * len(entry.shape)
    element = {"int32": "int32", "float16": "fp16"}.get(entry.dtype, "fp32")
    return ValueType(BY_NAME[element], sizes)


def _changes(entry: Feature, kind: ValueType, color: Color | None, *, outside: bool) -> Iterator[str]:
    """What happens to a value when a stage takes it in.

    An image becomes whole numbers from 0 to 255 with its channels in the order of that stage, whatever the order in
    which another stage or the pipeline declares them; an array takes the element type of that stage.

    Args:
        entry: The input of the stage.
        kind: Its type in the stage's program.
        color: Order of the value's channels so far.
        outside: Whether it is an input of the pipeline, whose pixels are whole already.
    """
    if entry.kind != "image":
        if kind.element.name != "fp32":
            yield "identity"
        return
    if not outside:
        yield "pixels"
    if {color, entry.color} == {"RGB", "BGR"}:
        yield "reverse"


def _changed(change: str, source: str, name: str, kind: ValueType) -> Operation:
    axes = {"axes": (Constant(np.array([1], np.int32), BY_NAME["int32"]),)} if change == "reverse" else {}
    return Operation(name, change, {"x": (source,), **axes}, ((name, kind),))


class _Names:
    """New names for the values of a program: those that are wired to others, and a prefix for the rest."""

    def __init__(self, prefix: str, wired: Mapping[str, str]) -> None:
        self._prefix = prefix
        self._wired = wired

    def __getitem__(self, name: str) -> str:
        return self._wired.get(name, f"{self._prefix}{name}")

    def operation(self, entry: Operation) -> Operation:
        inputs = {
            key: tuple(self[value] if isinstance(value, str) else value for value in values)
            for key, values in entry.inputs.items()
        }
        outputs = tuple((self[name], declared) for name, declared in entry.outputs)
        blocks = tuple(self.block(block) for block in entry.blocks)
        return replace(entry, name=f"{self._prefix}{entry.name}", inputs=inputs, outputs=outputs, blocks=blocks)

    def block(self, entry: Block) -> Block:
        return Block(
            {self[name]: declared for name, declared in entry.inputs.items()},
            tuple(self[name] for name in entry.outputs),
            tuple(self.operation(inner) for inner in entry.operations),
        )


def _suppression(spec: Message, description: ModelDescription) -> Graph:
    """Non-maximum suppression as a model of its own: boxes and their confidences in, those that survive out."""
    params: Any = getattr(spec, SUPPRESSION)
    writer = Writer()
    given = {entry.name for entry in description.inputs}
    thresholds = {
        "iou_threshold": (params.iouThresholdInputFeatureName, params.iouThreshold),
        "confidence_threshold": (params.confidenceThresholdInputFeatureName, params.confidenceThreshold),
    }
    writer.add(
        "surviving_boxes",
        (params.confidenceOutputFeatureName, params.coordinatesOutputFeatureName),
        confidence=params.confidenceInputFeatureName,
        coordinates=params.coordinatesInputFeatureName,
        per_class=bool(params.pickTop.perClass),
        **{key: name if name in given else float(value) for key, (name, value) in thresholds.items()},
    )
    inputs = {entry.name: ANY if entry.kind == "tensor" else _input(entry) for entry in description.inputs}
    outputs = tuple(entry.name for entry in description.outputs)
    return Graph(inputs, outputs, tuple(writer.operations), {}, (), SUPPRESSION)
