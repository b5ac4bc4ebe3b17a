"""Models of the format before ML Programs, as ML Programs: image scaling, layers, and the classifier at the end.

Values are carried as (N, C, H, W), also where the older format says (C, H, W) or (C). Layers that are not known become
operations that the runtime lacks, by the layer's own name, so that such a model is described and not run.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mobilevit_tools.errors import BadInputError

from .damage import refusing
from .dtypes import BY_NAME, ElementType
from .features import Feature, ModelDescription
from .interpreter import Interpreter
from .mil import Constant, Graph, Operation, ValueType
from .neural_layers import Writer, translate

if TYPE_CHECKING:
    from google.protobuf.message import Message

KINDS = frozenset({"neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor"})
_EXACT = 1  # arrays keep their rank


def read_neural_network(spec: Message, description: ModelDescription, name: str) -> Graph:
    """Translate a neural network.

    Args:
        spec: The whole model's message.
        description: What it says about itself.
        name: What to call it in errors.

    Raises:
        BadInputError: Its layers do not hold together.
    """
    network: Any = getattr(spec, str(spec.WhichOneof("Type")))
    with refusing(f"The network in {name} is damaged"):
        reader = _Reader(network, spec.description, description)
        graph = reader.graph()
        return graph if reader.flexible else _with_shapes(graph)


class _Reader:
    def __init__(self, network: Any, described: Any, description: ModelDescription) -> None:
        self._network = network
        self._described = described
        self._description = description
        self._writer = Writer()
        self.flexible = any(entry.flexibility != "fixed" for entry in description.inputs)

    def graph(self) -> Graph:
        current = {entry.name: self._enter(entry) for entry in self._description.inputs}
        returned = {entry.name for entry in self._description.outputs}
        first = len(self._writer.operations)
        for layer in self._network.layers:
            translate(layer, self._writer)
        inner = {name: f"{name}/layer" for name in returned} | {k: v for k, v in current.items() if k != v}
        self._writer.operations[first:] = [_renamed(entry, inner) for entry in self._writer.operations[first:]]
        self._leave(inner)
        types = {entry.name: _type(entry) for entry in self._description.inputs}
        names = tuple(dict.fromkeys(entry.name for entry in self._description.outputs))
        return Graph(types, names, tuple(self._writer.operations), {}, (), "neuralNetwork")

    def _enter(self, entry: Feature) -> str:
        """Write what comes before the first layer: four dimensions and the scaling of pixels."""
        mapping = self._network.arrayInputShapeMapping
        name = entry.name
        if entry.kind == "tensor" and mapping != _EXACT and len(entry.shape) in {1, 3}:
            shape = (1, *entry.shape) if len(entry.shape) == 3 else (1, entry.shape[0], 1, 1)
            self._writer.add("fit_shape", (f"{name}/channels",), x=name, shape=list(shape))
            return f"{name}/channels"
        for step in self._network.preprocessing:
            if entry.kind != "image" or step.featureName not in {"", entry.name}:
                continue
            kind = step.WhichOneof("preprocessor")
            scaled = f"{entry.name}/{kind}"
            if kind == "scaler":
                bias = _channel_bias(step.scaler, entry)
                self._writer.add("channel_affine", (scaled,), x=name, scale=step.scaler.channelScale or 1.0, bias=bias)
            else:
                mean = np.array(step.meanImage.meanImage, np.float32).reshape(entry.shape[1:])
                self._writer.add("channel_affine", (scaled,), x=name, bias=-mean)
            name = scaled
        return name

    def _leave(self, inner: dict[str, str]) -> None:
        """Write what comes after the last layer: declared shapes, and a classifier's answer."""
        answers = {"label", "probabilities"}
        made = {name for operation in self._writer.operations for name, _ in operation.outputs}
        for entry in self._description.outputs:
            if entry.kind in answers:
                continue
            source = inner[entry.name]
            if entry.kind == "tensor" and entry.shape and not self.flexible:
                self._writer.add("fit_shape", (entry.name,), x=source, shape=list(entry.shape))
            else:
                self._writer.add("identity", (entry.name,), x=source)
        if not self._description.outputs or not any(entry.kind in answers for entry in self._description.outputs):
            return
        last = self._writer.operations[-1].outputs[0][0] if self._writer.operations else ""
        chosen = self._network.labelProbabilityLayerName
        probabilities = inner.get(chosen, chosen) or last
        if probabilities not in made:
            raise BadInputError(f"it has no layer that makes the probabilities {chosen!r}")
        self._writer.operations.append(self._classify(probabilities))

    def _classify(self, probabilities: str) -> Operation:
        network = self._network
        names = (self._described.predictedFeatureName, self._described.predictedProbabilitiesName)
        words = network.WhichOneof("ClassLabels") == "stringClassLabels"
        labels = list(network.stringClassLabels.vector) if words else list(network.int64ClassLabels.vector)
        kind = BY_NAME["string" if words else "int64"]
        classes = Constant(np.array(labels, object if words else np.int64), kind)
        label = ValueType(kind, ())
        shares = ValueType(BY_NAME["fp32"], (), "dictionary")
        inputs: dict[str, Any] = {"probabilities": (probabilities,), "classes": (classes,)}
        return Operation(names[0], "classify", inputs, ((names[0], label), (names[1] or f"{names[0]}/probs", shares)))


def _type(entry: Feature) -> ValueType:
    element: ElementType = BY_NAME["int32" if entry.dtype == "int32" else "fp32"]
    if entry.flexibility == "fixed":
        return ValueType(element, entry.shape)
    return ValueType(element, tuple(None for _ in entry.shape))


def _channel_bias(scaler: Any, entry: Feature) -> np.ndarray:
    colors = {"RGB": "red green blue", "BGR": "blue green red"}.get(str(entry.color), "gray").split()
    return np.array([getattr(scaler, f"{color}Bias") for color in colors], np.float32).reshape(-1, 1, 1)


def _renamed(operation: Operation, names: dict[str, str]) -> Operation:
    inputs = {
        key: tuple(names.get(value, value) if isinstance(value, str) else value for value in values)
        for key, values in operation.inputs.items()
    }
    outputs = tuple((names.get(name, name), declared) for name, declared in operation.outputs)
    return replace(operation, inputs=inputs, outputs=outputs)


def _with_shapes(graph: Graph) -> Graph:
    """The program with the sizes of its values, which the older format does not write down: those of one run."""
    interpreter = Interpreter(graph)
    if interpreter.unsupported or any(not math.prod(size or 0 for size in t.shape) for t in graph.inputs.values()):
        return graph
    zeros = {
        name: torch.zeros([size or 0 for size in kind.shape], dtype=kind.element.carrier)
        for name, kind in graph.inputs.items()
    }
    values = {name for entry in graph.operations for name, declared in entry.outputs if declared.any_rank}
    found = interpreter.run(zeros, "fp32", fetch=values)
    shapes = {name: tuple(value.shape) for name, value in found.items() if isinstance(value, torch.Tensor)}

    def sized(entry: Operation) -> Operation:
        outputs = (
            (name, ValueType(declared.element, shapes[name]) if name in shapes else declared)
            for name, declared in entry.outputs
        )
        return replace(entry, outputs=tuple(outputs))

    return replace(graph, operations=tuple(map(sized, graph.operations)))
